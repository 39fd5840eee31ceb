// SPDX-License-Identifier: Apache-2.0
//! Keys on curves, with signatures that are the same again (RFC 6979).

use p384::ecdsa::signature::Signer as _;

use crate::x509::{CertificateError, Signer};

/// A P-256 key that signs with SHA-256.
pub struct P256Key(pub(super) p256::ecdsa::SigningKey);

/// A P-384 key that signs with SHA-384.
pub struct P384Key(pub(super) p384::ecdsa::SigningKey);

impl P256Key {
    /// `SubjectPublicKeyInfo` DER.
    #[must_use]
    pub fn spki(&self) -> Vec<u8> {
        [P256_SPKI_HEAD, &self.point()].concat()
    }

    /// The public key, uncompressed: 0x04, x, y.
    #[must_use]
    pub fn point(&self) -> Vec<u8> {
        self.0.verifying_key().to_sec1_point(false).as_bytes().to_vec()
    }

    /// Signs; r and s, 32 bytes big-endian each.
    #[must_use]
    pub fn sign_fixed(&self, message: &[u8]) -> [u8; 64] {
        let signature: p256::ecdsa::Signature = self.0.sign(message);
        signature.to_bytes().into()
    }
}

impl Signer for P256Key {
    fn algorithm(&self) -> &'static [u8] {
        ECDSA_SHA256
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CertificateError> {
        let signature: p256::ecdsa::Signature = self.0.sign(message);
        Ok(signature.to_der().as_bytes().to_vec())
    }
}

impl P384Key {
    /// `SubjectPublicKeyInfo` DER.
    #[must_use]
    pub fn spki(&self) -> Vec<u8> {
        let point = self.0.verifying_key().to_sec1_point(false);
        [P384_SPKI_HEAD, point.as_bytes()].concat()
    }

    /// Signs; r and s, 48 bytes big-endian each.
    #[must_use]
    pub fn sign_fixed(&self, message: &[u8]) -> [u8; 96] {
        let signature: p384::ecdsa::Signature = self.0.sign(message);
        signature.to_bytes().into()
    }
}

/// `SubjectPublicKeyInfo` of a P-384 point up to the point (RFC 5480).
pub(crate) const P384_SPKI_HEAD: &[u8] = &[
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b,
    0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
];

/// The same of a P-256 point.
const P256_SPKI_HEAD: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// `ecdsa-with-SHA256` (RFC 5758).
const ECDSA_SHA256: &[u8] =
    &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
