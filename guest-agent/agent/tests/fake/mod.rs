// SPDX-License-Identifier: Apache-2.0
//! A world without a kernel: containers are tasks that echo their input.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use async_trait::async_trait;
use casemate_agent::ApplyNetwork;
use casemate_agent::Attest;
use casemate_agent::Containers;
use casemate_agent::FetchSecrets;
use casemate_agent::NotUpdated;
use casemate_agent::Parts;
use casemate_agent::Power;
use casemate_agent::PullFailure;
use casemate_agent::PullImages;
use casemate_agent::PullProgress;
use casemate_agent::PulledImage;
use casemate_agent::Transport;
use casemate_agent_api::ApiError;
use casemate_agent_api::Code;
use casemate_agent_api::request::Network;
use casemate_agent_api::request::PutVolume;
use casemate_containers::ContainerId;
use casemate_containers::CreateSpec;
use casemate_containers::Created;
use casemate_containers::ExecSpec;
use casemate_containers::Exit;
use casemate_containers::Limits;
use casemate_containers::ProcessId;
use casemate_containers::SignalScope;
use casemate_containers::Stats;
use casemate_containers::Stdio;
use casemate_containers::StdioRequest;
use casemate_containers::WindowSize;
use casemate_kbs_protocol::ResourceUri;
use casemate_kbs_protocol::Secret;
use casemate_policy::Encryption;
use casemate_policy::ImageRef;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::sync::broadcast;
use tokio::sync::mpsc;
use tokio::sync::watch;

/// Everything outside the service, with counters to look at and switches to turn.
pub(crate) struct World {
    pub(crate) networks: AtomicUsize,
    pub(crate) pulls: AtomicUsize,
    pub(crate) creates: AtomicUsize,
    pub(crate) execs: AtomicUsize,
    pub(crate) fetches: AtomicUsize,
    pub(crate) fail_creates: AtomicUsize,
    pub(crate) fail_puts: AtomicUsize,
    /// The next update fails; whether it is undone.
    pub(crate) fail_update: Mutex<Option<bool>>,
    /// Content of volumes, by volume and file.
    pub(crate) volumes: Mutex<BTreeMap<String, BTreeMap<String, Vec<u8>>>>,
    /// Limits that were set, in their order.
    pub(crate) limits: Mutex<Vec<(String, Limits)>>,
    pub(crate) slow_pulls: AtomicBool,
    pub(crate) slow_execs: AtomicBool,
    pub(crate) is_off: AtomicBool,
    pub(crate) attestation: Mutex<Option<ApiError>>,
    /// Attestations, the first one among them.
    pub(crate) attestations: AtomicUsize,
    specs: Mutex<HashMap<String, CreateSpec>>,
    exec_specs: Mutex<HashMap<String, ExecSpec>>,
    processes: Mutex<HashMap<ProcessId, watch::Sender<Option<Exit>>>>,
    oom: broadcast::Sender<ContainerId>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            networks: AtomicUsize::new(0),
            pulls: AtomicUsize::new(0),
            creates: AtomicUsize::new(0),
            execs: AtomicUsize::new(0),
            fetches: AtomicUsize::new(0),
            fail_creates: AtomicUsize::new(0),
            fail_puts: AtomicUsize::new(0),
            fail_update: Mutex::default(),
            volumes: Mutex::default(),
            limits: Mutex::default(),
            slow_pulls: AtomicBool::new(false),
            slow_execs: AtomicBool::new(false),
            is_off: AtomicBool::new(false),
            attestation: Mutex::default(),
            attestations: AtomicUsize::new(0),
            specs: Mutex::default(),
            exec_specs: Mutex::default(),
            processes: Mutex::default(),
            oom: broadcast::channel(8).0,
        }
    }
}

impl World {
    pub(crate) fn parts(self: &Arc<Self>) -> Parts {
        let world = || Arc::new(Handle(Arc::clone(self)));
        Parts {
            network: world(),
            attest: world(),
            images: world(),
            secrets: world(),
            containers: world(),
            power: world(),
        }
    }

    /// Every process ends well.
    pub(crate) fn end_all(&self) {
        let processes: Vec<_> = self.processes.lock().unwrap().keys().cloned().collect();
        processes.iter().for_each(|process| self.end(process, 0));
    }

