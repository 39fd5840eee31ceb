// SPDX-License-Identifier: Apache-2.0
//! Tokens and sets of keys: what nobody signed is refused, and what is read is written, read again
//! and the same. Claims and headers are signed here, so that readers look behind the signature.

#![no_main]

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use casemate_ear::JwkSet;
use casemate_ear::Reader;
use casemate_ear::SigningKey;
use libfuzzer_sys::fuzz_target;
use ring::rand::SystemRandom;
use ring::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
use ring::signature::EcdsaKeyPair;
use serde_json::Value;

/// A key, who believes it, and the pair, which signs what no [`SigningKey`] would.
struct Desk {
    key: SigningKey,
    pair: EcdsaKeyPair,
    random: SystemRandom,
    reader: Reader,
    header: String,
}

static DESK: LazyLock<Desk> = LazyLock::new(|| {
    let random = SystemRandom::new();
    let pkcs8 = SigningKey::generate().expect("there is randomness");
    let key = SigningKey::from_pkcs8(&pkcs8).expect("the key was just made");
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8, &random);
    let reader = Reader::new(key.key_set(), "issuer", "audience");
    let header = format!(r#"{{"typ":"JWT","alg":"ES256","kid":"{}"}}"#, key.id());
    Desk { pair: pair.expect("the key was just made"), key, random, reader, header }
});

impl Desk {
    fn sign(&self, header: &str, claims: &str) -> String {
        let signed = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
        let signature = self.pair.sign(&self.random, signed.as_bytes()).expect("a signature");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fuzz_target!(|text: &str| {
    let desk = &*DESK;
    if let Ok(keys) = JwkSet::parse(text) {
        assert_eq!(JwkSet::parse(&keys.to_json()).expect("what is written is read"), keys);
    }
    assert!(desk.reader.read(text, NOW).is_err(), "nobody signed this");
    if !text.starts_with('{') {
        return;
    }
    // `KID` stands for the key's id, which is another one in each run.
    let _ = desk.reader.read(&desk.sign(&text.replace("KID", desk.key.id()), "{}"), NOW);
    if let Ok(ear) = desk.reader.read(&desk.sign(&desk.header, text), NOW) {
        assert!(
            ear.status() >= ear.submods.values().map(|part| part.vector.status()).max().unwrap()
        );
        let again = desk.key.sign(&ear).expect("claims that were read are written");
        let again = desk.reader.read(&again, NOW).expect("what is written is read");
        // The parser may read a fraction as its neighbour.
        if !serde_json::from_str(text).is_ok_and(|value| has_fraction(&value)) {
            assert_eq!(again, ear);
        }
    }
});

fn has_fraction(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(has_fraction),
        Value::Object(members) => members.values().any(has_fraction),
        other => other.is_f64(),
    }
}

const NOW: u64 = 1_795_000_000;
