// SPDX-License-Identifier: Apache-2.0
//! Drives one pod: feeds the state machine, carries out its actions, keeps the VM and the guest.
//!
//! No lock is held across an await. Every step of the state machine takes the lock, publishes its
//! events in their order and lets go; what takes time happens outside.

mod boot;
mod launch;
mod requests;
mod usage;
mod watch;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;

use casemate_agent_api::ApiError;
use casemate_agent_api::Code;
use casemate_sandbox::Action;
use casemate_sandbox::Event;
use casemate_sandbox::Id;
use casemate_sandbox::Input;
use casemate_sandbox::Process;
use casemate_sandbox::Refusal;
use casemate_sandbox::Sandbox;
use casemate_sandbox::View;
use casemate_vmm::Vm;
use tokio::sync::watch as channel;

use crate::audit::AuditFile;
use crate::cgroup::Hierarchies;
use crate::config::Deadlines;
use crate::error::ShimError;
use crate::events;
use crate::guest::Guest;
use crate::outside::Outside;
use crate::resources::Resources;
use crate::state::StateDir;
use crate::status::StatusFile;
use crate::stdio::Life;
use crate::stdio::Uris;
use crate::volumes::Courier;

pub use requests::CreateTask;

/// A pod.
pub struct Pod {
    id: Id,
    namespace: String,
    outside: Outside,
    inner: Mutex<Inner>,
    /// Changes after every step, for those who wait for a process.
    changed: channel::Sender<()>,
    quit: channel::Sender<bool>,
}

struct Inner {
    machine: Sandbox,
    records: BTreeMap<Process, Record>,
    /// What the host itself keeps of each container.
    planned: BTreeMap<Id, Planned>,
    running: Option<Arc<Running>>,
}

/// What the shim knows of a process beside its state.
struct Record {
    bundle: String,
    uris: Uris,
    life: channel::Sender<Life>,
}

/// What of a container's specification concerns the host alone.
struct Planned {
    /// Limits as containerd said them last.
    resources: Resources,
    /// File that takes the termination message.
    termination_log: Option<std::path::PathBuf>,
}

/// The VM and what belongs to it.
struct Running {
    vm: Arc<dyn Vm>,
    guest: channel::Receiver<Boot>,
    /// Brings volumes to the guest, once one is wanted.
    courier: OnceLock<Courier>,
    status: Arc<StatusFile>,
    dir: StateDir,
    /// The guest's audit log.
    audit: AuditFile,
    network_namespace: std::path::PathBuf,
    hierarchies: Hierarchies,
    /// The VMM's cgroup, one folder for each hierarchy.
    cgroups: Vec<std::path::PathBuf>,
    /// Folders of cgroups that were made, in the order of their removal.
    made_cgroups: Vec<std::path::PathBuf>,
    deadlines: Deadlines,
}

/// How far the guest has come.
#[derive(Clone)]
enum Boot {
    Booting,
    Ready(Guest),
    Failed(ApiError),
}

impl Pod {
    /// A pod of which nothing exists yet.
    #[must_use]
    pub fn new(id: Id, namespace: String, outside: Outside) -> Arc<Self> {
        let machine = Sandbox::new(id.clone());
        let inner =
            Inner { machine, records: BTreeMap::new(), planned: BTreeMap::new(), running: None };
        Arc::new(Self {
            id,
            namespace,
            outside,
            inner: Mutex::new(inner),
            changed: channel::channel(()).0,
            quit: channel::channel(false).0,
        })
    }

    /// Waits until containerd has no use for the shim any more.
    pub async fn wait_quit(&self) {
        let mut quit = self.quit.subscribe();
        // The sender is a field of this pod: the wait ends by the value alone.
        let _ = quit.wait_for(|quit| *quit).await;
    }

    /// Ends the VM if it still runs, and removes everything that the pod has on the host.
    pub async fn end(&self) {
        let running = self.lock().running.clone();
        let Some(running) = running else { return };
        running.vm.kill();
        running.vm.wait().await;
        self.clean_up().await;
    }

    /// Feeds the machine, publishes events, wakes those who wait; the other actions are returned.
    fn step(&self, input: Input) -> Result<Vec<Action>, Refusal> {
        let mut inner = self.lock();
        let actions = inner.machine.step(input)?;
        let mut rest = Vec::new();
        for action in actions {
            match action {
                Action::Publish(event) => self.publish(&inner, event),
                Action::WakeWaiters(process) => {
                    if let Some(record) = inner.records.get(&process) {
                        advance(&record.life, Life::Exited);
                    }
                }
                Action::Quit => drop(self.quit.send_replace(true)),
                other => rest.push(other),
            }
        }
        drop(inner);
        self.changed.send_replace(());
        Ok(rest)
    }

    /// Feeds the machine with something that cannot be refused and asks for nothing more.
    fn report(&self, input: Input) {
        match self.step(input) {
            Ok(actions) => {
                if actions.contains(&Action::KillVm)
                    && let Ok(running) = self.running()
                {
                    running.vm.kill();
                }
            }
            Err(refusal) => tracing::debug!(%refusal, "a report came too late"),
        }
    }

