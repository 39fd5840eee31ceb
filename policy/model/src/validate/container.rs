// SPDX-License-Identifier: Apache-2.0
//! Rules of one container, but for what it mounts.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::MAX_LIST;
use super::text::check_path;
use super::text::check_text;
use super::text::is_dns_label;
use super::text::is_env_name;
use super::text::limit;
use super::text::unique;
use crate::Container;
use crate::DocumentError;
use crate::EnvHole;
use crate::EnvVar;
use crate::Exec;
use crate::Figure;
use crate::Resources;
use crate::Restart;
use crate::Rlimit;
use crate::RlimitValue;
use crate::Role;
use crate::User;
use crate::error::FieldPath;
use crate::error::Problem;

pub(super) fn check(container: &Container, path: &FieldPath) -> Result<(), DocumentError> {
    if container.signature.as_deref().is_some_and(|name| !is_dns_label(name)) {
        return Err(path.field("signature").error(Problem::NotName));
    }
    check_argv(&container.argv, &path.field("argv"))?;
    check_path(&container.cwd, &path.field("cwd"))?;
    check_user(&container.user, &path.field("user"))?;
    check_env(&container.env, &path.field("env"))?;
    check_env_holes(&container.env_holes, &path.field("env_holes"))?;
    unique(&container.capabilities, &path.field("capabilities"))?;
    check_rlimits(&container.rlimits, &path.field("rlimits"))?;
    check_resources(&container.resources, &path.field("resources"))?;
    check_exec(&container.exec, &path.field("exec"))?;
    check_signals(&container.signals, &path.field("signals"))?;
    check_restart(container, path)
}

fn check_argv(argv: &[String], path: &FieldPath) -> Result<(), DocumentError> {
    limit(argv.len(), MAX_LIST, path)?;
    // An empty first argument names no program; empty ones after it are ordinary.
    if argv.first().is_none_or(String::is_empty) {
        return Err(path.clone().error(Problem::Empty));
    }
    argv.iter().enumerate().try_for_each(|(index, arg)| check_text(arg, &path.index(index)))
}

fn check_user(user: &User, path: &FieldPath) -> Result<(), DocumentError> {
    // setresuid(2) and setgroups(2): -1 means "leave as it is".
    let ids = [user.uid, user.gid];
    if ids.iter().chain(&user.groups).any(|id| *id == u32::MAX) {
        return Err(path.clone().error(Problem::OutOfRange));
    }
    limit(user.groups.len(), MAX_LIST, &path.field("groups"))?;
    unique(&user.groups, &path.field("groups"))
}

/// A7: a variable stands once.
fn check_env(env: &[EnvVar], path: &FieldPath) -> Result<(), DocumentError> {
    limit(env.len(), MAX_LIST, path)?;
    let mut names = BTreeSet::new();
    for (index, variable) in env.iter().enumerate() {
        let name = path.index(index).field("name");
        if !is_env_name(&variable.name) {
            return Err(name.error(Problem::NotEnvName));
        }
        if !names.insert(&variable.name) {
            return Err(name.error(Problem::Duplicate));
        }
        check_text(&variable.value, &path.index(index).field("value"))?;
    }
    Ok(())
}

fn check_env_holes(holes: &[EnvHole], path: &FieldPath) -> Result<(), DocumentError> {
    limit(holes.len(), MAX_LIST, path)?;
    let mut names = BTreeSet::new();
    for (index, hole) in holes.iter().enumerate() {
        let name = path.index(index).field("name");
        if hole.name.as_str().is_empty() {
            return Err(name.error(Problem::Empty));
        }
        if !names.insert(hole.name.as_str()) {
            return Err(name.error(Problem::Duplicate));
        }
    }
    Ok(())
}

fn check_rlimits(rlimits: &[Rlimit], path: &FieldPath) -> Result<(), DocumentError> {
    let mut kinds = BTreeSet::new();
    for (index, rlimit) in rlimits.iter().enumerate() {
        let path = path.index(index);
        if !kinds.insert(rlimit.kind) {
            return Err(path.field("kind").error(Problem::Duplicate));
        }
        // TOML's numbers end there; more is "unlimited".
        let too_large = |value| matches!(value, RlimitValue::Limit(n) if i64::try_from(n).is_err());
        if rlimit.soft > rlimit.hard || too_large(rlimit.soft) || too_large(rlimit.hard) {
            return Err(path.field("soft").error(Problem::OutOfRange));
        }
    }
    Ok(())
}

