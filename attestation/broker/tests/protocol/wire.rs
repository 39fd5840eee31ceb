// SPDX-License-Identifier: Apache-2.0
//! The wire itself: the ecosystem's literal shapes, and requests that no honest client makes.

use std::sync::Arc;

use crate::harness::Guest;
use crate::harness::INITDATA;
use crate::harness::KEY;
use crate::harness::KEY_VALUE;
use crate::harness::Place;
use crate::harness::raw_client;
use casemate_broker::Broker;
use casemate_broker::SystemClock;
use casemate_broker::serve;
use casemate_kbs_protocol::HashAlgorithm;
use casemate_kbs_protocol::Jwe;
use casemate_kbs_protocol::TeeKeyPair;
use casemate_kbs_protocol::report_data;
use casemate_tee_sim::authority::Authority;
use reqwest::Client;
use reqwest::Response;
use reqwest::StatusCode;
use serde_json::Value;
use serde_json::json;
use tokio::net::TcpListener;

const ERRORS: &str = "https://github.com/confidential-containers/kbs/errors/";

/// A guest that speaks the protocol by hand.
struct ByHand {
    place: Place,
    client: Client,
    guest: Guest,
    key: TeeKeyPair,
}

impl ByHand {
    async fn new() -> Self {
        let authority = Arc::new(Authority::new());
        let place = Place::ready(&authority).await;
        let client = raw_client(&place);
        let key = TeeKeyPair::generate().unwrap();
        Self { place, client, guest: Guest::new(&authority), key }
    }

    async fn post(&self, path: &str, cookie: Option<&str>, body: String) -> Response {
        let mut request = self
            .client
            .post(self.place.url(path))
            .header("content-type", "application/json")
            .body(body);
        if let Some(id) = cookie {
            request = request.header("cookie", format!("kbs-session-id={id}"));
        }
        request.send().await.unwrap()
    }

    /// `POST /auth`: the session id and the nonce.
    async fn auth(&self) -> (String, String) {
        let reply = self
            .post(
                "/kbs/v0/auth",
                None,
                r#"{"version":"0.4.0","tee":"snp","extra-params":""}"#.into(),
            )
            .await;
        assert_eq!(reply.status(), StatusCode::OK);
        let cookie = reply.headers()["set-cookie"].to_str().unwrap().to_owned();
        let id = cookie.strip_prefix("kbs-session-id=").unwrap().split(';').next().unwrap();
        let body: Value = reply.json().await.unwrap();
        (id.to_owned(), body["nonce"].as_str().unwrap().to_owned())
    }

    /// The body of `POST /attest` for a nonce, bound to this key, sent with `sent`.
    fn attest_body(&self, nonce: &str, sent: &TeeKeyPair) -> Value {
        let bound = report_data(nonce, self.key.public_key(), HashAlgorithm::Sha384, "").unwrap();
        json!({
            "init-data": {"format": "toml", "body": INITDATA},
            "runtime-data": {"nonce": nonce, "tee-pubkey": sent.public_key()},
            "tee-evidence": {
                "primary_evidence": self.guest.report_value(&bound),
                "additional_evidence": "",
            },
        })
    }

    async fn attest(&self, id: &str, nonce: &str) -> Response {
        let body = self.attest_body(nonce, &self.key).to_string();
        self.post("/kbs/v0/attest", Some(id), body).await
    }

    /// A whole handshake: session id and token.
    async fn handshake(&self) -> (String, String) {
        let (id, nonce) = self.auth().await;
        let reply = self.attest(&id, &nonce).await;
        assert_eq!(reply.status(), StatusCode::OK);
        let body: Value = reply.json().await.unwrap();
        (id, body["token"].as_str().unwrap().to_owned())
    }

    async fn get(&self, path: &str, header: (&str, String)) -> Response {
        self.client.get(self.place.url(path)).header(header.0, header.1).send().await.unwrap()
    }

