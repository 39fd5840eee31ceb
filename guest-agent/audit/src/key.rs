// SPDX-License-Identifier: Apache-2.0
//! The owner's key pair: P-256, so that any tool makes one (`openssl genpkey -algorithm EC -pkeyopt
//! ec_paramgen_curve:P-256`).

use std::fmt;

use p256::elliptic_curve::sec1::ToSec1Point as _;
use pem_rfc7468::LineEnding;
use ring::digest;
use ring::rand::SecureRandom as _;
use ring::rand::SystemRandom;
use zeroize::Zeroizing;

/// Bytes of a point on P-256, uncompressed (SEC 1, 2.3.3).
pub(crate) const POINT_BYTES: usize = 65;

/// The public half: what stands in the initdata and what records are sealed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerPublicKey {
    point: [u8; POINT_BYTES],
}

/// SHA-256 of a public key in DER: names the key without holding it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyId(pub(crate) [u8; 32]);

/// The owner's key pair: opens records.
///
/// # Security
///
/// The private half has no accessor but [`Self::to_pem`]; it is zeroized when dropped.
pub struct OwnerKey {
    secret: p256::SecretKey,
    public: OwnerPublicKey,
}

impl OwnerPublicKey {
    /// Reads a public key in PEM (SubjectPublicKeyInfo, RFC 5480).
    ///
    /// # Errors
    ///
    /// [`KeyError`] when it is another kind of text or key.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let der = decode(pem, PUBLIC_LABEL)?;
        let point = der.strip_prefix(SPKI_PREFIX).ok_or(KeyError::NotP256)?;
        Self::from_point(point.try_into().map_err(|_| KeyError::NotP256)?)
    }

    /// The key in PEM.
    ///
    /// # Errors
    ///
    /// [`KeyError::NotPem`], which no key causes.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        pem_rfc7468::encode_string(PUBLIC_LABEL, LineEnding::LF, &self.to_der())
            .map_err(|_| KeyError::NotPem)
    }

    /// Names the key.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let mut id = [0; 32];
        copy(&mut id, digest::digest(&digest::SHA256, &self.to_der()).as_ref());
        KeyId(id)
    }

    pub(crate) fn from_point(point: [u8; POINT_BYTES]) -> Result<Self, KeyError> {
        // The first byte says that both coordinates follow; the library checks the curve.
        if point.first() != Some(&UNCOMPRESSED) {
            return Err(KeyError::NotP256);
        }
        p256::PublicKey::from_sec1_bytes(&point).map_err(|_| KeyError::NotP256)?;
        Ok(Self { point })
    }

    pub(crate) fn point(&self) -> &[u8; POINT_BYTES] {
        &self.point
    }

    fn to_der(&self) -> Vec<u8> {
        [SPKI_PREFIX, &self.point].concat()
    }
}

impl OwnerKey {
    /// Makes a key pair from the system's random numbers.
    ///
    /// # Errors
    ///
    /// [`KeyError::Randomness`].
    pub fn generate() -> Result<Self, KeyError> {
        let random = SystemRandom::new();
        for _ in 0..MAX_DRAWS {
            let mut scalar = Zeroizing::new([0; SCALAR_BYTES]);
            random.fill(scalar.as_mut()).map_err(|_| KeyError::Randomness)?;
            // Fails only for zero or a value not below the group's order: draw again.
            if let Ok(key) = Self::from_scalar(scalar.as_ref()) {
                return Ok(key);
            }
        }
        Err(KeyError::Randomness)
    }

