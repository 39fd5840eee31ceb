// SPDX-License-Identifier: Apache-2.0
//! Certificates of the vendor's chain, in DER or PEM.

#![no_main]

use casemate_evidence::snp::Certificate;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(certificate) = Certificate::parse(bytes) {
        assert_eq!(Certificate::parse(certificate.der()).unwrap(), certificate);
    }
    let _ = Certificate::read_all(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Certificate::parse_bundle(text);
    }
});
