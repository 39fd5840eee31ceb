// SPDX-License-Identifier: Apache-2.0
//! The state of the pod as the monitor knows it, and the transitions.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use casemate_policy::Container;
use casemate_policy::DocumentError;
use casemate_policy::Policy;
use casemate_policy::is_hostname;

use crate::CreateRequest;
use crate::Denial;
use crate::ExecRequest;
use crate::Grant;
use crate::NetworkRequest;
use crate::ProcessRef;
use crate::Rule;
use crate::compare;
use crate::denial::Quoted;

/// Judges the host's requests one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Monitor {
    policy: Policy,
    network: Network,
    /// What became of the containers of the policy, by name.
    history: BTreeMap<String, History>,
    /// Containers that are not deleted, by id.
    containers: BTreeMap<String, Instance>,
    /// Ids of deleted containers. A21: never used again.
    spent: BTreeSet<String>,
    poisoned: bool,
}

/// A change that the monitor has granted and reserved; see [`Monitor::commit`].
#[derive(Debug)]
#[must_use = "the change stays reserved until commit or rollback"]
pub struct Pending(Change);

#[derive(Debug)]
enum Change {
    Network,
    Create { id: String },
    Exec { id: String, exec_id: String },
    Start { process: ProcessRef },
    Delete { process: ProcessRef, before: State },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Network {
    Unset,
    Setting,
    Set,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct History {
    starts: u32,
    /// It has ended with code 0.
    completed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Instance {
    name: String,
    env: Vec<String>,
    process: Process,
    execs: BTreeMap<String, Process>,
    /// The host sent a signal: what the container did after it proves nothing.
    disturbed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Process {
    state: State,
    terminal: bool,
}

/// Life cycle of a process; the states in the middle of a step are the agent's to finish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Creating,
    Created,
    Starting,
    Running,
    Stopped,
    Deleting,
}

impl Monitor {
    /// Starts with nothing running.
    ///
    /// # Errors
    ///
    /// The policy breaks a rule of its format; one from [`Policy::parse`] does not.
    pub fn new(policy: Policy) -> Result<Self, DocumentError> {
        policy.validate()?;
        Ok(Self {
            policy,
            network: Network::Unset,
            history: BTreeMap::new(),
            containers: BTreeMap::new(),
            spent: BTreeSet::new(),
            poisoned: false,
        })
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The policy's text on a container, by the id of an instance that is not deleted.
    #[must_use]
    pub fn container(&self, id: &str) -> Option<&Container> {
        self.policy.containers.get(&self.containers.get(id)?.name)
    }

    /// The host gives the pod's network, once.
    ///
    /// # Errors
    ///
    /// A second time, or a hostname that is malformed (B14) or not the policy's.
    pub fn network(&mut self, request: &NetworkRequest) -> Result<Pending, Denial> {
        self.check_poison()?;
        if self.network != Network::Unset {
            return Err(Denial::new(Rule::Phase, "network", "the network is set already"));
        }
        let hostname = &request.hostname;
        if !is_hostname(hostname) {
            let text = format!("{} is no hostname", Quoted(hostname));
            return Err(Denial::new(Rule::Network, "hostname", text));
        }
        if self.policy.sandbox.hostname.as_ref().is_some_and(|expected| expected != hostname) {
            let text = format!("{} is not the policy's hostname", Quoted(hostname));
            return Err(Denial::new(Rule::Network, "hostname", text));
        }
        self.network = Network::Setting;
        Ok(Pending(Change::Network))
    }

    /// The host asks for a container.
    ///
    /// # Errors
    ///
    /// The id is malformed or was used before, the name is not in the policy, its order or count does
    /// not allow one now, or any field differs from the policy.
    pub fn create(&mut self, request: &CreateRequest) -> Result<(Grant, Pending), Denial> {
        self.check_poison()?;
        check_id("id", &request.id)?;
        // A21: an id means one container, ever.
        if self.containers.contains_key(&request.id) || self.spent.contains(&request.id) {
            return Err(Denial::new(Rule::Id, "id", "was used before"));
        }
        let Some(container) = self.policy.containers.get(&request.name) else {
            let text = format!("{} is not in the policy", Quoted(&request.name));
            return Err(Denial::new(Rule::Container, "name", text));
        };
        let grant = compare::create(container, request)?;
        self.check_order(&request.name, container)?;
        self.check_count(&request.name, container)?;

        self.history.entry(request.name.clone()).or_default().starts += 1;
        let process = Process { state: State::Creating, terminal: grant.stdio.terminal };
        let instance = Instance {
            name: request.name.clone(),
            env: grant.env.clone(),
            process,
            execs: BTreeMap::new(),
            disturbed: false,
        };
        self.containers.insert(request.id.clone(), instance);
        Ok((grant, Pending(Change::Create { id: request.id.clone() })))
    }

    /// The host asks for a process in a running container.
    ///
    /// # Errors
    ///
    /// The container does not run, the id is malformed or in use, too many processes are there, or the
    /// command, its environment, directory or streams are not granted.
    pub fn exec(&mut self, request: &ExecRequest) -> Result<(Grant, Pending), Denial> {
        self.check_poison()?;
        check_id("exec_id", &request.exec_id)?;
        let instance = find_mut(&mut self.containers, &request.container_id)?;
        // A5: neither before the start nor after the end.
        if instance.process.state != State::Running {
            return Err(Denial::new(Rule::Id, "container_id", "the container does not run"));
        }
        if instance.execs.contains_key(&request.exec_id) {
            return Err(Denial::new(Rule::Id, "exec_id", "is in use"));
        }
        if instance.execs.len() >= MAX_EXECS {
            let text = format!("{MAX_EXECS} processes of execs are there already");
            return Err(Denial::new(Rule::Count, "exec_id", text));
        }
        let Some(container) = self.policy.containers.get(&instance.name) else {
            return Err(Denial::new(Rule::Container, "container_id", "is not in the policy"));
        };
        let grant = compare::exec(&instance.name, container, &instance.env, request)?;
        let process = Process { state: State::Creating, terminal: grant.stdio.terminal };
        instance.execs.insert(request.exec_id.clone(), process);
        let change =
            Change::Exec { id: request.container_id.clone(), exec_id: request.exec_id.clone() };
        Ok((grant, Pending(change)))
    }

    /// The host starts a process that was created.
    ///
    /// # Errors
    ///
    /// The process is unknown or not just created.
    pub fn start(&mut self, process: &ProcessRef) -> Result<Pending, Denial> {
        self.check_poison()?;
        let found = self.process_mut(process)?;
        if found.state != State::Created {
            return Err(Denial::new(Rule::Id, field(process), "is not in the state created"));
        }
        found.state = State::Starting;
        Ok(Pending(Change::Start { process: process.clone() }))
    }

    /// The host sends a signal to a process, or to every process of a container.
    ///
    /// # Errors
    ///
    /// The process is unknown or has ended, the signal is not granted (A17), or "all" is asked of a
    /// process that an exec made.
    ///
    /// # Security
    ///
    /// A20: a container that got a signal never counts as completed, whatever its exit code: killing
    /// the children of a script makes it skip its work and end well.
    pub fn signal(&mut self, process: &ProcessRef, signal: u32, all: bool) -> Result<(), Denial> {
        self.check_poison()?;
        let found = self.process(process)?;
        if !matches!(found.state, State::Created | State::Starting | State::Running) {
            return Err(Denial::new(Rule::Id, field(process), "has ended or does not exist yet"));
        }
        if all && process.exec_id.is_some() {
            return Err(Denial::new(Rule::Invalid, "all", "is for containers only"));
        }
        let granted = self
            .container(&process.container_id)
            .is_some_and(|container| container.signals.contains(&signal));
        if !granted {
            let text = format!("signal {signal} is not granted");
            return Err(Denial::new(Rule::Signal, "signal", text));
        }
        if let Some(instance) = self.containers.get_mut(&process.container_id) {
            instance.disturbed = true;
        }
        Ok(())
    }

    /// The host resizes a terminal.
    ///
    /// # Errors
    ///
    /// The process is unknown or has no terminal.
    pub fn resize(&self, process: &ProcessRef) -> Result<(), Denial> {
        if self.process(process)?.terminal {
            Ok(())
        } else {
            Err(Denial::new(Rule::Stdio, field(process), "has no terminal"))
        }
    }

    /// The host asks how a process is, waits for it, or closes its stdin.
    ///
    /// # Errors
    ///
    /// The process is unknown.
    pub fn observe(&self, process: &ProcessRef) -> Result<(), Denial> {
        self.process(process).map(|_| ())
    }

    /// The host deletes a process that has ended or was never started.
    ///
    /// # Errors
    ///
    /// The process is unknown or runs (A22).
    pub fn delete(&mut self, process: &ProcessRef) -> Result<Pending, Denial> {
        self.check_poison()?;
        let found = self.process_mut(process)?;
        let before = found.state;
        if !matches!(before, State::Created | State::Stopped) {
            return Err(Denial::new(Rule::Id, field(process), "has not ended"));
        }
        found.state = State::Deleting;
        Ok(Pending(Change::Delete { process: process.clone(), before }))
    }

    /// A process ended with this code. Unknown processes are ignored: the guest says this, not the
    /// host, and it may say it late.
    pub fn exited(&mut self, process: &ProcessRef, code: u32) {
        let Ok(found) = self.process_mut(process) else { return };
        let ran = matches!(found.state, State::Starting | State::Running);
        if found.state != State::Deleting {
            found.state = State::Stopped;
        }
        // A20: only a whole run that ended well counts.
        if ran && code == 0 && process.exec_id.is_none() {
            let instance = self.containers.get(&process.container_id);
            let name = instance.filter(|i| !i.disturbed).map(|i| i.name.clone());
            if let Some(name) = name {
                self.history.entry(name).or_default().completed = true;
            }
        }
    }

    /// The change was carried out.
    pub fn commit(&mut self, pending: Pending) {
        match pending.0 {
            Change::Network => self.network = Network::Set,
            Change::Create { id } => {
                self.advance(&ProcessRef::init(&id), State::Creating, State::Created);
            }
            Change::Exec { id, exec_id } => {
                self.advance(&ProcessRef::exec(&id, &exec_id), State::Creating, State::Created);
            }
            Change::Start { process } => {
                self.advance(&process, State::Starting, State::Running);
            }
            Change::Delete { process, .. } => match &process.exec_id {
                None => {
                    self.containers.remove(&process.container_id);
                    self.spent.insert(process.container_id);
                }
                // Probes run for ever, so their ids are not kept: nothing outlives a deleted exec
                // that a later one of the same id could inherit.
                Some(_) => self.remove_exec(&process),
            },
        }
    }

    /// The change failed and nothing of it is left: the state is as before the request.
    pub fn rollback(&mut self, pending: Pending) {
        match pending.0 {
            Change::Network => self.network = Network::Unset,
            Change::Create { id } => {
                if let Some(instance) = self.containers.remove(&id)
                    && let Some(history) = self.history.get_mut(&instance.name)
                {
                    history.starts = history.starts.saturating_sub(1);
                    if *history == History::default() {
                        self.history.remove(&instance.name);
                    }
                }
            }
            Change::Exec { id, exec_id } => self.remove_exec(&ProcessRef::exec(&id, &exec_id)),
            Change::Start { process } => {
                self.advance(&process, State::Starting, State::Created);
            }
            Change::Delete { process, before } => self.advance(&process, State::Deleting, before),
        }
    }

    /// A failed change could not be undone: every later request that changes something is denied.
    pub fn poison(&mut self) {
        self.poisoned = true;
    }

    /// Whether [`Monitor::poison`] was called.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    fn check_poison(&self) -> Result<(), Denial> {
        if self.poisoned {
            let text = "an earlier failure in the guest could not be undone";
            return Err(Denial::new(Rule::Poisoned, "request", text));
        }
        Ok(())
    }

    /// A19, A20: predecessors have completed, and a completed predecessor does not run again.
    fn check_order(&self, name: &str, container: &Container) -> Result<(), Denial> {
        let completed = |n: &str| self.history.get(n).is_some_and(|h| h.completed);
        if !container.after.iter().all(|n| completed(n)) {
            let text = "a container that must complete before it has not";
            return Err(Denial::new(Rule::Order, "name", text));
        }
        let awaited = self.policy.containers.values().any(|c| c.after.iter().any(|n| n == name));
        if awaited && completed(name) {
            return Err(Denial::new(Rule::Order, "name", "has completed and runs once only"));
        }
        Ok(())
    }

    /// A21: one alive at a time, and not more often than the policy says.
    fn check_count(&self, name: &str, container: &Container) -> Result<(), Denial> {
        let alive = |i: &Instance| {
            i.name == name && !matches!(i.process.state, State::Stopped | State::Deleting)
        };
        if self.containers.values().any(alive) {
            return Err(Denial::new(Rule::Count, "name", "is alive already"));
        }
        let starts = self.history.get(name).map_or(0, |h| h.starts);
        if container.max_starts != 0 && starts >= container.max_starts {
            let text = format!("was created {starts} times already");
            return Err(Denial::new(Rule::Count, "name", text));
        }
        if self.containers.len() + self.spent.len() >= MAX_IDS {
            let text = format!("{MAX_IDS} ids are used up");
            return Err(Denial::new(Rule::Count, "id", text));
        }
        Ok(())
    }

    fn process(&self, process: &ProcessRef) -> Result<&Process, Denial> {
        let instance = self.containers.get(&process.container_id).ok_or_else(unknown_container)?;
        match &process.exec_id {
            None => Ok(&instance.process),
            Some(exec_id) => instance.execs.get(exec_id).ok_or_else(unknown_exec),
        }
    }

    fn process_mut(&mut self, process: &ProcessRef) -> Result<&mut Process, Denial> {
        let instance = find_mut(&mut self.containers, &process.container_id)?;
        match &process.exec_id {
            None => Ok(&mut instance.process),
            Some(exec_id) => instance.execs.get_mut(exec_id).ok_or_else(unknown_exec),
        }
    }

    /// Moves a process on, unless it has ended meanwhile.
    fn advance(&mut self, process: &ProcessRef, from: State, to: State) {
        if let Ok(found) = self.process_mut(process)
            && found.state == from
        {
            found.state = to;
        }
    }

    fn remove_exec(&mut self, process: &ProcessRef) {
        if let (Some(instance), Some(exec_id)) =
            (self.containers.get_mut(&process.container_id), &process.exec_id)
        {
            instance.execs.remove(exec_id);
        }
    }
}

fn find_mut<'a>(
    containers: &'a mut BTreeMap<String, Instance>,
    id: &str,
) -> Result<&'a mut Instance, Denial> {
    containers.get_mut(id).ok_or_else(unknown_container)
}

fn unknown_container() -> Denial {
    Denial::new(Rule::Id, "container_id", "is unknown")
}

fn unknown_exec() -> Denial {
    Denial::new(Rule::Id, "exec_id", "is unknown")
}

fn field(process: &ProcessRef) -> &'static str {
    if process.exec_id.is_some() { "exec_id" } else { "container_id" }
}

/// Ids become names of folders and cgroups in the guest: containerd's own grammar, and no more.
fn check_id(field: &str, id: &str) -> Result<(), Denial> {
    let outer = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    let well_formed = id.len() <= MAX_ID
        && outer(id.bytes().next())
        && outer(id.bytes().next_back())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if well_formed {
        return Ok(());
    }
    let text = format!("{} is no id", Quoted(id));
    Err(Denial::new(Rule::Invalid, field, text))
}

/// Longest id in bytes; containerd's are 64 hex digits.
const MAX_ID: usize = 128;
/// Most container ids in the life of a VM. A crash loop at kubelet's slowest pace (one start in five
/// minutes) takes seven months to use them up.
const MAX_IDS: usize = 1 << 16;
/// Most processes of execs that are not deleted, by container.
const MAX_EXECS: usize = 128;
