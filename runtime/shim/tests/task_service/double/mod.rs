// SPDX-License-Identifier: Apache-2.0
//! Doubles for what the shim drives: a VMM whose VM is a sleeping process, an agent that does what
//! the test says, a network and an image store that note what they are asked.

mod events;

use std::collections::HashMap;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use casemate_agent_api::ApiError;
use casemate_agent_api::Code;
use casemate_agent_api::mux;
use casemate_agent_api::mux::MuxStream;
use casemate_agent_api::mux::Role;
use casemate_agent_api::mux::StreamKind;
use casemate_agent_api::proto;
use casemate_agent_api::rpc::ApiServer;
use casemate_agent_api::service::Agent;
use casemate_boot_formats::initdata::Algorithm;
use casemate_boot_formats::initdata::Initdata;
use casemate_pod_network::Cidr;
use casemate_pod_network::Nic;
use casemate_pod_network::Route;
use casemate_sandbox::Id;
use casemate_shim::outside::GuestNetwork;
use casemate_shim::outside::Images;
use casemate_shim::outside::Outside;
use casemate_shim::outside::PodNetworking;
use casemate_shim::pod::Pod;
use casemate_shim::service::TaskService;
use casemate_vmm::Exit;
use casemate_vmm::LaunchDigest;
use casemate_vmm::Vm;
use casemate_vmm::VmConfig;
use casemate_vmm::Vmm;
use containerd_shim::protos::api;
use containerd_shim::protos::shim_async::TaskClient;
use events::Events;
use protobuf::well_known_types::any::Any;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::sync::watch;
use ttrpc::asynchronous::Client;
use ttrpc::asynchronous::Server;
use ttrpc::asynchronous::TtrpcContext;
use ttrpc::asynchronous::transport::Listener;
use ttrpc::asynchronous::transport::Socket;

pub(crate) const POD: &str = "pod-1";
pub(crate) const DIGEST: &str =
    "sha256:1111111111111111111111111111111111111111111111111111111111111111";

/// What the agent does, and what it was asked.
#[derive(Default)]
pub(crate) struct Script {
    /// The guest refuses to boot.
    pub(crate) fatal: Option<(Code, String)>,
    /// The agent never answers.
    pub(crate) mute: bool,
    /// The agent answers no sign of life once it is attested.
    pub(crate) mute_after_boot: bool,
    /// The guest fails to attest itself.
    pub(crate) attest_failure: Option<(String, String)>,
    /// Answers to create, in their order; then success.
    pub(crate) create: Vec<ApiError>,
    /// Answers to exec, in their order; then success.
    pub(crate) exec: Vec<ApiError>,
    /// Answers to put_volume, update and stats, in their order; then success.
    pub(crate) put_volume: Vec<ApiError>,
    pub(crate) update: Vec<ApiError>,
    pub(crate) stats: Vec<ApiError>,
    /// What the agent does when it is to shut down.
    pub(crate) end: End,
    /// Answer to the question for a termination message; without one it is denied.
    pub(crate) termination_message: Option<Vec<u8>>,
    /// What was asked.
    pub(crate) network: Option<proto::SetNetworkRequest>,
    pub(crate) created: Vec<proto::CreateContainerRequest>,
    pub(crate) execs: Vec<proto::ExecProcessRequest>,
    pub(crate) signals: Vec<(String, u32, bool)>,
    pub(crate) deleted: Vec<String>,
    pub(crate) stdin_closed: Vec<String>,
    pub(crate) resized: Vec<(u32, u32)>,
    pub(crate) volumes: Vec<proto::PutVolumeRequest>,
    pub(crate) updates: Vec<proto::UpdateRequest>,
}

/// How a guest takes its end.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum End {
    /// It has nothing more to say, and does not power off.
    #[default]
    Silent,
    /// It has one more record, and powers off.
    LastWords,
    /// It says that it has more to say, and does not power off.
    Lingers,
    /// It does not answer.
    Deaf,
}

/// The guest's side of the tests.
#[derive(Clone)]
pub(crate) struct Guest {
    pub(crate) script: Arc<Mutex<Script>>,
    /// Ends of processes, by `container` or `container/exec`.
    exits: Arc<watch::Sender<HashMap<String, u32>>>,
    /// Streams that the host opened.
    streams: Arc<Mutex<HashMap<String, MuxStream>>>,
    opened: Arc<watch::Sender<()>>,
    oom: Arc<Mutex<Vec<String>>>,
    /// Whether the guest has begun to end, and whether it has powered off.
    ending: Arc<watch::Sender<bool>>,
    off: Arc<watch::Sender<bool>>,
}

