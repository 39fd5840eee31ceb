// SPDX-License-Identifier: Apache-2.0
//! The device filter of all containers: a BPF program on the cgroup above them.
//!
//! libcontainer attaches a program to each container's own cgroup, but adds rules of its own to
//! ours: it lets every node be made and `/dev/net/tun` be opened. The kernel asks the programs of
//! every level and all must agree, so this one, with nothing but the short list below, decides.
//!
//! The module uses what only features `cgroupsv2_devices` of libcgroups and `libseccomp` of
//! libcontainer provide: without them libcontainer would skip both filters silently, and this crate
//! does not compile.

use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::path::PathBuf;

use libcgroups::v2::devices::bpf::BpfError;
use libcgroups::v2::devices::bpf::prog;
use libcgroups::v2::devices::program::Program;
use libcgroups::v2::devices::program::ProgramError;
use libcontainer::oci_spec::OciSpecError;
use libcontainer::oci_spec::runtime::LinuxDeviceCgroup;
use libcontainer::oci_spec::runtime::LinuxDeviceCgroupBuilder;
use libcontainer::oci_spec::runtime::LinuxDeviceType;
use rustix::fs::Mode;
use rustix::fs::OFlags;

/// Attaches the filter to the cgroup directory `cgroup`, for it and everything below.
///
/// # Errors
///
/// When the kernel refuses the program. Containers must not run then.
pub(crate) fn attach(cgroup: &Path) -> Result<(), DeviceFilterError> {
    let program = Program::from_rules(&rules()?, false)?;
    let directory = rustix::fs::open(
        cgroup,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|source| DeviceFilterError::Cgroup { path: cgroup.to_owned(), source })?;
    let loaded = prog::load(LICENSE, program.bytecodes())?;
    // The attachment outlives the descriptor, which stays open with the agent: libcgroups hands it
    // out as a number, once in the guest's life.
    prog::attach(loaded, directory.as_fd().as_raw_fd())?;
    Ok(())
}

fn rules() -> Result<Vec<LinuxDeviceCgroup>, OciSpecError> {
    ALLOWED
        .iter()
        .map(|&(major, minor)| {
            let rule = LinuxDeviceCgroupBuilder::default()
                .allow(true)
                .typ(LinuxDeviceType::C)
                .major(major)
                .access("rwm");
            match minor {
                Some(minor) => rule.minor(minor).build(),
                None => rule.build(),
            }
        })
        .collect()
}

/// The filter could not be attached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceFilterError {
    /// The cgroup directory cannot be opened.
    #[error("failed to open cgroup {path}")]
    Cgroup {
        /// The directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: rustix::io::Errno,
    },
    /// The rules are no program; a bug.
    #[error("failed to translate the device rules")]
    Program(#[from] ProgramError),
    /// The rules cannot be expressed; a bug.
    #[error("failed to write the device rules")]
    Rules(#[from] OciSpecError),
    /// The kernel refused the program.
    #[error("the kernel refused the device filter")]
    Kernel(#[from] BpfError),
}

/// Character devices that a container may make and use, by major and minor number (the kernel's
/// `devices.txt`). No block device, and no other character device: not the report devices, not
/// `/dev/kmsg` (1:11), not `/dev/mem` (1:1), not the virtio ports.
const ALLOWED: &[(i64, Option<i64>)] = &[
    (1, Some(3)), // null
    (1, Some(5)), // zero
    (1, Some(7)), // full
    (1, Some(8)), // random
    (1, Some(9)), // urandom
    (5, Some(0)), // tty
    (5, Some(1)), // console
    (5, Some(2)), // ptmx
    (136, None),  // pts
];

const LICENSE: &str = "Apache\0";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allows_only_memory_devices_and_terminals() {
        let rules = rules().unwrap();
        assert_eq!(rules.len(), ALLOWED.len());
        for rule in &rules {
            assert!(rule.allow());
            assert_eq!(rule.typ(), Some(LinuxDeviceType::C), "no block device");
            assert!(matches!(rule.major(), Some(1 | 5 | 136)));
            // /dev/mem, /dev/kmem, /dev/port and /dev/kmsg share major 1 with /dev/null.
            if rule.major() == Some(1) {
                assert!(matches!(rule.minor(), Some(3 | 5 | 7 | 8 | 9)));
            }
        }
        assert!(!Program::from_rules(&rules, false).unwrap().bytecodes().is_empty());
    }
}
