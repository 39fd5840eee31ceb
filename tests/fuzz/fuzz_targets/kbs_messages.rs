// SPDX-License-Identifier: Apache-2.0
//! Messages of the broker's protocol, both directions, and resource URIs.

#![no_main]

use casemate_kbs_protocol::AttestReply;
use casemate_kbs_protocol::AttestRequest;
use casemate_kbs_protocol::AuthRequest;
use casemate_kbs_protocol::Challenge;
use casemate_kbs_protocol::Jwe;
use casemate_kbs_protocol::Problem;
use casemate_kbs_protocol::ResourceUri;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(request) = serde_json::from_str::<AuthRequest>(text) {
        let _ = request.choose_hash();
    }
    if let Ok(challenge) = serde_json::from_str::<Challenge>(text) {
        let _ = challenge.hash();
    }
    let _ = serde_json::from_str::<AttestRequest>(text);
    let _ = serde_json::from_str::<AttestReply>(text);
    let _ = serde_json::from_str::<Jwe>(text);
    let _ = serde_json::from_str::<Problem>(text);
    let _ = casemate_kbs_protocol::host_data(text);
    if let Ok(uri) = text.parse::<ResourceUri>() {
        assert_eq!(uri.to_string().parse(), Ok(uri));
    }
});
