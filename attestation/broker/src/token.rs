// SPDX-License-Identifier: Apache-2.0
//! Tokens of this broker: attestation results ([`casemate_ear`]) that it issues to guests and reads
//! back.
//!
//! # Security
//!
//! A token is bound to the guest's key (`cnf` and `tee-pubkey`): what it fetches is sealed to that
//! key, so that a stolen one is of no use. Only tokens of this broker's own key are read.

use std::collections::BTreeMap;

use casemate_ear::AnnotatedEvidence;
use casemate_ear::Appraisal;
use casemate_ear::Confirmation;
use casemate_ear::Ear;
use casemate_ear::PROFILE;
use casemate_ear::Reader;
use casemate_ear::SigningKey;
use casemate_ear::TokenError as EarError;
use casemate_ear::TrustVector;
use casemate_ear::VerifierId;
use casemate_kbs_protocol::Tee;
use ring::rand::SecureRandom as _;
use ring::rand::SystemRandom;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use zeroize::Zeroizing;

use crate::error::BrokerError;
use crate::session::Guest;
use crate::session::SESSION_SECONDS;

/// Makes and reads tokens.
pub(crate) struct Signer {
    key: SigningKey,
    reader: Reader,
}

/// What goes into a token beside the guest itself.
pub(crate) struct Attested<'a> {
    pub(crate) guest: &'a Guest,
    pub(crate) nonce: &'a str,
    pub(crate) report_data: &'a [u8; 64],
    /// What only this TEE's evidence says.
    pub(crate) claims: Map<String, Value>,
    pub(crate) vector: casemate_verifier::TrustVector,
    pub(crate) now: u64,
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("the token is not of this broker")]
    Foreign,
    #[error("the token has expired")]
    Expired,
}

/// A new key for a broker, PKCS #8.
pub(crate) fn generate_key() -> Result<Zeroizing<Vec<u8>>, BrokerError> {
    SigningKey::generate().map_err(|_| BrokerError::TokenKey)
}

impl Signer {
    pub(crate) fn new(pkcs8: &[u8]) -> Result<Self, BrokerError> {
        let key = SigningKey::from_pkcs8(pkcs8).map_err(|_| BrokerError::TokenKey)?;
        let reader = Reader::new(key.key_set(), ISSUER, AUDIENCE);
        Ok(Self { key, reader })
    }

    /// The public key, for others who rely on the tokens.
    pub(crate) fn jwks(&self) -> String {
        self.key.jwks()
    }

    /// An id for a token.
    pub(crate) fn token_id(&self) -> Result<String, BrokerError> {
        let mut id = [0; 16];
        SystemRandom::new().fill(&mut id).map_err(|_| BrokerError::Randomness)?;
        Ok(hex::encode(id))
    }

    pub(crate) fn issue(&self, attested: &Attested<'_>) -> Result<String, BrokerError> {
        let ear = claims(attested).ok_or(BrokerError::TokenKey)?;
        self.key.sign(&ear).map_err(|_| BrokerError::TokenKey)
    }

    /// The guest that a token speaks of.
    pub(crate) fn read(&self, token: &str, now: u64) -> Result<Guest, TokenError> {
        let ear = self.reader.read(token, now).map_err(|error| match error {
            EarError::Expired | EarError::NotYet => TokenError::Expired,
            _ => TokenError::Foreign,
        })?;
        // What this broker issues is affirming; a token of its key that is not is none of its own.
        if !ear.is_affirming() {
            return Err(TokenError::Foreign);
        }
        guest(&ear).ok_or(TokenError::Foreign)
    }
}

/// The guest of claims that this broker wrote.
fn guest(ear: &Ear) -> Option<Guest> {
    let part = ear.submods.get(PART)?;
    let mut tees = part.evidence.tee.iter();
    let (Some((name, claims)), None) = (tees.next(), tees.next()) else { return None };
    let claim = |name: &str| claims.get(name)?.as_str();
    let mut host_data = [0; 32];
    hex::decode_to_slice(claim("init_data")?, &mut host_data).ok()?;
    Some(Guest {
        tee: Tee::from_name(name)?,
        key: serde_json::from_value(Value::Object(ear.confirmation.jwk.clone())).ok()?,
        root: part.root.clone(),
        root_keys: claim("root_keys")?.to_owned(),
        measurement: claim("measurement")?.parse().ok()?,
        host_data,
        id: ear.id.clone(),
    })
}

