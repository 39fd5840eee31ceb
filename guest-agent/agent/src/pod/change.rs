// SPDX-License-Identifier: Apache-2.0
//! The changes: judged, carried out, then committed or rolled back. Only the queue calls these.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use casemate_agent_api::ApiError;
use casemate_agent_api::Code;
use casemate_agent_api::request::CreateContainer;
use casemate_agent_api::request::Exec;
use casemate_agent_api::request::Network;
use casemate_agent_api::request::ProcessId;
use casemate_agent_api::request::PutVolume;
use casemate_agent_api::request::TerminalSize;
use casemate_agent_api::request::Update;
use casemate_containers::CreateSpec;
use casemate_containers::ExecSpec;
use casemate_containers::Exit;
use casemate_containers::Limits;
use casemate_containers::SecretFile;
use casemate_containers::StdioRequest;
use casemate_containers::Volume;
use casemate_containers::WindowSize;
use casemate_policy::Container;
use casemate_policy::Policy;
use casemate_policy_monitor::CreateRequest;
use casemate_policy_monitor::Grant;
use casemate_policy_monitor::Pending;
use casemate_policy_monitor::Stdio as Granted;
use casemate_policy_rules::Request;

use super::Pod;
use super::judge::create_request;
use super::judge::denied;
use super::judge::exec_request;
use super::judge::network_request;
use super::judge::process_ref;
use super::judge::put_volume_request;
use super::judge::update_request;
use super::process;
use super::process::Process;
use super::unknown_process;
use crate::backend::NotUpdated;
use crate::class::Phase;
use crate::network::PodFiles;
use crate::secrets;

impl Pod {
    /// Sets the network, once, and starts to attest.
    pub(crate) async fn set_network(self: Arc<Self>, network: Network) -> Result<(), ApiError> {
        // Another such request may have been before this one in the queue.
        crate::class::admit("SetNetwork", &self.phase())?;
        let request = network_request(&network)?;
        let pending = self.monitor().network(&request).map_err(denied)?;
        let asked = || Request::SetNetwork((&request).into());
        let pending = self.narrow(asked, None, None, pending).await?;
        let aliases = self.monitor().policy().sandbox.hosts.clone();
        if let Err(error) = self.parts.network.apply(&network).await {
            // E14: a network that is half set is never set again; the VM is of no more use.
            self.monitor().poison();
            self.phase.send_replace(Phase::Failed(error.clone()));
            return Err(error);
        }
        *self.files() = Some(PodFiles::new(&network, &aliases));
        self.monitor().commit(pending);
        self.timeline.mark("network");
        self.phase.send_replace(Phase::NetworkSet);
        tokio::spawn(self.attest());
        Ok(())
    }

    async fn attest(self: Arc<Self>) {
        let phase = match self.parts.attest.attest().await {
            Ok(()) => {
                self.timeline.mark("attested");
                self.images.pull_all();
                Phase::Attested
            }
            Err(error) => {
                tracing::error!(%error, "not attested");
                Phase::Failed(error)
            }
        };
        self.phase.send_replace(phase);
    }

    /// Judges a create without a change: a denial needs no image.
    pub(crate) async fn check_create(
        self: Arc<Self>,
        create: Arc<CreateContainer>,
    ) -> Result<(), ApiError> {
        process::runtime_container(&create.id)?;
        let (_, pending) = self.grant_create(&create_request(&create)).await?;
        self.monitor().rollback(pending);
        Ok(())
    }

    async fn grant_create(&self, request: &CreateRequest) -> Result<(Grant, Pending), ApiError> {
        let (grant, pending) = self.monitor().create(request).map_err(denied)?;
        let asked = || Request::CreateContainer(request.clone());
        let pending = self.narrow(asked, Some(&grant.container), Some(&grant), pending).await?;
        Ok((grant, pending))
    }

    /// Fetches the secrets that the policy gives to a container. Not a change: it may take long.
    pub(crate) async fn secrets(&self, container: &str) -> Result<Vec<SecretFile>, ApiError> {
        let wanted = {
            let monitor = self.monitor();
            let container = monitor.policy().containers.get(container);
            container.map(|c| c.secrets.clone()).unwrap_or_default()
        };
        secrets::fetch(&*self.parts.secrets, &wanted).await
    }

