// SPDX-License-Identifier: Apache-2.0
//! What the host may see, set, run and stop in a container, and when it starts.

use casemate_policy::Container;
use casemate_policy::Exec;
use casemate_policy::Figure;
use casemate_policy::Policy;
use casemate_policy::Purpose;
use casemate_policy::Restart;
use casemate_policy::Role;
use casemate_policy::Visibility;

use super::role_words;
use super::user;
use crate::Fact;
use crate::Topic;
use crate::fact::lines;
use crate::words;

pub(crate) fn facts(
    policy: &Policy,
    name: &str,
    container: &Container,
    at: &dyn Fn(&str) -> String,
) -> Vec<Fact> {
    let mut facts = sees(container, at);
    facts.extend(sets(container, at));
    facts.extend(runs(container, at));
    facts.push(stops(container, at));
    facts.extend(starts(policy, name, container, at));
    facts
}

fn sees(container: &Container, at: &dyn Fn(&str) -> String) -> Vec<Fact> {
    let visible = |field: &str, value: Visibility, yes: &str, no: &str| {
        let open = value == Visibility::HostVisible;
        Fact::new(Topic::HostSees, at(field), if open { yes } else { no })
            .value(&open)
            .reach(u64::from(open))
    };
    vec![
        visible(
            "logs",
            container.logs,
            "All that it and the commands run in it write to stdout and stderr (kubectl logs).",
            "Not its output: the guest discards stdout and stderr, and kubectl logs stays empty.",
        ),
        visible(
            "metrics",
            container.metrics,
            "Its use of CPU and memory and its process ids (kubectl top).",
            "Not its use of CPU and memory, nor its process ids.",
        ),
        visible(
            "termination_message",
            container.termination_message,
            "Its termination message, if it writes one.",
            "Not its termination message.",
        ),
    ]
}

fn sets(container: &Container, at: &dyn Fn(&str) -> String) -> Vec<Fact> {
    let mut facts = Vec::new();
    for (index, hole) in container.env_holes.iter().enumerate() {
        let must = if hole.required { "it must be set" } else { "it may be left out" };
        let text = format!(
            "{}: any value that matches {}; {must}",
            words::quoted(hole.name.as_str()),
            words::quoted(hole.value.as_str()),
        );
        facts.push(
            Fact::new(Topic::HostSets, at(&format!("env_holes[{index}]")), text)
                .value(&(hole.value.as_str(), hole.required))
                .item(
                    lines("Environment variables, if name and value match as a whole"),
                    &at("env_holes"),
                    hole.name.as_str(),
                )
                .high()
                .grants(),
        );
    }
    facts.push(
        Fact::new(
            Topic::HostSets,
            at("stdin"),
            if container.stdin { "What it reads on stdin." } else { "Not what it reads on stdin." },
        )
        .value(&container.stdin)
        .reach(u64::from(container.stdin))
        .high()
        .unless(!container.stdin),
    );
    let resources = &container.resources;
    facts.push(update("memory", &resources.memory, words::bytes, at("resources.memory.max")));
    facts.push(update("CPU", &resources.cpu_millis, words::cpus, at("resources.cpu_millis.max")));
    if facts.iter().all(|fact| fact.shown != crate::fact::Shown::Everywhere) {
        facts.push(Fact::new(Topic::HostSets, at("env_holes"), "Nothing.").none());
    }
    facts
}

fn update(what: &str, figure: &Figure, words: fn(u64) -> String, field: String) -> Fact {
    let text = match (figure.min, figure.max) {
        (Some(min), Some(max)) => {
            format!("Its {what} limit while it runs, between {} and {}.", words(min), words(max))
        }
        _ => format!("Not its {what} limit."),
    };
    Fact::new(Topic::HostSets, field, text)
        .value(&(figure.min, figure.max))
        .reach(figure.max.unwrap_or(0))
        .low()
        .unless(figure.max.is_none())
}

fn runs(container: &Container, at: &dyn Fn(&str) -> String) -> Vec<Fact> {
    if container.exec.is_empty() {
        let text = "Nothing: kubectl exec is refused.";
        return vec![Fact::new(Topic::HostRuns, at("exec"), text).none()];
    }
    let item = |(index, exec): (usize, &Exec)| {
        Fact::new(Topic::HostRuns, at(&format!("exec[{index}]")), exec_words(exec))
            .value(exec)
            .reach(u64::from(exec.terminal) + u64::from(exec.stdin))
            .item(
                lines("These commands, exactly, at any time and as often as it likes"),
                &at("exec"),
                &exec.argv.join("\0"),
            )
            .high()
            .grants()
    };
    container.exec.iter().enumerate().map(item).collect()
}

