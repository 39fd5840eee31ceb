// SPDX-License-Identifier: Apache-2.0
//! TDX quotes as they come from a guest, their certificates, and the JSON around them.

#![no_main]

use casemate_evidence::tdx::Certificate;
use casemate_evidence::tdx::Evidence;
use casemate_evidence::tdx::Quote;
use casemate_evidence::tdx::TdReport;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(quote) = Quote::parse(bytes) {
        assert_eq!(quote.as_bytes(), bytes);
        assert!(quote.used_bytes() <= bytes.len());
        let _ = Certificate::parse_chain(quote.pck_chain());
    }
    let _ = TdReport::parse(bytes);
    if let Ok(json) = std::str::from_utf8(bytes) {
        let _ = Evidence::from_json(json);
    }
});
