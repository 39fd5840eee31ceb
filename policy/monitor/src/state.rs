// SPDX-License-Identifier: Apache-2.0
//! The state of the pod as the monitor knows it, and how a reserved change ends.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::hash::Hash;
use std::hash::Hasher;

use casemate_policy::Sha256Digest;

use crate::Change;
use crate::ContainerLimits;
use crate::Denial;
use crate::ProcessRef;
use crate::Rule;
use crate::denial::process_field;

/// What has happened in the pod so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct PodState {
    pub(crate) network: Network,
    /// What became of the containers of the policy, by name.
    pub(crate) history: BTreeMap<String, History>,
    /// Containers that are not deleted, by id.
    pub(crate) containers: BTreeMap<String, Instance>,
    /// Ids of deleted containers. A21: never used again.
    pub(crate) spent: BTreeSet<String>,
    /// Content that the host gave, by volume.
    pub(crate) volumes: BTreeMap<String, Content>,
    pub(crate) poisoned: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum Network {
    #[default]
    Unset,
    Setting,
    Set,
}

/// What became of the containers of one name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct History {
    /// Containers that have run, or may yet.
    pub(crate) starts: u32,
    /// One has run and ended with code 0.
    pub(crate) ended_well: bool,
    /// One has run undisturbed and ended with code 0.
    pub(crate) completed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Instance {
    pub(crate) name: String,
    pub(crate) env: Vec<String>,
    pub(crate) limits: ContainerLimits,
    pub(crate) updating: bool,
    pub(crate) process: Process,
    pub(crate) execs: BTreeMap<String, Process>,
    /// A21: ids of deleted execs.
    pub(crate) spent_execs: SpentIds,
    /// The host sent a signal, changed a limit or got the stdin of a command: what the container did
    /// after it proves nothing.
    pub(crate) disturbed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    pub(crate) state: State,
    pub(crate) terminal: bool,
    pub(crate) stdin: bool,
}

/// Life cycle of a process; the states in the middle of a step are the agent's to finish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum State {
    Creating,
    Created,
    Starting,
    Running,
    /// It has ended.
    Stopped {
        /// It ran before.
        ran: bool,
    },
    Deleting {
        /// The state before.
        from: Deletable,
    },
}

/// The states from which a process is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Deletable {
    Created,
    Stopped { ran: bool },
}

impl From<Deletable> for State {
    fn from(state: Deletable) -> Self {
        match state {
            Deletable::Created => Self::Created,
            Deletable::Stopped { ran } => Self::Stopped { ran },
        }
    }
}

/// Content of a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Content {
    /// Number of the newest revision; 0 = none.
    pub(crate) revision: u64,
    pub(crate) putting: bool,
}

/// Ids that were deleted. Probes run as long as the pod does, so not every id can be kept: each is,
/// until at least [`KEPT_IDS`] later ones were deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct SpentIds {
    newer: BTreeSet<String>,
    older: BTreeSet<String>,
}

impl SpentIds {
    pub(crate) fn contains(&self, id: &str) -> bool {
        self.newer.contains(id) || self.older.contains(id)
    }

    fn insert(&mut self, id: String) {
        if self.newer.len() >= KEPT_IDS {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(id);
    }
}

impl Instance {
    /// A21: it counts as the one of its name, from the request for it until its end. The deletion of
    /// one that never ran may yet fail, so it counts until then.
    pub(crate) fn is_alive(&self) -> bool {
        !matches!(
            self.process.state,
            State::Stopped { .. } | State::Deleting { from: Deletable::Stopped { .. } }
        )
    }
}

impl Process {
    /// A process that is being made.
    pub(crate) fn creating(stdio: crate::Stdio) -> Self {
        Self { state: State::Creating, terminal: stdio.terminal, stdin: stdio.stdin }
    }

    /// Whether it was made and has not ended.
    pub(crate) fn is_there(&self) -> bool {
        matches!(self.state, State::Created | State::Starting | State::Running)
    }
}

impl PodState {
    pub(crate) fn instance(&self, id: &str) -> Result<&Instance, Denial> {
        self.containers.get(id).ok_or_else(unknown_container)
    }

    pub(crate) fn instance_mut(&mut self, id: &str) -> Result<&mut Instance, Denial> {
        self.containers.get_mut(id).ok_or_else(unknown_container)
    }

    pub(crate) fn process(&self, process: &ProcessRef) -> Result<&Process, Denial> {
        let instance = self.instance(&process.container_id)?;
        match &process.exec_id {
            None => Ok(&instance.process),
            Some(exec_id) => instance.execs.get(exec_id).ok_or_else(|| unknown(process)),
        }
    }

    pub(crate) fn process_mut(&mut self, process: &ProcessRef) -> Result<&mut Process, Denial> {
        let instance = self.instance_mut(&process.container_id)?;
        match &process.exec_id {
            None => Ok(&mut instance.process),
            Some(exec_id) => instance.execs.get_mut(exec_id).ok_or_else(|| unknown(process)),
        }
    }

