// SPDX-License-Identifier: Apache-2.0
//! The 4096 bytes of the ID authentication: two keys and two signatures.
//!
//! All numbers in them are little-endian, each in 72 bytes. The ID key signs the ID block, the
//! author key signs the ID key; the report shows a digest of either.

use std::fmt;

use ring::signature::ECDSA_P384_SHA384_FIXED;
use ring::signature::UnparsedPublicKey;

use super::IdBlock;
use super::block::take;
use crate::snp::sha384;

/// The ID authentication: what the PSP checks before it accepts an ID block.
#[derive(Clone, PartialEq, Eq)]
pub struct IdAuth {
    signature: Signature,
    key: PublicKey,
    author: Option<Author>,
}

/// The author key and its signature of the ID key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Author {
    pub(super) signature: Signature,
    pub(super) key: PublicKey,
}

impl IdAuth {
    /// Length in bytes.
    pub const SIZE: usize = 4096;

    pub(super) fn from_parts(signature: Signature, key: PublicKey, author: Option<Author>) -> Self {
        Self { signature, key, author }
    }

    /// Writes the structure as the PSP takes it.
    #[must_use]
    pub fn to_bytes(&self) -> Box<[u8; Self::SIZE]> {
        let mut bytes = Box::new([0; Self::SIZE]);
        let author_algorithm = if self.author.is_some() { P384_SHA384 } else { [0; 4] };
        put(bytes.as_mut_slice(), 0, &P384_SHA384);
        put(bytes.as_mut_slice(), 4, &author_algorithm);
        put(bytes.as_mut_slice(), ID_SIGNATURE, &self.signature.to_bytes());
        put(bytes.as_mut_slice(), ID_KEY, &self.key.to_bytes());
        if let Some(author) = &self.author {
            put(bytes.as_mut_slice(), AUTHOR_SIGNATURE, &author.signature.to_bytes());
            put(bytes.as_mut_slice(), AUTHOR_KEY, &author.key.to_bytes());
        }
        bytes
    }

    /// Reads the structure: exactly the bytes that [`IdAuth::to_bytes`] writes for some keys. It
    /// does not check the signatures: see [`IdAuth::verify`].
    ///
    /// # Errors
    ///
    /// Another length, algorithm or curve, a number that does not fit the curve, or anything in
    /// the reserved bytes: see [`IdAuthError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, IdAuthError> {
        let wrong_size = IdAuthError::WrongSize { size: bytes.len() };
        let bytes: &[u8; Self::SIZE] = bytes.try_into().map_err(|_| wrong_size.clone())?;
        let field = |start: usize, size: usize| {
            bytes.get(start..start.saturating_add(size)).ok_or(wrong_size.clone())
        };
        if field(0, 4)? != P384_SHA384 {
            return Err(IdAuthError::Algorithm { key: "ID" });
        }
        let signature = Signature::parse(field(ID_SIGNATURE, Signature::SIZE)?)?;
        let key = PublicKey::parse(field(ID_KEY, PublicKey::SIZE)?)?;
        let author = match field(4, 4)? {
            [0, 0, 0, 0] => None,
            algorithm if algorithm == P384_SHA384 => Some(Author {
                signature: Signature::parse(field(AUTHOR_SIGNATURE, Signature::SIZE)?)?,
                key: PublicKey::parse(field(AUTHOR_KEY, PublicKey::SIZE)?)?,
            }),
            _ => return Err(IdAuthError::Algorithm { key: "author" }),
        };
        let auth = Self { signature, key, author };
        // Whatever was not read must be zero.
        if auth.to_bytes().as_slice() != bytes.as_slice() {
            return Err(IdAuthError::Reserved);
        }
        Ok(auth)
    }

    /// Checks that the ID key signed this block and, if there is an author key, that it signed the
    /// ID key.
    ///
    /// # Errors
    ///
    /// [`IdAuthError::BadSignature`] names the key whose signature is wrong.
    pub fn verify(&self, block: &IdBlock) -> Result<(), IdAuthError> {
        if !self.key.has_signed(&block.to_bytes(), &self.signature) {
            return Err(IdAuthError::BadSignature { key: "ID" });
        }
        if let Some(author) = &self.author
            && !author.key.has_signed(&self.key.to_bytes(), &author.signature)
        {
            return Err(IdAuthError::BadSignature { key: "author" });
        }
        Ok(())
    }

    /// The signature of the ID block.
    #[must_use]
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The key that signed the ID block.
    #[must_use]
    pub fn id_key(&self) -> &PublicKey {
        &self.key
    }

    /// The key that signed the ID key. KVM_SEV_SNP_LAUNCH_FINISH must be told whether there is one
    /// (`auth_key_en`).
    #[must_use]
    pub fn author_key(&self) -> Option<&PublicKey> {
        self.author.as_ref().map(|author| &author.key)
    }

    /// The author key's signature of the ID key.
    #[must_use]
    pub fn author_signature(&self) -> Option<&Signature> {
        self.author.as_ref().map(|author| &author.signature)
    }
}

impl fmt::Debug for IdAuth {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let author = self.author_key().map(PublicKey::digest);
        write!(formatter, "IdAuth(ID key {:?}, author key {author:?})", self.key.digest())
    }
}

/// A public key on P-384.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey {
    /// Coordinates, big-endian.
    x: [u8; 48],
    y: [u8; 48],
}

impl PublicKey {
    /// Length of the structure that the PSP takes, in bytes.
    pub const SIZE: usize = 1028;

    /// Takes the uncompressed point of SEC 1: 0x04 and two coordinates.
    pub(super) fn from_point(point: &[u8]) -> Option<Self> {
        let (tag, coordinates) = point.split_first()?;
        let (x, y) = coordinates.split_at_checked(48)?;
        (*tag == 4).then_some(())?;
        Some(Self { x: x.try_into().ok()?, y: y.try_into().ok()? })
    }

