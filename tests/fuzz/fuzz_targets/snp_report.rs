// SPDX-License-Identifier: Apache-2.0
//! SNP attestation reports: what is accepted is written back byte for byte.

#![no_main]

use casemate_evidence::snp::Report;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(report) = Report::parse(bytes) {
        assert_eq!(report.as_bytes(), bytes);
        for field in report.reserved() {
            assert!(bytes[field.offset..field.offset + field.len].iter().any(|byte| *byte != 0));
        }
    }
});
