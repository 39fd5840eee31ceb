// SPDX-License-Identifier: Apache-2.0
//! Revocation lists of AMD, in DER or PEM: what is accepted from DER is written back byte for byte.

#![no_main]

use casemate_evidence::snp::Crl;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(crl) = Crl::parse(bytes) {
        assert_eq!(Crl::parse(crl.der()).unwrap(), crl);
        assert!(crl.der().windows(crl.signed_bytes().len()).any(|part| part == crl.signed_bytes()));
    }
});
