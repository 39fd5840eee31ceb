// SPDX-License-Identifier: Apache-2.0
//! The OCI spec of a container, made from the policy and the granted values. Nothing here comes
//! from an OCI spec of the host: there is none.

mod mounts;

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::path::Path;

use casemate_policy::Capability;
use casemate_policy::ProcMount;
use casemate_policy::Rlimit;
use casemate_policy::RlimitKind;
use casemate_policy::RlimitValue;
use casemate_policy::Seccomp;
use libcontainer::oci_spec::OciSpecError;
use libcontainer::oci_spec::runtime::Capabilities;
use libcontainer::oci_spec::runtime::Capability as OciCapability;
use libcontainer::oci_spec::runtime::Linux;
use libcontainer::oci_spec::runtime::LinuxBuilder;
use libcontainer::oci_spec::runtime::LinuxCapabilities;
use libcontainer::oci_spec::runtime::LinuxCapabilitiesBuilder;
use libcontainer::oci_spec::runtime::LinuxCpuBuilder;
use libcontainer::oci_spec::runtime::LinuxDeviceCgroupBuilder;
use libcontainer::oci_spec::runtime::LinuxDeviceType;
use libcontainer::oci_spec::runtime::LinuxMemoryBuilder;
use libcontainer::oci_spec::runtime::LinuxNamespace;
use libcontainer::oci_spec::runtime::LinuxNamespaceBuilder;
use libcontainer::oci_spec::runtime::LinuxNamespaceType;
use libcontainer::oci_spec::runtime::LinuxPidsBuilder;
use libcontainer::oci_spec::runtime::LinuxResources;
use libcontainer::oci_spec::runtime::LinuxResourcesBuilder;
use libcontainer::oci_spec::runtime::PosixRlimit;
use libcontainer::oci_spec::runtime::PosixRlimitBuilder;
use libcontainer::oci_spec::runtime::PosixRlimitType;
use libcontainer::oci_spec::runtime::Process;
use libcontainer::oci_spec::runtime::ProcessBuilder;
use libcontainer::oci_spec::runtime::RootBuilder;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::oci_spec::runtime::SpecBuilder;
use libcontainer::oci_spec::runtime::User;
use libcontainer::oci_spec::runtime::UserBuilder;

use crate::cgroup::cpu_time;
use crate::request::CreateSpec;
use crate::request::ExecSpec;
use crate::request::Limits;
use crate::request::StdioRequest;
use crate::seccomp;

pub(crate) use mounts::Source;

/// Where the guest has put what the spec points at.
#[derive(Debug)]
pub(crate) struct Places<'a> {
    /// The container's root file system, mounted.
    pub(crate) rootfs: &'a Path,
    /// The container's cgroup below the root of the hierarchy, absolute.
    pub(crate) cgroup: &'a Path,
    /// What the policy's mounts show.
    pub(crate) sources: &'a [Source],
}

/// Builds the spec.
///
/// # Errors
///
/// When a value of the policy cannot be run: see [`SpecError`].
pub(crate) fn build(create: &CreateSpec, places: &Places<'_>) -> Result<Spec, SpecError> {
    Ok(SpecBuilder::default()
        .version("1.0.2")
        .root(
            RootBuilder::default()
                .path(places.rootfs)
                .readonly(create.container.readonly_rootfs)
                .build()?,
        )
        .mounts(mounts::build(create, places.sources)?)
        .hostname(create.hostname.as_str())
        .process(process(create)?)
        .linux(linux(create, places.cgroup)?)
        .build()?)
}

/// The process of a command in the container: the container's own, with another command line, and
/// perhaps another user.
///
/// # Errors
///
/// When the argument list cannot be run.
pub(crate) fn exec_process(init: &Process, exec: &ExecSpec) -> Result<Process, SpecError> {
    let ExecSpec { argv, env, user: wanted, stdio, .. } = exec;
    check_argv(argv)?;
    check_environment(env)?;
    let mut process = init.clone();
    process.set_args(Some(argv.clone()));
    process.set_env(Some(env.clone()));
    if let Some(wanted) = wanted {
        process.set_user(user(wanted)?);
    }
    process.set_terminal(Some(matches!(stdio, StdioRequest::Terminal(_))));
    Ok(process)
}

/// The capability sets: bounding, effective and permitted alike; nothing inheritable or ambient, so
/// that a program gets none by accident.
///
/// # Errors
///
/// When a name is unknown to libcontainer.
pub(crate) fn capability_sets<'a>(
    names: impl IntoIterator<Item = &'a str>,
) -> Result<LinuxCapabilities, SpecError> {
    let set = names
        .into_iter()
        .map(|name| {
            serde_json::from_value::<OciCapability>(serde_json::Value::String(name.to_owned()))
                .map_err(|source| SpecError::Capability { name: name.to_owned(), source })
        })
        .collect::<Result<Capabilities, _>>()?;
    Ok(LinuxCapabilitiesBuilder::default()
        .bounding(set.clone())
        .effective(set.clone())
        .permitted(set)
        .inheritable(Capabilities::new())
        .ambient(Capabilities::new())
        .build()?)
}

