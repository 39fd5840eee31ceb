// SPDX-License-Identifier: Apache-2.0
//! Measures a decision of the typed monitor beside an equal rule in Rego, on a policy with 100
//! containers: `cargo run --release -p casemate-rego-engine --features rego --example decision_cost`.
//!
//! Prints one JSON object; times in nanoseconds. Both judge the same honest request for a container;
//! the monitor also rolls its change back. Rego is given every advantage: a warm engine that has read
//! policy and rule already, the input as a value (`regorus_ns`) or as the text that requests come as
//! (`regorus_from_text_ns`), no process of its own, no patterns to match and no state.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a measurement that cannot be taken ends"
)]

use std::time::Instant;

use casemate_policy::Policy;
use casemate_policy_monitor::CreateRequest;
use casemate_policy_monitor::Monitor;
use casemate_policy_monitor::ReferenceMonitor;
use casemate_policy_rules::CreateContainer;
use casemate_policy_rules::Input;
use casemate_policy_rules::Request;
use regorus::Engine;
use serde_json::json;

/// What the guards of the monitor check of a container, as far as Rego can without functions for
/// patterns: holes are taken as they come.
const RULE: &str = r#"
package casemate
import rego.v1

default allow := false

container := data.policy.containers[input.fields.name]

allow if {
    input.request == "CreateContainer"
    endswith(container.image, sprintf("@%s", [input.fields.image_digest]))
    container.argv == input.fields.argv
    container.cwd == input.fields.cwd
    container.terminal == input.fields.terminal
    container.stdin == input.fields.stdin
    container.readonly_rootfs == input.fields.readonly_rootfs
    variables_fit
    variables_complete
    mounts_fit
}

given[name] := value if {
    some variable in input.fields.env
    [name, value] := split(variable, "=")
}

exact[variable.name] := variable.value if some variable in container.env

holes contains hole.name if some hole in container.env_holes

variables_fit if {
    every name, value in given { variable_fits(name, value) }
}

variable_fits(name, value) if exact[name] == value

variable_fits(name, _) if {
    not exact[name]
    name in holes
}

variables_complete if {
    every name, _ in exact { given[name] }
    every hole in container.env_holes { hole_is_filled(hole) }
}

hole_is_filled(hole) if not hole.required

hole_is_filled(hole) if given[hole.name]

mounts_fit if {
    every mount in input.fields.mounts {
        some granted in container.mounts
        granted.destination == mount.destination
        upper(replace(granted.kind, "-", "_")) == mount.kind
    }
}
"#;

fn main() {
    let policy = Policy::parse(policy_text().as_bytes()).unwrap();
    let request = request();

    let mut monitor = Monitor::new(policy.clone()).unwrap();
    let mut typed = measure(20_000, || {
        let (_, pending) = monitor.create(&request).unwrap();
        monitor.rollback(pending);
    });

    let mut engine = Engine::new();
    engine.add_policy("policy.rego".to_owned(), RULE.to_owned()).unwrap();
    engine.add_data_json(&json!({ "policy": policy }).to_string()).unwrap();
    let wrapped = Request::CreateContainer(CreateContainer::from(&request));
    let text = serde_json::to_string(&Input::new(&wrapped, Some("c50"), None)).unwrap();
    let input = regorus::Value::from_json_str(&text).unwrap();
    let mut allow = || {
        engine.set_input(input.clone());
        engine.eval_rule("data.casemate.allow".to_owned()).unwrap()
    };
    assert_eq!(allow(), regorus::Value::from(true));
    let mut rego = measure(500, || drop(allow()));
    let mut from_text = measure(500, || {
        engine.set_input_json(&text).unwrap();
        engine.eval_rule("data.casemate.allow".to_owned()).unwrap();
    });
    let mut denied = request.clone();
    denied.argv.push("--more".to_owned());
    let wrapped = Request::CreateContainer(CreateContainer::from(&denied));
    let denied = serde_json::to_string(&Input::new(&wrapped, Some("c50"), None)).unwrap();
    engine.set_input(regorus::Value::from_json_str(&denied).unwrap());
    assert_eq!(
        engine.eval_rule("data.casemate.allow".to_owned()).unwrap(),
        regorus::Value::from(false)
    );

    let (typed, rego) = (quantiles(&mut typed), quantiles(&mut rego));
    let from_text = quantiles(&mut from_text);
    let report = json!({
        "containers": CONTAINERS,
        "typed_ns": { "p50": typed.0, "p99": typed.1 },
        "regorus_ns": { "p50": rego.0, "p99": rego.1 },
        "regorus_from_text_ns": { "p50": from_text.0, "p99": from_text.1 },
        "times_faster": { "p50": rego.0 / typed.0.max(1), "p99": rego.1 / typed.1.max(1) },
    });
    println!("{report}");
}

fn measure(rounds: usize, mut decide: impl FnMut()) -> Vec<u128> {
    for _ in 0..rounds / 10 {
        decide();
    }
    (0..rounds)
        .map(|_| {
            let begin = Instant::now();
            decide();
            begin.elapsed().as_nanos()
        })
        .collect()
}

fn quantiles(times: &mut [u128]) -> (u128, u128) {
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

fn policy_text() -> String {
    let container = |n: u32| {
        let env: String = (0..VARIABLES)
            .map(|v| format!("    {{ name = \"VARIABLE_{v}\", value = \"value {n} {v}\" }},\n"))
            .collect();
        format!(
            r#"
[containers.c{n}]
image = "registry.example/c{n}@{DIGEST}"
encryption = "required"
argv = ["/bin/program", "--number", "{n}", "--more", "x"]
cwd = "/srv"
user = {{ uid = 1000, gid = 1000 }}
env = [
{env}]
env_holes = [
    {{ name = "HOSTNAME", value = "[a-z0-9-]+", required = true }},
    {{ name = "POD_IP", value = "[0-9.]+" }},
]
logs = "host-visible"
readonly_rootfs = true
mounts = [
    {{ destination = "/etc/hosts", kind = "hosts", readonly = true }},
    {{ destination = "/etc/resolv.conf", kind = "resolv-conf", readonly = true }},
    {{ destination = "/dev/shm", kind = "shm" }},
]
no_new_privileges = true
seccomp = "default"
signals = [9, 15]
restart = "always"
"#
        )
    };
    let containers: String = (0..CONTAINERS).map(container).collect();
    format!("version = 1\n{containers}")
}

fn request() -> CreateRequest {
    let env = (0..VARIABLES).map(|v| format!("VARIABLE_{v}=value 50 {v}"));
    let holes = ["HOSTNAME=web-0", "POD_IP=10.0.0.7"].map(str::to_owned);
    let create = json!({"CreateContainer": {
        "id": "c", "name": "c50", "image_digest": DIGEST,
        "argv": ["/bin/program", "--number", "50", "--more", "x"],
        "env": env.chain(holes).collect::<Vec<_>>(),
        "cwd": "/srv", "stdout": true, "stderr": true, "readonly_rootfs": true,
        "mounts": [
            {"destination": "/etc/hosts", "kind": "HOSTS", "readonly": true},
            {"destination": "/etc/resolv.conf", "kind": "RESOLV_CONF", "readonly": true},
            {"destination": "/dev/shm", "kind": "SHM"},
        ],
    }});
    match serde_json::from_value(create).unwrap() {
        Request::CreateContainer(create) => create.request(),
        _ => unreachable!("it is a create"),
    }
}

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const CONTAINERS: u32 = 100;
const VARIABLES: u32 = 10;
