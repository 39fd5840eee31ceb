// SPDX-License-Identifier: Apache-2.0
//! Differential test against `regopy` 1.5.2 (rego-cpp), an independent implementation of Rego: the
//! same rules give the same verdict on the same input.
//!
//! | difference | why |
//! |---|---|
//! | `not` within `every` | the other engine calls `every x in xs { not f(x) }` true whatever `f` says; the language does not, and our tests hold it to that |
//! | functions beyond the language's core (`regex.match` and the like) | the other engine has them; here they are unknown, and such rules deny |

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by a panic and says why it skips"
)]

mod support;

use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use casemate_policy_monitor::ReferenceMonitor;
use casemate_policy_rules::Asked;
use casemate_policy_rules::Input;
use casemate_policy_rules::Request;
use casemate_policy_rules::container_name;
use casemate_rego_engine::Program;
use serde_json::Value;
use serde_json::json;

/// A Python with the other engine: named by the environment, or where `cargo xtask` installs it.
fn python() -> Option<PathBuf> {
    let path = match std::env::var_os("CASEMATE_REGOPY_PYTHON") {
        Some(path) => PathBuf::from(path),
        None => {
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/casemate/venv/bin/python3")
        }
    };
    let mut import = Command::new(&path);
    import.args(["-c", "import regopy"]).stderr(Stdio::null());
    if import.status().is_ok_and(|status| status.success()) {
        return Some(path);
    }
    let why = format!("{} has no regopy", path.display());
    assert!(std::env::var_os("CASEMATE_REQUIRE").is_none(), "{why}");
    eprintln!("skipped: {why}");
    None
}

const SCRIPT: &str = r#"
import json, sys
from regopy import Interpreter
answers = []
for case in json.load(sys.stdin):
    interpreter = Interpreter()
    try:
        interpreter.add_module("policy.rego", case["program"])
        interpreter.set_input(case["input"])
        answer = json.loads(str(interpreter.query("data.casemate.allow")))
        values = answer.get("expressions")
        answers.append(len(values) == 1 and values[0] is True)
    except Exception:
        answers.append(False)
print(json.dumps(answers))
"#;

