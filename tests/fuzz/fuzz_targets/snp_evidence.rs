// SPDX-License-Identifier: Apache-2.0
//! SNP evidence as a broker gets it: JSON with a report and a table of certificates.

#![no_main]

use casemate_evidence::snp::Certificate;
use casemate_evidence::snp::Evidence;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|json: &str| {
    let Ok(evidence) = Evidence::from_json(json) else { return };
    for entry in &evidence.certificates {
        let _ = Certificate::parse(&entry.data);
    }
});