fn claims(attested: &Attested<'_>) -> Option<Ear> {
    let Attested { guest, nonce, report_data, ref claims, vector, now } = *attested;
    let (init_data, report_data) = (hex::encode(guest.host_data), hex::encode(report_data));
    let jwk = object(&guest.key)?;
    let runtime = json!({ "nonce": nonce, "tee-pubkey": jwk });
    let mut tee = claims.clone();
    tee.insert("measurement".to_owned(), guest.measurement.to_string().into());
    tee.insert("root_keys".to_owned(), guest.root_keys.clone().into());
    tee.insert("init_data".to_owned(), init_data.clone().into());
    tee.insert("report_data".to_owned(), report_data.clone().into());
    let evidence = AnnotatedEvidence {
        init_data,
        report_data,
        runtime_data_claims: object(&runtime)?,
        tee: BTreeMap::from([(guest.tee.to_string(), Value::Object(tee))]),
    };
    let vector = TrustVector {
        instance_identity: vector.instance_identity,
        configuration: vector.configuration,
        executables: vector.executables,
        file_system: vector.file_system,
        hardware: vector.hardware,
        runtime_opaque: vector.runtime_opaque,
        storage_opaque: vector.storage_opaque,
        sourced_data: vector.sourced_data,
    };
    let appraisal = Appraisal {
        status: vector.status(),
        vector,
        policy: POLICY.to_owned(),
        root: guest.root.clone(),
        evidence,
    };
    Some(Ear {
        profile: PROFILE.to_owned(),
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        issued_at: now,
        not_before: now,
        expires: now.saturating_add(SESSION_SECONDS),
        id: guest.id.clone(),
        nonce: nonce.to_owned(),
        confirmation: Confirmation { jwk },
        verifier: VerifierId {
            developer: ISSUER.to_owned(),
            build: concat!("casemate-broker ", env!("CARGO_PKG_VERSION")).to_owned(),
        },
        submods: BTreeMap::from([(PART.to_owned(), appraisal)]),
    })
}

fn object(value: &impl Serialize) -> Option<Map<String, Value>> {
    match serde_json::to_value(value).ok()? {
        Value::Object(members) => Some(members),
        _ => None,
    }
}

