// SPDX-License-Identifier: Apache-2.0
//! TDVF metadata. The input is the end of an image of 4 MiB, the size of Debian's.

#![no_main]

use std::cell::RefCell;

use casemate_boot_formats::tdvf::Tdvf;
use libfuzzer_sys::fuzz_target;

const SIZE: usize = 4 * 1024 * 1024;

thread_local! {
    static IMAGE: RefCell<Vec<u8>> = RefCell::new(vec![0; SIZE]);
}

fuzz_target!(|tail: &[u8]| {
    let Some(start) = SIZE.checked_sub(tail.len()) else { return };
    IMAGE.with_borrow_mut(|image| {
        image[start..].copy_from_slice(tail);
        if let Ok(tdvf) = Tdvf::parse(image) {
            for section in tdvf.sections() {
                assert!(section.gpa() + section.size() <= 1 << 32);
                assert!(section.data().len() as u64 <= section.size());
            }
        }
        image[start..].fill(0);
    });
});
