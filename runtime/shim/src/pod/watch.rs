// SPDX-License-Identifier: Apache-2.0
//! What the pod's guest and VM do by themselves: end, fall silent, run out of memory.

use std::fs::File;
use std::io;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use casemate_agent_api::Code;
use casemate_agent_api::proto;
use casemate_sandbox::Exit;
use casemate_sandbox::Id;
use casemate_sandbox::Input;
use casemate_sandbox::Process;
use tokio::time::Instant;
use tokio::time::sleep;

use super::Pod;
use super::Running;
use crate::events;
use crate::guest::Guest;
use crate::status::Phase;

impl Pod {
    /// Waits for the end of the VM, which is the end of every process.
    pub(super) async fn watch_vm(self: Arc<Self>, running: Arc<Running>) {
        let exit = running.vm.wait().await;
        tracing::info!(sandbox = %self.id, %exit, "VM ended");
        running.status.update(|status| {
            if status.phase != Phase::Failed {
                status.phase = Phase::Stopped;
            }
        });
        self.report(Input::VmExited { at: events::now() });
    }

    /// Takes the guest's events and its signs of life until the VM ends.
    pub(super) async fn stay_with(&self, running: &Running, guest: &Guest) {
        tokio::select! {
            _ = running.vm.wait() => {}
            () = self.take_events(guest) => {}
            () = self.watch_health(guest, running.deadlines.silence) => {}
        }
    }

    async fn take_events(&self, guest: &Guest) {
        loop {
            match guest.next_event().await {
                Ok(proto::NextEventReply {
                    event: Some(proto::next_event_reply::Event::Oom(oom)),
                    ..
                }) => match Id::new(&oom.container_id) {
                    Ok(id) => self.report(Input::OutOfMemory(id)),
                    // E19: the guest's text is no id.
                    Err(error) => tracing::warn!(%error, "event of the guest dropped"),
                },
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "no event"),
            }
            // E19: a guest that floods the host with events is slowed down.
            sleep(EVENT_PAUSE).await;
        }
    }

    /// Ends the VM when its agent is silent for too long. Then it waits for ever: the end of the VM
    /// follows.
    async fn watch_health(&self, guest: &Guest, silence: Duration) {
        let period = (silence / 4).min(HEALTH_PERIOD);
        let mut heard = Instant::now();
        while heard.elapsed() < silence {
            sleep(period).await;
            match guest.hello(period).await {
                Ok(_) => heard = Instant::now(),
                Err(error) => tracing::warn!(%error, "no sign of life from the agent"),
            }
        }
        tracing::error!(sandbox = %self.id, "the agent is silent: the VM is killed");
        self.report(Input::AgentSilent);
        std::future::pending().await
    }

    /// Waits for the end of a process in the guest.
    pub(super) async fn watch_process(self: Arc<Self>, guest: Guest, process: Process) {
        let mut failures = 0_u32;
        let status = loop {
            match guest.wait(&process).await {
                Ok(status) => break status,
                // The end of the VM tells what becomes of the process.
                Err(error) if error.code() == Code::VmDied => return,
                Err(error) => {
                    tracing::warn!(%process, %error, "the guest does not tell of a process's end");
                    failures = failures.saturating_add(1);
                    if failures >= MAX_WAIT_FAILURES {
                        break UNKNOWN_STATUS;
                    }
                    sleep(WAIT_PAUSE).await;
                }
            }
        };
        let at = events::now();
        // kubelet reads it when it hears of the end.
        self.take_last_words(&guest, &process).await;
        self.report(Input::Exited { process, exit: Exit { status, at } });
    }

    /// Brings a container's termination message to where kubelet looks for it.
    async fn take_last_words(&self, guest: &Guest, process: &Process) {
        if process.exec.is_some() {
            return;
        }
        let planned =
            |inner: &super::Inner| inner.planned.get(&process.task)?.termination_log.clone();
        let path = planned(&self.lock());
        let Some(path) = path else { return };
        let written = match guest.termination_message(process).await {
            Ok(message) if message.is_empty() => return,
            Ok(message) => tokio::task::spawn_blocking(move || write_log(&path, &message)).await,
            Err(error) if error.code() == Code::PolicyTerminationMessage => {
                return tracing::debug!(%process, "the termination message stays in the guest");
            }
            Err(error) => return tracing::warn!(%process, %error, "no termination message"),
        };
        if let Ok(Err(error)) = written {
            tracing::warn!(%process, %error, "termination message not written");
        }
    }
}

/// Writes into the file that kubelet has made.
fn write_log(path: &Path, message: &[u8]) -> io::Result<()> {
    // The path is kubelet's; a link or a pipe in its place is not.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    let mut options = File::options();
    let mut file = options.write(true).truncate(true).custom_flags(flags).open(path)?;
    file.write_all(message)
}

const EVENT_PAUSE: Duration = Duration::from_millis(100);
const HEALTH_PERIOD: Duration = Duration::from_secs(10);
const WAIT_PAUSE: Duration = Duration::from_millis(500);
/// Refused questions for the end of a process after which it counts as ended.
const MAX_WAIT_FAILURES: u32 = 3;
/// Exit status of a process of which the guest knows nothing (containerd's `UnknownExitStatus`).
const UNKNOWN_STATUS: u32 = 255;
