// SPDX-License-Identifier: Apache-2.0
//! `casemate verify snp`.

use std::collections::BTreeSet;

use casemate_evidence::az_vtpm::AzSnpEvidence;
use casemate_evidence::snp::Certificate;
use casemate_evidence::snp::CertificateKind;
use casemate_evidence::snp::Evidence;
use casemate_evidence::snp::REPORT_BYTES;
use casemate_evidence::snp::Report;
use casemate_evidence::snp::SigningKey;
use casemate_evidence::snp::TableEntry;
use casemate_evidence::snp::parse_table;
use casemate_verifier::Expected;
use casemate_verifier::Measurement;
use casemate_verifier::Requirements;
use casemate_verifier::Root;
use casemate_verifier::SnpPolicy;
use casemate_verifier::Status;
use casemate_verifier::Verdict;
use casemate_verifier::az_vtpm;
use casemate_verifier::verify;

use super::MAX_CERTIFICATES_FILE;
use super::evidence::Vtpm;
use super::input::Input;
use super::judgement::Judgement;
use super::now;
use super::policy;
use super::policy::Loaded;
use super::read_all;
use super::rego;
use super::rego::Rego;
use super::rego::Subject;
use super::roots;
use crate::args::JudgeArgs;
use crate::args::SnpOptions;
use crate::args::VerifySnpArgs;
use crate::failure::Failure;
use crate::failure::chain;

/// Judges a report in a file.
pub(crate) fn report(args: &VerifySnpArgs) -> Result<Judgement, Failure> {
    let file = Input::read("--report", &args.report, MAX_REPORT_FILE)?;
    let report = parse_report(&file)?;
    let mut inputs = vec![file];
    let mut certificates = Vec::new();
    if let Some(path) = &args.vcek {
        let file = Input::read("--vcek", path, MAX_CERTIFICATES_FILE)?;
        certificates.extend(entries(&file, report.signing_key())?);
        inputs.push(file);
    }
    let evidence = Evidence { report, certificates };
    let data = args.report_data.map(|data| data.0);
    judge(evidence, data, inputs, &args.snp, &args.judge)
}

/// Judges evidence in the ecosystem's form.
pub(crate) fn evidence(
    file: Input,
    report_data: Option<[u8; 64]>,
    options: &SnpOptions,
    args: &JudgeArgs,
) -> Result<Judgement, Failure> {
    let evidence =
        Evidence::from_json(file.text()?).map_err(|error| file.unusable(chain(&error)))?;
    judge(evidence, report_data, vec![file], options, args)
}

/// Judges the evidence of an SNP guest on Azure.
pub(crate) fn azure(
    file: Input,
    vtpm: &Vtpm<'_>,
    options: &SnpOptions,
    args: &JudgeArgs,
) -> Result<Judgement, Failure> {
    rego::refuse_for_vtpm(args)?;
    let mut evidence =
        AzSnpEvidence::from_json(file.text()?).map_err(|error| file.unusable(chain(&error)))?;
    let hardware = Evidence {
        report: evidence.report.clone(),
        certificates: std::mem::take(&mut evidence.certificates),
    };
    let prepared = prepare(hardware, vec![file], options, args)?;
    evidence.certificates = prepared.evidence.certificates;
    let registers = vtpm.narrow(prepared.registers);
    let (roots, platform, at) = (prepared.roots, prepared.requirements, prepared.at);
    let by = |platform: &Requirements| {
        az_vtpm::verify_snp(&evidence, &roots, &vtpm.expected(), &registers, platform, at)
    };
    let verdict = by(&platform);
    let grace = prepared.grace.and_then(|grace| grace.needed(&verdict, by));
    let root_key = roots::amd_key(&roots, verdict.root());
    Ok(Judgement {
        kind: "SNP guest behind a vTPM",
        verdict,
        inputs: prepared.inputs,
        root_key,
        at,
        grace,
    })
}

fn judge(
    evidence: Evidence,
    report_data: Option<[u8; 64]>,
    inputs: Vec<Input>,
    options: &SnpOptions,
    args: &JudgeArgs,
) -> Result<Judgement, Failure> {
    let Prepared { evidence, mut inputs, roots, requirements, grace, at, .. } =
        prepare(evidence, inputs, options, args)?;
    let rego = Rego::load(args, &mut inputs)?;
    let expected = Expected { report_data, host_data: options.host_data.map(|data| data.0) };
    let by = |requirements: &Requirements| verify(&evidence, &roots, &expected, requirements, at);
    let mut verdict = by(&requirements);
    let grace = grace.and_then(|grace| grace.needed(&verdict, by));
    if let Some(rego) = rego {
        verdict = rego.narrow(verdict, &Subject::Snp(&evidence.report), &mut inputs)?;
    }
    let root_key = roots::amd_key(&roots, verdict.root());
    Ok(Judgement { kind: "SNP report", verdict, inputs, root_key, at, grace })
}

