// SPDX-License-Identifier: Apache-2.0
//! The one owner of waitpid(2) in the agent.
//!
//! As PID 1 the agent inherits every orphan of the guest. The reaper collects all of them, tells
//! those who asked, and forgets the others. Nothing else in the agent may wait for a child. The
//! children of a helper process are the helper's own: waitpid here cannot see them until the helper
//! has exited.
//!
//! A pid is kept by the kernel until it is reaped, and reaping, watching and signalling happen
//! under one lock: a watched pid can never be somebody else's.

use std::collections::HashMap;
use std::io;
use std::process::Child;
use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::SystemTime;

use rustix::io::Errno;
use rustix::process::Pid;
use rustix::process::WaitOptions;
use rustix::process::WaitStatus;
use tokio::signal::unix::SignalKind;
use tokio::sync::watch;

use crate::request::Exit;
use crate::signal;

/// The reaper. Clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Reaper {
    watched: Arc<Mutex<HashMap<Pid, watch::Sender<Option<Exit>>>>>,
}

/// Tells when a process has ended.
#[derive(Debug, Clone)]
pub(crate) struct ExitWatch(watch::Receiver<Option<Exit>>);

impl Reaper {
    /// Starts to reap, on the current tokio runtime and for its life.
    ///
    /// # Errors
    ///
    /// When the process cannot become the parent of orphans or cannot watch `SIGCHLD`.
    pub(crate) fn start() -> io::Result<Self> {
        // PID 1 is it anyway; a process that stands in for it in a test is not.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        let mut children = tokio::signal::unix::signal(SignalKind::child())?;
        let reaper = Self { watched: Arc::default() };
        let this = reaper.clone();
        tokio::spawn(async move {
            loop {
                this.reap();
                if children.recv().await.is_none() {
                    return;
                }
            }
        });
        Ok(reaper)
    }

    /// Starts a child and watches it. The caller must not wait for the [`Child`].
    ///
    /// # Errors
    ///
    /// What [`Command::spawn`] says.
    pub(crate) fn spawn(&self, command: &mut Command) -> io::Result<(Child, ExitWatch)> {
        // Under the lock: spawn itself waits for a child that cannot exec.
        let mut watched = self.lock();
        let child = command.spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
        Ok((child, Self::insert(&mut watched, pid)))
    }

    /// Watches a process that is a child of a living helper and will become ours when that exits.
    pub(crate) fn adopt(&self, pid: Pid) -> ExitWatch {
        Self::insert(&mut self.lock(), pid)
    }

    /// Signals a watched process.
    ///
    /// # Errors
    ///
    /// `ESRCH` if it has ended, else what kill(2) says.
    pub(crate) fn signal(&self, pid: Pid, number: u32) -> Result<(), Errno> {
        let watched = self.lock();
        if watched.contains_key(&pid) { signal::send(pid, number) } else { Err(Errno::SRCH) }
    }

    fn reap(&self) {
        loop {
            let mut watched = self.lock();
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    let Some(exit) = exit_of(status) else { continue };
                    if let Some(sender) = watched.remove(&pid) {
                        sender.send_replace(Some(exit));
                    }
                }
                // None has ended, or there is none.
                Ok(None) | Err(Errno::CHILD) => return,
                Err(Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(%error, "waitpid failed");
                    return;
                }
            }
        }
    }

    fn insert(watched: &mut HashMap<Pid, watch::Sender<Option<Exit>>>, pid: Pid) -> ExitWatch {
        let (sender, receiver) = watch::channel(None);
        watched.insert(pid, sender);
        ExitWatch(receiver)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Pid, watch::Sender<Option<Exit>>>> {
        // The map is whole between any two statements that could panic.
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ExitWatch {
    /// Waits for the end. `None` only if the reaper is gone, with the agent.
    pub(crate) async fn wait(&mut self) -> Option<Exit> {
        match self.0.wait_for(Option::is_some).await {
            Ok(exit) => *exit,
            Err(_) => None,
        }
    }

    /// How the process ended, if it has.
    pub(crate) fn exit(&self) -> Option<Exit> {
        *self.0.borrow()
    }
}

fn exit_of(status: WaitStatus) -> Option<Exit> {
    let code = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => u32::try_from(code).ok()?,
        (None, Some(signal)) => u32::try_from(signal).ok()?.saturating_add(SIGNAL_BASE),
        (None, None) => return None,
    };
    Some(Exit { code, at: SystemTime::now() })
}

/// A shell's convention for processes that a signal has ended.
const SIGNAL_BASE: u32 = 128;

#[cfg(test)]
mod tests {
    use super::*;

    /// One test: it owns waitpid for the whole test process.
    #[tokio::test]
    async fn tells_how_children_ended() {
        let reaper = Reaper::start().unwrap();
        let shell = |script: &str| {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", script]);
            command
        };
        let (_, mut watch) = reaper.spawn(&mut shell("exit 7")).unwrap();
        assert_eq!(watch.wait().await.unwrap().code, 7);
        // Late and repeated waiters are told too.
        assert_eq!(watch.clone().wait().await.unwrap().code, 7);
        assert_eq!(watch.exit().unwrap().code, 7);

        let (child, mut watch) = reaper.spawn(&mut shell("exec sleep 1000")).unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        assert_eq!(watch.exit(), None);
        reaper.signal(pid, 15).unwrap();
        assert_eq!(watch.wait().await.unwrap().code, SIGNAL_BASE + 15);
        // A17: the pid may be anybody's now.
        assert_eq!(reaper.signal(pid, 9), Err(Errno::SRCH));
        assert_eq!(reaper.signal(rustix::process::getpid(), 9), Err(Errno::SRCH));

        // A child that cannot be started leaves nothing to wait for.
        assert!(reaper.spawn(&mut Command::new("/no/such/program")).is_err());
        assert!(reaper.lock().is_empty());

        // Nobody's children are collected: they are ours, since this process takes in orphans.
        let (_, mut watch) = reaper.spawn(&mut shell("sleep 0 & exit 0")).unwrap();
        assert_eq!(watch.wait().await.unwrap().code, 0);
    }
}
