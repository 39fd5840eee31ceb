// SPDX-License-Identifier: Apache-2.0
//! Evidence of simulated vendors, good or with faults, and what the production verifier says of it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::Context as _;
use anyhow::bail;
use anyhow::ensure;
use casemate_evidence::collateral::Collateral;
use casemate_evidence::event_log::EventLog;
use casemate_evidence::snp;
use casemate_evidence::snp::CertificateKind;
use casemate_evidence::snp::TableEntry;
use casemate_evidence::tdx;
use casemate_tee_sim::keys::Keys;
use casemate_tee_sim::mint::Minted;
use casemate_tee_sim::mint::Role;
use casemate_tee_sim::mint::fault::Fault;
use casemate_tee_sim::mint::snp as mint_snp;
use casemate_tee_sim::mint::snp::Product;
use casemate_tee_sim::mint::snp::SnpFault;
use casemate_tee_sim::mint::tdx as mint_tdx;
use casemate_tee_sim::mint::tdx::Form;
use casemate_tee_sim::mint::tdx::TdxFault;
use casemate_verifier as verifier;
use casemate_verifier::Measurement;
use casemate_verifier::Policy;
use casemate_verifier::ReferenceValues;
use casemate_verifier::Status;
use casemate_verifier::Verdict;

/// The time of the cases: 2026-06-01.
pub(crate) const AT: u64 = 1_780_272_000;

/// By what evidence is judged, beside the values that it must bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// The minted policy, which is as strict as good evidence keeps.
    Policy,
    /// What the verifier demands of any evidence.
    Default,
}

/// Keys of all cases: as short as the verifier takes them, and kept for the next run, since RSA
/// keys are slow to make.
pub(crate) fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| Keys::open(&folder("keys"), Some(22), 2048).unwrap())
}

/// A folder of this suite in cargo's target directory.
fn folder(name: &str) -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let target = exe.ancestors().find(|dir| dir.join("CACHEDIR.TAG").is_file()).unwrap();
    target.join("casemate/hostile-host").join(name)
}

/// Options of good SNP evidence.
pub(crate) fn snp_options() -> mint_snp::Options {
    mint_snp::Options::new(Product::Genoa, AT)
}

/// SNP evidence with these faults.
pub(crate) fn snp(faults: &[SnpFault]) -> anyhow::Result<Minted> {
    Ok(snp_options().mint(keys(), faults)?)
}

/// A TDX quote with all that belongs to it.
pub(crate) fn tdx(form: Form, faults: &[TdxFault]) -> anyhow::Result<Minted> {
    Ok(mint_tdx::Options::new(form, AT).mint(keys(), faults)?)
}

/// A file of minted evidence.
pub(crate) fn file(minted: &Minted, role: Role) -> anyhow::Result<&[u8]> {
    minted.bytes(role).with_context(|| format!("no {role:?} was minted"))
}

/// A file of minted evidence that is text.
pub(crate) fn text(minted: &Minted, role: Role) -> anyhow::Result<&str> {
    Ok(std::str::from_utf8(file(minted, role)?)?)
}

/// The evidence as a guest would send it.
pub(crate) fn snp_evidence(minted: &Minted) -> anyhow::Result<snp::Evidence> {
    let report = snp::Report::parse(file(minted, Role::Report)?)?;
    let leaf = file(minted, Role::Vcek)?.to_vec();
    let leaf_kind = match snp::Certificate::parse(&leaf).ok().and_then(|leaf| leaf.kind()) {
        Some(CertificateKind::Vlek) => CertificateKind::Vlek,
        _ => CertificateKind::Vcek,
    };
    let ask = snp::Certificate::parse(file(minted, Role::Ask)?)?;
    let entry = |kind, data| TableEntry { kind, data };
    let mut certificates =
        vec![entry(leaf_kind, leaf), entry(CertificateKind::Ask, ask.der().to_vec())];
    if let Some(crl) = minted.bytes(Role::Crl) {
        certificates.push(entry(CertificateKind::Crl, crl.to_vec()));
    }
    Ok(snp::Evidence { report, certificates })
}

/// The root that the verifier is told to trust.
pub(crate) fn snp_root(minted: &Minted) -> anyhow::Result<verifier::Root> {
    Ok(verifier::Root::simulated("minted", text(minted, Role::Root)?)?)
}

/// What an SNP report must bind, as the minter told.
pub(crate) fn snp_expected(minted: &Minted) -> anyhow::Result<verifier::Expected> {
    let report_data = Some(bytes(&minted.told.report_data)?);
    Ok(verifier::Expected { report_data, host_data: Some(bytes(&minted.told.host_data)?) })
}

/// What the verifier demands of any guest, with the measurement that is expected.
pub(crate) fn snp_defaults(minted: &Minted) -> anyhow::Result<verifier::Requirements> {
    let measurement = Measurement(bytes(&minted.told.measurement)?);
    let measurements = Some(BTreeSet::from([measurement]));
    Ok(verifier::Requirements { measurements, ..verifier::Requirements::default() })
}