impl Guest {
    fn new(script: Script) -> Self {
        Self {
            script: Arc::new(Mutex::new(script)),
            exits: Arc::new(watch::Sender::new(HashMap::new())),
            streams: Arc::default(),
            opened: Arc::new(watch::Sender::new(())),
            oom: Arc::default(),
            ending: Arc::new(watch::Sender::new(false)),
            off: Arc::new(watch::Sender::new(false)),
        }
    }

    /// Ends a process.
    pub(crate) fn exit(&self, process: &str, status: u32) {
        self.exits.send_modify(|exits| {
            exits.insert(process.to_owned(), status);
        });
    }

    /// A process of the container is killed for want of memory.
    pub(crate) fn run_out_of_memory(&self, container: &str) {
        self.oom.lock().unwrap().push(container.to_owned());
    }

    /// The guest's end of a stream, once the host has opened it: `stdout:web`.
    pub(crate) async fn stream(&self, name: &str) -> MuxStream {
        let mut opened = self.opened.subscribe();
        loop {
            if let Some(stream) = self.streams.lock().unwrap().remove(name) {
                return stream;
            }
            opened.changed().await.unwrap();
        }
    }

    /// Waits until the agent was asked for something.
    pub(crate) async fn until(&self, asked: impl Fn(&Script) -> bool) {
        let mut opened = self.opened.subscribe();
        while !asked(&self.script.lock().unwrap()) {
            opened.changed().await.unwrap();
        }
    }

    async fn serve(self, port: UnixStream) {
        let (handle, mut incoming, driver) = mux::connect(port, Role::Guest);
        let driver = tokio::spawn(driver);
        let fatal = self.script.lock().unwrap().fatal.clone();
        if let Some((code, message)) = fatal {
            handle.fatal(code, &message);
            driver.await.unwrap();
            return;
        }
        let mut api = ApiServer::start(Arc::new(self.clone())).await.unwrap();
        while let Some((kind, stream)) = incoming.accept().await {
            let name = match kind {
                StreamKind::Rpc => {
                    api.serve(stream).await;
                    continue;
                }
                StreamKind::Stdin(process) => format!("stdin:{process}"),
                StreamKind::Stdout(process) => format!("stdout:{process}"),
                StreamKind::Stderr(process) => format!("stderr:{process}"),
            };
            self.streams.lock().unwrap().insert(name, stream);
            self.opened.send_replace(());
        }
    }
}

fn name(process: &proto::ProcessRef) -> String {
    match process.exec_id.as_str() {
        "" => process.container_id.clone(),
        exec => format!("{}/{exec}", process.container_id),
    }
}

fn mark(step: &str, boottime_us: u64) -> proto::Mark {
    proto::Mark { step: step.to_owned(), boottime_us, ..Default::default() }
}

fn answer(errors: &mut Vec<ApiError>) -> ttrpc::Result<proto::Empty> {
    if errors.is_empty() { Ok(proto::Empty::default()) } else { Err(errors.remove(0).to_rpc()) }
}

type Reply<T> = ttrpc::Result<T>;

#[async_trait]
impl Agent for Guest {
    async fn hello(&self, _: &TtrpcContext, _: proto::HelloRequest) -> Reply<proto::HelloReply> {
        let mute = {
            let script = self.script.lock().unwrap();
            script.mute || (script.mute_after_boot && script.network.is_some())
        };
        if mute {
            std::future::pending::<()>().await;
        }
        let timeline = vec![mark("agent_start", 0), mark("bound", 1000), mark("pulled:web", 2000)];
        Ok(proto::HelloReply { timeline, ..Default::default() })
    }

    async fn set_network(
        &self,
        _: &TtrpcContext,
        request: proto::SetNetworkRequest,
    ) -> Reply<proto::Empty> {
        self.script.lock().unwrap().network = Some(request);
        Ok(proto::Empty::default())
    }

    async fn await_ready(
        &self,
        _: &TtrpcContext,
        _: proto::AwaitReadyRequest,
    ) -> Reply<proto::AwaitReadyReply> {
        let failure = self.script.lock().unwrap().attest_failure.clone();
        let (phase, (failure_code, failure)) = match failure {
            None => (proto::Phase::ATTESTED, Default::default()),
            Some(failure) => (proto::Phase::FAILED, failure),
        };
        Ok(proto::AwaitReadyReply {
            phase: phase.into(),
            failure_code,
            failure,
            timeline: vec![mark("attested", 1500)],
            ..Default::default()
        })
    }

