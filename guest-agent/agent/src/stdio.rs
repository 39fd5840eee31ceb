// SPDX-License-Identifier: Apache-2.0
//! Joins the streams that the host opens to the pipes and terminals of processes.
//!
//! The host may open a stream once a process is created, and again after a broken connection. A
//! process whose output nobody takes is held back by its pipe; what was taken from the pipe and
//! not read by the host is sent again on the next stream. Streams that the policy does not grant
//! end at once, and what a terminal writes without a reader being granted is drained and forgotten.

mod descriptor;
mod pump;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use casemate_agent_api::mux::MuxStream;
use casemate_agent_api::request::ContainerId;
use casemate_agent_api::request::ProcessId;
use casemate_containers::Stdio;
use casemate_policy_monitor::Stdio as Granted;
use tokio::sync::Notify;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

pub(crate) use descriptor::AsyncDescriptor;

/// Streams of one kind that wait for a process to start.
const MAX_WAITING: usize = 4;

/// The streams of all processes.
#[derive(Debug, Default)]
pub(crate) struct StdioHub {
    processes: Mutex<HashMap<ProcessId, Streams>>,
}

/// What became of a stream that the host opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attached {
    /// It is the process's.
    Granted,
    /// The policy does not grant it.
    NotGranted,
    /// There is no such process.
    Unknown,
}

/// What the host may open of one process, and who serves it.
#[derive(Debug)]
struct Streams {
    stdin: Option<Slot>,
    stdout: Option<Slot>,
    stderr: Option<Slot>,
    close_stdin: Arc<Notify>,
    pumps: Vec<AbortHandle>,
}

/// Hands streams of the host to a pump.
#[derive(Debug)]
struct Slot {
    sender: mpsc::Sender<MuxStream>,
    /// Until the pump starts.
    receiver: Option<mpsc::Receiver<MuxStream>>,
}

impl Slot {
    fn new() -> Self {
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        Self { sender, receiver: Some(receiver) }
    }

    fn take(slot: &mut Option<Self>) -> Option<mpsc::Receiver<MuxStream>> {
        slot.as_mut().and_then(|slot| slot.receiver.take())
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.pumps.iter().for_each(AbortHandle::abort);
    }
}

impl StdioHub {
    /// Announces a process: from now on the host may open the granted streams.
    pub(crate) fn register(&self, process: &ProcessId, granted: Granted) {
        let slot = |granted: bool| granted.then(Slot::new);
        let streams = Streams {
            stdin: slot(granted.stdin),
            stdout: slot(granted.stdout),
            stderr: slot(granted.stderr && !granted.terminal),
            close_stdin: Arc::default(),
            pumps: Vec::new(),
        };
        self.lock().insert(process.clone(), streams);
    }

    /// Joins the process's own ends.
    ///
    /// # Errors
    ///
    /// When a descriptor cannot be watched.
    pub(crate) fn join(&self, process: &ProcessId, stdio: Stdio) -> std::io::Result<()> {
        let mut processes = self.lock();
        let Some(streams) = processes.get_mut(process) else { return Ok(()) };
        match stdio {
            Stdio::Pipes { stdin, stdout, stderr } => {
                if let Some(stdin) = stdin {
                    streams.pump_stdin(stdin)?;
                }
                if let Some(stdout) = stdout {
                    let hosts = Slot::take(&mut streams.stdout);
                    streams.pump_output(stdout, hosts)?;
                }
                if let Some(stderr) = stderr {
                    let hosts = Slot::take(&mut streams.stderr);
                    streams.pump_output(stderr, hosts)?;
                }
            }
            Stdio::Terminal(master) => {
                streams.pump_stdin(master.try_clone()?)?;
                let hosts = Slot::take(&mut streams.stdout);
                streams.pump_output(master, hosts)?;
            }
        }
        Ok(())
    }

    /// Closes stdin after what has already come from the host.
    pub(crate) fn close_stdin(&self, process: &ProcessId) {
        if let Some(streams) = self.lock().get(process) {
            streams.close_stdin.notify_one();
        }
    }

    /// Forgets a process and its streams.
    pub(crate) fn remove(&self, process: &ProcessId) {
        self.lock().remove(process);
    }

    /// Forgets all processes of a container.
    pub(crate) fn remove_container(&self, container: &ContainerId) {
        self.lock().retain(|process, _| process.container() != container);
    }

    /// The host opens stdin.
    pub(crate) fn attach_stdin(&self, process: &ProcessId, stream: MuxStream) -> Attached {
        self.attach(process, stream, |streams| streams.stdin.as_ref())
    }

    /// The host opens stdout.
    pub(crate) fn attach_stdout(&self, process: &ProcessId, stream: MuxStream) -> Attached {
        self.attach(process, stream, |streams| streams.stdout.as_ref())
    }

    /// The host opens stderr.
    pub(crate) fn attach_stderr(&self, process: &ProcessId, stream: MuxStream) -> Attached {
        self.attach(process, stream, |streams| streams.stderr.as_ref())
    }

    fn attach(
        &self,
        process: &ProcessId,
        stream: MuxStream,
        which: impl FnOnce(&Streams) -> Option<&Slot>,
    ) -> Attached {
        match self.lock().get(process).map(|streams| which(streams).map(|s| s.sender.clone())) {
            // Dropped streams are reset: the pump has ended or more wait than any host opens.
            Some(Some(sender)) => {
                drop(sender.try_send(stream));
                Attached::Granted
            }
            // A16: not granted; the host sees an empty stream.
            Some(None) => {
                drop(tokio::spawn(pump::end(stream)));
                Attached::NotGranted
            }
            None => Attached::Unknown,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ProcessId, Streams>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Streams {
    fn pump_stdin(&mut self, descriptor: OwnedFd) -> std::io::Result<()> {
        let Some(hosts) = Slot::take(&mut self.stdin) else { return Ok(()) };
        let descriptor = AsyncDescriptor::new(descriptor)?;
        let close = Arc::clone(&self.close_stdin);
        self.pumps.push(tokio::spawn(pump::input(descriptor, hosts, close)).abort_handle());
        Ok(())
    }

    fn pump_output(
        &mut self,
        descriptor: OwnedFd,
        hosts: Option<mpsc::Receiver<MuxStream>>,
    ) -> std::io::Result<()> {
        let descriptor = AsyncDescriptor::new(descriptor)?;
        let task = match hosts {
            Some(hosts) => tokio::spawn(pump::output(descriptor, hosts)),
            None => tokio::spawn(pump::drain(descriptor)),
        };
        self.pumps.push(task.abort_handle());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
