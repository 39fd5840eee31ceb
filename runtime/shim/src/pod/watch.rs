// SPDX-License-Identifier: Apache-2.0
//! What the pod's guest and VM do by themselves: end, fall silent, run out of memory.

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
        self.report(Input::Exited { process, exit: Exit { status, at: events::now() } });
    }
}

const EVENT_PAUSE: Duration = Duration::from_millis(100);
const HEALTH_PERIOD: Duration = Duration::from_secs(10);
const WAIT_PAUSE: Duration = Duration::from_millis(500);
/// Refused questions for the end of a process after which it counts as ended.
const MAX_WAIT_FAILURES: u32 = 3;
/// Exit status of a process of which the guest knows nothing (containerd's `UnknownExitStatus`).
const UNKNOWN_STATUS: u32 = 255;
