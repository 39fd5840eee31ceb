// SPDX-License-Identifier: Apache-2.0
//! Keys that sign tokens, and sets of keys to check them with (RFC 7517).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use casemate_evidence::json;
use ring::digest;
use ring::rand::SystemRandom;
use ring::signature::ECDSA_P256_SHA256_FIXED;
use ring::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
use ring::signature::EcdsaKeyPair;
use ring::signature::KeyPair as _;
use ring::signature::UnparsedPublicKey;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;
use zeroize::Zeroizing;

/// A private key that signs tokens: ECDSA on P-256.
pub struct SigningKey {
    pub(crate) pair: EcdsaKeyPair,
    pub(crate) random: SystemRandom,
    public: Jwk,
}

/// The keys whose tokens a reader believes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwkSet {
    keys: Vec<Jwk>,
}

/// A public key on P-256 under its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Jwk {
    kty: String,
    crv: String,
    x: String,
    y: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alg: Option<String>,
    #[serde(default, rename = "use", skip_serializing_if = "Option::is_none")]
    purpose: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kid: Option<String>,
}

impl SigningKey {
    /// A new key, PKCS #8 DER.
    ///
    /// # Errors
    ///
    /// The platform gives no randomness.
    pub fn generate() -> Result<Zeroizing<Vec<u8>>, KeyError> {
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .map(|document| Zeroizing::new(document.as_ref().to_vec()))
            .map_err(|_| KeyError::Randomness)
    }

    /// Reads a key, PKCS #8 DER.
    ///
    /// # Errors
    ///
    /// The bytes are no key on P-256.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &random)
            .map_err(|_| KeyError::NoKey)?;
        let public = Jwk::of_point(pair.public_key().as_ref()).ok_or(KeyError::NoKey)?;
        Ok(Self { pair, random, public })
    }

    /// The key's id: its thumbprint (RFC 7638).
    #[must_use]
    pub fn id(&self) -> &str {
        self.public.kid.as_deref().unwrap_or_default()
    }

    /// The public key as a set of one, to be published.
    #[must_use]
    pub fn jwks(&self) -> String {
        self.key_set().to_json()
    }

    /// The public key as a set of one.
    #[must_use]
    pub fn key_set(&self) -> JwkSet {
        JwkSet { keys: vec![self.public.clone()] }
    }

    pub(crate) fn public(&self) -> &Jwk {
        &self.public
    }
}

impl JwkSet {
    /// Reads a set of keys, `{"keys":[…]}`. Keys of other kinds or for other uses are left out.
    ///
    /// # Errors
    ///
    /// The set is malformed or over a cap, holds a private key, two keys under one id, a key on
    /// P-256 that is malformed or has no id, or no key that can be used.
    pub fn parse(text: &str) -> Result<Self, JwkSetError> {
        if text.len() > MAX_SET_BYTES {
            return Err(JwkSetError::TooLarge);
        }
        let set: Value =
            json::from_slice(text.as_bytes()).map_err(|source| JwkSetError::Json { source })?;
        let listed = set.get("keys").and_then(Value::as_array).ok_or(JwkSetError::NoKeys)?;
        if listed.len() > MAX_KEYS {
            return Err(JwkSetError::TooLarge);
        }
        let mut keys: Vec<Jwk> = Vec::new();
        for key in listed {
            if key.get("d").is_some() {
                return Err(JwkSetError::Private);
            }
            let member = |name: &str| key.get(name).and_then(Value::as_str);
            let ours = member("kty") == Some("EC") && member("crv") == Some("P-256");
            let signs = member("use").is_none_or(|name| name == "sig")
                && member("alg").is_none_or(|name| name == "ES256");
            if !ours || !signs {
                continue;
            }
            let text = |name| member(name).map(str::to_owned).ok_or(JwkSetError::Key);
            let key = Jwk::new(text("x")?, text("y")?, text("kid")?);
            key.point().ok_or(JwkSetError::Key)?;
            if keys.iter().any(|other| other.kid == key.kid) {
                return Err(JwkSetError::SameId);
            }
            keys.push(key);
        }
        if keys.is_empty() { Err(JwkSetError::NoKeys) } else { Ok(Self { keys }) }
    }

    /// The set as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::json!({ "keys": self.keys }).to_string()
    }

    pub(crate) fn find(&self, kid: &str) -> Option<&Jwk> {
        self.keys.iter().find(|key| key.kid.as_deref() == Some(kid))
    }
}

impl Jwk {
    fn new(x: String, y: String, kid: String) -> Self {
        Self {
            kty: "EC".to_owned(),
            crv: "P-256".to_owned(),
            x,
            y,
            alg: Some("ES256".to_owned()),
            purpose: Some("sig".to_owned()),
            kid: Some(kid),
        }
    }

    /// Of an uncompressed point.
    fn of_point(point: &[u8]) -> Option<Self> {
        let (x, y) = point.strip_prefix(&[UNCOMPRESSED])?.split_at_checked(COORDINATE_BYTES)?;
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let kid = thumbprint(&x, &y);
        Some(Self::new(x, y, kid))
    }

    /// The uncompressed point. Whether it is on the curve shows when it is used.
    fn point(&self) -> Option<[u8; POINT_BYTES]> {
        let mut point = [UNCOMPRESSED; POINT_BYTES];
        let (_, coordinates) = point.split_first_mut()?;
        let (x, y) = coordinates.split_at_mut_checked(COORDINATE_BYTES)?;
        for (to, from) in [(x, &self.x), (y, &self.y)] {
            let from = URL_SAFE_NO_PAD.decode(from).ok()?;
            if from.len() != to.len() {
                return None;
            }
            to.copy_from_slice(&from);
        }
        Some(point)
    }