fn check_resources(resources: &Resources, path: &FieldPath) -> Result<(), DocumentError> {
    check_figure(&resources.memory, &MEMORY, &path.field("memory"))?;
    check_figure(&resources.cpu_millis, &CPU_MILLIS, &path.field("cpu_millis"))?;
    if resources.pids.is_some_and(|pids| !PIDS.contains(&pids)) {
        return Err(path.field("pids").error(Problem::OutOfRange));
    }
    Ok(())
}

fn check_figure(
    figure: &Figure,
    sane: &RangeInclusive<u64>,
    path: &FieldPath,
) -> Result<(), DocumentError> {
    for (name, value) in [("limit", figure.limit), ("min", figure.min), ("max", figure.max)] {
        if value.is_some_and(|value| !sane.contains(&value)) {
            return Err(path.field(name).error(Problem::OutOfRange));
        }
    }
    match (figure.min, figure.max) {
        (None, None) => Ok(()),
        (Some(min), Some(max)) if min <= max => match figure.limit {
            Some(limit) if !figure.admits(limit) => {
                Err(path.field("limit").error(Problem::Unfitting))
            }
            _ => Ok(()),
        },
        (Some(_), Some(_)) | (Some(_), None) => Err(path.field("min").error(Problem::Unfitting)),
        (None, Some(_)) => Err(path.field("max").error(Problem::Unfitting)),
    }
}

/// A4: an argument list stands once, so that user, environment and streams of a command are certain.
fn check_exec(execs: &[Exec], path: &FieldPath) -> Result<(), DocumentError> {
    limit(execs.len(), MAX_LIST, path)?;
    let mut lists = BTreeSet::new();
    for (index, exec) in execs.iter().enumerate() {
        let path = path.index(index);
        check_argv(&exec.argv, &path.field("argv"))?;
        if !lists.insert(&exec.argv) {
            return Err(path.field("argv").error(Problem::Duplicate));
        }
        check_env(&exec.env, &path.field("env"))?;
        if let Some(user) = &exec.user {
            check_user(user, &path.field("user"))?;
        }
    }
    Ok(())
}

fn check_signals(signals: &[u32], path: &FieldPath) -> Result<(), DocumentError> {
    unique(signals, path)?;
    for (index, signal) in signals.iter().enumerate() {
        // signal(7): 1 to 64 on x86-64; 0 asks whether a process exists.
        if !(1..=64).contains(signal) {
            return Err(path.index(index).error(Problem::OutOfRange));
        }
    }
    Ok(())
}

/// As Kubernetes: init containers end, sidecars do not, ephemeral containers run once.
fn check_restart(container: &Container, path: &FieldPath) -> Result<(), DocumentError> {
    let fits = match container.role {
        Role::Init => container.restart != Restart::Always,
        Role::Sidecar => container.restart == Restart::Always,
        Role::App => true,
        Role::Ephemeral => container.restart == Restart::Never,
    };
    if !fits {
        return Err(path.field("restart").error(Problem::Unfitting));
    }
    match (container.restart, container.max_starts) {
        (_, Some(0)) => Err(path.field("max_starts").error(Problem::OutOfRange)),
        (Restart::Never, Some(2..)) => Err(path.field("max_starts").error(Problem::Unfitting)),
        _ => Ok(()),
    }
}

/// Memory limits in bytes: below, no container starts; above, no machine goes.
const MEMORY: RangeInclusive<u64> = (1 << 20)..=(1 << 50);
/// CPU limits in thousandths.
const CPU_MILLIS: RangeInclusive<u64> = 1..=1_000_000;
/// Processes and threads; the kernel has no more (PID_MAX_LIMIT).
const PIDS: RangeInclusive<u64> = 1..=(1 << 22);
