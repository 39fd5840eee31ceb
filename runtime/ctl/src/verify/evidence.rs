// SPDX-License-Identifier: Apache-2.0
//! `casemate verify evidence`: the JSON that guests of the ecosystem send.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::btree_map::Entry;

use casemate_verifier::az_vtpm;

use super::input;
use super::input::Input;
use super::judgement::Judgement;
use super::snp;
use super::tdx;
use crate::args::EvidenceKind;
use crate::args::Hexadecimal;
use crate::args::Pcr;
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
        EvidenceKind::AzSnpVtpm => {
            let vtpm = Vtpm { nonce, init_data: host_data, pcrs: &args.pcr };
            snp::azure(file, &vtpm, &args.snp, judge)
        }
        EvidenceKind::AzTdxVtpm => {
            let vtpm = Vtpm { nonce, init_data: host_data, pcrs: &args.pcr };
            tdx::azure(file, &vtpm, &args.tdx, judge)
        }
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
    // What is measured behind a vTPM is the paravisor; its customer's initdata is in a register.
    let of_bare_tdx =
        [("--event-log", tdx.event_log.is_some()), ("--mr-config-id", tdx.mr_config_id.is_some())];
    let of_vtpm = [("--pcr", !args.pcr.is_empty())];
    let wrong = match args.tee {
        EvidenceKind::Snp => [&of_tdx[..], &of_vtpm].concat(),
        EvidenceKind::Tdx => [&of_snp[..], &of_vtpm].concat(),
        EvidenceKind::AzSnpVtpm => of_tdx.to_vec(),
        EvidenceKind::AzTdxVtpm => [&of_snp[..], &of_bare_tdx].concat(),
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

/// What is to be compared with the quote of a vTPM.
pub(crate) struct Vtpm<'a> {
    nonce: Option<Vec<u8>>,
    init_data: Option<[u8; 32]>,
    pcrs: &'a [Pcr],
}

impl Vtpm<'_> {
    /// What this one quote must bind.
    pub(crate) fn expected(&self) -> az_vtpm::Expected {
        az_vtpm::Expected { nonce: self.nonce.clone(), init_data: self.init_data }
    }

    /// Whether the digest of the initdata was given.
    pub(crate) fn has_init_data(&self) -> bool {
        self.init_data.is_some()
    }

    /// What the options say holds beside the policy: a register's value must be in both.
    pub(crate) fn narrow(&self, mut demanded: az_vtpm::Requirements) -> az_vtpm::Requirements {
        let mut given: BTreeMap<usize, BTreeSet<[u8; 32]>> = BTreeMap::new();
        for Pcr { index, value } in self.pcrs {
            given.entry(*index).or_default().insert(*value);
        }
        for (index, values) in given {
            match demanded.pcrs.entry(index) {
                Entry::Occupied(mut both) => both.get_mut().retain(|value| values.contains(value)),
                Entry::Vacant(alone) => drop(alone.insert(values)),
            }
        }
        demanded
    }
}

fn padded(given: &[u8]) -> [u8; 64] {
    let mut field = [0; 64];
    field.iter_mut().zip(given).for_each(|(to, from)| *to = *from);
    field
}

/// Largest file with evidence, bytes: a quote and an event log in base64.
const MAX_EVIDENCE_FILE: u64 = 8 << 20;
