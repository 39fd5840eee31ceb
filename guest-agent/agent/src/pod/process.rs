// SPDX-License-Identifier: Apache-2.0
//! One process of the pod.

use casemate_agent_api::ApiError;
use casemate_agent_api::Code;
use casemate_agent_api::request;
use casemate_containers::ContainerId;
use casemate_containers::ExecSpec;
use casemate_containers::Exit;
use casemate_containers::ProcessId;
use casemate_containers::StdioRequest;
use casemate_containers::WindowSize;
use tokio::sync::watch;

/// What the guest knows of a process.
#[derive(Debug)]
pub(super) struct Process {
    pid: u32,
    has_started: bool,
    exit: watch::Sender<Option<Exit>>,
    /// An exec runs from its start on; until then it is a plan.
    plan: Option<ExecSpec>,
}

/// A process as the host asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProcessState {
    Created { pid: u32 },
    Running { pid: u32 },
    Stopped { pid: u32, exit: Exit },
}

impl Process {
    /// A container's first process, before its start.
    pub(super) fn created(pid: u32) -> Self {
        Self { pid, has_started: false, exit: watch::Sender::new(None), plan: None }
    }

    /// An exec, before its start.
    pub(super) fn planned(plan: ExecSpec) -> Self {
        Self { pid: 0, has_started: false, exit: watch::Sender::new(None), plan: Some(plan) }
    }

    pub(super) fn plan(&self) -> Option<ExecSpec> {
        self.plan.clone()
    }

    /// The process runs.
    pub(super) fn started(&mut self, pid: Option<u32>) {
        self.pid = pid.unwrap_or(self.pid);
        self.has_started = true;
        self.plan = None;
    }

    /// A start has failed.
    pub(super) fn not_started(&mut self) {
        self.has_started = false;
    }

    pub(super) fn watch(&self) -> watch::Receiver<Option<Exit>> {
        self.exit.subscribe()
    }

    pub(super) fn ended(&self, exit: Exit) {
        self.exit.send_replace(Some(exit));
    }

    pub(super) fn state(&self) -> ProcessState {
        let pid = self.pid;
        match *self.exit.borrow() {
            Some(exit) => ProcessState::Stopped { pid, exit },
            None if self.has_started => ProcessState::Running { pid },
            None => ProcessState::Created { pid },
        }
    }

    /// Sets the size of a terminal that is not made yet; false if it is.
    pub(super) fn resize_pending(&mut self, size: WindowSize) -> bool {
        match &mut self.plan {
            Some(ExecSpec { stdio: StdioRequest::Terminal(wanted), .. }) => {
                *wanted = size;
                true
            }
            _ => false,
        }
    }
}

/// The id as the runtime takes it; its caps may be narrower than the API's.
pub(super) fn runtime_container(id: &request::ContainerId) -> Result<ContainerId, ApiError> {
    parse(id.as_str())
}

/// See [`runtime_container`].
pub(super) fn runtime_exec(id: &request::ExecId) -> Result<ContainerId, ApiError> {
    parse(id.as_str())
}

/// See [`runtime_container`].
pub(super) fn runtime_id(id: &request::ProcessId) -> Result<ProcessId, ApiError> {
    let container = runtime_container(id.container())?;
    Ok(match id.exec() {
        None => ProcessId::init(container),
        Some(exec) => ProcessId::exec(container, runtime_exec(exec)?),
    })
}

fn parse(text: &str) -> Result<ContainerId, ApiError> {
    ContainerId::try_from(text).map_err(|error| ApiError::new(Code::RequestInvalid, error))
}
