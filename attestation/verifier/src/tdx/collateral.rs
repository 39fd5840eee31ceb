// SPDX-License-Identifier: Apache-2.0
//! Collateral: who signed it, whether it is current, and whom it revokes.

use casemate_evidence::collateral::Collateral;
use casemate_evidence::tdx::Certificate;

use super::chain::Chain;
use super::root::Root;
use super::root::RootKind;
use super::rules;
use super::signature::is_list_of;
use super::signature::is_signed_by;
use super::signature::signed;
use crate::Source;
use crate::moment;
use crate::verdict::Findings;

/// Collateral whose signatures were checked once, for many quotes of platforms under one root. Its
/// dates are compared with the time of each verification.
#[derive(Debug, Clone)]
pub struct CheckedCollateral {
    collateral: Collateral,
    root: Root,
    signatures: Signatures,
}

impl CheckedCollateral {
    /// Checks who signed. What is wrong shows in each verdict, not here.
    #[must_use]
    pub fn new(collateral: Collateral, root: Root) -> Self {
        let signatures = Signatures::check(&collateral, &root, None);
        Self { collateral, root, signatures }
    }

    /// The collateral.
    #[must_use]
    pub fn collateral(&self) -> &Collateral {
        &self.collateral
    }

    /// The root that it was checked under.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The CA that signed the PCK revocation list, if the root signed it.
    pub(super) fn ca(&self) -> Option<&Certificate> {
        list_signer(&self.collateral.pck_crl_chain, &self.root).filter(|_| self.signatures.ca)
    }

    pub(super) fn view(&self) -> View<'_> {
        View { collateral: &self.collateral, signatures: self.signatures }
    }
}

/// Collateral and what is known of its signatures.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) collateral: &'a Collateral,
    signatures: Signatures,
}

impl<'a> View<'a> {
    /// Checks who signed, for one quote whose chain is known.
    pub(super) fn new(collateral: &'a Collateral, chain: &Chain<'_>) -> Self {
        let signatures = Signatures::check(collateral, chain.root, Some(&chain.ca));
        Self { collateral, signatures }
    }
}

/// Which parts the root, or a key that it certified for this, signed.
#[derive(Debug, Clone, Copy)]
struct Signatures {
    tcb_info: bool,
    qe_identity: bool,
    ca: bool,
    pck_crl: bool,
    root_crl: bool,
}

impl Signatures {
    /// `known` is a CA that the root is known to have signed.
    fn check(collateral: &Collateral, root: &Root, known: Option<&Certificate>) -> Self {
        let vouched = |signer: &Certificate| is_signed_by(signer, root.certificate());
        let tcb_signer = signer(&collateral.tcb_info_chain, root);
        let qe_signer = signer(&collateral.qe_identity_chain, root);
        let tcb_vouched = tcb_signer.is_some_and(vouched);
        // Intel signs both with one key, so mostly there is one certificate to verify.
        let qe_vouched = match (tcb_signer, qe_signer) {
            (Some(one), Some(other)) if one.der() == other.der() => tcb_vouched,
            (_, other) => other.is_some_and(vouched),
        };
        let ca = list_signer(&collateral.pck_crl_chain, root);
        let ca_vouched = match (ca, known) {
            (Some(ca), Some(known)) if ca.der() == known.der() => true,
            (ca, _) => ca.is_some_and(vouched),
        };
        let (tcb_info, qe_identity) = (&collateral.tcb_info, &collateral.qe_identity);
        Self {
            tcb_info: tcb_vouched
                && tcb_signer.is_some_and(|key| {
                    signed(key.key(), tcb_info.text.as_bytes(), &tcb_info.signature)
                }),
            qe_identity: qe_vouched
                && qe_signer.is_some_and(|key| {
                    signed(key.key(), qe_identity.text.as_bytes(), &qe_identity.signature)
                }),
            ca: ca_vouched,
            pck_crl: ca_vouched && ca.is_some_and(|ca| is_list_of(&collateral.pck_crl, ca)),
            root_crl: is_list_of(&collateral.root_crl, root.certificate()),
        }
    }
}

