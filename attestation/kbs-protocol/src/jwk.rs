// SPDX-License-Identifier: Apache-2.0
//! The guest's key of one session, and its public half as a JWK.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use ring::rand::SecureRandom as _;
use ring::rand::SystemRandom;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use zeroize::Zeroizing;

/// An EC key pair on P-256 that stands for one attested session.
///
/// # Security
///
/// The private half has no accessor; it is zeroized when dropped.
pub struct TeeKeyPair {
    secret: p256::SecretKey,
    public: TeePublicKey,
}

/// The public half, on the wire the JWK
/// `{"alg":"ECDH-ES+A256KW","crv":"P-256","kty":"EC","x":…,"y":…}`.
///
/// Further members are refused: the hash in the report is made from this typed form, so a key with
/// a `kid` could never match anyway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TeePublicKey(p256::PublicKey);

impl TeeKeyPair {
    /// Makes a key from the system's random numbers.
    ///
    /// # Errors
    ///
    /// [`KeyGenerationError`] when the system gives no randomness.
    pub fn generate() -> Result<Self, KeyGenerationError> {
        let random = SystemRandom::new();
        for _ in 0..MAX_DRAWS {
            let mut scalar = Zeroizing::new([0u8; COORDINATE_BYTES]);
            random.fill(scalar.as_mut()).map_err(|_| KeyGenerationError)?;
            // Fails only for zero or a value not below the group's order: draw again.
            if let Ok(secret) = p256::SecretKey::from_slice(scalar.as_ref()) {
                return Ok(Self::from_secret(secret));
            }
        }
        Err(KeyGenerationError)
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> &TeePublicKey {
        &self.public
    }

    pub(crate) fn from_secret(secret: p256::SecretKey) -> Self {
        let public = TeePublicKey(secret.public_key());
        Self { secret, public }
    }

    /// The shared secret Z with `peer` (SP 800-56A, the x coordinate).
    pub(crate) fn agree(&self, peer: &TeePublicKey) -> Zeroizing<[u8; COORDINATE_BYTES]> {
        let shared = self.secret.diffie_hellman(&peer.0);
        let mut z = Zeroizing::new([0; COORDINATE_BYTES]);
        z.copy_from_slice(shared.raw_secret_bytes());
        z
    }
}

impl TeePublicKey {
    /// The key from its affine coordinates.
    ///
    /// # Errors
    ///
    /// [`JwkError::Point`] when they are no point on P-256.
    pub(crate) fn from_coordinates(x: &str, y: &str) -> Result<Self, JwkError> {
        let mut sec1 = Vec::with_capacity(1 + 2 * COORDINATE_BYTES);
        sec1.push(SEC1_UNCOMPRESSED);
        for coordinate in [x, y] {
            let bytes = URL_SAFE_NO_PAD.decode(coordinate).map_err(|_| JwkError::Coordinate)?;
            if bytes.len() != COORDINATE_BYTES {
                return Err(JwkError::Coordinate);
            }
            sec1.extend_from_slice(&bytes);
        }
        p256::PublicKey::from_sec1_bytes(&sec1).map(Self).map_err(|_| JwkError::Point)
    }

    /// The affine coordinates x and y, base64url.
    pub(crate) fn coordinates(&self) -> (String, String) {
        let point = self.0.to_sec1_point(false);
        let encode = |c: Option<&p256::FieldBytes>| {
            c.map_or_else(String::new, |c| URL_SAFE_NO_PAD.encode(c))
        };
        (encode(point.x()), encode(point.y()))
    }
}

impl Serialize for TeePublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (x, y) = self.coordinates();
        Jwk { alg: ALGORITHM.into(), crv: CURVE.into(), kty: KEY_TYPE.into(), x, y }
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for TeePublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let jwk = Jwk::deserialize(deserializer)?;
        if jwk.alg != ALGORITHM || jwk.crv != CURVE || jwk.kty != KEY_TYPE {
            return Err(serde::de::Error::custom(JwkError::Unsupported));
        }
        Self::from_coordinates(&jwk.x, &jwk.y).map_err(serde::de::Error::custom)
    }
}

/// The JWK is no usable public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwkError {
    /// Another key type, curve or algorithm.
    #[error("the key is not EC P-256 for ECDH-ES+A256KW")]
    Unsupported,
    /// A coordinate is not 32 bytes in base64url.
    #[error("a coordinate of the key is not 32 bytes in base64url")]
    Coordinate,
    /// The coordinates are not a point of the curve.
    #[error("the key is not a point on P-256")]
    Point,
}

/// The system gave no randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("failed to draw random numbers for a key")]
pub struct KeyGenerationError;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Jwk {
    alg: String,
    crv: String,
    kty: String,
    x: String,
    y: String,
}

/// Key agreement algorithm on the wire (RFC 7518, 4.6).
pub(crate) const ALGORITHM: &str = "ECDH-ES+A256KW";
pub(crate) const CURVE: &str = "P-256";
pub(crate) const KEY_TYPE: &str = "EC";
pub(crate) const COORDINATE_BYTES: usize = 32;

const SEC1_UNCOMPRESSED: u8 = 0x04;

/// One draw fails with a chance of 2^-32.
const MAX_DRAWS: usize = 8;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Bob's static key of RFC 7518, appendix C.
    pub(crate) fn example_key() -> TeeKeyPair {
        let d = URL_SAFE_NO_PAD.decode("VEmDZpDXXK8p8N0Cndsxs924q6nS1RXFASRl6BfUqdw").unwrap();
        TeeKeyPair::from_secret(p256::SecretKey::from_slice(&d).unwrap())
    }

    const EXAMPLE: &str = r#"{"alg":"ECDH-ES+A256KW","crv":"P-256","kty":"EC","x":"weNJy2HscCSM6AEDTDg04biOvhFhyyWvOHQfeF_PxMQ","y":"e8lnCO-AlStT-NJVX-crhB7QRYhiix03illJOVAOyck"}"#;

    #[test]
    fn writes_and_reads_the_exact_jwk() {
        let key = example_key();
        assert_eq!(serde_json::to_string(key.public_key()).unwrap(), EXAMPLE);
        assert_eq!(&serde_json::from_str::<TeePublicKey>(EXAMPLE).unwrap(), key.public_key());
    }

    #[test]
    fn refuses_what_is_not_this_key_type() {
        for (from, to) in [
            ("ECDH-ES+A256KW", "RSA-OAEP-256"),
            ("P-256", "P-521"),
            ("\"kty\":\"EC\"", "\"kty\":\"RSA\""),
            ("weNJ", "weNK"),                                  // not on the curve
            ("PxMQ\"", "PxM\""),                               // a byte short
            ("PxMQ\"", "PxMQ=\""),                             // padding
            ("}", ",\"kid\":\"1\"}"),                          // an unknown member
            ("\"crv\"", "\"alg\":\"ECDH-ES+A256KW\",\"crv\""), // D7: a duplicate key
        ] {
            let text = EXAMPLE.replacen(from, to, 1);
            assert_ne!(text, EXAMPLE);
            assert!(serde_json::from_str::<TeePublicKey>(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn refuses_the_point_at_infinity() {
        let zero = URL_SAFE_NO_PAD.encode([0u8; 32]);
        assert_eq!(TeePublicKey::from_coordinates(&zero, &zero), Err(JwkError::Point));
    }

    #[test]
    fn two_keys_agree() {
        let (a, b) = (TeeKeyPair::generate().unwrap(), TeeKeyPair::generate().unwrap());
        assert_eq!(*a.agree(b.public_key()), *b.agree(a.public_key()));
        assert_ne!(a.public_key(), b.public_key());
    }
}
