// SPDX-License-Identifier: Apache-2.0
//! The monitor that ships: each request through its guards, then reserved.

use casemate_policy::Container;
use casemate_policy::DocumentError;
use casemate_policy::Policy;
use casemate_policy::Sha256Digest;

use crate::Change;
use crate::ContainerLimits;
use crate::CreateRequest;
use crate::Denial;
use crate::ExecRequest;
use crate::Grant;
use crate::NetworkRequest;
use crate::Pending;
use crate::ProcessRef;
use crate::PutVolumeRequest;
use crate::ReferenceMonitor;
use crate::Rule;
use crate::UpdateRequest;
use crate::denial::Quoted;
use crate::guard::count;
use crate::guard::create;
use crate::guard::env;
use crate::guard::exec;
use crate::guard::id;
use crate::guard::mount;
use crate::guard::network;
use crate::guard::order;
use crate::guard::process;
use crate::guard::update;
use crate::guard::visibility;
use crate::guard::volume;
use crate::state::Content;
use crate::state::Deletable;
use crate::state::Instance;
use crate::state::Network;
use crate::state::PodState;
use crate::state::Process;
use crate::state::SpentIds;
use crate::state::State;

/// Judges the host's requests against a policy, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Monitor {
    policy: Policy,
    state: PodState,
}

impl Monitor {
    /// Starts with nothing running.
    ///
    /// # Errors
    ///
    /// The policy breaks a rule of its format; one from [`Policy::parse`] does not.
    pub fn new(policy: Policy) -> Result<Self, DocumentError> {
        policy.validate()?;
        Ok(Self { policy, state: PodState::default() })
    }

    /// The policy's text on the container of an instance.
    fn container_of(&self, id: &str) -> Result<&Container, Denial> {
        self.named(&self.state.instance(id)?.name, "container_id")
    }

    fn named(&self, name: &str, field: &str) -> Result<&Container, Denial> {
        self.policy.containers.get(name).ok_or_else(|| {
            Denial::new(Rule::Container, field, format!("{} is not in the policy", Quoted(name)))
        })
    }
}

impl ReferenceMonitor for Monitor {
    fn policy(&self) -> &Policy {
        &self.policy
    }

    fn container(&self, id: &str) -> Option<&Container> {
        self.container_of(id).ok()
    }

    fn network(&mut self, request: &NetworkRequest) -> Result<Pending, Denial> {
        process::check_not_poisoned(&self.state)?;
        network::check_unset(&self.state)?;
        network::check_hostname_form(&request.hostname)?;
        network::check_hostname(&self.policy.sandbox, &request.hostname)?;
        let rules = &self.policy.sandbox.network;
        network::check_addresses(rules, request)?;
        network::check_routes(rules, request)?;
        network::check_gateways(rules, request)?;
        network::check_dns_servers(rules, request)?;
        network::check_dns_searches(rules, request)?;
        self.state.network = Network::Setting;
        Ok(Pending::new(Change::Network))
    }

    fn put_volume(&mut self, request: &PutVolumeRequest) -> Result<(u64, Pending), Denial> {
        process::check_not_poisoned(&self.state)?;
        let volume = self.policy.volumes.get(&request.volume);
        volume::check_takes_content(volume, request)?;
        volume::check_not_putting(&self.state, request)?;
        volume::check_file_count(request)?;
        volume::check_file_names(request)?;
        volume::check_names_unique(request)?;
        volume::check_size(volume, request)?;
        volume::check_pinned_content(volume, request)?;
        volume::check_pinned_complete(volume, request)?;
        let revision = volume::next_revision(&self.state, request)?;
        let content = self.state.volumes.entry(request.volume.clone()).or_default();
        *content = Content { revision: content.revision, putting: true };
        let change = Change::PutVolume { volume: request.volume.clone(), revision };
        Ok((revision, Pending::new(change)))
    }

    fn create(&mut self, request: &CreateRequest) -> Result<(Grant, Pending), Denial> {
        process::check_not_poisoned(&self.state)?;
        id::check_form("id", &request.id)?;
        id::check_unused(&self.state, &request.id)?;
        let container = self.named(&request.name, "name")?;
        create::check_image(container, request)?;
        create::check_argv(container, request)?;
        env::check_form(&request.env)?;
        let variables = env::Variables::place(container, &request.env);
        env::check_values(&variables)?;
        env::check_complete(container, request, &variables)?;
        create::check_cwd(container, request)?;
        create::check_terminal(container, request)?;
        create::check_stdin(container, request)?;
        create::check_rootfs(container, request)?;
        mount::check_unique(request)?;
        mount::check_granted(&self.policy, container, request)?;
        mount::check_complete(container, request)?;
        mount::check_filled(&self.policy, &self.state, container, request)?;
        order::check_after(&self.state, container)?;
        order::check_after_started(&self.state, container)?;
        order::check_not_completed(&self.policy, &self.state, &request.name)?;
        count::check_one_alive(&self.state, &request.name)?;
        count::check_restart(&self.state, &request.name, container)?;
        count::check_max_starts(&self.state, &request.name, container)?;
        count::check_ids_left(&self.state)?;

        let grant = create::grant(container, request, &variables);
        let instance = Instance {
            name: request.name.clone(),
            env: grant.env.clone(),
            limits: update::initial(&container.resources),
            updating: false,
            process: Process::creating(grant.stdio),
            execs: std::collections::BTreeMap::new(),
            spent_execs: SpentIds::default(),
            disturbed: false,
        };
        self.state.history.entry(request.name.clone()).or_default().starts += 1;
        self.state.containers.insert(request.id.clone(), instance);
        Ok((grant, Pending::new(Change::Create { id: request.id.clone() })))
    }

