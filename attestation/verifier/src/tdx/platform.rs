// SPDX-License-Identifier: Apache-2.0
//! What collateral says of the quoting enclave, the TDX module and the platform.

use casemate_evidence::collateral::ModuleIdentity;
use casemate_evidence::collateral::QeIdentity;
use casemate_evidence::collateral::QeLevel;
use casemate_evidence::collateral::TcbInfo;
use casemate_evidence::collateral::TcbStatus;
use casemate_evidence::tdx::EnclaveReport;
use casemate_evidence::tdx::PckExtension;
use casemate_evidence::tdx::Quote;
use casemate_evidence::tdx::TdBody;

use super::collateral::View;
use super::requirements::Requirements;
use super::rules;
use super::tcb;
use crate::Measurement;
use crate::Source;
use crate::verdict::Findings;
use crate::verdict::hex_of;
use crate::verdict::one_of;

/// The lines that need collateral.
pub(super) fn check(
    findings: &mut Findings,
    view: View<'_>,
    pck: &PckExtension,
    quote: &Quote,
    requirements: &Requirements,
    now: u64,
) {
    let info = &view.collateral.tcb_info.document;
    let identity = &view.collateral.qe_identity.document;
    let level = check_quoting_enclave(findings, identity, quote.qe_report());
    check_family(findings, info, pck);
    let value = info.evaluation_number.min(identity.evaluation_number);
    match requirements.min_evaluation_number {
        Some(least) => findings.check(
            &rules::EVALUATION,
            value.to_string(),
            least.to_string(),
            Source::Collateral,
            value >= least,
        ),
        None => {
            findings.not_checked(&rules::EVALUATION, value.to_string(), Source::Collateral);
        }
    }
    let evaluation = tcb::evaluate(info, pck, quote.body(), level);
    let accepted = requirements.statuses.iter().map(|status| status.name()).collect::<Vec<_>>();
    let (value, kept) = match &evaluation {
        Ok(evaluation) if evaluation.advisories.is_empty() => {
            (evaluation.status.to_string(), requirements.accepts(evaluation.status, now))
        }
        Ok(evaluation) => (
            format!("{} ({})", evaluation.status, evaluation.advisories.join(", ")),
            requirements.accepts(evaluation.status, now),
        ),
        Err(error) => (error.to_string(), false),
    };
    findings.check(&rules::STATUS, value, accepted.join(", "), Source::Collateral, kept);
    let advisories = evaluation.map(|evaluation| evaluation.advisories).unwrap_or_default();
    let value = if advisories.is_empty() { "none".to_owned() } else { advisories.join(", ") };
    let refused = &requirements.refused_advisories;
    if refused.is_empty() {
        findings.not_checked(&rules::ADVISORIES, value, Source::Collateral);
    } else {
        findings.check(
            &rules::ADVISORIES,
            value,
            format!("not {}", refused.iter().cloned().collect::<Vec<_>>().join(", ")),
            Source::Collateral,
            !advisories.iter().any(|advisory| refused.contains(advisory)),
        );
    }
}

/// The TDX module: who signed it, what it is. Without collateral only Intel's zero signer passes.
pub(super) fn check_module(
    findings: &mut Findings,
    info: Option<&TcbInfo>,
    body: &TdBody,
    requirements: &Requirements,
) {
    let identity = info.and_then(|info| module(info, body));
    let signer = identity.map_or([0; 48], |identity| identity.mr_signer);
    findings.check(
        &rules::MODULE_SIGNER,
        hex::encode(body.mr_signer_seam()),
        hex::encode(signer),
        Source::Quote,
        *body.mr_signer_seam() == signer,
    );
    // D6: a module for debugging has attributes. Where collateral compares them, zero is expected.
    let expected = identity.map_or(0, |module| module.attributes & module.attributes_mask);
    findings.check(
        &rules::MODULE_ATTRIBUTES,
        format!("{:#x}", body.seam_attributes()),
        format!("{expected:#x}"),
        Source::Quote,
        body.seam_attributes() == 0 && expected == 0,
    );
    let digest = Measurement(*body.mr_seam());
    match &requirements.modules {
        Some(modules) => findings.check(
            &rules::MODULE_DIGEST,
            digest.to_string(),
            one_of(modules, Measurement::to_string),
            Source::Quote,
            modules.contains(&digest),
        ),
        None => findings.not_checked(&rules::MODULE_DIGEST, digest.to_string(), Source::Quote),
    }
}

