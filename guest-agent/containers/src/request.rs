// SPDX-License-Identifier: Apache-2.0
//! What the agent asks of the runtime: the owner's container and the values that were granted.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::SystemTime;

use casemate_policy::Container;
use casemate_policy::User;
use zeroize::Zeroizing;

use crate::id::ContainerId;

/// A container to create.
///
/// Everything that runs comes from the policy ([`Container`]); the other fields are made in the
/// guest or were compared with the policy before.
#[derive(Debug, Clone)]
pub struct CreateSpec {
    /// Id that the host gave.
    pub id: ContainerId,
    /// The container as the policy has it.
    pub container: Container,
    /// The whole environment, `NAME=value`: the policy's variables and the filled holes.
    pub env: Vec<String>,
    /// Hostname of the pod.
    pub hostname: String,
    /// Content of `/etc/hosts`, where the policy mounts one.
    pub hosts: String,
    /// Content of `/etc/resolv.conf`, where the policy mounts one.
    pub resolv_conf: String,
    /// The pod's volumes, by name; those that the container mounts must be among them.
    pub volumes: BTreeMap<String, Volume>,
    /// Files that this container alone sees.
    pub secrets: Vec<SecretFile>,
    /// Directory of the unpacked image. It is only read.
    pub rootfs: PathBuf,
    /// Which streams the agent wants.
    pub stdio: StdioRequest,
    /// Limits of the container's cgroup.
    pub limits: Limits,
}

/// A volume of the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Volume {
    /// Memory of the guest that the pod's containers share.
    Memory {
        /// Most bytes in it; `None` = as much as the guest has.
        size_limit: Option<u64>,
    },
    /// Content that came from outside, in immutable revisions: always read-only, without programs,
    /// devices and set-user-id bits.
    Content,
}

/// A secret as a file in the guest's memory.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretFile {
    /// Absolute path in the container.
    pub path: String,
    /// Permission bits; the file belongs to the container's user and group.
    pub mode: u32,
    /// Its bytes; overwritten when they are dropped.
    pub content: Zeroizing<Vec<u8>>,
}

/// Without the content.
impl fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretFile").field("path", &self.path).finish_non_exhaustive()
    }
}

/// A command to run in a running container, with the container's own working directory,
/// capabilities and filters.
#[derive(Debug, Clone)]
pub struct ExecSpec {
    /// The container.
    pub container: ContainerId,
    /// Id of the command, used once in the container's life.
    pub exec: ContainerId,
    /// Argument list.
    pub argv: Vec<String>,
    /// The whole environment, `NAME=value`.
    pub env: Vec<String>,
    /// Its user; `None` = the container's.
    pub user: Option<User>,
    /// Which streams the agent wants.
    pub stdio: StdioRequest,
}

/// Streams of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StdioRequest {
    /// Pipes; a stream that is not wanted is `/dev/null`.
    Pipes {
        /// Whether the agent writes to stdin.
        stdin: bool,
        /// Whether the agent reads stdout.
        stdout: bool,
        /// Whether the agent reads stderr.
        stderr: bool,
    },
    /// A terminal for all three.
    Terminal(WindowSize),
}

/// Size of a terminal in characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WindowSize {
    /// Characters in a line; 0 = unknown.
    pub columns: u16,
    /// Lines; 0 = unknown.
    pub rows: u16,
}

/// Limits of a container; `None` = as much as the guest has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// `memory.max` in bytes.
    pub memory_bytes: Option<u64>,
    /// `cpu.max` in thousandths of a CPU.
    pub cpu_millis: Option<u64>,
    /// `pids.max`.
    pub pids: Option<u64>,
}

/// A process that was created.
#[derive(Debug)]
pub struct Created {
    /// Process id in the guest.
    pub pid: u32,
    /// The agent's ends of its streams.
    pub stdio: Stdio,
}

/// The agent's ends of a process's streams. All are non-blocking; dropping one closes it.
#[derive(Debug)]
pub enum Stdio {
    /// Pipes, as asked for.
    Pipes {
        /// Write end.
        stdin: Option<OwnedFd>,
        /// Read end.
        stdout: Option<OwnedFd>,
        /// Read end.
        stderr: Option<OwnedFd>,
    },
    /// Master side of the terminal. Reading gives `EIO` when the last process has closed it.
    Terminal(OwnedFd),
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Exit code, or 128 + the number of the signal that ended the process.
    pub code: u32,
    /// Guest wall clock when the process was reaped; informative, since the host owns the clock.
    pub at: SystemTime,
}

/// Whom a signal reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalScope {
    /// One process.
    One,
    /// Every process of the container.
    All,
}

/// Figures of a container's cgroup; sizes in bytes, times in microseconds. A limit of 0 = none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the cgroup files, named as there")]
pub struct Stats {
    pub cpu_usage_usec: u64,
    pub cpu_user_usec: u64,
    pub cpu_system_usec: u64,
    pub cpu_nr_periods: u64,
    pub cpu_nr_throttled: u64,
    pub cpu_throttled_usec: u64,
    pub memory_usage: u64,
    pub memory_limit: u64,
    pub memory_anon: u64,
    pub memory_file: u64,
    pub memory_inactive_file: u64,
    pub memory_pgfault: u64,
    pub memory_pgmajfault: u64,
    pub memory_oom_kill: u64,
    pub pids_current: u64,
    pub pids_limit: u64,
}
