// SPDX-License-Identifier: Apache-2.0
//! A pod in the room: the agent's service over the container runtime itself.

use std::error::Error;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use anyhow::ensure;
use async_trait::async_trait;
use casemate_agent::Audit;
use casemate_agent::Containers;
use casemate_agent::NotUpdated;
use casemate_agent::Parts;
use casemate_agent::PullFailure;
use casemate_agent::PullImages;
use casemate_agent::PullProgress;
use casemate_agent::PulledImage;
use casemate_agent_api::ApiError;
use casemate_agent_api::Code;
use casemate_agent_api::proto;
use casemate_agent_api::request::PutVolume;
use casemate_containers::ContainerId;
use casemate_containers::CreateSpec;
use casemate_containers::Created;
use casemate_containers::ExecSpec;
use casemate_containers::Exit;
use casemate_containers::Limits;
use casemate_containers::ProcessId;
use casemate_containers::Runtime;
use casemate_containers::RuntimeConfig;
use casemate_containers::SignalScope;
use casemate_containers::Stats;
use casemate_containers::VolumeFile;
use casemate_containers::WindowSize;
use casemate_policy::Encryption;
use casemate_policy::ImageRef;
use tokio::sync::broadcast;

use super::look;
use super::look::Process;
use crate::Context;
use crate::shim::EvilShim;
use crate::shim::World;
use crate::shim::deadline;
use crate::shim::requests;

/// The container runtime of this room, of which there is one.
pub(crate) struct Room {
    runtime: Runtime,
    image: PathBuf,
}

impl Room {
    /// Prepares the runtime and an image that it runs: busybox, and the programs of
    /// [`requests::POLICY`].
    pub(crate) async fn furnish() -> anyhow::Result<Self> {
        let image = Path::new(IMAGE);
        for folder in ["bin", "etc", "srv", "tmp"] {
            fs::create_dir_all(image.join(folder))?;
        }
        fs::copy(BUSYBOX, image.join("bin/busybox"))?;
        for (name, script) in [("web", SLEEPER), ("silent", SLEEPER), ("probe", PROBE)] {
            let program = image.join("bin").join(name);
            fs::write(&program, script)?;
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        }
        let config =
            RuntimeConfig { directory: PLACE.into(), cgroup: PathBuf::from("/hostile-host") };
        let runtime = Runtime::new(config).await.context("the container runtime")?;
        Ok(Self { runtime, image: image.to_owned() })
    }

    /// The same with another image.
    pub(crate) fn with_image(&self, image: &Path) -> Self {
        Self { runtime: self.runtime.clone(), image: image.to_owned() }
    }

    /// Folder of the unpacked image.
    pub(crate) fn image(&self) -> &str {
        self.image.to_str().unwrap_or_default()
    }

    /// A guest in phase "bound" whose containers are real, and a hostile host connected to it.
    pub(crate) async fn bound(&self, context: &Context, policy: &str) -> anyhow::Result<EvilShim> {
        let world = Arc::new(World::seen_by(look::leftovers));
        let real = Real { runtime: self.runtime.clone(), world: Arc::clone(&world) };
        let image = Arc::new(Image(self.image.clone()));
        let parts = Parts { containers: Arc::new(real), images: image, ..world.parts() };
        EvilShim::with_parts(context, policy, world, parts, Audit::unsealed()).await
    }

    /// The same, attested.
    pub(crate) async fn attested(
        &self,
        context: &Context,
        policy: &str,
    ) -> anyhow::Result<EvilShim> {
        self.bound(context, policy).await?.attest().await
    }

    /// The first process of a container.
    pub(crate) fn process(&self, id: &str) -> anyhow::Result<Process> {
        let pids = self.runtime.pids(&ContainerId::try_from(id)?)?;
        Ok(Process { pid: *pids.first().with_context(|| format!("{id} has no process"))? })
    }

    /// Ends a container; nothing of it stays.
    pub(crate) async fn delete(&self, id: &str) -> anyhow::Result<()> {
        self.runtime.delete(&ContainerId::try_from(id)?).await?;
        let path = Path::new(PLACE).join("bundles").join(id);
        ensure!(!path.exists(), "{} is left", path.display());
        Ok(())
    }

    /// Whether the runtime has made a container of this id.
    pub(crate) fn has(&self, id: &str) -> bool {
        ContainerId::try_from(id).is_ok_and(|id| self.runtime.pids(&id).is_ok())
    }

    /// Runs what a request asks for and gives its first process, started.
    pub(crate) async fn run(
        &self,
        shim: &EvilShim,
        request: &proto::CreateContainerRequest,
    ) -> anyhow::Result<Process> {
        shim.run(request).await?;
        // The program runs once its interpreter has been loaded.
        let process = self.process(&request.id)?;
        let running = shim.client.state(deadline(), &requests::process(&request.id, "")).await?;
        ensure!(running.state.enum_value() == Ok(proto::ProcessState::RUNNING), "{running:?}");
        Ok(process)
    }
}