    async fn create_container(
        &self,
        _: &TtrpcContext,
        request: proto::CreateContainerRequest,
    ) -> Reply<proto::Empty> {
        let mut script = self.script.lock().unwrap();
        script.created.push(request);
        answer(&mut script.create)
    }

    async fn exec_process(
        &self,
        _: &TtrpcContext,
        request: proto::ExecProcessRequest,
    ) -> Reply<proto::Empty> {
        let mut script = self.script.lock().unwrap();
        script.execs.push(request);
        answer(&mut script.exec)
    }

    async fn start(&self, _: &TtrpcContext, _: proto::ProcessRef) -> Reply<proto::Empty> {
        Ok(proto::Empty::default())
    }

    async fn signal(&self, _: &TtrpcContext, request: proto::SignalRequest) -> Reply<proto::Empty> {
        let name = name(&request.process);
        self.script.lock().unwrap().signals.push((name, request.signal, request.all));
        Ok(proto::Empty::default())
    }

    async fn wait(&self, _: &TtrpcContext, process: proto::ProcessRef) -> Reply<proto::ExitStatus> {
        let name = name(&process);
        let mut exits = self.exits.subscribe();
        let exits = exits.wait_for(|exits| exits.contains_key(&name)).await.unwrap();
        Ok(proto::ExitStatus { code: exits[&name], ..Default::default() })
    }

    async fn delete(
        &self,
        _: &TtrpcContext,
        process: proto::ProcessRef,
    ) -> Reply<proto::ExitStatus> {
        self.script.lock().unwrap().deleted.push(name(&process));
        Ok(proto::ExitStatus::default())
    }

    async fn close_stdin(
        &self,
        _: &TtrpcContext,
        process: proto::ProcessRef,
    ) -> Reply<proto::Empty> {
        self.script.lock().unwrap().stdin_closed.push(name(&process));
        self.opened.send_replace(());
        Ok(proto::Empty::default())
    }

    async fn resize_pty(
        &self,
        _: &TtrpcContext,
        request: proto::ResizePtyRequest,
    ) -> Reply<proto::Empty> {
        self.script.lock().unwrap().resized.push((request.width, request.height));
        Ok(proto::Empty::default())
    }

    async fn put_volume(
        &self,
        _: &TtrpcContext,
        request: proto::PutVolumeRequest,
    ) -> Reply<proto::Empty> {
        let mut script = self.script.lock().unwrap();
        script.volumes.push(request);
        answer(&mut script.put_volume)
    }

    async fn update(&self, _: &TtrpcContext, request: proto::UpdateRequest) -> Reply<proto::Empty> {
        let mut script = self.script.lock().unwrap();
        script.updates.push(request);
        answer(&mut script.update)
    }

    async fn termination_message(
        &self,
        _: &TtrpcContext,
        _: proto::ContainerRef,
    ) -> Reply<proto::TerminationMessageReply> {
        match self.script.lock().unwrap().termination_message.clone() {
            Some(message) => Ok(proto::TerminationMessageReply { message, ..Default::default() }),
            None => Err(ApiError::new(Code::PolicyTerminationMessage, "is not granted").to_rpc()),
        }
    }

    async fn stats(&self, _: &TtrpcContext, _: proto::ContainerRef) -> Reply<proto::StatsReply> {
        answer(&mut self.script.lock().unwrap().stats)?;
        Ok(proto::StatsReply { memory_usage: 4096, cpu_usage_usec: 7, ..Default::default() })
    }

    async fn read_audit(
        &self,
        _: &TtrpcContext,
        request: proto::ReadAuditRequest,
    ) -> Reply<proto::ReadAuditReply> {
        // Two records, one more at the end, and then nothing more.
        let mut records = vec![b"first".to_vec(), b"second".to_vec()];
        let from = usize::try_from(request.from_sequence).unwrap();
        if from >= records.len() {
            self.ending.subscribe().wait_for(|ending| *ending).await.unwrap();
            records.push(b"third".to_vec());
        }
        if from >= records.len() {
            std::future::pending::<()>().await;
        }
        Ok(proto::ReadAuditReply {
            boot: b"boot".to_vec(),
            first_sequence: request.from_sequence,
            records: records[from..].to_vec(),
            ..Default::default()
        })
    }

