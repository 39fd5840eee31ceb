// SPDX-License-Identifier: Apache-2.0
//! `casemate verify tdx`.

use std::collections::BTreeSet;

use casemate_evidence::az_vtpm::AzTdxEvidence;
use casemate_evidence::collateral::Collateral;
use casemate_evidence::event_log::EventLog;
use casemate_evidence::tdx::Evidence;
use casemate_evidence::tdx::Quote;
use casemate_verifier::Measurement;
use casemate_verifier::Status;
use casemate_verifier::TdxPolicy;
use casemate_verifier::Verdict;
use casemate_verifier::az_vtpm;
use casemate_verifier::tdx::Expected;
use casemate_verifier::tdx::Requirements;
use casemate_verifier::tdx::Root;
use casemate_verifier::tdx::verify;

use super::MAX_CERTIFICATES_FILE;
use super::evidence::Vtpm;
use super::input::Input;
use super::judgement::Judgement;
use super::now;
use super::policy;
use super::read_all;
use super::rego;
use super::rego::Rego;
use super::rego::Subject;
use super::roots;
use crate::args::JudgeArgs;
use crate::args::TdxOptions;
use crate::args::VerifyTdxArgs;
use crate::failure::Failure;
use crate::failure::chain;

/// Judges a quote in a file.
pub(crate) fn quote(args: &VerifyTdxArgs) -> Result<Judgement, Failure> {
    let file = Input::read("--quote", &args.quote, MAX_QUOTE_FILE)?;
    let quote = Quote::parse(&file.content()).map_err(|error| file.unusable(chain(&error)))?;
    let data = args.report_data.map(|data| data.0);
    judge(Evidence::of_quote(quote), data, vec![file], &args.tdx, &args.judge)
}

/// Judges evidence in the ecosystem's form.
pub(crate) fn evidence(
    file: Input,
    report_data: Option<[u8; 64]>,
    options: &TdxOptions,
    args: &JudgeArgs,
) -> Result<Judgement, Failure> {
    let evidence =
        Evidence::from_json(file.text()?).map_err(|error| file.unusable(chain(&error)))?;
    judge(evidence, report_data, vec![file], options, args)
}

/// Judges the evidence of a TD on Azure.
pub(crate) fn azure(
    file: Input,
    vtpm: &Vtpm<'_>,
    options: &TdxOptions,
    args: &JudgeArgs,
) -> Result<Judgement, Failure> {
    rego::refuse_for_vtpm(args)?;
    let evidence =
        AzTdxEvidence::from_json(file.text()?).map_err(|error| file.unusable(chain(&error)))?;
    let initdata = Initdata { is_given: vtpm.has_init_data(), option: "--host-data" };
    let Prepared { inputs, roots, collateral, requirements, registers, at, .. } =
        prepare(vec![file], options, &initdata, args)?;
    let registers = vtpm.narrow(registers);
    let by = |requirements: &Requirements| {
        az_vtpm::verify_tdx(
            &evidence,
            &roots,
            collateral.as_ref(),
            &vtpm.expected(),
            &registers,
            requirements,
            at,
        )
    };
    let verdict = by(&requirements);
    let grace = needed_grace(&verdict, requirements, at, by);
    let root_key = roots::intel_key(&roots, verdict.root());
    Ok(Judgement { kind: "TD behind a vTPM", verdict, inputs, root_key, at, grace })
}

fn judge(
    evidence: Evidence,
    report_data: Option<[u8; 64]>,
    inputs: Vec<Input>,
    options: &TdxOptions,
    args: &JudgeArgs,
) -> Result<Judgement, Failure> {
    if let (Some(path), Some(_)) = (&options.event_log, &evidence.event_log) {
        return Err(Failure::new(
            "usage",
            format_args!(
                "--event-log {} stands beside evidence that has an event log of its own",
                path.display()
            ),
            "leave --event-log out, or judge the quote alone: casemate verify tdx --quote FILE",
        ));
    }
    let initdata = Initdata { is_given: options.mr_config_id.is_some(), option: "--mr-config-id" };
    let Prepared { mut inputs, roots, collateral, event_log, requirements, at, .. } =
        prepare(inputs, options, &initdata, args)?;
    let rego = Rego::load(args, &mut inputs)?;
    let log = event_log.as_ref().or(evidence.event_log.as_ref());
    let expected = Expected { report_data, mr_config_id: options.mr_config_id.map(|id| id.0) };
    let by = |requirements: &Requirements| {
        verify(&evidence, &roots, collateral.as_ref(), log, &expected, requirements, at)
    };
    let mut verdict = by(&requirements);
    let grace = needed_grace(&verdict, requirements, at, by);
    if let Some(rego) = rego {
        verdict = rego.narrow(verdict, &Subject::Tdx(&evidence.quote), &mut inputs)?;
    }
    let root_key = roots::intel_key(&roots, verdict.root());
    Ok(Judgement { kind: "TDX quote", verdict, inputs, root_key, at, grace })
}

