// SPDX-License-Identifier: Apache-2.0
//! Rules in Rego: each answer that is not a plain yes denies.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

mod support;

use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use casemate_policy_monitor::ReferenceMonitor;
use casemate_policy_rules::AskError;
use casemate_policy_rules::Input;
use casemate_policy_rules::Judge;
use casemate_policy_rules::Narrowed;
use casemate_policy_rules::Refusal;
use casemate_policy_rules::Request;
use casemate_policy_rules::Rules;
use casemate_policy_rules::SetupError;
use casemate_policy_rules::monitor;
use casemate_rego_engine::Cage;
use casemate_rego_engine::Reaping;
use support::granted;
use support::judged;
use support::policy;
use support::typed;

fn cage() -> Cage {
    Cage::new(PathBuf::from(env!("CARGO_BIN_EXE_casemate-policy-rules")), Reaping::Here)
}

fn rules(body: &str) -> Rules {
    Rules::new(&format!("package casemate\nimport rego.v1\n{body}\n"), cage()).unwrap()
}

fn input() -> Input {
    let request = judged().into_iter().find(|r| matches!(r, Request::CreateContainer(_))).unwrap();
    Input::new(&request, Some("web"), None)
}

#[test]
fn only_a_plain_yes_lets_a_request_pass() {
    assert_eq!(rules("allow if input.container == \"web\"").judge(&input()), Ok(()));
    for denies in [
        "allow if input.container == \"other\"",
        "default allow := false",
        "allow := 1",
        "allow := \"true\"",
        "allow := [true]",
        "allow := null",
        "allow if input.fields.no_such_field == 1",
        "allow if { every argument in input.fields.argv { not startswith(argument, \"/\") } }",
    ] {
        assert_eq!(rules(denies).judge(&input()), Err(Refusal::Denied), "{denies}");
    }
    for fails in ["other := true", "allow := unknown(1)", "allow := true\nallow := false"] {
        assert!(matches!(rules(fails).judge(&input()), Err(Refusal::Failed { .. })), "{fails}");
    }
}

#[test]
fn rules_without_end_or_measure_deny() {
    let endless = "n := numbers.range(1, 3000)\n\
        allow if { count({[a, b, c] | some a in n; some b in n; some c in n}) > 0 }";
    let mut hungry = String::from("s0 := \"0123456789abcdef\"\n");
    for n in 0..28 {
        hungry.push_str(&format!("s{} := concat(\"\", [s{n}, s{n}])\n", n + 1));
    }
    hungry.push_str("allow if { count(s28) > 0 }");
    for body in [endless, &hungry] {
        let begin = Instant::now();
        let refusal = rules(body).judge(&input()).unwrap_err();
        assert!(matches!(refusal, Refusal::Failed { .. }), "{refusal:?}");
        assert!(begin.elapsed() < Duration::from_secs(15));
    }
}

#[test]
fn text_that_is_no_rego_is_refused_before_anything_runs() {
    for text in ["", "package casemate\nallow if (", "not rego"] {
        assert!(Rules::new(text, cage()).is_err(), "{text:?}");
    }
    // The test program is no child of a cage: nothing can be evaluated.
    let Err(error) = monitor(policy(), Some("package casemate\nallow := true")) else {
        panic!("accepted")
    };
    assert!(matches!(error, SetupError::Rules { .. }));
    assert_eq!(error.code(), "initdata.invalid");
}

const NARROW: &str = r#"
default allow := false
allow if input.request in {"SetNetwork", "PutVolume", "Update", "Stats", "Pids"}
allow if {
    input.request == "CreateContainer"
    startswith(input.granted.env.POD_IP, "10.0.")
}
allow if {
    input.request == "ExecProcess"
    not input.granted.stdout
}
allow if {
    input.request == "Signal"
    input.fields.signal == 15
}
"#;

#[test]
fn a_whole_pod_runs_under_rules_that_allow_it() {
    let mut monitor = Narrowed::new(typed(), Box::new(rules(NARROW)));
    judged().iter().for_each(|request| granted(&mut monitor, request));
}

#[test]
fn rules_narrow_what_the_policy_grants() {
    let mut monitor = Narrowed::new(typed(), Box::new(rules(NARROW)));
    let mut elsewhere = support::create();
    *elsewhere.pointer_mut("/CreateContainer/env/0").unwrap() = "POD_IP=192.168.0.1".into();
    let elsewhere = support::request(elsewhere);
    let before = monitor.fingerprint();
    assert!(
        matches!(elsewhere.ask(&mut monitor), Err(AskError::Denied(d)) if d.rule.code() == "policy.rules")
    );
    assert_eq!(monitor.fingerprint(), before);
    // The typed monitor grants it.
    granted(&mut typed(), &elsewhere);
}

/// The rules that the documentation begins with.
#[test]
fn the_documented_rules_do_what_they_say() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/how-to/narrow-with-rego.md");
    let page = std::fs::read_to_string(page).unwrap();
    let text = page.split("```rego\n").nth(1).unwrap().split("```").next().unwrap();
    let mut monitor = Narrowed::new(typed(), Box::new(Rules::new(text, cage()).unwrap()));
    judged().iter().for_each(|request| granted(&mut monitor, request));
    let mut loud = support::exec();
    *loud.pointer_mut("/ExecProcess/exec_id").unwrap() = "e2".into();
    loud["ExecProcess"]["stdout"] = true.into();
    assert!(support::request(loud).ask(&mut monitor).is_err());
}
