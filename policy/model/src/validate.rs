// SPDX-License-Identifier: Apache-2.0
//! The rules that a policy obeys beyond its types.

use std::collections::BTreeSet;

use crate::Container;
use crate::DocumentError;
use crate::Mount;
use crate::MountKind;
use crate::Policy;
use crate::error::FieldPath;
use crate::error::Problem;

impl Policy {
    /// Checks every rule of the format that the types do not express.
    ///
    /// [`Policy::parse`] has done this already; who builds a policy by hand calls it before use.
    ///
    /// # Errors
    ///
    /// The first field that breaks a rule.
    pub fn validate(&self) -> Result<(), DocumentError> {
        if self.version != Self::VERSION {
            return Err(FieldPath::root("version").error(Problem::Version));
        }
        if let Some(hostname) = &self.sandbox.hostname
            && !is_hostname(hostname)
        {
            return Err(FieldPath::root("sandbox").field("hostname").error(Problem::NotName));
        }
        let root = FieldPath::root("containers");
        if self.containers.len() > MAX_CONTAINERS {
            return Err(root.error(Problem::TooMany));
        }
        for (name, container) in &self.containers {
            let path = root.field(name);
            if !is_dns_label(name) {
                return Err(path.error(Problem::NotName));
            }
            check_container(container, &path)?;
            self.check_after(name, container, &path.field("after"))?;
        }
        Ok(())
    }

    /// Predecessors exist, and no container waits for itself, directly or around a ring.
    fn check_after(
        &self,
        name: &str,
        container: &Container,
        path: &FieldPath,
    ) -> Result<(), DocumentError> {
        unique(&container.after, path)?;
        let mut seen = BTreeSet::new();
        let mut open: Vec<&str> = container.after.iter().map(String::as_str).collect();
        while let Some(next) = open.pop() {
            let Some(predecessor) = self.containers.get(next) else {
                return Err(path.clone().error(Problem::Unknown));
            };
            if next == name {
                return Err(path.clone().error(Problem::Unknown));
            }
            if seen.insert(next) {
                open.extend(predecessor.after.iter().map(String::as_str));
            }
        }
        Ok(())
    }
}

fn check_container(container: &Container, path: &FieldPath) -> Result<(), DocumentError> {
    check_argv(&container.argv, &path.field("argv"))?;
    check_path(&container.cwd, &path.field("cwd"))?;
    check_user(container, &path.field("user"))?;
    check_env(container, path)?;
    check_mounts(&container.mounts, &path.field("mounts"))?;

    unique(&container.capabilities, &path.field("capabilities"))?;

    if container.memory_limit.is_some_and(|bytes| !MEMORY_LIMITS.contains(&bytes)) {
        return Err(path.field("memory_limit").error(Problem::OutOfRange));
    }

    let execs = path.field("exec");
    limit(container.exec.len(), MAX_LIST, &execs)?;
    for (index, exec) in container.exec.iter().enumerate() {
        check_argv(&exec.argv, &execs.index(index).field("argv"))?;
    }

    let signals = path.field("signals");
    unique(&container.signals, &signals)?;
    for (index, signal) in container.signals.iter().enumerate() {
        // signal(7): 1 to 64 on x86-64; 0 asks whether a process exists.
        if !(1..=64).contains(signal) {
            return Err(signals.index(index).error(Problem::OutOfRange));
        }
    }
    Ok(())
}

fn check_argv(argv: &[String], path: &FieldPath) -> Result<(), DocumentError> {
    limit(argv.len(), MAX_LIST, path)?;
    // An empty first argument names no program; empty ones after it are ordinary.
    if argv.first().is_none_or(String::is_empty) {
        return Err(path.clone().error(Problem::Empty));
    }
    argv.iter().enumerate().try_for_each(|(index, arg)| check_text(arg, &path.index(index)))
}

fn check_user(container: &Container, path: &FieldPath) -> Result<(), DocumentError> {
    let user = &container.user;
    // setresuid(2) and setgroups(2): -1 means "leave as it is".
    let ids = [user.uid, user.gid];
    if ids.iter().chain(&user.groups).any(|id| *id == u32::MAX) {
        return Err(path.clone().error(Problem::OutOfRange));
    }
    limit(user.groups.len(), MAX_LIST, &path.field("groups"))?;
    unique(&user.groups, &path.field("groups"))
}

fn check_env(container: &Container, path: &FieldPath) -> Result<(), DocumentError> {
    let env = path.field("env");
    limit(container.env.len(), MAX_LIST, &env)?;
    let mut names = BTreeSet::new();
    for (index, variable) in container.env.iter().enumerate() {
        let name = env.index(index).field("name");
        if !is_env_name(&variable.name) {
            return Err(name.error(Problem::NotEnvName));
        }
        if !names.insert(&variable.name) {
            return Err(name.error(Problem::Duplicate));
        }
        check_text(&variable.value, &env.index(index).field("value"))?;
    }

    let holes = path.field("env_holes");
    limit(container.env_holes.len(), MAX_LIST, &holes)?;
    let mut names = BTreeSet::new();
    for (index, hole) in container.env_holes.iter().enumerate() {
        let name = holes.index(index).field("name");
        if hole.name.as_str().is_empty() {
            return Err(name.error(Problem::Empty));
        }
        if !names.insert(hole.name.as_str()) {
            return Err(name.error(Problem::Duplicate));
        }
    }
    Ok(())
}

