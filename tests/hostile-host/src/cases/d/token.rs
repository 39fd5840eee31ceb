// SPDX-License-Identifier: Apache-2.0
//! D21: tokens that say how they are to be read.

use std::collections::BTreeMap;

use anyhow::ensure;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use casemate_ear::AnnotatedEvidence;
use casemate_ear::Appraisal;
use casemate_ear::Confirmation;
use casemate_ear::Ear;
use casemate_ear::PROFILE;
use casemate_ear::Reader;
use casemate_ear::SigningKey;
use casemate_ear::Status;
use casemate_ear::TrustVector;
use casemate_ear::VerifierId;
use ring::hmac;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::broker::Guest;
use super::broker::Owner;
use crate::Case;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Outcome;
use crate::Verdict;

pub(super) static D21: Case = Case {
    id: "D21",
    level: Level::P,
    attack: "tokens without a signature, under a public key as secret, of others or for others",
    defence: Defence::Code(Guard { function: "casemate_ear::jwk::Jwk::signed", sabotage: "true" }),
    run: |_| Box::pin(confuse()),
};

const ISSUER: &str = "casemate-broker";

/// Affirming claims, good from `from` to `to`.
pub(crate) fn ear(from: u64, to: u64) -> Ear {
    let vector = TrustVector {
        instance_identity: 2,
        configuration: 2,
        executables: 2,
        file_system: 0,
        hardware: 2,
        runtime_opaque: 2,
        storage_opaque: 0,
        sourced_data: 0,
    };
    let evidence = AnnotatedEvidence {
        init_data: "02".repeat(32),
        report_data: "03".repeat(64),
        runtime_data_claims: Map::new(),
        tee: BTreeMap::from([("snp".to_owned(), json!({ "measurement": "3e".repeat(48) }))]),
    };
    let part = Appraisal {
        status: Status::Affirming,
        vector,
        policy: "casemate".to_owned(),
        root: "simulated:minted".to_owned(),
        evidence,
    };
    Ear {
        profile: PROFILE.to_owned(),
        issuer: ISSUER.to_owned(),
        audience: ISSUER.to_owned(),
        issued_at: from,
        not_before: from,
        expires: to,
        id: "7".repeat(32),
        nonce: "bm9uY2U=".to_owned(),
        confirmation: Confirmation { jwk: Map::new() },
        verifier: VerifierId { developer: "x".to_owned(), build: "y".to_owned() },
        submods: BTreeMap::from([("cpu0".to_owned(), part)]),
    }
}

/// A reader that believes one key.
pub(crate) fn reader(key: &SigningKey) -> Reader {
    Reader::new(key.key_set(), ISSUER, ISSUER)
}

async fn confuse() -> Verdict {
    let key = SigningKey::from_pkcs8(&SigningKey::generate()?)?;
    let stranger = SigningKey::from_pkcs8(&SigningKey::generate()?)?;
    let (good, reader) = (ear(1000, 1300), reader(&key));
    let token = key.sign(&good)?;
    ensure!(reader.read(&token, 1000).is_ok(), "a good token is refused");

    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, signature] = parts[..] else { anyhow::bail!("no three parts") };
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header)?)?;
    let with = |name: &str, value: Value| {
        let mut header = header.clone();
        header[name] = value;
        URL_SAFE_NO_PAD.encode(header.to_string())
    };
    // HS256 with the public key, as it is published, for a secret.
    let secret = hmac::Key::new(hmac::HMAC_SHA256, key.jwks().as_bytes());
    let head = with("alg", json!("HS256"));
    let mac = hmac::sign(&secret, format!("{head}.{claims}").as_bytes());
    let foreign = stranger.sign(&good)?;
    let foreign_key: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(foreign.split('.').next().unwrap())?)?;
    // The claims are changed, the signature is not.
    let mut more = good.clone();
    more.submods.get_mut("cpu0").unwrap().root = "amd:genoa".to_owned();
    let changed = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&more)?);
    let sign = |change: fn(&mut Ear)| {
        let mut other = good.clone();
        change(&mut other);
        key.sign(&other)
    };
    let bad = [
        ("alg none", format!("{}.{claims}.", with("alg", json!("none")))),
        (
            "alg none with a signature",
            format!("{}.{claims}.{signature}", with("alg", json!("none"))),
        ),
        ("HS256 with the public key", format!("{head}.{claims}.{}", URL_SAFE_NO_PAD.encode(mac))),
        ("ES384", format!("{}.{claims}.{signature}", with("alg", json!("ES384")))),
        ("no signature", format!("{}.{claims}.", parts[0])),
        ("changed claims", format!("{}.{changed}.{signature}", parts[0])),
        ("a stranger's", foreign.clone()),
        ("a stranger's key under our id", {
            let jwk = foreign_key["jwk"].clone();
            format!("{}.{claims}.{signature}", with("jwk", jwk))
        }),
        ("jku", format!("{}.{claims}.{signature}", with("jku", json!("https://host.example")))),
        ("x5c", format!("{}.{claims}.{signature}", with("x5c", json!([])))),
        ("crit", format!("{}.{claims}.{signature}", with("crit", json!(["b64"])))),
        ("another type", format!("{}.{claims}.{signature}", with("typ", json!("JOSE")))),
        ("four parts", format!("{token}.{signature}")),
        ("a nested token", format!("{}.{}.{signature}", parts[0], URL_SAFE_NO_PAD.encode(&token))),
        ("another issuer", sign(|ear| ear.issuer = "https://other.example".into())?),
        ("another audience", sign(|ear| ear.audience = "https://other.example".into())?),
        ("a day and a second of life", sign(|ear| ear.expires = 1000 + 86_401)?),
        ("no part", sign(|ear| ear.submods.clear())?),
        (
            "a status better than its vector",
            sign(|ear| {
                ear.submods.get_mut("cpu0").unwrap().vector.hardware = 97;
            })?,
        ),
    ];
    for (what, token) in &bad {
        ensure!(reader.read(token, 1000).is_err(), "a token is taken: {what}");
    }

    // The broker reads tokens of its own key alone, and a token of another TEE's verdict is none.
    let owner = Owner::new().await?;
    let hand = owner.by_hand(Guest::honest())?;
    let other = Owner::new().await?;
    let (_, of_other) = other.by_hand(Guest::honest())?.handshake().await?;
    for token in bad.iter().map(|(_, token)| token).chain([&foreign, &of_other]) {
        hand.resource(token).await?.refused("TokenVerifierError")?;
    }
    ensure!(owner.releases()? == 0, "the key was released to a forged token");
    Ok(Outcome::pass(format!("{} kinds of forged tokens refused, also by the broker", bad.len())))
}
