// SPDX-License-Identifier: Apache-2.0
//! The rules for SNP evidence.

use std::collections::BTreeSet;

use casemate_evidence::snp::CpuId;
use casemate_evidence::snp::Evidence;
use casemate_evidence::snp::Product;
use casemate_evidence::snp::Report;
use casemate_evidence::snp::SigningKey;
use casemate_evidence::snp::TcbVersion;

use crate::Accepted;
use crate::Measurement;
use crate::Root;
use crate::RootKind;
use crate::Verdict;
use crate::chain;
use crate::chain::Chain;
use crate::verdict::Findings;

/// What this one report must bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// The field that binds nonce and key.
    pub report_data: [u8; 64],
    /// The digest of the initdata that came with the evidence; `None` when none came.
    pub host_data: Option<[u8; 32]>,
}

/// What the owner demands of any guest. The default demands what cannot be waived and has no
/// reference values, hence accepts nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requirements {
    /// Launch digests that are accepted.
    pub measurements: BTreeSet<Measurement>,
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
            findings.check("chain.root", why.value, why.rule, false);
            None
        }
    };
    check_guest(&mut findings, report, requirements);
    check_tcb(&mut findings, report, requirements);
    check_binding(&mut findings, report, expected, requirements);
    let root = chain.map(|chain| chain.root.kind().to_string());
    findings.conclude(root, |root| Accepted {
        root,
        measurement: Measurement(*report.measurement()),
        host_data: *report.host_data(),
        chip_id: *report.chip_id(),
    })
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
    findings.check(
        "chain.root",
        root.kind().to_string(),
        "the certificates end in a configured root",
        true,
    );
    // D2: validity of each certificate, at a time that the caller gives.
    for (claim, certificate) in [
        ("chain.dates.ark", root.ark()),
        ("chain.dates.ask", intermediate),
        ("chain.dates.leaf", leaf),
    ] {
        let (from, to) = (certificate.not_before(), certificate.not_after());
        findings.check(
            claim,
            format!("{} valid from {from} to {to}, now {now}", certificate.common_name()),
            "the certificate is valid now",
            (from..=to).contains(&now),
        );
    }
    findings.not_checked(
        "chain.revocation",
        "none given",
        "no revocation list names a certificate",
    );
    check_product(findings, root.kind(), leaf.product(), report.cpuid());
    let reported = report.reported_tcb();
    findings.check(
        "chain.tcb",
        leaf.tcb().map_or_else(|| "incomplete".to_owned(), |tcb| tcb.to_string()),
        "the signing key belongs to the reported TCB",
        leaf.tcb() == Some(reported),
    );
    match report.signing_key() {
        SigningKey::Vcek => {
            findings.check(
                "chain.chip",
                hex::encode(leaf.hardware_id().unwrap_or_default()),
                "the signing key belongs to the reported chip",
                leaf.hardware_id().is_some_and(|id| is_chip(id, report.chip_id())),
            );
        }
        _ => {
            findings.check(
                "chain.provider",
                leaf.provider().unwrap_or_default(),
                "the key is leased to an accepted provider",
                leaf.provider().is_some_and(|name| requirements.vlek_providers.contains(name)),
            );
        }
    }
    findings.check(
        "report.signature",
        format!("{} {}", leaf.common_name(), report.signature_algorithm()),
        "the certified key signed the report with ECDSA P-384",
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
    let rule = "root, certificate and CPU are of one product line";
    match root {
        RootKind::Amd(product) => {
            findings.check("chain.product", value, rule, named == Some(*product) && cpu_agrees);
        }
        RootKind::Simulated(_) if named.is_none() => {
            findings.not_checked("chain.product", value, rule);
        }
        RootKind::Simulated(_) => findings.check("chain.product", value, rule, cpu_agrees),
    }
}

