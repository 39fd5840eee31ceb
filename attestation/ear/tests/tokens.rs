// SPDX-License-Identifier: Apache-2.0
//! What is issued is read, and every way to confuse a reader is refused.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use casemate_ear::Ear;
use casemate_ear::JwkSet;
use casemate_ear::MAX_TOKEN_BYTES;
use casemate_ear::PROFILE;
use casemate_ear::Reader;
use casemate_ear::SigningKey;
use casemate_ear::Status;
use casemate_ear::TokenError;
use proptest::prelude::*;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
use ring::signature::EcdsaKeyPair;
use ring::signature::KeyPair as _;
use serde_json::Value;
use serde_json::json;

const ISSUER: &str = "issuer";
const AUDIENCE: &str = "audience";
const NOW: u64 = 1_795_000_000;

/// A key and who believes it. The pair signs what no [`SigningKey`] would.
struct Desk {
    key: SigningKey,
    pair: EcdsaKeyPair,
    reader: Reader,
}

impl Desk {
    fn new() -> Self {
        let pkcs8 = SigningKey::generate().unwrap();
        let key = SigningKey::from_pkcs8(&pkcs8).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            &pkcs8,
            &SystemRandom::new(),
        )
        .unwrap();
        let reader = Reader::new(JwkSet::parse(&key.jwks()).unwrap(), ISSUER, AUDIENCE);
        Self { key, pair, reader }
    }

    /// A token with any header and claims under a true signature.
    fn sign(&self, header: &str, claims: &str) -> String {
        let signed = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn header(&self) -> String {
        json!({"typ": "JWT", "alg": "ES256", "kid": self.key.id()}).to_string()
    }

    fn read(&self, token: &str) -> Result<Ear, TokenError> {
        self.reader.read(token, NOW)
    }

    /// Reads claims that this issuer itself signed.
    fn read_claims(&self, claims: &str) -> Result<Ear, TokenError> {
        self.read(&self.sign(&self.header(), claims))
    }
}

fn claims() -> Value {
    let key = json!({"kty": "EC", "crv": "P-256", "alg": "ECDH-ES+A256KW", "x": "AQ", "y": "Ag"});
    json!({
        "eat_profile": PROFILE, "iss": ISSUER, "aud": AUDIENCE,
        "iat": NOW, "nbf": NOW, "exp": NOW + 300, "jti": "7", "eat_nonce": "bm9uY2U=",
        "cnf": {"jwk": key},
        "ear.verifier-id": {"developer": "d", "build": "b"},
        "submods": {"cpu0": {
            "ear.status": "affirming",
            "ear.trustworthiness-vector": {
                "instance-identity": 2, "configuration": 2, "executables": 3, "file-system": 0,
                "hardware": 2, "runtime-opaque": 2, "storage-opaque": 0, "sourced-data": 0},
            "ear.appraisal-policy-id": "p",
            "ear.casemate.root": "simulated:test",
            "ear.veraison.annotated-evidence": {
                "init_data": "00", "report_data": "01",
                "runtime_data_claims": {"nonce": "bm9uY2U=", "tee-pubkey": key},
                "snp": {"measurement": "02"}}}}})
}

fn ear() -> Ear {
    serde_json::from_value(claims()).unwrap()
}

fn changed(pointer: &str, value: Value) -> String {
    let mut claims = claims();
    *claims.pointer_mut(pointer).unwrap() = value;
    claims.to_string()
}

#[test]
fn what_is_issued_is_read() {
    let desk = Desk::new();
    let token = desk.key.sign(&ear()).unwrap();
    assert_eq!(desk.read(&token).unwrap(), ear());
    assert!(ear().is_affirming());
    assert_eq!(ear().status(), Status::Affirming);
    assert_eq!(desk.read_claims(&claims().to_string()).unwrap(), ear());
}

