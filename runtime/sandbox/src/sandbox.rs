// SPDX-License-Identifier: Apache-2.0
//! The state machine.

use std::collections::BTreeMap;

use crate::action::Action;
use crate::action::Event;
use crate::id::Id;
use crate::id::Process;
use crate::input::Input;
use crate::input::Refusal;
use crate::process::Exit;
use crate::process::State;
use crate::process::Status;
use crate::process::Timestamp;
use crate::process::View;

/// A sandbox with its tasks.
#[derive(Debug)]
pub struct Sandbox {
    id: Id,
    vm: Vm,
    /// The VMM's process id; 0 until it runs. Kept after its end, for the last events.
    pid: u32,
    /// The signal that containerd sent to the sandbox, which then explains the VM's end.
    signal: Option<u32>,
    processes: BTreeMap<Process, State>,
}

/// Where the VM is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Vm {
    Absent,
    Starting,
    Booting,
    Attested,
    Gone,
}

impl Sandbox {
    /// A sandbox of which nothing exists yet.
    #[must_use]
    pub fn new(id: Id) -> Self {
        Self { id, vm: Vm::Absent, pid: 0, signal: None, processes: BTreeMap::new() }
    }

    /// The sandbox's own id, which is also that of its own task.
    #[must_use]
    pub fn id(&self) -> &Id {
        &self.id
    }

    /// What containerd may see of a process.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotFound`] when there is no such process or it is only being made.
    pub fn view(&self, process: &Process) -> Result<View, Refusal> {
        let state = self.state(process)?;
        let status = state.status().ok_or_else(|| not_found(process))?;
        Ok(View { status, exit: state.exit(), pid: self.pid })
    }

    /// The processes that are alive, those only made included.
    pub fn live(&self) -> impl Iterator<Item = &Process> {
        self.processes.iter().filter(|(_, state)| state.is_live()).map(|(process, _)| process)
    }

    /// Takes one input and says what follows from it.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] when containerd asks for something that the state forbids; the state is
    /// unchanged then. Reports of the guest about a process that it cannot be true of are dropped
    /// and give no action, never an error (E19).
    pub fn step(&mut self, input: Input) -> Result<Vec<Action>, Refusal> {
        match input {
            Input::CreateSandbox => self.create_sandbox(),
            Input::VmStarted { pid } => Ok(self.vm_started(pid)),
            Input::VmFailed => Ok(self.vm_failed()),
            Input::GuestReady => Ok(self.guest_ready()),
            Input::VmExited { at } => Ok(self.vm_exited(at)),
            Input::AgentSilent => {
                Ok(if self.vm_is_alive() { vec![Action::KillVm] } else { vec![] })
            }
            Input::CreateContainer(id) => self.create(Process::init(id)),
            Input::Exec { task, exec } => self.exec(task, exec),
            Input::Created(process) => Ok(self.created(process)),
            Input::CreateFailed(process) => Ok(self.create_failed(&process)),
            Input::Start(process) => self.start(process),
            Input::Started(process) => Ok(self.started(process)),
            Input::StartFailed(process) => Ok(self.start_failed(process)),
            Input::Signal { process, signal, all } => self.signal(process, signal, all),
            Input::Exited { process, exit } => Ok(self.exited(process, exit)),
            Input::OutOfMemory(id) => Ok(self.out_of_memory(id)),
            Input::Delete { process, at } => self.delete(process, at),
            Input::Deleted(process) => Ok(self.deleted(process)),
            Input::Shutdown { now } => {
                Ok(if now || self.processes.is_empty() { vec![Action::Quit] } else { vec![] })
            }
        }
    }

    fn create_sandbox(&mut self) -> Result<Vec<Action>, Refusal> {
        let process = Process::init(self.id.clone());
        if self.vm != Vm::Absent {
            return Err(Refusal::AlreadyExists { process });
        }
        self.vm = Vm::Starting;
        self.processes.insert(process, State::Creating);
        Ok(vec![Action::BootVm])
    }

    fn vm_started(&mut self, pid: u32) -> Vec<Action> {
        if self.vm != Vm::Starting {
            return vec![];
        }
        self.vm = Vm::Booting;
        self.pid = pid;
        self.processes.insert(Process::init(self.id.clone()), State::Created);
        vec![Action::Publish(Event::Create { id: self.id.clone(), pid })]
    }

    fn vm_failed(&mut self) -> Vec<Action> {
        if self.vm != Vm::Starting {
            return vec![];
        }
        self.vm = Vm::Gone;
        self.processes.clear();
        vec![Action::CleanUp]
    }

    fn guest_ready(&mut self) -> Vec<Action> {
        if self.vm == Vm::Booting {
            self.vm = Vm::Attested;
        }
        vec![]
    }