/// D4: what the guest was launched as, and where it runs.
fn check_guest(findings: &mut Findings, report: &Report, requirements: &Requirements) {
    let policy = report.policy();
    let yes = |flag: bool| if flag { "yes" } else { "no" };
    findings.check(
        "guest.vmpl",
        report.vmpl().to_string(),
        "the report was asked for at VMPL 0",
        report.vmpl() == 0,
    );
    findings.check(
        "guest.policy",
        format!("{:#x}", policy.0),
        "the guest policy has no unknown bit",
        policy.is_well_formed(),
    );
    findings.check(
        "guest.debug",
        yes(policy.debug()),
        "the host may not debug the guest",
        !policy.debug(),
    );
    findings.check(
        "guest.migration",
        yes(policy.migration_agent()),
        "no migration agent may hold the guest's keys",
        !policy.migration_agent(),
    );
    let rule = "the guest policy forbids multithreading";
    if requirements.forbid_smt {
        findings.check("guest.smt", yes(policy.smt()), rule, !policy.smt());
    } else {
        findings.not_checked("guest.smt", yes(policy.smt()), rule);
    }
    let rule = "the guest policy demands a single socket";
    if requirements.require_single_socket {
        findings.check(
            "guest.single-socket",
            yes(policy.single_socket()),
            rule,
            policy.single_socket(),
        );
    } else {
        findings.not_checked("guest.single-socket", yes(policy.single_socket()), rule);
    }
    let (major, minor) = policy.abi();
    let (value, rule) =
        (format!("{major}.{minor}"), "the guest policy demands the least firmware ABI");
    match requirements.min_abi {
        Some(least) => findings.check("guest.abi", value, rule, policy.abi() >= least),
        None => findings.not_checked("guest.abi", value, rule),
    }
    let checked = report.platform_info().alias_check_complete();
    let rule = "the platform has checked for aliased memory";
    if requirements.require_alias_check {
        findings.check("platform.alias-check", yes(checked), rule, checked);
    } else {
        findings.not_checked("platform.alias-check", yes(checked), rule);
    }
    let (chip, rule) = (hex::encode(report.chip_id()), "the chip is on the list");
    match &requirements.chips {
        Some(chips) => {
            findings.check("platform.chip", chip, rule, chips.contains(report.chip_id()));
        }
        None => findings.not_checked("platform.chip", chip, rule),
    }
    let signed = report.id_key_digest() != &[0; 48];
    findings.not_checked("guest.id-block", yes(signed), "an ID block names the guest's author");
}

/// D3: what is reported says with which key the report was signed; what is committed says how far
/// the platform can be rolled back after that.
fn check_tcb(findings: &mut Findings, report: &Report, requirements: &Requirements) {
    let levels = [
        ("tcb.reported", report.reported_tcb(), "the reported TCB is not below the floor"),
        ("tcb.committed", report.committed_tcb(), "the committed TCB is not below the floor"),
    ];
    for (claim, tcb, rule) in levels {
        match &requirements.tcb_floor {
            Some(floor) => findings.check(claim, tcb.to_string(), rule, tcb.is_at_least(floor)),
            None => findings.not_checked(claim, tcb.to_string(), rule),
        }
    }
    findings.not_checked(
        "tcb.launch",
        report.launch_tcb().to_string(),
        "the TCB at launch is not below the floor",
    );
    findings.not_checked(
        "tcb.current",
        report.current_tcb().to_string(),
        "the running firmware is committed",
    );
}

/// What this guest is, and that the report is for this key and nonce.
fn check_binding(
    findings: &mut Findings,
    report: &Report,
    expected: &Expected,
    requirements: &Requirements,
) {
    findings.check(
        "report.data",
        hex::encode(report.report_data()),
        "the report binds this nonce and key",
        report.report_data() == &expected.report_data,
    );
    let (value, rule) =
        (hex::encode(report.host_data()), "HOST_DATA is the digest of the initdata");
    match &expected.host_data {
        Some(digest) => {
            findings.check("guest.host-data", value, rule, digest == report.host_data())
        }
        None => findings.not_checked("guest.host-data", value, rule),
    }
    let measurement = Measurement(*report.measurement());
    findings.check(
        "guest.measurement",
        measurement.to_string(),
        "the launch digest is a reference value",
        requirements.measurements.contains(&measurement),
    );
}

/// A certificate names 64 bytes of the chip's id, or the first eight with the rest zero.
fn is_chip(certified: &[u8], reported: &[u8; 64]) -> bool {
    let named = [8, 64].contains(&certified.len()) && certified.iter().any(|byte| *byte != 0);
    let (head, tail) = reported.split_at(certified.len().min(reported.len()));
    named && head == certified && tail.iter().all(|byte| *byte == 0)
}