    /// Reads a private key in PEM (PKCS#8, RFC 5958, with or without the public key in it).
    ///
    /// # Errors
    ///
    /// [`KeyError`] when it is another kind of text or key.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let der = Zeroizing::new(decode(pem, PRIVATE_LABEL)?);
        if let Some(scalar) = der.strip_prefix(PKCS8_PREFIX_ALONE) {
            return Self::from_scalar(scalar);
        }
        let rest = der.strip_prefix(PKCS8_PREFIX).ok_or(KeyError::NotP256)?;
        let (scalar, public) = rest.split_at_checked(SCALAR_BYTES).ok_or(KeyError::NotP256)?;
        let key = Self::from_scalar(scalar)?;
        if public.strip_prefix(PKCS8_PUBLIC) != Some(key.public.point.as_slice()) {
            return Err(KeyError::NotP256);
        }
        Ok(key)
    }

    /// The key pair in PEM, as [`Self::from_pem`] reads it.
    ///
    /// # Errors
    ///
    /// [`KeyError::NotPem`], which no key causes.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        let scalar = Zeroizing::new(self.secret.to_bytes());
        let parts: [&[u8]; 4] =
            [PKCS8_PREFIX, scalar.as_slice(), PKCS8_PUBLIC, self.public.point.as_slice()];
        let der = Zeroizing::new(parts.concat());
        pem_rfc7468::encode_string(PRIVATE_LABEL, LineEnding::LF, &der)
            .map(Zeroizing::new)
            .map_err(|_| KeyError::NotPem)
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> &OwnerPublicKey {
        &self.public
    }

    /// The shared secret with `peer`: the x coordinate (SEC 1, 3.3.1).
    pub(crate) fn agree(&self, peer: &OwnerPublicKey) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        let peer = p256::PublicKey::from_sec1_bytes(&peer.point).map_err(|_| KeyError::NotP256)?;
        let shared = self.secret.diffie_hellman(&peer);
        let mut x = Zeroizing::new([0; 32]);
        copy(x.as_mut(), shared.raw_secret_bytes());
        Ok(x)
    }

    fn from_scalar(scalar: &[u8]) -> Result<Self, KeyError> {
        let secret = p256::SecretKey::from_slice(scalar).map_err(|_| KeyError::NotP256)?;
        let mut point = [0; POINT_BYTES];
        let encoded = secret.public_key().to_sec1_point(false);
        copy(&mut point, encoded.as_bytes());
        Ok(Self { secret, public: OwnerPublicKey::from_point(point)? })
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is no usable key, or none could be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text is not one block of PEM.
    #[error("the text is not PEM")]
    NotPem,
    /// The PEM holds something else.
    #[error("the PEM block is not a {expected}")]
    Label {
        /// The label that was expected.
        expected: &'static str,
    },
    /// The key is of another algorithm or curve, or malformed.
    #[error("the key is no EC key on P-256")]
    NotP256,
    /// The system gave no randomness.
    #[error("failed to draw random numbers for a key")]
    Randomness,
}

fn decode(pem: &str, label: &'static str) -> Result<Vec<u8>, KeyError> {
    if pem.len() > MAX_PEM_BYTES {
        return Err(KeyError::NotPem);
    }
    let (found, der) =
        pem_rfc7468::decode_vec(pem.trim().as_bytes()).map_err(|_| KeyError::NotPem)?;
    if found == label { Ok(der) } else { Err(KeyError::Label { expected: label }) }
}

fn copy(to: &mut [u8], from: &[u8]) {
    for (place, byte) in to.iter_mut().zip(from) {
        *place = *byte;
    }
}

const PUBLIC_LABEL: &str = "PUBLIC KEY";
const PRIVATE_LABEL: &str = "PRIVATE KEY";

/// Longest PEM text of a key, bytes.
const MAX_PEM_BYTES: usize = 1024;
/// One draw fails with a chance of 2^-32.
const MAX_DRAWS: usize = 8;
const SCALAR_BYTES: usize = 32;
const UNCOMPRESSED: u8 = 4;

/// DER before the point: SEQUENCE, id-ecPublicKey, prime256v1, BIT STRING of 66 bytes (RFC 5480, 2).
const SPKI_PREFIX: &[u8] = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\
    \x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";
/// DER before the scalar: version 0, the same algorithm, ECPrivateKey of version 1 (RFC 5915, 3).
const PKCS8_PREFIX: &[u8] = b"\x30\x81\x87\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\
    \x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x04\x6d\x30\x6b\x02\x01\x01\x04\x20";
/// DER between scalar and point.
const PKCS8_PUBLIC: &[u8] = b"\xa1\x44\x03\x42\x00";
/// As [`PKCS8_PREFIX`], for a key without its public half.
const PKCS8_PREFIX_ALONE: &[u8] =
    b"\x30\x41\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\
    \x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x04\x27\x30\x25\x02\x01\x01\x04\x20";

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The recipient's key of RFC 9180, A.3.1, as another library writes it.
    pub(crate) const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg885/2uV+GjENh/Hr
