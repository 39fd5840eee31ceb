// SPDX-License-Identifier: Apache-2.0
//! From the quote to a configured root: attestation key, quoting enclave, PCK certificate, PCK
//! (platform or processor) CA, root.

use casemate_evidence::tdx::Certificate;
use casemate_evidence::tdx::PckExtension;
use casemate_evidence::tdx::Quote;
use ring::digest;

use super::root::Root;
use super::rules;
use super::signature::is_signed_by;
use super::signature::signed;
use super::signature::uncompressed;
use crate::Source;
use crate::moment;
use crate::verdict::Findings;

/// A PCK certificate that a configured root vouches for.
pub(super) struct Chain<'a> {
    pub(super) root: &'a Root,
    pub(super) ca: Certificate,
    pub(super) leaf: Certificate,
    /// What the leaf says of its platform.
    pub(super) pck: PckExtension,
    /// What else came with them.
    others: Vec<Certificate>,
}

/// The certificates of a quote, read but not yet believed.
pub(super) struct Offered {
    leaf: Certificate,
    pck: PckExtension,
    issuers: Vec<Certificate>,
}

impl Offered {
    /// Reads a quote's certificates: one of a PCK, and its issuers.
    pub(super) fn read(quote: &Quote) -> Result<Self, String> {
        let mut certificates =
            Certificate::parse_chain(quote.pck_chain()).map_err(|error| describe(&error))?;
        let mut leaves = certificates.iter().enumerate().filter(|(_, c)| c.pck().is_some());
        let (Some((index, _)), None) = (leaves.next(), leaves.next()) else {
            return Err("no PCK certificate, or several".to_owned());
        };
        let leaf = certificates.remove(index);
        let pck = leaf.pck().cloned().ok_or_else(|| "no PCK certificate".to_owned())?;
        Ok(Self { leaf, pck, issuers: certificates })
    }

    /// The chain to one of `roots`, if there is one. A CA of which `known` says that its root signed
    /// it is not verified again.
    pub(super) fn chain<'a>(
        self,
        roots: impl IntoIterator<Item = &'a Root>,
        known: impl Fn(&Root, &Certificate) -> bool,
    ) -> Result<Chain<'a>, String> {
        let Self { leaf, pck, mut issuers } = self;
        let candidates: Vec<usize> = issuers
            .iter()
            .enumerate()
            .filter(|(_, ca)| ca.is_ca() && !leaf.is_ca() && is_signed_by(&leaf, ca))
            .map(|(index, _)| index)
            .collect();
        for root in roots {
            let vouched = |index: &usize| {
                issuers
                    .get(*index)
                    .is_some_and(|ca| known(root, ca) || is_signed_by(ca, root.certificate()))
            };
            if let Some(index) = candidates.iter().copied().find(vouched) {
                let ca = issuers.remove(index);
                return Ok(Chain { root, ca, leaf, pck, others: issuers });
            }
        }
        Err(format!("{} issued by an unknown key", leaf.common_name()))
    }
}

/// Dates of the chain, and the signatures from the PCK key to the quote.
pub(super) fn check(findings: &mut Findings, chain: &Chain<'_>, quote: &Quote, now: u64) {
    let Chain { root, ca, leaf, .. } = chain;
    findings.check(&rules::ROOT, root.kind().to_string(), None, Source::Certificate, true);
    // Nothing that a verdict does not account for: beside them only the root itself may come.
    let stranger = chain.others.iter().find(|other| other.der() != root.certificate().der());
    findings.check(
        &rules::CERTIFICATE,
        stranger.map_or(leaf.common_name(), Certificate::common_name),
        None,
        Source::Certificate,
        stranger.is_none(),
    );
    // D2: validity of each certificate, at a time that the caller gives.
    for (rule, certificate) in [
        (&rules::DATES_ROOT, root.certificate()),
        (&rules::DATES_CA, ca),
        (&rules::DATES_PCK, leaf),
    ] {
        let (from, to) = (certificate.not_before(), certificate.not_after());
        findings.check(
            rule,
            format!(
                "{} valid from {} to {}",
                certificate.common_name(),
                moment::text(from),
                moment::text(to)
            ),
            format!("now {}", moment::text(now)),
            Source::Certificate,
            (from..=to).contains(&now),
        );
    }
    findings.check(
        &rules::QE_SIGNATURE,
        leaf.common_name(),
        None,
        Source::Quote,
        signed(leaf.key(), quote.qe_report().as_bytes(), quote.qe_report_signature()),
    );
}

/// What holds whoever the root is: the quoting enclave's report binds the attestation key, and that
/// key signed header and body.
pub(super) fn check_quote(findings: &mut Findings, quote: &Quote) {
    let mut bound = digest::Context::new(&digest::SHA256);
    bound.update(quote.attestation_key());
    bound.update(quote.qe_auth_data());
    let bound = bound.finish();
    let (head, tail) = quote.qe_report().report_data().split_at(digest::SHA256_OUTPUT_LEN);
    findings.check(
        &rules::QE_BINDING,
        hex::encode(quote.qe_report().report_data()),
        hex::encode(bound.as_ref()),
        Source::Quote,
        head == bound.as_ref() && tail.iter().all(|byte| *byte == 0),
    );
    let key = uncompressed(quote.attestation_key());
    findings.check(
        &rules::SIGNATURE,
        "ECDSA P-256",
        None,
        Source::Quote,
        signed(&key, quote.signed_bytes(), quote.signature()),
    );
}

/// An error with its causes, for a verdict.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
