// SPDX-License-Identifier: Apache-2.0
//! A monitor that asks rules about what the monitor within has granted.

use std::fmt;

use casemate_policy::Container;
use casemate_policy::Policy;
use casemate_policy::Sha256Digest;
use casemate_policy_monitor::ContainerLimits;
use casemate_policy_monitor::CreateRequest;
use casemate_policy_monitor::Denial;
use casemate_policy_monitor::ExecRequest;
use casemate_policy_monitor::Grant;
use casemate_policy_monitor::Monitor;
use casemate_policy_monitor::NetworkRequest;
use casemate_policy_monitor::Pending;
use casemate_policy_monitor::ProcessRef;
use casemate_policy_monitor::PutVolumeRequest;
use casemate_policy_monitor::ReferenceMonitor;
use casemate_policy_monitor::Rule;
use casemate_policy_monitor::UpdateRequest;

use crate::ContainerRef;
use crate::Input;
use crate::Request;
use crate::Signal;

/// Says whether a granted request passes.
pub trait Judge: fmt::Debug + Send + Sync {
    /// Judges one request by itself.
    ///
    /// # Errors
    ///
    /// It does not pass, or that cannot be told.
    fn judge(&self, input: &Input) -> Result<(), Refusal>;
}

/// A judge does not say yes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The rules deny the request, or say nothing of it.
    #[error("the rules do not allow it")]
    Denied,
    /// The rules have no answer. The text is for the owner alone.
    #[error("the rules fail: {message}")]
    Failed {
        /// Why.
        message: String,
    },
}

/// A monitor that grants what the monitor within grants and a [`Judge`] lets pass, for callers that can
/// wait for the judge.
///
/// # Security
///
/// The judge is asked last and can only deny. What it denies leaves no trace in the state.
///
/// Not judged is what follows from a grant and carries nothing but ids: start, state, wait, delete,
/// closing of stdin and the size of a terminal.
#[derive(Debug)]
pub struct Narrowed {
    inner: Monitor,
    judge: Box<dyn Judge>,
}

impl Narrowed {
    /// Puts a judge around a monitor.
    #[must_use]
    pub fn new(inner: Monitor, judge: Box<dyn Judge>) -> Self {
        Self { inner, judge }
    }

    /// The judge's last word on a change that the monitor within has reserved.
    fn settle<T>(
        &mut self,
        request: &Request,
        container: Option<&str>,
        grant: Option<&Grant>,
        granted: (T, Pending),
    ) -> Result<(T, Pending), Denial> {
        let (answer, pending) = granted;
        match consult(self.judge.as_ref(), &Input::new(request, container, grant)) {
            Ok(()) => Ok((answer, pending)),
            Err(denial) => {
                self.inner.rollback(pending);
                Err(denial)
            }
        }
    }

    fn read(&self, request: &Request, container_id: &str) -> Result<(), Denial> {
        let container = container_name(&self.inner, container_id);
        consult(self.judge.as_ref(), &Input::new(request, container, None))
    }
}

/// Name in the policy of a container that is not deleted.
#[must_use]
pub fn container_name<'a>(monitor: &'a dyn ReferenceMonitor, id: &str) -> Option<&'a str> {
    let found = monitor.container(id)?;
    let mut named = monitor.policy().containers.iter();
    named.find(|(_, container)| std::ptr::eq(*container, found)).map(|(name, _)| name.as_str())
}

/// A judge's word on a request that a monitor has granted, for callers that do not hold the monitor
/// meanwhile; a judge may take seconds.
///
/// # Errors
///
/// The judge does not say yes. In the monitor's words: what the rules said stays in the guest (A28).
pub fn consult(judge: &dyn Judge, input: &Input) -> Result<(), Denial> {
    judge.judge(input).map_err(|_| Denial {
        rule: Rule::Rules,
        field: "request".to_owned(),
        text: format!("the owner's rules do not allow this {}", input.request),
    })
}

impl ReferenceMonitor for Narrowed {
    fn policy(&self) -> &Policy {
        self.inner.policy()
    }

