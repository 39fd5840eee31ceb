// SPDX-License-Identifier: Apache-2.0
//! The pod: what the monitor has granted and what became of it.

mod change;
mod judge;
mod narrow;
mod process;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use casemate_agent_api::ApiError;
use casemate_agent_api::Code;
use casemate_agent_api::request::ContainerId;
use casemate_agent_api::request::ProcessId;
use casemate_agent_api::request::ResizePty;
use casemate_agent_api::request::Signal;
use casemate_agent_api::request::Target;
use casemate_containers::Exit;
use casemate_containers::SignalScope;
use casemate_containers::Stats;
use casemate_containers::WindowSize;
use casemate_policy::Sha256Digest;
use casemate_policy_monitor::ReferenceMonitor;
use casemate_policy_rules::Judge;
use casemate_policy_rules::Request;
use tokio::sync::watch;

use crate::backend::Parts;
use crate::class::Phase;
use crate::events::Event;
use crate::events::Events;
use crate::figures::coarse;
use crate::images::Images;
use crate::network::PodFiles;
use crate::stdio::StdioHub;
use crate::timeline::Timeline;

pub(crate) use process::ProcessState;

use judge::denied;
use judge::process_ref;
use narrow::Narrowing;
use process::Process;

/// The pod. Changes go through [`crate::queue::Queue`]; reading, waiting and killing do not.
pub(crate) struct Pod {
    parts: Parts,
    monitor: Mutex<Box<dyn ReferenceMonitor>>,
    narrowing: Narrowing,
    processes: Mutex<HashMap<ProcessId, Process>>,
    files: Mutex<Option<PodFiles>>,
    phase: watch::Sender<Phase>,
    pub(crate) images: Images,
    pub(crate) stdio: StdioHub,
    pub(crate) events: Events,
    pub(crate) timeline: Arc<Timeline>,
}

impl Pod {
    /// A pod in phase "bound".
    pub(crate) fn new(
        monitor: Box<dyn ReferenceMonitor>,
        judge: Option<Arc<dyn Judge>>,
        parts: Parts,
        timeline: Arc<Timeline>,
    ) -> Arc<Self> {
        let puller = Arc::clone(&parts.images);
        let images = Images::new(monitor.policy(), puller, Arc::clone(&timeline));
        let pod = Arc::new(Self {
            parts,
            monitor: Mutex::new(monitor),
            narrowing: Narrowing::new(judge),
            processes: Mutex::default(),
            files: Mutex::default(),
            phase: watch::Sender::new(Phase::Bound),
            images,
            stdio: StdioHub::default(),
            events: Events::default(),
            timeline,
        });
        pod.timeline.mark("bound");
        pod.watch_memory();
        pod
    }

