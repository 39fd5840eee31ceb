// SPDX-License-Identifier: Apache-2.0
//! Verdicts for the terminal and for scripts.

use std::fmt::Write as _;

use casemate_verifier::Line;
use casemate_verifier::Status;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::judgement::Judgement;
use super::judgement::detail;

/// One JSON object: `verdict`, `root`, `reasons` and `claims`, beside these `at`, `vector` and
/// `warnings`.
pub(crate) fn json(judgement: &Judgement) -> String {
    let verdict = &judgement.verdict;
    let reasons: Vec<Value> = verdict
        .reasons()
        .map(|line| json!({ "code": line.code, "claim": line.claim, "detail": detail(line) }))
        .collect();
    let mut claims = Map::new();
    for line in verdict.lines() {
        claims.insert(free_name(&claims, line.claim), claim(line));
    }
    let vector: Map<String, Value> = verdict
        .vector()
        .claims()
        .into_iter()
        .map(|(name, v)| (name.to_owned(), v.into()))
        .collect();
    let object = json!({
        "verdict": verdict.status(),
        "root": judgement.root(),
        "reasons": reasons,
        "claims": claims,
        "at": judgement.time(),
        "vector": vector,
        "warnings": judgement.warnings(),
    });
    format!("{object}\n")
}

/// One line per claim: outcome, claim, value, reference, rule, source.
pub(crate) fn explain(judgement: &Judgement) -> String {
    let mut text = String::new();
    for line in judgement.verdict.lines() {
        let reference = match line.reference.as_deref() {
            Some("") => "nothing is accepted",
            Some(reference) => reference,
            None => "-",
        };
        let value = if line.value.is_empty() { "-" } else { &line.value };
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{:<11}  {:<32}  {}  [{}]  {}  ({})",
            line.outcome.to_string(),
            line.claim,
            printable(value),
            printable(reference),
            line.rule,
            line.source,
        );
    }
    text + &short(judgement)
}

/// The verdict, its root, and what to do.
pub(crate) fn short(judgement: &Judgement) -> String {
    let verdict = &judgement.verdict;
    let status = match verdict.status() {
        Status::Affirming => "affirming",
        Status::Unbound => "unbound (genuine, but see the warning)",
        Status::Refused => "REFUSED",
    };
    let mut text = String::new();
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<8}  {}", printable(value));
    };
    for warning in judgement.warnings() {
        row("WARNING", &warning);
    }
    row("verdict", status);
    row("root", judgement.root().unwrap_or("none"));
    row("at", &judgement.time());
    for line in verdict.reasons() {
        row("reason", &format!("{}: {}: {}", line.code, line.claim, detail(line)));
        row("next", line.code.next_step());
    }
    text
}

fn claim(line: &Line) -> Value {
    json!({
        "value": line.value,
        "reference": line.reference,
        "rule": line.rule,
        "source": line.source,
        "outcome": line.outcome,
    })
}

/// The claim's name, numbered if several lines are about it.
fn free_name(taken: &Map<String, Value>, claim: &str) -> String {
    let mut name = claim.to_owned();
    let mut number = 1_usize;
    while taken.contains_key(&name) {
        number = number.saturating_add(1);
        name = format!("{claim}#{number}");
    }
    name
}

/// E19: what certificates and logs say is data and does not drive the terminal.
fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut safe, c| {
        if c.is_control() || is_bidirectional(c) {
            safe.extend(c.escape_unicode());
        } else {
            safe.push(c);
        }
        safe
    })
}

/// Characters that reorder the text around them (Unicode, annex 9, section 2).
pub(super) fn is_bidirectional(c: char) -> bool {
    matches!(c, '\u{061C}' | '\u{200E}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_does_not_drive_the_terminal() {
        // E19
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb\\u{a}c");
        assert_eq!(printable("x\u{202e}y"), "x\\u{202e}y");
        assert_eq!(printable("größe"), "größe");
    }

    #[test]
    fn names_of_claims_are_not_lost() {
        let mut taken = Map::new();
        for expected in ["a", "a#2", "a#3"] {
            let name = free_name(&taken, "a");
            assert_eq!(name, expected);
            taken.insert(name, Value::Null);
        }
    }
}
