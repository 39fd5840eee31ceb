// SPDX-License-Identifier: Apache-2.0
//! A4, A5: commands in a running container.

use casemate_policy::Container;
use casemate_policy::EnvVar;
use casemate_policy::Exec;
use casemate_policy::Visibility;

use super::env::joined;
use super::same_path;
use crate::Denial;
use crate::ExecRequest;
use crate::Grant;
use crate::Rule;
use crate::Stdio;
use crate::denial::Quoted;
use crate::state::Instance;
use crate::state::State;

/// A5: neither before the start nor after the end.
pub(crate) fn check_runs(instance: &Instance) -> Result<(), Denial> {
    if instance.process.state == State::Running {
        return Ok(());
    }
    Err(Denial::new(Rule::Id, "container_id", "the container does not run"))
}

/// A21: an id means one command, also after its deletion.
pub(crate) fn check_id_unused(instance: &Instance, exec_id: &str) -> Result<(), Denial> {
    if instance.execs.contains_key(exec_id) || instance.spent_execs.contains(exec_id) {
        return Err(Denial::new(Rule::Id, "exec_id", "was used before"));
    }
    Ok(())
}

/// The guest's memory is not the host's to fill with processes.
pub(crate) fn check_room(instance: &Instance) -> Result<(), Denial> {
    if instance.execs.len() < MAX_EXECS {
        return Ok(());
    }
    let text = format!("{MAX_EXECS} processes of execs are there already");
    Err(Denial::new(Rule::Count, "exec_id", text))
}

/// The policy's text on a command. A container lists an argument list once.
pub(crate) fn listed<'a>(container: &'a Container, request: &ExecRequest) -> Option<&'a Exec> {
    container.exec.iter().find(|exec| exec.argv == request.argv)
}

/// A4, A6: only commands that the policy lists, entry by entry.
pub(crate) fn check_listed(listed: Option<&Exec>, request: &ExecRequest) -> Result<(), Denial> {
    if listed.is_some() {
        return Ok(());
    }
    let command = request.argv.first().map_or("", String::as_str);
    let arguments = request.argv.len().saturating_sub(1);
    let text = format!(
        "the command {} with {arguments} arguments is not on the exec list",
        Quoted(command)
    );
    Err(Denial::new(Rule::Exec, "argv", text))
}

/// A terminal for commands that may have one; less than granted is fine.
pub(crate) fn check_terminal(listed: Option<&Exec>, request: &ExecRequest) -> Result<(), Denial> {
    if !request.terminal || listed.is_some_and(|exec| exec.terminal) {
        return Ok(());
    }
    Err(Denial::new(Rule::Stdio, "terminal", "the exec list grants the command no terminal"))
}

/// A16: stdin for commands that may have it; less than granted is fine.
pub(crate) fn check_stdin(listed: Option<&Exec>, request: &ExecRequest) -> Result<(), Denial> {
    if !request.stdin || listed.is_some_and(|exec| exec.stdin) {
        return Ok(());
    }
    Err(Denial::new(Rule::Stdio, "stdin", "the exec list grants the command no stdin"))
}

/// The directory is the container's: CRI has no field for another one.
pub(crate) fn check_cwd(container: &Container, request: &ExecRequest) -> Result<(), Denial> {
    if same_path(&container.cwd, &request.cwd) {
        return Ok(());
    }
    let text = format!("{} is not the container's directory", Quoted(&request.cwd));
    Err(Denial::new(Rule::Cwd, "cwd", text))
}

/// A7: each variable is the container's, or what the exec list gives the command. CRI has no field for
/// the environment of a command: hosts copy the container's, with `TERM=xterm` on a terminal.
pub(crate) fn check_env(
    instance: &Instance,
    listed: Option<&Exec>,
    request: &ExecRequest,
) -> Result<(), Denial> {
    let own = own_variables(listed);
    let mut created: Vec<&String> = instance.env.iter().collect();
    created.sort_unstable();
    for (index, entry) in request.env.iter().enumerate() {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        let is_containers = created.binary_search(&entry).is_ok();
        let is_terminals = request.terminal && entry == TERMINAL;
        let is_commands = || own.iter().any(|v| v.name == name && v.value == value);
        if !is_containers && !is_terminals && !is_commands() {
            let text = format!("{} is not as in the container's environment", Quoted(name));
            return Err(Denial::new(Rule::Env, format!("env[{index}]"), text));
        }
    }
    Ok(())
}

/// A8: no variable of the container is missing.
pub(crate) fn check_env_complete(instance: &Instance, request: &ExecRequest) -> Result<(), Denial> {
    let mut given: Vec<&str> = request.env.iter().map(|entry| name_of(entry)).collect();
    given.sort_unstable();
    if instance.env.iter().all(|entry| given.binary_search(&name_of(entry)).is_ok()) {
        return Ok(());
    }
    let text = "a variable of the container's environment is missing in the request";
    Err(Denial::new(Rule::Env, "env", text))
}

/// What the command gets.
pub(crate) fn grant(
    instance: &Instance,
    container: &Container,
    listed: Option<&Exec>,
    request: &ExecRequest,
) -> Grant {
    let own = own_variables(listed);
    let asks_term = request.terminal && request.env.iter().any(|entry| entry == TERMINAL);
    let lists_term = own.iter().any(|v| v.name == "TERM");
    let term = (asks_term && !lists_term).then(|| TERMINAL.to_owned());
    let replaced = |entry: &&String| {
        let name = name_of(entry);
        (term.is_some() && name == "TERM") || own.iter().any(|v| v.name == name)
    };
    let kept = instance.env.iter().filter(|entry| !replaced(entry)).cloned();
    let added = own.iter().map(|v| joined(&v.name, &v.value));
    let logs = container.logs == Visibility::HostVisible;
    Grant {
        container: instance.name.clone(),
        env: kept.chain(added).chain(term.clone()).collect(),
        user: listed.and_then(|exec| exec.user.as_ref()).unwrap_or(&container.user).clone(),
        stdio: Stdio {
            terminal: request.terminal,
            stdin: request.stdin,
            stdout: logs && request.stdout,
            stderr: logs && request.stderr,
        },
    }
}

fn own_variables(listed: Option<&Exec>) -> &[EnvVar] {
    listed.map_or(&[], |exec| exec.env.as_slice())
}

fn name_of(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(name, _)| name)
}

/// What CRI implementations add to the environment of a command on a terminal.
const TERMINAL: &str = "TERM=xterm";
/// Most processes of execs that are not deleted, by container.
const MAX_EXECS: usize = 128;
