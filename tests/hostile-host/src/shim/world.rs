// SPDX-License-Identifier: Apache-2.0
//! A guest's world without a kernel: it counts what the agent does to it. Containers are tasks that
//! echo their input in upper case.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
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
use tokio::net::unix::pipe;
use tokio::sync::broadcast;
use tokio::sync::watch;

/// Everything outside the service.
pub(crate) struct World {
    state: Mutex<State>,
    processes: Mutex<HashMap<ProcessId, watch::Sender<Option<Exit>>>>,
    oom: broadcast::Sender<ContainerId>,
    /// What attesting ends with.
    pub(crate) attestation: Mutex<Result<(), ApiError>>,
    failing_creates: Mutex<usize>,
    ignores_signals: AtomicBool,
    /// What containers::create waits for, so that tests can look in between.
    pub(crate) create_gate: tokio::sync::Semaphore,
    /// Where containers are real: what is there beside them.
    look: Option<fn() -> Vec<String>>,
}

#[derive(Default)]
struct State {
    effects: Effects,
    specs: BTreeMap<String, CreateSpec>,
    execs: Vec<ExecSpec>,
    creating: usize,
    overlapped: bool,
}

/// What the agent has done to the world: the side effects of the host's requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Effects {
    /// How often each kind of change was made.
    pub(crate) counts: BTreeMap<&'static str, usize>,
    /// Processes that have not ended.
    pub(crate) alive: Vec<String>,
    /// Mounts and files, where they are real.
    pub(crate) files: Vec<String>,
}

impl Effects {
    pub(crate) fn count(&self, kind: &str) -> usize {
        self.counts.get(kind).copied().unwrap_or_default()
    }
}

impl Default for World {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            processes: Mutex::default(),
            oom: broadcast::channel(8).0,
            attestation: Mutex::new(Ok(())),
            failing_creates: Mutex::default(),
            ignores_signals: AtomicBool::new(false),
            create_gate: tokio::sync::Semaphore::new(1 << 20),
            look: None,
        }
    }
}

impl World {
    /// A world with real containers beside it, whose traces `look` finds.
    pub(crate) fn seen_by(look: fn() -> Vec<String>) -> Self {
        Self { look: Some(look), ..Self::default() }
    }

    /// A container is about to be made of this.
    pub(crate) fn created(&self, spec: &CreateSpec) {
        self.count("create");
        self.state().specs.insert(spec.id.to_string(), spec.clone());
    }

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

    pub(crate) fn effects(&self) -> Effects {
        let mut effects = self.state().effects.clone();
        let processes = lock(&self.processes);
        let alive = processes.iter().filter(|(_, exit)| exit.borrow().is_none());
        effects.alive = alive.map(|(id, _)| format!("{id:?}")).collect();
        effects.alive.sort();
        effects.files = self.look.map(|look| look()).unwrap_or_default();
        effects
    }

    /// What a container was made of.
    pub(crate) fn spec(&self, id: &str) -> Option<CreateSpec> {
        self.state().specs.get(id).cloned()
    }

    /// The commands that were run in containers, in their order.
    pub(crate) fn execs(&self) -> Vec<ExecSpec> {
        self.state().execs.clone()
    }

    /// Whether two creates were ever under way at once.
    pub(crate) fn has_overlapped(&self) -> bool {
        self.state().overlapped
    }

    /// A container's first process ends by itself.
    pub(crate) fn exit(&self, id: &str, code: u32) {
        let id = ContainerId::try_from(id).expect("an id of the test");
        self.end(&ProcessId::init(id), code);
    }

    /// The next creates fail in the runtime.
    pub(crate) fn fail_creates(&self, count: usize) {
        *lock(&self.failing_creates) = count;
    }

    /// Programs handle their signals and go on.
    pub(crate) fn ignore_signals(&self) {
        self.ignores_signals.store(true, Ordering::SeqCst);
    }

    /// Counts, and says how often it was counted before.
    fn count_of(&self, kind: &'static str) -> u64 {
        let before = self.state().effects.count(kind);
        self.count(kind);
        before as u64
    }