    /// Processes that have not ended.
    pub(crate) fn alive(&self) -> usize {
        self.processes.lock().unwrap().values().filter(|p| p.borrow().is_none()).count()
    }

    pub(crate) fn spec(&self, id: &str) -> CreateSpec {
        self.specs.lock().unwrap()[id].clone()
    }

    pub(crate) fn exec_spec(&self, id: &str) -> ExecSpec {
        self.exec_specs.lock().unwrap()[id].clone()
    }

    pub(crate) fn has_no_output(&self, id: &str) -> bool {
        let silent = StdioRequest::Pipes { stdin: false, stdout: false, stderr: false };
        self.spec(id).stdio == silent
    }

    pub(crate) fn run_out_of_memory(&self, id: &str) {
        self.oom.send(ContainerId::try_from(id).unwrap()).unwrap();
    }

    fn end(&self, process: &ProcessId, code: u32) {
        if let Some(exit) = self.processes.lock().unwrap().get(process) {
            let at = SystemTime::now();
            exit.send_if_modified(|slot| {
                let first = slot.is_none();
                slot.get_or_insert(Exit { code, at });
                first
            });
        }
    }

    fn begin(&self, process: ProcessId) -> Result<(), ApiError> {
        let mut processes = self.processes.lock().unwrap();
        if processes.insert(process, watch::Sender::new(None)).is_some() {
            return Err(ApiError::new(Code::ContainerFailed, "exists"));
        }
        Ok(())
    }
}

struct Handle(Arc<World>);

#[async_trait]
impl ApplyNetwork for Handle {
    async fn apply(&self, _: &Network) -> Result<(), ApiError> {
        self.0.networks.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        Ok(())
    }
}

#[async_trait]
impl Attest for Handle {
    async fn attest(&self) -> Result<(), ApiError> {
        self.0.attestations.fetch_add(1, Ordering::SeqCst);
        match self.0.attestation.lock().unwrap().clone() {
            None => Ok(()),
            Some(error) => Err(error),
        }
    }
}

#[async_trait]
impl PullImages for Handle {
    async fn pull(
        &self,
        _: &ImageRef,
        encryption: Encryption,
        _: &PullProgress,
    ) -> Result<PulledImage, PullFailure> {
        assert_eq!(encryption, Encryption::Required);
        self.0.pulls.fetch_add(1, Ordering::SeqCst);
        if self.0.slow_pulls.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        Ok(PulledImage { rootfs: "/image".into() })
    }
}

#[async_trait]
impl FetchSecrets for Handle {
    /// Every resource is its own name.
    async fn fetch(&self, resource: &ResourceUri) -> Result<Secret, ApiError> {
        self.0.fetches.fetch_add(1, Ordering::SeqCst);
        if resource.path().tag() == "missing" {
            return Err(ApiError::new(Code::ResourceMissing, "no such resource"));
        }
        Ok(Secret::from(resource.path().tag().as_bytes().to_vec()))
    }
}

fn fail_as_told(times: &AtomicUsize) -> Result<(), ApiError> {
    match times.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)) {
        Ok(_) => Err(ApiError::new(Code::ContainerFailed, "as told")),
        Err(_) => Ok(()),
    }
}

#[async_trait]
impl Containers for Handle {
    async fn create(&self, spec: CreateSpec) -> Result<Created, ApiError> {
        self.0.creates.fetch_add(1, Ordering::SeqCst);
        fail_as_told(&self.0.fail_creates)?;
        self.0.begin(ProcessId::init(spec.id.clone()))?;
        let stdio = spec.stdio;
        self.0.specs.lock().unwrap().insert(spec.id.to_string(), spec);
        Ok(Created { pid: 100, stdio: echo(stdio) })
    }

    async fn start(&self, _: &ContainerId) -> Result<(), ApiError> {
        Ok(())
    }

    async fn exec(&self, spec: ExecSpec) -> Result<Created, ApiError> {
        self.0.execs.fetch_add(1, Ordering::SeqCst);
        if self.0.slow_execs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.0.exec_specs.lock().unwrap().insert(spec.exec.to_string(), spec.clone());
        let process = ProcessId::exec(spec.container, spec.exec);
        self.0.begin(process.clone())?;
        self.0.end(&process, 0);
        Ok(Created { pid: 101, stdio: echo(spec.stdio) })
    }

