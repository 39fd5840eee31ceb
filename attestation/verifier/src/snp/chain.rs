// SPDX-License-Identifier: Apache-2.0
//! Certificate chains down to a configured root: ARK, then ASK or ASVK, then VCEK or VLEK.

use casemate_evidence::snp::Certificate;
use casemate_evidence::snp::CertificateKind;
use casemate_evidence::snp::Product;
use casemate_evidence::snp::PublicKey;
use casemate_evidence::snp::Report;
use casemate_evidence::snp::SigningKey;
use casemate_evidence::snp::TableEntry;
use ring::signature;

use super::revocation::Revocation;
use super::rules;
use crate::Root;
use crate::RootKind;
use crate::Rule;
use crate::signed::is_signed_by;

/// A leaf certificate that a configured root vouches for. Its signatures are verified once, when it
/// is found; [`Chain::verify`] then judges any number of reports of the same key.
///
/// Dates and revocation are judged with each report, by its time.
#[derive(Debug, Clone)]
pub struct Chain {
    pub(super) root: RootKind,
    pub(super) ark: Certificate,
    pub(super) intermediate: Certificate,
    pub(super) leaf: Certificate,
    pub(super) leaf_kind: CertificateKind,
    pub(super) revocation: Revocation,
}

/// Why there is no chain: the broken rule, and the value that breaks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoChain {
    pub(super) rule: Rule,
    pub(super) value: String,
}

impl Chain {
    /// Finds the chain from the key that `signing_key` names to one of `roots`.
    ///
    /// Intermediates come from the root and from `certificates`; the latter add no trust. A
    /// revocation list among `certificates` is judged with each report.
    ///
    /// # Errors
    ///
    /// [`NoChain`] when there is no such leaf, several, or one that no root vouches for.
    pub fn find(
        certificates: &[TableEntry],
        signing_key: SigningKey,
        roots: &[Root],
    ) -> Result<Self, NoChain> {
        let (leaf, leaf_kind) = leaf(certificates, signing_key)?;
        for root in roots {
            let Some(intermediate) = issuer(&leaf, certificates, root) else { continue };
            return Ok(Self {
                root: root.kind().clone(),
                ark: root.ark().clone(),
                intermediate,
                leaf,
                leaf_kind,
                revocation: Revocation::read(certificates, root.ark()),
            });
        }
        Err(NoChain {
            rule: rules::ROOT,
            value: format!("{} issued by an unknown key", leaf.common_name()),
        })
    }

    /// Whose root it ends in.
    #[must_use]
    pub fn root(&self) -> &RootKind {
        &self.root
    }

    /// The certificates from the root down.
    #[must_use]
    pub fn certificates(&self) -> [&Certificate; 3] {
        [&self.ark, &self.intermediate, &self.leaf]
    }

    /// The product line: that of AMD's root, or the one that a simulated leaf names.
    #[must_use]
    pub fn product(&self) -> Option<Product> {
        match self.root {
            RootKind::Amd(product) => Some(product),
            _ => self.leaf.product().and_then(Product::from_certificate_name),
        }
    }

    /// Whether the leaf's key signed the report (ECDSA P-384 with SHA-384).
    pub(super) fn signed(&self, report: &Report) -> bool {
        let (PublicKey::P384(key), Some(signature)) = (self.leaf.key(), report.signature()) else {
            return false;
        };
        report.signature_algorithm() == ECDSA_P384_SHA384
            && signature::UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, key)
                .verify(report.signed_bytes(), &signature)
                .is_ok()
    }
}

/// The one certificate of the kind that the report names; one of the other kind when there is no
/// other, so that the difference can be told.
fn leaf(
    certificates: &[TableEntry],
    signing_key: SigningKey,
) -> Result<(Certificate, CertificateKind), NoChain> {
    let refuse = |rule: Rule, value: String| Err(NoChain { rule, value });
    let is_leaf = |kind| matches!(kind, CertificateKind::Vcek | CertificateKind::Vlek);
    let leaves = || certificates.iter().filter(|entry| is_leaf(entry.kind));
    let named = kind_of(signing_key);
    let mut of_kind: Vec<&TableEntry> =
        leaves().filter(|entry| Some(entry.kind) == named).collect();
    if of_kind.is_empty() {
        of_kind = leaves().collect();
    }
    let [entry] = of_kind[..] else {
        return refuse(rules::ONE_LEAF, format!("{} certificates of a signer", of_kind.len()));
    };
    let kind = entry.kind;
    let Ok(leaf) = Certificate::parse(&entry.data) else {
        return refuse(rules::LEAF_FORM, format!("malformed {kind}"));
    };
    // The label comes from the host; what the certificate itself says must agree.
    if leaf.kind() != Some(kind) {
        return refuse(rules::LEAF_KIND, format!("another kind of certificate as {kind}"));
    }
    Ok((leaf, kind))
}

/// The kind of certificate of a signing key.
pub(crate) fn kind_of(signing_key: SigningKey) -> Option<CertificateKind> {
    match signing_key {
        SigningKey::Vcek => Some(CertificateKind::Vcek),
        SigningKey::Vlek => Some(CertificateKind::Vlek),
        SigningKey::None | SigningKey::Reserved => None,
    }
}

/// The certificate between root and leaf: one of the root's own, or one that was offered.
fn issuer(leaf: &Certificate, certificates: &[TableEntry], root: &Root) -> Option<Certificate> {
    let own = root.intermediates().iter().find(|own| is_signed_by(leaf, own)).cloned();
    own.or_else(|| {
        certificates
            .iter()
            .filter(|entry| entry.kind == CertificateKind::Ask)
            .filter_map(|entry| Certificate::parse(&entry.data).ok())
            .find(|offered| {
                offered.kind() == Some(CertificateKind::Ask)
                    && is_signed_by(leaf, offered)
                    && is_signed_by(offered, root.ark())
            })
    })
}

/// The one value of the report's SIGNATURE_ALGO that means something (ABI, chapter 10).
const ECDSA_P384_SHA384: u32 = 1;
