// SPDX-License-Identifier: Apache-2.0
//! A judge around the monitor: it can only deny, and what it denies leaves no trace.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

mod support;

use std::sync::Arc;
use std::sync::Mutex;

use casemate_policy_monitor::Monitor;
use casemate_policy_monitor::ReferenceMonitor;
use casemate_policy_monitor::Rule;
use casemate_policy_rules::AskError;
use casemate_policy_rules::Input;
use casemate_policy_rules::Judge;
use casemate_policy_rules::Narrowed;
use casemate_policy_rules::Refusal;
use casemate_policy_rules::Request;
use casemate_policy_rules::SetupError;
use casemate_policy_rules::monitor;
use proptest::prelude::*;
use serde_json::Value;
use serde_json::json;
use support::granted;
use support::judged;
use support::policy;
use support::request;
use support::typed;

/// Denies requests of one name, and notes what it is asked.
#[derive(Debug, Default, Clone)]
struct Denies {
    name: &'static str,
    refusal: Option<Refusal>,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl Judge for Denies {
    fn judge(&self, input: &Input) -> Result<(), Refusal> {
        self.asked.lock().unwrap().push(serde_json::to_value(input).unwrap());
        match &self.refusal {
            Some(refusal) if input.request == self.name => Err(refusal.clone()),
            _ => Ok(()),
        }
    }
}

fn narrowed(name: &'static str, refusal: Refusal) -> Narrowed {
    let judge = Denies { name, refusal: Some(refusal), ..Denies::default() };
    Narrowed::new(typed(), Box::new(judge))
}

#[test]
fn each_judged_request_can_be_denied_and_leaves_no_trace() {
    for refusal in [Refusal::Denied, Refusal::Failed { message: "deadline of s3cret".to_owned() }] {
        for (index, denied) in judged().iter().enumerate() {
            let mut monitor = narrowed(denied.name(), refusal.clone());
            judged().iter().take(index).for_each(|request| granted(&mut monitor, request));
            if matches!(denied, Request::Start(_)) {
                granted(&mut monitor, denied);
                continue;
            }
            let before = monitor.fingerprint();
            let Err(AskError::Denied(denial)) = denied.ask(&mut monitor) else {
                panic!("{} is not denied", denied.name())
            };
            assert_eq!(denial.rule, Rule::Rules);
            assert_eq!(denial.rule.code(), "policy.rules");
            // A28: the host learns nothing of the rules.
            assert_eq!(
                denial.text,
                format!("the owner's rules do not allow this {}", denied.name())
            );
            assert_eq!(monitor.fingerprint(), before, "{}", denied.name());
        }
    }
}

#[test]
fn what_passes_leaves_the_same_state_as_without_a_judge() {
    let (mut plain, mut judged_by) = (typed(), Narrowed::new(typed(), Box::new(Denies::default())));
    for request in judged() {
        granted(&mut plain, &request);
        granted(&mut judged_by, &request);
        assert_eq!(plain.fingerprint(), judged_by.fingerprint(), "{}", request.name());
    }
}

#[test]
fn a_container_whose_signal_was_denied_still_completes() {
    // A20: a signal that was never sent disturbs nothing.
    let state_after = |mut monitor: Box<dyn ReferenceMonitor>, signal: bool| {
        let steps = judged();
        steps
            .iter()
            .filter(|r| !matches!(r, Request::Signal(_)))
            .for_each(|r| granted(monitor.as_mut(), r));
        if signal {
            let signal = steps.iter().find(|r| matches!(r, Request::Signal(_))).unwrap();
            assert!(signal.ask(monitor.as_mut()).is_err());
        }
        monitor.exited(&casemate_policy_monitor::ProcessRef::init("c1"), 0);
        monitor.fingerprint()
    };
    let with = state_after(Box::new(narrowed("Signal", Refusal::Denied)), true);
    assert_eq!(with, state_after(Box::new(typed()), false));
}

#[test]
fn a_judge_grants_nothing() {
    // Whatever it says, it is not even asked about what the monitor denies.
    let judge = Denies::default();
    let mut monitor = Narrowed::new(typed(), Box::new(judge.clone()));
    let mut wrong = support::create();
    *wrong.pointer_mut("/CreateContainer/argv/0").unwrap() = json!("/bin/sh");
    let Err(AskError::Denied(denial)) = request(wrong).ask(&mut monitor) else { panic!("granted") };
    assert_eq!(denial.rule, Rule::Argv);
    assert!(judge.asked.lock().unwrap().is_empty());
}

#[test]
fn the_input_is_as_documented() {
    let judge = Denies::default();
    let mut monitor = Narrowed::new(typed(), Box::new(judge.clone()));
    judged().iter().for_each(|request| granted(&mut monitor, request));
    let asked = judge.asked.lock().unwrap().clone();
    let names: Vec<&str> = asked.iter().map(|input| input["request"].as_str().unwrap()).collect();
    let expected = [
        "SetNetwork",
        "PutVolume",
        "CreateContainer",
        "ExecProcess",
        "Update",
        "Stats",
        "Pids",
        "Signal",
    ];
    assert_eq!(names, expected);
    let of = |name: &str| asked.iter().find(|input| input["request"] == name).unwrap().clone();
    assert_eq!(
        of("CreateContainer"),
        json!({
            "version": 1, "request": "CreateContainer", "container": "web",
            "fields": {
                "id": "c1", "name": "web", "argv": ["/bin/web"], "env": ["POD_IP=10.0.0.7", "MODE=fast"],
                "image_digest": "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                "cwd": "/", "terminal": false, "stdin": false, "stdout": true, "stderr": false,
                "mounts": [], "readonly_rootfs": false,
            },
            "granted": {
                "env": {"MODE": "fast", "POD_IP": "10.0.0.7"}, "uid": 1000, "gid": 1000,
                "terminal": false, "stdin": false, "stdout": true, "stderr": false,
            },
        })
    );
    assert_eq!(
        of("SetNetwork"),
        json!({
            "version": 1, "request": "SetNetwork",
            "fields": {
                "hostname": "web-0", "addresses": ["10.0.0.0/24"],
                "routes": [{"destination": "0.0.0.0/0", "gateway": "10.0.0.1"}],
                "dns_servers": ["10.96.0.10"], "dns_searches": ["cluster.local"],
            },
        })
    );
    assert_eq!(
        of("Signal"),
        json!({
            "version": 1, "request": "Signal", "container": "web",
            "fields": {"process": {"container_id": "c1", "exec_id": ""}, "signal": 15, "all": false},
        })
    );
    // Never the content itself.
    assert_eq!(
        of("PutVolume")["fields"]["files"],
        json!([{
            "name": "a", "size": 1,
            "sha256": "sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
        }])
    );
    assert_eq!(of("Update")["fields"], json!({"container_id": "c1", "memory_limit": 67_108_864}));
    assert_eq!(
        of("Stats"),
        json!({"version": 1, "request": "Stats", "container": "web", "fields": {"container_id": "c1"}})
    );
}

#[test]
fn every_request_has_the_fields_of_the_api() {
    // What stands left is the least that a document must have; right, the whole shape.
    let kinds = [
        "HOSTS",
        "HOSTNAME",
        "RESOLV_CONF",
        "TERMINATION_LOG",
        "SHM",
        "EMPTY_DIR",
        "CONTENT",
        "OTHER",
    ];
    let mounts = kinds.map(|kind| json!({"destination": "/x", "kind": kind, "readonly": false}));
    let least = kinds.map(|kind| json!({"destination": "/x", "kind": kind}));
    let process = json!({"container_id": "", "exec_id": ""});
    for (name, least, whole) in [
        ("CloseStdin", json!({}), process.clone()),
        (
            "CreateContainer",
            json!({"mounts": least}),
            json!({
                "id": "", "name": "", "image_digest": "", "argv": [], "env": [], "cwd": "",
                "terminal": false, "stdin": false, "stdout": false, "stderr": false,
                "mounts": mounts, "readonly_rootfs": false,
            }),
        ),
        ("Delete", json!({"exec_id": "e"}), json!({"container_id": "", "exec_id": "e"})),
        (
            "ExecProcess",
            json!({}),
            json!({
                "container_id": "", "exec_id": "", "argv": [], "env": [], "cwd": "",
                "terminal": false, "stdin": false, "stdout": false, "stderr": false,
            }),
        ),
        ("Pids", json!({}), json!({"container_id": ""})),
        ("PutVolume", json!({"files": [{}]}), json!({"volume": "", "files": [{"name": ""}]})),
        ("ResizePty", json!({}), json!({"process": process, "width": 0, "height": 0})),
        (
            "SetNetwork",
            json!({"routes": [{}]}),
            json!({
                "hostname": "", "addresses": [], "routes": [{"destination": ""}],
                "dns_servers": [], "dns_searches": [],
            }),
        ),
        ("Signal", json!({}), json!({"process": process, "signal": 0, "all": false})),
        ("Start", json!({}), process.clone()),
        ("State", json!({}), process.clone()),
        ("Stats", json!({}), json!({"container_id": ""})),
        ("TerminationMessage", json!({}), json!({"container_id": ""})),
        ("Update", json!({"pids": null}), json!({"container_id": ""})),
        (
            "Update",
            json!({"memory_limit": 1, "cpu_millis": 2, "pids": 3}),
            json!({"container_id": "", "memory_limit": 1, "cpu_millis": 2, "pids": 3}),
        ),
        ("Wait", json!({}), process.clone()),
    ] {
        let found = request(json!({ name: least }));
        assert_eq!(found.name(), name);
        assert_eq!(serde_json::to_value(&found).unwrap(), json!({ name: whole }));
        let input = serde_json::to_value(Input::new(&found, None, None)).unwrap();
        assert_eq!(input, json!({"version": 1, "request": name, "fields": whole}));
    }
}

#[test]
fn what_no_request_has_is_no_request() {
    let process = json!({"container_id": "c", "exec": "e"});
    for json in [
        json!({"Start": process}),
        json!({"Start": {"exec_id": null}}),
        json!({"Signal": {"process": process}}),
        json!({"CreateContainer": {"hooks": []}}),
        json!({"CreateContainer": {"mounts": [{"destination": "/x"}]}}),
        json!({"CreateContainer": {"mounts": [{"kind": "SHM"}]}}),
        json!({"CreateContainer": {"mounts": [{"destination": "/x", "kind": null}]}}),
        json!({"CreateContainer": {"mounts": [{"destination": "/x", "kind": "shm"}]}}),
        json!({"CreateContainer": {"mounts": [{"destination": "/x", "kind": "SHM", "source": "/"}]}}),
        json!({"ExecProcess": {"user": 0}}),
        json!({"Update": {"swap": 0}}),
    ] {
        assert!(serde_json::from_value::<Request>(json.clone()).is_err(), "{json}");
    }
}

#[test]
fn the_agents_monitor_is_the_typed_one_without_rules() {
    let (mut found, judge) = monitor(policy(), None).unwrap();
    assert!(judge.is_none());
    judged().iter().for_each(|request| granted(&mut found, request));
    assert!(matches!(found.policy().containers.len(), 1));
}

#[cfg(not(feature = "rego"))]
#[test]
fn rules_that_nothing_evaluates_are_refused() {
    // D16: what this program does not read, the owner must not believe to be in force.
    let found = monitor(policy(), Some("package casemate\nallow := true"));
    let Err(error) = found else { panic!("passed over") };
    assert!(matches!(error, SetupError::NoEngine));
    assert_eq!(error.code(), "initdata.rego");
}

#[test]
fn a_policy_that_breaks_its_format_is_refused() {
    let mut broken = policy();
    broken.version = 2;
    let Err(error) = monitor(broken, None) else { panic!("accepted") };
    assert!(matches!(error, SetupError::Policy { .. }));
    assert_eq!(error.code(), "initdata.invalid");
}

#[test]
fn malformed_documents_are_no_requests() {
    let ask = |json: Value| request(json).ask(&mut Monitor::new(policy()).unwrap()).unwrap_err();
    let bad = ask(json!({"SetNetwork": {"hostname": "x", "addresses": ["10.0.0.7"]}}));
    assert!(matches!(bad, AskError::Malformed(bad) if bad.field == "addresses[0]"));
    let bad =
        ask(json!({"SetNetwork": {"hostname": "x", "routes": [{"destination": "10.0.0.0/99"}]}}));
    assert!(matches!(bad, AskError::Malformed(bad) if bad.field == "routes[0].destination"));
    for file in [
        json!({"name": "a"}),
        json!({"name": "a", "content": "x", "size": 1}),
        json!({"name": "a", "size": 1}),
    ] {
        let bad = ask(json!({"PutVolume": {"volume": "conf", "files": [file]}}));
        assert!(matches!(bad, AskError::Malformed(bad) if bad.field == "files[0]"));
    }
}

proptest! {
    #[test]
    fn a_request_reads_back_as_it_was_written(argv in proptest::collection::vec(".*", 0..4), flag in any::<bool>(), signal in any::<u32>(), size in any::<Option<u64>>()) {
        for json in [
            json!({"CreateContainer": {"id": "c", "argv": argv, "terminal": flag, "mounts": [{"destination": "/x", "kind": "RESOLV_CONF", "readonly": flag}]}}),
            json!({"ExecProcess": {"container_id": "c", "env": argv, "stdin": flag}}),
            json!({"Signal": {"process": {"container_id": "c"}, "signal": signal, "all": flag}}),
            json!({"Update": {"container_id": "c", "pids": size}}),
        ] {
            let request: Request = serde_json::from_value(json).unwrap();
            let again: Request = serde_json::from_value(serde_json::to_value(&request).unwrap()).unwrap();
            prop_assert_eq!(again, request);
        }
    }
}