    async fn shutdown(&self, _: &TtrpcContext, _: proto::Empty) -> Reply<proto::ShutdownReply> {
        let end = self.script.lock().unwrap().end;
        match end {
            End::Silent | End::Lingers => {}
            End::LastWords => {
                self.ending.send_replace(true);
                let off = Arc::clone(&self.off);
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    off.send_replace(true);
                });
            }
            End::Deaf => std::future::pending().await,
        }
        Ok(proto::ShutdownReply { stays: end != End::Silent, ..Default::default() })
    }

    async fn next_event(
        &self,
        _: &TtrpcContext,
        _: proto::NextEventRequest,
    ) -> Reply<proto::NextEventReply> {
        let container = self.oom.lock().unwrap().pop();
        let event = container.map(|container_id| {
            let oom = proto::OomEvent { container_id, ..Default::default() };
            proto::next_event_reply::Event::Oom(oom)
        });
        Ok(proto::NextEventReply { event, ..Default::default() })
    }
}

/// A VM that is a sleeping process.
struct SleepingVm {
    pid: u32,
    kill: watch::Sender<bool>,
    exit: watch::Receiver<Option<Exit>>,
    guest: Guest,
}

struct SleepingVmm {
    guest: Guest,
    launched: Arc<Mutex<Vec<VmConfig>>>,
    fails: bool,
}

#[async_trait]
impl Vmm for SleepingVmm {
    async fn launch(&self, config: &VmConfig) -> Result<Box<dyn Vm>, casemate_vmm::Error> {
        self.launched.lock().unwrap().push(config.clone());
        if self.fails {
            let tee = casemate_vmm::TeeKind::Snp;
            let reason = "/dev/sev is absent".to_owned();
            return Err(casemate_vmm::Error::TeeMissing { tee, reason });
        }
        let mut child = tokio::process::Command::new("/bin/sleep")
            .arg("1000")
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let pid = child.id().unwrap();
        let (kill, mut killed) = watch::channel(false);
        let mut off = self.guest.off.subscribe();
        let (ended, exit) = watch::channel(None);
        tokio::spawn(async move {
            let requested = tokio::select! {
                _ = child.wait() => false,
                _ = off.wait_for(|off| *off) => true,
                killed = killed.wait_for(|killed| *killed) => killed.is_ok(),
            };
            child.kill().await.unwrap();
            let failed = Exit::VmmFailed { detail: "signal 9".to_owned() };
            ended.send_replace(Some(if requested { Exit::Requested } else { failed }));
            ended.closed().await;
        });
        Ok(Box::new(SleepingVm { pid, kill, exit, guest: self.guest.clone() }))
    }
}

#[async_trait]
impl Vm for SleepingVm {
    fn pid(&self) -> u32 {
        self.pid
    }

    fn launch_digest(&self) -> Option<LaunchDigest> {
        Some(LaunchDigest([0xab; 48]))
    }

    async fn connect_agent(&self) -> Result<UnixStream, casemate_vmm::Error> {
        let (host, port) = std::os::unix::net::UnixStream::pair().unwrap();
        host.set_nonblocking(true).unwrap();
        port.set_nonblocking(true).unwrap();
        let mut exit = self.exit.clone();
        let guest = self.guest.clone();
        // Another machine, so to say; the thread ends with the VM.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                tokio::select! {
                    () = guest.serve(UnixStream::from_std(port).unwrap()) => {}
                    _ = exit.wait_for(Option::is_some) => {}
                }
            });
        });
        Ok(UnixStream::from_std(host).unwrap())
    }

    async fn wait(&self) -> Exit {
        let mut exit = self.exit.clone();
        let exit = exit.wait_for(Option::is_some).await.unwrap().clone();
        exit.unwrap()
    }

    fn kill(&self) {
        self.kill.send_replace(true);
    }

    async fn quit(&self, _: Duration) -> Exit {
        self.kill();
        self.wait().await
    }
}

#[derive(Clone, Default)]
pub(crate) struct Network {
    pub(crate) attached: Arc<Mutex<Vec<PathBuf>>>,
}