/// The verdict on SNP evidence; an error is evidence that the parsers do not take.
pub(crate) fn judge_snp(minted: &Minted, by: By) -> anyhow::Result<Verdict> {
    let evidence = snp_evidence(minted)?;
    let requirements = match by {
        By::Policy => {
            let policy = Policy::parse(text(minted, Role::Policy)?)?;
            policy.snp(&evidence, &ReferenceValues::new(), AT)?
        }
        By::Default => snp_defaults(minted)?,
    };
    let roots = [snp_root(minted)?];
    Ok(verifier::verify(&evidence, &roots, &snp_expected(minted)?, &requirements, AT))
}

/// The verdict on a quote; an error is evidence that the parsers do not take.
pub(crate) fn judge_tdx(minted: &Minted, by: By) -> anyhow::Result<Verdict> {
    let quote = tdx::Quote::parse(file(minted, Role::Quote)?)?;
    let event_log = minted.bytes(Role::EventLog).map(EventLog::parse).transpose()?;
    let collateral = minted.bytes(Role::Collateral).map(std::str::from_utf8).transpose()?;
    let collateral = collateral.map(Collateral::from_json).transpose()?;
    let roots = [verifier::tdx::Root::simulated("minted", file(minted, Role::Root)?)?];
    let expected = verifier::tdx::Expected {
        report_data: Some(bytes(&minted.told.report_data)?),
        mr_config_id: Some(bytes(&minted.told.host_data)?),
    };
    let requirements = match by {
        By::Policy => Policy::parse(text(minted, Role::Policy)?)?.tdx(&ReferenceValues::new())?,
        By::Default => verifier::tdx::Requirements {
            measurements: Some(BTreeSet::from([Measurement(bytes(&minted.told.measurement)?)])),
            ..verifier::tdx::Requirements::default()
        },
    };
    let evidence = tdx::Evidence { quote, event_log: None };
    let (collateral, log) = (collateral.as_ref(), event_log.as_ref());
    Ok(verifier::tdx::verify(&evidence, &roots, collateral, log, &expected, &requirements, AT))
}

/// Mints every fault of an attack, SNP's and TDX's, and sees each refused for its own reason while
/// the same evidence without it is affirmed. Gives how many there were.
pub(crate) fn refuse_faults(attack: &str) -> anyhow::Result<usize> {
    good(&judge_snp(&snp(&[])?, By::Policy)?)?;
    let mut count = 0_usize;
    let mut wrong = Vec::new();
    for fault in SnpFault::ALL.iter().filter(|fault| fault.fault().attack == attack) {
        wrong.extend(complaint(fault.fault(), judge_snp(&snp(&[*fault])?, By::Policy)));
        count += 1;
    }
    let forms = [Form::V4, Form::V5Td10, Form::V5Td15];
    for form in forms {
        good(&judge_tdx(&tdx(form, &[])?, By::Policy)?)?;
        for fault in TdxFault::ALL.iter().filter(|fault| fault.fault().attack == attack) {
            wrong.extend(complaint(fault.fault(), judge_tdx(&tdx(form, &[*fault])?, By::Policy)));
            count += usize::from(form == Form::V4);
        }
    }
    ensure!(count > 0, "no fault is minted for {attack}");
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    Ok(count)
}

/// Fails unless the verdict affirms.
pub(crate) fn good(verdict: &Verdict) -> anyhow::Result<()> {
    ensure!(verdict.status() == Status::Affirming, "good evidence: {}", reasons(verdict));
    Ok(())
}

/// Fails unless the verdict refuses, and for this rule among others.
pub(crate) fn refused_by(verdict: &Verdict, claim: &str) -> anyhow::Result<()> {
    ensure!(verdict.status() == Status::Refused, "not refused, but {}", verdict.status());
    let named = verdict.reasons().any(|line| line.claim == claim);
    ensure!(named, "refused, but not by {claim}: {}", reasons(verdict));
    ensure!(verdict.accepted().is_none(), "refused and accepted");
    Ok(())
}

/// The broken rules.
pub(crate) fn reasons(verdict: &Verdict) -> String {
    let claims: Vec<_> = verdict.reasons().map(|line| line.claim).collect();
    if claims.is_empty() { verdict.status().to_string() } else { claims.join(", ") }
}

/// A fault that was not found, or for a reason that is none of its own.
fn complaint(fault: &Fault, verdict: anyhow::Result<Verdict>) -> Option<String> {
    // What a parser does not take never comes to a verdict.
    let verdict = verdict.ok()?;
    if verdict.status() != Status::Refused {
        return Some(format!("{}: {}", fault.name, verdict.status()));
    }
    let own = |line: &verifier::Line| fault.codes.contains(&line.code.as_str());
    (!verdict.reasons().any(own)).then(|| format!("{}: {}", fault.name, reasons(&verdict)))
}

/// Bytes of hexadecimal digits.
pub(crate) fn bytes<const N: usize>(digits: &str) -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    if hex::decode_to_slice(digits, &mut bytes).is_err() {
        bail!("{digits:?} is not {N} bytes in hexadecimal");
    }
    Ok(bytes)
}
