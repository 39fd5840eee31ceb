// SPDX-License-Identifier: Apache-2.0
//! Results for people and programs.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;

use crate::Case;
use crate::Mode;
use crate::Outcome;

/// What came of one case in one mode.
#[derive(Debug, Clone)]
pub struct Line {
    /// The case.
    pub case: &'static Case,
    /// With or without the policy.
    pub mode: Mode,
    /// What came of it.
    pub outcome: Outcome,
    /// It failed because this machine lacks something.
    pub missing: bool,
    /// How long it took.
    pub took: Duration,
}

impl Line {
    /// One JSON object.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        json!({
            "case": self.case.id,
            "mode": self.mode.as_str(),
            "level": format!("{:?}", self.case.level),
            "guard": self.case.guard(),
            "defence": self.case.defence.as_str(),
            "result": self.outcome.result(),
            "detail": self.outcome.detail(),
            "ms": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
        })
    }
}

/// One case with its results, for people: number, level, defence, a word per mode, the attack.
#[must_use]
pub fn table(case: &Case, lines: &[Line]) -> String {
    let mut out = format!("{:<4} {:?} {:<7}", case.id, case.level, case.defence.as_str());
    for line in lines {
        let _ = write!(out, "{:<14}", line.outcome.result());
    }
    let _ = write!(out, "{}", case.attack);
    for line in lines.iter().filter(|line| line.outcome.is_failure()) {
        let _ = write!(out, "\n       {}: {}", line.mode.as_str(), line.outcome.detail());
    }
    out
}

/// A case as `--list --json` shows it: all that sabotage needs.
#[must_use]
pub fn list(case: &Case) -> serde_json::Value {
    let guard = case.defence.guard();
    json!({
        "case": case.id,
        "level": format!("{:?}", case.level),
        "attack": case.attack,
        "defence": case.defence.as_str(),
        "guard": guard.map(|guard| guard.function),
        "sabotage": guard.map(|guard| guard.sabotage),
    })
}