#[test]
fn the_layout_is_the_ecosystems() {
    let desk = Desk::new();
    let token = desk.key.sign(&ear()).unwrap();
    let part = |index| -> Value {
        let part = token.split('.').nth(index).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    let header: Value = part(0);
    assert_eq!((&header["typ"], &header["alg"]), (&json!("JWT"), &json!("ES256")));
    assert_eq!(header["jwk"]["kty"], "EC");
    assert_eq!(part(1), claims());
    // The members of the ecosystem's own sample stand at the same places.
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../shared/vectors/ear/trustee-example.token.json"
    );
    let Ok(sample) = std::fs::read(path) else {
        assert!(std::env::var_os("CASEMATE_REQUIRE").is_none(), "{path} is missing");
        eprintln!("skipped: {path} is missing");
        return;
    };
    let sample: Value = serde_json::from_slice(&sample).unwrap();
    let ours = part(1);
    let same = |pointer: &str, except: &[&str]| {
        let theirs = sample.pointer(pointer).unwrap().as_object().unwrap();
        for name in theirs.keys().filter(|name| !except.contains(&name.as_str())) {
            assert!(ours.pointer(pointer).unwrap().get(name).is_some(), "{pointer} lacks {name}");
        }
    };
    same("", &[]);
    same("/submods/cpu0", &[]);
    same("/submods/cpu0/ear.trustworthiness-vector", &[]);
    let evidence = "/submods/cpu0/ear.veraison.annotated-evidence";
    same(evidence, &["sgx", "init_data_claims"]);
}

#[test]
fn headers_are_not_obeyed() {
    // D21: none, HMAC with any form of the public key, other algorithms, and members that change
    // how a token is read.
    let desk = Desk::new();
    let kid = desk.key.id();
    let claims = claims().to_string();
    for alg in ["none", "None", "NONE", "", "HS256", "ES384", "RS256", "es256", "EdDSA"] {
        let header = json!({"typ": "JWT", "alg": alg, "kid": kid}).to_string();
        let token = desk.sign(&header, &claims);
        assert!(matches!(desk.read(&token), Err(TokenError::Algorithm)), "{alg}");
        let bare = format!("{}.", token.rsplit_once('.').unwrap().0);
        assert!(matches!(desk.read(&bare), Err(TokenError::Algorithm)), "{alg}");
    }
    let header = json!({"typ": "JWT", "alg": "HS256", "kid": kid}).to_string();
    let signed = [header.as_str(), claims.as_str()].map(|p| URL_SAFE_NO_PAD.encode(p)).join(".");
    for secret in [desk.pair.public_key().as_ref(), desk.key.jwks().as_bytes(), kid.as_bytes(), b""]
    {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag));
        assert!(matches!(desk.read(&token), Err(TokenError::Algorithm)));
    }
    for (name, value) in [
        ("crit", json!(["exp"])),
        ("jku", json!("https://keys.example")),
        ("x5u", json!("https://keys.example")),
        ("x5c", json!(["AA=="])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("cty", json!("JWT")),
    ] {
        let mut header = json!({"typ": "JWT", "alg": "ES256", "kid": kid});
        header[name] = value;
        let token = desk.sign(&header.to_string(), &claims);
        assert!(matches!(desk.read(&token), Err(TokenError::Header { .. })), "{name}");
    }
    let header = json!({"typ": "JOSE", "alg": "ES256", "kid": kid}).to_string();
    assert!(matches!(desk.read(&desk.sign(&header, &claims)), Err(TokenError::Type)));
    for missing in [json!({"alg": "ES256", "kid": kid}), json!({"typ": "JWT", "alg": "ES256"})] {
        let token = desk.sign(&missing.to_string(), &claims);
        assert!(matches!(desk.read(&token), Err(TokenError::Header { .. })));
    }
}

#[test]
fn a_key_that_a_token_brings_along_is_not_believed() {
    // D21
    let (ours, theirs) = (Desk::new(), Desk::new());
    let token = theirs.key.sign(&ear()).unwrap();
    assert!(matches!(ours.read(&token), Err(TokenError::UnknownKey)));
    // Under our key's id, with their key in the header or without.
    let jwks: Value = serde_json::from_str(&theirs.key.jwks()).unwrap();
    let mut header = json!({"typ": "JWT", "alg": "ES256", "kid": ours.key.id()});
    let token = theirs.sign(&header.to_string(), &claims().to_string());
    assert!(matches!(ours.read(&token), Err(TokenError::Signature)));
    header["jwk"] = jwks["keys"][0].clone();
    let token = theirs.sign(&header.to_string(), &claims().to_string());
    assert!(matches!(ours.read(&token), Err(TokenError::UnknownKey)));
}

