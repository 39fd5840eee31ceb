// SPDX-License-Identifier: Apache-2.0
//! Starts helper processes and talks to them.

use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio as ChildStdio;
use std::sync::Arc;

use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::mount::MountFlags;
use rustix::process::Pid;
use tokio::sync::Semaphore;

use crate::helper;
use crate::helper::protocol::Channel;
use crate::helper::protocol::ChannelError;
use crate::helper::protocol::Reply;
use crate::helper::protocol::Request;
use crate::reaper::ExitWatch;
use crate::reaper::Reaper;

/// Starts helpers, a few at a time.
#[derive(Debug, Clone)]
pub(crate) struct Launcher {
    binary: Arc<PathBuf>,
    reaper: Reaper,
    places: Arc<Semaphore>,
}

/// A process that a helper has made.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) pid: Pid,
    pub(crate) exit: ExitWatch,
    /// Master side of its terminal.
    pub(crate) terminal: Option<OwnedFd>,
}

impl Launcher {
    /// Prepares the binary at `binary`, a path that must not exist.
    ///
    /// # Errors
    ///
    /// When the mount fails.
    ///
    /// # Security
    ///
    /// For a moment a helper's process lives inside a container, and a program there may reach its
    /// executable through `/proc` (CVE-2019-5736). Helpers therefore run from a read-only mount of
    /// the agent's file: what is reached through it cannot be written.
    pub(crate) fn prepare(binary: PathBuf, reaper: Reaper) -> Result<Self, LauncherError> {
        let error = |source: std::io::Error| LauncherError { path: binary.clone(), source };
        std::fs::write(&binary, b"").map_err(error)?;
        let mount = || -> Result<(), Errno> {
            rustix::mount::mount_bind("/proc/self/exe", &binary)?;
            let flags =
                MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
            rustix::mount::mount_remount(&binary, flags, c"")
        };
        mount().map_err(|errno| error(errno.into()))?;
        Ok(Self { binary: Arc::new(binary), reaper, places: Arc::new(Semaphore::new(AT_ONCE)) })
    }

    /// Runs one operation. `streams` are the process's standard streams, unless it has a terminal.
    ///
    /// # Errors
    ///
    /// When the helper or libcontainer fails. What was begun may be left in the container's cgroup.
    pub(crate) async fn run(
        &self,
        request: Request,
        streams: Vec<OwnedFd>,
    ) -> Result<Launched, HelperError> {
        let _place = self.places.acquire().await.map_err(|_| HelperError::Ended)?;
        let this = self.clone();
        // Blocking: fork, exec and a short conversation.
        let conversation = tokio::task::spawn_blocking(move || this.converse(&request, streams));
        let (launched, mut helper) = conversation.await.map_err(|_| HelperError::Ended)??;
        // The new process is ours once its parent is gone.
        match helper.wait().await {
            Some(exit) if exit.code == 0 => Ok(launched),
            _ => Err(HelperError::Ended),
        }
    }

    fn converse(
        &self,
        request: &Request,
        streams: Vec<OwnedFd>,
    ) -> Result<(Launched, ExitWatch), HelperError> {
        let (channel, input) = Channel::pair().map_err(HelperError::Channel)?;
        let complaints = rustix::fs::memfd_create("helper-stderr", MemfdFlags::CLOEXEC)
            .map_err(|errno| HelperError::Start(errno.into()))?;
        let mut complaints = std::fs::File::from(complaints);
        let stderr = complaints.try_clone().map_err(HelperError::Start)?;
        let mut command = Command::new(&*self.binary);
        command
            .arg(helper::ARGUMENT)
            .env_clear()
            .current_dir("/")
            .stdin(input)
            .stdout(ChildStdio::null())
            .stderr(stderr);
        let (child, helper) = self.reaper.spawn(&mut command).map_err(HelperError::Start)?;
        // E22: what it has forked holds its end too, and would keep us waiting for a killed helper.
        let channel = Arc::new(channel);
        let (mut ended, line) = (helper.clone(), Arc::downgrade(&channel));
        tokio::spawn(async move {
            ended.wait().await;
            line.upgrade().inspect(|line| line.hang_up());
        });
        // Our copies of the helper's descriptors: it must see them closed when we close ours.
        drop(command);
        let reply = channel.send_request(request, &streams).and_then(|()| {
            drop(streams);
            channel.receive_reply()
        });
        match reply {
            Ok((Reply::Done { pid }, terminal)) => {
                let pid = Pid::from_raw(pid).ok_or(HelperError::Ended)?;
                let exit = self.reaper.adopt(pid);
                Ok((Launched { pid, exit, terminal }, helper))
            }
            Ok((Reply::Failed { message }, _)) => Err(HelperError::Failed { message }),
            Err(source) => {
                if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                    // Gone already, or stuck and of no more use.
                    let _ = self.reaper.signal(pid, crate::signal::KILL);
                }
                tracing::warn!(stderr = tail(&mut complaints), "container helper failed");
                Err(HelperError::Channel(source))
            }
        }
    }
}

/// The end of what the helper has written to standard error.
fn tail(file: &mut std::fs::File) -> String {
    let length = file.metadata().map_or(0, |m| m.len());
    let mut text = Vec::new();
    let read = file
        .seek(SeekFrom::Start(length.saturating_sub(MAX_COMPLAINT)))
        .and_then(|_| file.take(MAX_COMPLAINT).read_to_end(&mut text));
    if read.is_err() {
        return String::new();
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// A helper failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HelperError {
    /// The process could not be started.
    #[error("failed to start the container helper")]
    Start(#[source] std::io::Error),
    /// It ended or fell silent.
    #[error("the container helper gave no answer")]
    Channel(#[source] ChannelError),
    /// It ended after its answer.
    #[error("the container helper ended early")]
    Ended,
    /// It says why the process could not be made.
    #[error("{message}")]
    Failed {
        /// libcontainer's reason; at most 500 characters, without control characters.
        message: String,
    },
}

/// The helper's binary could not be prepared.
#[derive(Debug, thiserror::Error)]
#[error("failed to mount the helper's binary on {path}")]
pub struct LauncherError {
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

/// Helpers at once: more would only take turns on a pod's few CPUs.
const AT_ONCE: usize = 8;

/// Bytes of a helper's standard error that are logged.
const MAX_COMPLAINT: u64 = 2048;