fn check_mounts(mounts: &[Mount], path: &FieldPath) -> Result<(), DocumentError> {
    limit(mounts.len(), MAX_LIST, path)?;
    let mut destinations = BTreeSet::new();
    for (index, mount) in mounts.iter().enumerate() {
        let path = path.index(index);
        let destination = path.field("destination");
        check_path(&mount.destination, &destination)?;
        if !destinations.insert(&mount.destination) {
            return Err(destination.error(Problem::Duplicate));
        }
        if is_reserved(mount) {
            return Err(destination.error(Problem::ReservedPath));
        }
        let named = mount.volume.as_deref().map(is_dns_label);
        let expected = (mount.kind == MountKind::EmptyDir).then_some(true);
        if named != expected {
            return Err(path.field("volume").error(Problem::Unfitting));
        }
    }
    Ok(())
}

/// B1: the guest's own file systems stay uncovered; the typed small files may lie in /dev and /etc.
fn is_reserved(mount: &Mount) -> bool {
    let destination = mount.destination.as_str();
    let under = |root: &str| {
        destination.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match mount.kind {
        MountKind::Shm => destination != "/dev/shm",
        MountKind::TerminationLog => {
            let dev = under("/dev") && destination != "/dev/termination-log";
            destination == "/" || dev || under("/proc") || under("/sys")
        }
        MountKind::Hosts => destination != "/etc/hosts",
        MountKind::Hostname => destination != "/etc/hostname",
        MountKind::ResolvConf => destination != "/etc/resolv.conf",
        MountKind::EmptyDir => {
            destination == "/" || under("/proc") || under("/sys") || under("/dev")
        }
    }
}

fn check_text(text: &str, path: &FieldPath) -> Result<(), DocumentError> {
    if text.contains('\0') {
        return Err(path.clone().error(Problem::ForbiddenCharacter));
    }
    if text.len() > MAX_TEXT {
        return Err(path.clone().error(Problem::TooLong));
    }
    Ok(())
}

fn check_path(text: &str, path: &FieldPath) -> Result<(), DocumentError> {
    if text.len() > MAX_PATH {
        return Err(path.clone().error(Problem::TooLong));
    }
    if text.chars().any(char::is_control) {
        return Err(path.clone().error(Problem::ForbiddenCharacter));
    }
    if !is_normal_path(text) {
        return Err(path.clone().error(Problem::NotNormalPath));
    }
    Ok(())
}

/// Absolute, no empty, `.` or `..` component, no slash at the end (but `/` itself).
fn is_normal_path(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('/') else { return false };
    rest.is_empty() || rest.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// A hostname: labels with dots between them, 64 bytes at most (Linux HOST_NAME_MAX).
///
/// B14: no newline, blank or other character that could break out of a line of `/etc/hosts`; upper
/// case never occurs in what Kubernetes makes.
#[must_use]
pub fn is_hostname(text: &str) -> bool {
    text.len() <= 64
        && text != "localhost"
        && !text.starts_with("localhost.")
        && text.split('.').all(is_dns_label)
}

/// A DNS label as Kubernetes has it (RFC 1123): lower-case letters, digits and inner hyphens.
pub(crate) fn is_dns_label(text: &str) -> bool {
    let outer = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    text.len() <= 63
        && outer(text.bytes().next())
        && outer(text.bytes().next_back())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Kubernetes' relaxed rule for environment variables: printable ASCII but for `=`.
fn is_env_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_ENV_NAME
        && text.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=')
}

fn limit(found: usize, max: usize, path: &FieldPath) -> Result<(), DocumentError> {
    if found > max { Err(path.clone().error(Problem::TooMany)) } else { Ok(()) }
}

fn unique<T: Ord>(items: &[T], path: &FieldPath) -> Result<(), DocumentError> {
    let mut seen = BTreeSet::new();
    match items.iter().position(|item| !seen.insert(item)) {
        Some(index) => Err(path.index(index).error(Problem::Duplicate)),
        None => Ok(()),
    }
}

/// Memory limits in bytes: below, no container starts; above, no machine goes.
const MEMORY_LIMITS: std::ops::RangeInclusive<u64> = (1 << 20)..=(1 << 50);
/// Most containers in a pod.
const MAX_CONTAINERS: usize = 256;
/// Most entries of any list in a container.
const MAX_LIST: usize = 1024;
/// Longest argument or value in bytes; execve(2) takes 128 KiB a string.
const MAX_TEXT: usize = 128 * 1024 - 1;
/// Longest path in bytes (Linux PATH_MAX with its NUL).
const MAX_PATH: usize = 4095;
/// Longest name of an environment variable in bytes.
const MAX_ENV_NAME: usize = 255;
