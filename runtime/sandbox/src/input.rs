// SPDX-License-Identifier: Apache-2.0
//! What happens to a sandbox.

use crate::id::Id;
use crate::id::Process;
use crate::process::Exit;
use crate::process::Timestamp;

/// Something that happened: a request of containerd, or a report of the VM, the guest or the
/// driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// containerd asks for the sandbox.
    CreateSandbox,
    /// The VMM runs.
    VmStarted {
        /// Its process id.
        pid: u32,
    },
    /// The VMM could not be started.
    VmFailed,
    /// The guest has attested itself.
    GuestReady,
    /// The VMM has ended, for whatever reason.
    VmExited {
        /// When the driver saw it.
        at: Timestamp,
    },
    /// The agent has not answered within its deadline.
    AgentSilent,
    /// containerd asks for a container.
    CreateContainer(Id),
    /// containerd asks for an exec.
    Exec {
        /// The container.
        task: Id,
        /// The new exec.
        exec: Id,
    },
    /// The guest has made the process.
    Created(Process),
    /// The guest has refused to make it, or failed.
    CreateFailed(Process),
    /// containerd starts a process.
    Start(Process),
    /// The guest has started it.
    Started(Process),
    /// The guest has not started it.
    StartFailed(Process),
    /// containerd sends a signal.
    Signal {
        /// To whom.
        process: Process,
        /// Number of the signal.
        signal: u32,
        /// To every process of the container.
        all: bool,
    },
    /// The guest reports the end of a process.
    Exited {
        /// Which one.
        process: Process,
        /// How it ended.
        exit: Exit,
    },
    /// The guest's kernel killed a process of the container for want of memory.
    OutOfMemory(Id),
    /// containerd deletes a process.
    Delete {
        /// Which one.
        process: Process,
        /// Now, for a process that never ran.
        at: Timestamp,
    },
    /// The guest has forgotten it.
    Deleted(Process),
    /// containerd asks the shim to end.
    Shutdown {
        /// Even when tasks are left.
        now: bool,
    },
}

/// Why an input is not acted upon. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no such task or exec.
    #[error("{process} does not exist")]
    NotFound {
        /// Which one.
        process: Process,
    },
    /// There is one of this id.
    #[error("{process} exists already")]
    AlreadyExists {
        /// Which one.
        process: Process,
    },
    /// The process has ended.
    #[error("process already finished: {process}")]
    Finished {
        /// Which one.
        process: Process,
    },
    /// The process is in another state than the request needs.
    #[error("{process} is {found}, not {needed}")]
    WrongState {
        /// Which one.
        process: Process,
        /// The state it is in.
        found: &'static str,
        /// The state it would have to be in.
        needed: &'static str,
    },
    /// The sandbox has no guest that could do it: not yet, or no longer.
    #[error("the sandbox is {found}, not {needed}")]
    SandboxState {
        /// The state it is in.
        found: &'static str,
        /// The state it would have to be in.
        needed: &'static str,
    },
    /// The sandbox's own task holds no process to execute anything in.
    #[error("nothing can be executed in the sandbox itself")]
    SandboxHasNoProcess,
    /// Containers are left.
    #[error("the sandbox still has containers")]
    SandboxInUse,
}
