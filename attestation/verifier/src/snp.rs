// SPDX-License-Identifier: Apache-2.0
//! The checks of SNP evidence.

use std::collections::BTreeSet;

use casemate_evidence::snp::CpuId;
use casemate_evidence::snp::Evidence;
use casemate_evidence::snp::Product;
use casemate_evidence::snp::Report;
use casemate_evidence::snp::SigningKey;
use casemate_evidence::snp::TcbVersion;

use crate::Guest;
use crate::Measurement;
use crate::Root;
use crate::RootKind;
use crate::Source;
use crate::Verdict;
use crate::chain;
use crate::chain::Chain;
use crate::verdict::Findings;

mod rules;

/// What this one report must bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expected {
    /// The field that binds nonce and key; `None` leaves the verdict unbound.
    pub report_data: Option<[u8; 64]>,
    /// The digest of the initdata that came with the evidence; `None` when none came.
    pub host_data: Option<[u8; 32]>,
}

/// What the owner demands of any guest. The default demands what cannot be waived and has no
/// reference values, hence accepts nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requirements {
    /// Launch digests that are accepted; an empty set accepts none, `None` leaves the verdict
    /// unbound.
    pub measurements: Option<BTreeSet<Measurement>>,
    /// Least TCB, applied to the reported and to the committed one.
    pub tcb_floor: Option<TcbVersion>,
    /// Chips that are accepted; `None` for any.
    pub chips: Option<BTreeSet<[u8; 64]>>,
    /// Cloud providers whose leased keys are accepted; empty for none.
    pub vlek_providers: BTreeSet<String>,
    /// The guest's policy must forbid simultaneous multithreading.
    pub forbid_smt: bool,
    /// The guest's policy must demand a single socket.
    pub require_single_socket: bool,
    /// Least firmware ABI, major and minor, that the guest's policy must demand.
    pub min_abi: Option<(u8, u8)>,
    /// The platform must have checked for aliased memory (AMD-SB-3015).
    pub require_alias_check: bool,
}

/// Judges SNP evidence at `now`, seconds since 1970.
#[must_use]
pub fn verify(
    evidence: &Evidence,
    roots: &[Root],
    expected: &Expected,
    requirements: &Requirements,
    now: u64,
) -> Verdict {
    let report = &evidence.report;
    let mut findings = Findings::default();
    let chain = match chain::find(evidence, roots) {
        Ok(chain) => {
            check_chain(&mut findings, &chain, report, requirements, now);
            Some(chain)
        }
        Err(why) => {
            findings.check(&why.rule, why.value, None, Source::Certificate, false);
            None
        }
    };
    check_guest(&mut findings, report, requirements);
    check_tcb(&mut findings, report, requirements);
    check_binding(&mut findings, report, expected, requirements);
    let root = chain.map(|chain| chain.root.kind().to_string());
    let guest = Guest::Snp { host_data: *report.host_data(), chip_id: *report.chip_id() };
    findings.conclude(root, Measurement(*report.measurement()), guest)
}

/// Who signed: certificates, dates, and what they say against what the report says.
fn check_chain(
    findings: &mut Findings,
    chain: &Chain<'_>,
    report: &Report,
    requirements: &Requirements,
    now: u64,
) {
    let Chain { root, intermediate, leaf } = chain;
    let source = Source::Certificate;
    findings.check(&rules::ROOT, root.kind().to_string(), None, source, true);
    // D2: validity of each certificate, at a time that the caller gives.
    for (rule, certificate) in [
        (&rules::DATES_ARK, root.ark()),
        (&rules::DATES_ASK, intermediate),
        (&rules::DATES_LEAF, leaf),
    ] {
        let (from, to) = (certificate.not_before(), certificate.not_after());
        findings.check(
            rule,
            format!("{} valid from {from} to {to}", certificate.common_name()),
            format!("now {now}"),
            source,
            (from..=to).contains(&now),
        );
    }
    findings.not_checked(&rules::REVOCATION, "none given", Source::Collateral);
    check_product(findings, root.kind(), leaf.product(), report.cpuid());
    let reported = report.reported_tcb();
    findings.check(
        &rules::CERTIFIED_TCB,
        leaf.tcb().map_or_else(|| "incomplete".to_owned(), |tcb| tcb.to_string()),
        reported.to_string(),
        source,
        leaf.tcb() == Some(reported),
    );
    match report.signing_key() {
        SigningKey::Vcek => {
            findings.check(
                &rules::CERTIFIED_CHIP,
                hex::encode(leaf.hardware_id().unwrap_or_default()),
                hex::encode(report.chip_id()),
                source,
                leaf.hardware_id().is_some_and(|id| is_chip(id, report.chip_id())),
            );
        }
        _ => {
            findings.check(
                &rules::PROVIDER,
                leaf.provider().unwrap_or_default(),
                requirements.vlek_providers.iter().cloned().collect::<Vec<_>>().join(", "),
                source,
                leaf.provider().is_some_and(|name| requirements.vlek_providers.contains(name)),
            );
        }
    }
    findings.check(
        &rules::SIGNATURE,
        format!("{} {}", leaf.common_name(), report.signature_algorithm()),
        None,
        Source::Report,
        chain::signed_report(leaf, report),
    );
}

