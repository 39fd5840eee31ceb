// SPDX-License-Identifier: Apache-2.0
//! The agent API as the host calls it: every call is admitted, parsed, then handed to the pod.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use casemate_agent_api::ApiError;
use casemate_agent_api::Code;
use casemate_agent_api::mux::MuxStream;
use casemate_agent_api::mux::StreamKind;
use casemate_agent_api::proto;
use casemate_agent_api::request::ContainerId;
use casemate_agent_api::request::CreateContainer;
use casemate_agent_api::request::Exec;
use casemate_agent_api::request::Network;
use casemate_agent_api::request::ProcessId;
use casemate_agent_api::request::PutVolume;
use casemate_agent_api::request::RequestError;
use casemate_agent_api::request::ResizePty;
use casemate_agent_api::request::Signal;
use casemate_agent_api::request::Update;
use casemate_agent_api::service::Agent;
use casemate_containers::Exit;
use casemate_policy::Policy;
use casemate_policy::Sha256Digest;
use casemate_policy_monitor::Monitor;
use casemate_policy_monitor::ReferenceMonitor;
use casemate_policy_rules::Judge;
use tokio::sync::Semaphore;
use tokio::sync::SemaphorePermit;
use ttrpc::r#async::TtrpcContext;

use crate::audit::Audit;
use crate::audit::keep_anchored;
use crate::audit::last_head;
use crate::backend::Attest;
use crate::backend::Parts;
use crate::class;
use crate::class::Phase;
use crate::events::Event;
use crate::pod::Pod;
use crate::pod::ProcessState;
use crate::queue::Queue;
use crate::stdio::Attached;
use crate::timeline::Timeline;

/// Version of the agent API.
const API_VERSION: u32 = 1;
/// Longest time that a call waits for something to happen.
const MAX_PATIENCE: Duration = Duration::from_secs(600);
/// Calls at once (A25). Waits are most of them: one per process.
const MAX_CALLS: usize = 512;
/// Between the answer to Shutdown, or the last attestation after it, and the end of the VM: for the host
/// to read the answer and the last records.
const FAREWELL: Duration = Duration::from_millis(200);

/// The guest as its host sees it. Clones are the same guest.
#[derive(Clone)]
pub struct Guest {
    pod: Arc<Pod>,
    queue: Queue,
    calls: Arc<Semaphore>,
    audit: Arc<Audit>,
    attest: Arc<dyn Attest>,
}

impl Guest {
    /// A guest in phase "bound" that runs what `policy` carries.
    ///
    /// # Errors
    ///
    /// When the policy breaks a rule of its format.
    pub fn new(policy: Policy, parts: Parts) -> Result<Self, ApiError> {
        Self::with_rules(policy, None, parts, Arc::default())
    }

    /// A guest in phase "bound" that asks `monitor` about every request.
    #[must_use]
    pub fn with_monitor(monitor: Box<dyn ReferenceMonitor>, parts: Parts) -> Self {
        Self::assemble(monitor, None, parts, Arc::default())
    }

    /// A guest in phase "bound" that runs what `monitor` grants and `judge` lets pass.
    #[must_use]
    pub fn narrowed(monitor: Monitor, judge: Arc<dyn Judge>, parts: Parts) -> Self {
        Self::assemble(Box::new(monitor), Some(judge), parts, Arc::default())
    }

    /// A guest that runs what `policy` carries, as far as the owner's extra rules let it.
    pub(crate) fn with_rules(
        policy: Policy,
        rules: Option<&str>,
        parts: Parts,
        timeline: Arc<Timeline>,
    ) -> Result<Self, ApiError> {
        let (monitor, judge) = casemate_policy_rules::monitor(policy, rules).map_err(|error| {
            // Its codes are the API's; a test compares them.
            ApiError::new(error.code().parse().unwrap_or(Code::InitdataInvalid), error)
        })?;
        Ok(Self::assemble(Box::new(monitor), judge, parts, timeline))
    }

    fn assemble(
        monitor: Box<dyn ReferenceMonitor>,
        judge: Option<Arc<dyn Judge>>,
        parts: Parts,
        timeline: Arc<Timeline>,
    ) -> Self {
        let attest = Arc::clone(&parts.attest);
        Self {
            pod: Pod::new(monitor, judge, parts, timeline),
            queue: Queue::start(),
            calls: Arc::new(Semaphore::new(MAX_CALLS)),
            audit: Arc::new(Audit::unsealed()),
            attest,
        }
    }

    /// Digest of the monitor's state: the same again exactly if the state is.
    #[must_use]
    pub fn fingerprint(&self) -> Sha256Digest {
        self.pod.fingerprint()
    }

