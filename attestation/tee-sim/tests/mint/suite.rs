// SPDX-License-Identifier: Apache-2.0

use std::time::Duration;

use casemate_tee_sim::mint::Tee;
use casemate_tee_sim::suite::{Outcome, Suite, Summary, Template, table};

use super::{AT, keys};

fn run(command: &str, tees: &[Tee], limit: Duration) -> Summary {
    let folder = tempfile::tempdir().unwrap();
    let template = Template::parse(command).unwrap();
    let folder = folder.path().to_owned();
    Suite { keys: keys(), template, tees: tees.to_vec(), at: AT, limit, folder }.run().unwrap()
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_verifier_that_accepts_all_misses_all() {
    let summary = run("true", &Tee::ALL, LONG);
    assert!(!summary.passed);
    assert!(summary.baseline_refused.is_empty());
    for result in &summary.cases {
        let expected = if result.good { Outcome::Ok } else { Outcome::Missed };
        assert_eq!(result.outcome, expected, "{}", result.name);
    }
    assert!(table(&summary).contains("MISSED: the report was asked for at VMPL 1"));
}

#[test]
fn a_verifier_that_refuses_all_is_shown_as_such() {
    let summary = run("false", &[Tee::Tdx], LONG);
    assert!(!summary.passed);
    assert_eq!(summary.baseline_refused, [Tee::Tdx]);
    assert!(table(&summary).contains("tdx: baseline refused"));
}

#[test]
fn what_a_command_does_not_give_is_not_tested() {
    let summary = run("false {report} {vcek} {root} {at}", &[Tee::Snp], LONG);
    let outcome = |name| summary.cases.iter().find(|case| case.name == name).unwrap().outcome;
    assert_eq!(outcome("good"), Outcome::GoodRefused);
    assert_eq!(outcome("leaf-expired"), Outcome::Ok);
    assert!(matches!(outcome("ask-revoked"), Outcome::NotTested(_)));
    assert!(matches!(outcome("smt"), Outcome::NotTested(_)));
    assert!(matches!(outcome("report-data"), Outcome::NotTested(_)));
}

#[test]
fn placeholders_become_what_was_minted() {
    // Accepts when the report is of 1184 bytes and the word is that of the good evidence.
    let script = "sh -c 'test $(wc -c < \"$0\") = 1184 && test \"$1\" = dadadadadadadadadadadadadadadadadadadadadadadadadadadadadadadadadadadadadadadadadadadadadadadadadadadadadadadadadadadadadadadada && test -s \"$2\"' {report} {report_data} {vcek}";
    let summary = run(script, &[Tee::Snp], LONG);
    assert!(summary.baseline_refused.is_empty(), "{}", table(&summary));
    let found = |name| {
        let case = summary.cases.iter().find(|case| case.name == name).unwrap();
        case.outcome == Outcome::Ok
    };
    assert!(found("truncated") && found("trailing-byte"));
    assert!(!found("vmpl-1"));
}

#[test]
fn reasons_are_compared_where_there_are_any() {
    let script = r#"sh -c 'echo "{{\"verdict\":\"refused\",\"reasons\":[{{\"code\":\"vmpl\"}}]}}"; exit 1' {dir}"#;
    let summary = run(script, &[Tee::Snp], LONG);
    let agrees = |name| {
        let case = summary.cases.iter().find(|case| case.name == name).unwrap();
        case.reason_agrees
    };
    assert_eq!(agrees("vmpl-1"), Some(true));
    assert_eq!(agrees("debug"), Some(false));
    assert!(table(&summary).contains("surprise: expected debug"));
}

#[test]
fn a_verifier_that_does_not_end_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let template = Template::parse("sh -c 'exec sleep 600' {dir}").unwrap();
    let limit = Duration::from_millis(20);
    let folder = folder.path().to_owned();
    let suite = Suite { keys: keys(), template, tees: vec![Tee::Tdx], at: AT, limit, folder };
    let summary = suite.run().unwrap();
    for case in &summary.cases {
        let answer = case.answer.as_ref().unwrap();
        assert!(answer.timed_out && !answer.accepted());
    }
}
