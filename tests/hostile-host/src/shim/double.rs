// SPDX-License-Identifier: Apache-2.0
//! A monitor that grants whatever the host asks.

use std::collections::BTreeMap;

use casemate_policy::Container;
use casemate_policy::Policy;
use casemate_policy::Sha256Digest;
use casemate_policy_monitor::Change;
use casemate_policy_monitor::ContainerLimits;
use casemate_policy_monitor::CreateRequest;
use casemate_policy_monitor::Denial;
use casemate_policy_monitor::ExecRequest;
use casemate_policy_monitor::Grant;
use casemate_policy_monitor::NetworkRequest;
use casemate_policy_monitor::Pending;
use casemate_policy_monitor::ProcessRef;
use casemate_policy_monitor::PutVolumeRequest;
use casemate_policy_monitor::ReferenceMonitor;
use casemate_policy_monitor::Stdio;
use casemate_policy_monitor::UpdateRequest;

/// Grants whatever the host asks. It keeps which container an id means, as the agent asks for that;
/// a name that the policy lacks means its first container.
#[derive(Debug)]
pub(crate) struct AllowAll {
    policy: Policy,
    names: BTreeMap<String, String>,
    revisions: BTreeMap<String, u64>,
}

impl AllowAll {
    pub(crate) fn new(policy: Policy) -> Self {
        Self { policy, names: BTreeMap::new(), revisions: BTreeMap::new() }
    }

    /// The policy's container that a name is taken for.
    fn name_for(&self, asked: &str) -> String {
        let known = self.policy.containers.keys().find(|name| *name == asked);
        let name = known.or_else(|| self.policy.containers.keys().next());
        name.cloned().unwrap_or_default()
    }
}

impl ReferenceMonitor for AllowAll {
    fn policy(&self) -> &Policy {
        &self.policy
    }

    fn container(&self, id: &str) -> Option<&Container> {
        self.policy.containers.get(self.names.get(id)?)
    }

    fn network(&mut self, _: &NetworkRequest) -> Result<Pending, Denial> {
        Ok(Pending::new(Change::Network))
    }

    fn put_volume(&mut self, request: &PutVolumeRequest) -> Result<(u64, Pending), Denial> {
        let revision = self.revisions.entry(request.volume.clone()).or_default();
        *revision += 1;
        let (volume, revision) = (request.volume.clone(), *revision);
        Ok((revision, Pending::new(Change::PutVolume { volume, revision })))
    }

    fn create(&mut self, request: &CreateRequest) -> Result<(Grant, Pending), Denial> {
        let name = self.name_for(&request.name);
        self.names.insert(request.id.clone(), name.clone());
        let user = self.policy.containers.get(&name).map(|c| c.user.clone()).unwrap_or_default();
        let stdio = Stdio {
            terminal: request.terminal,
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
        };
        let grant = Grant { container: name, env: request.env.clone(), user, stdio };
        Ok((grant, Pending::new(Change::Create { id: request.id.clone() })))
    }

    fn exec(&mut self, request: &ExecRequest) -> Result<(Grant, Pending), Denial> {
        let user = self.container(&request.container_id).map(|c| c.user.clone());
        let stdio = Stdio {
            terminal: request.terminal,
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
        };
        let container = self.names.get(&request.container_id).cloned().unwrap_or_default();
        let user = user.unwrap_or_default();
        let grant = Grant { container, env: request.env.clone(), user, stdio };
        let process = ProcessRef::exec(&request.container_id, &request.exec_id);
        Ok((grant, Pending::new(Change::Exec { process })))
    }

    fn start(&mut self, process: &ProcessRef) -> Result<Pending, Denial> {
        Ok(Pending::new(Change::Start { process: process.clone() }))
    }

    fn update(&mut self, request: &UpdateRequest) -> Result<(ContainerLimits, Pending), Denial> {
        let limits = ContainerLimits {
            memory: request.memory_limit,
            cpu_millis: request.cpu_millis,
            pids: request.pids,
        };
        let id = request.container_id.clone();
        Ok((limits, Pending::new(Change::Update { id, limits })))
    }

    fn signal(&mut self, _: &ProcessRef, _: u32, _: bool) -> Result<(), Denial> {
        Ok(())
    }

    fn close_stdin(&mut self, _: &ProcessRef) -> Result<(), Denial> {
        Ok(())
    }

    fn resize(&self, _: &ProcessRef) -> Result<(), Denial> {
        Ok(())
    }

    fn observe(&self, _: &ProcessRef) -> Result<(), Denial> {
        Ok(())
    }

    fn stats(&self, _: &str) -> Result<(), Denial> {
        Ok(())
    }

    fn pids(&self, _: &str) -> Result<(), Denial> {
        Ok(())
    }

    fn termination_message(&self, _: &str) -> Result<(), Denial> {
        Ok(())
    }

    fn delete(&mut self, process: &ProcessRef) -> Result<Pending, Denial> {
        Ok(Pending::new(Change::Delete { process: process.clone() }))
    }

    fn exited(&mut self, _: &ProcessRef, _: u32) {}

    fn commit(&mut self, pending: Pending) {
        if let Change::Delete { process } = pending.into_change()
            && process.exec_id.is_none()
        {
            self.names.remove(&process.container_id);
        }
    }

    fn rollback(&mut self, pending: Pending) {
        if let Change::Create { id } = pending.into_change() {
            self.names.remove(&id);
        }
    }

    fn poison(&mut self) {}

    fn is_poisoned(&self) -> bool {
        false
    }

    fn fingerprint(&self) -> Sha256Digest {
        // A double has no state that a test would compare.
        Sha256Digest::of(format!("{:?}", self.names).as_bytes())
    }
}
