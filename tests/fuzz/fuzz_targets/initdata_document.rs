// SPDX-License-Identifier: Apache-2.0
//! The initdata document itself; the checksum of gzip would hide it from the fuzzer.

#![no_main]

use casemate_boot_formats::initdata::Initdata;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|document: &[u8]| {
    let Ok(initdata) = Initdata::parse(document) else { return };
    assert_eq!(initdata.as_bytes(), document);
    let device = initdata.to_device_image().expect("a small document fits");
    assert_eq!(Initdata::from_device_image(&device).expect("what is written is read"), initdata);
});
