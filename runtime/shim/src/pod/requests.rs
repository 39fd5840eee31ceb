// SPDX-License-Identifier: Apache-2.0
//! containerd's requests.
//!
//! Those that change something run to their end even when containerd goes away in the middle; the
//! service sees to that by running each in a task of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use casemate_agent_api::ApiError;
use casemate_agent_api::Code;
use casemate_agent_api::proto;
use casemate_sandbox::Action;
use casemate_sandbox::Exit;
use casemate_sandbox::Id;
use casemate_sandbox::Input;
use casemate_sandbox::Process;
use casemate_sandbox::Refusal;
use casemate_sandbox::View;
use tokio::sync::watch as channel;
use tokio::time::timeout;

use super::Boot;
use super::Planned;
use super::Pod;
use super::Running;
use super::advance;
use super::launch;
use super::usage;
use crate::audit::AuditFile;
use crate::cgroup::CpuLimits;
use crate::config::Config;
use crate::error::ShimError;
use crate::events;
use crate::guest::Guest;
use crate::projection;
use crate::resources;
use crate::resources::Resources;
use crate::spec;
use crate::spec::Role;
use crate::spec::Spec;
use crate::state;
use crate::stdio::Life;
use crate::stdio::Notices;
use crate::stdio::Owner;
use crate::stdio::Uris;
use crate::volumes::Courier;

/// A create request.
#[derive(Debug, Clone)]
pub struct CreateTask {
    /// The sandbox's or the container's id.
    pub id: Id,
    /// Its bundle.
    pub bundle: PathBuf,
    /// Its streams.
    pub uris: Uris,
    /// The configuration file, for a sandbox.
    pub config: PathBuf,
}

/// What containerd asks of a process.
#[derive(Debug, Clone)]
pub struct ProcessInfo {
    /// Its state.
    pub view: View,
    /// Its bundle; empty for an exec.
    pub bundle: String,
    /// Its streams.
    pub uris: Uris,
}

impl Pod {
    /// Makes the sandbox or a container. The VMM's process id.
    ///
    /// # Errors
    ///
    /// The machine's refusals, the launch's errors, the guest's denials.
    pub async fn create(self: Arc<Self>, request: CreateTask) -> Result<u32, ShimError> {
        let spec = Spec::load(&request.bundle)?;
        match spec.role()? {
            Role::Sandbox if request.id == self.id => self.create_sandbox(request, &spec).await,
            Role::Container { sandbox } if sandbox == self.id && request.id != self.id => {
                self.create_container(request, &spec).await
            }
            _ => Err(ShimError::Malformed {
                field: spec::SANDBOX_ID,
                reason: format!("this is the shim of pod {}", self.id),
            }),
        }
    }

    async fn create_sandbox(
        self: Arc<Self>,
        request: CreateTask,
        spec: &Spec,
    ) -> Result<u32, ShimError> {
        self.step(Input::CreateSandbox)?;
        let launched = async {
            let config = Config::load(&request.config).map_err(ApiError::from)?;
            state::note_root(&request.bundle, &config.state_dir)?;
            launch::launch(&self.outside, &self.id, spec, config).await
        };
        let launched = match launched.await {
            Ok(launched) => launched,
            Err(error) => {
                tracing::error!(sandbox = %self.id, %error, "launch failed");
                self.report(Input::VmFailed);
                return Err(error);
            }
        };
        let (outcome, guest) = channel::channel(Boot::Booting);
        let running = Arc::new(Running {
            vm: launched.vm,
            guest,
            courier: OnceLock::new(),
            status: launched.status,
            dir: launched.dir,
            audit: AuditFile::new(&launched.config.audit_dir, &self.id),
            network_namespace: launched.network_namespace,
            hierarchies: launched.hierarchies,
            cgroups: launched.cgroups,
            made_cgroups: launched.made_cgroups,
            deadlines: launched.config.deadlines,
        });
        let pid = running.vm.pid();
        tracing::info!(sandbox = %self.id, pid, "VM launched");
        self.lock().running = Some(Arc::clone(&running));
        // The sandbox itself has no output: its streams stay closed.
        self.insert_record(Process::init(self.id.clone()), &request.bundle, request.uris);
        self.report(Input::VmStarted { pid });
        tokio::spawn(Arc::clone(&self).watch_vm(Arc::clone(&running)));
        tokio::spawn(self.boot(running, launched.network, outcome));
        Ok(pid)
    }

