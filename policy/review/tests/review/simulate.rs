// SPDX-License-Identifier: Apache-2.0
//! Replays: what is asked, what is answered, and where to look.

use casemate_policy_monitor::Monitor;
use casemate_policy_review::Answer;
use casemate_policy_review::Document;
use casemate_policy_review::Event;
use casemate_policy_review::Problem;
use casemate_policy_review::Step;
use casemate_policy_review::StepError;
use casemate_policy_review::Verdict;
use casemate_policy_review::example;
use casemate_policy_review::simulate;
use serde_json::Value;
use serde_json::json;

use crate::support::FULL;
use crate::support::SMALL;
use crate::support::expect;
use crate::support::read;

fn replay(document: &Document, list: &[Value]) -> Vec<Answer> {
    let steps = Step::read_list(&Value::from(list).to_string()).unwrap();
    let mut monitor = Monitor::new(document.policy.clone()).unwrap();
    simulate(document, &mut monitor, &steps)
}

fn honest(document: &Document) -> Vec<Value> {
    example(&document.policy).unwrap().iter().map(Step::to_json).collect()
}

#[test]
fn an_honest_host_is_granted_everything() {
    for text in [SMALL, FULL] {
        let document = read(text);
        let answers = replay(&document, &honest(&document));
        let denied: Vec<_> = answers.iter().filter(|a| a.verdict == Verdict::Denied).collect();
        assert!(denied.is_empty(), "{denied:#?}");
        assert!(answers.iter().all(|answer| answer.as_expected));
        assert!(answers.len() > 6);
    }
}

/// With a hole that every request for the container must fill.
fn with_hole(name: &str, value: &str) -> Document {
    let hole = format!("{{ name = '{name}', value = '{value}', required = true }}");
    let text = SMALL.replacen("env_holes = [", &format!("env_holes = [{hole}, "), 1);
    assert_ne!(text, SMALL);
    read(&text)
}

#[test]
fn an_example_runs_as_it_is_printed() {
    // None of these takes one of the usual values.
    for value in
        ["[x-z]{3}-[0-9]{12}", "(red|green)#[0-9a-f]{6}", r"v[0-9]+\.[0-9]+", "[^a-z0-9]{2}"]
    {
        let document = with_hole("EXTRA_(ONE|TWO)", value);
        let answers = replay(&document, &honest(&document));
        assert!(answers.iter().all(|answer| answer.as_expected), "{value}: {answers:#?}");
    }
    // An example that would be denied is none.
    let document = with_hole("EXTRA", r"\w{40}");
    let error = example(&document.policy).unwrap_err();
    assert!(error.field.starts_with("containers.") && error.field.ends_with("env_holes[0].value"));
    assert_eq!(error.pattern, r"\w{40}");
}

/// The first request of the name, with one field changed; all that an honest host does before it.
fn denied(name: &str, pointer: &str, value: Value) -> (Answer, Document) {
    let document = read(SMALL);
    let mut list = honest(&document);
    let is_meant = |step: &Value| {
        step[name].is_object() && (name != "CreateContainer" || step[name]["name"] == "web")
    };
    let at = list.iter().position(is_meant).unwrap();
    let field = list[at].pointer_mut(&format!("/{name}{pointer}"));
    *field.unwrap_or_else(|| panic!("{name}{pointer}")) = value;
    list.truncate(at + 1);
    let answer = replay(&document, &list).pop().unwrap();
    assert_eq!(answer.verdict, Verdict::Denied, "{answer:#?}");
    assert!(!answer.as_expected);
    (answer, document)
}

/// A denial with its code, and the line of the policy that it points at.
fn check(name: &str, pointer: &str, value: Value, code: &str, policy_field: &str, line: &str) {
    let (answer, document) = denied(name, pointer, value);
    assert_eq!(answer.code, Some(code), "{answer:#?}");
    assert_eq!(answer.policy_field.as_deref(), Some(policy_field), "{answer:#?}");
    let place = answer.place.unwrap();
    assert_eq!(document.text.lines().nth(place.line - 1).unwrap().trim(), line, "{place:?}");
    assert!(answer.sentence.contains(" is denied: "), "{}", answer.sentence);
}

