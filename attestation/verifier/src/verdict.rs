// SPDX-License-Identifier: Apache-2.0
//! What was looked at, by which rule, and what came out.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use crate::Code;
use crate::Measurement;

mod appraisal;
mod findings;
mod vector;

pub(crate) use findings::Findings;
pub use vector::Dimension;
pub use vector::TrustVector;

/// One rule of the verifier. Rules are constants in tables beside the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// What it looks at: a stable dotted name, for example `guest.debug`.
    pub claim: &'static str,
    /// The reason when it is broken.
    pub code: Code,
    /// A sentence that is true when it is kept.
    pub text: &'static str,
    /// The claim of the trust vector that it moves.
    pub affects: Dimension,
}

/// The result of a verification: a line per claim, and the accepted guest if there is one.
#[derive(Debug, Clone)]
pub struct Verdict {
    lines: Vec<Line>,
    root: Option<String>,
    status: Status,
    vector: TrustVector,
    /// The trust claim that each line moves, in step with `lines`.
    affects: Vec<Dimension>,
    /// The guest as it is accepted if the status says so.
    accepted: Accepted,
}

/// One claim of the evidence and what a rule says to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What is claimed, a stable dotted name.
    pub claim: &'static str,
    /// The reason that a broken rule gives.
    pub code: Code,
    /// The value in the evidence, for a person.
    pub value: String,
    /// What it was compared with; `None` when the rule compares with nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The rule, as a sentence that is true when it is kept.
    pub rule: &'static str,
    /// Where the value stands.
    pub source: Source,
    /// What came out.
    pub outcome: Outcome,
}

/// Where a value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Source {
    /// In the signed SNP report.
    Report,
    /// In the signed TDX quote.
    Quote,
    /// In a certificate.
    Certificate,
    /// In the vendor's collateral: revocation lists, TCB levels, identities.
    Collateral,
    /// In an event log.
    EventLog,
    /// In a TPM's quote.
    Tpm,
    /// In what a policy of the owner's says of the guest.
    Appraisal,
}

/// What came out of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Outcome {
    /// The rule is kept.
    #[serde(rename = "ok")]
    Ok,
    /// The rule is broken.
    #[serde(rename = "refused")]
    Refused,
    /// No reference was given, or the rule does not apply.
    #[serde(rename = "not checked")]
    NotChecked,
}

/// The verdict in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Nothing is refused, and both what runs (measurement) and for whom the evidence was made
    /// (report_data, or a TPM's nonce) were compared with a reference.
    Affirming,
    /// Genuine, but nothing said what should run or for whom the evidence should be.
    Unbound,
    /// A rule is broken.
    Refused,
}

/// A guest whose evidence passed every rule and was compared with what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Accepted {
    /// The root that its evidence ended in: `amd:…`, `intel` or `simulated:…`.
    pub root: String,
    /// Its launch digest, on TDX MRTD.
    pub measurement: Measurement,
    /// What differs between the kinds of TEE.
    pub guest: Guest,
}

/// What an accepted guest was launched with, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Guest {
    /// An SNP guest.
    #[non_exhaustive]
    Snp {
        /// HOST_DATA: the initdata's digest.
        host_data: [u8; 32],
        /// Id of the chip, zero when hidden.
        chip_id: [u8; 64],
    },
    /// A TD.
    #[non_exhaustive]
    Tdx {
        /// MRCONFIGID: the initdata's digest, zero-padded.
        mr_config_id: [u8; 48],
    },
}

impl Verdict {
    /// The verdict in a word.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status
    }

    /// The guest, if the verdict is [`Status::Affirming`].
    #[must_use]
    pub fn accepted(&self) -> Option<&Accepted> {
        (self.status == Status::Affirming).then_some(&self.accepted)
    }

    /// Every line, in the order of the checks.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The root that the certificates ended in, also when the evidence is refused.
    #[must_use]
    pub fn root(&self) -> Option<&str> {
        self.root.as_deref()
    }

    /// The refused lines.
    pub fn reasons(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| line.outcome == Outcome::Refused)
    }

    /// The verdict in eight numbers, as attestation results carry it.
    #[must_use]
    pub fn vector(&self) -> TrustVector {
        self.vector
    }
}

/// A set of accepted values for a person: whole while it is small, empty when nothing is accepted.
pub(crate) fn one_of<T>(accepted: &BTreeSet<T>, text: impl Fn(&T) -> String) -> String {
    if accepted.len() > MAX_SHOWN {
        return format!("one of {} values", accepted.len());
    }
    accepted.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// Bytes for a person.
pub(crate) fn hex_of<const N: usize>(bytes: &[u8; N]) -> String {
    hex::encode(bytes)
}

/// Most accepted values that a line shows.
const MAX_SHOWN: usize = 4;

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::NotChecked => "not checked",
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Affirming => "affirming",
            Self::Unbound => "unbound",
            Self::Refused => "refused",
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Report => "report",
            Self::Quote => "quote",
            Self::Certificate => "certificate",
            Self::Collateral => "collateral",
            Self::EventLog => "event-log",
            Self::Tpm => "tpm",
            Self::Appraisal => "appraisal",
        })
    }
}
