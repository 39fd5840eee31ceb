// SPDX-License-Identifier: Apache-2.0
//! Tokens: ES256 JWTs in the layout of EAR as the ecosystem's attestation service writes it.
//!
//! # Security
//!
//! A token is bound to the guest's key (`cnf` and `tee-pubkey`): what it fetches is sealed to that
//! key, so that a stolen one is of no use. Only tokens of this broker's own key and with exactly
//! the header that this broker writes are read; there is no choice of algorithm or key.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use casemate_kbs_protocol::TeePublicKey;
use ring::rand::SecureRandom as _;
use ring::rand::SystemRandom;
use ring::signature::ECDSA_P256_SHA256_FIXED;
use ring::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
use ring::signature::EcdsaKeyPair;
use ring::signature::KeyPair as _;
use ring::signature::UnparsedPublicKey;
use serde::Deserialize;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::error::BrokerError;
use crate::session::Guest;
use crate::session::SESSION_SECONDS;

/// Makes and reads tokens.
pub(crate) struct Signer {
    key: EcdsaKeyPair,
    random: SystemRandom,
    header: String,
}

/// What goes into a token beside the guest itself.
pub(crate) struct Attested<'a> {
    pub(crate) guest: &'a Guest,
    pub(crate) nonce: &'a str,
    pub(crate) report_data: &'a [u8; 64],
    pub(crate) chip_id: &'a [u8; 64],
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
    let random = SystemRandom::new();
    EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
        .map(|document| Zeroizing::new(document.as_ref().to_vec()))
        .map_err(|_| BrokerError::TokenKey)
}

impl Signer {
    pub(crate) fn new(pkcs8: &[u8]) -> Result<Self, BrokerError> {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &random)
            .map_err(|_| BrokerError::TokenKey)?;
        let header = header(key.public_key().as_ref()).ok_or(BrokerError::TokenKey)?;
        Ok(Self { key, random, header })
    }

    /// An id for a token.
    pub(crate) fn token_id(&self) -> Result<String, BrokerError> {
        let mut id = [0; 16];
        self.random.fill(&mut id).map_err(|_| BrokerError::Randomness)?;
        Ok(hex::encode(id))
    }

    pub(crate) fn issue(&self, attested: &Attested<'_>) -> Result<String, BrokerError> {
        let claims = serde_json::to_vec(&claims(attested)).map_err(|_| BrokerError::TokenKey)?;
        let signed = format!("{}.{}", self.header, URL_SAFE_NO_PAD.encode(claims));
        let signature =
            self.key.sign(&self.random, signed.as_bytes()).map_err(|_| BrokerError::TokenKey)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The guest that a token speaks of.
    pub(crate) fn read(&self, token: &str, now: u64) -> Result<Guest, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Foreign);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Foreign)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Foreign)?;
        // D21: the header is compared, not obeyed.
        if header != self.header {
            return Err(TokenError::Foreign);
        }
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Foreign);
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.key.public_key())
            .verify(signed.as_bytes(), &decode(signature)?)
            .map_err(|_| TokenError::Foreign)?;
        let claims: Claims =
            serde_json::from_slice(&decode(claims)?).map_err(|_| TokenError::Foreign)?;
        // D8: neither after its end nor, with the clock set back, before its beginning.
        if now >= claims.exp || now < claims.nbf {
            return Err(TokenError::Expired);
        }
        let snp = claims.submods.cpu0.evidence.snp;
        let mut host_data = [0; 32];
        hex::decode_to_slice(&snp.init_data, &mut host_data).map_err(|_| TokenError::Foreign)?;
        Ok(Guest {
            key: claims.cnf.jwk,
            root: snp.root,
            measurement: snp.measurement.parse().map_err(|_| TokenError::Foreign)?,
            host_data,
            id: claims.jti,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct Claims {
    eat_profile: String,
    iss: String,
    iat: u64,
    nbf: u64,
    exp: u64,
    jti: String,
    cnf: Confirmation,
    #[serde(rename = "ear.verifier-id")]
    verifier: VerifierId,
    submods: Submods,
}

#[derive(Serialize, Deserialize)]
struct Confirmation {
    jwk: TeePublicKey,
}

#[derive(Serialize, Deserialize)]
struct VerifierId {
    developer: String,
    build: String,
}

#[derive(Serialize, Deserialize)]
struct Submods {
    cpu0: Cpu,
}

#[derive(Serialize, Deserialize)]
struct Cpu {
    #[serde(rename = "ear.status")]
    status: String,
    #[serde(rename = "ear.trustworthiness-vector")]
    vector: TrustVector,
    #[serde(rename = "ear.appraisal-policy-id")]
    policy: String,
    #[serde(rename = "ear.veraison.annotated-evidence")]
    evidence: AnnotatedEvidence,
}

/// AR4SI claims, the tiers that the ecosystem's default policy gives accepted SNP evidence.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct TrustVector {
    instance_identity: i8,
    configuration: i8,
    executables: i8,
    file_system: i8,
    hardware: i8,
    runtime_opaque: i8,
    storage_opaque: i8,
    sourced_data: i8,
}

#[derive(Serialize, Deserialize)]
struct AnnotatedEvidence {
    init_data: String,
    report_data: String,
    runtime_data_claims: RuntimeClaims,
    snp: SnpClaims,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RuntimeClaims {
    nonce: String,
    tee_pubkey: TeePublicKey,
}

#[derive(Serialize, Deserialize)]
struct SnpClaims {
    measurement: String,
    init_data: String,
    report_data: String,
    chip_id: String,
    /// Which root the evidence ended in. Not in the ecosystem's layout, where a reader cannot tell.
    root: String,
}

fn claims(attested: &Attested<'_>) -> Claims {
    let Attested { guest, nonce, report_data, chip_id, now } = *attested;
    let (init_data, report_data) = (hex::encode(guest.host_data), hex::encode(report_data));
    Claims {
        eat_profile: EAT_PROFILE.to_owned(),
        iss: ISSUER.to_owned(),
        iat: now,
        nbf: now,
        exp: now.saturating_add(SESSION_SECONDS),
        jti: guest.id.clone(),
        cnf: Confirmation { jwk: guest.key.clone() },
        verifier: VerifierId {
            developer: ISSUER.to_owned(),
            build: concat!("casemate-broker ", env!("CARGO_PKG_VERSION")).to_owned(),
        },
        submods: Submods {
            cpu0: Cpu {
                status: "affirming".to_owned(),
                vector: TrustVector {
                    instance_identity: 0,
                    configuration: 3,
                    executables: 3,
                    file_system: 0,
                    hardware: 2,
                    runtime_opaque: 0,
                    storage_opaque: 0,
                    sourced_data: 0,
                },
                policy: "casemate".to_owned(),
                evidence: AnnotatedEvidence {
                    init_data: init_data.clone(),
                    report_data: report_data.clone(),
                    runtime_data_claims: RuntimeClaims {
                        nonce: nonce.to_owned(),
                        tee_pubkey: guest.key.clone(),
                    },
                    snp: SnpClaims {
                        measurement: guest.measurement.to_string(),
                        init_data,
                        report_data,
                        chip_id: hex::encode(chip_id),
                        root: guest.root.clone(),
                    },
                },
            },
        },
    }
}

/// `{"typ":"JWT","alg":"ES256","jwk":{…}}` with the signing key, base64url.
fn header(point: &[u8]) -> Option<String> {
    #[derive(Serialize)]
    struct Header<'a> {
        typ: &'a str,
        alg: &'a str,
        jwk: Jwk<'a>,
    }
    #[derive(Serialize)]
    struct Jwk<'a> {
        alg: &'a str,
        crv: &'a str,
        kty: &'a str,
        x: String,
        y: String,
    }
    let (x, y) = point.strip_prefix(&[0x04])?.split_at_checked(32)?;
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    let jwk = Jwk { alg: "ES256", crv: "P-256", kty: "EC", x, y };
    let json = serde_json::to_vec(&Header { typ: "JWT", alg: "ES256", jwk }).ok()?;
    Some(URL_SAFE_NO_PAD.encode(json))
}

