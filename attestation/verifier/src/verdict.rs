// SPDX-License-Identifier: Apache-2.0
//! What was looked at, by which rule, and what came out.

use std::fmt;

use serde::Serialize;

use crate::Measurement;

/// The result of a verification: a line per claim, and the accepted guest if there is one.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    lines: Vec<Line>,
    root: Option<String>,
    #[serde(skip)]
    accepted: Option<Accepted>,
}

/// One claim of the evidence and what a rule says to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What is claimed, a stable dotted name.
    pub claim: &'static str,
    /// Its value, for a person.
    pub value: String,
    /// The rule, as a sentence that is true when it is kept.
    pub rule: &'static str,
    /// What came out.
    pub outcome: Outcome,
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
    /// No rule was configured, or it does not apply.
    #[serde(rename = "not checked")]
    NotChecked,
}

/// A guest whose evidence passed every rule.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Accepted {
    /// The root that its evidence ended in: `amd:…` or `simulated:…`.
    pub root: String,
    /// Its launch digest.
    pub measurement: Measurement,
    /// Its HOST_DATA: the initdata's digest.
    pub host_data: [u8; 32],
    /// Id of the chip, zero when hidden.
    pub chip_id: [u8; 64],
}

impl Verdict {
    /// The guest, if no line is refused.
    #[must_use]
    pub fn accepted(&self) -> Option<&Accepted> {
        self.accepted.as_ref()
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

    /// The claim of the first refused line.
    #[must_use]
    pub fn first_refusal(&self) -> Option<&str> {
        self.refusals().next().map(|line| line.claim)
    }

    /// The refused lines.
    pub fn refusals(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| line.outcome == Outcome::Refused)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::NotChecked => "not checked",
        })
    }
}

/// Collects lines while checks run.
#[derive(Default)]
pub(crate) struct Findings(Vec<Line>);

impl Findings {
    pub(crate) fn check(
        &mut self,
        claim: &'static str,
        value: impl Into<String>,
        rule: &'static str,
        kept: bool,
    ) {
        let outcome = if kept { Outcome::Ok } else { Outcome::Refused };
        self.0.push(Line { claim, value: value.into(), rule, outcome });
    }

    pub(crate) fn not_checked(
        &mut self,
        claim: &'static str,
        value: impl Into<String>,
        rule: &'static str,
    ) {
        self.0.push(Line { claim, value: value.into(), rule, outcome: Outcome::NotChecked });
    }

    /// Closes the verdict. Without a root, or with any refusal, nothing is accepted.
    pub(crate) fn conclude(
        self,
        root: Option<String>,
        guest: impl FnOnce(String) -> Accepted,
    ) -> Verdict {
        let refused = self.0.iter().any(|line| line.outcome == Outcome::Refused);
        let accepted = root.clone().filter(|_| !refused).map(guest);
        Verdict { lines: self.0, root, accepted }
    }
}
