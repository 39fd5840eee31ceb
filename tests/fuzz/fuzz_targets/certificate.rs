// SPDX-License-Identifier: Apache-2.0
//! Certificates of the vendor's chain, in DER or PEM.

#![no_main]

use casemate_evidence::snp::Certificate;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = Certificate::parse(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Certificate::parse_bundle(text);
    }
});