vebzKL4Kmc28rfTWWJzyneS4/9KhRANCAAT+jBnOCQUZHrwpipJFeSUx8m8M7OJG
BjnovDnLf3Bqgmp3m0z5abig5TnH9i+z0wrWqo+A4w8dEoqv1oos5y6g
-----END PRIVATE KEY-----
";
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE/owZzgkFGR68KYqSRXklMfJvDOzi
RgY56Lw5y39waoJqd5tM+Wm4oOU5x/Yvs9MK1qqPgOMPHRKKr9aKLOcuoA==
-----END PUBLIC KEY-----
";

    pub(crate) fn example() -> OwnerKey {
        OwnerKey::from_pem(PRIVATE).unwrap()
    }

    #[test]
    fn reads_and_writes_what_other_tools_write() {
        let key = example();
        assert_eq!(*key.to_pem().unwrap(), PRIVATE);
        assert_eq!(key.public_key().to_pem().unwrap(), PUBLIC);
        assert_eq!(&OwnerPublicKey::from_pem(PUBLIC).unwrap(), key.public_key());
        // Line ends of another system.
        let crlf = PUBLIC.replace('\n', "\r\n");
        assert_eq!(&OwnerPublicKey::from_pem(&crlf).unwrap(), key.public_key());
    }

    #[test]
    fn reads_a_key_without_its_public_half() {
        let whole = decode(PRIVATE, PRIVATE_LABEL).unwrap();
        let scalar = whole.strip_prefix(PKCS8_PREFIX).unwrap().get(..SCALAR_BYTES).unwrap();
        let der = [PKCS8_PREFIX_ALONE, scalar].concat();
        let pem = pem_rfc7468::encode_string(PRIVATE_LABEL, LineEnding::LF, &der).unwrap();
        let key = OwnerKey::from_pem(&pem).unwrap();
        assert_eq!(key.public_key(), example().public_key());
    }

    #[test]
    fn generated_keys_are_read_again_and_differ() {
        let (a, b) = (OwnerKey::generate().unwrap(), OwnerKey::generate().unwrap());
        assert_ne!(a.public_key(), b.public_key());
        assert_ne!(a.public_key().id(), b.public_key().id());
        let again = OwnerKey::from_pem(&a.to_pem().unwrap()).unwrap();
        assert_eq!(again.public_key(), a.public_key());
        let (ab, ba) = (a.agree(b.public_key()).unwrap(), b.agree(a.public_key()).unwrap());
        assert_eq!(*ab, *ba);
    }

    #[test]
    fn refuses_other_texts_and_keys() {
        let refused = |pem: &str| OwnerPublicKey::from_pem(pem).unwrap_err();
        assert_eq!(refused(""), KeyError::NotPem);
        assert_eq!(refused("AAAA"), KeyError::NotPem);
        assert_eq!(refused(PRIVATE), KeyError::Label { expected: "PUBLIC KEY" });
        assert_eq!(refused(&PUBLIC.replace("MFkw", "MFkx")), KeyError::NotP256);
        assert_eq!(refused(&format!("{PUBLIC}{PUBLIC}")), KeyError::NotPem);
        assert_eq!(refused(&" ".repeat(2000)), KeyError::NotPem);
        let other = OwnerKey::from_pem(PUBLIC).err().unwrap();
        assert_eq!(other, KeyError::Label { expected: "PRIVATE KEY" });
    }

    #[test]
    fn refuses_every_changed_byte() {
        let public = decode(PUBLIC, PUBLIC_LABEL).unwrap();
        let private = decode(PRIVATE, PRIVATE_LABEL).unwrap();
        let pem =
            |label, der: &[u8]| pem_rfc7468::encode_string(label, LineEnding::LF, der).unwrap();
        for at in 0..public.len() {
            let mut changed = public.clone();
            changed[at] ^= 1;
            assert!(OwnerPublicKey::from_pem(&pem(PUBLIC_LABEL, &changed)).is_err(), "{at}");
        }
        for at in 0..private.len() {
            let mut changed = private.clone();
            changed[at] ^= 1;
            assert!(OwnerKey::from_pem(&pem(PRIVATE_LABEL, &changed)).is_err(), "{at}");
        }
        for end in 0..private.len() {
            assert!(OwnerKey::from_pem(&pem(PRIVATE_LABEL, &private[..end])).is_err(), "{end}");
        }
    }
}
