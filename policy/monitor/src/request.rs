// SPDX-License-Identifier: Apache-2.0
//! What the monitor is asked and what it grants.

use casemate_policy::MountKind;

/// The host gives the pod's network to the guest. Addresses and routes are not the policy's matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkRequest {
    /// The pod's hostname.
    pub hostname: String,
}

/// The host asks for a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CreateRequest {
    /// Id that the host gives.
    pub id: String,
    /// Name in the pod.
    pub name: String,
    /// `sha256:…` of the manifest that the host's tag resolved to.
    pub image_digest: String,
    /// The whole argument list.
    pub argv: Vec<String>,
    /// The environment as `NAME=value`.
    pub env: Vec<String>,
    /// Working directory.
    pub cwd: String,
    /// Whether it wants a terminal.
    pub terminal: bool,
    /// Whether the host will write to stdin.
    pub stdin: bool,
    /// Whether the host will read stdout.
    pub stdout: bool,
    /// Whether the host will read stderr.
    pub stderr: bool,
    /// The mounts beside /proc, /dev, /sys and the like.
    pub mounts: Vec<MountRequest>,
    /// Whether the root file system is read-only.
    pub readonly_rootfs: bool,
}

/// One mount that the host asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountRequest {
    /// Path in the container.
    pub destination: String,
    /// What kubelet wants there; `None` for kinds that no policy grants (claims, host paths, …).
    pub kind: Option<MountKind>,
    /// Whether it is read-only.
    pub readonly: bool,
}

/// The host asks for a process in a running container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecRequest {
    /// The container.
    pub container_id: String,
    /// Id that the host gives.
    pub exec_id: String,
    /// The whole argument list.
    pub argv: Vec<String>,
    /// The environment as `NAME=value`.
    pub env: Vec<String>,
    /// Working directory.
    pub cwd: String,
    /// Whether it wants a terminal.
    pub terminal: bool,
    /// Whether the host will write to stdin.
    pub stdin: bool,
    /// Whether the host will read stdout.
    pub stdout: bool,
    /// Whether the host will read stderr.
    pub stderr: bool,
}

/// A process of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessRef {
    /// The container.
    pub container_id: String,
    /// The process that an exec made; `None` for the container's first process.
    pub exec_id: Option<String>,
}

impl ProcessRef {
    /// The first process of a container.
    #[must_use]
    pub fn init(container_id: &str) -> Self {
        Self { container_id: container_id.to_owned(), exec_id: None }
    }

    /// A process that an exec made.
    #[must_use]
    pub fn exec(container_id: &str, exec_id: &str) -> Self {
        Self { container_id: container_id.to_owned(), exec_id: Some(exec_id.to_owned()) }
    }
}

/// What a new process gets. All the rest stands in the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Name of the container in the policy.
    pub container: String,
    /// The environment as `NAME=value`: the policy's variables in the policy's order, then the holes
    /// that the host filled.
    pub env: Vec<String>,
    /// The streams that the host gets.
    pub stdio: Stdio,
}

/// The streams of a process that the host gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stdio {
    /// A terminal stands behind the streams.
    pub terminal: bool,
    /// The host writes to stdin.
    pub stdin: bool,
    /// The host reads stdout. Otherwise the guest discards it.
    pub stdout: bool,
    /// The host reads stderr. Otherwise the guest discards it.
    pub stderr: bool,
}
