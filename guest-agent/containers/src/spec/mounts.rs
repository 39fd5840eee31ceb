// SPDX-License-Identifier: Apache-2.0
//! Mounts of a container: the standard ones and the policy's.

use std::collections::BTreeSet;
use std::path::PathBuf;

use casemate_policy::Mount as PolicyMount;
use casemate_policy::MountKind;
use libcontainer::oci_spec::OciSpecError;
use libcontainer::oci_spec::runtime::Mount;
use libcontainer::oci_spec::runtime::MountBuilder;

use super::SpecError;
use crate::request::CreateSpec;
use crate::request::Volume;

/// What the guest shows at a destination of the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// The mount's destination, as in the policy.
    pub(crate) destination: String,
    /// File or directory that the guest made.
    pub(crate) path: PathBuf,
}

/// The standard mounts, then the policy's in its order, then the secrets.
pub(super) fn build(create: &CreateSpec, sources: &[Source]) -> Result<Vec<Mount>, SpecError> {
    let policy = &create.container.mounts;
    let own_shm = !policy.iter().any(|m| m.destination == SHM);
    let mut mounts = STANDARD
        .iter()
        .filter(|m| own_shm || m.destination != SHM)
        .map(Standard::mount)
        .collect::<Result<Vec<_>, _>>()?;
    let mut seen = BTreeSet::new();
    for mount in policy {
        check_destination(&mount.destination, mount.kind)?;
        if !seen.insert(mount.destination.as_str()) {
            return Err(SpecError::DestinationTwice { destination: mount.destination.clone() });
        }
        mounts.push(bind(&mount.destination, options(mount, create)?, sources)?);
    }
    for secret in &create.secrets {
        check_destination(&secret.path, MountKind::Hosts)?;
        if !seen.insert(secret.path.as_str()) {
            return Err(SpecError::DestinationTwice { destination: secret.path.clone() });
        }
        mounts.push(bind(&secret.path, vec!["noexec", "ro"], sources)?);
    }
    Ok(mounts)
}

/// B1: nothing is mounted over the root or over the kernel's own file systems.
fn check_destination(destination: &str, kind: MountKind) -> Result<(), SpecError> {
    let normal = destination.len() > 1
        && destination.starts_with('/')
        && !destination.contains('\0')
        && destination
            .split('/')
            .skip(1)
            .all(|part| !part.is_empty() && part != "." && part != "..");
    let reserved = RESERVED.iter().any(|top| {
        destination.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    let exception = match kind {
        MountKind::Shm => destination == SHM,
        MountKind::TerminationLog => destination == TERMINATION_LOG,
        _ => false,
    };
    if normal && (!reserved || exception) {
        Ok(())
    } else {
        Err(SpecError::Destination { destination: destination.to_owned() })
    }
}

/// B2: the options are the guest's; the policy chooses only between read-only and not.
fn options(mount: &PolicyMount, create: &CreateSpec) -> Result<Vec<&'static str>, SpecError> {
    let access = if mount.readonly { "ro" } else { "rw" };
    if mount.kind != MountKind::Volume {
        return Ok(vec!["noexec", access]);
    }
    let volume = mount.volume.as_ref().and_then(|name| create.volumes.get(name));
    match volume {
        Some(Volume::Memory { .. }) => Ok(vec![access]),
        // B13: what the host may have made is looked at and nothing else.
        Some(Volume::Content) => Ok(vec!["noexec", "ro"]),
        None => Err(SpecError::Volume { destination: mount.destination.clone() }),
    }
}

fn bind(
    destination: &str,
    more: Vec<&'static str>,
    sources: &[Source],
) -> Result<Mount, SpecError> {
    let source = sources
        .iter()
        .find(|s| s.destination == destination)
        .ok_or_else(|| SpecError::Source { destination: destination.to_owned() })?;
    let mut options = vec!["bind", "rprivate", "nosuid", "nodev"];
    options.extend(more);
    Ok(MountBuilder::default()
        .destination(destination)
        .typ("bind")
        .source(source.path.clone())
        .options(options.into_iter().map(str::to_owned).collect::<Vec<_>>())
        .build()?)
}

/// A mount that every container has.
struct Standard {
    destination: &'static str,
    typ: &'static str,
    source: &'static str,
    options: &'static [&'static str],
}

impl Standard {
    fn mount(&self) -> Result<Mount, OciSpecError> {
        MountBuilder::default()
            .destination(self.destination)
            .typ(self.typ)
            .source(self.source)
            .options(self.options.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>())
            .build()
    }
}

const SHM: &str = "/dev/shm";

/// Kubernetes' default `terminationMessagePath`.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// Top directories that belong to the runtime, with everything below.
const RESERVED: &[&str] = &["/proc", "/sys", "/dev"];

const STANDARD: &[Standard] = &[
    Standard {
        destination: "/proc",
        typ: "proc",
        source: "proc",
        options: &["nosuid", "noexec", "nodev"],
    },
    Standard {
        destination: "/dev",
        typ: "tmpfs",
        source: "tmpfs",
        options: &["nosuid", "strictatime", "mode=755", "size=65536k"],
    },
    Standard {
        destination: "/dev/pts",
        typ: "devpts",
        source: "devpts",
        options: &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    },
    Standard {
        destination: SHM,
        typ: "tmpfs",
        source: "shm",
        options: &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
    },
    Standard {
        destination: "/dev/mqueue",
        typ: "mqueue",
        source: "mqueue",
        options: &["nosuid", "noexec", "nodev"],
    },
    Standard {
        destination: "/sys",
        typ: "sysfs",
        source: "sysfs",
        options: &["nosuid", "noexec", "nodev", "ro"],
    },
    Standard {
        destination: "/sys/fs/cgroup",
        typ: "cgroup",
        source: "cgroup",
        options: &["nosuid", "noexec", "nodev", "relatime", "ro"],
    },
];
