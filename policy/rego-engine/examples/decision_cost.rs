// SPDX-License-Identifier: Apache-2.0
//! Measures a decision of the typed monitor beside an equal rule in Rego, on a policy with 100
//! containers of which 50 run: `cargo run --release -p casemate-rego-engine --features rego --example
//! decision_cost`.
//!
//! Prints one JSON object; times in nanoseconds. Both judge the same requests for a container, wholly:
//! ids, image, arguments, environment with its holes, streams, mounts, order, counts, and the
//! environment that is granted. Before anything is measured both must say the same of honest requests
//! and of every altered one. The monitor also reserves its change and rolls it back. Rego is given every
//! advantage: a warm engine that has read policy, rule and state already, the input as a value
//! (`regorus_ns`) or as the text that requests come as (`regorus_from_text_ns`), no process of its own,
//! patterns compiled once and matched by the monitor's own engine, and a state that never changes.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a measurement that cannot be taken ends"
)]

#[path = "../../monitor/examples/hundred/mod.rs"]
mod hundred;

use std::collections::HashMap;
use std::time::Instant;

use casemate_policy::Pattern;
use casemate_policy::Policy;
use casemate_policy_monitor::CreateRequest;
use casemate_policy_monitor::Monitor;
use casemate_policy_monitor::ProcessRef;
use casemate_policy_monitor::ReferenceMonitor;
use casemate_policy_rules::Input;
use casemate_policy_rules::Request;
use hundred::CONTAINERS;
use hundred::create;
use hundred::id;
use hundred::policy_text;
use hundred::with_another_mount;
use regorus::Engine;
use regorus::Value;
use serde_json::json;

