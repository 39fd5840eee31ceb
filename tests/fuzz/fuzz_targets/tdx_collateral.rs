// SPDX-License-Identifier: Apache-2.0
//! Intel's collateral as an untrusted cache may serve it.

#![no_main]

use casemate_evidence::collateral::Collateral;
use casemate_evidence::collateral::QeIdentity;
use casemate_evidence::collateral::Signed;
use casemate_evidence::collateral::TcbInfo;
use casemate_evidence::tdx::Crl;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = Crl::parse(bytes);
    let Ok(json) = std::str::from_utf8(bytes) else { return };
    let _ = Collateral::from_json(json);
    let _ = TcbInfo::parse(json);
    let _ = QeIdentity::parse(json);
    if let Ok(answer) = Signed::<TcbInfo>::from_answer(json) {
        assert!(json.contains(&answer.text));
    }
    let _ = Signed::<QeIdentity>::from_answer(json);
});
