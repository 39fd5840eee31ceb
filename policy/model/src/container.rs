// SPDX-License-Identifier: Apache-2.0
//! The policy: the pod's containers as they must run.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use crate::ImageRef;
use crate::Pattern;

/// A policy: everything that may run in one pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Version of the policy format; this one is 1.
    pub version: u32,
    /// What the host may set for the sandbox.
    #[serde(default)]
    pub sandbox: Sandbox,
    /// The containers, by their name in the pod.
    pub containers: BTreeMap<String, Container>,
}

/// What the host may set for the sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sandbox {
    /// Exact hostname; absent = any valid hostname, since kubelet derives it from the pod's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
}

/// One container, as it must run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    /// Image pinned by manifest digest: `registry/repository@sha256:...`.
    pub image: ImageRef,
    /// Whether the image's layers must be encrypted.
    pub encryption: Encryption,
    /// The whole argument list, entry point first.
    pub argv: Vec<String>,
    /// Absolute working directory.
    pub cwd: String,
    /// Numeric user and groups.
    pub user: User,
    /// Environment, exact and complete but for the holes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// Variables whose value only the host knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env_holes: Vec<EnvHole>,
    /// Whether the container has a terminal.
    #[serde(default)]
    pub terminal: bool,
    /// Whether the host may write to stdin.
    #[serde(default)]
    pub stdin: bool,
    /// Whether stdout and stderr go to the host.
    pub logs: Logs,
    /// Whether the root file system is read-only.
    #[serde(default)]
    pub readonly_rootfs: bool,
    /// Mounts beside the standard ones (/proc, /dev, /sys and so on), by destination.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Capabilities in all of bounding, effective and permitted sets.
    #[serde(default)]
    pub capabilities: Vec<Capability>,
    /// `no_new_privileges` of the process.
    pub no_new_privileges: bool,
    /// System call filter.
    pub seccomp: Seccomp,
    /// Most bytes of memory of the container's processes together, beyond which the guest's kernel
    /// ends one of them; absent = the VM's memory is the only bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<u64>,
    /// Commands that may be run inside the container: probes, hooks and `kubectl exec`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exec: Vec<Exec>,
    /// Signals that the host may send, by number.
    pub signals: Vec<u32>,
    /// How often a container of this name may be created in the life of the VM; 0 = no limit.
    /// Never are two alive at once.
    pub max_starts: u32,
    /// Containers that must have ended with code 0 before this one may be created. A container that
    /// others wait for is not created again once it has ended so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
}

/// Whether an image's layers must be encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encryption {
    /// At least one layer must be encrypted.
    Required,
    /// Plain layers are accepted.
    Optional,
}

/// Numeric user of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary group ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<u32>,
}

/// An exact environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvVar {
    /// Name, without `=`.
    pub name: String,
    /// Value.
    pub value: String,
}

/// A variable whose value the host gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvHole {
    /// Exact name, or a name pattern; always covers the whole name.
    pub name: Pattern,
    /// Pattern of the value; always covers the whole value.
    pub value: Pattern,
    /// Whether the variable must be there.
    #[serde(default)]
    pub required: bool,
}

/// Whether stdout and stderr go to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Logs {
    /// The host reads stdout and stderr.
    HostVisible,
    /// Output is discarded in the guest.
    None,
}

/// A mount, by destination; the guest decides what is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// Absolute path in the container.
    pub destination: String,
    /// What the guest puts there.
    pub kind: MountKind,
    /// Whether it is read-only.
    #[serde(default)]
    pub readonly: bool,
    /// Name of the pod's volume; there for [`MountKind::EmptyDir`] and for nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
}

/// What the guest puts at a mount's destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountKind {
    /// `/etc/hosts`, made in the guest.
    Hosts,
    /// `/etc/hostname`, made in the guest.
    Hostname,
    /// `/etc/resolv.conf`, made in the guest from typed DNS values.
    ResolvConf,
    /// The termination message, a file in the guest's memory.
    TerminationLog,
    /// `/dev/shm`, a tmpfs shared by the pod.
    Shm,
    /// A directory in the guest's memory, shared by the pod's containers that name the same volume.
    EmptyDir,
}

/// System call filter of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seccomp {
    /// The field's usual default profile.
    Default,
    /// No filter; the owner's explicit choice.
    Unconfined,
}

/// A command that may be run inside a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exec {
    /// The whole argument list, compared exactly.
    pub argv: Vec<String>,
    /// Whether it may have a terminal.
    #[serde(default)]
    pub terminal: bool,
    /// Whether the host may write to its stdin.
    #[serde(default)]
    pub stdin: bool,
}

/// A Linux capability, spelled as in OCI: `CAP_CHOWN`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Capability(String);

impl Capability {
    /// The capability as text, with `CAP_`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Capability {
    type Error = BadCapability;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let known = text.strip_prefix("CAP_").is_some_and(|n| CAPABILITIES.contains(&n));
        if known { Ok(Self(text)) } else { Err(BadCapability { text }) }
    }
}

impl From<Capability> for String {
    fn from(capability: Capability) -> Self {
        capability.0
    }
}

/// The text names no Linux capability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown capability {text:?}")]
pub struct BadCapability {
    text: String,
}

/// Linux capabilities, capability(7), in the order of their numbers.
const CAPABILITIES: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];
