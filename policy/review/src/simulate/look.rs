// SPDX-License-Identifier: Apache-2.0
//! Which field of the policy explains a denial.

use casemate_policy::Container;
use casemate_policy::Policy;
use casemate_policy_monitor::CreateRequest;
use casemate_policy_monitor::Denial;
use casemate_policy_monitor::ExecRequest;
use casemate_policy_monitor::ReferenceMonitor;
use casemate_policy_monitor::Rule;
use casemate_policy_rules::Request;

/// The container in the policy that a request is about, as the host names it.
pub(super) fn container_name(request: &Request, monitor: &dyn ReferenceMonitor) -> Option<String> {
    let id = match request {
        Request::CreateContainer(create) => return Some(create.name.clone()),
        Request::SetNetwork(_) | Request::PutVolume(_) => return None,
        Request::CloseStdin(process)
        | Request::Delete(process)
        | Request::Start(process)
        | Request::State(process)
        | Request::Wait(process) => &process.container_id,
        Request::ResizePty(resize) => &resize.process.container_id,
        Request::Signal(signal) => &signal.process.container_id,
        Request::ExecProcess(exec) => &exec.container_id,
        Request::Update(update) => &update.container_id,
        Request::Pids(container)
        | Request::Stats(container)
        | Request::TerminationMessage(container) => &container.container_id,
    };
    casemate_policy_rules::container_name(monitor, id).map(str::to_owned)
}

/// The field of the policy to look at, for denials that the policy explains.
pub(super) fn policy_field(
    policy: &Policy,
    name: Option<&str>,
    request: &Request,
    denial: &Denial,
) -> Option<String> {
    let field = denial.field.as_str();
    // Where the request lacks something the monitor names the policy's own field.
    if ["containers.", "volumes.", "sandbox."].iter().any(|root| field.starts_with(root)) {
        return Some(field.to_owned());
    }
    match denial.rule {
        Rule::Id | Rule::Invalid | Rule::Phase | Rule::Poisoned | Rule::Rules => return None,
        Rule::Count if !matches!(request, Request::CreateContainer(_)) => return None,
        Rule::Count if field == "id" => return None,
        Rule::Container => return Some("containers".to_owned()),
        _ => {}
    }
    match request {
        Request::SetNetwork(_) => Some(network(field)),
        Request::PutVolume(put) => {
            let file = index(field, "files").and_then(|index| put.files.get(index));
            Some(match file {
                Some(file) => format!("volumes.{}.files.{}", put.volume, file.name),
                None => format!("volumes.{}", put.volume),
            })
        }
        _ => {
            let name = name?;
            let found = policy.containers.get(name)?;
            Some(format!("containers.{name}.{}", container(found, request, denial)))
        }
    }
}

fn network(field: &str) -> String {
    let list = field.split(['[', '.']).next().unwrap_or(field);
    match list {
        "hostname" => "sandbox.hostname".to_owned(),
        "routes" if field.contains("gateway") => "sandbox.network.gateways".to_owned(),
        list => format!("sandbox.network.{list}"),
    }
}

/// The field within the container.
fn container(container: &Container, request: &Request, denial: &Denial) -> String {
    let field = denial.field.as_str();
    match (denial.rule, request) {
        (Rule::Image, _) => "image".to_owned(),
        (Rule::Order, _) if denial.text.contains("sidecar") => "after_started".to_owned(),
        (Rule::Order, _) => "after".to_owned(),
        // The cap is the last thing that is looked at.
        (Rule::Count, _) if denial.text.contains("times") => "max_starts".to_owned(),
        (Rule::Count, _) => "restart".to_owned(),
        (Rule::Signal, _) => "signals".to_owned(),
        (Rule::Env, Request::CreateContainer(create)) => env(container, &create.env, field),
        (Rule::Mount, Request::CreateContainer(create)) => mount(container, create, field),
        (Rule::Exec | Rule::Stdio | Rule::Env | Rule::Argv, Request::ExecProcess(exec)) => {
            command(container, exec, denial)
        }
        (_, Request::Update(_)) if field == "memory_limit" => "resources.memory".to_owned(),
        (_, Request::Update(_)) => format!("resources.{field}"),
        (_, Request::Stats(_) | Request::Pids(_)) => "metrics".to_owned(),
        (_, Request::TerminationMessage(_)) => "termination_message".to_owned(),
        (_, Request::CloseStdin(_)) => "stdin".to_owned(),
        (_, Request::ResizePty(_)) => "terminal".to_owned(),
        _ => field.to_owned(),
    }
}

/// The variable or the hole that has the name of the host's variable.
fn env(container: &Container, given: &[String], field: &str) -> String {
    let entry = index(field, "env").and_then(|index| given.get(index));
    let Some((name, _)) = entry.and_then(|entry| entry.split_once('=')) else {
        return "env".to_owned();
    };
    if let Some(at) = container.env.iter().position(|variable| variable.name == name) {
        return format!("env[{at}].value");
    }
    match container.env_holes.iter().position(|hole| hole.name.matches(name)) {
        Some(at) => format!("env_holes[{at}].value"),
        None if container.env_holes.is_empty() => "env".to_owned(),
        None => "env_holes".to_owned(),
    }
}

fn mount(container: &Container, create: &CreateRequest, field: &str) -> String {
    let given = index(field, "mounts").and_then(|index| create.mounts.get(index));
    let same = given.and_then(|given| {
        let destination = given.destination.trim_end_matches('/');
        container.mounts.iter().position(|mount| mount.destination == destination)
    });
    match same {
        Some(at) => format!("mounts[{at}]"),
        None => "mounts".to_owned(),
    }
}

/// The command of the exec list that is meant: the same argument list, or the one that begins alike.
fn command(container: &Container, exec: &ExecRequest, denial: &Denial) -> String {
    let alike = |argv: &[String]| argv.iter().zip(&exec.argv).take_while(|(a, b)| a == b).count();
    let nearest = container
        .exec
        .iter()
        .enumerate()
        .map(|(index, listed)| (alike(&listed.argv), index))
        .filter(|(alike, _)| *alike > 0)
        .max_by_key(|(alike, index)| (*alike, std::cmp::Reverse(*index)));
    match (nearest, denial.rule) {
        (Some((_, at)), Rule::Stdio) => format!("exec[{at}].{}", denial.field),
        (Some((_, at)), Rule::Exec | Rule::Argv) => format!("exec[{at}].argv"),
        (_, Rule::Env) => "env".to_owned(),
        _ => "exec".to_owned(),
    }
}

/// The index in `list[3]` or `list[3].field`.
fn index(field: &str, list: &str) -> Option<usize> {
    field.strip_prefix(list)?.strip_prefix('[')?.split(']').next()?.parse().ok()
}