    /// Puts its requests on record in `audit`. If an owner can read that, its head is attested again
    /// and again once the guest is attested.
    #[must_use]
    pub fn with_audit(mut self, audit: Arc<Audit>) -> Self {
        if audit.is_sealed() {
            let (pod, log) = (Arc::clone(&self.pod), audit.growth());
            let attest = Arc::clone(&self.attest);
            tokio::spawn(async move {
                let phase = pod.settled().await;
                drop(pod);
                if phase == Phase::Attested {
                    keep_anchored(log, attest).await;
                }
            });
        }
        self.audit = audit;
        self
    }

    /// The log of this guest's requests.
    #[must_use]
    pub fn audit(&self) -> Arc<Audit> {
        Arc::clone(&self.audit)
    }

    /// Joins a stream of a process that the host opened.
    pub(crate) fn attach(&self, kind: StreamKind, stream: MuxStream) {
        let stdio = &self.pod.stdio;
        let (name, process, attached) = match kind {
            // The server of the calls has it.
            StreamKind::Rpc => return,
            StreamKind::Stdin(process) => {
                let attached = stdio.attach_stdin(&process, stream);
                ("stdin", process, attached)
            }
            StreamKind::Stdout(process) => {
                let attached = stdio.attach_stdout(&process, stream);
                ("stdout", process, attached)
            }
            StreamKind::Stderr(process) => {
                let attached = stdio.attach_stderr(&process, stream);
                ("stderr", process, attached)
            }
        };
        let (code, why) = match attached {
            Attached::Granted => return,
            Attached::NotGranted => (Code::PolicyStdio, "the policy does not grant it"),
            Attached::Unknown => (Code::RequestId, "of an unknown process"),
        };
        let error = ApiError::new(code, format_args!("{name}: {why}"));
        self.audit.refused_stream(name, &process, error);
    }

    /// Admits a call in the present phase and among the others.
    fn admit(&self, call: &'static str) -> Result<SemaphorePermit<'_>, ApiError> {
        class::admit(call, &self.pod.phase())?;
        let too_many = |_| ApiError::new(Code::Internal, "too many calls at once");
        self.calls.try_acquire().map_err(too_many)
    }
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guest").finish_non_exhaustive()
    }
}

#[async_trait]
impl Agent for Guest {
    async fn hello(
        &self,
        _: &TtrpcContext,
        _: proto::HelloRequest,
    ) -> ttrpc::Result<proto::HelloReply> {
        let _call = self.admit("Hello").map_err(rpc)?;
        Ok(proto::HelloReply {
            api_version: API_VERSION,
            phase: self.pod.phase().to_proto().into(),
            timeline: self.pod.timeline.to_proto(),
            agent_rss_kib: resident_kib().unwrap_or_default(),
            ..Default::default()
        })
    }

    async fn set_network(
        &self,
        _: &TtrpcContext,
        request: proto::SetNetworkRequest,
    ) -> ttrpc::Result<proto::Empty> {
        let _call = self.admit("SetNetwork").map_err(rpc)?;
        let network = Network::try_from(request).map_err(malformed)?;
        self.queue.run(Arc::clone(&self.pod).set_network(network)).await.map_err(rpc)?;
        Ok(proto::Empty::new())
    }

    async fn await_ready(
        &self,
        _: &TtrpcContext,
        request: proto::AwaitReadyRequest,
    ) -> ttrpc::Result<proto::AwaitReadyReply> {
        let _call = self.admit("AwaitReady").map_err(rpc)?;
        let settled = tokio::time::timeout(patience(request.timeout_ms), self.pod.settled()).await;
        let phase = settled.unwrap_or_else(|_| self.pod.phase());
        let mut reply = proto::AwaitReadyReply {
            phase: phase.to_proto().into(),
            timeline: self.pod.timeline.to_proto(),
            ..Default::default()
        };
        if let Phase::Failed(error) = phase {
            reply.failure_code = error.code().to_string();
            reply.failure = error.detail().to_owned();
        }
        Ok(reply)
    }

    async fn create_container(
        &self,
        _: &TtrpcContext,
        request: proto::CreateContainerRequest,
    ) -> ttrpc::Result<proto::Empty> {
        let _call = self.admit("CreateContainer").map_err(rpc)?;
        let create = Arc::new(CreateContainer::try_from(request).map_err(malformed)?);
        // The queue is free while the image comes; a denial does not wait for it.
        let check = Arc::clone(&self.pod).check_create(Arc::clone(&create));
        self.queue.run(check).await.map_err(rpc)?;
        let name = create.name.as_str();
        let rootfs = self.pod.images.rootfs(name).await.map_err(rpc)?;
        let secrets = self.pod.secrets(name).await.map_err(rpc)?;
        let create = Arc::clone(&self.pod).create(create, rootfs, secrets);
        self.queue.run(create).await.map_err(rpc)?;
        Ok(proto::Empty::new())
    }