fn process(create: &CreateSpec) -> Result<Process, SpecError> {
    let container = &create.container;
    check_argv(&container.argv)?;
    check_environment(&create.env)?;
    if !container.cwd.starts_with('/') || container.cwd.contains('\0') {
        return Err(SpecError::Cwd);
    }
    let builder = ProcessBuilder::default()
        .terminal(matches!(create.stdio, StdioRequest::Terminal(_)))
        .user(user(&container.user)?)
        .args(container.argv.clone())
        .env(create.env.clone())
        .cwd(container.cwd.as_str())
        .capabilities(capability_sets(container.capabilities.iter().map(Capability::as_str))?)
        .rlimits(rlimits(&container.rlimits)?)
        .oom_score_adj(OOM_SCORE_ADJ);
    let mut process = builder.build()?;
    // libcontainer loads the filter after it has dropped capabilities whenever this field is there,
    // even as `false`; without the bit that fails. Absent = off, and the filter comes first.
    process.set_no_new_privileges(container.no_new_privileges.then_some(true));
    Ok(process)
}

fn user(user: &casemate_policy::User) -> Result<User, SpecError> {
    Ok(UserBuilder::default()
        .uid(user.uid)
        .gid(user.gid)
        .umask(UMASK)
        .additional_gids(user.groups.clone())
        .build()?)
}

fn linux(create: &CreateSpec, cgroup: &Path) -> Result<Linux, SpecError> {
    let proc_mount = create.container.proc_mount;
    let mut linux = LinuxBuilder::default()
        .namespaces(namespaces()?)
        .resources(resources(create.limits)?)
        .cgroups_path(cgroup)
        .devices(Vec::new())
        .rootfs_propagation("private")
        .masked_paths(guarded(MASKED, proc_mount))
        .readonly_paths(guarded(READONLY, proc_mount))
        .build()?;
    linux.set_seccomp(match create.container.seccomp {
        Seccomp::Default => Some(seccomp::default_profile(&create.container.capabilities)?),
        Seccomp::Unconfined => None,
    });
    Ok(linux)
}

/// The paths to guard. `unmasked` opens those of /proc, as Kubernetes' `procMount` does; what
/// reaches into the guest's devices stays closed.
fn guarded(paths: &[&str], proc_mount: ProcMount) -> Vec<String> {
    let stays = |path: &&&str| match proc_mount {
        ProcMount::Default => true,
        ProcMount::Unmasked => !path.starts_with("/proc/"),
    };
    paths.iter().filter(stays).map(|path| (*path).to_owned()).collect()
}

/// Own process ids, mounts, host name and cgroup root. Network and System V IPC are the pod's,
/// which are the guest's own.
fn namespaces() -> Result<Vec<LinuxNamespace>, OciSpecError> {
    [
        LinuxNamespaceType::Pid,
        LinuxNamespaceType::Mount,
        LinuxNamespaceType::Uts,
        LinuxNamespaceType::Cgroup,
    ]
    .into_iter()
    .map(|typ| LinuxNamespaceBuilder::default().typ(typ).build())
    .collect()
}

/// Limits, and "no device": libcontainer adds its usual few, the runtime's own filter above the
/// container's cgroup has the last word.
fn resources(limits: Limits) -> Result<LinuxResources, OciSpecError> {
    let nothing = LinuxDeviceCgroupBuilder::default()
        .allow(false)
        .typ(LinuxDeviceType::A)
        .access("rwm")
        .build()?;
    // E22: the host can make memory scarce; half of a container's processes must not go on.
    let together = HashMap::from([("memory.oom.group".to_owned(), "1".to_owned())]);
    let mut resources =
        LinuxResourcesBuilder::default().devices(vec![nothing]).unified(together).build()?;
    if let Some(bytes) = limits.memory_bytes {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        resources.set_memory(Some(LinuxMemoryBuilder::default().limit(bytes).build()?));
    }
    if let Some(millis) = limits.cpu_millis {
        let (quota, period) = cpu_time(millis);
        let quota = i64::try_from(quota).unwrap_or(i64::MAX);
        resources.set_cpu(Some(LinuxCpuBuilder::default().quota(quota).period(period).build()?));
    }
    if let Some(pids) = limits.pids {
        resources.set_pids(Some(
            LinuxPidsBuilder::default().limit(i64::try_from(pids).unwrap_or(i64::MAX)).build()?,
        ));
    }
    Ok(resources)
}

/// The policy's limits, and the defaults for those that it does not name.
fn rlimits(policy: &[Rlimit]) -> Result<Vec<PosixRlimit>, OciSpecError> {
    let policy = policy
        .iter()
        .map(|limit| (rlimit_type(limit.kind), rlimit_value(limit.soft), rlimit_value(limit.hard)));
    let mut limits: Vec<_> = policy.collect();
    for default in RLIMITS {
        if !limits.iter().any(|(typ, ..)| *typ == default.0) {
            limits.push(*default);
        }
    }
    limits
        .into_iter()
        .map(|(typ, soft, hard)| {
            PosixRlimitBuilder::default().typ(typ).soft(soft).hard(hard).build()
        })
        .collect()
}