#[async_trait]
impl PodNetworking for Network {
    async fn attach(&self, namespace: &Path) -> Result<GuestNetwork, ApiError> {
        let mut attached = self.attached.lock().unwrap();
        if attached.iter().any(|other| other == namespace) {
            return Err(ApiError::new(Code::NetworkRefused, "casemate0: busy"));
        }
        attached.push(namespace.to_owned());
        let nic = Nic {
            name: "eth0".to_owned(),
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1450,
            addresses: vec![Cidr::new("10.88.0.3".parse().unwrap(), 16).unwrap()],
            tap: "casemate0".to_owned(),
        };
        let route = Route {
            destination: None,
            gateway: Some("10.88.0.1".parse().unwrap()),
            interface: "eth0".to_owned(),
            source: None,
            is_v6: false,
        };
        Ok(GuestNetwork { nics: vec![nic], routes: vec![route] })
    }

    async fn detach(&self, namespace: &Path) {
        self.attached.lock().unwrap().retain(|other| other != namespace);
    }
}

struct ImageStore;

#[async_trait]
impl Images for ImageStore {
    async fn manifest_digest(&self, name: &str) -> Result<String, ApiError> {
        if name == "registry.test/web:1" {
            Ok(DIGEST.to_owned())
        } else {
            Err(ApiError::new(Code::ImageInvalid, format_args!("no image {name:?}")))
        }
    }
}

/// A shim in the test's own process, and containerd's client to it.
pub(crate) struct Shim {
    pub(crate) client: TaskClient,
    pub(crate) raw: Client,
    pub(crate) guest: Guest,
    pub(crate) network: Network,
    pub(crate) launched: Arc<Mutex<Vec<VmConfig>>>,
    pub(crate) pod: Arc<Pod>,
    pub(crate) folder: tempfile::TempDir,
    events: mpsc::UnboundedReceiver<String>,
    _server: Server,
}

/// What differs from a shim in which everything goes well.
#[derive(Default)]
pub(crate) struct Setup {
    pub(crate) script: Script,
    pub(crate) deadlines: &'static str,
    pub(crate) launch_fails: bool,
    /// The TEE; `snp` if absent.
    pub(crate) tee: Option<&'static str>,
}

