// SPDX-License-Identifier: Apache-2.0
//! Rules of volumes, and of what a container mounts.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::MAX_LIST;
use super::text::check_path;
use super::text::is_dns_label;
use super::text::is_file_name;
use super::text::is_relative_path;
use super::text::is_under;
use super::text::limit;
use crate::Container;
use crate::DocumentError;
use crate::Mount;
use crate::MountKind;
use crate::SecretFile;
use crate::Sha256Digest;
use crate::Volume;
use crate::error::FieldPath;
use crate::error::Problem;

type Volumes = BTreeMap<String, Volume>;

pub(super) fn check_volumes(volumes: &Volumes) -> Result<(), DocumentError> {
    let root = FieldPath::root("volumes");
    limit(volumes.len(), MAX_VOLUMES, &root)?;
    for (name, volume) in volumes {
        let path = root.field(name);
        if !is_dns_label(name) {
            return Err(path.error(Problem::NotName));
        }
        check_volume(volume, &path)?;
    }
    Ok(())
}

fn check_volume(volume: &Volume, path: &FieldPath) -> Result<(), DocumentError> {
    match volume {
        Volume::EmptyDir { size_limit } => {
            if size_limit.is_some_and(|size| !EMPTY_DIR_BYTES.contains(&size)) {
                return Err(path.field("size_limit").error(Problem::OutOfRange));
            }
        }
        Volume::Config { files } => check_files(files, &path.field("files"))?,
        Volume::Untrusted { max_bytes, files } => {
            if !(1..=Volume::MAX_BYTES).contains(max_bytes) {
                return Err(path.field("max_bytes").error(Problem::OutOfRange));
            }
            check_files(files, &path.field("files"))?;
        }
    }
    Ok(())
}

fn check_files(
    files: &BTreeMap<String, Sha256Digest>,
    path: &FieldPath,
) -> Result<(), DocumentError> {
    limit(files.len(), Volume::MAX_FILES, path)?;
    // The name itself may hold anything, so it is not repeated.
    if files.keys().all(|name| is_file_name(name)) {
        Ok(())
    } else {
        Err(path.clone().error(Problem::NotFileName))
    }
}

pub(super) fn check_mounts(
    container: &Container,
    volumes: &Volumes,
    path: &FieldPath,
) -> Result<(), DocumentError> {
    let mounts = path.field("mounts");
    limit(container.mounts.len(), MAX_LIST, &mounts)?;
    let mut destinations = BTreeSet::new();
    for (index, mount) in container.mounts.iter().enumerate() {
        let path = mounts.index(index);
        let destination = path.field("destination");
        check_path(&mount.destination, &destination)?;
        if !destinations.insert(&mount.destination) {
            return Err(destination.error(Problem::Duplicate));
        }
        if is_reserved(mount) {
            return Err(destination.error(Problem::ReservedPath));
        }
        check_mounted_volume(mount, volumes, &path)?;
    }
    check_secrets(&container.secrets, &container.mounts, &path.field("secrets"))
}

/// B1: the guest's own file systems stay uncovered; the typed small files may lie in /dev and /etc.
fn is_reserved(mount: &Mount) -> bool {
    let destination = mount.destination.as_str();
    match mount.kind {
        MountKind::Shm => destination != "/dev/shm",
        MountKind::TerminationLog => {
            destination != "/dev/termination-log" && is_guests(destination)
        }
        MountKind::Hosts => destination != "/etc/hosts",
        MountKind::Hostname => destination != "/etc/hostname",
        MountKind::ResolvConf => destination != "/etc/resolv.conf",
        MountKind::Volume => is_guests(destination),
    }
}

fn is_guests(path: &str) -> bool {
    path == "/" || ["/proc", "/sys", "/dev"].iter().any(|root| is_under(path, root))
}

fn check_mounted_volume(
    mount: &Mount,
    volumes: &Volumes,
    path: &FieldPath,
) -> Result<(), DocumentError> {
    let name = path.field("volume");
    let sub_path = path.field("sub_path");
    if mount.kind != MountKind::Volume {
        return match (&mount.volume, &mount.sub_path) {
            (None, None) => Ok(()),
            (Some(_), _) => Err(name.error(Problem::Unfitting)),
            (None, Some(_)) => Err(sub_path.error(Problem::Unfitting)),
        };
    }
    let Some(volume) = &mount.volume else { return Err(name.error(Problem::Unfitting)) };
    let Some(volume) = volumes.get(volume) else { return Err(name.error(Problem::Unknown)) };
    // B13: what the host gives is only read.
    if volume.takes_content() && !mount.readonly {
        return Err(path.field("readonly").error(Problem::NotReadonly));
    }
    match (volume, mount.sub_path.as_deref()) {
        (_, None) => Ok(()),
        (Volume::EmptyDir { .. }, Some(sub)) if is_relative_path(sub) => Ok(()),
        (Volume::Untrusted { .. }, Some(sub)) if is_file_name(sub) => Ok(()),
        (Volume::Config { files }, Some(sub)) if files.contains_key(sub) => Ok(()),
        (Volume::Config { .. }, Some(_)) => Err(sub_path.error(Problem::Unknown)),
        (_, Some(_)) => Err(sub_path.error(Problem::NotNormalSubPath)),
    }
}

/// A secret lies where nothing else is mounted: not in a volume that others see.
fn check_secrets(
    secrets: &[SecretFile],
    mounts: &[Mount],
    path: &FieldPath,
) -> Result<(), DocumentError> {
    limit(secrets.len(), MAX_SECRETS, path)?;
    for (index, secret) in secrets.iter().enumerate() {
        let path = path.index(index);
        let place = path.field("path");
        check_path(&secret.path, &place)?;
        if is_guests(&secret.path) {
            return Err(place.error(Problem::ReservedPath));
        }
        let before = secrets.iter().take(index).map(|s| &s.path);
        let mut others = mounts.iter().map(|m| &m.destination).chain(before);
        if others.any(|other| is_under(&secret.path, other) || is_under(other, &secret.path)) {
            return Err(place.error(Problem::Duplicate));
        }
        if secret.mode > 0o777 {
            return Err(path.field("mode").error(Problem::OutOfRange));
        }
    }
    Ok(())
}

/// Size limits of empty directories in bytes: a page; more than any machine has.
const EMPTY_DIR_BYTES: RangeInclusive<u64> = 4096..=(1 << 50);
/// Most volumes in a pod.
const MAX_VOLUMES: usize = 256;
/// Most secrets of a container.
const MAX_SECRETS: usize = 64;