    async fn exec_process(
        &self,
        _: &TtrpcContext,
        request: proto::ExecProcessRequest,
    ) -> ttrpc::Result<proto::Empty> {
        let _call = self.admit("ExecProcess").map_err(rpc)?;
        let exec = Exec::try_from(request).map_err(malformed)?;
        self.queue.run(Arc::clone(&self.pod).exec(exec)).await.map_err(rpc)?;
        Ok(proto::Empty::new())
    }

    async fn start(
        &self,
        _: &TtrpcContext,
        request: proto::ProcessRef,
    ) -> ttrpc::Result<proto::Empty> {
        let _call = self.admit("Start").map_err(rpc)?;
        let id = ProcessId::try_from(request).map_err(malformed)?;
        self.queue.run(Arc::clone(&self.pod).start(id)).await.map_err(rpc)?;
        Ok(proto::Empty::new())
    }

    async fn signal(
        &self,
        _: &TtrpcContext,
        request: proto::SignalRequest,
    ) -> ttrpc::Result<proto::Empty> {
        let _call = self.admit("Signal").map_err(rpc)?;
        let signal = Signal::try_from(request).map_err(malformed)?;
        self.pod.signal(&signal).await.map_err(rpc)?;
        Ok(proto::Empty::new())
    }

    async fn wait(
        &self,
        _: &TtrpcContext,
        request: proto::ProcessRef,
    ) -> ttrpc::Result<proto::ExitStatus> {
        let _call = self.admit("Wait").map_err(rpc)?;
        let id = ProcessId::try_from(request).map_err(malformed)?;
        Ok(exit_status(self.pod.wait(&id).await.map_err(rpc)?))
    }

    async fn state(
        &self,
        _: &TtrpcContext,
        request: proto::ProcessRef,
    ) -> ttrpc::Result<proto::StateReply> {
        let _call = self.admit("State").map_err(rpc)?;
        let id = ProcessId::try_from(request).map_err(malformed)?;
        let (state, pid, exit) = match self.pod.state(&id).map_err(rpc)? {
            ProcessState::Created { pid } => (proto::ProcessState::CREATED, pid, None),
            ProcessState::Running { pid } => (proto::ProcessState::RUNNING, pid, None),
            ProcessState::Stopped { pid, exit } => (proto::ProcessState::STOPPED, pid, Some(exit)),
        };
        Ok(proto::StateReply {
            state: state.into(),
            exit: exit.map(exit_status).into(),
            guest_pid: pid,
            ..Default::default()
        })
    }

    async fn delete(
        &self,
        _: &TtrpcContext,
        request: proto::ProcessRef,
    ) -> ttrpc::Result<proto::ExitStatus> {
        let _call = self.admit("Delete").map_err(rpc)?;
        let id = ProcessId::try_from(request).map_err(malformed)?;
        let exit = self.queue.run(Arc::clone(&self.pod).delete(id)).await.map_err(rpc)?;
        Ok(exit_status(exit))
    }

    async fn close_stdin(
        &self,
        _: &TtrpcContext,
        request: proto::ProcessRef,
    ) -> ttrpc::Result<proto::Empty> {
        let _call = self.admit("CloseStdin").map_err(rpc)?;
        let id = ProcessId::try_from(request).map_err(malformed)?;
        self.pod.close_stdin(&id).map_err(rpc)?;
        Ok(proto::Empty::new())
    }

    async fn resize_pty(
        &self,
        _: &TtrpcContext,
        request: proto::ResizePtyRequest,
    ) -> ttrpc::Result<proto::Empty> {
        let _call = self.admit("ResizePty").map_err(rpc)?;
        let resize = ResizePty::try_from(request).map_err(malformed)?;
        self.pod.resize(&resize).map_err(rpc)?;
        Ok(proto::Empty::new())
    }

    async fn pids(
        &self,
        _: &TtrpcContext,
        request: proto::ContainerRef,
    ) -> ttrpc::Result<proto::PidsReply> {
        let _call = self.admit("Pids").map_err(rpc)?;
        let id = ContainerId::try_from(request).map_err(malformed)?;
        let pids = self.pod.pids(&id).await.map_err(rpc)?;
        Ok(proto::PidsReply { pids, ..Default::default() })
    }