    fn container(&self, id: &str) -> Option<&Container> {
        self.inner.container(id)
    }

    fn network(&mut self, request: &NetworkRequest) -> Result<Pending, Denial> {
        let pending = self.inner.network(request)?;
        let request = Request::SetNetwork(request.into());
        self.settle(&request, None, None, ((), pending)).map(|((), pending)| pending)
    }

    fn put_volume(&mut self, request: &PutVolumeRequest) -> Result<(u64, Pending), Denial> {
        let granted = self.inner.put_volume(request)?;
        self.settle(&Request::PutVolume(request.into()), None, None, granted)
    }

    fn create(&mut self, request: &CreateRequest) -> Result<(Grant, Pending), Denial> {
        let granted = self.inner.create(request)?;
        let grant = granted.0.clone();
        let request = Request::CreateContainer(request.clone());
        self.settle(&request, Some(&grant.container), Some(&grant), granted)
    }

    fn exec(&mut self, request: &ExecRequest) -> Result<(Grant, Pending), Denial> {
        let granted = self.inner.exec(request)?;
        let grant = granted.0.clone();
        let request = Request::ExecProcess(request.clone());
        self.settle(&request, Some(&grant.container), Some(&grant), granted)
    }

    fn start(&mut self, process: &ProcessRef) -> Result<Pending, Denial> {
        self.inner.start(process)
    }

    fn update(&mut self, request: &UpdateRequest) -> Result<(ContainerLimits, Pending), Denial> {
        let name = container_name(&self.inner, &request.container_id).map(str::to_owned);
        let granted = self.inner.update(request)?;
        self.settle(&Request::Update(request.clone()), name.as_deref(), None, granted)
    }

    fn signal(&mut self, process: &ProcessRef, signal: u32, all: bool) -> Result<(), Denial> {
        // A signal leaves its mark at once and nothing to roll back: the judge comes first.
        self.check_signal(process, signal, all)?;
        let request = Request::Signal(Signal { process: process.clone(), signal, all });
        self.read(&request, &process.container_id)?;
        self.inner.signal(process, signal, all)
    }

    fn check_signal(&self, process: &ProcessRef, signal: u32, all: bool) -> Result<(), Denial> {
        self.inner.check_signal(process, signal, all)
    }

    fn close_stdin(&mut self, process: &ProcessRef) -> Result<(), Denial> {
        self.inner.close_stdin(process)
    }

    fn resize(&self, process: &ProcessRef) -> Result<(), Denial> {
        self.inner.resize(process)
    }

    fn observe(&self, process: &ProcessRef) -> Result<(), Denial> {
        self.inner.observe(process)
    }

    fn stats(&self, container_id: &str) -> Result<(), Denial> {
        self.inner.stats(container_id)?;
        self.read(&Request::Stats(reference(container_id)), container_id)
    }

    fn pids(&self, container_id: &str) -> Result<(), Denial> {
        self.inner.pids(container_id)?;
        self.read(&Request::Pids(reference(container_id)), container_id)
    }

    fn termination_message(&self, container_id: &str) -> Result<(), Denial> {
        self.inner.termination_message(container_id)?;
        self.read(&Request::TerminationMessage(reference(container_id)), container_id)
    }

    fn delete(&mut self, process: &ProcessRef) -> Result<Pending, Denial> {
        self.inner.delete(process)
    }

    fn exited(&mut self, process: &ProcessRef, code: u32) {
        self.inner.exited(process, code);
    }

    fn commit(&mut self, pending: Pending) {
        self.inner.commit(pending);
    }

    fn rollback(&mut self, pending: Pending) {
        self.inner.rollback(pending);
    }

    fn poison(&mut self) {
        self.inner.poison();
    }

    fn is_poisoned(&self) -> bool {
        self.inner.is_poisoned()
    }

    fn fingerprint(&self) -> Sha256Digest {
        self.inner.fingerprint()
    }
}

fn reference(container_id: &str) -> ContainerRef {
    ContainerRef { container_id: container_id.to_owned() }
}
