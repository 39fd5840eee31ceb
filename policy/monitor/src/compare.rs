// SPDX-License-Identifier: Apache-2.0
//! Comparing what the host asks with what the policy says.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use casemate_policy::Container;
use casemate_policy::Exec;
use casemate_policy::Logs;
use casemate_policy::MountKind;

use crate::CreateRequest;
use crate::Denial;
use crate::ExecRequest;
use crate::Grant;
use crate::MountRequest;
use crate::Rule;
use crate::Stdio;
use crate::denial::Quoted;

/// Judges every field of a request for a container.
pub(crate) fn create(container: &Container, request: &CreateRequest) -> Result<Grant, Denial> {
    // C1: the digest that the host's tag resolved to must be the pinned one.
    if request.image_digest != container.image.digest() {
        let text = format!("the host has {}", Quoted(&request.image_digest));
        return Err(Denial::new(Rule::Image, "image_digest", text));
    }
    argv(&container.argv, &request.argv)?;
    let env = env(&request.name, container, &request.env)?;
    if !same_path(&container.cwd, &request.cwd) {
        let text = format!("{} is not in the policy", Quoted(&request.cwd));
        return Err(Denial::new(Rule::Cwd, "cwd", text));
    }
    flag(Rule::Stdio, "terminal", container.terminal, request.terminal)?;
    // A16: stdin is the host's hand inside the container.
    flag(Rule::Stdio, "stdin", container.stdin, request.stdin)?;
    flag(Rule::Rootfs, "readonly_rootfs", container.readonly_rootfs, request.readonly_rootfs)?;
    mounts(&request.name, container, &request.mounts)?;

    let logs = container.logs == Logs::HostVisible;
    let stdio = Stdio {
        terminal: container.terminal,
        stdin: container.stdin,
        stdout: logs && request.stdout,
        stderr: logs && request.stderr,
    };
    Ok(Grant { container: request.name.clone(), env, stdio })
}

/// Judges every field of a request for a process in a container of the policy that was created with
/// the environment `created_env`.
pub(crate) fn exec(
    name: &str,
    container: &Container,
    created_env: &[String],
    request: &ExecRequest,
) -> Result<Grant, Denial> {
    let fits =
        |exec: &&Exec| (exec.terminal || !request.terminal) && (exec.stdin || !request.stdin);
    let mut listed = container.exec.iter().filter(|e| e.argv == request.argv).peekable();
    if listed.peek().is_none() {
        // A4: only commands that the policy lists.
        let command = request.argv.first().map_or("", String::as_str);
        let text = format!(
            "the command {} with {} arguments is not on the exec list",
            Quoted(command),
            request.argv.len().saturating_sub(1)
        );
        return Err(Denial::new(Rule::Exec, "argv", text));
    }
    if !listed.any(|exec| fits(&exec)) {
        let text = "a terminal or stdin is asked for that the exec list does not grant";
        return Err(Denial::new(Rule::Stdio, "stdin", text));
    }
    if !same_path(&container.cwd, &request.cwd) {
        let text = format!("{} is not the container's directory", Quoted(&request.cwd));
        return Err(Denial::new(Rule::Cwd, "cwd", text));
    }
    let env = exec_env(created_env, request)?;
    let logs = container.logs == Logs::HostVisible;
    let stdio = Stdio {
        terminal: request.terminal,
        stdin: request.stdin,
        stdout: logs && request.stdout,
        stderr: logs && request.stderr,
    };
    Ok(Grant { container: name.to_owned(), env, stdio })
}

/// A6: entry by entry and to the end on both sides.
fn argv(policy: &[String], request: &[String]) -> Result<(), Denial> {
    for (index, arg) in request.iter().enumerate() {
        if policy.get(index) != Some(arg) {
            let text = format!("{} is not in the policy", Quoted(arg));
            return Err(Denial::new(Rule::Argv, format!("argv[{index}]"), text));
        }
    }
    if request.len() < policy.len() {
        let text = format!("ends after {} entries, before the policy's list does", request.len());
        return Err(Denial::new(Rule::Argv, "argv", text));
    }
    Ok(())
}

/// A7, A8: each variable is the policy's or fills a hole, none twice, none missing.
///
/// The order of the host's list does not matter: names are unique and the grant has the policy's order.
fn env(name: &str, container: &Container, request: &[String]) -> Result<Vec<String>, Denial> {
    let given = Variables::read(request)?;
    let exact: BTreeMap<&str, &str> =
        container.env.iter().map(|v| (v.name.as_str(), v.value.as_str())).collect();
    let mut filled: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    for (variable, (index, value)) in &given.by_name {
        let field = || format!("env[{index}]");
        match exact.get(variable) {
            Some(expected) if expected == value => {}
            Some(_) => {
                let text = format!("the value of {} is not the policy's", Quoted(variable));
                return Err(Denial::new(Rule::Env, field(), text));
            }
            None => {
                let hole = container
                    .env_holes
                    .iter()
                    .position(|h| h.name.matches(variable) && h.value.matches(value));
                let Some(hole) = hole else {
                    let text =
                        format!("{} is not in the policy and fits no hole", Quoted(variable));
                    return Err(Denial::new(Rule::Env, field(), text));
                };
                filled.entry(hole).or_default().push(variable);
            }
        }
    }
    if let Some(index) =
        container.env.iter().position(|v| !given.by_name.contains_key(v.name.as_str()))
    {
        let text = "the policy's variable is missing in the request";
        return Err(Denial::new(Rule::Env, format!("containers.{name}.env[{index}]"), text));
    }
    let unfilled = |(index, hole): (usize, &casemate_policy::EnvHole)| {
        (hole.required && !filled.contains_key(&index)).then_some(index)
    };
    if let Some(index) = container.env_holes.iter().enumerate().find_map(unfilled) {
        let text = "the required hole is not filled by the request";
        return Err(Denial::new(Rule::Env, format!("containers.{name}.env_holes[{index}]"), text));
    }

    let exact = container.env.iter().map(|v| format!("{}={}", v.name, v.value));
    let holes = filled.into_values().flatten().filter_map(|variable| {
        given.by_name.get(variable).map(|(_, value)| format!("{variable}={value}"))
    });
    Ok(exact.chain(holes).collect())
}