const ISSUER: &str = "casemate-broker";
/// Tokens are for the broker itself.
const AUDIENCE: &str = "casemate-broker";
const POLICY: &str = "casemate";
/// The part of a guest that its TEE is.
const PART: &str = "cpu0";

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use casemate_kbs_protocol::TeeKeyPair;
    use casemate_verifier::Measurement;

    use super::*;

    fn signer() -> Signer {
        Signer::new(&generate_key().unwrap()).unwrap()
    }

    fn guest() -> Guest {
        Guest {
            tee: Tee::Snp,
            key: TeeKeyPair::generate().unwrap().public_key().clone(),
            root: "simulated:test".into(),
            root_keys: "ab".into(),
            measurement: Measurement([1; 48]),
            host_data: [2; 32],
            id: "7".repeat(32),
        }
    }

    fn issue(signer: &Signer, guest: &Guest, now: u64) -> String {
        let vector = casemate_verifier::TrustVector {
            executables: 3,
            hardware: 2,
            ..casemate_verifier::TrustVector::default()
        };
        let (nonce, report_data) = ("bm9uY2U=", &[3; 64]);
        let claims = Map::from_iter([("chip_id".to_owned(), "04".into())]);
        let attested = Attested { guest, nonce, report_data, claims, vector, now };
        signer.issue(&attested).unwrap()
    }

    fn part(token: &str, index: usize) -> Value {
        let part = token.split('.').nth(index).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }

    #[test]
    fn what_is_issued_is_read() {
        let (signer, guest) = (signer(), guest());
        let token = issue(&signer, &guest, 1000);
        assert_eq!(signer.read(&token, 1000), Ok(guest.clone()));
        assert_eq!(signer.read(&token, 1299), Ok(guest.clone()));
        let td = Guest { tee: Tee::Tdx, ..guest };
        assert_eq!(signer.read(&issue(&signer, &td, 1000), 1000), Ok(td));
    }

    #[test]
    fn has_the_ecosystems_layout() {
        let guest = guest();
        let token = issue(&signer(), &guest, 1000);
        let header = part(&token, 0);
        assert_eq!((&header["typ"], &header["alg"]), (&"JWT".into(), &"ES256".into()));
        assert_eq!(header["jwk"]["crv"], "P-256");
        assert_eq!(header["kid"], header["jwk"]["kid"]);
        let claims = part(&token, 1);
        assert_eq!(claims["eat_profile"], PROFILE);
        assert_eq!(claims["exp"], 1300);
        assert_eq!((&claims["iss"], &claims["aud"]), (&ISSUER.into(), &AUDIENCE.into()));
        assert_eq!((&claims["eat_nonce"], &claims["nbf"]), (&"bm9uY2U=".into(), &1000.into()));
        assert_eq!(claims["submods"]["cpu0"]["ear.casemate.root"], "simulated:test");
        assert_eq!(claims["submods"]["cpu0"]["ear.status"], "affirming");
        let key = serde_json::to_value(&guest.key).unwrap();
        let path = "/submods/cpu0/ear.veraison.annotated-evidence/runtime_data_claims/tee-pubkey";
        assert_eq!(claims.pointer(path), Some(&key));
        assert_eq!(claims["cnf"]["jwk"], key);
        let evidence = &claims["submods"]["cpu0"]["ear.veraison.annotated-evidence"];
        assert_eq!(evidence["snp"]["measurement"], "01".repeat(48));
        assert_eq!(evidence["snp"]["chip_id"], "04");
        assert_eq!(evidence["init_data"], "02".repeat(32));
        assert_eq!(evidence["runtime_data_claims"]["nonce"], "bm9uY2U=");
    }

    #[test]
    fn times_are_enforced_on_both_ends() {
        // D8
        let signer = signer();
        let token = issue(&signer, &guest(), 1000);
        assert_eq!(signer.read(&token, 1300), Err(TokenError::Expired));
        assert_eq!(signer.read(&token, 999), Err(TokenError::Expired));
    }

    #[test]
    fn a_token_of_this_key_for_somebody_else_is_refused() {
        // D21
        let signer = signer();
        let other = Reader::new(signer.key.key_set(), ISSUER, AUDIENCE);
        let mut ear = other.read(&issue(&signer, &guest(), 1000), 1000).unwrap();
        assert!(signer.read(&signer.key.sign(&ear).unwrap(), 1000).is_ok());
        ear.audience = "another".into();
        let token = signer.key.sign(&ear).unwrap();
        assert_eq!(signer.read(&token, 1000), Err(TokenError::Foreign));
        ear.audience = AUDIENCE.into();
        ear.submods.get_mut(PART).unwrap().status = casemate_ear::Status::Warning;
        let token = signer.key.sign(&ear).unwrap();
        assert_eq!(signer.read(&token, 1000), Err(TokenError::Foreign));
    }

    #[test]
    fn another_brokers_token_is_refused() {
        let token = issue(&signer(), &guest(), 1000);
        assert_eq!(signer().read(&token, 1000), Err(TokenError::Foreign));
    }

    #[test]
    fn every_changed_character_is_refused() {
        let signer = signer();
        let token = issue(&signer, &guest(), 1000);
        for at in 0..token.len() {
            let mut bad = token.clone().into_bytes();
            bad[at] ^= 1;
            if let Ok(bad) = String::from_utf8(bad) {
                assert_eq!(signer.read(&bad, 1000), Err(TokenError::Foreign), "{at}");
            }
        }
        for end in 0..token.len() {
            assert_eq!(signer.read(&token[..end], 1000), Err(TokenError::Foreign), "{end}");
        }
    }
}