    async fn wait(&self, process: &ProcessId) -> Option<Exit> {
        let exit = self.0.processes.lock().unwrap().get(process).map(watch::Sender::subscribe);
        exit?.wait_for(Option::is_some).await.ok().and_then(|exit| *exit)
    }

    fn signal(&self, process: &ProcessId, number: u32, _: SignalScope) -> Result<(), ApiError> {
        self.0.end(process, 128 + number);
        Ok(())
    }

    async fn delete(&self, id: &ContainerId) -> Result<Exit, ApiError> {
        let process = ProcessId::init(id.clone());
        self.0.end(&process, 137);
        let removed = self.0.processes.lock().unwrap().remove(&process);
        let exit = removed.and_then(|exit| *exit.borrow());
        exit.ok_or_else(|| ApiError::new(Code::ContainerFailed, "unknown"))
    }

    fn delete_exec(&self, container: &ContainerId, exec: &ContainerId) -> Result<Exit, ApiError> {
        let process = ProcessId::exec(container.clone(), exec.clone());
        let removed = self.0.processes.lock().unwrap().remove(&process);
        let exit = removed.and_then(|exit| *exit.borrow());
        exit.ok_or_else(|| ApiError::new(Code::ContainerFailed, "unknown"))
    }

    fn resize(&self, _: &ProcessId, _: WindowSize) -> Result<(), ApiError> {
        Ok(())
    }

    fn pids(&self, _: &ContainerId) -> Result<Vec<u32>, ApiError> {
        Ok(vec![100])
    }

    fn stats(&self, _: &ContainerId) -> Result<Stats, ApiError> {
        Ok(Stats::default())
    }

    fn update(&self, id: &ContainerId, limits: Limits) -> Result<(), NotUpdated> {
        if let Some(is_undone) = self.0.fail_update.lock().unwrap().take() {
            let error = ApiError::new(Code::ContainerFailed, "as told");
            return Err(NotUpdated { error, is_undone });
        }
        self.0.limits.lock().unwrap().push((id.to_string(), limits));
        Ok(())
    }

    fn termination_message(&self, _: &ContainerId) -> Result<Vec<u8>, ApiError> {
        Ok(b"last words".to_vec())
    }

    async fn put_volume(&self, put: PutVolume) -> Result<(), ApiError> {
        tokio::task::yield_now().await;
        fail_as_told(&self.0.fail_puts)?;
        let files = put.files.into_iter().map(|f| (f.name.to_string(), f.content)).collect();
        self.0.volumes.lock().unwrap().insert(put.volume.to_string(), files);
        Ok(())
    }

    fn oom_events(&self) -> broadcast::Receiver<ContainerId> {
        self.0.oom.subscribe()
    }
}

impl Power for Handle {
    fn off(&self) {
        self.0.is_off.store(true, Ordering::SeqCst);
    }
}

/// A process that writes what it reads, in upper case.
fn echo(request: StdioRequest) -> Stdio {
    let StdioRequest::Pipes { stdin, stdout, stderr } = request else {
        panic!("the tests have no terminal")
    };
    let (to_stdin, mut input) = pipe::pipe().unwrap();
    let (mut output, from_stdout) = pipe::pipe().unwrap();
    let (_, from_stderr) = pipe::pipe().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 1000];
        while let Ok(count @ 1..) = input.read(&mut buffer).await {
            output.write_all(&buffer[..count].to_ascii_uppercase()).await.unwrap();
        }
    });
    Stdio::Pipes {
        stdin: stdin.then(|| to_stdin.into_nonblocking_fd().unwrap()),
        stdout: stdout.then(|| from_stdout.into_nonblocking_fd().unwrap()),
        stderr: stderr.then(|| from_stderr.into_nonblocking_fd().unwrap()),
    }
}

/// Where a test's hosts come in.
pub(crate) type Doors = mpsc::Sender<UnixStream>;

/// A transport whose connections the test makes.
pub(crate) fn transport() -> (Doors, impl Transport) {
    let (doors, connections) = mpsc::channel(4);
    (doors, Pairs(connections))
}

struct Pairs(mpsc::Receiver<UnixStream>);

#[async_trait]
impl Transport for Pairs {
    type Io = UnixStream;

    async fn accept(&mut self) -> io::Result<UnixStream> {
        self.0.recv().await.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}