    fn exec(&mut self, request: &ExecRequest) -> Result<(Grant, Pending), Denial> {
        process::check_not_poisoned(&self.state)?;
        id::check_form("exec_id", &request.exec_id)?;
        let instance = self.state.instance(&request.container_id)?;
        exec::check_runs(instance)?;
        exec::check_id_unused(instance, &request.exec_id)?;
        exec::check_room(instance)?;
        let container = self.container_of(&request.container_id)?;
        let listed = exec::listed(container, request);
        exec::check_listed(listed, request)?;
        exec::check_terminal(listed, request)?;
        exec::check_stdin(listed, request)?;
        exec::check_cwd(container, request)?;
        env::check_form(&request.env)?;
        exec::check_env(instance, listed, request)?;
        exec::check_env_complete(instance, request)?;

        let grant = exec::grant(instance, container, listed, request);
        let created = Process::creating(grant.stdio);
        let instance = self.state.instance_mut(&request.container_id)?;
        instance.execs.insert(request.exec_id.clone(), created);
        let process = ProcessRef::exec(&request.container_id, &request.exec_id);
        Ok((grant, Pending::new(Change::Exec { process })))
    }

    fn start(&mut self, process: &ProcessRef) -> Result<Pending, Denial> {
        process::check_not_poisoned(&self.state)?;
        process::check_created(self.state.process(process)?, process)?;
        if process.exec_id.is_none() {
            // A19: the sidecar that ran at the creation may be gone.
            order::check_after_started(&self.state, self.container_of(&process.container_id)?)?;
        }
        self.state.process_mut(process)?.state = State::Starting;
        Ok(Pending::new(Change::Start { process: process.clone() }))
    }

    fn update(&mut self, request: &UpdateRequest) -> Result<(ContainerLimits, Pending), Denial> {
        process::check_not_poisoned(&self.state)?;
        let instance = self.state.instance(&request.container_id)?;
        update::check_is_there(instance)?;
        update::check_not_updating(instance)?;
        let resources = &self.container_of(&request.container_id)?.resources;
        update::check_memory(resources, instance, request)?;
        update::check_cpu(resources, instance, request)?;
        update::check_pids(instance, request)?;
        let limits = update::after(instance, request);
        self.state.instance_mut(&request.container_id)?.updating = true;
        let change = Change::Update { id: request.container_id.clone(), limits };
        Ok((limits, Pending::new(change)))
    }

    fn signal(&mut self, process: &ProcessRef, signal: u32, all: bool) -> Result<(), Denial> {
        self.check_signal(process, signal, all)?;
        self.state.instance_mut(&process.container_id)?.disturbed = true;
        Ok(())
    }

    fn check_signal(&self, process: &ProcessRef, signal: u32, all: bool) -> Result<(), Denial> {
        process::check_not_poisoned(&self.state)?;
        process::check_is_there(self.state.process(process)?, process)?;
        process::check_signal_scope(process, all)?;
        process::check_signal(self.container_of(&process.container_id)?, signal)
    }

    fn close_stdin(&mut self, process: &ProcessRef) -> Result<(), Denial> {
        process::check_has_stdin(self.state.process(process)?, process)
    }

    fn resize(&self, process: &ProcessRef) -> Result<(), Denial> {
        process::check_has_terminal(self.state.process(process)?, process)
    }

    fn observe(&self, process: &ProcessRef) -> Result<(), Denial> {
        self.state.process(process).map(|_| ())
    }

    fn stats(&self, container_id: &str) -> Result<(), Denial> {
        visibility::check_metrics(self.container_of(container_id)?)
    }

    fn pids(&self, container_id: &str) -> Result<(), Denial> {
        visibility::check_metrics(self.container_of(container_id)?)
    }

    fn termination_message(&self, container_id: &str) -> Result<(), Denial> {
        visibility::check_ended(self.state.instance(container_id)?)?;
        visibility::check_termination_message(self.container_of(container_id)?)
    }

    fn delete(&mut self, process: &ProcessRef) -> Result<Pending, Denial> {
        process::check_not_poisoned(&self.state)?;
        let found = self.state.process_mut(process)?;
        process::check_deletable(found, process)?;
        let from = match found.state {
            State::Stopped { ran } => Deletable::Stopped { ran },
            _ => Deletable::Created,
        };
        found.state = State::Deleting { from };
        Ok(Pending::new(Change::Delete { process: process.clone() }))
    }

    fn exited(&mut self, process: &ProcessRef, code: u32) {
        self.state.exited(process, code);
    }

    fn commit(&mut self, pending: Pending) {
        self.state.commit(pending.into_change());
    }

    fn rollback(&mut self, pending: Pending) {
        self.state.rollback(pending.into_change());
    }

    fn poison(&mut self) {
        self.state.poisoned = true;
    }

    fn is_poisoned(&self) -> bool {
        self.state.poisoned
    }

    fn fingerprint(&self) -> Sha256Digest {
        self.state.fingerprint()
    }
}
