// SPDX-License-Identifier: Apache-2.0
//! What the monitor grants, and the change that stays reserved until it is carried out.

use casemate_policy::User;

use crate::ProcessRef;

/// What a new process gets. All the rest stands in the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Name of the container in the policy.
    pub container: String,
    /// The environment as `NAME=value`: the policy's variables in the policy's order, then the holes
    /// that the host filled.
    pub env: Vec<String>,
    /// The user that it runs as.
    pub user: User,
    /// The streams that the host gets.
    pub stdio: Stdio,
}

/// The streams of a process that the host gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Stdio {
    /// A terminal stands behind the streams.
    pub terminal: bool,
    /// The host writes to stdin.
    pub stdin: bool,
    /// The host reads stdout. Otherwise the guest discards it.
    pub stdout: bool,
    /// The host reads stderr. Otherwise the guest discards it.
    pub stderr: bool,
}

/// All limits of a container, as they are to be after an update. `None` = the VM is the only bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ContainerLimits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Thousandths of a CPU.
    pub cpu_millis: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

/// A change that is granted and reserved: whoever carries it out hands it back with
/// [`crate::ReferenceMonitor::commit`] or [`crate::ReferenceMonitor::rollback`].
#[derive(Debug)]
#[must_use = "the change stays reserved until commit or rollback"]
pub struct Pending(Change);

impl Pending {
    /// Reserves a change; for monitors.
    pub const fn new(change: Change) -> Self {
        Self(change)
    }

    /// The change.
    #[must_use]
    pub fn into_change(self) -> Change {
        self.0
    }
}

/// What changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The pod's network is set.
    Network,
    /// A container is made.
    Create {
        /// The container.
        id: String,
    },
    /// A process is made in a container.
    Exec {
        /// The process.
        process: ProcessRef,
    },
    /// A process that was made runs.
    Start {
        /// The process.
        process: ProcessRef,
    },
    /// A process is forgotten.
    Delete {
        /// The process.
        process: ProcessRef,
    },
    /// A container's limits change.
    Update {
        /// The container.
        id: String,
        /// Its limits after the change.
        limits: ContainerLimits,
    },
    /// A volume gets new content.
    PutVolume {
        /// The volume.
        volume: String,
        /// Number of the content: 1 for the first, growing by one.
        revision: u64,
    },
}
