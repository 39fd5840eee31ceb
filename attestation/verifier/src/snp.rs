// SPDX-License-Identifier: Apache-2.0
//! The checks of SNP evidence.

use casemate_evidence::snp::CpuId;
use casemate_evidence::snp::Evidence;
use casemate_evidence::snp::Product;
use casemate_evidence::snp::Report;

use crate::Guest;
use crate::Measurement;
use crate::Root;
use crate::Source;
use crate::Verdict;
use crate::verdict::Findings;

mod chain;
mod compare;
mod guest;
mod platform;
mod requirements;
mod revocation;
mod rules;
mod signer;

pub(crate) use chain::kind_of;

pub use chain::Chain;
pub use chain::NoChain;
pub use requirements::Expected;
pub use requirements::GuestRequirements;
pub use requirements::IdBlockRequirements;
pub use requirements::PlatformRequirements;
pub use requirements::Requirements;
pub use requirements::TcbRequirements;

/// Judges SNP evidence at `now`, seconds since 1970.
///
/// Certificates and revocation lists are those of the evidence; they count as far as one of `roots`
/// signed them.
#[must_use]
pub fn verify(
    evidence: &Evidence,
    roots: &[Root],
    expected: &Expected,
    requirements: &Requirements,
    now: u64,
) -> Verdict {
    let report = &evidence.report;
    match Chain::find(&evidence.certificates, report.signing_key(), roots) {
        Ok(chain) => chain.verify(report, expected, requirements, now),
        Err(no_chain) => no_chain.verdict(report, expected, requirements),
    }
}

impl Chain {
    /// Judges a report at `now`, seconds since 1970.
    #[must_use]
    pub fn verify(
        &self,
        report: &Report,
        expected: &Expected,
        requirements: &Requirements,
        now: u64,
    ) -> Verdict {
        let mut findings = Findings::default();
        signer::check(&mut findings, self, report, requirements, now);
        check_report(&mut findings, report, self.product(), expected, requirements);
        conclude(findings, report, Some(self.root.to_string()))
    }
}

impl NoChain {
    /// The refusal of a report that nobody vouches for, with what it says of itself.
    #[must_use]
    pub fn verdict(
        &self,
        report: &Report,
        expected: &Expected,
        requirements: &Requirements,
    ) -> Verdict {
        let mut findings = Findings::default();
        findings.check(&self.rule, self.value.clone(), None, Source::Certificate, false);
        let product = report.cpuid().and_then(CpuId::product);
        check_report(&mut findings, report, product, expected, requirements);
        conclude(findings, report, None)
    }
}

/// What the report says, whoever signed it.
fn check_report(
    findings: &mut Findings,
    report: &Report,
    product: Option<Product>,
    expected: &Expected,
    requirements: &Requirements,
) {
    guest::check_policy(findings, report, requirements);
    guest::check_id_block(findings, report, requirements);
    platform::check_features(findings, report, product, &requirements.platform);
    platform::check_chip(findings, report, requirements);
    platform::check_tcb(findings, report, requirements);
    guest::check_binding(findings, report, expected, requirements);
}

fn conclude(findings: Findings, report: &Report, root: Option<String>) -> Verdict {
    let guest = Guest::Snp { host_data: *report.host_data(), chip_id: *report.chip_id() };
    findings.conclude(root, Measurement(*report.measurement()), guest)
}