    async fn done(self) {
        self.place.stop().await;
    }
}

/// Asserts an error reply of the ecosystem's shape and gives its detail.
async fn problem(reply: Response, status: u16, kind: &str) -> String {
    assert_eq!(reply.status().as_u16(), status);
    let body: Value = reply.json().await.unwrap();
    let mut members: Vec<_> = body.as_object().unwrap().keys().cloned().collect();
    members.sort_unstable();
    assert_eq!(members, ["detail", "type"]);
    assert_eq!(body["type"], format!("{ERRORS}{kind}"));
    body["detail"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_handshake_has_the_ecosystems_shapes() {
    let hand = ByHand::new().await;
    // As the ecosystem's agent sends it.
    let reply = hand
        .post(
            "/kbs/v0/auth",
            None,
            r#"{"version":"0.4.0","tee":"snp","extra-params":{"supported-hash-algorithms":["sha256","sha384","sha512","sm3"]}}"#.into(),
        )
        .await;
    assert_eq!(reply.status(), StatusCode::OK);
    let cookie = reply.headers()["set-cookie"].to_str().unwrap().to_owned();
    let id = cookie.strip_prefix("kbs-session-id=").unwrap().split("; ").next().unwrap();
    assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()));
    assert!(cookie.contains("; Expires=") && cookie.contains(" GMT"));
    for flag in ["HttpOnly", "Secure", "SameSite=Strict"] {
        assert!(cookie.contains(flag), "{cookie}");
    }
    let text = reply.text().await.unwrap();
    let challenge: Value = serde_json::from_str(&text).unwrap();
    let nonce = challenge["nonce"].as_str().unwrap();
    assert_eq!(
        text,
        format!(r#"{{"nonce":"{nonce}","extra-params":{{"selected-hash-algorithm":"sha384"}}}}"#)
    );
    assert_eq!(nonce.len(), 44);

    let reply = hand.attest(id, nonce).await;
    assert_eq!(reply.status(), StatusCode::OK);
    assert!(reply.headers()["set-cookie"].to_str().unwrap().contains(id));
    let text = reply.text().await.unwrap();
    assert!(text.starts_with(r#"{"token":"eyJ"#) && text.ends_with("\"}"));

    // By cookie, as the ecosystem's agent fetches.
    let url = format!("/kbs/v0/resource/{KEY}");
    let reply = hand.get(&url, ("cookie", format!("kbs-session-id={id}"))).await;
    assert_eq!(reply.status(), StatusCode::OK);
    let text = reply.text().await.unwrap();
    let members: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap();
    let mut names: Vec<_> = members.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["ciphertext", "encrypted_key", "iv", "protected", "tag"]);
    let jwe: Jwe = serde_json::from_str(&text).unwrap();
    assert_eq!(jwe.open(&hand.key).unwrap().expose(), KEY_VALUE);
    hand.done().await;
}

#[tokio::test]
async fn without_a_list_of_hashes_none_is_selected() {
    let hand = ByHand::new().await;
    let body = r#"{"version":"0.4.1","tee":"snp","extra-params":""}"#;
    let reply = hand.post("/kbs/v0/auth", None, body.into()).await;
    let text = reply.text().await.unwrap();
    assert!(text.ends_with(r#"","extra-params":""}"#), "{text}");
    hand.done().await;
}

#[tokio::test]
async fn initdata_may_be_absent_and_the_grant_still_needs_host_data() {
    let hand = ByHand::new().await;
    let (id, nonce) = hand.auth().await;
    let mut body = hand.attest_body(&nonce, &hand.key);
    body["init-data"] = Value::Null;
    let reply = hand.post("/kbs/v0/attest", Some(&id), body.to_string()).await;
    assert_eq!(reply.status(), StatusCode::OK);
    let url = format!("/kbs/v0/resource/{KEY}");
    let reply = hand.get(&url, ("cookie", format!("kbs-session-id={id}"))).await;
    assert_eq!(reply.status(), StatusCode::OK);
    let audit = hand.place.audit();
    let line = audit[0]["verdict"].as_array().unwrap();
    let host_data = line.iter().find(|l| l["claim"] == "guest.host-data").unwrap();
    assert_eq!(host_data["outcome"], "not checked");
    hand.done().await;
}

#[tokio::test]
async fn a_wrong_nonce_is_refused_and_uses_the_session_up() {
    // D8
    let hand = ByHand::new().await;
    let (id, nonce) = hand.auth().await;
    let (_, other) = hand.auth().await;
    let detail = problem(hand.attest(&id, &other).await, 401, "AttestationError").await;
    assert!(detail.starts_with("attest.refused: the nonce"), "{detail}");
    assert!(detail.contains("; next: "));
    let detail = problem(hand.attest(&id, &nonce).await, 401, "AttestationError").await;
    assert!(detail.contains("used already"), "{detail}");
    hand.done().await;
}

#[tokio::test]
async fn a_reused_nonce_is_refused() {
    // D8: the same evidence again, in its own and in another session.
    let hand = ByHand::new().await;
    let (id, nonce) = hand.auth().await;
    let body = hand.attest_body(&nonce, &hand.key).to_string();
    let first = hand.post("/kbs/v0/attest", Some(&id), body.clone()).await;
    assert_eq!(first.status(), StatusCode::OK);
    let again = hand.post("/kbs/v0/attest", Some(&id), body.clone()).await;
    problem(again, 401, "AttestationError").await;
    let (other, _) = hand.auth().await;
    problem(hand.post("/kbs/v0/attest", Some(&other), body).await, 401, "AttestationError").await;
    hand.done().await;
}

#[tokio::test]
async fn malformed_bodies_are_refused_and_use_the_session_up() {
    let hand = ByHand::new().await;
    let (id, nonce) = hand.auth().await;
    let good = hand.attest_body(&nonce, &hand.key).to_string();
    let duplicate = good.replacen("\"init-data\"", "\"init-data\":null,\"init-data\"", 1);
    problem(hand.post("/kbs/v0/attest", Some(&id), duplicate).await, 401, "SerdeError").await; // D7
    problem(hand.post("/kbs/v0/attest", Some(&id), good).await, 401, "AttestationError").await;
    for body in ["", "{}", "[]", "{\"version\":\"0.4.0\"}", "\u{0}"] {
        problem(hand.post("/kbs/v0/auth", None, body.into()).await, 401, "SerdeError").await;
    }
    let long =
        format!(r#"{{"version":"0.4.0","tee":"snp","extra-params":"{}"}}"#, "x".repeat(5000));
    problem(hand.post("/kbs/v0/auth", None, long).await, 401, "SerdeError").await;
    let huge = "x".repeat((2 << 20) + 1);
    let reply = hand.post("/kbs/v0/attest", Some(&id), huge).await;
    assert_eq!(reply.status(), StatusCode::PAYLOAD_TOO_LARGE);
    hand.done().await;
}

#[tokio::test]
async fn another_key_than_the_one_bound_is_refused() {
    // D13: the host puts its own key beside a genuine report.
    let hand = ByHand::new().await;
    let (id, nonce) = hand.auth().await;
    let swapped = hand.attest_body(&nonce, &TeeKeyPair::generate().unwrap()).to_string();
    let reply = hand.post("/kbs/v0/attest", Some(&id), swapped).await;
    let detail = problem(reply, 401, "AttestationError").await;
    assert!(detail.contains("report.data"), "{detail}");
    hand.done().await;
}

#[tokio::test]
async fn evidence_of_devices_is_refused() {
    // D22
    let hand = ByHand::new().await;
    let (id, nonce) = hand.auth().await;
    let mut body = hand.attest_body(&nonce, &hand.key);
    body["tee-evidence"]["additional_evidence"] = json!("{\"nvidia\":{}}");
    let reply = hand.post("/kbs/v0/attest", Some(&id), body.to_string()).await;
    problem(reply, 401, "AttestationError").await;
    hand.done().await;
}

#[tokio::test]
async fn an_expired_session_is_refused() {
    // D8
    let hand = ByHand::new().await;
    let (id, nonce) = hand.auth().await;
    hand.place.advance(300);
    problem(hand.attest(&id, &nonce).await, 401, "AttestationError").await;

    let (id, token) = hand.handshake().await;
    let url = format!("/kbs/v0/resource/{KEY}");
    hand.place.advance(300);
    let reply = hand.get(&url, ("cookie", format!("kbs-session-id={id}"))).await;
    problem(reply, 401, "TokenNotFound").await;
    let reply = hand.get(&url, ("authorization", format!("Bearer {token}"))).await;
    problem(reply, 401, "TokenVerifierError").await;
    hand.done().await;
}

#[tokio::test]
async fn nothing_without_a_session_or_token() {
    let hand = ByHand::new().await;
    let url = format!("/kbs/v0/resource/{KEY}");
    problem(hand.get(&url, ("accept", "*/*".into())).await, 401, "TokenNotFound").await;
    // A session that was opened and not attested, and one that never was.
    let (id, _) = hand.auth().await;
    for id in [id, "0".repeat(32), "x".repeat(32), String::new()] {
        let reply = hand.get(&url, ("cookie", format!("kbs-session-id={id}"))).await;
        problem(reply, 401, "TokenNotFound").await;
    }
    problem(hand.post("/kbs/v0/attest", None, "{}".into()).await, 401, "AttestationError").await;
    // Not in the audit log: anybody could fill it.
    assert!(hand.place.audit().is_empty());
    hand.done().await;
}

#[tokio::test]
async fn forged_and_foreign_tokens_are_refused() {
    // D21
    let hand = ByHand::new().await;
    let other = ByHand::new().await;
    let (id, token) = hand.handshake().await;
    let (_, foreign) = other.handshake().await;
    let url = format!("/kbs/v0/resource/{KEY}");
    let claims = token.split('.').nth(1).unwrap();
    for bad in [
        foreign,
        format!("eyJ0eXAiOiJKV1QiLCJhbGciOiJub25lIn0.{claims}."),
        format!("{token}x"),
        "x".to_owned(),
        String::new(),
    ] {
        let reply = hand.get(&url, ("authorization", format!("Bearer {bad}"))).await;
        problem(reply, 401, "TokenVerifierError").await;
    }
    // A bad token is not made good by a good cookie.
    let reply = hand
        .client
        .get(hand.place.url(&url))
        .header("authorization", "Bearer x")
        .header("cookie", format!("kbs-session-id={id}"))
        .send()
        .await
        .unwrap();
    problem(reply, 401, "TokenVerifierError").await;
    let reply = hand.get(&url, ("authorization", format!("Basic {token}"))).await;
    problem(reply, 401, "TokenVerifierError").await;
    other.done().await;
    hand.done().await;
}

#[tokio::test]
async fn a_stolen_token_opens_nothing() {
    // D13: the thief gets an envelope that only the attested key opens.
    let hand = ByHand::new().await;
    let (_, token) = hand.handshake().await;
    let url = format!("/kbs/v0/resource/{KEY}");
    let reply = hand.get(&url, ("authorization", format!("Bearer {token}"))).await;
    let text = reply.text().await.unwrap();
    assert!(!text.contains(std::str::from_utf8(KEY_VALUE).unwrap()));
    let jwe: Jwe = serde_json::from_str(&text).unwrap();
    assert!(jwe.open(&TeeKeyPair::generate().unwrap()).is_err());
    assert_eq!(jwe.open(&hand.key).unwrap().expose(), KEY_VALUE);
    hand.done().await;
}

#[tokio::test]
async fn a_token_works_at_a_replica() {
    // The broker keeps nothing between requests that a bearer token does not carry.
    let hand = ByHand::new().await;
    let (_, token) = hand.handshake().await;
    let replica = Broker::open(&hand.place.dir, Arc::new(SystemClock)).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/kbs/v0/resource/{KEY}", listener.local_addr().unwrap());
    let server = tokio::spawn(serve(listener, replica, std::future::pending()));
    let reply = hand
        .client
        .get(url)
        .header("authorization", format!("Bearer {token}"))
        .send()
        .await
        .unwrap();
    let jwe: Jwe = serde_json::from_str(&reply.text().await.unwrap()).unwrap();
    assert_eq!(jwe.open(&hand.key).unwrap().expose(), KEY_VALUE);
    server.abort();
    hand.done().await;
}

#[tokio::test]
async fn paths_have_one_spelling() {
    let hand = ByHand::new().await;
    let (_, token) = hand.handshake().await;
    for path in [
        "/kbs/v0/resource/default/key",
        "/kbs/v0/resource/default/key/1/2",
        "/kbs/v0/resource/default/key/.1",
        "/kbs/v0/resource/default/k%65y/1",
        "/kbs/v0/resource/default/key/1?x=y",
        "/kbs/v0/resource/default//1",
        "/kbs/v0/other/default/key/1",
        "/kbs/v0",
        "/",
    ] {
        let reply = hand.get(path, ("authorization", format!("Bearer {token}"))).await;
        problem(reply, 404, "InvalidRequestPath").await;
    }
    hand.done().await;
}

#[tokio::test]
async fn other_protocol_versions_and_tees_are_refused() {
    let hand = ByHand::new().await;
    for (version, tee) in [
        ("0.3.0", "snp"),
        ("0.5.0", "snp"),
        ("1.0.0", "snp"),
        ("0.3.0", "tdx"),
        ("0.4.0", "sample"),
        ("0.4.0", "az-tdx-vtpm"),
        ("0.4.0", "TDX"),
    ] {
        let body = json!({"version": version, "tee": tee, "extra-params": ""}).to_string();
        let reply = hand.post("/kbs/v0/auth", None, body).await;
        problem(reply, 401, "AttestationError").await;
    }
    hand.done().await;
}

#[tokio::test]
async fn the_open_endpoint_is_bounded() {
    let hand = ByHand::new().await;
    for _ in 0..128 {
        hand.auth().await;
    }
    let body = r#"{"version":"0.4.0","tee":"snp","extra-params":""}"#;
    let reply = hand.post("/kbs/v0/auth", None, body.into()).await;
    assert_eq!(reply.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(reply.headers().contains_key("retry-after"));
    let detail = problem(reply, 429, "AttestationError").await;
    assert!(detail.starts_with("broker.busy: "), "{detail}");
    // Time frees the places.
    hand.place.advance(300);
    hand.auth().await;
    hand.done().await;
}

#[tokio::test]
async fn health_needs_no_session() {
    let hand = ByHand::new().await;
    let reply = hand.get("/healthz", ("accept", "*/*".into())).await;
    assert_eq!(reply.status(), StatusCode::OK);
    assert_eq!(reply.text().await.unwrap(), "ok");
    hand.done().await;
}

#[tokio::test]
async fn the_key_of_the_tokens_is_published() {
    let hand = ByHand::new().await;
    let (_, token) = hand.handshake().await;
    let reply = hand.get("/.well-known/jwks.json", ("accept", "*/*".into())).await;
    assert_eq!(reply.status(), StatusCode::OK);
    assert_eq!(reply.headers()["content-type"], "application/jwk-set+json");
    let keys = casemate_ear::JwkSet::parse(&reply.text().await.unwrap()).unwrap();
    let reader = casemate_ear::Reader::new(keys, "casemate-broker", "casemate-broker");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let ear = reader.read(&token, now).unwrap();
    assert!(ear.is_affirming());
    assert!(ear.submods["cpu0"].root.starts_with("simulated:"));
    hand.done().await;
}