#[test]
fn a_denial_points_at_the_line() {
    let argv = r#"argv = ["/bin/web", "--port", "8443"]"#;
    check("CreateContainer", "/argv/2", json!("80"), "policy.argv", "containers.web.argv[2]", argv);
    check(
        "CreateContainer",
        "/image_digest",
        json!("sha256:00"),
        "policy.image",
        "containers.web.image",
        r#"image = "registry.example/web@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855""#,
    );
    check(
        "CreateContainer",
        "/cwd",
        json!("/"),
        "policy.cwd",
        "containers.web.cwd",
        "cwd = \"/srv\"",
    );
    check(
        "CreateContainer",
        "/env/1",
        json!("MODE=x"),
        "policy.env",
        "containers.web.env[1].value",
        r#"{ name = "MODE", value = "fast" },"#,
    );
    check(
        "CreateContainer",
        "/env/1",
        json!("LD_PRELOAD=x"),
        "policy.env",
        "containers.web.env_holes",
        "env_holes = [",
    );
    check(
        "CreateContainer",
        "/env/2",
        json!("HOSTNAME=other"),
        "policy.env",
        "containers.web.env_holes[0].value",
        r#"{ name = "HOSTNAME", value = "web-[0-9]+", required = true },"#,
    );
    check(
        "CreateContainer",
        "/env",
        json!(["PATH=/bin", "MODE=fast"]),
        "policy.env",
        "containers.web.env_holes[0]",
        r#"{ name = "HOSTNAME", value = "web-[0-9]+", required = true },"#,
    );
    check(
        "CreateContainer",
        "/mounts/0/kind",
        json!("EMPTY_DIR"),
        "policy.mount",
        "containers.web.mounts[0]",
        r#"{ destination = "/conf", kind = "volume", readonly = true, volume = "conf" },"#,
    );
    check(
        "CreateContainer",
        "/stdin",
        json!(true),
        "policy.stdio",
        "containers.web.stdin",
        "[containers.web]",
    );
    check(
        "CreateContainer",
        "/readonly_rootfs",
        json!(false),
        "policy.rootfs",
        "containers.web.readonly_rootfs",
        "readonly_rootfs = true",
    );
    check(
        "CreateContainer",
        "/name",
        json!("other"),
        "policy.container",
        "containers",
        "[containers.init]",
    );
    check(
        "ExecProcess",
        "/argv/1",
        json!("-y"),
        "policy.exec",
        "containers.web.exec[0].argv",
        r#"{ argv = ["/bin/probe", "-x"], purpose = "liveness-probe" },"#,
    );
    check(
        "ExecProcess",
        "/argv/0",
        json!("/bin/sh"),
        "policy.exec",
        "containers.web.exec",
        "exec = [",
    );
    check(
        "ExecProcess",
        "/stdin",
        json!(true),
        "policy.stdio",
        "containers.web.exec[0].stdin",
        r#"{ argv = ["/bin/probe", "-x"], purpose = "liveness-probe" },"#,
    );
    check(
        "Signal",
        "/signal",
        json!(1),
        "policy.signal",
        "containers.web.signals",
        "signals = [9, 15]",
    );
    check(
        "SetNetwork",
        "/hostname",
        json!("evil"),
        "policy.network",
        "sandbox.hostname",
        "hostname = \"web-[0-9]+\"",
    );
    check(
        "PutVolume",
        "/files/0/sha256",
        json!("sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        "policy.volume",
        "volumes.conf.files.app.conf",
        r#"files = { "app.conf" = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" }"#,
    );
}

#[test]
fn order_counts_and_figures_point_at_their_fields() {
    let document = read(SMALL);
    let list = honest(&document);
    let create = list.iter().find(|step| step["CreateContainer"]["name"] == "web").unwrap().clone();
    let before = |steps: &[Value]| replay(&document, steps).pop().unwrap();
    let put = list.iter().find(|step| step["PutVolume"].is_object()).unwrap().clone();
    let early = before(&[put, create.clone()]);
    assert_eq!(
        (early.code, early.policy_field.as_deref()),
        (Some("policy.order"), Some("containers.web.after"))
    );

    let with = |more: Value| {
        let mut list = list.clone();
        list.push(more);
        replay(&document, &list).pop().unwrap()
    };
    let mut second = create;
    second["CreateContainer"]["id"] = json!("web-2");
    let twice = with(second);
    assert_eq!(
        (twice.code, twice.policy_field.as_deref()),
        (Some("policy.count"), Some("containers.web.restart"))
    );
    let stats = with(json!({"Stats": {"container_id": "web-1"}}));
    assert_eq!(
        (stats.code, stats.policy_field.as_deref()),
        (Some("policy.metrics"), Some("containers.web.metrics"))
    );
    let grown = with(json!({"Update": {"container_id": "web-1", "memory_limit": 1_u64 << 40}}));
    assert_eq!(
        (grown.code, grown.policy_field.as_deref()),
        (Some("policy.resources"), Some("containers.web.resources.memory"))
    );
    let fits = with(json!({"Update": {"container_id": "web-1", "memory_limit": 67_108_864}}));
    assert_eq!(fits.verdict, Verdict::Granted);
    // What no policy explains points nowhere.
    let unknown = with(json!({"Start": {"container_id": "nobody"}}));
    assert_eq!((unknown.code, unknown.place), (Some("request.id"), None));
}

#[test]
fn expectations_are_compared() {
    let document = read(SMALL);
    let signal = |expect: &str| json!({"Signal": {"process": {"container_id": "web-1"}, "signal": 1}, "expect": expect, "note": "hup"});
    for (expect, met) in
        [("deny", true), ("policy.signal", true), ("policy.argv", false), ("allow", false)]
    {
        let mut list = honest(&document);
        list.retain(|step| step["Signal"].is_null());
        list.push(signal(expect));
        assert_eq!(replay(&document, &list).pop().unwrap().as_expected, met, "{expect}");
    }
}

#[test]
fn answers_are_told_in_sentences() {
    let document = read(SMALL);
    let mut list = honest(&document);
    let at = list.iter().position(|step| step["CreateContainer"]["name"] == "web").unwrap();
    let mut other = list[at].clone();
    other["CreateContainer"]["argv"][2] = json!("80");
    other["CreateContainer"]["id"] = json!("web-0");
    list.insert(at, other);
    list.push(json!({"ExecProcess": {"container_id": "web-1", "exec_id": "e", "argv": ["/bin/sh"], "stdin": true}, "expect": "policy.exec"}));
    let text: String = replay(&document, &list).iter().map(ToString::to_string).collect();
    expect("small.simulate.txt", &text);
}

#[test]
fn refuses_what_is_no_list_of_requests() {
    let refused = |text: &str| Step::read_list(text).unwrap_err();
    assert!(matches!(refused("{}"), StepError::List { .. }));
    assert!(matches!(refused("[1]"), StepError::List { .. }));
    // Which of the two would be asked?
    for twice in [
        r#"[{"Start": {"container_id": "x", "container_id": "y"}}]"#,
        r#"[{"Start": {"container_id": "x"}, "expect": "deny", "expect": "allow"}]"#,
        r#"[{"Start": {"container_id": "x"}, "Start": {"container_id": "y"}}]"#,
    ] {
        assert!(refused(twice).to_string().contains("stands there twice"), "{twice}");
    }
    // A misspelt code would be met by nothing, or worse, never be looked at.
    for code in ["policy.sginal", "denied", "", "allow ", "Policy.argv", "image.untrusted"] {
        let text = json!([{"Start": {"container_id": "x"}, "expect": code}]).to_string();
        let unknown = Problem::UnknownCode { code: code.to_owned() };
        assert_eq!(refused(&text).to_string(), format!("entry 1 of the list: {unknown}"));
    }
    for entry in [
        json!({}),
        json!({"Start": {}, "Delete": {}}),
        json!({"Fly": {}}),
        json!({"Start": {"container": "x"}}),
        json!({"Start": {"container_id": 7}}),
        json!({"Start": {"container_id": "x"}, "expect": 7}),
        json!({"Start": {"container_id": "x"}, "note": 7}),
        json!({"CreateContainer": {"mounts": [{"destination": "/x", "kind": "HOST_PATH"}]}}),
        json!({"CreateContainer": {"hooks": []}}),
    ] {
        let text = json!([{"Start": {"container_id": "x"}}, entry]).to_string();
        assert!(matches!(refused(&text), StepError::Entry { index: 1, .. }), "{text}");
    }
    let many = format!("[{}{{}}]", "{},".repeat(100_001));
    assert!(matches!(refused(&many), StepError::TooMany));
}

#[test]
fn a_step_reads_back_as_it_was_written() {
    for document in [read(SMALL), read(FULL)] {
        for step in example(&document.policy).unwrap() {
            let text = json!([step.to_json()]).to_string();
            assert_eq!(Step::read_list(&text).unwrap(), [step]);
        }
    }
    let Event::Request(request) = &example(&read(SMALL).policy).unwrap()[0].event else {
        panic!("no request")
    };
    assert_eq!(request.name(), "SetNetwork");
}
