// SPDX-License-Identifier: Apache-2.0
//! What the driver must do after a step.

use crate::id::Id;
use crate::id::Process;
use crate::process::Exit;

/// Something that the driver carries out, in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Launch the VM and bring its guest to the attested phase.
    BootVm,
    /// End the VMM by SIGKILL.
    KillVm,
    /// Tell the guest that its VM ends, so that it has the end of its audit log attested; end the VMM
    /// by SIGKILL when the guest is done, or after a few seconds.
    DismissVm,
    /// Ask the guest to power off; kill the VMM when it does not within the deadline.
    PowerOffVm,
    /// Ask the guest to make the container or the exec.
    GuestCreate(Process),
    /// Ask the guest to start it.
    GuestStart(Process),
    /// Have the guest send a signal.
    GuestSignal {
        /// To whom.
        process: Process,
        /// Number of the signal.
        signal: u32,
        /// To every process of the container.
        all: bool,
    },
    /// Have the guest forget the process.
    GuestDelete(Process),
    /// Tell containerd.
    Publish(Event),
    /// Wake whoever waits for the end of the process.
    WakeWaiters(Process),
    /// Remove everything the sandbox has on the host.
    CleanUp,
    /// End the shim.
    Quit,
}

/// A task event, as containerd's event types have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// `TaskCreate`
    Create {
        /// The task.
        id: Id,
        /// The VMM.
        pid: u32,
    },
    /// `TaskStart`
    Start {
        /// The task.
        id: Id,
        /// The VMM.
        pid: u32,
    },
    /// `TaskExecAdded`
    ExecAdded {
        /// The task.
        id: Id,
        /// The exec.
        exec: Id,
    },
    /// `TaskExecStarted`
    ExecStarted {
        /// The task.
        id: Id,
        /// The exec.
        exec: Id,
        /// The VMM.
        pid: u32,
    },
    /// `TaskExit`
    Exit {
        /// The process.
        process: Process,
        /// The VMM.
        pid: u32,
        /// How it ended.
        exit: Exit,
    },
    /// `TaskDelete`
    Delete {
        /// The task.
        id: Id,
        /// The VMM.
        pid: u32,
        /// How it ended.
        exit: Exit,
    },
    /// `TaskOOM`
    Oom {
        /// The task.
        id: Id,
    },
}
