// SPDX-License-Identifier: Apache-2.0
//! The table for people.

use std::fmt::Write;

use super::{CaseResult, Outcome, Summary};
use crate::mint::Tee;

/// The table, and a sentence for each technology.
#[must_use]
pub fn table(summary: &Summary) -> String {
    let mut text = String::new();
    line(&mut text, ["TEE", "CASE", "EXPECTED", "GOT", "REASON", "RESULT"]);
    for result in &summary.cases {
        let expected = if result.good { "accept" } else { "refuse" };
        let (got, reason) = (got(result), reason(result));
        let outcome = outcome(result);
        line(&mut text, [result.tee.name(), result.name, expected, &got, &reason, &outcome]);
    }
    for tee in Tee::ALL {
        if summary.cases.iter().any(|result| result.tee == tee) {
            text.push_str(&sentence(summary, tee));
        }
    }
    text
}

fn got(result: &CaseResult) -> String {
    match &result.answer {
        None => "-".to_owned(),
        Some(answer) if answer.timed_out => "refuse (too slow)".to_owned(),
        Some(answer) if answer.accepted() => "accept (0)".to_owned(),
        Some(answer) => match answer.exit {
            Some(code) => format!("refuse ({code})"),
            None => "refuse (signal)".to_owned(),
        },
    }
}

fn reason(result: &CaseResult) -> String {
    let reasons = result.answer.iter().flat_map(|answer| &answer.reasons);
    let mut reasons: Vec<&str> = reasons.map(String::as_str).collect();
    reasons.dedup();
    if reasons.is_empty() { "-".to_owned() } else { reasons.join(",") }
}

fn outcome(result: &CaseResult) -> String {
    match result.outcome {
        Outcome::Ok if result.reason_agrees == Some(false) => {
            format!("surprise: expected {}", result.codes.join(" or "))
        }
        Outcome::Ok => "ok".to_owned(),
        Outcome::Missed => format!("MISSED: {}", result.text),
        Outcome::GoodRefused => format!("REFUSED GOOD EVIDENCE: {}", result.text),
        Outcome::NotTested(need) => format!("not tested: no {{{}}}", need.placeholder()),
    }
}

fn sentence(summary: &Summary, tee: Tee) -> String {
    let cases = || summary.cases.iter().filter(|result| result.tee == tee);
    let count = |which: fn(&&CaseResult) -> bool| cases().filter(which).count();
    if summary.baseline_refused.contains(&tee) {
        return format!(
            "{}: baseline refused: the verifier accepts nothing, so that nothing was tested\n",
            tee.name()
        );
    }
    format!(
        "{}: {} of {} faults found, {} missed, {} not tested; {} for another reason; {} of {} good \
         cases refused\n",
        tee.name(),
        count(|result| !result.good && result.outcome == Outcome::Ok),
        count(|result| !result.good),
        count(|result| result.outcome == Outcome::Missed),
        count(|result| matches!(result.outcome, Outcome::NotTested(_))),
        count(|result| result.reason_agrees == Some(false)),
        count(|result| result.outcome == Outcome::GoodRefused),
        count(|result| result.good),
    )
}

fn line(text: &mut String, [tee, case, expected, got, reason, result]: [&str; 6]) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{tee:11} {case:34} {expected:8} {got:17} {reason:24} {result}");
}
