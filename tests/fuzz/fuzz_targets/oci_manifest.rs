// SPDX-License-Identifier: Apache-2.0
//! Manifests, indexes and configs from a registry: what is read is written and read again.

#![no_main]

use casemate_image_crypt::oci::Document;
use casemate_image_crypt::oci::ImageConfig;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = ImageConfig::parse(bytes);
    if let Ok(Document::Manifest(manifest)) = Document::parse(bytes, None) {
        let written = manifest.to_bytes().expect("a manifest can be written");
        assert!(matches!(Document::parse(&written, None), Ok(Document::Manifest(_))));
    }
});