/// Where the TD runs.
pub(super) fn check_where(
    findings: &mut Findings,
    pck: &PckExtension,
    requirements: &Requirements,
) {
    let value = match &pck.platform_instance_id {
        Some(id) => format!("ppid {} instance {}", hex::encode(pck.ppid), hex::encode(id)),
        None => format!("ppid {}", hex::encode(pck.ppid)),
    };
    match &requirements.platforms {
        Some(platforms) => {
            let named = platforms.contains(&pck.ppid)
                || pck.platform_instance_id.is_some_and(|id| platforms.contains(&id));
            let list = one_of(platforms, hex_of);
            findings.check(&rules::PLATFORM, value, list, Source::Certificate, named);
        }
        None => findings.not_checked(&rules::PLATFORM, value, Source::Certificate),
    }
}

/// The identity of the TD's module, by the version that the quote names.
fn module<'a>(info: &'a TcbInfo, body: &TdBody) -> Option<&'a ModuleIdentity> {
    let [_, version, ..] = *body.tee_tcb_svn();
    if version == 0 {
        return Some(&info.module);
    }
    info.modules.iter().find(|module| module.version == version)
}

/// The quoting enclave against its identity; the level that it reaches.
fn check_quoting_enclave<'a>(
    findings: &mut Findings,
    identity: &'a QeIdentity,
    report: &EnclaveReport,
) -> Option<&'a QeLevel> {
    let source = Source::Quote;
    findings.check(
        &rules::QE_SIGNER,
        hex::encode(report.mr_signer()),
        hex::encode(identity.mr_signer),
        source,
        *report.mr_signer() == identity.mr_signer,
    );
    findings.check(
        &rules::QE_PRODUCT,
        report.product_id().to_string(),
        identity.product_id.to_string(),
        source,
        report.product_id() == identity.product_id,
    );
    let masked = report.misc_select() & identity.misc_select_mask;
    findings.check(
        &rules::QE_MISC_SELECT,
        format!("{:#010x}", report.misc_select()),
        format!("{:#010x} of {:#010x}", identity.misc_select, identity.misc_select_mask),
        source,
        masked == identity.misc_select & identity.misc_select_mask,
    );
    let (have, want) = (u128::from_be_bytes(*report.attributes()), identity.attributes);
    let (want, mask) = (u128::from_be_bytes(want), u128::from_be_bytes(identity.attributes_mask));
    findings.check(
        &rules::QE_ATTRIBUTES,
        hex::encode(report.attributes()),
        format!(
            "{} of {}",
            hex::encode(identity.attributes),
            hex::encode(identity.attributes_mask)
        ),
        source,
        have & mask == want & mask,
    );
    let level =
        identity.levels.iter().find(|level| report.security_version() >= level.security_version);
    findings.check(
        &rules::QE_TCB,
        level.map_or_else(
            || format!("{}: no level", report.security_version()),
            |level| format!("{}: {}", report.security_version(), level.status),
        ),
        None,
        source,
        level.is_some_and(|level| level.status != TcbStatus::Revoked),
    );
    level
}

/// D6: TCB information of another kind of platform says nothing of this one.
fn check_family(findings: &mut Findings, info: &TcbInfo, pck: &PckExtension) {
    findings.check(
        &rules::FMSPC,
        hex::encode(pck.fmspc),
        hex::encode(info.fmspc),
        Source::Certificate,
        pck.fmspc == info.fmspc,
    );
    findings.check(
        &rules::PCE_ID,
        hex::encode(pck.pce_id),
        hex::encode(info.pce_id),
        Source::Certificate,
        pck.pce_id == info.pce_id,
    );
}