/// Evidence with all that the options add, and by what it is judged.
struct Prepared {
    evidence: Evidence,
    inputs: Vec<Input>,
    roots: Vec<Root>,
    requirements: Requirements,
    registers: az_vtpm::Requirements,
    grace: Option<Grace>,
    at: u64,
}

/// A grace of the policy's that counts.
struct Grace {
    /// When it is over.
    until: u64,
    /// What is demanded from then on.
    after: Requirements,
}

impl Grace {
    /// When it is over, if the evidence would be refused without it.
    fn needed(self, verdict: &Verdict, by: impl FnOnce(&Requirements) -> Verdict) -> Option<u64> {
        let passes = verdict.status() != Status::Refused;
        let needed = passes && by(&self.after).status() == Status::Refused;
        needed.then_some(self.until)
    }
}

fn prepare(
    mut evidence: Evidence,
    mut inputs: Vec<Input>,
    options: &SnpOptions,
    args: &JudgeArgs,
) -> Result<Prepared, Failure> {
    for file in read_all("--chain", &options.chain, MAX_CERTIFICATES_FILE)? {
        evidence.certificates.extend(entries(&file, evidence.report.signing_key())?);
        inputs.push(file);
    }
    for file in read_all("--crl", &options.crl, MAX_CRL_FILE)? {
        let lists = file.elements(&["X509 CRL"])?;
        let entry = |data| TableEntry { kind: CertificateKind::Crl, data };
        evidence.certificates.extend(lists.into_iter().map(entry));
        inputs.push(file);
    }
    if !evidence.certificates.iter().any(is_leaf) {
        return Err(no_leaf(&evidence.report));
    }
    let added = read_all("--trust-root", &args.trust_root, MAX_CERTIFICATES_FILE)?;
    let roots = roots::amd_and(&added)?;
    inputs.extend(added);
    let at = now(args);
    let (mut requirements, mut registers) = Default::default();
    let mut grace = None;
    if let Some(path) = &args.policy {
        let loaded = policy::load(path, at, &mut inputs)?;
        requirements = demanded(&loaded, &evidence, options, at)?;
        let table = loaded.policy.snp.as_ref();
        if let Some(until) = table.and_then(|table| table.grace_until(&evidence, at)) {
            let mut after = demanded(&loaded, &evidence, options, until)?;
            narrow(&mut after, options);
            grace = Some(Grace { until, after });
        }
        registers = loaded.policy.az_vtpm();
        inputs.push(loaded.file);
    }
    narrow(&mut requirements, options);
    Ok(Prepared { evidence, inputs, roots, requirements, registers, grace, at })
}

/// What the policy demands.
fn demanded(
    loaded: &Loaded,
    evidence: &Evidence,
    options: &SnpOptions,
    at: u64,
) -> Result<Requirements, Failure> {
    let initdata = loaded.policy.snp.as_ref().is_some_and(SnpPolicy::needs_initdata);
    if initdata && options.host_data.is_none() {
        return Err(loaded.file.unusable(
            "it compares HOST_DATA with the digest of the initdata: give --host-data HEX",
        ));
    }
    let found = loaded.policy.snp(evidence, &loaded.references, at);
    found.map_err(|error| loaded.file.unusable(chain(&error)))
}

/// What the options say holds beside the policy: a measurement must be in both.
fn narrow(requirements: &mut Requirements, options: &SnpOptions) {
    requirements.allow_products.extend(&options.allow_product);
    let given: BTreeSet<Measurement> = options.measurement.iter().copied().collect();
    if !given.is_empty() {
        let accepted = match requirements.measurements.take() {
            Some(policy) => policy.intersection(&given).copied().collect(),
            None => given,
        };
        requirements.measurements = Some(accepted);
    }
}