fn main() {
    let policy = Policy::parse(policy_text().unwrap().as_bytes()).unwrap();
    let mut monitor = Monitor::new(policy.clone()).unwrap();
    let mut running = serde_json::Map::new();
    let mut history = serde_json::Map::new();
    for number in 0..CONTAINERS / 2 {
        let request = create(number);
        let (_, pending) = monitor.create(&request).unwrap();
        monitor.commit(pending);
        let pending = monitor.start(&ProcessRef::init(&id(number))).unwrap();
        monitor.commit(pending);
        running.insert(id(number), json!({"name": request.name, "alive": true, "running": true}));
        history.insert(request.name, json!({"starts": 1, "ended_well": false, "completed": false}));
    }
    let state = json!({
        "poisoned": false, "containers": running, "spent": {}, "history": history, "volumes": {},
    });
    let mut engine = engine(&json!({ "policy": policy, "state": state }));

    let honest: Vec<_> = (CONTAINERS / 2..CONTAINERS).map(create).collect();
    for request in honest.iter().cloned().chain(altered()) {
        let typed = monitor.create(&request).map(|(grant, pending)| {
            monitor.rollback(pending);
            grant.env
        });
        let rego = engine.answer(&value(&request));
        let expected = match typed {
            Ok(env) => json!({"allow": true, "env": env}),
            Err(_) => json!({"allow": false}),
        };
        assert_eq!(rego.to_json_str().unwrap().parse::<serde_json::Value>().unwrap(), expected);
    }

    let mut requests = honest.iter().cycle();
    let mut typed = measure(20_000, || {
        let (_, pending) = monitor.create(requests.next().unwrap()).unwrap();
        monitor.rollback(pending);
    });
    let values: Vec<_> = honest.iter().map(value).collect();
    let mut inputs = values.iter().cycle();
    let mut rego = measure(2_000, || drop(engine.answer(inputs.next().unwrap())));
    let texts: Vec<_> = honest.iter().map(text).collect();
    let mut inputs = texts.iter().cycle();
    let mut from_text = measure(2_000, || {
        let input = Value::from_json_str(inputs.next().unwrap()).unwrap();
        drop(engine.answer(&input));
    });

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

/// An engine that has read the rule, with the monitor's patterns as a function.
struct Warm(Engine);

fn engine(data: &serde_json::Value) -> Warm {
    let mut engine = Engine::new();
    let mut patterns: HashMap<String, Pattern> = HashMap::new();
    let fits = move |arguments: Vec<Value>| {
        let (pattern, text) = (arguments[0].as_string()?, arguments[1].as_string()?);
        if !patterns.contains_key(pattern.as_ref()) {
            patterns.insert(pattern.to_string(), Pattern::new(pattern)?);
        }
        Ok(Value::from(patterns[pattern.as_ref()].matches(text)))
    };
    engine.add_extension("fits".to_owned(), 2, Box::new(fits)).unwrap();
    engine.add_policy("policy.rego".to_owned(), RULE.to_owned()).unwrap();
    engine.add_data_json(&data.to_string()).unwrap();
    Warm(engine)
}

impl Warm {
    fn answer(&mut self, input: &Value) -> Value {
        self.0.set_input(input.clone());
        self.0.eval_rule("data.casemate.answer".to_owned()).unwrap()
    }
}

fn text(request: &CreateRequest) -> String {
    let wrapped = Request::CreateContainer(request.clone());
    serde_json::to_string(&Input::new(&wrapped, Some(&request.name), None)).unwrap()
}

fn value(request: &CreateRequest) -> Value {
    Value::from_json_str(&text(request)).unwrap()
}

/// Requests that differ from an honest one in one thing.
fn altered() -> Vec<CreateRequest> {
    let change = |change: fn(&mut CreateRequest)| {
        let mut request = create(CONTAINERS - 1);
        change(&mut request);
        request
    };
    vec![
        with_another_mount(create(CONTAINERS - 1)),
        change(|r| r.id = "-".to_owned()),
        change(|r| r.id = id(0)),
        change(|r| r.name = "other".to_owned()),
        change(|r| r.name = "container-0".to_owned()),
        change(|r| r.image_digest.push('0')),
        change(|r| r.argv.push("--more".to_owned())),
        change(|r| drop(r.argv.pop())),
        change(|r| r.cwd = "/".to_owned()),
        change(|r| r.cwd.push('/')),
        change(|r| r.terminal = true),
        change(|r| r.stdin = true),
        change(|r| r.readonly_rootfs = true),
        change(|r| r.env.push("LD_PRELOAD=/x.so".to_owned())),
        change(|r| r.env.push("VARIABLE_0=value number 0".to_owned())),
        change(|r| r.env.push("NOTHING".to_owned())),
        change(|r| r.env.push("=x".to_owned())),
        change(|r| r.env[0].push('x')),
        change(|r| drop(r.env.remove(0))),
        change(|r| r.env.retain(|v| !v.starts_with("HOSTNAME="))),
        change(|r| r.env.retain(|v| !v.starts_with("KUBERNETES_"))),
        change(|r| r.env.push("KUBERNETES_PORT_1_TCP_PORT=x".to_owned())),
        change(|r| r.mounts[6].readonly = true),
        change(|r| r.mounts[6].kind = None),
        change(|r| drop(r.mounts.pop())),
        change(|r| drop(r.mounts.remove(0))),
        change(|r| r.mounts.push(r.mounts[0].clone())),
        change(|r| r.mounts[6].destination.push('/')),
    ]
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

/// What the guards of the monitor check of a request for a container, and what it grants.
const RULE: &str = r#"
package casemate
import rego.v1

default answer := {"allow": false}

answer := {"allow": true, "env": array.concat(exact_env, filled_env)} if allow

container := data.policy.containers[input.fields.name]

past := object.get(data.state.history, input.fields.name, {"starts": 0, "ended_well": false, "completed": false})

allow if {
    not data.state.poisoned
    input.request == "CreateContainer"
    count(input.fields.id) <= 128
    fits("[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", input.fields.id)
    not data.state.containers[input.fields.id]
    not data.state.spent[input.fields.id]
    [_, digest] := split(container.image, "@")
    digest == input.fields.image_digest
    container.argv == input.fields.argv
    env_is_formed
    every name, value in given { variable_fits(name, value) }
    variables_complete
    container.cwd == trimmed(input.fields.cwd)
    container.terminal == input.fields.terminal
    container.stdin == input.fields.stdin
    container.readonly_rootfs == input.fields.readonly_rootfs
    count(destinations) == count(input.fields.mounts)
    every mount in input.fields.mounts { mount_fits(mount) }
    mounts_complete
    mounts_filled
    in_order
    count_fits
}

given[name] := value if {
    some variable in input.fields.env
    at := indexof(variable, "=")
    name := substring(variable, 0, at)
    value := substring(variable, at + 1, -1)
}

env_is_formed if {
    count(given) == count(input.fields.env)
    every variable in input.fields.env {
        indexof(variable, "=") > 0
        not contains(variable, "\u0000")
    }
}

exact[variable.name] := variable.value if some variable in container.env

variable_fits(name, value) if exact[name] == value

variable_fits(name, _) if filled[name]

filled[name] := number if {
    some name, value in given
    not exact[name]
    number := min([n | some n, hole in container.env_holes; fits(hole.name, name); fits(hole.value, value)])
}

variables_complete if {
    every name, _ in exact { given[name] }
    every number, hole in container.env_holes { hole_is_filled(number, hole) }
}

hole_is_filled(_, hole) if not hole.required

hole_is_filled(number, _) if {
    some other in filled
    other == number
}

exact_env := [concat("=", [variable.name, variable.value]) | some variable in container.env]

# By hole, then by name.
filled_env := [concat("=", [name, given[name]]) |
    some pair in sort([[number, name] | some name, number in filled])
    name := pair[1]
]

trimmed(path) := "/" if {
    startswith(path, "/")
    trim_right(path, "/") == ""
} else := trim_right(path, "/")

destinations contains trimmed(mount.destination) if some mount in input.fields.mounts

policy_mounts[mount.destination] := mount if some mount in container.mounts

mount_fits(mount) if {
    granted := policy_mounts[trimmed(mount.destination)]
    mount.kind == wish(granted)
    flag_fits(granted, mount)
}

flag_fits(granted, _) if granted.kind != "volume"

flag_fits(granted, mount) if granted.readonly == mount.readonly

wish(granted) := upper(replace(granted.kind, "-", "_")) if granted.kind != "volume"

wish(granted) := "EMPTY_DIR" if {
    granted.kind == "volume"
    data.policy.volumes[granted.volume].kind == "empty-dir"
}

wish(granted) := "CONTENT" if {
    granted.kind == "volume"
    data.policy.volumes[granted.volume].kind != "empty-dir"
}

mounts_complete if {
    every mount in container.mounts { mount_is_asked(mount) }
}

mount_is_asked(mount) if mount.kind != "volume"

mount_is_asked(mount) if mount.destination in destinations

mounts_filled if {
    every mount in container.mounts { mount_is_filled(mount) }
}

mount_is_filled(mount) if mount.kind != "volume"

mount_is_filled(mount) if data.policy.volumes[mount.volume].kind == "empty-dir"

mount_is_filled(mount) if data.state.volumes[mount.volume].revision > 0

in_order if {
    every name in object.get(container, "after", []) { data.state.history[name].completed }
    every name in object.get(container, "after_started", []) { runs(name) }
    not must_not_run_again
}

runs(name) if {
    some other in data.state.containers
    other.name == name
    other.running
}

must_not_run_again if {
    past.completed
    some other in data.policy.containers
    input.fields.name in other.after
}

count_fits if {
    not is_alive
    not is_over
    not is_capped
    count(data.state.containers) + count(data.state.spent) < 65536
}

is_alive if {
    some other in data.state.containers
    other.name == input.fields.name
    other.alive
}

is_over if {
    container.restart == "never"
    past.starts > 0
}

is_over if {
    container.restart == "on-failure"
    past.ended_well
}

is_capped if past.starts >= container.max_starts
"#;
