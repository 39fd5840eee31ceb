// SPDX-License-Identifier: Apache-2.0
//! Requests as JSON and the owner's rules over them: what is read is written, read again and the same,
//! and rules answer every input, with one answer.

#![no_main]

use std::sync::LazyLock;

use casemate_policy_rules::Input;
use casemate_policy_rules::Request;
use casemate_rego_engine::Program;
use libfuzzer_sys::fuzz_target;

/// Rules that look at texts, numbers and lists of the host's.
const RULES: &str = r#"package casemate
import rego.v1
default allow := false
allow if {
    not dangerous
    every word in object.get(input.fields, "argv", []) { not contains(word, "..") }
}
dangerous if regex.match(`^/(etc|root)(/|$)`, input.fields.cwd)
dangerous if sum([size | some file in input.fields.files; size := count(file.content)]) > 9
dangerous if to_number(split(input.fields.env[_], "=")[1]) > 100
dangerous if input.fields.signal in {9, 15}
dangerous if net.cidr_contains("10.0.0.0/8", input.fields.address)
"#;

static PROGRAM: LazyLock<Program> =
    LazyLock::new(|| Program::parse(RULES).expect("the rules are Rego"));

fuzz_target!(|bytes: &[u8]| {
    let Ok(request) = serde_json::from_slice::<Request>(bytes) else { return };
    let text = serde_json::to_string(&request).expect("a request is JSON");
    assert_eq!(serde_json::from_str::<Request>(&text).expect("what is written is read"), request);
    let input = Input::new(&request, Some("web"), None);
    let input = serde_json::to_value(&input).expect("an input is JSON");
    let answers = [(); 2].map(|()| PROGRAM.evaluate("data.casemate.allow", &input, &[]));
    let [first, second] = answers.map(Result::ok);
    assert_eq!(first, second);
});