    /// The change was carried out.
    pub(crate) fn commit(&mut self, change: Change) {
        match change {
            Change::Network => self.network = Network::Set,
            Change::Create { id } => {
                self.advance(&ProcessRef::init(&id), State::Creating, State::Created);
            }
            Change::Exec { process } => {
                self.advance(&process, State::Creating, State::Created);
                // A20: through its stdin the host has a hand in the container.
                let has_stdin = self.process(&process).is_ok_and(|found| found.stdin);
                if let Some(instance) = self.containers.get_mut(&process.container_id) {
                    instance.disturbed |= has_stdin;
                }
            }
            Change::Start { process } => self.advance(&process, State::Starting, State::Running),
            Change::Delete { process } => match process.exec_id {
                None => self.forget_container(process.container_id),
                Some(exec_id) => self.forget_exec(&process.container_id, exec_id),
            },
            Change::Update { id, limits } => {
                if let Some(instance) = self.containers.get_mut(&id) {
                    instance.updating = false;
                    instance.disturbed |= instance.limits != limits;
                    instance.limits = limits;
                }
            }
            Change::PutVolume { volume, revision } => {
                self.volumes.insert(volume, Content { revision, putting: false });
            }
        }
    }

    /// The change failed and nothing of it is left.
    pub(crate) fn rollback(&mut self, change: Change) {
        match change {
            Change::Network => self.network = Network::Unset,
            Change::Create { id } => {
                if let Some(instance) = self.containers.remove(&id) {
                    self.uncount(&instance.name);
                }
            }
            Change::Exec { process } => self.remove_exec(&process),
            Change::Start { process } => self.advance(&process, State::Starting, State::Created),
            Change::Delete { process } => {
                if let Ok(found) = self.process_mut(&process)
                    && let State::Deleting { from } = found.state
                {
                    found.state = from.into();
                }
            }
            Change::Update { id, .. } => {
                if let Some(instance) = self.containers.get_mut(&id) {
                    instance.updating = false;
                }
            }
            Change::PutVolume { volume, .. } => {
                if let Some(content) = self.volumes.get_mut(&volume) {
                    content.putting = false;
                    if content.revision == 0 {
                        self.volumes.remove(&volume);
                    }
                }
            }
        }
    }

    /// A process ended.
    pub(crate) fn exited(&mut self, process: &ProcessRef, code: u32) {
        let Ok(found) = self.process_mut(process) else { return };
        let ran = matches!(found.state, State::Starting | State::Running);
        match &mut found.state {
            State::Stopped { .. } | State::Deleting { from: Deletable::Stopped { .. } } => {}
            State::Deleting { from } => *from = Deletable::Stopped { ran },
            state => *state = State::Stopped { ran },
        }
        // A20: only a whole run that ended well counts.
        if ran
            && code == 0
            && process.exec_id.is_none()
            && let Some(instance) = self.containers.get(&process.container_id)
        {
            let history = self.history.entry(instance.name.clone()).or_default();
            history.ended_well = true;
            history.completed |= !instance.disturbed;
        }
    }

    /// Digest of all of it.
    pub(crate) fn fingerprint(&self) -> Sha256Digest {
        let mut bytes = Bytes(Vec::new());
        self.hash(&mut bytes);
        Sha256Digest::of(&bytes.0)
    }

    /// Moves a process on, unless it has ended meanwhile.
    fn advance(&mut self, process: &ProcessRef, from: State, to: State) {
        if let Ok(found) = self.process_mut(process)
            && found.state == from
        {
            found.state = to;
        }
    }

    fn forget_container(&mut self, id: String) {
        if let Some(instance) = self.containers.remove(&id)
            && !instance.has_run()
        {
            self.uncount(&instance.name);
        }
        self.spent.insert(id);
    }

    /// A container that never ran is no start.
    fn uncount(&mut self, name: &str) {
        if let Some(history) = self.history.get_mut(name) {
            history.starts = history.starts.saturating_sub(1);
            if *history == History::default() {
                self.history.remove(name);
            }
        }
    }

    fn forget_exec(&mut self, container_id: &str, exec_id: String) {
        if let Some(instance) = self.containers.get_mut(container_id) {
            instance.execs.remove(&exec_id);
            instance.spent_execs.insert(exec_id);
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

impl Instance {
    fn has_run(&self) -> bool {
        !matches!(
            self.process.state,
            State::Creating
                | State::Created
                | State::Stopped { ran: false }
                | State::Deleting { from: Deletable::Created | Deletable::Stopped { ran: false } }
        )
    }
}

fn unknown_container() -> Denial {
    Denial::new(Rule::Id, "container_id", "is unknown")
}

fn unknown(process: &ProcessRef) -> Denial {
    Denial::new(Rule::Id, process_field(process), "is unknown")
}

/// Collects what is hashed; the standard library's hashes of strings and lists tell where they end.
struct Bytes(Vec<u8>);

impl Hasher for Bytes {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn finish(&self) -> u64 {
        // Nobody asks: the bytes themselves are the result.
        0
    }
}

/// Fewest ids of deleted execs that are kept, by container; at most twice as many are, of 128 bytes
/// each. A probe every second needs more than an hour for them.
const KEPT_IDS: usize = 4096;