    fn vm_exited(&mut self, at: Timestamp) -> Vec<Action> {
        if !self.vm_is_alive() {
            return vec![];
        }
        self.vm = Vm::Gone;
        let mut ended: Vec<Process> = self.live().cloned().collect();
        // Execs first, then containers, the sandbox itself last.
        ended.sort_by_key(|p| (p.task == self.id, p.exec.is_none()));
        let own = self.signal.map_or(VM_DIED_STATUS, |signal| SIGNAL_BASE.saturating_add(signal));
        let mut actions = Vec::new();
        for process in ended {
            let status = if process.task == self.id { own } else { VM_DIED_STATUS };
            // A guest that reported an exit before its death is believed.
            let exit = match self.processes.get(&process) {
                Some(State::Starting { held: Some(exit) }) => *exit,
                _ => Exit { status, at },
            };
            self.stop(process, exit, &mut actions);
        }
        // What the guest was still forgetting is forgotten now: its driver asks nobody any more.
        actions
    }

    fn create(&mut self, process: Process) -> Result<Vec<Action>, Refusal> {
        if self.processes.contains_key(&process) {
            return Err(Refusal::AlreadyExists { process });
        }
        self.needs_running_sandbox()?;
        self.processes.insert(process.clone(), State::Creating);
        Ok(vec![Action::GuestCreate(process)])
    }

    fn exec(&mut self, task: Id, exec: Id) -> Result<Vec<Action>, Refusal> {
        if task == self.id {
            return Err(Refusal::SandboxHasNoProcess);
        }
        let init = Process::init(task.clone());
        match self.state(&init)? {
            State::Running => self.create(Process { task, exec: Some(exec) }),
            state => Err(wrong_state(init, state, "running")),
        }
    }

    fn created(&mut self, process: Process) -> Vec<Action> {
        if self.processes.get(&process) != Some(&State::Creating) || process.task == self.id {
            return vec![];
        }
        self.processes.insert(process.clone(), State::Created);
        let event = match &process.exec {
            None => Event::Create { id: process.task.clone(), pid: self.pid },
            Some(exec) => Event::ExecAdded { id: process.task.clone(), exec: exec.clone() },
        };
        let mut actions = vec![Action::Publish(event)];
        if self.vm == Vm::Gone {
            // The VM died between the guest's answer and this step.
            let exit = Exit { status: VM_DIED_STATUS, at: Timestamp::default() };
            self.stop(process, exit, &mut actions);
        }
        actions
    }

    fn create_failed(&mut self, process: &Process) -> Vec<Action> {
        if self.processes.get(process) == Some(&State::Creating) && process.task != self.id {
            self.processes.remove(process);
        }
        vec![]
    }

    fn start(&mut self, process: Process) -> Result<Vec<Action>, Refusal> {
        match self.state(&process)? {
            State::Created => {}
            state => return Err(wrong_state(process, state, "created")),
        }
        if process.task == self.id {
            if self.vm != Vm::Attested {
                return Err(self.not_attested());
            }
            self.processes.insert(process, State::Running);
            let event = Event::Start { id: self.id.clone(), pid: self.pid };
            return Ok(vec![Action::Publish(event)]);
        }
        self.needs_running_sandbox()?;
        self.processes.insert(process.clone(), State::Starting { held: None });
        Ok(vec![Action::GuestStart(process)])
    }

    fn started(&mut self, process: Process) -> Vec<Action> {
        let Some(State::Starting { held }) = self.processes.get(&process).copied() else {
            return vec![];
        };
        self.processes.insert(process.clone(), State::Running);
        let (id, pid) = (process.task.clone(), self.pid);
        let event = match process.exec.clone() {
            None => Event::Start { id, pid },
            Some(exec) => Event::ExecStarted { id, exec, pid },
        };
        let mut actions = vec![Action::Publish(event)];
        if let Some(exit) = held {
            self.stop(process, exit, &mut actions);
        }
        actions
    }

    fn start_failed(&mut self, process: Process) -> Vec<Action> {
        let Some(State::Starting { held }) = self.processes.get(&process).copied() else {
            return vec![];
        };
        let mut actions = vec![];
        match held {
            None => {
                self.processes.insert(process, State::Created);
            }
            Some(exit) => self.stop(process, exit, &mut actions),
        }
        actions
    }

    fn signal(&mut self, process: Process, signal: u32, all: bool) -> Result<Vec<Action>, Refusal> {
        let state = self.state(&process)?;
        if state.exit().is_some() || !self.vm_is_alive() {
            return Err(Refusal::Finished { process });
        }
        if state == State::Creating {
            return Err(wrong_state(process, state, "created or running"));
        }
        if process.task != self.id {
            return Ok(vec![Action::GuestSignal { process, signal, all }]);
        }
        let is_first = self.signal.replace(signal).is_none();
        Ok(vec![match signal {
            // A guest that is not up yet cannot power itself off.
            _ if self.vm != Vm::Attested => Action::KillVm,
            // containerd ends every sandbox so, at once and without a word before.
            SIGKILL if is_first => Action::DismissVm,
            SIGKILL => Action::KillVm,
            _ => Action::PowerOffVm,
        }])
    }

