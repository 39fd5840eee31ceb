// SPDX-License-Identifier: Apache-2.0
//! The runtime: creates, runs and removes containers.

mod create;
mod error;
mod table;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rustix::io::Errno;
use rustix::termios::Winsize;
use tokio::sync::broadcast;

use crate::cgroup::Cgroup;
use crate::device_filter;
use crate::id::ContainerId;
use crate::id::ProcessId;
use crate::launcher::Launcher;
use crate::oom::OomWatch;
use crate::reaper::Reaper;
use crate::request::CreateSpec;
use crate::request::Created;
use crate::request::ExecSpec;
use crate::request::Exit;
use crate::request::Limits;
use crate::request::SignalScope;
use crate::request::Stats;
use crate::request::WindowSize;
use crate::rootfs::Layout;
use crate::volumes::VolumeStore;

pub use error::CreateError;
pub use error::DeleteError;
pub use error::ExecError;
pub use error::InspectError;
pub use error::MessageError;
pub use error::ResizeError;
pub use error::SetupError;
pub use error::SignalError;
pub use error::StartError;
pub use error::UnknownProcess;
pub use error::UpdateLimitsError;

use table::Table;

/// Where the runtime keeps its things.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// Directory of its own, on which it mounts a tmpfs. Short: sockets are made below it.
    pub directory: PathBuf,
    /// Cgroup above those of the containers, from the root of the hierarchy.
    pub cgroup: PathBuf,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("/run/casemate/containers"),
            cgroup: PathBuf::from("/casemate"),
        }
    }
}

/// The runtime. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    layout: Layout,
    cgroup: PathBuf,
    launcher: Launcher,
    reaper: Reaper,
    oom: OomWatch,
    table: Table,
    terminals: AtomicU64,
}

impl Runtime {
    /// Sets the guest up for containers and takes over the reaping of every child of this process.
    ///
    /// The overlay file system must be available, `/proc`, `/dev` and `/sys` mounted, and cgroup
    /// version 2 on `/sys/fs/cgroup`. Called once, on a tokio runtime that outlives the result and
    /// has its I/O driver enabled.
    ///
    /// # Errors
    ///
    /// When a mount, the cgroup or the device filter cannot be made.
    pub async fn new(config: RuntimeConfig) -> Result<Self, SetupError> {
        let all = Cgroup::at(&config.cgroup);
        all.make()?;
        device_filter::attach(all.directory())?;
        let layout = Layout::make(config.directory)?;
        let reaper = Reaper::start().map_err(SetupError::Reaper)?;
        let launcher = Launcher::prepare(layout.helper(), reaper.clone())?;
        let oom = OomWatch::start().map_err(SetupError::Oom)?;
        Ok(Self {
            inner: Arc::new(Inner {
                layout,
                cgroup: config.cgroup,
                launcher,
                reaper,
                oom,
                table: Table::default(),
                terminals: AtomicU64::new(0),
            }),
        })
    }

    /// Creates a container and leaves it before the start of its program.
    ///
    /// Goes on to the end even if the returned future is dropped; the container must then be
    /// deleted by its id.
    ///
    /// # Errors
    ///
    /// When the id is in use or the container cannot be made. Nothing of it is left then.
    pub async fn create(&self, create: CreateSpec) -> Result<Created, CreateError> {
        let inner = Arc::clone(&self.inner);
        let task = tokio::spawn(async move { inner.create(create).await });
        task.await.map_err(|_| CreateError::Aborted)?
    }

    /// Lets a created container's program run.
    ///
    /// # Errors
    ///
    /// When the container is not in the state "created".
    pub async fn start(&self, id: &ContainerId) -> Result<(), StartError> {
        self.inner.start(id)
    }

    /// Runs a command in a running container, at once.
    ///
    /// # Errors
    ///
    /// When the container does not run, the exec's id is in use or the program cannot be run.
    pub async fn exec(&self, exec: ExecSpec) -> Result<Created, ExecError> {
        let inner = Arc::clone(&self.inner);
        let task = tokio::spawn(async move { inner.exec(exec).await });
        task.await.map_err(|_| ExecError::Aborted)?
    }

    /// Signals a process or every process of its container.
    ///
    /// # Errors
    ///
    /// When the process is unknown or has ended, or the number is no signal.
    pub fn signal(
        &self,
        process: &ProcessId,
        number: u32,
        scope: SignalScope,
    ) -> Result<(), SignalError> {
        let pid = self.inner.table.pid(process)?;
        match scope {
            SignalScope::One => match self.inner.reaper.signal(pid, number) {
                Ok(()) => Ok(()),
                Err(Errno::SRCH) => Err(SignalError::Ended),
                Err(source) => Err(SignalError::Kill { number, source }),
            },
            SignalScope::All => {
                if number == 0 || number > crate::signal::MAX_SIGNAL {
                    return Err(SignalError::Kill { number, source: Errno::INVAL });
                }
                Ok(self.inner.cgroup(&process.container).signal_all(number)?)
            }
        }
    }

