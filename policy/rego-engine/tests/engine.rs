// SPDX-License-Identifier: Apache-2.0
//! Values, failures and caps of evaluations, in this process and in a cage.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use casemate_rego_engine::Cage;
use casemate_rego_engine::CageError;
use casemate_rego_engine::EngineError;
use casemate_rego_engine::Function;
use casemate_rego_engine::Order;
use casemate_rego_engine::Program;
use casemate_rego_engine::Reaping;
use serde_json::Value;
use serde_json::json;

fn cage() -> Cage {
    Cage::new(PathBuf::from(env!("CARGO_BIN_EXE_casemate-rego-engine")), Reaping::Here)
}

fn order(body: &str, input: Value) -> Order {
    Order {
        program: format!("package p\nimport rego.v1\n{body}\n"),
        rule: Some("data.p.x".to_owned()),
        input,
    }
}

/// Both ways give the same.
fn check(body: &str, input: Value, expected: Option<Value>) {
    let order = order(body, input);
    let program = Program::parse(&order.program).unwrap();
    assert_eq!(program.evaluate("data.p.x", &order.input, &[]).unwrap(), expected, "{body}");
    assert_eq!(cage().evaluate(&order).unwrap(), expected, "{body}");
}

#[test]
fn a_rule_has_a_value_or_is_undefined() {
    check("x := input.n + 1", json!({"n": 41}), Some(json!(42)));
    check("x if input.n == 1", json!({"n": 1}), Some(json!(true)));
    check("x if input.n == 1", json!({"n": 2}), None);
    check("x if input.missing.deep == 1", json!({}), None);
    check("default x := false\nx if input.n == 1", json!({"n": 2}), Some(json!(false)));
    check(
        "x contains s if { some s in input.list }",
        json!({"list": ["b", "a"]}),
        Some(json!(["a", "b"])),
    );
}

#[test]
fn what_is_no_program_or_has_no_such_rule_fails() {
    for body in ["x := (", "y := 1", "x := unknown_function(1)", "x := http.send({})"] {
        let order = order(body, json!({}));
        let here = Program::parse(&order.program)
            .and_then(|program| program.evaluate("data.p.x", &order.input, &[]));
        assert!(here.is_err(), "{body}");
        assert!(matches!(cage().evaluate(&order), Err(CageError::Failed { .. })), "{body}");
    }
    let huge = format!("package p\n#{}", "x".repeat(Program::MAX_BYTES));
    assert!(matches!(Program::parse(&huge), Err(EngineError::TooLarge)));
}

#[test]
fn a_program_without_a_rule_is_only_parsed() {
    let parse = |text: &str| {
        cage().evaluate(&Order { program: text.to_owned(), rule: None, input: Value::Null })
    };
    assert_eq!(parse("package p\nx := 1").unwrap(), None);
    assert!(matches!(parse("package p\nx := ("), Err(CageError::Failed { .. })));
}

#[test]
fn functions_of_the_caller_are_called() {
    let double = Function {
        name: "double",
        arguments: 1,
        body: Arc::new(|arguments| {
            let n = arguments.first().and_then(Value::as_i64).unwrap();
            json!(n * 2)
        }),
    };
    let program = Program::parse("package p\nimport rego.v1\nx := double(input.n)").unwrap();
    let found = program.evaluate("data.p.x", &json!({"n": 21}), &[double]).unwrap();
    assert_eq!(found, Some(json!(42)));
}

const ENDLESS: &str = "n := numbers.range(1, 3000)\n\
    x if { count({[a, b, c] | some a in n; some b in n; some c in n}) > 0 }";

#[test]
fn time_is_capped() {
    let begin = Instant::now();
    let order = order(ENDLESS, json!({}));
    let here = Program::parse(&order.program).unwrap().evaluate("data.p.x", &json!({}), &[]);
    assert!(matches!(here, Err(EngineError::Evaluation { .. })), "{here:?}");
    assert!(cage().evaluate(&order).is_err());
    assert!(begin.elapsed() < Duration::from_secs(30));
}

/// Rules of which each one's string is twice as long as the last one's: the n-th has 16 << n bytes.
fn doubled(times: u32) -> String {
    (0..times).fold(String::from("s0 := \"0123456789abcdef\"\n"), |body, n| {
        body + &format!("s{} := concat(\"\", [s{n}, s{n}])\n", n + 1)
    })
}

#[test]
fn memory_is_capped_in_a_cage() {
    let found = cage().evaluate(&order(&(doubled(28) + "x if { count(s28) > 0 }"), json!({})));
    assert!(matches!(found, Err(CageError::Died)), "{found:?}");
}

#[test]
fn a_program_that_breaks_its_process_is_an_error() {
    // As deep as the cap on programs lets it be: a parser that recurses has no such stack.
    let deep = format!("x := {}1{}", "[".repeat(60_000), "]".repeat(60_000));
    assert!(cage().evaluate(&order(&deep, json!({}))).is_err());
}

#[test]
fn an_answer_that_is_too_large_is_an_error() {
    let found = cage().evaluate(&order(&(doubled(17) + "x := s17"), json!({})));
    assert!(matches!(found, Err(CageError::Answer)));
}

#[test]
fn a_cage_without_a_child_is_an_error() {
    let none = Cage::new(PathBuf::from("/no/such/program"), Reaping::Here);
    assert!(matches!(none.evaluate(&order("x := 1", json!({}))), Err(CageError::Spawn { .. })));
    // A program that does not answer as a child does.
    let mute = Cage::new(PathBuf::from("/bin/true"), Reaping::Here);
    assert!(matches!(mute.evaluate(&order("x := 1", json!({}))), Err(CageError::Died)));
}
