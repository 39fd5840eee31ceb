// SPDX-License-Identifier: Apache-2.0
//! Certificate tables as hosts give them: no two certificates share bytes.

#![no_main]

use casemate_evidence::snp::parse_table;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(entries) = parse_table(bytes) {
        let total: usize = entries.iter().map(|entry| entry.data.len()).sum();
        assert!(total <= bytes.len());
        assert!(entries.iter().all(|entry| !entry.data.is_empty()));
    }
});
