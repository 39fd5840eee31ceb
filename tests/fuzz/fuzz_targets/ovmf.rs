// SPDX-License-Identifier: Apache-2.0
//! OVMF footer table and SEV metadata. The input is the end of an image.

#![no_main]

use casemate_boot_formats::ovmf::Ovmf;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|tail: &[u8]| {
    let size = tail.len().next_multiple_of(4096);
    let mut image = vec![0; size - tail.len()];
    image.extend_from_slice(tail);
    let Ok(ovmf) = Ovmf::parse(&image) else { return };
    for section in ovmf.sections() {
        assert!(section.gpa() + section.size() <= 1 << 32);
    }
    if let Ok(address) = ovmf.hash_table_address() {
        assert_eq!(ovmf.hash_page_address(), Ok(address & !0xfff));
    }
});