/// D5: root, certificate and CPU must name one product line. A line is refused by not configuring
/// its root.
fn check_product(
    findings: &mut Findings,
    root: &RootKind,
    certificate: Option<&str>,
    cpuid: Option<CpuId>,
) {
    let named = certificate.and_then(Product::from_certificate_name);
    let value = format!(
        "certificate {}, cpu {}",
        certificate.unwrap_or("unnamed"),
        cpuid.map_or_else(
            || "unnamed".to_owned(),
            |id| format!("family {:#x} model {:#x} stepping {}", id.family, id.model, id.stepping)
        )
    );
    let cpu_agrees = cpuid.is_none_or(|id| id.product() == named);
    let (rule, source) = (&rules::PRODUCT, Source::Certificate);
    let reference = root.to_string();
    match root {
        RootKind::Amd(product) => {
            findings.check(rule, value, reference, source, named == Some(*product) && cpu_agrees);
        }
        RootKind::Simulated(_) if named.is_none() => findings.not_checked(rule, value, source),
        RootKind::Simulated(_) => findings.check(rule, value, reference, source, cpu_agrees),
    }
}

/// D4: what the guest was launched as, and where it runs.
fn check_guest(findings: &mut Findings, report: &Report, requirements: &Requirements) {
    let policy = report.policy();
    let source = Source::Report;
    let yes = |flag: bool| if flag { "yes" } else { "no" };
    let is = |flag: bool| Some(yes(flag).to_owned());
    let vmpl = report.vmpl();
    findings.check(&rules::VMPL, vmpl.to_string(), "0".to_owned(), source, vmpl == 0);
    let value = format!("{:#x}", policy.0);
    findings.check(&rules::POLICY, value, None, source, policy.is_well_formed());
    let debug = policy.debug();
    findings.check(&rules::DEBUG, yes(debug), is(false), source, !debug);
    let migration = policy.migration_agent();
    findings.check(&rules::MIGRATION, yes(migration), is(false), source, !migration);
    let mut demand = |rule, wanted: bool, value: bool, kept: bool| {
        if wanted {
            findings.check(rule, yes(value), is(value == kept), source, kept);
        } else {
            findings.not_checked(rule, yes(value), source);
        }
    };
    demand(&rules::SMT, requirements.forbid_smt, policy.smt(), !policy.smt());
    let single = policy.single_socket();
    demand(&rules::SINGLE_SOCKET, requirements.require_single_socket, single, single);
    let checked = report.platform_info().alias_check_complete();
    demand(&rules::ALIAS_CHECK, requirements.require_alias_check, checked, checked);
    let (major, minor) = policy.abi();
    let value = format!("{major}.{minor}");
    match requirements.min_abi {
        Some(least) => findings.check(
            &rules::ABI,
            value,
            format!("{}.{}", least.0, least.1),
            source,
            policy.abi() >= least,
        ),
        None => findings.not_checked(&rules::ABI, value, source),
    }
    let chip = hex::encode(report.chip_id());
    match &requirements.chips {
        Some(chips) => {
            let reference = format!("{} chips", chips.len());
            findings.check(&rules::CHIP, chip, reference, source, chips.contains(report.chip_id()));
        }
        None => findings.not_checked(&rules::CHIP, chip, source),
    }
    let signed = report.id_key_digest() != &[0; 48];
    findings.not_checked(&rules::ID_BLOCK, yes(signed), source);
}

/// D3: what is reported says with which key the report was signed; what is committed says how far
/// the platform can be rolled back after that.
fn check_tcb(findings: &mut Findings, report: &Report, requirements: &Requirements) {
    let source = Source::Report;
    for (rule, tcb) in [
        (&rules::TCB_REPORTED, report.reported_tcb()),
        (&rules::TCB_COMMITTED, report.committed_tcb()),
    ] {
        match &requirements.tcb_floor {
            Some(floor) => findings.check(
                rule,
                tcb.to_string(),
                floor.to_string(),
                source,
                tcb.is_at_least(floor),
            ),
            None => findings.not_checked(rule, tcb.to_string(), source),
        }
    }
    findings.not_checked(&rules::TCB_LAUNCH, report.launch_tcb().to_string(), source);
    findings.not_checked(&rules::TCB_CURRENT, report.current_tcb().to_string(), source);
}

/// What this guest is, and that the report is for this key and nonce.
fn check_binding(
    findings: &mut Findings,
    report: &Report,
    expected: &Expected,
    requirements: &Requirements,
) {
    let source = Source::Report;
    let value = hex::encode(report.report_data());
    match &expected.report_data {
        Some(data) => {
            let kept = data == report.report_data();
            findings.check(&rules::REPORT_DATA, value, hex::encode(data), source, kept);
        }
        None => findings.not_checked(&rules::REPORT_DATA, value, source),
    }
    let value = hex::encode(report.host_data());
    match &expected.host_data {
        Some(digest) => {
            let kept = digest == report.host_data();
            findings.check(&rules::HOST_DATA, value, hex::encode(digest), source, kept);
        }
        None => findings.not_checked(&rules::HOST_DATA, value, source),
    }
    let measurement = Measurement(*report.measurement());
    let value = measurement.to_string();
    match &requirements.measurements {
        Some(accepted) => findings.check(
            &rules::MEASUREMENT,
            value,
            match accepted.first() {
                Some(one) if accepted.len() == 1 => one.to_string(),
                _ => format!("{} reference values", accepted.len()),
            },
            source,
            accepted.contains(&measurement),
        ),
        None => findings.not_checked(&rules::MEASUREMENT, value, source),
    }
}

/// A certificate names 64 bytes of the chip's id, or the first eight with the rest zero.
fn is_chip(certified: &[u8], reported: &[u8; 64]) -> bool {
    let named = [8, 64].contains(&certified.len()) && certified.iter().any(|byte| *byte != 0);
    let (head, tail) = reported.split_at(certified.len().min(reported.len()));
    named && head == certified && tail.iter().all(|byte| *byte == 0)
}
