// SPDX-License-Identifier: Apache-2.0
//! Mounts, volumes and secrets: what a container finds in its file system beside its image.

use std::collections::BTreeMap;

use casemate_kbs_protocol::ResourceUri;
use serde::Deserialize;
use serde::Serialize;

use crate::Sha256Digest;

/// A mount, by destination; the guest decides what is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// Absolute path in the container.
    pub destination: String,
    /// What the guest puts there.
    pub kind: MountKind,
    /// Whether it is read-only; always for volumes whose content the host gives.
    #[serde(default)]
    pub readonly: bool,
    /// Name of the volume; there for [`MountKind::Volume`] and for nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// File or directory of the volume that is mounted in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_path: Option<String>,
}

/// What the guest puts at a mount's destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    /// A volume of the policy.
    Volume,
}

/// A volume: what is in it and where that comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Volume {
    /// A directory in the guest's memory, empty at first, shared by the containers that mount it.
    EmptyDir {
        /// Most bytes in it; absent = the VM's memory is the only bound.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size_limit: Option<u64>,
    },
    /// Files whose content the host gives and the policy pins (a ConfigMap).
    Config {
        /// Digest of each file, by name; exactly these files.
        files: BTreeMap<String, Sha256Digest>,
    },
    /// Files that the host chooses (downward API, ConfigMaps that change).
    ///
    /// # Security
    ///
    /// B13: nothing of it is checked but the files that are pinned; containers see it read-only,
    /// noexec, nosuid and nodev.
    Untrusted {
        /// Most bytes of one revision.
        max_bytes: u64,
        /// Files among the others that must be there, each with this digest (a ConfigMap in a
        /// projected volume).
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        files: BTreeMap<String, Sha256Digest>,
    },
}

impl Volume {
    /// Most bytes of one revision: Kubernetes' cap on a ConfigMap and some room for the downward API.
    pub const MAX_BYTES: u64 = (1 << 20) + (64 << 10);
    /// Most files of one revision.
    pub const MAX_FILES: usize = 1024;

    /// The files whose content is pinned, by name.
    #[must_use]
    pub const fn pinned(&self) -> Option<&BTreeMap<String, Sha256Digest>> {
        match self {
            Self::EmptyDir { .. } => None,
            Self::Config { files } | Self::Untrusted { files, .. } => Some(files),
        }
    }

    /// Whether the host gives its content.
    #[must_use]
    pub const fn takes_content(&self) -> bool {
        !matches!(self, Self::EmptyDir { .. })
    }
}

/// A resource of the key broker that the guest fetches under its attested session and puts into one
/// container as a file in the guest's memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretFile {
    /// The resource, `kbs:///repository/type/tag`.
    pub resource: ResourceUri,
    /// Absolute path of the file in the container. It is read-only and belongs to the container's user.
    pub path: String,
    /// Permission bits; 0o400 if absent.
    #[serde(default = "owner_reads", skip_serializing_if = "is_owner_reads")]
    pub mode: u32,
}

const fn owner_reads() -> u32 {
    0o400
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_owner_reads(mode: &u32) -> bool {
    *mode == owner_reads()
}
