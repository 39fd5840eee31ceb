// SPDX-License-Identifier: Apache-2.0
//! The initdata block device: header, one gzip member, zeros.

#![no_main]

use casemate_boot_formats::initdata::Initdata;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|device: &[u8]| {
    let Ok(initdata) = Initdata::from_device_image(device) else { return };
    if let Ok(again) = initdata.to_device_image() {
        let again = Initdata::from_device_image(&again).expect("what is written is read");
        assert_eq!(again, initdata);
    }
});
