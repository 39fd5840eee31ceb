// SPDX-License-Identifier: Apache-2.0
//! `casemate policy {check, explain, diff, lint, simulate}`: reading policies before trusting them.
//!
//! Exit codes are for scripts: 0 = nothing to object, 1 = refused, different, weak or denied, 2 = the
//! input cannot be used.

mod rules;

use std::path::Path;
use std::process::ExitCode;

use casemate_agent_api::Code;
use casemate_policy_review::Document;
use casemate_policy_review::Finding;
use casemate_policy_review::RULES;
use casemate_policy_review::ReadError;
use casemate_policy_review::Step;
use casemate_policy_review::diff;
use casemate_policy_review::example;
use casemate_policy_review::lint;
use casemate_policy_review::simulate;
use serde::Serialize;
use serde_json::json;

use crate::args::Deny;
use crate::args::DiffArgs;
use crate::args::ExplainArgs;
use crate::args::LintArgs;
use crate::args::PolicyCheckArgs;
use crate::args::SimulateArgs;
use crate::failure::Failure;
use crate::failure::chain;
use crate::file;

/// Reads a document to its end and says what it is.
pub(crate) fn check(args: &PolicyCheckArgs) -> Result<(), Failure> {
    let document = read(&args.file)?;
    let rules = document.rules.as_deref().map(rules::check).transpose()?;
    if let Some(path) = &args.policy_out {
        file::write(Some(path), &document.text)?;
    }
    let policy = &document.policy;
    let digest = policy.digest().to_string();
    let entries = document.initdata.iter().flat_map(|i| i.entries().map(|(name, _)| name));
    let entries: Vec<&str> = entries.collect();
    let initdata = document.initdata.as_ref().map(|initdata| {
        json!({
            "algorithm": initdata.algorithm().name(),
            "digest": hex::encode(initdata.digest()),
            "entries": entries,
        })
    });
    if args.json {
        return print_json(&json!({
            "kind": document.carrier.name(),
            "policy": {
                "version": policy.version,
                "containers": policy.containers.keys().collect::<Vec<_>>(),
                "volumes": policy.volumes.keys().collect::<Vec<_>>(),
                "canonical_digest": digest,
            },
            "initdata": initdata,
            "rules": rules.map(|checked| json!({ "checked": checked })),
        }));
    }
    let names: Vec<&str> = policy.containers.keys().map(String::as_str).collect();
    let mut text = format!(
        "policy    well-formed, version {}, containers: {}; canonical form {digest}\n",
        policy.version,
        if names.is_empty() { "none".to_owned() } else { names.join(", ") },
    );
    if let Some(initdata) = &document.initdata {
        let digest = hex::encode(initdata.digest());
        let algorithm = initdata.algorithm().name();
        text.push_str(&format!(
            "initdata  {algorithm} {digest}, entries: {}\n",
            entries.join(", ")
        ));
    }
    if let Some(config) = &document.config {
        text.push_str(&format!("broker    {}\n", config.broker.url));
    }
    match rules {
        Some(true) => text.push_str("rules     policy.rego is well-formed\n"),
        Some(false) => text.push_str(
            "rules     policy.rego is NOT checked: this program is built without feature rego\n",
        ),
        None => {}
    }
    print(&text)
}

/// Says what a policy means.
pub(crate) fn explain(args: &ExplainArgs) -> Result<(), Failure> {
    let document = read(&args.file).map_err(unusable)?;
    let explanation = casemate_policy_review::explain(&document);
    if args.json { print_json(&explanation) } else { print(&explanation.to_string()) }
}