/// When the policy's grace is over, if the evidence would be refused without it.
fn needed_grace(
    verdict: &Verdict,
    mut requirements: Requirements,
    at: u64,
    by: impl FnOnce(&Requirements) -> Verdict,
) -> Option<u64> {
    let grace = requirements.grace.take().filter(|grace| at <= grace.until)?;
    let passes = verdict.status() != Status::Refused;
    let needed = passes && by(&requirements).status() == Status::Refused;
    needed.then(|| grace.until.saturating_add(1))
}

/// By what a quote is judged.
struct Prepared {
    inputs: Vec<Input>,
    roots: Vec<Root>,
    collateral: Option<Collateral>,
    event_log: Option<EventLog>,
    requirements: Requirements,
    registers: az_vtpm::Requirements,
    at: u64,
}

/// The digest of the initdata, where a policy wants it.
struct Initdata {
    is_given: bool,
    option: &'static str,
}

fn prepare(
    mut inputs: Vec<Input>,
    options: &TdxOptions,
    initdata: &Initdata,
    args: &JudgeArgs,
) -> Result<Prepared, Failure> {
    let mut collateral = None;
    if let Some(path) = &options.collateral {
        let file = Input::read("--collateral", path, MAX_DATA_FILE)?;
        let found = Collateral::from_json(file.text()?);
        collateral = Some(found.map_err(|error| file.unusable(chain(&error)))?);
        inputs.push(file);
    }
    let mut event_log = None;
    if let Some(path) = &options.event_log {
        let file = Input::read("--event-log", path, MAX_DATA_FILE)?;
        event_log = Some(parse_log(&file)?);
        inputs.push(file);
    }
    let added = read_all("--trust-root", &args.trust_root, MAX_CERTIFICATES_FILE)?;
    let roots = roots::intel_and(&added)?;
    inputs.extend(added);
    let at = now(args);
    let (mut requirements, mut registers) = Default::default();
    if let Some(path) = &args.policy {
        let loaded = policy::load(path, at, &mut inputs)?;
        let wanted = loaded.policy.tdx.as_ref().is_some_and(TdxPolicy::needs_initdata);
        if wanted && !initdata.is_given {
            return Err(loaded.file.unusable(format_args!(
                "it compares MRCONFIGID with the digest of the initdata: give {} HEX",
                initdata.option
            )));
        }
        let found = loaded.policy.tdx(&loaded.references);
        requirements = found.map_err(|error| loaded.file.unusable(chain(&error)))?;
        registers = loaded.policy.az_vtpm();
        inputs.push(loaded.file);
    }
    narrow(&mut requirements, options);
    Ok(Prepared { inputs, roots, collateral, event_log, requirements, registers, at })
}

/// What the options say holds beside the policy: MRTD must be in both.
fn narrow(requirements: &mut Requirements, options: &TdxOptions) {
    let given: BTreeSet<Measurement> = options.mrtd.iter().copied().collect();
    if !given.is_empty() {
        let accepted = match requirements.measurements.take() {
            Some(policy) => policy.intersection(&given).copied().collect(),
            None => given,
        };
        requirements.measurements = Some(accepted);
    }
}

/// A log as the firmware keeps it, or the JSON list of dstack.
fn parse_log(file: &Input) -> Result<EventLog, Failure> {
    let content = file.content();
    let log = match std::str::from_utf8(&content) {
        Ok(text) if text.trim_start().starts_with('[') => EventLog::from_dstack_json(text),
        _ => EventLog::parse(&content),
    };
    log.map_err(|error| file.unusable(chain(&error)))
}

/// Largest file with a quote, bytes: hexadecimal digits with line breaks.
const MAX_QUOTE_FILE: u64 = 256 << 10;
/// Largest file with collateral or a log, bytes; their parsers have caps of their own.
const MAX_DATA_FILE: u64 = 16 << 20;
