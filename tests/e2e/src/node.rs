// SPDX-License-Identifier: Apache-2.0
//! The node: software TEE, snapshotter, containerd with the shim, and pods on it.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;

use crate::artifacts::Artifacts;
use crate::containerd::Containerd;
use crate::containerd::PAUSE_REPOSITORY;
use crate::containerd::Release;
use crate::containerd::SNAPSHOTTER_SOCKET;
use crate::containerd::Settings;
use crate::cri::Cri;
use crate::daemon::Daemon;
use crate::hostile_qemu;
use crate::image;
use crate::kubelet::RunningPod;
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
    pub(crate) root: PathBuf,
    pub(crate) cgroup_parent: String,
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
    /// How long the agent may be silent.
    pub silence_seconds: u64,
}

impl Node {
    /// Starts the node. `class` is a RuntimeClass whose handler is the shim beside the usual one.
    ///
    /// # Errors
    ///
    /// When a daemon does not start.
    pub async fn start(
        world: &World,
        artifacts: &Artifacts,
        registry: &Registry,
        release: Release,
        class: Option<&str>,
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
        let settings = Settings { release, shim_config: &shim_config, class };
        let containerd = Containerd::start(world, artifacts, registry, &settings)?;
        let cri = Cri::connect(Containerd::socket()).await?;
        Ok(Self {
            containerd,
            cri,
            shim_config,
            artifacts: artifacts.clone(),
            root,
            cgroup_parent: world.cgroup_parent(),
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

    /// Where the shim keeps the audit log of a pod.
    #[must_use]
    pub fn audit_log(&self, pod: &str) -> PathBuf {
        audit_dir(&self.shim_config).join(format!("{pod}.log"))
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
            silence_seconds: 60,
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
        text.push_str(&format!(
            "audit_dir = {:?}\n[deadlines]\nboot_s = {}\nsilence_s = {}\n",
            audit_dir(path).display().to_string(),
            self.boot_seconds,
            self.silence_seconds
        ));
        fs::write(path, text).context("write the shim's configuration")
    }
}

/// The folder of audit logs for a shim with this configuration file.
fn audit_dir(shim_config: &Path) -> PathBuf {
    shim_config.with_file_name("audit")
}

/// `comm` of what a pod starts, 15 characters at most.
const POD_PROGRAMS: &[&str] = &["qemu-system-x86", "containerd-shim"];
/// Where the software TEE listens.
const TEE_SOCKET: &str = "/run/casemate/tee-sim.sock";