    async fn create_container(
        self: Arc<Self>,
        request: CreateTask,
        spec: &Spec,
    ) -> Result<u32, ShimError> {
        let process = Process::init(request.id.clone());
        self.step(Input::CreateContainer(request.id.clone()))?;
        let planned = Planned {
            resources: spec.resources().clone(),
            termination_log: projection::termination_log(spec),
        };
        self.lock().planned.insert(request.id.clone(), planned);
        let running = self.running();
        let made = async {
            let running = running?;
            let digest =
                self.outside.images.manifest_digest(spec.required(spec::IMAGE_NAME)?).await?;
            let streams = request.uris.streams();
            let message = projection::create_container(&request.id, spec, digest, streams)?;
            let guest = self.guest()?;
            let limit = running.deadlines.create;
            let first_output = format!("first_output:{}", message.name);
            let courier = running.courier.get_or_init(|| Courier::start(guest.clone()));
            for volume in projection::content_volumes(spec) {
                courier.deliver(volume).await?;
            }
            self.make(&process, &request.bundle, request.uris, first_output, async || {
                guest.create_container(&message, limit).await?;
                if let Ok(reply) = guest.hello(running.deadlines.request).await {
                    running.status.mark_guest(&reply.timeline);
                    running.status.update(|s| s.agent_rss_kib = Some(reply.agent_rss_kib));
                }
                Ok(())
            })
            .await
        };
        let made = made.await;
        self.settle(process, made)
    }

    /// Makes an exec.
    ///
    /// # Errors
    ///
    /// The machine's refusals and the guest's denials.
    pub async fn exec(
        self: Arc<Self>,
        task: Id,
        exec: Id,
        wanted: spec::Process,
        uris: Uris,
    ) -> Result<(), ShimError> {
        let process = Process { task: task.clone(), exec: Some(exec.clone()) };
        self.step(Input::Exec { task: task.clone(), exec: exec.clone() })?;
        let made = async {
            let guest = self.guest()?;
            let message = projection::exec_process(&task, &exec, &wanted, uris.streams());
            self.make(&process, "".as_ref(), uris, String::new(), async || {
                Ok(guest.exec(&message).await?)
            })
            .await
        };
        let made = made.await;
        self.settle(process, made).map(drop)
    }

    /// Opens the host's streams, has the guest make the process, and joins the streams.
    async fn make(
        self: &Arc<Self>,
        process: &Process,
        bundle: &std::path::Path,
        uris: Uris,
        first_output: String,
        in_guest: impl AsyncFnOnce() -> Result<(), ShimError>,
    ) -> Result<(), ShimError> {
        let streams = uris.streams();
        let owner = Owner { id: process.event_id().as_str(), namespace: &self.namespace };
        let host = uris.open(owner).await?;
        in_guest().await?;
        let guest = self.guest()?;
        let pumps = guest.open_streams(process, streams)?;
        let life = self.insert_record(process.clone(), bundle, uris);
        let notices = Streaming {
            guest: guest.clone(),
            process: process.clone(),
            running: self.running()?,
            first_output,
        };
        tokio::spawn(pumps.run(host, life, notices));
        tokio::spawn(Arc::clone(self).watch_process(guest, process.clone()));
        Ok(())
    }

    /// Tells the machine whether the process was made.
    fn settle(&self, process: Process, made: Result<(), ShimError>) -> Result<u32, ShimError> {
        match made {
            Ok(()) => {
                self.report(Input::Created(process.clone()));
                tracing::info!(%process, "created");
                Ok(self.view(&process)?.pid)
            }
            Err(error) => {
                tracing::warn!(%process, %error, "not created");
                self.remove_record(&process);
                self.report(Input::CreateFailed(process));
                Err(error)
            }
        }
    }

    /// Starts a process; for the sandbox, waits until its guest is attested. The VMM's process id.
    ///
    /// # Errors
    ///
    /// Why the guest did not attest itself, the machine's refusals, the guest's denials.
    pub async fn start(self: Arc<Self>, process: Process) -> Result<u32, ShimError> {
        if process == Process::init(self.id.clone()) {
            self.view(&process)?;
            self.attested().await?;
        }
        for action in self.step(Input::Start(process.clone()))? {
            let Action::GuestStart(process) = action else { continue };
            let started = match self.guest() {
                Ok(guest) => guest.start(&process).await.map_err(ShimError::from),
                Err(error) => Err(error),
            };
            if let Err(error) = started {
                tracing::warn!(%process, %error, "not started");
                self.report(Input::StartFailed(process));
                return Err(error);
            }
            self.report(Input::Started(process));
        }
        tracing::info!(%process, "started");
        Ok(self.view(&process)?.pid)
    }