fn exec_words(exec: &Exec) -> String {
    let mut parts = vec![purpose(exec.purpose).to_owned()];
    if let Some(other) = &exec.user {
        parts.push(format!("as {}", user(other)));
    }
    match (exec.terminal, exec.stdin) {
        (true, true) => parts.push("with a terminal that the host types into".to_owned()),
        (true, false) => parts.push("with a terminal".to_owned()),
        (false, true) => parts.push("with input from the host".to_owned()),
        (false, false) => {}
    }
    if !exec.env.is_empty() {
        let variables: Vec<String> =
            exec.env.iter().map(|v| words::quoted(&format!("{}={}", v.name, v.value))).collect();
        parts.push(format!("with {}", words::all(&variables)));
    }
    format!("{} ({})", words::command(&exec.argv), parts.join(", "))
}

const fn purpose(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::LivenessProbe => "liveness probe",
        Purpose::ReadinessProbe => "readiness probe",
        Purpose::StartupProbe => "startup probe",
        Purpose::PostStart => "postStart hook",
        Purpose::PreStop => "preStop hook",
        Purpose::Exec => "kubectl exec",
    }
}

fn stops(container: &Container, at: &dyn Fn(&str) -> String) -> Fact {
    let names: Vec<String> =
        container.signals.iter().map(|signal| words::signal(*signal)).collect();
    let text = if names.is_empty() {
        "Not at all, but with the whole VM.".to_owned()
    } else {
        format!("With {}.", words::any(&names))
    };
    Fact::new(Topic::HostStops, at("signals"), text)
        .value(&container.signals)
        .reach(u64::try_from(names.len()).unwrap_or(u64::MAX))
        .low()
}

fn starts(
    policy: &Policy,
    name: &str,
    container: &Container,
    at: &dyn Fn(&str) -> String,
) -> Vec<Fact> {
    let mut facts = vec![
        Fact::new(Topic::Starts, at("role"), role_words(container.role))
            .value(&container.role)
            .unless(container.role == Role::App),
    ];
    for (index, before) in container.after.iter().enumerate() {
        let text = format!("Only after {before} has ended with exit code 0.");
        facts.push(waits(at(&format!("after[{index}]")), text, &at("after"), before));
    }
    for (index, before) in container.after_started.iter().enumerate() {
        let text = format!("Only while {before} is running.");
        facts.push(waits(
            at(&format!("after_started[{index}]")),
            text,
            &at("after_started"),
            before,
        ));
    }
    let awaited = policy.containers.values().any(|c| c.after.iter().any(|before| before == name));
    let restart = match container.restart {
        Restart::Never => "Once: the host cannot start it again within the life of the VM.",
        Restart::OnFailure => "Again only after it has failed (exit code other than 0).",
        Restart::Always if awaited => {
            "Again as often as the host likes, until it has ended with code 0."
        }
        Restart::Always => "Again as often as the host likes, one at a time.",
    };
    facts.push(
        Fact::new(Topic::Starts, at("restart"), restart)
            .value(&container.restart)
            .reach(match container.restart {
                Restart::Never => 0,
                Restart::OnFailure => 1,
                Restart::Always => 2,
            })
            .low(),
    );
    let cap = match container.max_starts {
        Some(starts) => format!(
            "At most {} in the life of the VM.",
            words::count_large(starts.into(), "start", "starts")
        ),
        None => "Without a cap on the number of starts.".to_owned(),
    };
    facts.push(
        Fact::new(Topic::Starts, at("max_starts"), cap)
            .value(&container.max_starts)
            .reach(container.max_starts.map_or(u64::MAX, u64::from))
            .low()
            .unless(container.max_starts.is_none()),
    );
    facts
}

fn waits(field: String, text: String, list: &str, before: &str) -> Fact {
    let fact = Fact::new(Topic::Starts, field, text).restricts();
    Fact { key: format!("{list}/{before}"), ..fact }
}
