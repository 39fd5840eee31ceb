// SPDX-License-Identifier: Apache-2.0
//! What the runtime knows of its containers. No call here waits for anything.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use libcontainer::oci_spec::runtime::Process as OciProcess;
use rustix::process::Pid;

use super::error::DeleteError;
use super::error::ExecError;
use super::error::StartError;
use super::error::UnknownProcess;
use crate::id::ContainerId;
use crate::id::ProcessId;
use crate::reaper::ExitWatch;
use crate::request::Exit;

/// The containers by id.
#[derive(Debug, Default)]
pub(super) struct Table(Mutex<HashMap<ContainerId, Entry>>);

#[derive(Debug)]
enum Entry {
    /// A create is under way.
    Creating,
    Created(Box<Container>),
    /// A delete is under way or has failed half-way.
    Deleting(Box<Container>),
}

/// A container that exists.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) init: Running,
    /// The first process as in the spec: the pattern for execs.
    pub(super) process: OciProcess,
    pub(super) started: bool,
    pub(super) execs: HashMap<ContainerId, Exec>,
}

#[derive(Debug)]
pub(super) enum Exec {
    /// The helper is under way.
    Starting,
    Running(Running),
}

/// A process of which the pid is known.
#[derive(Debug, Clone)]
pub(super) struct Running {
    pub(super) pid: Pid,
    pub(super) exit: ExitWatch,
    pub(super) terminal: Option<Arc<OwnedFd>>,
}

impl Table {
    /// Takes an id for a create.
    pub(super) fn reserve(&self, id: &ContainerId) -> bool {
        let mut table = self.lock();
        if table.contains_key(id) {
            return false;
        }
        table.insert(id.clone(), Entry::Creating);
        true
    }

    /// Ends a create.
    pub(super) fn insert(&self, id: ContainerId, container: Container) {
        self.lock().insert(id, Entry::Created(Box::new(container)));
    }

    pub(super) fn remove(&self, id: &ContainerId) {
        self.lock().remove(id);
    }

    /// Marks a container as started if it was not.
    pub(super) fn begin_start(&self, id: &ContainerId) -> Result<(), StartError> {
        match self.lock().get_mut(id) {
            Some(Entry::Created(container)) if container.init.exit.exit().is_some() => {
                Err(StartError::Ended)
            }
            Some(Entry::Created(container)) if !container.started => {
                container.started = true;
                Ok(())
            }
            Some(Entry::Created(_)) => Err(StartError::Started),
            _ => Err(UnknownProcess { process: ProcessId::init(id.clone()) }.into()),
        }
    }

    /// Takes an id for an exec, and gives the process to copy.
    pub(super) fn begin_exec(
        &self,
        id: &ContainerId,
        exec: &ContainerId,
    ) -> Result<OciProcess, ExecError> {
        let mut table = self.lock();
        let Some(Entry::Created(container)) = table.get_mut(id) else {
            return Err(UnknownProcess { process: ProcessId::init(id.clone()) }.into());
        };
        if !container.started || container.init.exit.exit().is_some() {
            return Err(ExecError::NotRunning);
        }
        if container.execs.contains_key(exec) {
            return Err(ExecError::Exists);
        }
        container.execs.insert(exec.clone(), Exec::Starting);
        Ok(container.process.clone())
    }

    /// Ends an exec; `None` if it failed. A container that was deleted meanwhile needs neither.
    pub(super) fn end_exec(&self, id: &ContainerId, exec: &ContainerId, running: Option<Running>) {
        let mut table = self.lock();
        let Some(Entry::Created(container) | Entry::Deleting(container)) = table.get_mut(id) else {
            return;
        };
        match running {
            Some(running) => container.execs.insert(exec.clone(), Exec::Running(running)),
            None => container.execs.remove(exec),
        };
    }

    /// Marks a container as being deleted and gives its first process.
    pub(super) fn begin_delete(&self, id: &ContainerId) -> Result<Running, DeleteError> {
        let mut table = self.lock();
        match table.remove(id) {
            Some(Entry::Created(container) | Entry::Deleting(container)) => {
                let init = container.init.clone();
                table.insert(id.clone(), Entry::Deleting(container));
                Ok(init)
            }
            Some(Entry::Creating) => {
                table.insert(id.clone(), Entry::Creating);
                Err(DeleteError::Creating)
            }
            None => Err(UnknownProcess { process: ProcessId::init(id.clone()) }.into()),
        }
    }

    pub(super) fn remove_exec(
        &self,
        id: &ContainerId,
        exec: &ContainerId,
    ) -> Result<Exit, DeleteError> {
        let unknown = || UnknownProcess { process: ProcessId::exec(id.clone(), exec.clone()) };
        let mut table = self.lock();
        let Some(Entry::Created(container) | Entry::Deleting(container)) = table.get_mut(id) else {
            return Err(unknown().into());
        };
        let exit = match container.execs.get(exec) {
            Some(Exec::Running(running)) => running.exit.exit().ok_or(DeleteError::Running)?,
            Some(Exec::Starting) => return Err(DeleteError::Running),
            None => return Err(unknown().into()),
        };
        container.execs.remove(exec);
        Ok(exit)
    }

    pub(super) fn pid(&self, process: &ProcessId) -> Result<Pid, UnknownProcess> {
        self.find(process, |running| running.pid)
    }

    pub(super) fn exit(&self, process: &ProcessId) -> Result<ExitWatch, UnknownProcess> {
        self.find(process, |running| running.exit.clone())
    }

    pub(super) fn terminal(
        &self,
        process: &ProcessId,
    ) -> Result<Option<Arc<OwnedFd>>, UnknownProcess> {
        self.find(process, |running| running.terminal.clone())
    }

    fn find<T>(
        &self,
        process: &ProcessId,
        get: impl FnOnce(&Running) -> T,
    ) -> Result<T, UnknownProcess> {
        let table = self.lock();
        let running = match (table.get(&process.container), &process.exec) {
            (Some(Entry::Created(c) | Entry::Deleting(c)), None) => Some(&c.init),
            (Some(Entry::Created(c) | Entry::Deleting(c)), Some(exec)) => match c.execs.get(exec) {
                Some(Exec::Running(running)) => Some(running),
                _ => None,
            },
            _ => None,
        };
        running.map(get).ok_or_else(|| UnknownProcess { process: process.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ContainerId, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