    /// Creates a container on its image's root.
    pub(crate) async fn create(
        self: Arc<Self>,
        create: Arc<CreateContainer>,
        rootfs: PathBuf,
        secrets: Vec<SecretFile>,
    ) -> Result<(), ApiError> {
        let id = process::runtime_container(&create.id)?;
        let files = self.files().clone();
        let files = files.ok_or_else(|| ApiError::new(Code::RequestPhase, "no network is set"))?;
        let request = create_request(&create);
        let (grant, pending) = self.grant_create(&request).await?;
        let (container, volumes, pending) = {
            let mut monitor = self.monitor();
            match monitor.container(&request.id).cloned() {
                Some(container) => (container, volumes(monitor.policy()), pending),
                None => {
                    monitor.rollback(pending);
                    return Err(ApiError::new(Code::Internal, "granted and not in the policy"));
                }
            }
        };
        let process = ProcessId::new(create.id.clone(), None);
        self.stdio.register(&process, grant.stdio);
        let limits = first_limits(&container);
        let spec = CreateSpec {
            id: id.clone(),
            container,
            env: grant.env,
            hostname: files.hostname,
            hosts: files.hosts,
            resolv_conf: files.resolv_conf,
            volumes,
            secrets,
            rootfs,
            stdio: stdio_request(grant.stdio, create.stdio.terminal),
            limits,
        };
        let created = match self.parts.containers.create(spec).await {
            Ok(created) => created,
            Err(error) => {
                self.stdio.remove(&process);
                self.monitor().rollback(pending);
                return Err(error);
            }
        };
        if let Err(error) = self.stdio.join(&process, created.stdio) {
            self.stdio.remove(&process);
            self.undo_create(&id, pending).await;
            return Err(ApiError::new(Code::Internal, error));
        }
        self.processes().insert(process.clone(), Process::created(created.pid));
        self.monitor().commit(pending);
        tokio::spawn(self.watch_exit(process));
        tracing::info!(container = %id, "created");
        Ok(())
    }

    async fn undo_create(&self, id: &casemate_containers::ContainerId, pending: Pending) {
        match self.parts.containers.delete(id).await {
            Ok(_) => self.monitor().rollback(pending),
            Err(error) => {
                tracing::error!(%error, "a container could not be undone");
                self.monitor().poison();
            }
        }
    }

    /// Grants a command; it runs when it is started.
    pub(crate) async fn exec(self: Arc<Self>, exec: Exec) -> Result<(), ApiError> {
        let container = process::runtime_container(exec.process.container())?;
        let id = exec.process.exec().ok_or_else(|| unknown_process(&exec.process))?;
        let id = process::runtime_exec(id)?;
        let cwd = self.monitor().container(container.as_str()).map(|c| c.cwd.clone());
        let request = exec_request(&exec, &cwd.unwrap_or_default());
        let (grant, pending) = self.monitor().exec(&request).map_err(denied)?;
        let asked = || Request::ExecProcess(request.clone());
        let pending = self.narrow(asked, Some(&grant.container), Some(&grant), pending).await?;
        let plan = ExecSpec {
            container,
            exec: id,
            argv: exec.argv,
            env: grant.env,
            user: Some(grant.user),
            stdio: stdio_request(grant.stdio, exec.stdio.terminal),
        };
        self.stdio.register(&exec.process, grant.stdio);
        self.processes().insert(exec.process, Process::planned(plan));
        self.monitor().commit(pending);
        Ok(())
    }

    /// Starts a created container or a granted command.
    pub(crate) async fn start(self: Arc<Self>, id: ProcessId) -> Result<(), ApiError> {
        let pending = self.monitor().start(&process_ref(&id)).map_err(denied)?;
        let started = match self.find(&id, Process::plan) {
            Ok(Some(plan)) => self.start_exec(&id, plan).await,
            Ok(None) => self.start_container(&id).await,
            Err(error) => Err(error),
        };
        match &started {
            Ok(()) => self.monitor().commit(pending),
            Err(_) => self.monitor().rollback(pending),
        }
        started
    }

    async fn start_container(&self, id: &ProcessId) -> Result<(), ApiError> {
        let container = process::runtime_container(id.container())?;
        // Said before: the process may end before the runtime's call returns.
        self.find_mut(id, |process| process.started(None))?;
        let started = self.parts.containers.start(&container).await;
        if started.is_err() {
            self.find_mut(id, Process::not_started)?;
        }
        started
    }

    async fn start_exec(self: &Arc<Self>, id: &ProcessId, plan: ExecSpec) -> Result<(), ApiError> {
        let created = self.parts.containers.exec(plan).await?;
        self.find_mut(id, |process| process.started(Some(created.pid)))?;
        if let Err(error) = self.stdio.join(id, created.stdio) {
            // It runs without its streams; the host sees them end.
            tracing::error!(process = %id, %error, "streams of a command are lost");
            self.stdio.remove(id);
        }
        tokio::spawn(Arc::clone(self).watch_exit(id.clone()));
        Ok(())
    }

    /// Gives new content to a volume.
    pub(crate) async fn put_volume(self: Arc<Self>, put: PutVolume) -> Result<(), ApiError> {
        let request = put_volume_request(&put);
        let (revision, pending) = self.monitor().put_volume(&request).map_err(denied)?;
        let asked = || Request::PutVolume((&request).into());
        let pending = self.narrow(asked, None, None, pending).await?;
        // A14: what was judged is what is written.
        let written = self.parts.containers.put_volume(put).await;
        match &written {
            Ok(()) => self.monitor().commit(pending),
            Err(_) => self.monitor().rollback(pending),
        }
        tracing::info!(volume = request.volume, revision, ok = written.is_ok(), "content");
        written
    }

