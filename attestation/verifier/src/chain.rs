// SPDX-License-Identifier: Apache-2.0
//! Certificate chains down to a configured root: ARK, then ASK or ASVK, then VCEK or VLEK.

use casemate_evidence::snp::Certificate;
use casemate_evidence::snp::CertificateKind;
use casemate_evidence::snp::Evidence;
use casemate_evidence::snp::PublicKey;
use casemate_evidence::snp::Report;
use casemate_evidence::snp::SigningKey;
use ring::signature;

use crate::Code;
use crate::Dimension;
use crate::Rule;
use crate::root::Root;

/// A leaf that a configured root vouches for.
pub(crate) struct Chain<'a> {
    pub(crate) root: &'a Root,
    pub(crate) intermediate: Certificate,
    pub(crate) leaf: Certificate,
}

/// Why there is no chain, in words for a verdict.
pub(crate) struct NoChain {
    pub(crate) value: String,
    pub(crate) rule: Rule,
}

/// Finds the chain from the report's signing key to one of `roots`.
pub(crate) fn find<'a>(evidence: &Evidence, roots: &'a [Root]) -> Result<Chain<'a>, NoChain> {
    let leaf = leaf(evidence)?;
    for root in roots {
        for intermediate in candidates(evidence, root) {
            if vouches(root, &intermediate, &leaf) {
                return Ok(Chain { root, intermediate, leaf });
            }
        }
    }
    Err(NoChain {
        value: format!("{} issued by an unknown key", leaf.common_name()),
        rule: no_chain(Code::Root, "the certificates end in a configured root"),
    })
}

/// Whether `subject` names `issuer` and carries its RSASSA-PSS signature (SHA-384, salt 48).
pub(crate) fn is_signed_by(subject: &Certificate, issuer: &Certificate) -> bool {
    let PublicKey::Rsa(key) = issuer.key() else {
        return false;
    };
    subject.issuer() == issuer.subject()
        && signature::UnparsedPublicKey::new(&signature::RSA_PSS_2048_8192_SHA384, key)
            .verify(subject.signed_bytes(), subject.signature())
            .is_ok()
}

/// Whether `leaf` signed the report (ECDSA P-384 with SHA-384).
pub(crate) fn signed_report(leaf: &Certificate, report: &Report) -> bool {
    let (PublicKey::P384(key), Some(signature)) = (leaf.key(), report.signature()) else {
        return false;
    };
    report.signature_algorithm() == ECDSA_P384_SHA384
        && signature::UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, key)
            .verify(report.signed_bytes(), &signature)
            .is_ok()
}

/// The one certificate of the kind that the report says signed it.
fn leaf(evidence: &Evidence) -> Result<Certificate, NoChain> {
    let refuse = |value: String, code, text| Err(NoChain { value, rule: no_chain(code, text) });
    let (kind, rule) = match evidence.report.signing_key() {
        SigningKey::Vcek => (CertificateKind::Vcek, "exactly one VCEK comes with the report"),
        SigningKey::Vlek => (CertificateKind::Vlek, "exactly one VLEK comes with the report"),
        SigningKey::None | SigningKey::Reserved => {
            let text = "the report is signed by a VCEK or a VLEK";
            return refuse("none".to_owned(), Code::KeyInfo, text);
        }
    };
    let mut of_kind = evidence.certificates.iter().filter(|entry| entry.kind == kind);
    let (Some(entry), None) = (of_kind.next(), of_kind.next()) else {
        return refuse(format!("no or several {kind}"), Code::Certificate, rule);
    };
    let Ok(leaf) = Certificate::parse(&entry.data) else {
        return refuse(format!("malformed {kind}"), Code::Certificate, rule);
    };
    // The label comes from the host; what the certificate itself says must agree.
    let agrees = match kind {
        CertificateKind::Vcek => leaf.hardware_id().is_some() && leaf.provider().is_none(),
        _ => leaf.hardware_id().is_none() && leaf.provider().is_some(),
    };
    if agrees {
        Ok(leaf)
    } else {
        refuse(
            format!("another kind of certificate as {kind}"),
            Code::KeyInfo,
            "the certificate is of the kind that signed",
        )
    }
}

/// Signing keys that could stand between root and leaf: those configured, then those offered.
fn candidates(evidence: &Evidence, root: &Root) -> Vec<Certificate> {
    let offered = evidence
        .certificates
        .iter()
        .filter(|entry| entry.kind == CertificateKind::Ask)
        .filter_map(|entry| Certificate::parse(&entry.data).ok());
    root.intermediates().iter().cloned().chain(offered).collect()
}

const fn no_chain(code: Code, text: &'static str) -> Rule {
    Rule { claim: "chain.root", code, text, affects: Dimension::Hardware }
}

fn vouches(root: &Root, intermediate: &Certificate, leaf: &Certificate) -> bool {
    intermediate.is_ca()
        && !leaf.is_ca()
        && is_signed_by(leaf, intermediate)
        && is_signed_by(intermediate, root.ark())
}

/// The one value of the report's SIGNATURE_ALGO that means something (ABI, chapter 10).
const ECDSA_P384_SHA384: u32 = 1;