    fn exited(&mut self, process: Process, exit: Exit) -> Vec<Action> {
        // E19: the sandbox ends with its VM, not by a word of the guest.
        if process.task == self.id {
            return vec![];
        }
        let mut actions = vec![];
        match self.processes.get(&process).copied() {
            Some(State::Starting { held: None }) => {
                self.processes.insert(process, State::Starting { held: Some(exit) });
            }
            // A container that was killed before it was started ends without a start event.
            Some(State::Running | State::Created) => self.stop(process, exit, &mut actions),
            _ => {}
        }
        actions
    }

    fn out_of_memory(&mut self, id: Id) -> Vec<Action> {
        let process = Process::init(id);
        let known = self.processes.get(&process).is_some_and(|state| state.status().is_some());
        if !known || process.task == self.id {
            return vec![];
        }
        vec![Action::Publish(Event::Oom { id: process.task })]
    }

    fn delete(&mut self, process: Process, at: Timestamp) -> Result<Vec<Action>, Refusal> {
        let state = self.state(&process)?;
        let own = process.task == self.id;
        match state {
            State::Stopped(_) => {}
            // Never started: it may be deleted as it is. (Deleting kills it in the guest.)
            State::Created => {}
            _ => return Err(wrong_state(process, state, "stopped or created")),
        }
        let is_other = |p: &Process| p.task != self.id;
        if own && self.processes.keys().any(is_other) && self.vm_is_alive() {
            return Err(Refusal::SandboxInUse);
        }
        let exit = state.exit().or(Some(Exit { status: 0, at }));
        self.processes.insert(process.clone(), State::Deleting { exit });
        Ok(match (own, self.vm) {
            (true, Vm::Attested) => vec![Action::DismissVm],
            (true, Vm::Booting) => vec![Action::KillVm],
            (false, Vm::Attested | Vm::Booting) => vec![Action::GuestDelete(process)],
            (_, Vm::Absent | Vm::Starting | Vm::Gone) => vec![],
        })
    }

    fn deleted(&mut self, process: Process) -> Vec<Action> {
        let Some(State::Deleting { exit }) = self.processes.get(&process).copied() else {
            return vec![];
        };
        self.processes.remove(&process);
        let own = process.task == self.id;
        let mut actions = Vec::new();
        if process.exec.is_none() {
            // Execs of a deleted container go with it.
            self.processes.retain(|other, _| other.task != process.task);
            let exit = exit.unwrap_or(Exit { status: 0, at: Timestamp::default() });
            actions.push(Action::Publish(Event::Delete { id: process.task, pid: self.pid, exit }));
        }
        if own {
            actions.push(Action::CleanUp);
        }
        actions
    }

    /// Ends a live process: its state, its event, its waiters.
    fn stop(&mut self, process: Process, exit: Exit, actions: &mut Vec<Action>) {
        self.processes.insert(process.clone(), State::Stopped(exit));
        let event = Event::Exit { process: process.clone(), pid: self.pid, exit };
        actions.push(Action::Publish(event));
        actions.push(Action::WakeWaiters(process));
    }

    fn state(&self, process: &Process) -> Result<State, Refusal> {
        self.processes.get(process).copied().ok_or_else(|| not_found(process))
    }

    fn needs_running_sandbox(&self) -> Result<(), Refusal> {
        if self.vm != Vm::Attested {
            return Err(self.not_attested());
        }
        let own = Process::init(self.id.clone());
        match self.view(&own)?.status {
            Status::Running => Ok(()),
            Status::Created => Err(Refusal::SandboxState { found: "created", needed: "running" }),
            Status::Stopped => Err(Refusal::SandboxState { found: "stopped", needed: "running" }),
        }
    }

    fn not_attested(&self) -> Refusal {
        let found = match self.vm {
            Vm::Absent => "absent",
            Vm::Starting | Vm::Booting => "booting",
            Vm::Attested => "attested",
            Vm::Gone => "gone",
        };
        Refusal::SandboxState { found, needed: "attested" }
    }

    fn vm_is_alive(&self) -> bool {
        matches!(self.vm, Vm::Booting | Vm::Attested)
    }
}

fn not_found(process: &Process) -> Refusal {
    Refusal::NotFound { process: process.clone() }
}

fn wrong_state(process: Process, state: State, needed: &'static str) -> Refusal {
    let found = match state {
        State::Creating => "being created",
        State::Created => "created",
        State::Starting { .. } => "starting",
        State::Running => "running",
        State::Stopped(_) => "stopped",
        State::Deleting { .. } => "being deleted",
    };
    Refusal::WrongState { process, found, needed }
}

/// Exit status of a process whose VM died: as if it had been killed.
pub const VM_DIED_STATUS: u32 = 137;

/// What a signal's number is added to in an exit status, as in the shell.
const SIGNAL_BASE: u32 = 128;

const SIGKILL: u32 = 9;

#[cfg(test)]
mod tests;
