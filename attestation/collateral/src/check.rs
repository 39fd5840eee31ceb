// SPDX-License-Identifier: Apache-2.0
//! What every answer must pass, from wherever it comes: network, cache or bundle.

mod amd;
mod intel;

use casemate_evidence::collateral::CollateralError;
use casemate_evidence::snp::CertificateError as AmdCertificateError;
use casemate_evidence::snp::CrlError as AmdCrlError;
use casemate_evidence::snp::TableEntry;
use casemate_evidence::tdx::CertificateError as IntelCertificateError;
use casemate_evidence::tdx::CrlError as IntelCrlError;
use casemate_verifier::Moment;

use crate::anchors::Anchors;
use crate::answer::Answer;
use crate::item::Item;
use crate::mark::Mark;

pub(crate) use amd::Leaf;
pub(crate) use intel::document_signer;
pub(crate) use intel::list_signer;

/// Checks that an answer is what was asked for, that a root vouches for it and that it is valid at
/// `now`. `below` are certificates of AMD's signing keys, which add no trust.
///
/// Returns the item's mark if it has one; comparing it is for the caller.
pub(crate) fn check(
    item: &Item,
    answer: &Answer,
    anchors: &Anchors,
    below: &[TableEntry],
    now: u64,
) -> Result<Option<Mark>, CheckError> {
    let root = |product| anchors.amd(product).ok_or(CheckError::NotVouched);
    match item {
        Item::Vcek { product, chip, tcb } => {
            let leaf = Leaf::vcek(*product, Some(chip), *tcb);
            leaf.check(&answer.body, below, root(*product)?, now).map(|_| None)
        }
        Item::AmdChain { product, .. } => {
            amd::chain(answer.text(), root(*product)?, now).map(|_| None)
        }
        Item::AmdCrl { product, .. } => amd::list(&answer.body, root(*product)?, now).map(Some),
        Item::TcbInfo { fmspc, .. } => {
            intel::tcb_info(answer, fmspc, anchors.intel(), now).map(Some)
        }
        Item::QeIdentity { .. } => intel::qe_identity(answer, anchors.intel(), now).map(Some),
        Item::PckCrl { ca } => intel::pck_list(answer, *ca, anchors.intel(), now).map(Some),
        Item::IntelRootCrl => intel::root_list(&answer.body, anchors.intel(), now).map(Some),
    }
}

/// AMD's signing keys in an answer that passed [`check`].
pub(crate) fn signing_keys(answer: &Answer) -> Vec<TableEntry> {
    amd::signing_keys(answer.text())
}

/// Why an answer is not believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// No certificate of AMD's form.
    #[error("it is no certificate of AMD's form")]
    AmdCertificate {
        /// Why.
        #[source]
        source: AmdCertificateError,
    },
    /// No revocation list of AMD's form.
    #[error("it is no revocation list of AMD's form")]
    AmdList {
        /// Why.
        #[source]
        source: AmdCrlError,
    },
    /// No document of Intel's form.
    #[error("it is no document of Intel's form")]
    IntelDocument {
        /// Why.
        #[source]
        source: CollateralError,
    },
    /// No chain of Intel's certificates.
    #[error("what came along is no chain of Intel's certificates")]
    IntelCertificate {
        /// Why.
        #[source]
        source: IntelCertificateError,
    },
    /// No revocation list of Intel's form.
    #[error("it is no revocation list of Intel's form")]
    IntelList {
        /// Why.
        #[source]
        source: IntelCrlError,
    },
    /// The root, or a key that it certified for this, did not sign it.
    #[error("the vendor's root does not vouch for it")]
    NotVouched,
    /// It is of another kind: a VLEK for a VCEK, no certificate of a signing key.
    #[error("it is a certificate of another kind")]
    OtherKind,
    /// It names another product line.
    #[error("it is of another product line: {found:?}")]
    OtherProduct {
        /// The name in it.
        found: String,
    },
    /// It names another chip.
    #[error("it is of another chip: {found}")]
    OtherChip {
        /// The chip in it, hexadecimal digits.
        found: String,
    },
    /// It is of another TCB.
    #[error("it is of another TCB: {found}")]
    OtherTcb {
        /// The TCB in it.
        found: String,
    },
    /// It is of another kind of platform.
    #[error("it is of another kind of platform: {found}")]
    OtherPlatform {
        /// The FMSPC in it, hexadecimal digits.
        found: String,
    },
    /// It is of another CA.
    #[error("it is of another CA: {found:?}")]
    OtherCa {
        /// The CA in it.
        found: String,
    },
    /// It is past its date, or from the future.
    #[error("{what} is valid from {} to {}, and now is {}", Moment(*from), Moment(*to), Moment(*now))]
    NotCurrent {
        /// What of it.
        what: &'static str,
        /// First second, since 1970.
        from: u64,
        /// Last second, since 1970.
        to: u64,
        /// The time of the check.
        now: u64,
    },
    /// A newer one was seen.
    #[error("it is older than one seen before: {found}, seen was {seen}")]
    RolledBack {
        /// What it is.
        found: Mark,
        /// What was seen.
        seen: Mark,
    },
    /// The key that signed it is revoked.
    #[error("the key that signed it is revoked: {signer:?}")]
    Revoked {
        /// Name of the key's certificate.
        signer: String,
    },
}

/// D17: stale things, and things from the future, are not believed.
fn current(what: &'static str, from: u64, to: u64, now: u64) -> Result<(), CheckError> {
    if (from..=to).contains(&now) {
        Ok(())
    } else {
        Err(CheckError::NotCurrent { what, from, to, now })
    }
}
