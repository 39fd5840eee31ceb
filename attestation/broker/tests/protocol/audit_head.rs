// SPDX-License-Identifier: Apache-2.0
//! The head of a guest's audit log on its way to the owner.

use std::sync::Arc;

use casemate_kbs_protocol::AuditHead;
use casemate_kbs_protocol::BootId;
use casemate_kbs_protocol::HashAlgorithm;
use casemate_kbs_protocol::RuntimeData;
use casemate_kbs_protocol::TeeKeyPair;
use casemate_tee_sim::authority::Authority;
use serde_json::Value;
use serde_json::json;

use crate::harness::Guest;
use crate::harness::INITDATA;
use crate::harness::KEY;
use crate::harness::Place;
use crate::harness::raw_client;

fn head(sequence: u64) -> AuditHead {
    AuditHead { boot: BootId::new([5; 16]), sequence, hash: [u8::try_from(sequence).unwrap(); 32] }
}

fn heads(place: &Place) -> Vec<Value> {
    place.audit().into_iter().map(|entry| entry["audit_head"].clone()).collect()
}

#[tokio::test]
async fn each_attestation_writes_the_head_down() {
    let authority = Arc::new(Authority::new());
    let place = Place::ready(&authority).await;
    let guest = Guest::new(&authority);
    *guest.head.lock().unwrap() = Some(head(3));
    let session = guest.session(&place.endpoint());
    session.attest().await.unwrap();
    assert_eq!(session.attested_head(), Some(head(3)));
    *guest.head.lock().unwrap() = Some(head(9));
    session.refresh().await.unwrap();
    assert_eq!(session.attested_head(), Some(head(9)));
    let expected = [3, 9].map(|sequence| Value::from(head(sequence).to_string()));
    assert_eq!(heads(&place), expected);
    // The new token is as good as the first one, and no further attestation is needed for it.
    session.resource(&format!("kbs:///{KEY}").parse().unwrap()).await.unwrap();
    assert_eq!(guest.reports.load(std::sync::atomic::Ordering::SeqCst), 2);
    place.stop().await;
}

#[tokio::test]
async fn a_guest_without_a_log_is_attested_as_before() {
    let authority = Arc::new(Authority::new());
    let place = Place::ready(&authority).await;
    let session = Guest::new(&authority).session(&place.endpoint());
    session.attest().await.unwrap();
    assert_eq!(session.attested_head(), None);
    assert_eq!(heads(&place), [Value::Null]);
    place.stop().await;
}

#[tokio::test]
async fn a_refused_refresh_leaves_the_session_as_it_was() {
    let authority = Arc::new(Authority::new());
    let place = Place::ready(&authority).await;
    let mut guest = Guest::new(&authority);
    *guest.head.lock().unwrap() = Some(head(3));
    let session = guest.session(&place.endpoint());
    session.attest().await.unwrap();
    // The owner no longer knows the guest's measurement.
    let measurement = casemate_verifier::Measurement(guest.measurement);
    place.store.remove_reference(measurement).await.unwrap();
    *guest.head.lock().unwrap() = Some(head(4));
    session.refresh().await.unwrap_err();
    assert_eq!(session.attested_head(), Some(head(3)));
    // What was claimed with refused evidence is nobody's word.
    assert_eq!(heads(&place)[1], Value::Null);
    place.store.add_reference(measurement).await.unwrap();
    session.resource(&format!("kbs:///{KEY}").parse().unwrap()).await.unwrap();
    guest.head = Arc::default();
    place.stop().await;
}

/// `POST /attest` with this head bound and that one sent.
async fn attest(
    place: &Place,
    guest: &Guest,
    bound: Option<AuditHead>,
    sent: Option<AuditHead>,
) -> u16 {
    let client = raw_client(place);
    let auth = client
        .post(place.url("/kbs/v0/auth"))
        .header("content-type", "application/json")
        .body(r#"{"version":"0.4.0","tee":"snp","extra-params":""}"#);
    let reply = auth.send().await.unwrap();
    let cookie = reply.headers()["set-cookie"].to_str().unwrap().to_owned();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let challenge: Value = reply.json().await.unwrap();
    let key = TeeKeyPair::generate().unwrap();
    let data = |audit_head| RuntimeData {
        nonce: challenge["nonce"].as_str().unwrap().to_owned(),
        tee_pubkey: key.public_key().clone(),
        audit_head,
    };
    let report_data = data(bound).report_data(HashAlgorithm::Sha384, "").unwrap();
    let body = json!({
        "init-data": {"format": "toml", "body": INITDATA},
        "runtime-data": data(sent),
        "tee-evidence": {
            "primary_evidence": guest.report_value(&report_data),
            "additional_evidence": "",
        },
    });
    let post = client
        .post(place.url("/kbs/v0/attest"))
        .header("content-type", "application/json")
        .header("cookie", cookie)
        .body(body.to_string());
    post.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_head_that_the_report_does_not_bind_is_refused() {
    // The host has no key to the TLS connection; a broken guest or a proxy of the owner's could.
    let authority = Arc::new(Authority::new());
    let place = Place::ready(&authority).await;
    let guest = Guest::new(&authority);
    for (bound, sent, status) in [
        (Some(head(7)), Some(head(7)), 200),
        (Some(head(7)), Some(head(6)), 401),
        (Some(head(7)), None, 401),
        (None, Some(head(7)), 401),
        (None, None, 200),
    ] {
        assert_eq!(attest(&place, &guest, bound, sent).await, status, "{bound:?} {sent:?}");
    }
    let written: Vec<_> = heads(&place).into_iter().filter(|head| !head.is_null()).collect();
    assert_eq!(written, [Value::from(head(7).to_string())]);
    place.stop().await;
}