#[test]
fn issuer_audience_and_profile_are_compared() {
    // D21
    let desk = Desk::new();
    let read = |pointer: &str| desk.read_claims(&changed(pointer, json!("other")));
    assert!(matches!(read("/iss"), Err(TokenError::Issuer)));
    assert!(matches!(read("/aud"), Err(TokenError::Audience)));
    assert!(matches!(read("/eat_profile"), Err(TokenError::Profile)));
    let several = desk.read_claims(&changed("/aud", json!([AUDIENCE, "other"])));
    assert!(matches!(several, Err(TokenError::Claims { .. })));
}

#[test]
fn times_are_enforced_on_both_ends() {
    // D8
    let desk = Desk::new();
    let token = desk.key.sign(&ear()).unwrap();
    assert!(desk.reader.read(&token, NOW + 299).is_ok());
    assert!(matches!(desk.reader.read(&token, NOW + 300), Err(TokenError::Expired)));
    assert!(matches!(desk.reader.read(&token, NOW - 1), Err(TokenError::NotYet)));
    assert!(matches!(desk.reader.read(&token, u64::MAX), Err(TokenError::Expired)));
    let read = |pointer: &str, value: u64| desk.read_claims(&changed(pointer, json!(value)));
    assert!(matches!(read("/nbf", NOW + 1), Err(TokenError::NotYet)));
    assert!(matches!(read("/iat", NOW + 1), Err(TokenError::NotYet)));
    assert!(matches!(read("/exp", NOW), Err(TokenError::Expired)));
    assert!(matches!(read("/exp", NOW + 86_401), Err(TokenError::Lifetime)));
    assert!(matches!(read("/exp", u64::MAX), Err(TokenError::Lifetime)));
}

#[test]
fn every_claim_is_needed() {
    let desk = Desk::new();
    let whole = claims();
    for name in whole.as_object().unwrap().keys() {
        let mut less = whole.clone();
        less.as_object_mut().unwrap().remove(name);
        let read = desk.read_claims(&less.to_string());
        assert!(matches!(read, Err(TokenError::Claims { .. })), "{name}");
    }
    let part = whole["submods"]["cpu0"].as_object().unwrap();
    for name in part.keys() {
        let mut less = whole.clone();
        less["submods"]["cpu0"].as_object_mut().unwrap().remove(name);
        let read = desk.read_claims(&less.to_string());
        assert!(matches!(read, Err(TokenError::Claims { .. })), "{name}");
    }
}

#[test]
fn nested_tokens_are_refused() {
    // D21: a token as the claims of another one, or as a part's result (RFC 9711, section 4.2.18).
    let desk = Desk::new();
    let inner = desk.key.sign(&ear()).unwrap();
    assert!(matches!(desk.read_claims(&inner), Err(TokenError::Claims { .. })));
    assert!(matches!(desk.read_claims(&json!(inner).to_string()), Err(TokenError::Claims { .. })));
    for nested in [json!(inner), json!(["JWT", inner])] {
        let read = desk.read_claims(&changed("/submods/cpu0", nested.clone()));
        assert!(matches!(read, Err(TokenError::Claims { .. })));
        let read = desk.read_claims(&changed("/submods", nested));
        assert!(matches!(read, Err(TokenError::Claims { .. })));
    }
    let five = format!("{inner}.AA.AA");
    assert!(matches!(desk.read(&five), Err(TokenError::Form)));
}

