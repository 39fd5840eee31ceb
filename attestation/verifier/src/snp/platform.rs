// SPDX-License-Identifier: Apache-2.0
//! Where the guest runs: features, chip, firmware.

use casemate_evidence::snp::PlatformInfo;
use casemate_evidence::snp::Product;
use casemate_evidence::snp::Report;
use casemate_evidence::snp::TcbVersion;

use super::compare::bits;
use super::compare::flag;
use super::compare::floor;
use super::requirements::PlatformRequirements;
use super::requirements::Requirements;
use super::rules;
use super::signer::is_masked;
use crate::Source;
use crate::verdict::Findings;
use crate::verdict::hex_of;
use crate::verdict::one_of;

/// D4: what the platform says of itself.
pub(super) fn check_features(
    findings: &mut Findings,
    report: &Report,
    product: Option<Product>,
    wanted: &PlatformRequirements,
) {
    let info = report.platform_info();
    let known = !PlatformInfo(u64::MAX).unknown_bits(product) | wanted.accept_bits;
    findings.check(
        &rules::PLATFORM_INFO,
        format!("{:#x}", info.0),
        format!("bits of {known:#x}"),
        Source::Report,
        info.0 & !known == 0,
    );
    let require = |demanded: bool| demanded.then_some(true);
    for (rule, value, wanted) in [
        (&rules::ALIAS_CHECK, info.alias_check_complete(), require(wanted.require_alias_check)),
        (
            &rules::PLATFORM_CIPHERTEXT_HIDING,
            info.ciphertext_hiding(),
            require(wanted.require_ciphertext_hiding),
        ),
        (&rules::PLATFORM_SMT, info.smt(), wanted.forbid_smt.then_some(false)),
        (&rules::PLATFORM_RAPL, info.rapl_disabled(), require(wanted.require_rapl_disabled)),
        (&rules::TSME, info.tsme(), require(wanted.require_tsme)),
        (&rules::ECC, info.ecc(), require(wanted.require_ecc)),
    ] {
        flag(findings, rule, value, wanted);
    }
    let (launch, current) = (report.launch_mitigations(), report.current_mitigations());
    bits(findings, &rules::LAUNCH_MITIGATIONS, launch, wanted.launch_mitigations);
    bits(findings, &rules::CURRENT_MITIGATIONS, current, wanted.current_mitigations);
}

/// D5: which chip. One that hides its id is on no list, and cannot show that it is not refused.
pub(super) fn check_chip(findings: &mut Findings, report: &Report, requirements: &Requirements) {
    let chip = report.chip_id();
    let masked = is_masked(chip);
    let value = if masked { "hidden".to_owned() } else { hex::encode(chip) };
    match &requirements.chips {
        Some(chips) => {
            let reference = one_of(chips, hex_of);
            let kept = !masked && chips.contains(chip);
            findings.check(&rules::CHIP, value.clone(), reference, Source::Report, kept);
        }
        None => findings.not_checked(&rules::CHIP, value.clone(), Source::Report),
    }
    let denied = &requirements.deny_chips;
    if denied.is_empty() {
        findings.not_checked(&rules::CHIP_DENIED, value, Source::Report);
    } else {
        let reference = format!("none of {}", denied.len());
        let kept = !masked && !denied.contains(chip);
        findings.check(&rules::CHIP_DENIED, value, reference, Source::Report, kept);
    }
}

/// D3: what is reported says with which key the report was signed; what is committed says how far
/// the platform can be rolled back after that.
pub(super) fn check_tcb(findings: &mut Findings, report: &Report, requirements: &Requirements) {
    let wanted = &requirements.tcb;
    let (least, launch) = (wanted.floor.as_ref(), wanted.launch_floor.as_ref());
    let is_at_least = TcbVersion::is_at_least;
    for (rule, tcb) in [
        (&rules::TCB_REPORTED, report.reported_tcb()),
        (&rules::TCB_COMMITTED, report.committed_tcb()),
    ] {
        if wanted.other_products_only {
            let reference = Some(NO_FLOOR.to_owned());
            findings.check(rule, tcb.to_string(), reference, Source::Report, false);
        } else {
            floor(findings, rule, &tcb, least, is_at_least);
        }
    }
    floor(findings, &rules::TCB_LAUNCH, &report.launch_tcb(), launch, is_at_least);
    let (running, committed) = (report.current_tcb(), report.committed_tcb());
    let (firmware, committed_firmware) = (report.current_firmware(), report.committed_firmware());
    let value = format!("{running}, firmware {firmware}");
    let reference = format!("{committed}, firmware {committed_firmware}");
    // What is committed can never be gone below: such a report is no platform's.
    let kept = running.is_at_least(&committed) && firmware >= committed_firmware;
    let order = format!(">= {reference}");
    findings.check(&rules::TCB_ORDER, value.clone(), order, Source::Report, kept);
    if wanted.forbid_provisional {
        let kept = committed.is_at_least(&running) && committed_firmware >= firmware;
        findings.check(&rules::TCB_CURRENT, value, reference, Source::Report, kept);
    } else {
        findings.not_checked(&rules::TCB_CURRENT, value, Source::Report);
    }
}

/// What stands for a floor where the owner stated floors for other product lines.
const NO_FLOOR: &str = "a floor for this product line, which the policy does not have";
