// SPDX-License-Identifier: Apache-2.0
//! `casemate verify evidence`: the JSON that guests of the ecosystem send.

use super::input;
use super::input::Input;
use super::judgement::Judgement;
use super::snp;
use super::tdx;
use crate::args::EvidenceKind;
use crate::args::Hexadecimal;
use crate::args::VerifyEvidenceArgs;
use crate::failure::Failure;

/// Judges evidence of any kind.
pub(crate) fn run(args: &VerifyEvidenceArgs) -> Result<Judgement, Failure> {
    refuse_options_of_another_tee(args)?;
    let file = Input::read("--file", &args.file, MAX_EVIDENCE_FILE)?;
    let given = args.report_data.as_ref().map(|Hexadecimal(bytes)| bytes);
    let nonce = given.cloned();
    let report_data = given.map(|bytes| padded(bytes));
    let (judge, host_data) = (&args.judge, args.snp.host_data.map(|data| data.0));
    match args.tee {
        EvidenceKind::Snp => snp::evidence(file, report_data, &args.snp, judge),
        EvidenceKind::Tdx => tdx::evidence(file, report_data, &args.tdx, judge),
        EvidenceKind::AzSnpVtpm => snp::azure(file, nonce, &args.snp, judge),
        EvidenceKind::AzTdxVtpm => tdx::azure(file, nonce, host_data, &args.tdx, judge),
    }
}

/// An option that would not be looked at is refused: its writer thinks that it is.
fn refuse_options_of_another_tee(args: &VerifyEvidenceArgs) -> Result<(), Failure> {
    let (snp, tdx) = (&args.snp, &args.tdx);
    let of_snp = [
        ("--chain", !snp.chain.is_empty()),
        ("--crl", !snp.crl.is_empty()),
        ("--measurement", !snp.measurement.is_empty()),
        ("--allow-product", !snp.allow_product.is_empty()),
        // The digest of the initdata, which goes into a register of the vTPM.
        ("--host-data", snp.host_data.is_some() && args.tee != EvidenceKind::AzTdxVtpm),
    ];
    let of_tdx = [
        ("--collateral", tdx.collateral.is_some()),
        ("--event-log", tdx.event_log.is_some()),
        ("--mr-config-id", tdx.mr_config_id.is_some()),
        ("--mrtd", !tdx.mrtd.is_empty()),
    ];
    let wrong: &[(&str, bool)] = match args.tee {
        EvidenceKind::Snp | EvidenceKind::AzSnpVtpm => &of_tdx,
        EvidenceKind::Tdx | EvidenceKind::AzTdxVtpm => &of_snp,
    };
    match wrong.iter().find(|(_, given)| *given) {
        Some((name, _)) => Err(Failure::new(
            "input",
            format_args!("{name} is not for this kind of evidence"),
            input::NEXT,
        )),
        None => Ok(()),
    }
}

fn padded(given: &[u8]) -> [u8; 64] {
    let mut field = [0; 64];
    field.iter_mut().zip(given).for_each(|(to, from)| *to = *from);
    field
}

/// Largest file with evidence, bytes: a quote and an event log in base64.
const MAX_EVIDENCE_FILE: u64 = 8 << 20;
