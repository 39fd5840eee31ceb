// SPDX-License-Identifier: Apache-2.0
//! The guest's file systems.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::MountFlags;

/// A file system that the guest always has.
struct Entry {
    kind: &'static str,
    target: &'static str,
    flags: MountFlags,
    options: &'static CStr,
}

const PLAIN: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// In the order in which they are mounted. /run has no `noexec`: container roots lie on it.
const ENTRIES: &[Entry] = &[
    Entry { kind: "proc", target: "/proc", flags: PLAIN, options: c"" },
    Entry { kind: "sysfs", target: "/sys", flags: PLAIN, options: c"" },
    Entry {
        kind: "devtmpfs",
        target: "/dev",
        flags: MountFlags::NOSUID.union(MountFlags::NOEXEC),
        options: c"mode=755",
    },
    Entry {
        kind: "devpts",
        target: "/dev/pts",
        flags: MountFlags::NOSUID.union(MountFlags::NOEXEC),
        options: c"mode=620,ptmxmode=666,gid=5",
    },
    Entry {
        kind: "tmpfs",
        target: "/run",
        flags: MountFlags::NOSUID.union(MountFlags::NODEV),
        // Images and containers live in memory; a quarter stays for processes.
        options: c"mode=755,size=75%",
    },
    Entry { kind: "tmpfs", target: "/tmp", flags: PLAIN, options: c"mode=1777,size=5%" },
    Entry { kind: "cgroup2", target: CGROUP, flags: PLAIN, options: c"" },
];

const CGROUP: &str = "/sys/fs/cgroup";

/// The kernel's interface to TEE reports. It is there once the module configfs is loaded, and only
/// guests that need it see it.
const CONFIGFS: Entry =
    Entry { kind: "configfs", target: "/sys/kernel/config", flags: PLAIN, options: c"" };

/// Mounts everything and lets cgroups below the root use all controllers.
pub(crate) fn mount_all() -> Result<(), MountError> {
    ENTRIES.iter().try_for_each(mount)?;
    enable_controllers(Path::new(CGROUP)).map_err(|source| MountError::Controllers { source })
}

/// Mounts configfs.
pub(crate) fn mount_configfs() -> Result<(), MountError> {
    mount(&CONFIGFS)
}

fn mount(entry: &Entry) -> Result<(), MountError> {
    let failed = |source| MountError::Mount { target: entry.target, source };
    fs::create_dir_all(entry.target).map_err(|e| failed(errno(&e)))?;
    rustix::mount::mount(entry.kind, entry.target, entry.kind, entry.flags, entry.options)
        .map_err(failed)
}

/// Settings that the kernel has another default for. One that this kernel lacks needs no setting.
pub(crate) fn harden() {
    const SETTINGS: &[(&str, &str)] = &[
        // E14: the host's router advertisements would set addresses and routes.
        ("net/ipv6/conf/all/accept_ra", "0"),
        ("net/ipv6/conf/default/accept_ra", "0"),
        ("net/ipv6/conf/all/autoconf", "0"),
        ("net/ipv6/conf/default/autoconf", "0"),
        ("net/ipv4/conf/all/accept_redirects", "0"),
        ("net/ipv4/conf/default/accept_redirects", "0"),
        ("net/ipv6/conf/all/accept_redirects", "0"),
        ("net/ipv6/conf/default/accept_redirects", "0"),
        // Packets from outside to or from 127/8 are dropped.
        ("net/ipv4/conf/all/route_localnet", "0"),
        // E7.
        ("kernel/sysrq", "0"),
        ("kernel/kptr_restrict", "2"),
        ("kernel/dmesg_restrict", "1"),
        ("kernel/core_pattern", ""),
    ];
    for (name, value) in SETTINGS {
        let path = Path::new("/proc/sys").join(name);
        if let Err(error) = fs::write(&path, format!("{value}\n"))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(setting = name, %error, "kernel setting refused");
        }
    }
}

fn enable_controllers(root: &Path) -> io::Result<()> {
    let available = fs::read_to_string(root.join("cgroup.controllers"))?;
    let wanted: Vec<String> =
        available.split_ascii_whitespace().map(|name| format!("+{name}")).collect();
    fs::write(root.join("cgroup.subtree_control"), wanted.join(" "))
}

fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)
}

/// A file system is missing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum MountError {
    #[error("failed to mount {target}")]
    Mount {
        target: &'static str,
        #[source]
        source: Errno,
    },
    #[error("failed to enable the cgroup controllers")]
    Controllers {
        #[source]
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_controller_is_enabled() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("cgroup.controllers"), "cpu memory pids\n").unwrap();
        enable_controllers(root.path()).unwrap();
        let written = fs::read_to_string(root.path().join("cgroup.subtree_control")).unwrap();
        assert_eq!(written, "+cpu +memory +pids");
    }

    #[test]
    fn a_hierarchy_without_controllers_file_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        assert!(enable_controllers(root.path()).is_err());
    }

    #[test]
    fn only_places_for_devices_and_images_lack_a_flag() {
        for entry in ENTRIES.iter().chain([&CONFIGFS]) {
            assert!(entry.flags.contains(MountFlags::NOSUID), "{}", entry.target);
            let dev = entry.target.starts_with("/dev");
            assert!(dev || entry.flags.contains(MountFlags::NODEV), "{}", entry.target);
            let run = entry.target == "/run";
            assert!(run || entry.flags.contains(MountFlags::NOEXEC), "{}", entry.target);
        }
    }
}
