// SPDX-License-Identifier: Apache-2.0
//! The life of one process.

/// What containerd sees of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// Where the process is in its life.
    pub status: Status,
    /// How it ended, once it has.
    pub exit: Option<Exit>,
    /// The VMM's process id, which stands for every process of the VM.
    pub pid: u32,
}

/// Where a process is in its life, in containerd's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Made, not started.
    Created,
    /// Started and alive.
    Running,
    /// Ended, not yet deleted.
    Stopped,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Exit code, or 128 and the signal's number.
    pub status: u32,
    /// When, by the host's clock.
    pub at: Timestamp,
}

/// A point in time since 1970 by the host's clock; this crate reads no clock itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Whole seconds.
    pub seconds: i64,
    /// The rest, below a thousand million.
    pub nanos: i32,
}

/// The inner states of a process; [`Status`] is what containerd may know of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// The guest was asked to make it.
    Creating,
    /// The guest has made it.
    Created,
    /// The guest was asked to start it. `held` is an exit that was reported before the start.
    Starting { held: Option<Exit> },
    /// It runs.
    Running,
    /// It has ended.
    Stopped(Exit),
    /// The guest was asked to delete it; the exit is kept for the answer.
    Deleting { exit: Option<Exit> },
}

impl State {
    /// What containerd sees, or none when it must not know of the process yet.
    pub(crate) fn status(self) -> Option<Status> {
        match self {
            Self::Creating => None,
            Self::Created | Self::Starting { .. } => Some(Status::Created),
            Self::Running => Some(Status::Running),
            Self::Stopped(_) | Self::Deleting { .. } => Some(Status::Stopped),
        }
    }

    /// How the process ended, if it has.
    pub(crate) fn exit(self) -> Option<Exit> {
        match self {
            Self::Stopped(exit) => Some(exit),
            Self::Deleting { exit } => exit,
            Self::Creating | Self::Created | Self::Starting { .. } | Self::Running => None,
        }
    }

    /// Whether the process was made and has not ended: only such a one may exit.
    pub(crate) fn is_live(self) -> bool {
        matches!(self, Self::Created | Self::Starting { .. } | Self::Running)
    }
}
