// SPDX-License-Identifier: Apache-2.0
//! The initdata annotation: base64 of gzip of TOML.

#![no_main]

use casemate_boot_formats::initdata::Initdata;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|annotation: &str| {
    let Ok(initdata) = Initdata::from_annotation(annotation) else { return };
    if let Ok(again) = initdata.to_annotation() {
        let again = Initdata::from_annotation(&again).expect("what is written is read");
        assert_eq!(again, initdata);
    }
});
