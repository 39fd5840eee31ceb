// SPDX-License-Identifier: Apache-2.0
//! The node: software TEE, snapshotter, containerd with the shim, and pods on it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::bail;
use k8s_cri::v1::ContainerState;
use k8s_cri::v1::PodSandboxConfig;
use tonic::Status;

use crate::artifacts::Artifacts;
use crate::containerd::Containerd;
use crate::containerd::PAUSE_REPOSITORY;
use crate::containerd::Release;
use crate::containerd::SNAPSHOTTER_SOCKET;
use crate::cri::Cri;
use crate::daemon::Daemon;
use crate::hostile_qemu;
use crate::image;
use crate::pod::Container;
use crate::pod::Pod;
use crate::registry::Registry;
use crate::world;
use crate::world::World;

/// The software TEE of a world.
#[derive(Debug)]
pub struct SoftwareTee {
    chain: PathBuf,
    _daemon: Daemon,
}

impl SoftwareTee {
    /// Starts it; its keys are made once for the build folder, as for one install.
    ///
    /// # Errors
    ///
    /// When a command fails.
    pub fn start(world: &World, artifacts: &Artifacts) -> anyhow::Result<Self> {
        let program = artifacts.program("casemate-tee-sim")?;
        let keys = artifacts.worlds().with_file_name("tee-sim");
        let (program_text, keys_text) = (program.display().to_string(), keys.display().to_string());
        if !keys.exists() {
            world::run(&program_text, &["init", "--dir", &keys_text])?;
        }
        let chain = world.root().join("chain.pem");
        fs::write(&chain, world::run(&program_text, &["chain", "--dir", &keys_text])?)
            .context("write the certificate chain")?;
        let mut serve = Command::new(&program);
        serve.args(["serve", "--dir", &keys_text, "--socket", TEE_SOCKET]);
        let daemon =
            Daemon::start("tee-sim", serve, &world.logs(), || Path::new(TEE_SOCKET).exists())?;
        Ok(Self { chain, _daemon: daemon })
    }

    /// Its certificate chain, PEM.
    #[must_use]
    pub fn chain(&self) -> &Path {
        &self.chain
    }
}

/// Snapshotter, containerd and shim.
#[derive(Debug)]
pub struct Node {
    /// containerd.
    pub containerd: Containerd,
    /// CRI.
    pub cri: Cri,
    shim_config: PathBuf,
    artifacts: Artifacts,
    root: PathBuf,
    cgroup_parent: String,
    pods: u32,
    _snapshotter: Daemon,
}

/// What the shim's configuration of a world can differ in.
#[derive(Debug, Clone)]
pub struct ShimSettings {
    /// Guest image directory.
    pub guest_image: PathBuf,
    /// QEMU, or something that stands in its place.
    pub qemu: PathBuf,
    /// `sim`, `snp` or `tdx`.
    pub tee: String,
    /// How long a guest may take until its agent answers.
    pub boot_seconds: u64,
}

/// A pod that runs.
#[derive(Debug, Clone)]
pub struct RunningPod {
    /// Sandbox id.
    pub id: String,
    /// Its configuration.
    pub sandbox: PodSandboxConfig,
    /// Ids by container name.
    pub containers: BTreeMap<String, String>,
    uid: String,
}

impl Node {
    /// Starts the node.
    ///
    /// # Errors
    ///
    /// When a daemon does not start.
    pub async fn start(
        world: &World,
        artifacts: &Artifacts,
        registry: &Registry,
        release: Release,
    ) -> anyhow::Result<Self> {
        let root = world.root().join("node");
        fs::create_dir_all(&root).context("create the node's directory")?;
        let pause = image::make(
            &root.join("pause"),
            &image::Recipe { command: &["/bin/sleep", "2147483647"], ..image::Recipe::default() },
        )?;
        registry.push(&pause, PAUSE_REPOSITORY, "latest")?;
        let mut snapshotter = Command::new(artifacts.program("casemate-snapshotter")?);
        snapshotter
            .arg("--root")
            .arg(root.join("snapshots"))
            .args(["--socket", SNAPSHOTTER_SOCKET])
            .arg("--containerd")
            .arg(Containerd::socket());
        let snapshotter = Daemon::start("snapshotter", snapshotter, &world.logs(), || {
            Path::new(SNAPSHOTTER_SOCKET).exists()
        })?;
        let shim_config = root.join("shim.toml");
        let node_settings = ShimSettings::honest(artifacts);
        node_settings.write(&shim_config)?;
        let containerd = Containerd::start(world, artifacts, registry, release, &shim_config)?;
        let cri = Cri::connect(Containerd::socket()).await?;
        Ok(Self {
            containerd,
            cri,
            shim_config,
            artifacts: artifacts.clone(),
            root,
            cgroup_parent: world.cgroup_parent(),
            pods: 0,
            _snapshotter: snapshotter,
        })
    }

