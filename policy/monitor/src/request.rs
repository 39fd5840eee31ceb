// SPDX-License-Identifier: Apache-2.0
//! What the monitor is asked.
//!
//! What has a form as a JSON document has that of the agent's API: its names, its fields, and an empty
//! text or `OTHER` where it has them for "none".

use std::net::IpAddr;

use casemate_policy::IpRange;
use casemate_policy::Sha256Digest;
use serde::Deserialize;
use serde::Serialize;

/// The host gives the pod's network to the guest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkRequest {
    /// The pod's hostname.
    pub hostname: String,
    /// The network of each address of an interface, [`IpRange::of`] its address and prefix.
    pub addresses: Vec<IpRange>,
    /// Routes.
    pub routes: Vec<RouteRequest>,
    /// Name servers.
    pub dns_servers: Vec<IpAddr>,
    /// Search domains.
    pub dns_searches: Vec<String>,
}

/// One route of the pod's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteRequest {
    /// Where to.
    pub destination: IpRange,
    /// Next hop; `None` = on the link.
    pub gateway: Option<IpAddr>,
}

/// The host asks for a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MountRequest {
    /// Path in the container.
    pub destination: String,
    /// What kubelet wants there; `None` for what no policy grants (claims, host paths, …).
    #[serde(with = "other_is_none")]
    pub kind: Option<MountWish>,
    /// Whether it is read-only.
    #[serde(default)]
    pub readonly: bool,
}

/// What kubelet wants at a mount's destination. What lies there in the end is the policy's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MountWish {
    /// `/etc/hosts`.
    Hosts,
    /// `/etc/hostname`.
    Hostname,
    /// `/etc/resolv.conf`.
    ResolvConf,
    /// The termination message.
    TerminationLog,
    /// `/dev/shm`.
    Shm,
    /// A volume that is empty at first.
    EmptyDir,
    /// A volume with content that the host gives: ConfigMap, downward API, projected.
    Content,
}

/// The host asks for a process in a running container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
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

/// The host changes limits of a container. A figure that is absent stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UpdateRequest {
    /// The container.
    pub container_id: String,
    /// Bytes of memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<u64>,
    /// Thousandths of a CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u64>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<u64>,
}

/// The host gives a revision of a volume's content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PutVolumeRequest {
    /// The volume in the policy.
    pub volume: String,
    /// All files of the revision.
    pub files: Vec<FileRequest>,
}

/// One file of a volume. Digest and size are the guest's own, of the bytes that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRequest {
    /// Name in the volume.
    pub name: String,
    /// Digest of the content.
    pub sha256: Sha256Digest,
    /// Bytes of the content.
    pub size: u64,
}

/// A process of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProcessRef {
    /// The container.
    pub container_id: String,
    /// The process that an exec made; `None` for the container's first process.
    #[serde(with = "empty_is_none")]
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

/// A mount's kind as a document has it.
mod other_is_none {
    use serde::Deserialize as _;
    use serde::Deserializer;
    use serde::Serialize as _;
    use serde::Serializer;
    use serde::de::IntoDeserializer as _;
    use serde::de::value::StringDeserializer;

    use super::MountWish;

    pub(super) fn serialize<S: Serializer>(
        kind: &Option<MountWish>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match kind {
            Some(kind) => kind.serialize(serializer),
            None => serializer.serialize_str(OTHER),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<MountWish>, D::Error> {
        let kind = String::deserialize(deserializer)?;
        if kind == OTHER {
            return Ok(None);
        }
        let kind: StringDeserializer<D::Error> = kind.into_deserializer();
        MountWish::deserialize(kind).map(Some)
    }

    const OTHER: &str = "OTHER";
}

/// The id of an exec as a document has it.
mod empty_is_none {
    use serde::Deserialize as _;
    use serde::Deserializer;
    use serde::Serializer;

    pub(super) fn serialize<S: Serializer>(
        exec_id: &Option<String>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(exec_id.as_deref().unwrap_or_default())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<String>, D::Error> {
        let exec_id = String::deserialize(deserializer)?;
        Ok((!exec_id.is_empty()).then_some(exec_id))
    }
}
