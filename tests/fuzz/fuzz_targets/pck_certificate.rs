// SPDX-License-Identifier: Apache-2.0
//! Certificates of Intel's form, and what they say of a platform.

#![no_main]

use casemate_evidence::tdx::Certificate;
use casemate_evidence::tdx::PckExtension;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(certificate) = Certificate::parse(bytes) {
        assert!(!certificate.signed_bytes().is_empty());
        assert_eq!(Certificate::parse(certificate.der()).ok().as_ref(), Some(&certificate));
    }
    let _ = Certificate::parse_chain(bytes);
    let _ = PckExtension::parse(bytes);
});