    /// Changes the shim's configuration for pods started from now on.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn configure(&self, change: impl FnOnce(&mut ShimSettings)) -> anyhow::Result<()> {
        let mut settings = ShimSettings::honest(&self.artifacts);
        change(&mut settings);
        settings.write(&self.shim_config)
    }

    /// Starts the pod's sandbox.
    ///
    /// # Errors
    ///
    /// What CRI answers.
    pub async fn start_sandbox(&mut self, pod: &Pod) -> Result<RunningPod, Status> {
        self.pods += 1;
        let uid = format!("{:08x}-{}", std::process::id(), self.pods);
        let sandbox = pod.sandbox(&uid, &self.cgroup_parent, &self.root.join("pods"));
        let id = self.cri.run_pod(&sandbox, pod.handler()).await?;
        Ok(RunningPod { id, sandbox, containers: BTreeMap::new(), uid })
    }

    /// Pulls a container's image, creates and starts it.
    ///
    /// # Errors
    ///
    /// What CRI answers.
    pub async fn start_container(
        &mut self,
        running: &mut RunningPod,
        pod: &Pod,
        name: &str,
    ) -> Result<String, Status> {
        let image = &container(pod, name)?.image;
        self.cri.pull(image, &running.sandbox).await?;
        self.create_and_start(running, pod, name).await
    }

    /// Creates and starts a container whose image is there.
    ///
    /// # Errors
    ///
    /// What CRI answers.
    pub async fn create_and_start(
        &mut self,
        running: &mut RunningPod,
        pod: &Pod,
        name: &str,
    ) -> Result<String, Status> {
        let config = container(pod, name)?
            .config(&self.root.join("kubelet").join(&running.uid))
            .map_err(|e| Status::internal(format!("{e:#}")))?;
        let id = self.cri.create(&running.id, &running.sandbox, &config).await?;
        self.cri.start(&id).await?;
        running.containers.insert(name.to_owned(), id.clone());
        Ok(id)
    }

    /// Ends containerd and starts it again, as an upgrade does.
    ///
    /// # Errors
    ///
    /// When it does not come back.
    pub async fn restart_containerd(&mut self) -> anyhow::Result<()> {
        self.containerd.restart()?;
        self.cri = Cri::connect(Containerd::socket()).await?;
        Ok(())
    }

    /// Starts a pod with all its containers, in order.
    ///
    /// # Errors
    ///
    /// What CRI answers. The sandbox is removed then.
    pub async fn start_pod(&mut self, pod: &Pod) -> Result<RunningPod, Status> {
        let mut running = self.start_sandbox(pod).await?;
        for container in &pod.spec.containers {
            if let Err(status) = self.start_container(&mut running, pod, &container.name).await {
                // The refusal is what the caller wants to see, whatever the clean-up says.
                let _ = self.cri.remove_pod(&running.id).await;
                return Err(status);
            }
        }
        Ok(running)
    }

    /// What a container wrote so far, stdout and stderr together.
    ///
    /// # Errors
    ///
    /// When the log cannot be read.
    pub fn log(&self, running: &RunningPod, name: &str) -> anyhow::Result<String> {
        let path = self.root.join("pods").join(&running.uid).join(format!("{name}.log"));
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        // "<time> <stream> <P|F> <text>"
        Ok(text
            .lines()
            .map(|line| {
                let mut fields = line.splitn(4, ' ').skip(2);
                let partial = fields.next() == Some("P");
                let content = fields.next().unwrap_or_default();
                if partial { content.to_owned() } else { format!("{content}\n") }
            })
            .collect())
    }

    /// Waits until a container's output satisfies `done`.
    ///
    /// # Errors
    ///
    /// When it does not within `limit`; the output so far is in the message.
    pub async fn wait_for_output(
        &self,
        running: &RunningPod,
        name: &str,
        limit: Duration,
        done: impl Fn(&str) -> bool,
    ) -> anyhow::Result<String> {
        let begun = Instant::now();
        loop {
            let text = self.log(running, name).unwrap_or_default();
            if done(&text) {
                return Ok(text);
            }
            if begun.elapsed() > limit {
                bail!("{name} has not written what was expected within {limit:?}, but: {text:?}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits for a container's end and returns its exit code.
    ///
    /// # Errors
    ///
    /// When it does not end within `limit`.
    pub async fn wait_for_exit(&mut self, id: &str, limit: Duration) -> anyhow::Result<i32> {
        let begun = Instant::now();
        loop {
            let status = self.cri.status(id).await.context("container status")?;
            if status.state() == ContainerState::ContainerExited {
                return Ok(status.exit_code);
            }
            if begun.elapsed() > limit {
                bail!("the container has not ended within {limit:?}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What removed pods have left behind: processes, state, network namespaces, cgroups.
    ///
    /// # Errors
    ///
    /// When /proc or a directory cannot be read.
    pub fn leftovers(&self) -> anyhow::Result<Vec<String>> {
        let mut found = Vec::new();
        // The world has a PID namespace of its own: every process here is the world's.
        for entry in fs::read_dir("/proc").context("read /proc")?.flatten() {
            let Ok(name) = fs::read_to_string(entry.path().join("comm")) else { continue };
            // What has ended and is not reaped has no command line: this process reaps no orphans.
            let runs = fs::read(entry.path().join("cmdline")).is_ok_and(|line| !line.is_empty());
            if runs && POD_PROGRAMS.iter().any(|program| name.trim_end() == *program) {
                found.push(format!(
                    "process {} {}",
                    entry.file_name().to_string_lossy(),
                    name.trim_end()
                ));
            }
        }
        for dir in ["/run/casemate", "/run/netns"] {
            for entry in fs::read_dir(dir).with_context(|| format!("read {dir}"))?.flatten() {
                let is_socket = entry.path().extension().is_some_and(|e| e == "sock");
                if !is_socket {
                    found.push(format!("file {}", entry.path().display()));
                }
            }
        }
        for hierarchy in world::cgroup_hierarchies()? {
            let parent = hierarchy.join(self.cgroup_parent.trim_start_matches('/'));
            for pod in fs::read_dir(parent).into_iter().flatten().flatten() {
                // kubelet makes and removes the pod's own cgroup; what is below is the runtime's.
                for entry in fs::read_dir(pod.path()).into_iter().flatten().flatten() {
                    if entry.path().is_dir() {
                        found.push(format!("cgroup {}", entry.path().display()));
                    }
                }
            }
        }
        Ok(found)
    }

    /// The shim's status file of a pod.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn shim_status(running: &RunningPod) -> anyhow::Result<serde_json::Value> {
        let path = Path::new("/run/casemate").join(&running.id).join("status.json");
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_str(&text).context("parse the shim's status")
    }

    /// Files of the node.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }
}

impl ShimSettings {
    /// The settings of an honest node.
    #[must_use]
    pub fn honest(artifacts: &Artifacts) -> Self {
        Self {
            guest_image: artifacts.guest_image("sim"),
            qemu: PathBuf::from(hostile_qemu::QEMU),
            tee: "sim".to_owned(),
            boot_seconds: 90,
        }
    }

    fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mut text = format!(
            "tee = {:?}\nguest_image = {:?}\nqemu = {:?}\n",
            self.tee,
            self.guest_image.display().to_string(),
            self.qemu.display().to_string(),
        );
        if self.tee == "sim" {
            text.push_str(&format!("tee_sim_socket = {TEE_SOCKET:?}\n"));
        }
        text.push_str(&format!("[deadlines]\nboot_s = {}\n", self.boot_seconds));
        fs::write(path, text).context("write the shim's configuration")
    }
}

fn container<'a>(pod: &'a Pod, name: &str) -> Result<&'a Container, Status> {
    let mut containers = pod.spec.containers.iter();
    containers
        .find(|c| c.name == name)
        .ok_or_else(|| Status::not_found(format!("the pod has no container {name}")))
}

/// `comm` of what a pod starts, 15 characters at most.
const POD_PROGRAMS: &[&str] = &["qemu-system-x86", "containerd-shim"];
/// Where the software TEE listens.
const TEE_SOCKET: &str = "/run/casemate/tee-sim.sock";
