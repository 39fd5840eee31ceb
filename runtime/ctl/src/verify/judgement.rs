// SPDX-License-Identifier: Apache-2.0
//! A verdict with all that belongs to its record.

use casemate_verifier::Code;
use casemate_verifier::Line;
use casemate_verifier::Outcome;
use casemate_verifier::Status;
use casemate_verifier::Verdict;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::input::Input;

/// A verdict, and what it was made from.
pub(crate) struct Judgement {
    /// The kind of evidence, for example `SNP report`.
    pub(crate) kind: &'static str,
    /// The verdict.
    pub(crate) verdict: Verdict,
    /// The files.
    pub(crate) inputs: Vec<Input>,
    /// SHA-256 of the public key of the root that the certificates ended in, hexadecimal.
    pub(crate) root_key: Option<String>,
    /// The time at which it was judged, seconds since 1970.
    pub(crate) at: u64,
    /// The first second, since 1970, at which a grace of the policy's is over without which the
    /// evidence would be refused.
    pub(crate) grace: Option<u64>,
}

impl Judgement {
    /// Whose root it is, without the product line: `amd`, `intel` or `simulated:…`. The product line
    /// stands in the line `chain.root`.
    pub(crate) fn root(&self) -> Option<&str> {
        let root = self.verdict.root()?;
        Some(if root.starts_with("amd:") { "amd" } else { root })
    }

    /// What the reader must not overlook.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        // D14: simulated evidence is taken for nothing else.
        if let Some(root) = self.root().filter(|root| root.starts_with("simulated:")) {
            warnings.push(format!(
                "SIMULATED: the certificates end in {root}, a root that proves nothing about \
                 hardware; it counts because it was given as --trust-root"
            ));
        }
        if self.verdict.status() == Status::Unbound {
            warnings.push(format!("UNBOUND: nothing said {}", self.missing().join(" and ")));
        }
        let system = self.system_not_compared();
        if self.verdict.status() == Status::Affirming && !system.is_empty() {
            warnings.push(format!(
                "SYSTEM: nothing was compared with {}: MRTD is of the firmware alone, and whatever \
                 kernel, command line or initial RAM disk a host boots with it passes; name rtmr1 \
                 and rtmr2 in a policy",
                system.join(" and ")
            ));
        }
        if let Some(until) = self.grace {
            warnings.push(format!(
                "GRACE: the platform is behind, and passes by the policy's grace alone, which ends at {}",
                time_text(until)
            ));
        }
        warnings
    }

    /// Which registers of a TD's system were compared with nothing. Behind a vTPM the TPM's
    /// registers are what says which system it is; RTMR3 is the word of whatever was booted.
    fn system_not_compared(&self) -> Vec<&'static str> {
        let lines = self.verdict.lines();
        if lines.iter().any(|line| line.claim == SYSTEM) {
            return Vec::new();
        }
        let is_unchecked = |claim: &str| {
            let mut lines = lines.iter().filter(|line| line.claim == claim);
            lines.any(|line| line.outcome == Outcome::NotChecked)
        };
        let registers = [("guest.rtmr1", "RTMR1"), ("guest.rtmr2", "RTMR2")].into_iter();
        registers.filter_map(|(claim, name)| is_unchecked(claim).then_some(name)).collect()
    }

    /// What of both comparisons is missing.
    fn missing(&self) -> Vec<&'static str> {
        let is_unchecked = |wanted: &dyn Fn(&Line) -> bool| {
            let mut lines = self.verdict.lines().iter();
            lines.any(|line| line.outcome == Outcome::NotChecked && wanted(line))
        };
        let run = [
            (MEASUREMENT, "what should run (the launch measurement)"),
            (SYSTEM, "what the customer's system should be (--pcr 4=HEX, and 9 or 11)"),
        ]
        .into_iter()
        .filter_map(|(claim, what)| is_unchecked(&|line| line.claim == claim).then_some(what));
        let bound = [
            (Code::ReportData, "for whom the evidence should be (the report data)"),
            (Code::Nonce, "for whom the evidence should be (the nonce)"),
        ]
        .into_iter()
        .filter_map(|(code, what)| is_unchecked(&|line| line.code == code).then_some(what));
        run.chain(bound).collect()
    }

    /// The time, RFC 3339.
    pub(crate) fn time(&self) -> String {
        time_text(self.at)
    }
}

fn time_text(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok())
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("{seconds} s after 1970"))
}

/// The claims whose comparison says what runs: the hardware's, and that of a vTPM.
const MEASUREMENT: &str = "guest.measurement";
const SYSTEM: &str = "tpm.system";

/// A broken rule as a sentence.
pub(crate) fn detail(line: &Line) -> String {
    let found = if line.value.is_empty() { "nothing" } else { &line.value };
    match line.reference.as_deref() {
        Some("") => {
            format!("it is not true that {}: found {found}, nothing is accepted", line.rule)
        }
        Some(reference) => {
            format!("it is not true that {}: found {found}, compared with {reference}", line.rule)
        }
        None => format!("it is not true that {}: found {found}", line.rule),
    }
}