impl Shim {
    pub(crate) async fn new() -> Self {
        Self::with(Setup::default()).await
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("guest");
        std::fs::create_dir(&image).unwrap();
        for file in ["firmware.fd", "kernel", "initramfs"] {
            std::fs::write(image.join(file), "").unwrap();
        }
        std::fs::write(image.join("cmdline.txt"), "casemate.tee=snp acpi=off").unwrap();
        let config = format!(
            "tee = '{}'\nguest_image = '{}'\nstate_dir = '{}'\naudit_dir = '{}'\n[deadlines]\n{}",
            setup.tee.unwrap_or("snp"),
            image.display(),
            folder.path().join("state").display(),
            folder.path().join("audit").display(),
            setup.deadlines
        );
        std::fs::write(folder.path().join("config.toml"), config).unwrap();
        let guest = Guest::new(setup.script);
        let network = Network::default();
        let launched = Arc::default();
        let (sender, events) = mpsc::unbounded_channel();
        let vmm = SleepingVmm {
            guest: guest.clone(),
            launched: Arc::clone(&launched),
            fails: setup.launch_fails,
        };
        let outside = Outside {
            vmm: Box::new(vmm),
            network: Box::new(network.clone()),
            images: Box::new(ImageStore),
            events: Box::new(Events(sender)),
        };
        let pod = Pod::new(Id::new(POD).unwrap(), "k8s.io".to_owned(), outside);
        let socket = folder.path().join("shim.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let mut server = Server::new()
            .add_listener(Listener::try_from(listener).unwrap())
            .register_service(TaskService::new(Arc::clone(&pod)).into_services());
        server.start().await.unwrap();
        let connect =
            async || Client::new(Socket::connect_unix(socket.to_str().unwrap()).await.unwrap());
        Self {
            client: TaskClient::new(connect().await),
            raw: connect().await,
            guest,
            network,
            launched,
            pod,
            folder,
            events,
            _server: server,
        }
    }

    /// The next events, as text.
    pub(crate) async fn events(&mut self, count: usize) -> Vec<String> {
        let mut events = Vec::new();
        for _ in 0..count {
            let next = tokio::time::timeout(Duration::from_secs(10), self.events.recv()).await;
            events.push(next.expect("an event is missing").unwrap());
        }
        events
    }

    pub(crate) fn no_more_events(&mut self) {
        if let Ok(event) = self.events.try_recv() {
            panic!("unexpected event {event:?}");
        }
    }

    /// Writes a bundle.
    pub(crate) fn bundle(&self, id: &str, config: &serde_json::Value) -> String {
        let bundle = self.folder.path().join(id);
        std::fs::create_dir_all(&bundle).unwrap();
        std::fs::write(bundle.join("config.json"), config.to_string()).unwrap();
        bundle.to_str().unwrap().to_owned()
    }

    pub(crate) fn create_request(
        &self,
        id: &str,
        config: &serde_json::Value,
    ) -> api::CreateTaskRequest {
        let path = self.folder.path().join("config.toml");
        let path = path.to_str().unwrap();
        let mut options = vec![0x12, u8::try_from(path.len()).unwrap()];
        options.extend(path.bytes());
        let options = Any {
            type_url: "runtimeoptions.v1.Options".to_owned(),
            value: options,
            ..Default::default()
        };
        api::CreateTaskRequest {
            id: id.to_owned(),
            bundle: self.bundle(id, config),
            options: Some(options).into(),
            ..Default::default()
        }
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state").join(POD)
    }

    pub(crate) fn audit_log(&self) -> PathBuf {
        self.folder.path().join("audit").join(format!("{POD}.log"))
    }

    pub(crate) fn status(&self) -> serde_json::Value {
        let bytes = std::fs::read(self.state_dir().join("status.json")).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    /// Brings the pod to the point where containers can be made.
    pub(crate) async fn run_sandbox(&mut self) -> u32 {
        let request = self.create_request(POD, &sandbox_spec());
        let pid = self.client.create(context(), &request).await.unwrap().pid;
        self.client.start(context(), &start(POD)).await.unwrap();
        // E2: the sandbox of the tests has two vCPUs.
        let expected =
            [format!("launched {POD} true"), format!("create {POD}"), format!("start {POD}")];
        assert_eq!(self.events(3).await, expected);
        pid
    }

    /// Runs the container `web`.
    pub(crate) async fn run_container(&mut self) {
        let request = self.create_request("web", &container_spec());
        self.client.create(context(), &request).await.unwrap();
        self.client.start(context(), &start("web")).await.unwrap();
        assert_eq!(self.events(2).await, ["create web", "start web"]);
    }
}

pub(crate) fn context() -> ttrpc::context::Context {
    ttrpc::context::with_timeout(20_000_000_000)
}

pub(crate) fn start(id: &str) -> api::StartRequest {
    api::StartRequest { id: id.to_owned(), ..Default::default() }
}

pub(crate) fn initdata() -> Initdata {
    Initdata::build(Algorithm::Sha256, [("policy.toml", "version = 1")]).unwrap()
}

pub(crate) fn sandbox_spec() -> serde_json::Value {
    serde_json::json!({
        "hostname": "web-0",
        "annotations": {
            "io.kubernetes.cri.container-type": "sandbox",
            "io.kubernetes.cri.sandbox-id": POD,
            "io.kubernetes.cri.sandbox-memory": "268435456",
            "io.kubernetes.cri.sandbox-cpu-quota": "200000",
            "io.kubernetes.cri.sandbox-cpu-period": "100000",
            "io.casemate.initdata": initdata().to_annotation().unwrap(),
        },
        "linux": {"namespaces": [{"type": "network", "path": "/run/netns/test"}]},
    })
}

pub(crate) fn container_spec() -> serde_json::Value {
    serde_json::json!({
        "process": {"args": ["/bin/web", "-v"], "env": ["A=b"], "cwd": "/",
                    "user": {"uid": 1000}, "capabilities": {"bounding": ["CAP_SYS_ADMIN"]}},
        "root": {"readonly": true, "path": "/host/rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/etc/hosts", "type": "bind", "source": "/host/hosts",
             "options": ["rbind", "rw"]},
        ],
        "hooks": {"prestart": [{"path": "/bin/evil"}]},
        "annotations": {
            "io.kubernetes.cri.container-type": "container",
            "io.kubernetes.cri.sandbox-id": POD,
            "io.kubernetes.cri.container-name": "web",
            "io.kubernetes.cri.image-name": "registry.test/web:1",
        },
    })
}

/// The status and text of a refusal.
pub(crate) fn refusal<T: std::fmt::Debug>(result: ttrpc::Result<T>) -> (ttrpc::Code, String) {
    match result {
        Err(ttrpc::Error::RpcStatus(status)) => (status.code(), status.message().to_owned()),
        other => panic!("no refusal: {other:?}"),
    }
}