    /// Waits for a process to end. Any number of callers may wait, and each may stop waiting. How
    /// it ended is kept until it is deleted.
    ///
    /// # Errors
    ///
    /// When the process is unknown.
    pub async fn wait(&self, process: &ProcessId) -> Result<Exit, UnknownProcess> {
        let mut exit = self.inner.table.exit(process)?;
        exit.wait().await.ok_or_else(|| UnknownProcess { process: process.clone() })
    }

    /// How a process ended; `None` while it has not.
    ///
    /// # Errors
    ///
    /// When the process is unknown.
    pub fn try_exit(&self, process: &ProcessId) -> Result<Option<Exit>, UnknownProcess> {
        Ok(self.inner.table.exit(process)?.exit())
    }

    /// Removes a container: ends what still runs, then cleans up its cgroup, mounts and files.
    ///
    /// # Errors
    ///
    /// When the container is unknown, or something stays; the call can be repeated then.
    pub async fn delete(&self, id: &ContainerId) -> Result<Exit, DeleteError> {
        let inner = Arc::clone(&self.inner);
        let id = id.clone();
        let task = tokio::spawn(async move { inner.delete(&id).await });
        task.await.map_err(|_| DeleteError::Aborted)?
    }

    /// Forgets an exec that has ended.
    ///
    /// # Errors
    ///
    /// When it is unknown or still runs.
    pub fn delete_exec(
        &self,
        container: &ContainerId,
        exec: &ContainerId,
    ) -> Result<Exit, DeleteError> {
        self.inner.table.remove_exec(container, exec)
    }

    /// Sets the size of a process's terminal.
    ///
    /// # Errors
    ///
    /// When the process is unknown or has no terminal.
    pub fn resize(&self, process: &ProcessId, size: WindowSize) -> Result<(), ResizeError> {
        let terminal = self.inner.table.terminal(process)?.ok_or(ResizeError::NoTerminal)?;
        let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&*terminal, size)
            .map_err(|source| ResizeError::Terminal { source })
    }

    /// Pids of a container's processes, in the guest's numbering.
    ///
    /// # Errors
    ///
    /// When the container is unknown or its cgroup is gone.
    pub fn pids(&self, id: &ContainerId) -> Result<Vec<u32>, InspectError> {
        self.inner.table.pid(&ProcessId::init(id.clone()))?;
        Ok(self.inner.cgroup(id).pids()?)
    }

    /// Figures of a container's cgroup.
    ///
    /// # Errors
    ///
    /// When the container is unknown or its cgroup is gone.
    pub fn stats(&self, id: &ContainerId) -> Result<Stats, InspectError> {
        self.inner.table.pid(&ProcessId::init(id.clone()))?;
        Ok(self.inner.cgroup(id).stats()?)
    }

    /// Sets limits of a container's cgroup; those that are not given stay.
    ///
    /// # Errors
    ///
    /// When the container is unknown, or the kernel refuses: then the limits are as before, or the
    /// error says that they are not.
    pub fn update(&self, id: &ContainerId, limits: Limits) -> Result<(), UpdateLimitsError> {
        self.inner.table.pid(&ProcessId::init(id.clone()))?;
        Ok(self.inner.cgroup(id).update(limits)?)
    }

    /// The last 4096 bytes of what a container has written to its termination log; none if it has
    /// no such file.
    ///
    /// # Errors
    ///
    /// When the container is unknown or the file cannot be read.
    pub fn termination_message(&self, id: &ContainerId) -> Result<Vec<u8>, MessageError> {
        self.inner.table.pid(&ProcessId::init(id.clone()))?;
        Ok(self.inner.layout.termination_message(id)?)
    }

    /// The pod's volumes.
    #[must_use]
    pub fn volumes(&self) -> &VolumeStore {
        self.inner.layout.volumes()
    }

    /// The containers from now on in which the kernel kills a process for want of memory.
    #[must_use]
    pub fn oom_events(&self) -> broadcast::Receiver<ContainerId> {
        self.inner.oom.subscribe()
    }
}

impl Inner {
    fn cgroup_path(&self, id: &ContainerId) -> PathBuf {
        self.cgroup.join(id.as_str())
    }

    fn cgroup(&self, id: &ContainerId) -> Cgroup {
        Cgroup::at(&self.cgroup_path(id))
    }
}
