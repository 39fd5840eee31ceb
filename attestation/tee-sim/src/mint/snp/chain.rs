// SPDX-License-Identifier: Apache-2.0
//! The certificates above a report, and the root's revocation list.

use crate::certificates::{Endorsement, subject};
use crate::keys::{Authority, Keys};
use crate::mint::MintError;
use crate::x509::{CertificatePlan, CrlPlan, Period, usage};

/// The certificate of the signing key.
#[derive(Clone)]
pub(super) struct LeafPlan {
    pub(super) common: &'static str,
    pub(super) issuer: String,
    pub(super) signed_by: Authority,
    pub(super) validity: Period,
    pub(super) endorsement: Endorsement,
    /// Whether the extensions make it an authority.
    pub(super) is_authority: bool,
}

/// A certificate of an authority.
#[derive(Clone)]
pub(super) struct AuthorityPlan {
    pub(super) common: String,
    pub(super) issuer: String,
    pub(super) key: Authority,
    pub(super) signed_by: Authority,
    pub(super) serial: u8,
    pub(super) validity: Period,
    pub(super) is_authority: bool,
}

/// The root's revocation list.
#[derive(Clone)]
pub(super) struct CrlPart {
    pub(super) revoked: Vec<u8>,
    pub(super) validity: Period,
    pub(super) signed_by: Authority,
    pub(super) scoped: bool,
}

/// Name of the signing key.
pub(super) const LEAF_KEY: &str = "chip";

impl LeafPlan {
    pub(super) fn mint(&self, keys: &Keys) -> Result<Vec<u8>, MintError> {
        let mut extensions = self.endorsement.extensions()?;
        if self.is_authority {
            extensions.extend(usage(true)?);
        }
        let plan = CertificatePlan {
            serial: vec![3],
            issuer: subject(&self.issuer),
            subject: subject(self.common),
            validity: self.validity,
            spki: keys.p384(LEAF_KEY)?.spki(),
            extensions,
        };
        Ok(plan.signed_by(keys.rsa(self.signed_by)?)?)
    }
}

impl AuthorityPlan {
    pub(super) fn mint(&self, keys: &Keys) -> Result<Vec<u8>, MintError> {
        let plan = CertificatePlan {
            serial: vec![self.serial],
            issuer: subject(&self.issuer),
            subject: subject(&self.common),
            validity: self.validity,
            spki: keys.rsa(self.key)?.spki().to_vec(),
            extensions: usage(self.is_authority)?,
        };
        Ok(plan.signed_by(keys.rsa(self.signed_by)?)?)
    }
}

impl CrlPart {
    pub(super) fn mint(&self, root: &str, keys: &Keys) -> Result<Vec<u8>, MintError> {
        let plan = CrlPlan {
            issuer: subject(root),
            validity: self.validity,
            revoked: self.revoked.iter().map(|serial| vec![*serial]).collect(),
            number: 1,
            key_id: Some(keys.bytes("ark key id")),
            scoped: self.scoped,
            more: Vec::new(),
        };
        Ok(plan.signed_by(keys.rsa(self.signed_by)?)?)
    }
}