    /// Waits until the guest is attested or has failed; both happen within the boot's deadlines.
    async fn attested(&self) -> Result<Guest, ShimError> {
        let mut guest = self.running()?.guest.clone();
        let boot = guest.wait_for(|boot| !matches!(boot, Boot::Booting)).await;
        match boot.as_deref() {
            Ok(Boot::Ready(guest)) => Ok(guest.clone()),
            Ok(Boot::Failed(error)) => Err(error.clone().into()),
            _ => Err(ShimError::coded(Code::VmDied, "the boot was given up")),
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    ///
    /// The machine's refusals and the guest's denials.
    pub async fn kill(
        self: Arc<Self>,
        process: Process,
        signal: u32,
        all: bool,
    ) -> Result<(), ShimError> {
        for action in self.step(Input::Signal { process, signal, all })? {
            match action {
                Action::KillVm => self.running()?.vm.kill(),
                Action::DismissVm => {
                    tokio::spawn(dismiss(self.running()?, self.guest().ok()));
                }
                Action::PowerOffVm => {
                    tokio::spawn(power_off(self.running()?, self.guest().ok()));
                }
                Action::GuestSignal { process, signal, all } => {
                    match self.guest()?.signal(&process, signal, all).await {
                        // It ended a moment ago and the news is on its way here.
                        Err(error) if error.code() == Code::RequestId => {
                            return Err(Refusal::Finished { process }.into());
                        }
                        result => result?,
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Forgets a process that has ended. Its last state.
    ///
    /// # Errors
    ///
    /// The machine's refusals.
    pub async fn delete(self: Arc<Self>, process: Process) -> Result<View, ShimError> {
        for action in self.step(Input::Delete { process: process.clone(), at: events::now() })? {
            match action {
                Action::KillVm | Action::DismissVm => {
                    let running = self.running()?;
                    if action == Action::DismissVm {
                        dismiss(Arc::clone(&running), self.guest().ok()).await;
                    }
                    running.vm.kill();
                    running.vm.wait().await;
                    self.report(Input::VmExited { at: events::now() });
                }
                Action::GuestDelete(process) => {
                    let deleted = match self.guest() {
                        Ok(guest) => guest.delete(&process).await.map_err(ShimError::from),
                        Err(error) => Err(error),
                    };
                    // The host forgets it anyway: nothing of it is left here.
                    if let Err(error) = deleted {
                        tracing::warn!(%process, %error, "the guest does not delete");
                    }
                }
                _ => {}
            }
        }
        let last = self.view(&process)?;
        self.remove_record(&process);
        for action in self.step(Input::Deleted(process.clone()))? {
            if action == Action::CleanUp {
                self.clean_up().await;
            }
        }
        tracing::info!(%process, "deleted");
        Ok(last)
    }

    /// The state of a process.
    ///
    /// # Errors
    ///
    /// When there is no such process.
    pub fn state(&self, process: &Process) -> Result<ProcessInfo, ShimError> {
        let inner = self.lock();
        let view = inner.machine.view(process)?;
        let record = inner.records.get(process);
        Ok(ProcessInfo {
            view,
            bundle: record.map(|record| record.bundle.clone()).unwrap_or_default(),
            uris: record.map(|record| record.uris.clone()).unwrap_or_default(),
        })
    }

    /// Waits for the end of a process.
    ///
    /// # Errors
    ///
    /// When there is no such process, or it is deleted meanwhile.
    pub async fn wait(&self, process: &Process) -> Result<Exit, ShimError> {
        let mut changed = self.changed.subscribe();
        loop {
            if let Some(exit) = self.view(process)?.exit {
                return Ok(exit);
            }
            // The sender is a field of this pod and outlives the wait.
            let _ = changed.changed().await;
        }
    }

    /// Closes a process's standard input once what is in the FIFO has gone through.
    ///
    /// # Errors
    ///
    /// When there is no such process.
    pub fn close_stdin(&self, process: &Process) -> Result<(), ShimError> {
        self.view(process)?;
        if let Some(record) = self.lock().records.get(process) {
            advance(&record.life, Life::StdinClosed);
        }
        Ok(())
    }

    /// Sets the size of a process's terminal.
    ///
    /// # Errors
    ///
    /// When there is no such process; the guest's.
    pub async fn resize(
        &self,
        process: &Process,
        width: u32,
        height: u32,
    ) -> Result<(), ShimError> {
        self.view(process)?;
        Ok(self.guest()?.resize(process, width, height).await?)
    }

    /// Resource use of a container as its guest tells it, or of the VMM for the sandbox.
    ///
    /// # Errors
    ///
    /// When there is no such task; the guest's.
    pub async fn stats(&self, task: Id) -> Result<proto::StatsReply, ShimError> {
        let own = task == self.id;
        let process = Process::init(task);
        let pid = self.view(&process)?.pid;
        if own {
            return usage::of_process(pid);
        }
        match self.guest()?.stats(&process).await {
            // A27: the policy keeps the figures in the guest; kubelet gets none and goes on.
            Err(error) if error.code() == Code::PolicyMetrics => Ok(proto::StatsReply::default()),
            other => Ok(other?),
        }
    }

    /// Changes limits: of the VMM's cgroup, and in the guest what concerns one container.
    ///
    /// # Errors
    ///
    /// [`ShimError::Unsupported`] for what a running VM cannot follow; the guest's denials. The
    /// limits are as before then.
    pub async fn update(self: Arc<Self>, task: Id, resources: Vec<u8>) -> Result<(), ShimError> {
        self.view(&Process::init(task.clone()))?;
        let running = self.running()?;
        if task == self.id {
            let limits = CpuLimits::parse(&resources)?;
            return limits.apply(&running.hierarchies, &running.cgroups);
        }
        let after = Resources::parse(&resources)?;
        let before = self.planned(&task)?;
        let in_guest = after.change(&before, &task)?;
        let guest = self.guest()?;
        self.limit(&running, &task, after)?;
        let Some(request) = in_guest else { return Ok(()) };
        if let Err(error) = guest.update(&request).await {
            if let Err(error) = self.limit(&running, &task, before) {
                tracing::warn!(%task, %error, "the VMM's limits are not taken back");
            }
            return Err(error.into());
        }
        Ok(())
    }

    /// Limits of a container as containerd said them last.
    fn planned(&self, task: &Id) -> Result<Resources, ShimError> {
        let resources = self.lock().planned.get(task).map(|planned| planned.resources.clone());
        let process = Process::init(task.clone());
        resources.ok_or_else(|| Refusal::NotFound { process }.into())
    }

    /// Notes a container's limits and gives the VMM's cgroup the sum of all.
    fn limit(&self, running: &Running, task: &Id, to: Resources) -> Result<(), ShimError> {
        let mut inner = self.lock();
        let all = inner.planned.iter().map(|(id, planned)| {
            let resources = if id == task { &to } else { &planned.resources };
            (id.clone(), resources.clone())
        });
        let limits = resources::of_pod(&all.collect())?;
        limits.apply(&running.hierarchies, &running.cgroups)?;
        if let Some(planned) = inner.planned.get_mut(task) {
            planned.resources = to;
        }
        Ok(())
    }

    /// containerd has no use for the shim any more, or says so in haste.
    ///
    /// # Errors
    ///
    /// None at present.
    pub fn shutdown(&self, now: bool) -> Result<(), ShimError> {
        self.step(Input::Shutdown { now })?;
        Ok(())
    }
}

/// A process's streams report here.
struct Streaming {
    guest: Guest,
    process: Process,
    running: Arc<Running>,
    /// Step of the timeline; empty for an exec.
    first_output: String,
}

impl Notices for Streaming {
    fn first_output(&self) {
        if !self.first_output.is_empty() {
            self.running.status.mark(&self.first_output);
        }
    }

    async fn stdin_delivered(&self) {
        if let Err(error) = self.guest.close_stdin(&self.process).await {
            tracing::debug!(process = %self.process, %error, "stdin not closed in the guest");
        }
    }
}

/// Tells the guest that its VM ends and kills it, at once if the guest has nothing more to say.
///
/// E19: a guest that says it stays gets no more time than one that does not answer.
async fn dismiss(running: Arc<Running>, guest: Option<Guest>) {
    let last_words = async {
        let Some(guest) = guest else { return };
        match guest.shutdown(LAST_WORDS).await {
            Ok(true) => drop(running.vm.wait().await),
            Ok(false) => {}
            Err(error) => tracing::debug!(%error, "the guest does not answer to its dismissal"),
        }
    };
    if timeout(LAST_WORDS, last_words).await.is_err() {
        tracing::warn!("the guest did not end its audit log in time");
    }
    running.vm.kill();
}

/// Asks the guest to power off and waits for it, within the deadline.
async fn power_off(running: Arc<Running>, guest: Option<Guest>) {
    let deadline = running.deadlines.stop;
    let polite = async {
        if let Some(guest) = guest
            && let Err(error) = guest.shutdown(deadline).await
        {
            tracing::debug!(%error, "the guest does not answer to its shutdown");
        }
        running.vm.wait().await;
    };
    if timeout(deadline, polite).await.is_err() {
        tracing::warn!("the guest did not power off in time and is killed");
        running.vm.kill();
    }
}

/// For the guest to have the end of its audit log attested, before its VM is killed: the agent takes 3 s
/// at most and then powers off.
const LAST_WORDS: Duration = Duration::from_secs(5);
