// SPDX-License-Identifier: Apache-2.0
//! Public keys of those who sign bundles.

use pem_rfc7468::decode_vec;

/// A public key on P-384.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublicKey(Vec<u8>);

impl PublicKey {
    /// Reads PEM of a SubjectPublicKeyInfo, as `openssl pkey -pubout` writes it.
    ///
    /// # Errors
    ///
    /// The text is none, or of a key on another curve.
    pub fn from_pem(pem: &str) -> Result<Self, PublicKeyError> {
        if pem.len() > MAX_KEY_BYTES {
            return Err(PublicKeyError);
        }
        match decode_vec(pem.as_bytes()) {
            Ok(("PUBLIC KEY", der)) => {
                let point = der.strip_prefix(P384_KEY).ok_or(PublicKeyError)?;
                if point.len() == POINT_BYTES {
                    Ok(Self(point.to_vec()))
                } else {
                    Err(PublicKeyError)
                }
            }
            _ => Err(PublicKeyError),
        }
    }

    /// The uncompressed point.
    pub(super) fn point(&self) -> &[u8] {
        &self.0
    }
}

/// A text is no public key on P-384.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key is no public key on P-384 in PEM")]
pub struct PublicKeyError;

/// What stands before the uncompressed point in a SubjectPublicKeyInfo on P-384 (RFC 5480, section
/// 2): two sequences, the object identifiers of EC keys and of the curve, and the bit string's head.
const P384_KEY: &[u8] = &[
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b,
    0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
];

const POINT_BYTES: usize = 97;

/// Longest PEM of a key, bytes.
const MAX_KEY_BYTES: usize = 4 << 10;