/// Puts device nodes into a container, has its one granted command open them, and gives the names of
/// those that it could open.
pub(crate) async fn open_planted(
    shim: &EvilShim,
    container: &str,
    process: Process,
    nodes: &[(&str, u32, u32)],
) -> anyhow::Result<Vec<String>> {
    for (name, major, minor) in nodes {
        let path = format!("/proc/{}/root/dev/planted-{name}", process.pid);
        let kind = rustix::fs::FileType::CharacterDevice;
        let number = rustix::fs::makedev(*major, *minor);
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, 0o666.into(), number)?;
        // Whatever the mask: nothing but the filter stands against it.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
    }
    let mut probe = requests::probe("planted");
    probe.container_id = container.to_owned();
    shim.client.exec_process(deadline(), &probe).await.context("ExecProcess")?;
    let id = requests::process(container, "planted");
    shim.client.start(deadline(), &id).await.context("Start")?;
    let exit = shim.client.wait(deadline(), &id).await.context("Wait")?;
    ensure!(exit.code == 0, "the probe ends with {}", exit.code);
    let opened = String::from_utf8(process.read("/cache/opened")?)?;
    Ok(opened.lines().map(str::to_owned).collect())
}

/// A pod whose program is busybox itself, for images that hold no other: its policy and the request
/// for its container.
pub(crate) fn of_busybox(id: &str) -> (String, proto::CreateContainerRequest) {
    let argv = ["/bin/busybox", "sleep", "1000"];
    let words = argv.map(|word| format!("{word:?}")).join(", ");
    let policy = requests::POLICY.replace(r#""/bin/web", "--port", "80""#, &words);
    let argv = argv.map(str::to_owned).into();
    (policy, proto::CreateContainerRequest { argv, ..requests::web(id) })
}

/// The image that is there already.
struct Image(PathBuf);

#[async_trait]
impl PullImages for Image {
    async fn pull(
        &self,
        _: &ImageRef,
        _: Encryption,
        _: &PullProgress,
    ) -> Result<PulledImage, PullFailure> {
        Ok(PulledImage { rootfs: self.0.clone() })
    }
}

/// The runtime, behind the service's trait. The world counts what is asked of it.
struct Real {
    runtime: Runtime,
    world: Arc<World>,
}

fn failed(error: impl Error + Send + Sync + 'static) -> ApiError {
    ApiError::new(Code::ContainerFailed, format_args!("{:#}", anyhow::Error::new(error)))
}

#[async_trait]
impl Containers for Real {
    async fn create(&self, spec: CreateSpec) -> Result<Created, ApiError> {
        self.world.created(&spec);
        self.runtime.create(spec).await.map_err(failed)
    }

    async fn start(&self, id: &ContainerId) -> Result<(), ApiError> {
        self.runtime.start(id).await.map_err(failed)
    }

    async fn exec(&self, spec: ExecSpec) -> Result<Created, ApiError> {
        self.runtime.exec(spec).await.map_err(failed)
    }

    async fn wait(&self, process: &ProcessId) -> Option<Exit> {
        self.runtime.wait(process).await.ok()
    }

    fn signal(&self, process: &ProcessId, number: u32, scope: SignalScope) -> Result<(), ApiError> {
        self.runtime.signal(process, number, scope).map_err(failed)
    }

    async fn delete(&self, id: &ContainerId) -> Result<Exit, ApiError> {
        self.runtime.delete(id).await.map_err(failed)
    }

    fn delete_exec(&self, container: &ContainerId, exec: &ContainerId) -> Result<Exit, ApiError> {
        self.runtime.delete_exec(container, exec).map_err(failed)
    }

    fn resize(&self, process: &ProcessId, size: WindowSize) -> Result<(), ApiError> {
        self.runtime.resize(process, size).map_err(failed)
    }

    fn pids(&self, id: &ContainerId) -> Result<Vec<u32>, ApiError> {
        self.runtime.pids(id).map_err(failed)
    }

    fn stats(&self, id: &ContainerId) -> Result<Stats, ApiError> {
        self.runtime.stats(id).map_err(failed)
    }

    fn update(&self, id: &ContainerId, limits: Limits) -> Result<(), NotUpdated> {
        let updated = self.runtime.update(id, limits);
        updated.map_err(|error| NotUpdated { is_undone: false, error: failed(error) })
    }

    fn termination_message(&self, id: &ContainerId) -> Result<Vec<u8>, ApiError> {
        self.runtime.termination_message(id).map_err(failed)
    }

    async fn put_volume(&self, put: PutVolume) -> Result<(), ApiError> {
        let files = put.files.iter();
        let files = files.map(|f| VolumeFile { name: f.name.as_str(), content: &f.content });
        let files: Vec<_> = files.collect();
        self.runtime.volumes().put(put.volume.as_str(), &files).map(drop).map_err(failed)
    }

    fn oom_events(&self) -> broadcast::Receiver<ContainerId> {
        self.runtime.oom_events()
    }
}

/// Where the runtime keeps its things, and the cgroup of its containers.
pub(crate) const PLACE: &str = "/run/containers";
pub(crate) const CGROUPS: &str = "/sys/fs/cgroup/hostile-host";
pub(crate) const BUSYBOX: &str = "/bin/busybox";
/// The unpacked image.
pub(crate) const IMAGE: &str = "/tmp/image";
/// A program that stays.
const SLEEPER: &str = "#!/bin/busybox sh\nexec /bin/busybox sleep 1000\n";
/// A command that opens what was planted in /dev and tells what it could open.
const PROBE: &str = "#!/bin/busybox sh\n: >/cache/opened\nfor path in /dev/planted-*; do\n\
                     if (exec 3>$path) 2>/dev/null; then echo ${path##*-} >>/cache/opened; fi\n\
                     done\n";