/// Says what differs between two documents.
pub(crate) fn compare(args: &DiffArgs) -> Result<ExitCode, Failure> {
    let older = read(&args.older).map_err(unusable)?;
    let newer = read(&args.newer).map_err(unusable)?;
    let difference = diff(&older, &newer);
    if args.json {
        print_json(&difference)?
    } else {
        print(&difference.to_string())?
    }
    Ok(if difference.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Looks for weak spots.
pub(crate) fn find_weak_spots(args: &LintArgs) -> Result<ExitCode, Failure> {
    let Some(path) = &args.file else {
        list_rules(args.json)?;
        return Ok(ExitCode::SUCCESS);
    };
    let document = read(path).map_err(unusable)?;
    let mut findings = lint(&document);
    findings.retain(|finding| !args.allow.contains(&finding.id));
    let denied = findings.iter().filter(|finding| is_denied(finding, &args.deny)).count();
    if args.json {
        print_json(&json!({ "findings": findings, "denied": denied }))?;
    } else {
        let mut text: String = findings.iter().map(|finding| format!("{finding}\n")).collect();
        let all = findings.len();
        text.push_str(&format!("{all} found, {denied} of them denied\n"));
        print(&text)?;
    }
    Ok(if denied == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn is_denied(finding: &Finding, deny: &[Deny]) -> bool {
    deny.iter().any(|deny| match deny {
        Deny::Nothing => false,
        Deny::From(severity) => finding.severity >= *severity,
        Deny::Id(id) => finding.id == *id,
    })
}

fn list_rules(json: bool) -> Result<(), Failure> {
    if json {
        let rule = |rule: &casemate_policy_review::Rule| {
            json!({
                "id": rule.id, "severity": rule.severity, "title": rule.title, "next": rule.next,
            })
        };
        return print_json(&RULES.iter().map(rule).collect::<Vec<_>>());
    }
    let line = |rule: &casemate_policy_review::Rule| {
        format!("{}  {:<6}  {}\n", rule.id, rule.severity.name(), rule.title)
    };
    print(&RULES.iter().map(line).collect::<String>())
}

/// Asks a policy a list of requests.
pub(crate) fn replay(args: &SimulateArgs) -> Result<ExitCode, Failure> {
    let document = read(&args.file).map_err(unusable)?;
    let Some(path) = &args.requests else {
        let steps = example(&document.policy).map_err(|error| {
            let next = "write the requests by hand, as in docs/how-to/review-a-policy.md, with a \
                        value that the pattern matches";
            Failure::new("requests", error, next).exit(UNUSABLE)
        })?;
        print_json(&steps.iter().map(Step::to_json).collect::<Vec<_>>())?;
        return Ok(ExitCode::SUCCESS);
    };
    let text = file::read_text(path, MAX_REQUESTS_FILE).map_err(unusable)?;
    let steps = Step::read_list(&text).map_err(|error| {
        let next = "see docs/how-to/review-a-policy.md, or begin with --example";
        let message = format_args!("{}: {error}", path.display()).to_string();
        Failure::new("requests", message, next).exit(UNUSABLE)
    })?;
    let mut monitor = rules::monitor(&document, args.without_rules).map_err(unusable)?;
    let answers = simulate(&document, monitor.as_mut(), &steps);
    let unexpected = answers.iter().filter(|answer| !answer.as_expected).count();
    if args.json {
        print_json(&answers)?;
    } else {
        let mut text = String::new();
        for answer in &answers {
            text.push_str(&answer.to_string());
            if let Some(code) = answer.code.and_then(|code| code.parse::<Code>().ok()) {
                text.push_str(&format!("     next: {}\n", code.next_step()));
            }
        }
        let all = answers.len();
        text.push_str(&format!("\n{all} asked, {unexpected} answered not as expected\n"));
        print(&text)?;
    }
    Ok(if unexpected == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read(path: &Path) -> Result<Document, Failure> {
    let max = u64::try_from(Document::MAX_BYTES).unwrap_or(u64::MAX);
    let bytes = file::read(path, max).map_err(unusable)?;
    Document::read(&bytes).map_err(|error| refused(path, &error))
}

/// Shows the line at fault, then says what is wrong in the line that every failure has.
fn refused(path: &Path, error: &ReadError) -> Failure {
    if let Some((entry, place)) = error.place() {
        eprintln!("{}", plain(&format!("{} ({entry}), line {}", path.display(), place.line)));
        eprintln!("{place}");
    }
    let message = format!("{}: {}", path.display(), chain(error));
    Failure::new("policy", message, error.next_step())
}

fn unusable(failure: Failure) -> Failure {
    failure.exit(UNUSABLE)
}

fn print(text: &str) -> Result<(), Failure> {
    file::write(None, &plain(text))
}

fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::new("internal", error, Code::Internal.next_step()))?;
    file::write(None, &format!("{text}\n"))
}

/// E19: nothing of a document drives the terminal.
fn plain(text: &str) -> String {
    let plain = |c: char| if c.is_control() && c != '\n' { '\u{fffd}' } else { c };
    text.chars().map(plain).collect()
}

/// Exit code of input that cannot be used; clap's too.
const UNUSABLE: u8 = 2;
/// Largest list of requests, bytes.
const MAX_REQUESTS_FILE: u64 = 64 << 20;