    /// Whether the key signed `message`: ES256, `r` and `s` of 32 bytes each (RFC 7518, 3.4).
    pub(crate) fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        self.point().is_some_and(|point| {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                .verify(message, signature)
                .is_ok()
        })
    }

    /// Whether both are one key, whatever else they say.
    pub(crate) fn is_same_key(&self, other: &Self) -> bool {
        (&self.kty, &self.crv, &self.x, &self.y) == (&other.kty, &other.crv, &other.x, &other.y)
    }
}

/// SHA-256 of the members that make the key, in the order of the alphabet (RFC 7638, section 3).
fn thumbprint(x: &str, y: &str) -> String {
    let text = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, text.as_bytes()))
}

/// A key cannot be made or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The bytes are no key.
    #[error("the key is no PKCS #8 key on P-256")]
    NoKey,
    /// The platform gives no randomness.
    #[error("failed to draw random numbers for a key")]
    Randomness,
}

/// A text is no set of keys.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JwkSetError {
    /// The set is over a cap.
    #[error("a set of keys has at most {MAX_SET_BYTES} bytes and {MAX_KEYS} keys")]
    TooLarge,
    /// The set is malformed.
    #[error("the set of keys is malformed")]
    Json {
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The set holds no key for ES256.
    #[error("the set holds no key for ES256")]
    NoKeys,
    /// The set holds a private key.
    #[error("the set holds a private key: it is not to be published or passed on")]
    Private,
    /// A key is malformed.
    #[error("a key of the set is malformed or has no id")]
    Key,
    /// Two keys have one id.
    #[error("two keys of the set have one id")]
    SameId,
}

const COORDINATE_BYTES: usize = 32;
const POINT_BYTES: usize = 1 + 2 * COORDINATE_BYTES;
const UNCOMPRESSED: u8 = 4;

/// Longest set of keys that is read, bytes.
const MAX_SET_BYTES: usize = 64 << 10;

/// Most keys in a set.
const MAX_KEYS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

    #[test]
    fn checks_the_example_of_rfc_7515_a_3() {
        let key = Jwk::new(X.into(), Y.into(), "a".into());
        let signed = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0d\
                      HA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let signature = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKT\
                         UJqPP3-Kg6NU1Q";
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        assert!(key.signed(signed.as_bytes(), &signature));
        assert!(!key.signed(b"other", &signature));
    }

    #[test]
    fn what_is_published_is_read() {
        let key = SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap();
        let set = JwkSet::parse(&key.jwks()).unwrap();
        assert_eq!(set, key.key_set());
        assert!(set.find(key.id()).is_some_and(|found| found.is_same_key(key.public())));
        assert_eq!(key.id().len(), 43);
        assert!(!key.jwks().contains("\"d\""));
        assert!(set.find("").is_none());
    }

    #[test]
    fn keys_of_other_kinds_are_left_out() {
        let set = format!(
            r#"{{"keys":[{{"kty":"RSA","n":"AQAB","e":"AQAB","kid":"r"}},
                {{"kty":"EC","crv":"P-384","x":"{X}","y":"{Y}","kid":"c"}},
                {{"kty":"EC","crv":"P-256","x":"{X}","y":"{Y}","kid":"e","use":"enc"}},
                {{"kty":"EC","crv":"P-256","x":"{X}","y":"{Y}","kid":"k","x5t":"ignored"}}]}}"#
        );
        let set = JwkSet::parse(&set).unwrap();
        assert_eq!(set.keys.len(), 1);
        assert!(set.find("k").is_some());
    }

    #[test]
    fn refuses_each_kind_of_bad_set() {
        let key = |members: &str| format!(r#"{{"kty":"EC","crv":"P-256",{members}}}"#);
        let good = key(&format!(r#""x":"{X}","y":"{Y}","kid":"k""#));
        let set = |keys: &[&str]| JwkSet::parse(&format!(r#"{{"keys":[{}]}}"#, keys.join(",")));
        assert!(set(&[&good]).is_ok());
        assert!(matches!(set(&[]), Err(JwkSetError::NoKeys)));
        assert!(matches!(JwkSet::parse("{}"), Err(JwkSetError::NoKeys)));
        assert!(matches!(JwkSet::parse("["), Err(JwkSetError::Json { .. })));
        assert!(matches!(set(&[&good, &good]), Err(JwkSetError::SameId)));
        assert!(matches!(set(&[good.as_str(); MAX_KEYS + 1]), Err(JwkSetError::TooLarge)));
        assert!(matches!(
            JwkSet::parse(&" ".repeat(MAX_SET_BYTES + 1)),
            Err(JwkSetError::TooLarge)
        ));
        let private = key(&format!(r#""x":"{X}","y":"{Y}","kid":"k","d":"AA""#));
        assert!(matches!(set(&[&private]), Err(JwkSetError::Private)));
        for bad in [
            key(&format!(r#""x":"{X}","y":"{Y}""#)),
            key(&format!(r#""x":"{X}","y":"AA","kid":"k""#)),
            key(&format!(r#""x":"{X}=","y":"{Y}","kid":"k""#)),
            key(&format!(r#""x":1,"y":"{Y}","kid":"k""#)),
        ] {
            assert!(matches!(set(&[&bad]), Err(JwkSetError::Key)), "{bad}");
        }
    }
}