    /// Changes limits of a container.
    pub(crate) async fn update(self: Arc<Self>, update: Update) -> Result<(), ApiError> {
        let id = process::runtime_container(&update.container)?;
        let request = update_request(&update);
        let (limits, pending) = self.monitor().update(&request).map_err(denied)?;
        let name = self.name_in_policy(id.as_str());
        let asked = || Request::Update(request.clone());
        let pending = self.narrow(asked, name.as_deref(), None, pending).await?;
        let limits = Limits {
            memory_bytes: limits.memory,
            cpu_millis: limits.cpu_millis,
            pids: limits.pids,
        };
        match self.parts.containers.update(&id, limits) {
            Ok(()) => {
                self.monitor().commit(pending);
                tracing::info!(container = %id, "limits changed");
                Ok(())
            }
            Err(NotUpdated { error, is_undone: true }) => {
                self.monitor().rollback(pending);
                Err(error)
            }
            Err(NotUpdated { error, is_undone: false }) => {
                tracing::error!(container = %id, %error, "limits could not be taken back");
                self.monitor().poison();
                Err(error)
            }
        }
    }

    /// Deletes a process that has ended or was never started.
    pub(crate) async fn delete(self: Arc<Self>, id: ProcessId) -> Result<Exit, ApiError> {
        let pending = self.monitor().delete(&process_ref(&id)).map_err(denied)?;
        let deleted = match id.exec() {
            None => self.delete_container(&id).await,
            Some(_) => self.delete_exec(&id),
        };
        match &deleted {
            Ok(_) => self.monitor().commit(pending),
            Err(_) => self.monitor().rollback(pending),
        }
        deleted
    }

    async fn delete_container(&self, id: &ProcessId) -> Result<Exit, ApiError> {
        let container = process::runtime_container(id.container())?;
        let exit = self.parts.containers.delete(&container).await?;
        // Those who wait for one of its processes hear of the end even if the watcher is late.
        self.processes().retain(|process, known| {
            let belongs = process.container() == id.container();
            if belongs && known.watch().borrow().is_none() {
                known.ended(exit);
            }
            !belongs
        });
        self.stdio.remove_container(id.container());
        tracing::info!(container = %container, "deleted");
        Ok(exit)
    }

    fn delete_exec(&self, id: &ProcessId) -> Result<Exit, ApiError> {
        let runtime = process::runtime_id(id)?;
        let exit = match (self.find(id, Process::plan)?, &runtime.exec) {
            // Never started: there is nothing that could have ended.
            (Some(_), _) | (None, None) => Exit { code: 0, at: SystemTime::now() },
            (None, Some(exec)) => self.parts.containers.delete_exec(&runtime.container, exec)?,
        };
        self.processes().remove(id);
        self.stdio.remove(id);
        Ok(exit)
    }

    /// Ends every container.
    pub(crate) async fn shut_down(self: Arc<Self>) -> Result<(), ApiError> {
        let containers: Vec<_> = {
            let processes = self.processes();
            processes.keys().filter(|id| id.exec().is_none()).cloned().collect()
        };
        // Nothing else may change from now on.
        self.monitor().poison();
        for id in containers {
            if let Err(error) = self.delete_container(&id).await {
                tracing::warn!(container = %id, %error, "not deleted at shutdown");
            }
        }
        Ok(())
    }

    /// Tells monitor and waiters of a process's end.
    async fn watch_exit(self: Arc<Self>, id: ProcessId) {
        let Ok(runtime) = process::runtime_id(&id) else { return };
        let Some(exit) = self.parts.containers.wait(&runtime).await else { return };
        // The monitor first: who has heard of the end may delete.
        self.monitor().exited(&process_ref(&id), exit.code);
        if self.find(&id, |process| process.ended(exit)).is_ok() {
            tracing::info!(process = %id, code = exit.code, "ended");
        }
    }
}

/// The pod's volumes as the runtime takes them.
fn volumes(policy: &Policy) -> BTreeMap<String, Volume> {
    let kind = |volume: &casemate_policy::Volume| match volume {
        casemate_policy::Volume::EmptyDir { size_limit } => {
            Volume::Memory { size_limit: *size_limit }
        }
        casemate_policy::Volume::Config { .. } | casemate_policy::Volume::Untrusted { .. } => {
            Volume::Content
        }
    };
    policy.volumes.iter().map(|(name, volume)| (name.clone(), kind(volume))).collect()
}

/// Limits from the start; an update may change them.
fn first_limits(container: &Container) -> Limits {
    let resources = &container.resources;
    Limits {
        memory_bytes: resources.memory.limit,
        cpu_millis: resources.cpu_millis.limit,
        pids: resources.pids,
    }
}

fn stdio_request(granted: Granted, terminal: Option<TerminalSize>) -> StdioRequest {
    match terminal {
        Some(size) if granted.terminal => {
            StdioRequest::Terminal(WindowSize { columns: size.width(), rows: size.height() })
        }
        _ => StdioRequest::Pipes {
            stdin: granted.stdin,
            stdout: granted.stdout,
            stderr: granted.stderr,
        },
    }
}