    /// Writes the structure: curve number, both coordinates, zeros.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        put(&mut bytes, 0, &CURVE_P384);
        put(&mut bytes, 4, &reversed(&self.x));
        put(&mut bytes, 4 + NUMBER_SIZE, &reversed(&self.y));
        bytes
    }

    /// Reads the structure.
    ///
    /// # Errors
    ///
    /// Another length or curve, or anything in the reserved bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, IdAuthError> {
        let wrong_size = IdAuthError::WrongSize { size: bytes.len() };
        let mut rest = bytes;
        if take(&mut rest) != Some(CURVE_P384) {
            return Err(IdAuthError::Curve);
        }
        let (Some(x), Some(y)) = (take(&mut rest), take(&mut rest)) else {
            return Err(wrong_size);
        };
        let key = Self { x: number(x)?, y: number(y)? };
        if bytes.len() != Self::SIZE {
            return Err(wrong_size);
        }
        if key.to_bytes() != bytes {
            return Err(IdAuthError::Reserved);
        }
        Ok(key)
    }

    /// What the report shows of this key: SHA-384 of its structure.
    #[must_use]
    pub fn digest(&self) -> KeyDigest {
        KeyDigest(sha384(&[&self.to_bytes()]))
    }

    /// Whether this key made a signature of SHA-384 of the message.
    #[must_use]
    pub fn has_signed(&self, message: &[u8], signature: &Signature) -> bool {
        let point = [[4].as_slice(), &self.x, &self.y].concat();
        let fixed = [signature.r, signature.s].concat();
        UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).verify(message, &fixed).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PublicKey({})", self.digest())
    }
}

/// The digest of a public key as it stands in a report (ID_KEY_DIGEST, AUTHOR_KEY_DIGEST).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyDigest(pub [u8; 48]);

/// Writes 96 hexadecimal digits.
impl fmt::Display for KeyDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "KeyDigest({self})")
    }
}

/// An ECDSA signature with P-384 and SHA-384.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Numbers, big-endian.
    r: [u8; 48],
    s: [u8; 48],
}

impl Signature {
    /// Length of the structure that the PSP takes, in bytes.
    pub const SIZE: usize = 512;

    /// Takes R and S, big-endian.
    pub(super) fn from_fixed(fixed: &[u8]) -> Option<Self> {
        let (r, s) = fixed.split_at_checked(48)?;
        Some(Self { r: r.try_into().ok()?, s: s.try_into().ok()? })
    }

    /// Writes the structure: both numbers, zeros.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        put(&mut bytes, 0, &reversed(&self.r));
        put(&mut bytes, NUMBER_SIZE, &reversed(&self.s));
        bytes
    }

    /// Reads the structure.
    ///
    /// # Errors
    ///
    /// Another length, a number that does not fit the curve, or anything in the reserved bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, IdAuthError> {
        let wrong_size = IdAuthError::WrongSize { size: bytes.len() };
        let mut rest = bytes;
        let (Some(r), Some(s)) = (take(&mut rest), take(&mut rest)) else {
            return Err(wrong_size);
        };
        let signature = Self { r: number(r)?, s: number(s)? };
        if bytes.len() != Self::SIZE {
            return Err(wrong_size);
        }
        if signature.to_bytes() != bytes {
            return Err(IdAuthError::Reserved);
        }
        Ok(signature)
    }
}

/// Why an ID authentication is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdAuthError {
    /// A structure of the wrong length.
    #[error("{size} bytes are no ID authentication, key or signature")]
    WrongSize {
        /// Size in bytes.
        size: usize,
    },
    /// An algorithm other than ECDSA with P-384 and SHA-384.
    #[error("the {key} key is not for ECDSA with P-384 and SHA-384")]
    Algorithm {
        /// Which key.
        key: &'static str,
    },
    /// A curve other than P-384.
    #[error("the key is not on the curve P-384")]
    Curve,
    /// A coordinate or signature part of more than 48 bytes.
    #[error("a number of the key or signature is too large for P-384")]
    NumberTooLarge,
    /// Bytes that mean nothing are not zero.
    #[error("a reserved byte is not zero")]
    Reserved,
    /// A signature is wrong.
    #[error("the signature of the {key} key is wrong")]
    BadSignature {
        /// Whose signature.
        key: &'static str,
    },
}

/// A number of 72 bytes, little-endian, as 48 bytes, big-endian.
fn number(bytes: [u8; NUMBER_SIZE]) -> Result<[u8; 48], IdAuthError> {
    let (low, high) = bytes.split_first_chunk().ok_or(IdAuthError::NumberTooLarge)?;
    if high.iter().any(|byte| *byte != 0) {
        return Err(IdAuthError::NumberTooLarge);
    }
    Ok(reversed(low))
}

fn reversed(bytes: &[u8; 48]) -> [u8; 48] {
    let mut bytes = *bytes;
    bytes.reverse();
    bytes
}

fn put(bytes: &mut [u8], start: usize, part: &[u8]) {
    let place = bytes.get_mut(start..).unwrap_or_default();
    for (place, byte) in place.iter_mut().zip(part) {
        *place = *byte;
    }
}

/// Length of a number, in bytes.
const NUMBER_SIZE: usize = 72;
/// Offsets in the structure, in bytes.
const ID_SIGNATURE: usize = 0x40;
const ID_KEY: usize = 0x240;
const AUTHOR_SIGNATURE: usize = 0x680;
const AUTHOR_KEY: usize = 0x880;

const P384_SHA384: [u8; 4] = 1_u32.to_le_bytes();
const CURVE_P384: [u8; 4] = 2_u32.to_le_bytes();
