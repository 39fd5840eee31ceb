// SPDX-License-Identifier: Apache-2.0
//! The 96 bytes of the ID block.

use super::IdAuth;
use super::IdAuthError;
use crate::snp::GuestPolicy;
use crate::snp::LaunchDigest;

/// Which guest may start, in the words of its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IdBlock {
    /// The launch digest. The PSP refuses to finish a launch with another one.
    pub launch_digest: LaunchDigest,
    /// Family of the guest, a value of the owner's choice that stands in every report.
    pub family_id: [u8; 16],
    /// Image of the guest, a value of the owner's choice that stands in every report.
    pub image_id: [u8; 16],
    /// Security version of the guest, which stands in every report.
    pub guest_svn: u32,
    /// The guest policy. The PSP refuses to finish a launch with another one.
    pub policy: GuestPolicy,
}

impl IdBlock {
    /// Length in bytes.
    pub const SIZE: usize = 96;

    /// Writes the block as the PSP takes it.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        let parts: [&[u8]; 6] = [
            self.launch_digest.as_bytes(),
            &self.family_id,
            &self.image_id,
            &VERSION.to_le_bytes(),
            &self.guest_svn.to_le_bytes(),
            &self.policy.bits().to_le_bytes(),
        ];
        for (place, byte) in bytes.iter_mut().zip(parts.into_iter().flatten()) {
            *place = *byte;
        }
        bytes
    }

    /// Reads a block: exactly the bytes that [`IdBlock::to_bytes`] writes.
    ///
    /// # Errors
    ///
    /// Another length or version, or a policy that every PSP refuses: see [`IdBlockError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, IdBlockError> {
        let wrong_size = IdBlockError::WrongSize { size: bytes.len() };
        let bytes: &[u8; Self::SIZE] = bytes.try_into().map_err(|_| wrong_size.clone())?;
        let mut rest = bytes.as_slice();
        let block = (|| {
            Some((
                LaunchDigest::from_bytes(take(&mut rest)?),
                take(&mut rest)?,
                take(&mut rest)?,
                u32::from_le_bytes(take(&mut rest)?),
                u32::from_le_bytes(take(&mut rest)?),
                u64::from_le_bytes(take(&mut rest)?),
            ))
        })();
        let (launch_digest, family_id, image_id, version, guest_svn, policy) =
            block.ok_or(wrong_size)?;
        if version != VERSION {
            return Err(IdBlockError::UnknownVersion { version });
        }
        let policy = GuestPolicy::from_bits(policy)
            .map_err(|error| IdBlockError::Policy { bits: error.bits })?;
        Ok(Self { launch_digest, family_id, image_id, guest_svn, policy })
    }
}

/// An ID block together with its authentication, as the launch takes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    block: IdBlock,
    auth: IdAuth,
}

impl Identity {
    /// Takes a block and an authentication that signs it.
    ///
    /// # Errors
    ///
    /// [`IdAuthError::BadSignature`].
    pub fn new(block: IdBlock, auth: IdAuth) -> Result<Self, IdAuthError> {
        auth.verify(&block)?;
        Ok(Self { block, auth })
    }

    /// Takes a block that was signed here.
    pub(super) fn signed(block: IdBlock, auth: IdAuth) -> Self {
        Self { block, auth }
    }

    /// The ID block.
    #[must_use]
    pub fn block(&self) -> &IdBlock {
        &self.block
    }

    /// The authentication.
    #[must_use]
    pub fn auth(&self) -> &IdAuth {
        &self.auth
    }
}

/// Why 96 bytes are no ID block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdBlockError {
    /// The block has not exactly [`IdBlock::SIZE`] bytes.
    #[error("the ID block has {size} bytes, expected 96")]
    WrongSize {
        /// Size in bytes.
        size: usize,
    },
    /// A version other than 1.
    #[error("the ID block has version {version}, expected 1")]
    UnknownVersion {
        /// The version in the block.
        version: u32,
    },
    /// A policy that every PSP refuses.
    #[error("the ID block has the impossible policy {bits:#x}")]
    Policy {
        /// The policy in the block.
        bits: u64,
    },
}

pub(super) fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}

const VERSION: u32 = 1;