const fn rlimit_value(value: RlimitValue) -> u64 {
    match value {
        RlimitValue::Limit(limit) => limit,
        // RLIM_INFINITY
        RlimitValue::Unlimited => u64::MAX,
    }
}

const fn rlimit_type(kind: RlimitKind) -> PosixRlimitType {
    match kind {
        RlimitKind::As => PosixRlimitType::RlimitAs,
        RlimitKind::Core => PosixRlimitType::RlimitCore,
        RlimitKind::Cpu => PosixRlimitType::RlimitCpu,
        RlimitKind::Data => PosixRlimitType::RlimitData,
        RlimitKind::Fsize => PosixRlimitType::RlimitFsize,
        RlimitKind::Locks => PosixRlimitType::RlimitLocks,
        RlimitKind::Memlock => PosixRlimitType::RlimitMemlock,
        RlimitKind::Msgqueue => PosixRlimitType::RlimitMsgqueue,
        RlimitKind::Nice => PosixRlimitType::RlimitNice,
        RlimitKind::Nofile => PosixRlimitType::RlimitNofile,
        RlimitKind::Nproc => PosixRlimitType::RlimitNproc,
        RlimitKind::Rss => PosixRlimitType::RlimitRss,
        RlimitKind::Rtprio => PosixRlimitType::RlimitRtprio,
        RlimitKind::Rttime => PosixRlimitType::RlimitRttime,
        RlimitKind::Sigpending => PosixRlimitType::RlimitSigpending,
        RlimitKind::Stack => PosixRlimitType::RlimitStack,
    }
}

fn check_argv(argv: &[String]) -> Result<(), SpecError> {
    match argv.first() {
        None => Err(SpecError::NoArguments),
        Some(program) if program.is_empty() => Err(SpecError::NoArguments),
        Some(_) if argv.iter().any(|a| a.contains('\0')) => Err(SpecError::Nul),
        Some(_) => Ok(()),
    }
}

/// A7: a name that stands twice means different things to different programs.
fn check_environment(environment: &[String]) -> Result<(), SpecError> {
    let mut names = BTreeSet::new();
    for variable in environment {
        match variable.split_once('=') {
            None | Some(("", _)) => return Err(SpecError::Variable),
            Some(_) if variable.contains('\0') => return Err(SpecError::Nul),
            Some((name, _)) if !names.insert(name) => {
                return Err(SpecError::VariableTwice { name: name.to_owned() });
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// A container that cannot be expressed as a spec.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// The argument list or its first element is empty.
    #[error("the argument list names no program")]
    NoArguments,
    /// An argument or a variable holds a NUL.
    #[error("an argument or variable holds a NUL character")]
    Nul,
    /// An environment entry is not `NAME=value`.
    #[error("an environment variable has no name")]
    Variable,
    /// Two environment entries have the same name.
    #[error("environment variable {name:?} stands twice")]
    VariableTwice {
        /// The name.
        name: String,
    },
    /// The working directory is not an absolute path.
    #[error("the working directory is not an absolute path")]
    Cwd,
    /// libcontainer does not know the capability.
    #[error("capability {name} is not supported")]
    Capability {
        /// The name in the policy.
        name: String,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
    /// A mount destination that would hide what the runtime puts in place.
    #[error("a mount on {destination:?} is not allowed")]
    Destination {
        /// The destination in the policy.
        destination: String,
    },
    /// Two mounts on the same destination.
    #[error("two mounts on {destination:?}")]
    DestinationTwice {
        /// The destination in the policy.
        destination: String,
    },
    /// A mount of a volume that the pod does not have.
    #[error("the mount on {destination:?} names no volume of the pod")]
    Volume {
        /// The destination in the policy.
        destination: String,
    },
    /// A mount without a source; a bug of the runtime.
    #[error("no source was prepared for the mount on {destination:?}")]
    Source {
        /// The destination in the policy.
        destination: String,
    },
    /// The builders of the OCI types refused a value; a bug of the runtime.
    #[error("the container cannot be expressed as an OCI spec")]
    Build(#[from] OciSpecError),
}

/// Hidden from every container: what tells about or reaches into the guest's kernel.
const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/dynamic_debug",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/class/virtio-ports",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/kernel/config",
    "/sys/kernel/debug",
    "/sys/kernel/security",
];

/// Readable but not writable, even to a container with `CAP_SYS_ADMIN`'s file rights.
const READONLY: &[&str] =
    &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Resource, soft and hard limit.
const RLIMITS: &[(PosixRlimitType, u64, u64)] = &[
    (PosixRlimitType::RlimitNofile, 1024, 524_288),
    // No memory of a workload in a file unless it asks for it.
    (PosixRlimitType::RlimitCore, 0, u64::MAX),
    // The kernel's default; libcontainer raises its own to load the device filter.
    (PosixRlimitType::RlimitMemlock, 8 << 20, 8 << 20),
];

/// Containers go before the agent, which has the lowest score.
const OOM_SCORE_ADJ: i32 = 0;

const UMASK: u32 = 0o022;

#[cfg(test)]
mod tests;