#[test]
fn members_stand_once() {
    // D7, D21
    let desk = Desk::new();
    let text = claims().to_string();
    for (name, twice) in [
        (r#""jti":"7""#, r#""jti":"7","jti":"7""#),
        (r#""ear.status":"affirming""#, r#""ear.status":"warning","ear.status":"affirming""#),
        (r#""measurement":"02""#, r#""measurement":"02","measurement":"03""#),
        (r#""init_data":"00""#, r#""init_data":"00","init_data":"00""#),
        // Text that the parser would read as JSON once more.
        (r#"{"measurement":"02"}"#, r#"{"$serde_json::private::RawValue":"{\"a\":1,\"a\":2}"}"#),
    ] {
        let bad = text.replace(name, twice);
        assert_ne!(bad, text);
        assert!(matches!(desk.read_claims(&bad), Err(TokenError::Claims { .. })), "{name}");
    }
    let header = desk.header().replace('{', r#"{"alg":"ES256","#);
    assert!(matches!(desk.read(&desk.sign(&header, &text)), Err(TokenError::Header { .. })));
    let trailing = format!("{text} {{}}");
    assert!(matches!(desk.read_claims(&trailing), Err(TokenError::Claims { .. })));
}

#[test]
fn a_status_is_not_better_than_its_vector() {
    let desk = Desk::new();
    let vector = "/submods/cpu0/ear.trustworthiness-vector/hardware";
    for (claim, good) in [(2, true), (0, true), (33, false), (97, false), (-128, false)] {
        let read = desk.read_claims(&changed(vector, json!(claim)));
        assert_eq!(read.is_ok(), good, "{claim}");
    }
    // Who affirms says of what: a vector of nothing affirms nothing.
    for empty in [json!({}), json!({ "hardware": 0, "executables": 1 }), json!({ "hardware": -1 })]
    {
        let token = changed("/submods/cpu0/ear.trustworthiness-vector", empty);
        assert!(matches!(desk.read_claims(&token), Err(TokenError::Status)));
    }
    let worse = desk.read_claims(&changed("/submods/cpu0/ear.status", json!("warning"))).unwrap();
    assert!(!worse.is_affirming());
    let none = desk.read_claims(&changed("/submods", json!({})));
    assert!(matches!(none, Err(TokenError::Status)));
}

#[test]
fn every_changed_or_missing_character_is_refused() {
    let desk = Desk::new();
    let token = desk.key.sign(&ear()).unwrap();
    for at in 0..token.len() {
        let mut bad = token.clone().into_bytes();
        bad[at] ^= 1;
        assert!(desk.read(std::str::from_utf8(&bad).unwrap()).is_err(), "{at}");
        assert!(desk.read(&token[..at]).is_err(), "{at}");
    }
    for bad in [format!("{token}="), format!("{token} "), format!(" {token}"), format!("{token}A")]
    {
        assert!(desk.read(&bad).is_err());
    }
    let long = "A".repeat(MAX_TOKEN_BYTES + 1);
    assert!(matches!(desk.read(&long), Err(TokenError::TooLong)));
}

#[test]
fn a_changed_or_missing_byte_of_a_key_set_is_an_error_or_another_set() {
    let key = SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap();
    let (text, good) = (key.jwks(), key.key_set());
    for at in 0..text.len() {
        assert!(JwkSet::parse(&text[..at]).is_err(), "{at}");
        let mut bad = text.clone().into_bytes();
        bad[at] ^= 1;
        let Ok(bad) = String::from_utf8(bad) else { continue };
        // Only the names of the members that a key need not have are not needed.
        let optional = ["\"alg\"", "\"use\""]
            .iter()
            .any(|name| text.find(name).is_some_and(|start| (start + 1..start + 4).contains(&at)));
        assert!(optional || JwkSet::parse(&bad).ok().as_ref() != Some(&good), "{at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_texts_survive(id in ".*", policy in ".*", root in ".*", nonce in ".*") {
        let desk = Desk::new();
        let mut ear = ear();
        ear.id = id;
        ear.nonce = nonce;
        let part = ear.submods.get_mut("cpu0").unwrap();
        part.policy = policy;
        part.root = root;
        let token = desk.key.sign(&ear).unwrap();
        prop_assert_eq!(desk.read(&token).unwrap(), ear);
    }

    #[test]
    fn key_sets_are_read_as_they_are_written(
        ids in proptest::collection::btree_set(".{0,8}", 1..5),
        point: ([u8; 32], [u8; 32]),
    ) {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (x, y) = (encode(&point.0), encode(&point.1));
        let key = |id| json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": id});
        let text = json!({ "keys": ids.iter().map(key).collect::<Vec<_>>() }).to_string();
        let set = JwkSet::parse(&text).unwrap();
        prop_assert_eq!(JwkSet::parse(&set.to_json()).unwrap(), set.clone());
        let written: Value = serde_json::from_str(&set.to_json()).unwrap();
        let found = written["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str());
        prop_assert!(found.eq(ids.iter().map(|id| Some(id.as_str()))));
    }

    #[test]
    fn no_text_makes_it_panic(text in ".{0,200}", tail in "[A-Za-z0-9_-]{0,80}") {
        let desk = Desk::new();
        prop_assert!(desk.read(&text).is_err());
        prop_assert!(JwkSet::parse(&text).is_err());
        let token = format!("{}.{}.{tail}", URL_SAFE_NO_PAD.encode(desk.header()), tail);
        prop_assert!(desk.read(&token).is_err());
    }
}
