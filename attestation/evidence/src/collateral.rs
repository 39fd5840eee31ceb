// SPDX-License-Identifier: Apache-2.0
//! Intel's collateral for TDX: TCB information, the quoting enclave's identity, revocation lists
//! and the certificates that they are signed with.
//!
//! Source: Intel PCS API, version 4. What is signed is the text of an inner JSON object, byte for
//! byte, so the text is kept beside what was read from it.

mod json;
mod levels;
mod parts;
mod qe_identity;
mod tcb_info;

pub use levels::Advisories;
pub use levels::TcbStatus;
pub use parts::Parts;
pub use qe_identity::QeIdentity;
pub use qe_identity::QeLevel;
pub use tcb_info::ModuleIdentity;
pub use tcb_info::ModuleLevel;
pub use tcb_info::TcbInfo;
pub use tcb_info::TcbLevel;

use crate::tdx::Certificate;
use crate::tdx::CertificateError;
use crate::tdx::Crl;
use crate::tdx::CrlError;

/// Largest collateral that is read, bytes.
pub const MAX_COLLATERAL_BYTES: usize = 4 << 20;

/// Most entries of each list in collateral.
pub const MAX_LEVELS: usize = 256;

/// Well-formed collateral. Says nothing about who signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collateral {
    /// Which TCB is up to date, for one kind of platform.
    pub tcb_info: Signed<TcbInfo>,
    /// The certificates that it is signed with.
    pub tcb_info_chain: Vec<Certificate>,
    /// Which quoting enclave is Intel's.
    pub qe_identity: Signed<QeIdentity>,
    /// The certificates that it is signed with.
    pub qe_identity_chain: Vec<Certificate>,
    /// Revoked PCK certificates.
    pub pck_crl: Crl,
    /// The certificates that it is signed with.
    pub pck_crl_chain: Vec<Certificate>,
    /// Revoked certificates of the root.
    pub root_crl: Crl,
}

/// A document and what signs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed<T> {
    /// What was read from the text.
    pub document: T,
    /// The text that is signed.
    pub text: String,
    /// The ECDSA signature: r then s.
    pub signature: [u8; 64],
}

impl Collateral {
    /// Reads the JSON form of `dcap-qvl`: documents as text, lists and signatures as hexadecimal
    /// digits.
    ///
    /// # Errors
    ///
    /// [`CollateralError`] when it is malformed or too large, a member is unknown, missing or
    /// duplicate, or one of its parts is malformed.
    pub fn from_json(json: &str) -> Result<Self, CollateralError> {
        json::read(json)
    }

    /// Reads the answers of Intel's provisioning certification service.
    ///
    /// # Errors
    ///
    /// [`CollateralError`] when one of them is malformed or too large.
    pub fn from_parts(parts: &Parts<'_>) -> Result<Self, CollateralError> {
        parts.read()
    }
}

/// Why bytes are no collateral.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollateralError {
    /// Over [`MAX_COLLATERAL_BYTES`], or a list over [`MAX_LEVELS`].
    #[error("the collateral is larger than {MAX_COLLATERAL_BYTES} bytes or {MAX_LEVELS} levels")]
    TooLarge,
    /// Malformed JSON, or a member is unknown, missing or duplicate.
    #[error("the collateral's {part} is malformed JSON")]
    Json {
        /// Which part.
        part: &'static str,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A member has an impossible value.
    #[error("the collateral's {member} is impossible")]
    Member {
        /// Which member.
        member: &'static str,
    },
    /// TCB information or an identity of something other than TDX.
    #[error("the collateral's {part} is not for TDX")]
    NotTdx {
        /// Which part.
        part: &'static str,
    },
    /// A document of a version whose meaning is not known.
    #[error("the collateral's {part} has the unknown version {version}")]
    Version {
        /// Which part.
        part: &'static str,
        /// Its version.
        version: u32,
    },
    /// A chain of certificates is malformed.
    #[error("the collateral's {part} is malformed")]
    Certificate {
        /// Which chain.
        part: &'static str,
        /// Why.
        #[source]
        source: CertificateError,
    },
    /// A revocation list is malformed.
    #[error("the collateral's {part} is malformed")]
    Crl {
        /// Which list.
        part: &'static str,
        /// Why.
        #[source]
        source: CrlError,
    },
}

#[cfg(test)]
mod tests;
