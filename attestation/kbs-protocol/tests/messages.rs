// SPDX-License-Identifier: Apache-2.0
//! Every message is read as it was written, and no other bytes are read as it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by a panic")]

use std::fmt::Debug;
use std::sync::LazyLock;

use casemate_kbs_protocol::AttestReply;
use casemate_kbs_protocol::AttestRequest;
use casemate_kbs_protocol::AuditHead;
use casemate_kbs_protocol::AuthRequest;
use casemate_kbs_protocol::Challenge;
use casemate_kbs_protocol::CompositeEvidence;
use casemate_kbs_protocol::HashAlgorithm;
use casemate_kbs_protocol::InitData;
use casemate_kbs_protocol::InitDataFormat;
use casemate_kbs_protocol::Problem;
use casemate_kbs_protocol::RuntimeData;
use casemate_kbs_protocol::Tee;
use casemate_kbs_protocol::TeeKeyPair;
use casemate_kbs_protocol::host_data;
use casemate_kbs_protocol::mr_config_id;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

static KEY: LazyLock<TeeKeyPair> = LazyLock::new(|| TeeKeyPair::generate().unwrap());

/// The message as text, which is what two messages are compared by.
fn text<T: Serialize>(message: &T) -> String {
    serde_json::to_string(message).unwrap()
}

fn attest(nonce: &str, body: Option<&str>, evidence: &str, more: &str) -> AttestRequest {
    AttestRequest {
        init_data: body
            .map(|body| InitData { format: InitDataFormat::Toml, body: body.to_owned() }),
        runtime_data: RuntimeData {
            nonce: nonce.to_owned(),
            tee_pubkey: KEY.public_key().clone(),
            audit_head: None,
        },
        tee_evidence: CompositeEvidence {
            primary_evidence: RawValue::from_string(evidence.to_owned()).unwrap(),
            additional_evidence: more.to_owned(),
        },
    }
}

/// Asserts that each byte of `good` counts, but for those of `optional`, names of members that need
/// not be there.
fn assert_every_byte_counts<T: Serialize + DeserializeOwned>(good: &str, optional: &[&str]) {
    let read = |bytes: &[u8]| serde_json::from_slice::<T>(bytes).ok().map(|message| text(&message));
    assert_eq!(read(good.as_bytes()).as_deref(), Some(good));
    let may_change = |at| {
        let names = optional.iter().filter_map(|name| Some((good.find(name)?, name.len())));
        names.into_iter().any(|(start, length)| (start..start + length).contains(&at))
    };
    for at in 0..good.len() {
        assert!(read(&good.as_bytes()[..at]).is_none(), "{at} of {good}");
        for flip in [0x01, 0x02, 0x20, 0x80] {
            let mut bad = good.as_bytes().to_vec();
            bad[at] ^= flip;
            let same = read(&bad).as_deref() == Some(good);
            assert!(!same || may_change(at), "byte {at} of {good} flipped by {flip:#x}");
        }
    }
}

#[test]
fn a_changed_or_missing_byte_is_an_error_or_another_message() {
    // D1, D7
    let auth = AuthRequest::new(Tee::Snp).with_audit_head();
    assert_every_byte_counts::<AuthRequest>(&text(&auth), &[]);
    let challenge = Challenge::new("bm9uY2U=".to_owned(), Some(HashAlgorithm::Sha384));
    assert_every_byte_counts::<Challenge>(&text(&challenge), &[]);
    let mut request = attest("bm9uY2U=", Some("x = 1"), r#"{"a":[1,"b"]}"#, "");
    let head = format!("{}:7:{}", "cd".repeat(16), "ab".repeat(32));
    request.runtime_data.audit_head =
        serde_json::from_value::<Option<AuditHead>>(head.into()).unwrap();
    assert_every_byte_counts::<AttestRequest>(&text(&request), &[]);
    let reply = AttestReply { token: "a.b.c".to_owned() };
    assert_every_byte_counts::<AttestReply>(&text(&reply), &[]);
    let problem = Problem { uri: "https://x".to_owned(), detail: "no".to_owned() };
    assert_every_byte_counts::<Problem>(&text(&problem), &[]);
}

/// Reads what was written, and compares.
fn again<T: Serialize + DeserializeOwned + PartialEq + Debug>(
    message: &T,
) -> Result<(), TestCaseError> {
    let read: T = serde_json::from_str(&text(message)).unwrap();
    prop_assert_eq!(&read, message);
    Ok(())
}

proptest! {
    #[test]
    fn what_is_written_is_read(a in ".{0,30}", b in ".{0,30}", number: i64, flag: bool) {
        let tee = if flag { Tee::Snp } else { Tee::Tdx };
        let mut auth = AuthRequest::new(tee);
        auth.version.clone_from(&a);
        again(&auth)?;
        again(&auth.with_audit_head())?;
        let hash = flag.then_some(HashAlgorithm::Sha512);
        again(&Challenge::new(a.clone(), hash))?;
        again(&Problem { uri: a.clone(), detail: b.clone() })?;
        let reply = AttestReply { token: a.clone() };
        let read: AttestReply = serde_json::from_str(&text(&reply)).unwrap();
        prop_assert_eq!(read.token, reply.token);
        let evidence = format!("{{\"x\":[{number},{flag}]}}");
        let request = attest(&a, flag.then_some(&b), &evidence, &b);
        let read: AttestRequest = serde_json::from_str(&text(&request)).unwrap();
        prop_assert_eq!(text(&read), text(&request));
        prop_assert_eq!(read.tee_evidence.primary_evidence.get(), evidence);
        prop_assert_eq!(read.init_data, request.init_data);
        prop_assert_eq!(read.runtime_data, request.runtime_data);
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,200}") {
        let _ = serde_json::from_str::<AuthRequest>(&text);
        let _ = serde_json::from_str::<AttestRequest>(&text);
        prop_assert_eq!(host_data(&text).is_ok(), mr_config_id(&text).is_ok());
    }
}
