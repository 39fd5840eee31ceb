// SPDX-License-Identifier: Apache-2.0
//! A request for a container, field by field, but for environment and mounts.

use casemate_policy::Container;
use casemate_policy::Visibility;

use super::env::Variables;
use super::same_path;
use crate::CreateRequest;
use crate::Denial;
use crate::Grant;
use crate::Rule;
use crate::Stdio;
use crate::denial::Quoted;

/// C1: the digest that the host's tag resolved to is the pinned one.
pub(crate) fn check_image(container: &Container, request: &CreateRequest) -> Result<(), Denial> {
    if request.image_digest == container.image.digest() {
        return Ok(());
    }
    let text = format!("the host has {}", Quoted(&request.image_digest));
    Err(Denial::new(Rule::Image, "image_digest", text))
}

/// A6: entry by entry and to the end on both sides.
pub(crate) fn check_argv(container: &Container, request: &CreateRequest) -> Result<(), Denial> {
    for (index, arg) in request.argv.iter().enumerate() {
        if container.argv.get(index) != Some(arg) {
            let text = format!("{} is not in the policy", Quoted(arg));
            return Err(Denial::new(Rule::Argv, format!("argv[{index}]"), text));
        }
    }
    let given = request.argv.len();
    if given < container.argv.len() {
        let text = format!("ends after {given} entries, before the policy's list does");
        return Err(Denial::new(Rule::Argv, "argv", text));
    }
    Ok(())
}

/// The working directory.
pub(crate) fn check_cwd(container: &Container, request: &CreateRequest) -> Result<(), Denial> {
    if same_path(&container.cwd, &request.cwd) {
        return Ok(());
    }
    let text = format!("{} is not in the policy", Quoted(&request.cwd));
    Err(Denial::new(Rule::Cwd, "cwd", text))
}

/// A terminal, exactly if the policy gives one.
pub(crate) fn check_terminal(container: &Container, request: &CreateRequest) -> Result<(), Denial> {
    check_flag(Rule::Stdio, "terminal", container.terminal, request.terminal)
}

/// A16: stdin is the host's hand inside the container.
pub(crate) fn check_stdin(container: &Container, request: &CreateRequest) -> Result<(), Denial> {
    check_flag(Rule::Stdio, "stdin", container.stdin, request.stdin)
}

/// A12: the root file system is read-only, or not, as the policy says.
pub(crate) fn check_rootfs(container: &Container, request: &CreateRequest) -> Result<(), Denial> {
    let granted = container.readonly_rootfs;
    check_flag(Rule::Rootfs, "readonly_rootfs", granted, request.readonly_rootfs)
}

fn check_flag(rule: Rule, field: &str, granted: bool, sent: bool) -> Result<(), Denial> {
    if granted == sent {
        return Ok(());
    }
    Err(Denial::new(rule, field, format!("the host sent {sent}")))
}

/// What the container gets.
pub(crate) fn grant(
    container: &Container,
    request: &CreateRequest,
    variables: &Variables<'_>,
) -> Grant {
    // A16: output stays in the guest unless the policy lets it out.
    let logs = container.logs == Visibility::HostVisible;
    Grant {
        container: request.name.clone(),
        env: variables.granted(container),
        user: container.user.clone(),
        stdio: Stdio {
            terminal: container.terminal,
            stdin: container.stdin,
            stdout: logs && request.stdout,
            stderr: logs && request.stderr,
        },
    }
}
