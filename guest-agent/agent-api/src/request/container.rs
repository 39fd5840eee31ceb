// SPDX-License-Identifier: Apache-2.0
//! What the host says of a new container.

use super::ContainerId;
use super::ContainerName;
use super::EnvEntry;
use super::ImageDigest;
use super::Problem;
use super::RequestError;
use super::Stdio;
use super::admit;
use super::process::Streams;
use super::process::parse_argv;
use super::process::parse_env;
use super::text;
use crate::proto;

/// Most mounts of a container.
pub(crate) const MAX_MOUNTS: usize = 256;

/// The typed projection of what CRI asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateContainer {
    /// Id that the host gives.
    pub id: ContainerId,
    /// Name in the pod.
    pub name: ContainerName,
    /// Manifest that the host's tag resolved to.
    pub image: ImageDigest,
    /// Arguments; at least one.
    pub argv: Vec<String>,
    /// Environment, in the host's order.
    pub env: Vec<EnvEntry>,
    /// Absolute working directory.
    pub cwd: String,
    /// Streams of the first process.
    pub stdio: Stdio,
    /// Mounts, in the host's order.
    pub mounts: Vec<Mount>,
    /// Whether the root is read-only.
    pub readonly_rootfs: bool,
}

impl TryFrom<proto::CreateContainerRequest> for CreateContainer {
    type Error = RequestError;

    fn try_from(message: proto::CreateContainerRequest) -> Result<Self, Self::Error> {
        admit("create", &message)?;
        text::absolute_path("cwd", &message.cwd)?;
        text::within("mounts", message.mounts.len(), MAX_MOUNTS)?;
        let stdio = Streams {
            terminal: message.terminal,
            stdin: message.stdin,
            stdout: message.stdout,
            stderr: message.stderr,
            width: message.terminal_width,
            height: message.terminal_height,
        };
        Ok(Self {
            id: ContainerId::parse(&message.id)?,
            name: ContainerName::parse(&message.name)?,
            image: ImageDigest::parse(&message.image_digest)?,
            argv: parse_argv(message.argv)?,
            env: parse_env(message.env)?,
            cwd: message.cwd,
            stdio: stdio.parse()?,
            mounts: message.mounts.into_iter().map(Mount::try_from).collect::<Result<_, _>>()?,
            readonly_rootfs: message.readonly_rootfs,
        })
    }
}

/// A mount that kubelet wants, by destination; never where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Absolute path in the container, without `.` and `..`.
    pub destination: String,
    /// What is wanted there.
    pub kind: MountKind,
    /// Whether it is read-only.
    pub readonly: bool,
}

/// What kind of thing kubelet wants at a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountKind {
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
    /// A volume with content that the host gives.
    Content,
    /// Anything else of the node or its storage.
    Other,
}

impl TryFrom<proto::Mount> for Mount {
    type Error = RequestError;

    fn try_from(message: proto::Mount) -> Result<Self, Self::Error> {
        admit("mounts", &message)?;
        text::absolute_path("destination", &message.destination)?;
        let kind = match message.kind.enum_value() {
            Ok(proto::MountKind::HOSTS) => MountKind::Hosts,
            Ok(proto::MountKind::HOSTNAME) => MountKind::Hostname,
            Ok(proto::MountKind::RESOLV_CONF) => MountKind::ResolvConf,
            Ok(proto::MountKind::TERMINATION_LOG) => MountKind::TerminationLog,
            Ok(proto::MountKind::SHM) => MountKind::Shm,
            Ok(proto::MountKind::EMPTY_DIR) => MountKind::EmptyDir,
            Ok(proto::MountKind::CONTENT) => MountKind::Content,
            Ok(proto::MountKind::OTHER) => MountKind::Other,
            Ok(proto::MountKind::MOUNT_UNSPECIFIED) | Err(_) => {
                return Err(RequestError::new("kind", Problem::UnknownValue));
            }
        };
        Ok(Self { destination: message.destination, kind, readonly: message.readonly })
    }
}
