// SPDX-License-Identifier: Apache-2.0
//! The SNP ID block as an IGVM file holds it.

use super::IgvmError;
use super::header;
use super::raw;

/// What the firmware checks before it starts the guest, and who signed that.
///
/// Source: SEV Secure Nested Paging Firmware ABI (56860), tables "ID Block" and "ID Authentication
/// Information". The guest policy stands in a header of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnpIdBlock {
    /// The only launch digest that may start.
    pub launch_digest: [u8; 48],
    /// Family of the guest.
    pub family_id: [u8; 16],
    /// Image of the guest.
    pub image_id: [u8; 16],
    /// Version of the block's format.
    pub version: u32,
    /// Security version of the guest.
    pub guest_svn: u32,
    /// Algorithm of the ID key; 1 is ECDSA P-384 with SHA-384.
    pub id_key_algorithm: u32,
    /// Algorithm of the author key.
    pub author_key_algorithm: u32,
    /// Signature of the block by the ID key.
    pub id_signature: SnpSignature,
    /// The ID key.
    pub id_key: SnpKey,
    /// Signature of the ID key by the author key, and that key, if it is used.
    pub author: Option<(SnpSignature, SnpKey)>,
}

/// An ECDSA signature, little endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnpSignature {
    /// R.
    pub r: [u8; 72],
    /// S.
    pub s: [u8; 72],
}

/// An ECDSA public key, little endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnpKey {
    /// Number of the curve; 2 is P-384.
    pub curve: u32,
    /// X.
    pub x: [u8; 72],
    /// Y.
    pub y: [u8; 72],
}

impl SnpIdBlock {
    pub(super) fn from_raw(raw: &raw::SnpIdBlock) -> Result<Self, IgvmError> {
        let reserved = IgvmError::ReservedNotZero { number: header::SNP_ID_BLOCK };
        if raw.reserved != [0; 3] || raw.id_key.reserved != 0 || raw.author_key.reserved != 0 {
            return Err(reserved);
        }
        let signature = SnpSignature::from_raw(&raw.author_signature);
        let key = SnpKey::from_raw(&raw.author_key);
        let author = match raw.author_key_enabled {
            0 if (signature, key) == NO_AUTHOR => None,
            0 => return Err(IgvmError::UnusedAuthorKey),
            1 => Some((signature, key)),
            value => {
                let field = "author_key_enabled";
                return Err(IgvmError::UnknownValue { field, value: value.into() });
            }
        };
        Ok(Self {
            launch_digest: raw.launch_digest,
            family_id: raw.family_id,
            image_id: raw.image_id,
            version: raw.version.get(),
            guest_svn: raw.guest_svn.get(),
            id_key_algorithm: raw.id_key_algorithm.get(),
            author_key_algorithm: raw.author_key_algorithm.get(),
            id_signature: SnpSignature::from_raw(&raw.id_signature),
            id_key: SnpKey::from_raw(&raw.id_key),
            author,
        })
    }

    pub(super) fn to_raw(&self, mask: u32) -> raw::SnpIdBlock {
        let (author_signature, author_key) = self.author.unwrap_or(NO_AUTHOR);
        raw::SnpIdBlock {
            mask: mask.into(),
            author_key_enabled: self.author.is_some().into(),
            reserved: [0; 3],
            launch_digest: self.launch_digest,
            family_id: self.family_id,
            image_id: self.image_id,
            version: self.version.into(),
            guest_svn: self.guest_svn.into(),
            id_key_algorithm: self.id_key_algorithm.into(),
            author_key_algorithm: self.author_key_algorithm.into(),
            id_signature: self.id_signature.to_raw(),
            id_key: self.id_key.to_raw(),
            author_signature: author_signature.to_raw(),
            author_key: author_key.to_raw(),
        }
    }
}

impl SnpSignature {
    fn from_raw(raw: &raw::Signature) -> Self {
        Self { r: raw.r, s: raw.s }
    }

    fn to_raw(self) -> raw::Signature {
        raw::Signature { r: self.r, s: self.s }
    }
}

impl SnpKey {
    fn from_raw(raw: &raw::Key) -> Self {
        Self { curve: raw.curve.get(), x: raw.x, y: raw.y }
    }

    fn to_raw(self) -> raw::Key {
        raw::Key { curve: self.curve.into(), reserved: 0.into(), x: self.x, y: self.y }
    }
}

/// What stands for an author key that is not used.
const NO_AUTHOR: (SnpSignature, SnpKey) =
    (SnpSignature { r: [0; 72], s: [0; 72] }, SnpKey { curve: 0, x: [0; 72], y: [0; 72] });
