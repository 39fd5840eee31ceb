// SPDX-License-Identifier: Apache-2.0
//! Arguments of `casemate policy` for those who read policies.

use std::path::PathBuf;
use std::str::FromStr;

use casemate_policy_review::RULES;
use casemate_policy_review::Severity;
use clap::Parser;

#[derive(Debug, Parser)]
pub(crate) struct PolicyCheckArgs {
    /// A policy, an initdata document, an annotation's value or an annotated pod; - reads standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Where the policy's text goes, whatever carried it
    #[arg(long, value_name = "FILE")]
    pub(crate) policy_out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Parser)]
pub(crate) struct ExplainArgs {
    /// A policy, an initdata document, an annotation's value or an annotated pod; - reads standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Parser)]
pub(crate) struct DiffArgs {
    /// The older document, of any kind that `explain` reads
    #[arg(value_name = "OLDER")]
    pub(crate) older: PathBuf,
    /// The newer document
    #[arg(value_name = "NEWER")]
    pub(crate) newer: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Parser)]
pub(crate) struct LintArgs {
    /// A policy, an initdata document, an annotation's value or an annotated pod; - reads standard input
    #[arg(value_name = "FILE", required_unless_present = "list")]
    pub(crate) file: Option<PathBuf>,
    /// What makes the command fail: none, low, medium, high (that and all above) or ids
    #[arg(long, value_name = "LEVEL|ID", value_delimiter = ',', default_value = "high")]
    pub(crate) deny: Vec<Deny>,
    /// Ids that are neither shown nor counted
    #[arg(long, value_name = "ID", value_delimiter = ',', value_parser = known_id)]
    pub(crate) allow: Vec<&'static str>,
    /// Print all ids and what they find, and read no file
    #[arg(long, conflicts_with = "file")]
    pub(crate) list: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What makes `casemate policy lint` fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deny {
    /// Nothing.
    Nothing,
    /// Findings of this severity and above.
    From(Severity),
    /// Findings of this id.
    Id(&'static str),
}

impl FromStr for Deny {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let severities = [Severity::Low, Severity::Medium, Severity::High];
        if text == "none" {
            return Ok(Self::Nothing);
        }
        match severities.into_iter().find(|severity| severity.name() == text) {
            Some(severity) => Ok(Self::From(severity)),
            None => known_id(text).map(Self::Id),
        }
    }
}

fn known_id(text: &str) -> Result<&'static str, String> {
    let rule = RULES.iter().find(|rule| rule.id == text);
    rule.map(|rule| rule.id).ok_or_else(|| "no such id; --list prints them".to_owned())
}

#[derive(Debug, Parser)]
pub(crate) struct SimulateArgs {
    /// A policy, an initdata document, an annotation's value or an annotated pod; - reads standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The requests, a JSON list; see docs/how-to/review-a-policy.md
    #[arg(value_name = "REQUESTS", required_unless_present = "example")]
    pub(crate) requests: Option<PathBuf>,
    /// Print the requests that an honest host would send, and ask nothing
    #[arg(long, conflicts_with = "requests")]
    pub(crate) example: bool,
    /// Leave the extra rules of the initdata (policy.rego) out
    #[arg(long)]
    pub(crate) without_rules: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
