// SPDX-License-Identifier: Apache-2.0
//! The setup header of a kernel, and what QEMU writes into it.

#![no_main]

use casemate_boot_formats::bzimage::BzImage;
use casemate_boot_formats::bzimage::QemuBoot;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    let Ok(kernel) = BzImage::parse(file) else { return };
    let parts = [kernel.setup(), kernel.protected_mode(), kernel.trailer()];
    assert_eq!(parts.concat(), file);
    if let Ok(patched) = kernel.patched_by_qemu(&QemuBoot::q35(1 << 30, Some(4096))) {
        let again = BzImage::parse(&patched).expect("a patched kernel is a kernel");
        assert_eq!(again.payload(), kernel.payload());
    }
});