fn theirs(python: &Path, cases: &Value) -> Vec<bool> {
    let mut child = Command::new(python)
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(cases.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    // It prints its messages to standard output too.
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

fn ours(program: &str, input: &Value) -> bool {
    let found = Program::parse(program)
        .and_then(|program| program.evaluate("data.casemate.allow", input, &[]));
    matches!(found, Ok(Some(Value::Bool(true))))
}

/// What the rules see of each request of an honest host, and of some others.
fn inputs() -> Vec<Value> {
    let mut monitor = support::typed();
    let mut inputs = Vec::new();
    for request in support::judged() {
        let grant = match request.ask(&mut monitor).unwrap() {
            Asked::Reserved { pending, grant } => {
                monitor.commit(pending);
                grant
            }
            Asked::Done => None,
        };
        let id = match &request {
            Request::SetNetwork(_) | Request::PutVolume(_) => None,
            _ => Some("c1"),
        };
        let name = id.and_then(|id| container_name(&monitor, id));
        inputs.push(serde_json::to_value(Input::new(&request, name, grant.as_ref())).unwrap());
    }
    let create = inputs.iter().find(|input| input["request"] == "CreateContainer").unwrap().clone();
    let with = |pointer: &str, value: Value| {
        let mut input = create.clone();
        *input.pointer_mut(pointer).unwrap() = value;
        input
    };
    inputs.extend([
        with("/granted/env/POD_IP", json!("192.168.0.9")),
        with("/granted/env/MODE", json!("")),
        with("/fields/argv", json!(["/bin/web", "--debug", "é\u{1f980}"])),
        with("/fields/mounts", json!([{"destination": "/x", "kind": "CONTENT", "readonly": true}])),
        with("/granted/uid", json!(0)),
        with("/container", json!("other")),
        json!({}),
        json!(null),
    ]);
    inputs
}

const BODIES: &[&str] = &[
    "allow := true",
    "allow := false",
    "allow := 1",
    "allow := \"true\"",
    "default allow := false",
    "default allow := true",
    "default allow := true\nallow := false if input.request == \"Signal\"",
    "allow if input.request == \"CreateContainer\"",
    "allow if input.request != \"CreateContainer\"",
    "allow if not input.granted",
    "allow if not input.granted.stdout",
    "allow if input.granted.uid > 0",
    "allow if input.granted.uid >= 0",
    "allow if startswith(input.granted.env.POD_IP, \"10.0.\")",
    "allow if endswith(input.container, \"eb\")",
    "allow if contains(input.fields.argv[0], \"/web\")",
    "allow if count(input.fields.argv) == 1",
    "allow if count(input.fields.argv) > 1",
    "allow if { every argument in input.fields.argv { startswith(argument, \"/\") } }",
    "allow if { some argument in input.fields.argv\n is_debug(argument) }\nis_debug(x) if x == \"--debug\"",
    "allow if { some argument in input.fields.argv\n argument == \"--debug\" }",
    "allow if \"/bin/web\" in input.fields.argv",
    "allow if input.request in {\"Stats\", \"Pids\"}",
    "allow if input.fields.signal in [9, 15]",
    "allow if { input.fields.signal == 15; input.fields.all == false }",
    "allow if input.fields.memory_limit <= 67108864",
    "allow if input.fields.memory_limit < 67108864",
    "allow if { split(input.granted.env.POD_IP, \".\")[3] == \"7\" }",
    "allow if to_number(split(input.granted.env.POD_IP, \".\")[3]) > 8",
    "allow if object.get(input, [\"granted\", \"env\", \"MODE\"], \"none\") == \"none\"",
    "allow if object.get(input.granted.env, \"NONE\", \"d\") == \"d\"",
    "allow if lower(upper(input.container)) == \"web\"",
    "allow if trim_prefix(input.fields.cwd, \"/\") == \"\"",
    "allow if sprintf(\"%s-%d\", [input.request, input.version]) == \"Stats-1\"",
    "allow if concat(\"+\", input.fields.argv) == \"/bin/probe+-x\"",
    "allow if { names := {name | input.granted.env[name]}\n names == {\"MODE\", \"POD_IP\"} }",
    "allow if { sizes := [file.size | some file in input.fields.files]\n sum(sizes) <= 1 }",
    "allow if { max([file.size | some file in input.fields.files]) < 1 }",
    "allow if is_string(input.container)",
    "allow if { denied := {m | some m in input.fields.mounts; not m.readonly}\n count(denied) == 0 }",
    "deny contains \"x\" if input.request == \"ExecProcess\"\nallow if count(deny) == 0",
    "deny contains m if { some m in input.fields.mounts; m.kind == \"CONTENT\" }\nallow if count(deny) == 0",
    "allow if input.fields.routes[_].gateway == \"10.0.0.1\"",
    "allow if input.no.such.thing == 1",
    "allow if input.version / 0 == 1",
    "allow if input.version + \"x\" == 1",
    "allow if 1 == 1.0",
    "x := 1\nx := 2\nallow if x == 1",
    "allow if { walk_free := json.unmarshal(\"{\\\"a\\\": 1}\")\n walk_free.a == 1 }",
    "allow if array.concat([1], [2]) == [1, 2]",
    "allow if {1, 2} & {2, 3} == {2}",
    "allow if numbers.range(1, 3) == [1, 2, 3]",
];

#[test]
fn both_engines_give_the_same_verdicts() {
    let Some(python) = python() else { return };
    let inputs = inputs();
    let mut cases = Vec::new();
    for body in BODIES {
        let program = format!("package casemate\nimport rego.v1\n{body}\n");
        cases.extend(inputs.iter().map(|input| json!({ "program": program, "input": input })));
    }
    let theirs = theirs(&python, &Value::from(cases.clone()));
    assert_eq!(theirs.len(), cases.len());
    let (mut yes, mut differ) = (0, Vec::new());
    for (case, theirs) in cases.iter().zip(theirs) {
        let ours = ours(case["program"].as_str().unwrap(), &case["input"]);
        if ours != theirs {
            differ.push(format!("ours {ours}, theirs {theirs}: {case}"));
        }
        yes += usize::from(ours);
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    assert!(yes > 100 && yes < cases.len() - 100, "{yes} of {}", cases.len());
}

#[test]
fn functions_that_only_the_other_engine_has_deny_here() {
    for body in [
        "allow if regex.match(\"^web$\", input.container)",
        "allow if net.cidr_contains(\"10.0.0.0/8\", input.granted.env.POD_IP)",
        "allow if glob.match(\"w*\", [], input.container)",
        "allow if time.now_ns() > 0",
        "allow if http.send({\"method\": \"get\", \"url\": \"http://127.0.0.1/\"}).status_code == 200",
        "allow if opa.runtime() != null",
    ] {
        let program = format!("package casemate\nimport rego.v1\n{body}\n");
        assert!(!inputs().iter().any(|input| ours(&program, input)), "{body}");
    }
}
