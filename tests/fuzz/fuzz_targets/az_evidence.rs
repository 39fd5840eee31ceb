// SPDX-License-Identifier: Apache-2.0
//! Evidence of Azure's guests: JSON around a paravisor report, a TPM quote and a certificate; and
//! the two binary parts alone.

#![no_main]

use casemate_evidence::az_vtpm::AzSnpEvidence;
use casemate_evidence::az_vtpm::AzTdxEvidence;
use casemate_evidence::az_vtpm::HclReport;
use casemate_evidence::az_vtpm::PCRS;
use casemate_evidence::az_vtpm::TpmQuote;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = AzSnpEvidence::from_json(text);
        let _ = AzTdxEvidence::from_json(text);
    }
    if let Ok(hcl) = HclReport::parse(bytes) {
        assert_eq!(hcl.as_bytes(), bytes);
    }
    if let Ok(quote) = TpmQuote::parse(bytes, &[], [[0; 32]; PCRS]) {
        assert_eq!(quote.message(), bytes);
    }
});