    fn publish(&self, inner: &Inner, event: Event) {
        use containerd_shim::protos::events::task;
        let events = &self.outside.events;
        match event {
            Event::Create { id, pid } => {
                let record = inner.records.get(&Process::init(id.clone()));
                let io = record.map(|record| task::TaskIO {
                    stdin: record.uris.stdin.clone(),
                    stdout: record.uris.stdout.clone(),
                    stderr: record.uris.stderr.clone(),
                    terminal: record.uris.terminal,
                    ..Default::default()
                });
                let message = task::TaskCreate {
                    container_id: id.to_string(),
                    bundle: record.map(|record| record.bundle.clone()).unwrap_or_default(),
                    io: io.into(),
                    pid,
                    ..Default::default()
                };
                events.publish("/tasks/create", events::to_any(&message));
            }
            Event::Start { id, pid } => {
                let container_id = id.to_string();
                let message = task::TaskStart { container_id, pid, ..Default::default() };
                events.publish("/tasks/start", events::to_any(&message));
            }
            Event::ExecAdded { id, exec } => {
                let message = task::TaskExecAdded {
                    container_id: id.to_string(),
                    exec_id: exec.to_string(),
                    ..Default::default()
                };
                events.publish("/tasks/exec-added", events::to_any(&message));
            }
            Event::ExecStarted { id, exec, pid } => {
                let message = task::TaskExecStarted {
                    container_id: id.to_string(),
                    exec_id: exec.to_string(),
                    pid,
                    ..Default::default()
                };
                events.publish("/tasks/exec-started", events::to_any(&message));
            }
            Event::Exit { process, pid, exit } => {
                let (exit_status, exited_at) = events::exit_fields(Some(exit));
                let message = task::TaskExit {
                    container_id: process.task.to_string(),
                    id: process.event_id().to_string(),
                    pid,
                    exit_status,
                    exited_at,
                    ..Default::default()
                };
                events.publish("/tasks/exit", events::to_any(&message));
            }
            Event::Delete { id, pid, exit } => {
                let (exit_status, exited_at) = events::exit_fields(Some(exit));
                let message = task::TaskDelete {
                    container_id: id.to_string(),
                    pid,
                    exit_status,
                    exited_at,
                    ..Default::default()
                };
                events.publish("/tasks/delete", events::to_any(&message));
            }
            Event::Oom { id } => {
                let message = task::TaskOOM { container_id: id.to_string(), ..Default::default() };
                events.publish("/tasks/oom", events::to_any(&message));
            }
        }
    }

    /// What containerd may see of a process.
    fn view(&self, process: &Process) -> Result<View, Refusal> {
        self.lock().machine.view(process)
    }

    fn running(&self) -> Result<Arc<Running>, ShimError> {
        let running = self.lock().running.clone();
        running.ok_or_else(|| ShimError::coded(Code::RequestId, "the pod has no VM"))
    }

    /// The guest, once it is attested; an error without waiting before that.
    fn guest(&self) -> Result<Guest, ShimError> {
        let running = self.running()?;
        let boot = running.guest.borrow().clone();
        match boot {
            Boot::Ready(guest) => Ok(guest),
            Boot::Failed(error) => Err(error.into()),
            Boot::Booting => Err(ShimError::coded(Code::RequestPhase, "the guest is booting")),
        }
    }

    fn insert_record(
        &self,
        process: Process,
        bundle: &Path,
        uris: Uris,
    ) -> channel::Receiver<Life> {
        let (life, receiver) = crate::stdio::life();
        let bundle = bundle.to_string_lossy().into_owned();
        self.lock().records.insert(process, Record { bundle, uris, life });
        receiver
    }

    /// Forgets a process, and the execs of a container with it; their streams end.
    fn remove_record(&self, process: &Process) {
        let gone = |other: &Process| {
            other == process || (process.exec.is_none() && other.task == process.task)
        };
        let mut inner = self.lock();
        if process.exec.is_none() {
            inner.planned.remove(&process.task);
        }
        inner.records.retain(|other, record| {
            let stays = !gone(other);
            if !stays {
                advance(&record.life, Life::Deleted);
            }
            stays
        });
    }

    /// Removes what the pod has on the host. The VM has ended.
    async fn clean_up(&self) {
        let running = self.lock().running.take();
        let Some(running) = running else { return };
        running.status.close();
        self.outside.network.detach(&running.network_namespace).await;
        crate::cgroup::remove(&running.made_cgroups);
        if let Err(error) = running.dir.remove() {
            tracing::warn!(%error, "clean-up");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere cannot leave the machine between two states: steps do not panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A life goes forward only.
fn advance(life: &channel::Sender<Life>, to: Life) {
    life.send_if_modified(|now| {
        let forward = *now < to;
        *now = (*now).max(to);
        forward
    });
}