/// A report as the guest's device gives it, with or without the head of the firmware's reply
/// (56860, table 25: status, size, 24 reserved bytes).
fn parse_report(file: &Input) -> Result<Report, Failure> {
    let content = file.content();
    let size = u32::try_from(REPORT_BYTES).unwrap_or(u32::MAX).to_le_bytes();
    let reply = content.strip_prefix(&[0; 4]).and_then(|rest| rest.strip_prefix(&size));
    let report = match reply.and_then(|rest| rest.strip_prefix(&[0; 24])) {
        Some(rest) if content.len() <= MAX_REPLY_BYTES => match rest.split_at_checked(REPORT_BYTES)
        {
            Some((report, padding)) if padding.iter().all(|byte| *byte == 0) => report,
            _ => content.as_slice(),
        },
        _ => content.as_slice(),
    };
    Report::parse(report).map_err(|error| file.unusable(chain(&error)))
}

/// Certificates of a file under the kind that each of them is; or the table that the host gave with
/// the report, with its own labels.
fn entries(file: &Input, signer: SigningKey) -> Result<Vec<TableEntry>, Failure> {
    let content = file.content();
    // A table begins with a GUID, a certificate with a SEQUENCE or dashes.
    let is_certificate =
        content.starts_with(&[0x30]) || content.trim_ascii_start().starts_with(b"-");
    if !is_certificate {
        match parse_table(&content) {
            Ok(table) => return Ok(table),
            // Who gave a table wants to hear what is wrong with it.
            Err(error) if begins_as_table(&content) => return Err(file.unusable(chain(&error))),
            Err(_) => {}
        }
    }
    let ders = file.elements(&["CERTIFICATE"])?;
    Ok(ders.into_iter().map(|data| TableEntry { kind: kind(&data, signer), data }).collect())
}

/// Whether the first bytes are the GUID of a kind of certificate.
fn begins_as_table(content: &[u8]) -> bool {
    content
        .first_chunk::<16>()
        .is_some_and(|guid| !matches!(CertificateKind::from_guid(*guid), CertificateKind::Other(_)))
}

/// What cannot be read is left to the verifier to refuse, as the signer's certificate.
fn kind(der: &[u8], signer: SigningKey) -> CertificateKind {
    match Certificate::parse(der) {
        Ok(certificate) if certificate.is_ca() => {
            if certificate.issuer() == certificate.subject() {
                CertificateKind::Ark
            } else {
                CertificateKind::Ask
            }
        }
        Ok(certificate) if certificate.provider().is_some() => CertificateKind::Vlek,
        Ok(_) => CertificateKind::Vcek,
        Err(_) if signer == SigningKey::Vlek => CertificateKind::Vlek,
        Err(_) => CertificateKind::Vcek,
    }
}

fn is_leaf(entry: &TableEntry) -> bool {
    matches!(entry.kind, CertificateKind::Vcek | CertificateKind::Vlek)
}

/// Says where the missing certificate is to be had.
fn no_leaf(report: &Report) -> Failure {
    let next = match report.signing_key() {
        SigningKey::Vlek => {
            "give the VLEK that the provider's host hands out with the report: --vcek FILE"
                .to_owned()
        }
        _ => match vcek_url(report) {
            Some(url) => format!("fetch {url} and give it: --vcek FILE"),
            None => "give the VCEK of this chip and TCB: --vcek FILE".to_owned(),
        },
    };
    Failure::new("input", "there is no certificate of the key that signed the report", &next)
}

/// Where AMD publishes the certificate (57230, chapter 4). `None` when the report hides its chip, or
/// does not tell its product line.
fn vcek_url(report: &Report) -> Option<String> {
    let product = report.cpuid()?.product()?;
    let tcb = report.reported_tcb();
    if report.chip_id().iter().all(|byte| *byte == 0) {
        return None;
    }
    let (id, fmc) = match tcb.fmc {
        Some(fmc) => (report.chip_id().first_chunk::<8>()?.as_slice(), format!("fmcSPL={fmc:02}&")),
        None => (report.chip_id().as_slice(), String::new()),
    };
    Some(format!(
        "https://kdsintf.amd.com/vcek/v1/{}/{}?{fmc}blSPL={:02}&teeSPL={:02}&snpSPL={:02}&ucodeSPL={:02}",
        product.name(),
        hex::encode(id),
        tcb.bootloader,
        tcb.tee,
        tcb.snp,
        tcb.microcode,
    ))
}

/// Largest file with a report, bytes: hexadecimal digits with line breaks.
const MAX_REPORT_FILE: u64 = 16 << 10;

/// Size of the buffer that Linux gives for the firmware's reply.
const MAX_REPLY_BYTES: usize = 4000;

/// Largest revocation list, bytes.
const MAX_CRL_FILE: u64 = 128 << 10;