/// The environment of an exec is the container's, with `TERM=xterm` beside it on a terminal: CRI
/// implementations copy it and CRI has no field for another one.
fn exec_env(created: &[String], request: &ExecRequest) -> Result<Vec<String>, Denial> {
    let given = Variables::read(&request.env)?;
    let created_variables = Variables::read(created)?;
    let mut expected: BTreeMap<&str, &str> =
        created_variables.by_name.iter().map(|(name, (_, value))| (*name, *value)).collect();
    let mut granted = created.to_vec();
    if request.terminal && given.by_name.contains_key("TERM") {
        expected.insert("TERM", "xterm");
        granted.retain(|variable| !variable.starts_with("TERM="));
        granted.push("TERM=xterm".to_owned());
    }
    for (variable, (index, value)) in &given.by_name {
        if expected.get(variable) != Some(value) {
            let text = format!("{} is not as in the container's environment", Quoted(variable));
            return Err(Denial::new(Rule::Env, format!("env[{index}]"), text));
        }
    }
    if given.by_name.len() < expected.len() {
        let text = "a variable of the container's environment is missing in the request";
        return Err(Denial::new(Rule::Env, "env", text));
    }
    Ok(granted)
}

/// An environment by name, with the place of each variable in the list.
struct Variables<'a> {
    by_name: BTreeMap<&'a str, (usize, &'a str)>,
}

impl<'a> Variables<'a> {
    fn read(list: &'a [String]) -> Result<Self, Denial> {
        let mut by_name = BTreeMap::new();
        for (index, entry) in list.iter().enumerate() {
            let deny = |text: &str| Err(Denial::new(Rule::Env, format!("env[{index}]"), text));
            let Some((name, value)) = entry.split_once('=') else {
                return deny("has no '='");
            };
            if name.is_empty() || entry.contains('\0') {
                return deny("has no name or holds a NUL");
            }
            if by_name.insert(name, (index, value)).is_some() {
                return deny("occurs twice");
            }
        }
        Ok(Self { by_name })
    }
}

/// B1, B11: every mount of the request is one of the policy's, and every directory of the policy is
/// asked for.
///
/// The small standard files and /dev/shm may be left out: the guest makes them from the policy and
/// whatever the host says about them, also their read-only flag, changes nothing.
fn mounts(name: &str, container: &Container, request: &[MountRequest]) -> Result<(), Denial> {
    let mut asked = BTreeSet::new();
    for (index, mount) in request.iter().enumerate() {
        let field = format!("mounts[{index}]");
        let destination = trimmed(&mount.destination);
        if !asked.insert(destination) {
            let text = format!("the destination {} occurs twice", Quoted(destination));
            return Err(Denial::new(Rule::Mount, field, text));
        }
        let Some(granted) = container.mounts.iter().find(|m| m.destination == destination) else {
            let text = format!("the destination {} is not in the policy", Quoted(destination));
            return Err(Denial::new(Rule::Mount, field, text));
        };
        if mount.kind != Some(granted.kind) {
            let text = format!("another kind of mount is granted at {}", Quoted(destination));
            return Err(Denial::new(Rule::Mount, field, text));
        }
        if granted.kind == MountKind::EmptyDir && mount.readonly != granted.readonly {
            let text = format!("the read-only flag of {} is not the policy's", Quoted(destination));
            return Err(Denial::new(Rule::Mount, field, text));
        }
    }
    let missing = container
        .mounts
        .iter()
        .position(|m| m.kind == MountKind::EmptyDir && !asked.contains(m.destination.as_str()));
    match missing {
        Some(index) => {
            let text = "the policy's mount is missing in the request";
            Err(Denial::new(Rule::Mount, format!("containers.{name}.mounts[{index}]"), text))
        }
        None => Ok(()),
    }
}

fn flag(rule: Rule, field: &str, policy: bool, request: bool) -> Result<(), Denial> {
    if policy == request {
        return Ok(());
    }
    Err(Denial::new(rule, field, format!("the host sent {request}")))
}

fn same_path(policy: &str, request: &str) -> bool {
    policy == trimmed(request)
}

/// A path without slashes at its end, which Kubernetes lets people write.
fn trimmed(path: &str) -> &str {
    match path.trim_end_matches('/') {
        "" if path.starts_with('/') => "/",
        trimmed => trimmed,
    }
}
