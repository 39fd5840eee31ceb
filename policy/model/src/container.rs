// SPDX-License-Identifier: Apache-2.0
//! One container, as it must run.

use serde::Deserialize;
use serde::Serialize;

use crate::Capability;
use crate::EnvHole;
use crate::EnvVar;
use crate::Exec;
use crate::ImageRef;
use crate::Mount;
use crate::Resources;
use crate::Rlimit;
use crate::SecretFile;
use crate::User;

/// One container, as it must run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    /// What the container is in the pod.
    #[serde(default)]
    pub role: Role,
    /// Image pinned by manifest digest: `registry/repository@sha256:...`.
    pub image: ImageRef,
    /// Name of the key in the guest configuration that must have signed the image; absent = the pinned
    /// digest alone counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
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
    pub logs: Visibility,
    /// Whether the host may read usage figures and process ids.
    #[serde(default)]
    pub metrics: Visibility,
    /// Whether the host may read the termination message.
    #[serde(default)]
    pub termination_message: Visibility,
    /// Whether the root file system is read-only.
    #[serde(default)]
    pub readonly_rootfs: bool,
    /// Mounts beside the standard ones (/proc, /dev, /sys and so on), by destination.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Resources of the key broker that the guest puts into this container's memory as files. The
    /// container reads no other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretFile>,
    /// Capabilities in all of bounding, effective and permitted sets.
    #[serde(default)]
    pub capabilities: Vec<Capability>,
    /// `no_new_privileges` of the process.
    pub no_new_privileges: bool,
    /// System call filter.
    pub seccomp: Seccomp,
    /// Masked and read-only paths of /proc.
    #[serde(default, skip_serializing_if = "ProcMount::is_default")]
    pub proc_mount: ProcMount,
    /// Limits of each process, setrlimit(2); a kind that is absent is as the guest has it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rlimits: Vec<Rlimit>,
    /// Limits of the container as a whole.
    #[serde(default)]
    pub resources: Resources,
    /// Commands that may be run inside the container: probes, hooks and `kubectl exec`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exec: Vec<Exec>,
    /// Signals that the host may send, by number.
    pub signals: Vec<u32>,
    /// Whether another container of this name may follow one that has ended. Never are two alive at
    /// once.
    #[serde(default)]
    pub restart: Restart,
    /// Most starts in the life of the VM, whatever `restart` says; absent = no cap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_starts: Option<u32>,
    /// Containers that must have ended with code 0 before this one may be created. A container that
    /// others wait for is not created again once it has ended so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// Sidecars that must run when this one is created.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after_started: Vec<String>,
}

/// What a container is in the pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs to its end before others start; never with restart "always".
    Init,
    /// Starts before others and keeps running; always with restart "always".
    Sidecar,
    /// The workload.
    #[default]
    App,
    /// May be added to the running pod (`kubectl debug`); runs once and nothing waits for it.
    Ephemeral,
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

/// Whether something of a container leaves the guest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Visibility {
    /// The host reads it.
    HostVisible,
    /// It stays in the guest.
    #[default]
    None,
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

/// Masked and read-only paths of /proc.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProcMount {
    /// The field's usual lists.
    #[default]
    Default,
    /// Nothing is masked; the owner's explicit choice.
    Unmasked,
}

impl ProcMount {
    fn is_default(&self) -> bool {
        *self == Self::Default
    }
}

/// Whether another container of a name may follow one that has ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Always.
    Always,
    /// Unless it has ended with code 0.
    OnFailure,
    /// Never: one start.
    #[default]
    Never,
}
