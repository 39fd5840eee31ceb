// SPDX-License-Identifier: Apache-2.0
//! What a demo reports, as `--json` prints it.

use std::collections::BTreeMap;
use std::fmt;

use casemate_agent_api::Code;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

/// The demo's result.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// `sim`, `snp` or `tdx`.
    pub tee: String,
    /// The root that the evidence ended in, for example `simulated:demo`.
    pub root: String,
    /// The launch digest that the broker accepted, hex.
    pub launch_digest: String,
    /// The broker's verdict.
    pub verdict: String,
    /// What each container wrote.
    pub outputs: BTreeMap<String, String>,
    /// The exit code of each container that has ended.
    #[serde(default)]
    pub exit_codes: BTreeMap<String, i32>,
    /// Milliseconds since the sandbox was asked for.
    pub timeline_ms: Timeline,
    /// The attacks and why each was refused.
    pub refused: Vec<Refused>,
    /// What the demo left behind outside of the build folder.
    pub leftovers: Vec<String>,
    /// Why the demo ended early; the other fields then hold what was known by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

impl Report {
    /// The report as one line of JSON. After a failure it has only the fields that are known.
    ///
    /// # Errors
    ///
    /// When it cannot be written as JSON.
    pub fn to_line(&self) -> Result<String, serde_json::Error> {
        if self.error.is_none() {
            return serde_json::to_string(self);
        }
        let mut value = serde_json::to_value(self)?;
        if let Value::Object(map) = &mut value {
            map.retain(|key, value| key == "leftovers" || is_known(value));
        }
        serde_json::to_string(&value)
    }
}

fn is_known(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => map.values().any(is_known),
        Value::Number(number) => number.as_u64() != Some(0),
        Value::Null => false,
        Value::Bool(_) => true,
    }
}

/// Why the demo failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    code: String,
    message: String,
    next: String,
}

impl Failure {
    /// A pod that cannot be run.
    #[must_use]
    pub fn of_pod(message: impl Into<String>, next: &str) -> Self {
        Self { code: POD.to_owned(), message: message.into(), next: next.to_owned() }
    }

    /// The failure that an error carries, or whose code and next step stand in its text
    /// (`<code>: <one line>; next: <next step>`).
    #[must_use]
    pub fn of(error: &anyhow::Error) -> Self {
        if let Some(failure) = error.downcast_ref::<Self>() {
            return failure.clone();
        }
        let text = format!("{error:#}");
        // What follows the line, a daemon's log for example, is for people.
        let line = text.lines().map(str::trim).find(|line| line.contains(NEXT));
        let line = line.unwrap_or_else(|| text.lines().next().unwrap_or_default());
        let (message, next) = match line.split_once(NEXT) {
            // containerd appends the name of the status that it knows no better one for.
            Some((message, next)) => (message, next.trim().trim_end_matches(": unknown")),
            None => (line, "read the messages above, and the logs in the folder that they name"),
        };
        let known = Code::ALL.iter().map(|code| code.as_str()).chain([POD]);
        let code = known
            .filter(|code| message.contains(&format!("{code}: ")))
            .max_by_key(|code| code.len())
            .unwrap_or(DEMO);
        Self { code: code.to_owned(), message: message.to_owned(), next: next.to_owned() }
    }

    /// What went wrong, one line.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do next.
    #[must_use]
    pub fn next(&self) -> &str {
        &self.next
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}{NEXT}{}", self.code, self.message, self.next)
    }
}

impl std::error::Error for Failure {}

const NEXT: &str = "; next: ";
/// The code of a pod that cannot be run, as the `casemate` tool says it.
const POD: &str = "pod";
/// The code of what has none of its own.
const DEMO: &str = "demo";

/// Milliseconds since the sandbox was asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    /// The VMM runs.
    pub vm_start: u64,
    /// The guest kernel runs.
    pub kernel: u64,
    /// The agent answers.
    pub agent_ready: u64,
    /// The broker has accepted the guest.
    pub attested: u64,
    /// The last image is pulled, decrypted and unpacked.
    pub pulled: u64,
    /// The first container has written something.
    pub first_output: u64,
}

/// An attack that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// `exec`, `command`, `cmdline-old-table`, `cmdline-new-table`, `initdata` or `tag`.
    pub attack: String,
    /// Stable error code.
    pub code: String,
    /// The refusal's words.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    fn of(text: &'static str) -> (String, String, String) {
        let failure = Failure::of(&anyhow::anyhow!(text));
        (failure.code, failure.message, failure.next)
    }

    #[test]
    fn failures_keep_code_message_and_next_step() {
        assert_eq!(of("policy.argv: no; next: generate it again: unknown").2, "generate it again");
        let owned = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(
            of(
                "the pod does not start: failed to create: policy.argv: argv differs; next: generate\nlog 1\nlog 2"
            ),
            owned(
                "policy.argv",
                "the pod does not start: failed to create: policy.argv: argv differs",
                "generate"
            )
        );
        let tool = of("casemate failed (exit status: 1): pod: p.yaml: spec.x: no; next: remove it");
        assert_eq!((tool.0.as_str(), tool.2.as_str()), ("pod", "remove it"));
        let other = of("start registry: is its package installed?");
        assert_eq!(other.0, "demo");
        assert!(!other.2.is_empty());
        let failure = Failure::of_pod("spec.hostPID: no", "remove hostPID");
        let error = Err::<(), _>(failure.clone()).context("check").unwrap_err();
        assert_eq!(Failure::of(&error), failure);
        assert_eq!(failure.to_string(), "pod: spec.hostPID: no; next: remove hostPID");
    }

    #[test]
    fn a_failed_report_has_only_what_is_known() {
        let mut report = Report { tee: "sim".to_owned(), ..Report::default() };
        assert!(report.to_line().unwrap().contains("launch_digest"));
        report.error = Some(Failure::of_pod("m", "n"));
        assert_eq!(
            report.to_line().unwrap(),
            r#"{"error":{"code":"pod","message":"m","next":"n"},"leftovers":[],"tee":"sim"}"#
        );
        report.timeline_ms.kernel = 3;
        assert!(report.to_line().unwrap().contains("timeline_ms"));
        let line = report.to_line().unwrap();
        // The inner process hands it to the outer one in full.
        assert!(serde_json::from_str::<Report>(&line).is_err());
        let full = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&full).unwrap(), report);
    }
}