    async fn stats(
        &self,
        _: &TtrpcContext,
        request: proto::ContainerRef,
    ) -> ttrpc::Result<proto::StatsReply> {
        let _call = self.admit("Stats").map_err(rpc)?;
        let id = ContainerId::try_from(request).map_err(malformed)?;
        let stats = self.pod.stats(&id).await.map_err(rpc)?;
        Ok(proto::StatsReply {
            cpu_usage_usec: stats.cpu_usage_usec,
            cpu_user_usec: stats.cpu_user_usec,
            cpu_system_usec: stats.cpu_system_usec,
            cpu_nr_periods: stats.cpu_nr_periods,
            cpu_nr_throttled: stats.cpu_nr_throttled,
            cpu_throttled_usec: stats.cpu_throttled_usec,
            memory_usage: stats.memory_usage,
            memory_limit: stats.memory_limit,
            memory_anon: stats.memory_anon,
            memory_file: stats.memory_file,
            memory_inactive_file: stats.memory_inactive_file,
            memory_pgfault: stats.memory_pgfault,
            memory_pgmajfault: stats.memory_pgmajfault,
            memory_oom_kill: stats.memory_oom_kill,
            pids_current: stats.pids_current,
            pids_limit: stats.pids_limit,
            ..Default::default()
        })
    }

    async fn termination_message(
        &self,
        _: &TtrpcContext,
        request: proto::ContainerRef,
    ) -> ttrpc::Result<proto::TerminationMessageReply> {
        let _call = self.admit("TerminationMessage").map_err(rpc)?;
        let id = ContainerId::try_from(request).map_err(malformed)?;
        let message = self.pod.termination_message(&id).await.map_err(rpc)?;
        Ok(proto::TerminationMessageReply { message, ..Default::default() })
    }

    async fn update(
        &self,
        _: &TtrpcContext,
        request: proto::UpdateRequest,
    ) -> ttrpc::Result<proto::Empty> {
        let _call = self.admit("Update").map_err(rpc)?;
        let update = Update::try_from(request).map_err(malformed)?;
        self.queue.run(Arc::clone(&self.pod).update(update)).await.map_err(rpc)?;
        Ok(proto::Empty::new())
    }

    async fn put_volume(
        &self,
        _: &TtrpcContext,
        request: proto::PutVolumeRequest,
    ) -> ttrpc::Result<proto::Empty> {
        let _call = self.admit("PutVolume").map_err(rpc)?;
        let put = PutVolume::try_from(request).map_err(malformed)?;
        self.queue.run(Arc::clone(&self.pod).put_volume(put)).await.map_err(rpc)?;
        Ok(proto::Empty::new())
    }

    async fn next_event(
        &self,
        _: &TtrpcContext,
        request: proto::NextEventRequest,
    ) -> ttrpc::Result<proto::NextEventReply> {
        let _call = self.admit("NextEvent").map_err(rpc)?;
        let mut reply = proto::NextEventReply::new();
        let next = tokio::time::timeout(patience(request.timeout_ms), self.pod.events.next());
        if let Ok(Event::Oom { container }) = next.await {
            let event = proto::OomEvent { container_id: container, ..Default::default() };
            reply.set_oom(event);
        }
        Ok(reply)
    }

    async fn shutdown(
        &self,
        _: &TtrpcContext,
        _: proto::Empty,
    ) -> ttrpc::Result<proto::ShutdownReply> {
        let _call = self.admit("Shutdown").map_err(rpc)?;
        self.queue.run(Arc::clone(&self.pod).shut_down()).await.map_err(rpc)?;
        let guest = self.clone();
        // The record of this very call comes when it is answered.
        let last = self.audit.head().sequence;
        let stays = self.audit.is_sealed();
        tokio::spawn(async move {
            if stays && guest.pod.phase() == Phase::Attested {
                last_head(&guest.audit, last, &*guest.attest).await;
            }
            tokio::time::sleep(FAREWELL).await;
            guest.pod.power_off();
        });
        Ok(proto::ShutdownReply { stays, ..Default::default() })
    }

    async fn read_audit(
        &self,
        _: &TtrpcContext,
        request: proto::ReadAuditRequest,
    ) -> ttrpc::Result<proto::ReadAuditReply> {
        let _call = self.admit("ReadAudit").map_err(rpc)?;
        Ok(self.audit.read(&request, patience(request.timeout_ms)).await)
    }
}

/// The agent's resident memory, `VmRSS` of proc_pid_status(5).
fn resident_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

fn rpc(error: ApiError) -> ttrpc::Error {
    error.to_rpc()
}

fn malformed(error: RequestError) -> ttrpc::Error {
    ApiError::from(error).to_rpc()
}

fn patience(timeout_ms: u32) -> Duration {
    Duration::from_millis(u64::from(timeout_ms)).min(MAX_PATIENCE)
}

fn exit_status(exit: Exit) -> proto::ExitStatus {
    let since = exit.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    proto::ExitStatus {
        code: exit.code,
        exited_at_ns: i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        ..Default::default()
    }
}