    /// Digest of the monitor's state.
    pub(crate) fn fingerprint(&self) -> Sha256Digest {
        self.monitor().fingerprint()
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    /// Waits until the guest is attested or never will be.
    pub(crate) async fn settled(&self) -> Phase {
        let mut phase = self.phase.subscribe();
        let is_settled = |p: &Phase| matches!(p, Phase::Attested | Phase::Failed(_));
        match phase.wait_for(is_settled).await {
            Ok(phase) => phase.clone(),
            // The sender lives in `self`.
            Err(_) => self.phase(),
        }
    }

    /// Sends a signal, if the policy grants it.
    pub(crate) async fn signal(&self, signal: &Signal) -> Result<(), ApiError> {
        let all = signal.target == Target::All;
        let process = process_ref(&signal.process);
        self.monitor().check_signal(&process, signal.number, all).map_err(denied)?;
        let request = || {
            let process = process.clone();
            Request::Signal(casemate_policy_rules::Signal { process, signal: signal.number, all })
        };
        self.narrow_read(request, &process.container_id).await?;
        // The rules may have taken their time: what counts is how things are now.
        self.monitor().signal(&process, signal.number, all).map_err(denied)?;
        let scope = if all { SignalScope::All } else { SignalScope::One };
        let id = process::runtime_id(&signal.process)?;
        self.parts.containers.signal(&id, signal.number, scope)
    }

    /// Waits for a process to end.
    pub(crate) async fn wait(&self, id: &ProcessId) -> Result<Exit, ApiError> {
        self.monitor().observe(&process_ref(id)).map_err(denied)?;
        let mut exit = self.find(id, Process::watch)?;
        let ended = exit.wait_for(Option::is_some).await.ok().and_then(|exit| *exit);
        ended.ok_or_else(|| unknown_process(id))
    }

    pub(crate) fn state(&self, id: &ProcessId) -> Result<ProcessState, ApiError> {
        self.monitor().observe(&process_ref(id)).map_err(denied)?;
        self.find(id, Process::state)
    }

    pub(crate) fn close_stdin(&self, id: &ProcessId) -> Result<(), ApiError> {
        self.monitor().close_stdin(&process_ref(id)).map_err(denied)?;
        self.stdio.close_stdin(id);
        Ok(())
    }

    pub(crate) fn resize(&self, resize: &ResizePty) -> Result<(), ApiError> {
        self.monitor().resize(&process_ref(&resize.process)).map_err(denied)?;
        let size = WindowSize { columns: resize.size.width(), rows: resize.size.height() };
        // A terminal that is made at the start has its size from then on.
        if self.find_mut(&resize.process, |process| process.resize_pending(size))? {
            return Ok(());
        }
        let id = process::runtime_id(&resize.process)?;
        self.parts.containers.resize(&id, size)
    }

    pub(crate) async fn pids(&self, id: &ContainerId) -> Result<Vec<u32>, ApiError> {
        self.monitor().pids(id.as_str()).map_err(denied)?;
        self.narrow_read(|| Request::Pids(narrow::reference(id)), id.as_str()).await?;
        self.parts.containers.pids(&process::runtime_container(id)?)
    }

    pub(crate) async fn stats(&self, id: &ContainerId) -> Result<Stats, ApiError> {
        self.monitor().stats(id.as_str()).map_err(denied)?;
        self.narrow_read(|| Request::Stats(narrow::reference(id)), id.as_str()).await?;
        Ok(coarse(self.parts.containers.stats(&process::runtime_container(id)?)?))
    }

    pub(crate) async fn termination_message(&self, id: &ContainerId) -> Result<Vec<u8>, ApiError> {
        self.monitor().termination_message(id.as_str()).map_err(denied)?;
        let request = || Request::TerminationMessage(narrow::reference(id));
        self.narrow_read(request, id.as_str()).await?;
        self.parts.containers.termination_message(&process::runtime_container(id)?)
    }

    pub(crate) fn power_off(&self) {
        self.parts.power.off();
    }

    /// Turns the kernel's reports into events for the host.
    fn watch_memory(self: &Arc<Self>) {
        let mut killed = self.parts.containers.oom_events();
        let pod = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                match killed.recv().await {
                    Ok(id) => {
                        let Some(pod) = pod.upgrade() else { return };
                        pod.events.push(Event::Oom { container: id.to_string() });
                    }
                    Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
                }
            }
        });
    }

    fn find<T>(&self, id: &ProcessId, read: impl FnOnce(&Process) -> T) -> Result<T, ApiError> {
        self.processes().get(id).map(read).ok_or_else(|| unknown_process(id))
    }

    fn find_mut<T>(
        &self,
        id: &ProcessId,
        change: impl FnOnce(&mut Process) -> T,
    ) -> Result<T, ApiError> {
        self.processes().get_mut(id).map(change).ok_or_else(|| unknown_process(id))
    }

    fn monitor(&self) -> MutexGuard<'_, Box<dyn ReferenceMonitor>> {
        self.monitor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn processes(&self) -> MutexGuard<'_, HashMap<ProcessId, Process>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn files(&self) -> MutexGuard<'_, Option<PodFiles>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unknown_process(id: &ProcessId) -> ApiError {
    ApiError::new(Code::RequestId, format_args!("process {id} is unknown"))
}