const EAT_PROFILE: &str = "tag:github.com,2024:confidential-containers/Trustee";
const ISSUER: &str = "casemate-broker";

/// Longest token that is read, bytes.
const MAX_TOKEN_BYTES: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use casemate_kbs_protocol::TeeKeyPair;
    use casemate_verifier::Measurement;
    use serde_json::Value;

    use super::*;

    fn signer() -> Signer {
        Signer::new(&generate_key().unwrap()).unwrap()
    }

    fn guest() -> Guest {
        Guest {
            key: TeeKeyPair::generate().unwrap().public_key().clone(),
            root: "simulated:test".into(),
            measurement: Measurement([1; 48]),
            host_data: [2; 32],
            id: "7".repeat(32),
        }
    }

    fn issue(signer: &Signer, guest: &Guest, now: u64) -> String {
        let attested =
            Attested { guest, nonce: "bm9uY2U=", report_data: &[3; 64], chip_id: &[4; 64], now };
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
        assert_eq!(signer.read(&token, 1299), Ok(guest));
    }

    #[test]
    fn has_the_ecosystems_layout() {
        let guest = guest();
        let token = issue(&signer(), &guest, 1000);
        let header = part(&token, 0);
        assert_eq!((&header["typ"], &header["alg"]), (&"JWT".into(), &"ES256".into()));
        assert_eq!(header["jwk"]["crv"], "P-256");
        let claims = part(&token, 1);
        assert_eq!(claims["eat_profile"], EAT_PROFILE);
        assert_eq!(claims["exp"], 1300);
        assert_eq!(claims["submods"]["cpu0"]["ear.status"], "affirming");
        let key = serde_json::to_value(&guest.key).unwrap();
        let path = "/submods/cpu0/ear.veraison.annotated-evidence/runtime_data_claims/tee-pubkey";
        assert_eq!(claims.pointer(path), Some(&key));
        assert_eq!(claims["cnf"]["jwk"], key);
        let evidence = &claims["submods"]["cpu0"]["ear.veraison.annotated-evidence"];
        assert_eq!(evidence["snp"]["measurement"], "01".repeat(48));
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
    fn another_brokers_token_is_refused() {
        let token = issue(&signer(), &guest(), 1000);
        assert_eq!(signer().read(&token, 1000), Err(TokenError::Foreign));
    }

    #[test]
    fn headers_are_not_obeyed() {
        // D21: none, HMAC with the public key, and a key that the token brings along.
        let ours = signer();
        let token = issue(&ours, &guest(), 1000);
        let claims = token.split('.').nth(1).unwrap();
        for header in [
            r#"{"typ":"JWT","alg":"none"}"#,
            r#"{"typ":"JWT","alg":"HS256"}"#,
            r#"{"alg":"ES256","typ":"JWT"}"#,
        ] {
            let header = URL_SAFE_NO_PAD.encode(header);
            for signature in ["", token.rsplit('.').next().unwrap()] {
                let forged = format!("{header}.{claims}.{signature}");
                assert_eq!(ours.read(&forged, 1000), Err(TokenError::Foreign));
            }
        }
        let theirs = issue(&signer(), &guest(), 1000);
        assert_eq!(ours.read(&theirs, 1000), Err(TokenError::Foreign));
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
