// SPDX-License-Identifier: Apache-2.0
//! The Authenticode ranges of an EFI application: each byte is hashed at most once.

#![no_main]

use casemate_boot_formats::pe::PeImage;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|image: &[u8]| {
    let Ok(pe) = PeImage::parse(image) else { return };
    let hashed: usize = pe.hashed().map(<[u8]>::len).sum();
    let not_hashed = image.len() - hashed - pe.certificates().len();
    // The checksum alone, or also the directory entry of the certificates.
    assert!(not_hashed == 4 || not_hashed == 12, "{not_hashed} bytes are not hashed");
});