/// Collateral's own lines: signatures, dates, and what its lists say of the chain.
pub(super) fn check(findings: &mut Findings, view: View<'_>, chain: &Chain<'_>, now: u64) {
    let View { collateral, signatures } = view;
    let source = Source::Collateral;
    findings.check(&rules::COLLATERAL, "given", None, source, true);
    let tcb_signer = signer(&collateral.tcb_info_chain, chain.root);
    let qe_signer = signer(&collateral.qe_identity_chain, chain.root);
    let ca = list_signer(&collateral.pck_crl_chain, chain.root);
    // A list says nothing of certificates that another CA issued.
    let same_ca = ca.is_some_and(|ca| ca.key() == chain.ca.key());
    let root = chain.root.kind().to_string();
    for (rule, signer, kept) in [
        (&rules::TCB_INFO_SIGNATURE, tcb_signer, signatures.tcb_info),
        (&rules::QE_IDENTITY_SIGNATURE, qe_signer, signatures.qe_identity),
        (&rules::PCK_CRL_SIGNATURE, ca, signatures.pck_crl && same_ca),
        (&rules::ROOT_CRL_SIGNATURE, Some(chain.root.certificate()), signatures.root_crl),
    ] {
        let signer = signer.map_or("no certificate for this", Certificate::common_name);
        findings.check(rule, signer, root.clone(), source, kept);
    }
    let (tcb_info, qe_identity) = (&collateral.tcb_info.document, &collateral.qe_identity.document);
    let (pck_crl, root_crl) = (&collateral.pck_crl, &collateral.root_crl);
    for (rule, from, to) in [
        (&rules::TCB_INFO_DATES, tcb_info.issue_date, tcb_info.next_update),
        (&rules::QE_IDENTITY_DATES, qe_identity.issue_date, qe_identity.next_update),
        (&rules::PCK_CRL_DATES, pck_crl.this_update(), pck_crl.next_update()),
        (&rules::ROOT_CRL_DATES, root_crl.this_update(), root_crl.next_update()),
    ] {
        let value = format!("valid from {} to {}", moment::text(from), moment::text(to));
        let reference = format!("now {}", moment::text(now));
        findings.check(rule, value, reference, source, (from..=to).contains(&now));
    }
    let signers = [tcb_signer, qe_signer, ca];
    let from = signers.iter().flatten().map(|signer| signer.not_before()).max().unwrap_or(0);
    let to = signers.iter().flatten().map(|signer| signer.not_after()).min().unwrap_or(0);
    findings.check(
        &rules::SIGNER_DATES,
        format!("valid from {} to {}", moment::text(from), moment::text(to)),
        format!("now {}", moment::text(now)),
        source,
        (from..=to).contains(&now),
    );
    // D2: revocation of everything that the root issued, and of the PCK certificate.
    let issued = [Some(chain.root.certificate()), Some(&chain.ca), tcb_signer, qe_signer, ca];
    let revoked = issued.into_iter().flatten().find(|c| root_crl.revokes(c.serial()));
    findings.check(
        &rules::REVOKED_CA,
        revoked.map_or("none", Certificate::common_name),
        format!("{} revoked", root_crl.revoked_count()),
        source,
        revoked.is_none(),
    );
    findings.check(
        &rules::REVOKED_PCK,
        hex::encode(chain.leaf.serial().as_bytes()),
        format!("{} revoked", pck_crl.revoked_count()),
        source,
        !pck_crl.revokes(chain.leaf.serial()),
    );
}

/// The one line of collateral that did not come.
pub(super) fn missing(findings: &mut Findings) {
    findings.check(&rules::COLLATERAL, "none", None, Source::Collateral, false);
}

/// The certificate for signing TCB documents: directly below the root, no CA, of no platform.
pub(super) fn signer<'a>(chain: &'a [Certificate], root: &Root) -> Option<&'a Certificate> {
    chain.iter().find(|certificate| {
        !certificate.is_ca()
            && certificate.pck().is_none()
            && certificate.issuer() == root.certificate().subject()
            && (*root.kind() != RootKind::Intel || certificate.common_name() == INTEL_TCB_SIGNING)
    })
}

/// The CA that signs the PCK revocation list: directly below the root.
pub(super) fn list_signer<'a>(chain: &'a [Certificate], root: &Root) -> Option<&'a Certificate> {
    chain.iter().find(|certificate| {
        certificate.is_ca()
            && certificate.key() != root.certificate().key()
            && certificate.issuer() == root.certificate().subject()
    })
}

const INTEL_TCB_SIGNING: &str = "Intel SGX TCB Signing";