    fn count(&self, kind: &'static str) {
        *self.state().effects.counts.entry(kind).or_default() += 1;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn end(&self, process: &ProcessId, code: u32) {
        if let Some(exit) = lock(&self.processes).get(process) {
            exit.send_if_modified(|slot| {
                let first = slot.is_none();
                slot.get_or_insert(Exit { code, at: SystemTime::now() });
                first
            });
        }
    }

    fn begin(&self, process: ProcessId) -> Result<(), ApiError> {
        let replaced = lock(&self.processes).insert(process, watch::Sender::new(None));
        replaced.map_or(Ok(()), |_| Err(ApiError::new(Code::ContainerFailed, "exists")))
    }

    fn remove(&self, process: &ProcessId) -> Result<Exit, ApiError> {
        let removed = lock(&self.processes).remove(process);
        let exit = removed.and_then(|exit| *exit.borrow());
        exit.ok_or_else(|| ApiError::new(Code::ContainerFailed, "unknown"))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Handle(Arc<World>);

#[async_trait]
impl ApplyNetwork for Handle {
    async fn apply(&self, _: &Network) -> Result<(), ApiError> {
        self.0.count("network");
        tokio::task::yield_now().await;
        Ok(())
    }
}

#[async_trait]
impl Attest for Handle {
    async fn attest(&self) -> Result<(), ApiError> {
        lock(&self.0.attestation).clone()
    }
}

#[async_trait]
impl PullImages for Handle {
    async fn pull(
        &self,
        _: &ImageRef,
        _: Encryption,
        _: &PullProgress,
    ) -> Result<PulledImage, PullFailure> {
        Ok(PulledImage { rootfs: "/image".into() })
    }
}

#[async_trait]
impl FetchSecrets for Handle {
    async fn fetch(&self, _: &ResourceUri) -> Result<Secret, ApiError> {
        self.0.count("secret");
        Err(ApiError::new(Code::ResourceMissing, "there is none"))
    }
}

#[async_trait]
impl Containers for Handle {
    async fn create(&self, spec: CreateSpec) -> Result<Created, ApiError> {
        self.0.count("create");
        {
            let mut state = self.0.state();
            state.creating += 1;
            state.overlapped |= state.creating > 1;
        }
        if let Ok(permit) = self.0.create_gate.acquire().await {
            permit.forget();
        }
        tokio::task::yield_now().await;
        self.0.state().creating -= 1;
        {
            let mut failing = lock(&self.0.failing_creates);
            if *failing > 0 {
                *failing -= 1;
                return Err(ApiError::new(Code::ContainerFailed, "as told"));
            }
        }
        self.0.begin(ProcessId::init(spec.id.clone()))?;
        let stdio = spec.stdio;
        self.0.state().specs.insert(spec.id.to_string(), spec);
        Ok(Created { pid: 100, stdio: echo(stdio) })
    }

    async fn start(&self, _: &ContainerId) -> Result<(), ApiError> {
        self.0.count("start");
        Ok(())
    }

    async fn exec(&self, spec: ExecSpec) -> Result<Created, ApiError> {
        self.0.count("exec");
        self.0.state().execs.push(spec.clone());
        let process = ProcessId::exec(spec.container, spec.exec);
        self.0.begin(process.clone())?;
        self.0.end(&process, 0);
        Ok(Created { pid: 101, stdio: echo(spec.stdio) })
    }

    async fn wait(&self, process: &ProcessId) -> Option<Exit> {
        let exit = lock(&self.0.processes).get(process).map(watch::Sender::subscribe);
        exit?.wait_for(Option::is_some).await.ok().and_then(|exit| *exit)
    }

    fn signal(&self, process: &ProcessId, number: u32, _: SignalScope) -> Result<(), ApiError> {
        self.0.count("signal");
        if !self.0.ignores_signals.load(Ordering::SeqCst) {
            self.0.end(process, 128 + number);
        }
        Ok(())
    }

    async fn delete(&self, id: &ContainerId) -> Result<Exit, ApiError> {
        self.0.count("delete");
        let process = ProcessId::init(id.clone());
        self.0.end(&process, 137);
        self.0.remove(&process)
    }

    fn delete_exec(&self, container: &ContainerId, exec: &ContainerId) -> Result<Exit, ApiError> {
        self.0.count("delete");
        self.0.remove(&ProcessId::exec(container.clone(), exec.clone()))
    }

    fn resize(&self, _: &ProcessId, _: WindowSize) -> Result<(), ApiError> {
        self.0.count("resize");
        Ok(())
    }

    fn pids(&self, _: &ContainerId) -> Result<Vec<u32>, ApiError> {
        Ok(vec![100])
    }

    fn stats(&self, _: &ContainerId) -> Result<Stats, ApiError> {
        let beats = 1 + self.0.count_of("stats");
        // One page and some microseconds more each time.
        Ok(Stats {
            cpu_usage_usec: 123_457 + beats,
            memory_usage: (7 << 20) + 4096 * beats,
            memory_anon: (3 << 20) + 4096 * beats,
            memory_pgfault: 1000 + beats,
            ..Stats::default()
        })
    }

    fn update(&self, _: &ContainerId, _: Limits) -> Result<(), NotUpdated> {
        self.0.count("update");
        Ok(())
    }

    fn termination_message(&self, _: &ContainerId) -> Result<Vec<u8>, ApiError> {
        Ok(b"last words".to_vec())
    }

    async fn put_volume(&self, _: PutVolume) -> Result<(), ApiError> {
        self.0.count("put");
        Ok(())
    }

    fn oom_events(&self) -> broadcast::Receiver<ContainerId> {
        self.0.oom.subscribe()
    }
}

impl Power for Handle {
    fn off(&self) {
        self.0.count("off");
    }
}

/// A process that writes what it reads, in upper case.
fn echo(request: StdioRequest) -> Stdio {
    let (stdin, stdout, stderr) = match request {
        StdioRequest::Pipes { stdin, stdout, stderr } => (stdin, stdout, stderr),
        // The double of a terminal: pipes, as nothing here looks at its settings.
        StdioRequest::Terminal(_) => (true, true, false),
    };
    let (to_stdin, mut input) = pipe::pipe().expect("a pipe");
    let (mut output, from_stdout) = pipe::pipe().expect("a pipe");
    let (_, from_stderr) = pipe::pipe().expect("a pipe");
    tokio::spawn(async move {
        let mut buffer = [0; 1000];
        while let Ok(count @ 1..) = input.read(&mut buffer).await {
            if output.write_all(&buffer[..count].to_ascii_uppercase()).await.is_err() {
                return;
            }
        }
    });
    Stdio::Pipes {
        stdin: stdin.then(|| to_stdin.into_nonblocking_fd().expect("a pipe")),
        stdout: stdout.then(|| from_stdout.into_nonblocking_fd().expect("a pipe")),
        stderr: stderr.then(|| from_stderr.into_nonblocking_fd().expect("a pipe")),
    }
}
