// SPDX-License-Identifier: Apache-2.0
//! The default system call filter: what container engines usually allow, conditioned on the
//! container's capabilities.
//!
//! Three answers are possible. A call on the list is allowed. A call that is known and not on the
//! list fails with `EPERM`. A call that nobody had heard of when the list was made fails with
//! `ENOSYS`, so that C libraries fall back to an older one instead of reporting an odd error.
//!
//! Only the 64-bit table is allowed: a 32-bit call ends its process. Linux turns 32-bit emulation
//! off in SEV and TDX guests since 6.7, so a filter for it would protect nothing.

mod calls;

use std::collections::BTreeSet;

use casemate_policy::Capability;
use libcontainer::oci_spec::OciSpecError;
use libcontainer::oci_spec::runtime::Arch;
use libcontainer::oci_spec::runtime::LinuxSeccomp;
use libcontainer::oci_spec::runtime::LinuxSeccompAction;
use libcontainer::oci_spec::runtime::LinuxSeccompArg;
use libcontainer::oci_spec::runtime::LinuxSeccompArgBuilder;
use libcontainer::oci_spec::runtime::LinuxSeccompBuilder;
use libcontainer::oci_spec::runtime::LinuxSeccompOperator;
use libcontainer::oci_spec::runtime::LinuxSyscall;
use libcontainer::oci_spec::runtime::LinuxSyscallBuilder;

use calls::ALWAYS;
use calls::BY_CAPABILITY;
use calls::KNOWN_AND_REFUSED;

/// The profile for a container with these capabilities.
///
/// # Errors
///
/// Only if the builders of the OCI types refuse a value, which none of ours is.
pub(crate) fn default_profile(capabilities: &[Capability]) -> Result<LinuxSeccomp, OciSpecError> {
    let granted = granted_calls(capabilities);
    let administrator = capabilities.iter().any(|c| c.as_str() == "CAP_SYS_ADMIN");

    let mut rules = vec![allow(granted.iter().copied())?];
    let refused = names(KNOWN_AND_REFUSED).filter(|name| !granted.contains(name));
    rules.push(refuse(refused, EPERM)?);
    for value in PERSONALITIES {
        rules.push(when(allow(["personality"])?, arg(0, Operator::Equal(value))?));
    }
    // Sockets of the VM's own channel to the host belong to the agent.
    rules.push(when(allow(["socket"])?, arg(0, Operator::Differs(AF_VSOCK))?));
    if !administrator {
        let all = NAMESPACE_FLAGS.iter().fold(0, |sum, flag| sum | flag);
        let none = Operator::Masked { mask: all, value: 0 };
        rules.push(when(allow(["clone"])?, arg(0, none)?));
        for flag in NAMESPACE_FLAGS {
            let set = Operator::Masked { mask: flag, value: flag };
            rules.push(when(refuse(["clone"], EPERM)?, arg(0, set)?));
        }
        // Its flags lie in memory, where a filter cannot look: callers fall back to clone.
        rules.push(refuse(["clone3"], ENOSYS)?);
    }

    LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .default_errno_ret(ENOSYS)
        .architectures(vec![Arch::ScmpArchX86_64])
        .syscalls(rules)
        .build()
}

fn granted_calls(capabilities: &[Capability]) -> BTreeSet<&'static str> {
    let extra = BY_CAPABILITY
        .iter()
        .filter(|(name, _)| capabilities.iter().any(|c| c.as_str() == *name))
        .flat_map(|(_, calls)| calls.split_whitespace());
    names(ALWAYS).chain(extra).collect()
}

fn names(groups: &'static [&'static str]) -> impl Iterator<Item = &'static str> {
    groups.iter().flat_map(|group| group.split_whitespace())
}

fn allow(names: impl IntoIterator<Item = &'static str>) -> Result<LinuxSyscall, OciSpecError> {
    LinuxSyscallBuilder::default()
        .names(names.into_iter().map(str::to_owned).collect::<Vec<_>>())
        .action(LinuxSeccompAction::ScmpActAllow)
        .build()
}

fn refuse(
    names: impl IntoIterator<Item = &'static str>,
    errno: u32,
) -> Result<LinuxSyscall, OciSpecError> {
    LinuxSyscallBuilder::default()
        .names(names.into_iter().map(str::to_owned).collect::<Vec<_>>())
        .action(LinuxSeccompAction::ScmpActErrno)
        .errno_ret(errno)
        .build()
}

fn when(mut rule: LinuxSyscall, arg: LinuxSeccompArg) -> LinuxSyscall {
    rule.set_args(Some(vec![arg]));
    rule
}

/// Comparison of a call's argument.
enum Operator {
    Equal(u64),
    Differs(u64),
    Masked { mask: u64, value: u64 },
}

fn arg(index: usize, operator: Operator) -> Result<LinuxSeccompArg, OciSpecError> {
    let builder = LinuxSeccompArgBuilder::default().index(index);
    match operator {
        Operator::Equal(value) => builder.value(value).op(LinuxSeccompOperator::ScmpCmpEq),
        Operator::Differs(value) => builder.value(value).op(LinuxSeccompOperator::ScmpCmpNe),
        // The runtime specification takes the mask first and the value second. libcontainer 0.7
        // reads them the other way round, and would then compare nothing.
        Operator::Masked { mask, value } => {
            builder.value(value).value_two(mask).op(LinuxSeccompOperator::ScmpCmpMaskedEq)
        }
    }
    .build()
}

/// `PER_LINUX`, `PER_LINUX32`, both with `UNAME26`, and the query.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

const AF_VSOCK: u64 = 40;

/// `CLONE_NEWNS`, `NEWCGROUP`, `NEWUTS`, `NEWIPC`, `NEWUSER`, `NEWPID`, `NEWNET`.
const NAMESPACE_FLAGS: [u64; 7] =
    [0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000];

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

#[cfg(test)]
mod tests;
