// SPDX-License-Identifier: Apache-2.0
//! What can go wrong, by operation. No text here holds an environment value.

use std::io;

use libcontainer::oci_spec::OciSpecError;
use rustix::io::Errno;

use crate::cgroup::CgroupError;
use crate::cgroup::UpdateError;
use crate::device_filter::DeviceFilterError;
use crate::id::ProcessId;
use crate::launcher::HelperError;
use crate::launcher::LauncherError;
use crate::rootfs::FilesError;
use crate::spec::SpecError;

/// The guest could not be set up for containers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The cgroup of all containers.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// Their device filter.
    #[error(transparent)]
    DeviceFilter(#[from] DeviceFilterError),
    /// The runtime's directories.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The helper's binary.
    #[error(transparent)]
    Launcher(#[from] LauncherError),
    /// The reaper.
    #[error("failed to start the reaper")]
    Reaper(#[source] io::Error),
    /// The watch for want of memory.
    #[error("failed to start watching for want of memory")]
    Oom(#[source] io::Error),
}

/// A container could not be created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// The id is in use.
    #[error("a container of this id exists")]
    Exists,
    /// The policy's container cannot be run.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// Its files could not be made.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// Its spec could not be written.
    #[error("failed to write the container's spec")]
    Save(#[source] OciSpecError),
    /// Its streams could not be made.
    #[error("failed to make the container's streams")]
    Streams(#[source] Errno),
    /// The helper or libcontainer failed.
    #[error(transparent)]
    Helper(#[from] HelperError),
    /// The task that created it ended.
    #[error("the create was aborted")]
    Aborted,
}

/// A container could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// There is none of this id.
    #[error(transparent)]
    Unknown(#[from] UnknownProcess),
    /// It was started before.
    #[error("the container was started before")]
    Started,
    /// It ended before its start.
    #[error("the container has ended")]
    Ended,
    /// Its process does not listen.
    #[error("failed to tell the container's process to start")]
    Notify(#[source] io::Error),
}

/// A command could not be run in a container.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// There is no such container.
    #[error(transparent)]
    Unknown(#[from] UnknownProcess),
    /// It has not been started or has ended.
    #[error("the container does not run")]
    NotRunning,
    /// The exec's id is in use.
    #[error("an exec of this id exists")]
    Exists,
    /// The argument list cannot be run.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The process's description could not be written.
    #[error("failed to write the process's description")]
    Save(#[source] io::Error),
    /// Its streams could not be made.
    #[error("failed to make the command's streams")]
    Streams(#[source] Errno),
    /// The helper or libcontainer failed.
    #[error(transparent)]
    Helper(#[from] HelperError),
    /// The task that ran it ended.
    #[error("the exec was aborted")]
    Aborted,
}

/// A signal could not be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignalError {
    /// There is no such process.
    #[error(transparent)]
    Unknown(#[from] UnknownProcess),
    /// It has ended.
    #[error("the process has ended")]
    Ended,
    /// The kernel refuses.
    #[error("failed to send signal {number}")]
    Kill {
        /// The number.
        number: u32,
        /// The cause.
        #[source]
        source: Errno,
    },
    /// The container's cgroup is gone.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
}

/// A container or exec could not be deleted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeleteError {
    /// There is none of this id.
    #[error(transparent)]
    Unknown(#[from] UnknownProcess),
    /// It is being created.
    #[error("the container is being created")]
    Creating,
    /// An exec still runs.
    #[error("the process still runs")]
    Running,
    /// Its processes do not end.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// Its files stay.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The task that deleted it ended.
    #[error("the delete was aborted")]
    Aborted,
}

/// A terminal could not be resized.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResizeError {
    /// There is no such process.
    #[error(transparent)]
    Unknown(#[from] UnknownProcess),
    /// It has no terminal.
    #[error("the process has no terminal")]
    NoTerminal,
    /// The kernel refuses.
    #[error("failed to set the terminal's size")]
    Terminal {
        /// The cause.
        #[source]
        source: Errno,
    },
}

/// A container's state could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// There is none of this id.
    #[error(transparent)]
    Unknown(#[from] UnknownProcess),
    /// Its cgroup is gone.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
}

/// A container's limits could not be set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateLimitsError {
    /// There is none of this id.
    #[error(transparent)]
    Unknown(#[from] UnknownProcess),
    /// The kernel refuses.
    #[error(transparent)]
    Cgroup(#[from] UpdateError),
}

/// A container's termination log could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// There is none of this id.
    #[error(transparent)]
    Unknown(#[from] UnknownProcess),
    /// The file cannot be read.
    #[error(transparent)]
    Files(#[from] FilesError),
}

/// No process of this id exists.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no process {process}")]
pub struct UnknownProcess {
    pub(crate) process: ProcessId,
}
