// SPDX-License-Identifier: Apache-2.0
//! A containerd of the world's own, with the runtime handlers `casemate` and `runc`.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;

use crate::artifacts::Artifacts;
use crate::daemon::Daemon;
use crate::pod::DEFAULT_HANDLER;
use crate::registry::Registry;
use crate::world;
use crate::world::World;

/// Which containerd runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// Debian 12's 1.6: one snapshotter for all of CRI.
    V1_6,
    /// 1.7: a snapshotter for each runtime.
    V1_7,
}

/// How containerd is set up.
#[derive(Debug)]
pub struct Settings<'a> {
    /// Which containerd.
    pub release: Release,
    /// The shim's configuration file.
    pub shim_config: &'a Path,
    /// A further name of the shim's runtime handler.
    pub class: Option<&'a str>,
}

/// A running containerd.
#[derive(Debug)]
pub struct Containerd {
    daemon: Daemon,
    start: Start,
}

/// What it takes to start it, and start it again.
#[derive(Debug, Clone)]
struct Start {
    program: PathBuf,
    config: PathBuf,
    path: String,
    logs: PathBuf,
}

impl Containerd {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// When its files cannot be written or it does not start.
    pub fn start(
        world: &World,
        artifacts: &Artifacts,
        registry: &Registry,
        settings: &Settings<'_>,
    ) -> anyhow::Result<Self> {
        let dir = world.root().join("containerd");
        let network = dir.join("net.d");
        fs::create_dir_all(&network).context("create CNI's directory")?;
        fs::write(network.join("10-casemate.conflist"), cni_config(&dir))
            .context("write CNI's configuration")?;
        trust_registry(&dir.join("certs.d"), &Registry::address(), registry)?;
        let tools = artifacts.tools();
        let config = dir.join("config.toml");
        let text = containerd_config(&dir, &tools, settings);
        fs::write(&config, text).context("write containerd's configuration")?;
        let bin = match settings.release {
            Release::V1_6 => tools.join("usr/bin"),
            Release::V1_7 => artifacts.newer_containerd().join("usr/bin"),
        };
        let shims = match std::env::var_os(RELEASE_SHIM) {
            Some(_) => artifacts.release_programs(),
            None => artifacts.programs().to_owned(),
        };
        let further = Self::further_shims(world);
        fs::create_dir_all(&further).context("create a directory")?;
        let path = [&shims, &bin, &tools.join("usr/sbin"), &further]
            .map(|dir| dir.display().to_string())
            .join(":");
        let start = Start {
            program: bin.join("containerd"),
            config,
            path: format!("{path}:{}", std::env::var("PATH").unwrap_or_default()),
            logs: world.logs(),
        };
        Ok(Self { daemon: start.run()?, start })
    }

    /// Ends containerd and starts it again, as an upgrade does; shims live on.
    ///
    /// # Errors
    ///
    /// When it does not end or start.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.daemon.stop()?;
        let _ = fs::remove_file(SOCKET);
        self.daemon = self.start.run()?;
        Ok(())
    }

    /// Lets this containerd find the images of another registry name in the world's registry.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn mirror(&self, world: &World, host: &str, registry: &Registry) -> anyhow::Result<()> {
        trust_registry(&world.root().join("containerd/certs.d"), host, registry)
    }

    /// Where containerd looks for shims beside the usual ones.
    #[must_use]
    pub fn further_shims(world: &World) -> PathBuf {
        world.root().join("shims")
    }

    /// The CRI socket.
    #[must_use]
    pub fn socket() -> &'static Path {
        Path::new(SOCKET)
    }

    /// The last lines of its output.
    #[must_use]
    pub fn log_end(&self) -> String {
        self.daemon.log_end()
    }
}

impl Start {
    fn run(&self) -> anyhow::Result<Daemon> {
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(&self.config).env("PATH", &self.path);
        Daemon::start("containerd", command, &self.logs, || {
            std::os::unix::net::UnixStream::connect(SOCKET).is_ok()
        })
    }
}

/// Set: containerd runs the shim that is built for release.
pub const RELEASE_SHIM: &str = "CASEMATE_RELEASE_SHIM";
/// Where the snapshotter listens.
pub const SNAPSHOTTER_SOCKET: &str = "/run/casemate/snapshotter.sock";
/// The image of the sandbox container.
pub const PAUSE_REPOSITORY: &str = "casemate/pause";

/// The handler of the shim that lies about images; its program is there when a test has put it there.
pub const LYING_HANDLER: &str = "lying";

const SHIM_TYPE: &str = "io.containerd.casemate.v2";
const LYING_SHIM_TYPE: &str = "io.containerd.lying.v2";
const SOCKET: &str = "/run/containerd/containerd.sock";

fn containerd_config(dir: &Path, tools: &Path, settings: &Settings<'_>) -> String {
    let (all, own) = match settings.release {
        Release::V1_6 => ("snapshotter = \"casemate\"", ""),
        Release::V1_7 => ("snapshotter = \"overlayfs\"", "snapshotter = \"casemate\""),
    };
    let dir = dir.display();
    let cri = "plugins.\"io.containerd.grpc.v1.cri\"";
    let runtimes = format!("{cri}.containerd.runtimes");
    let shim = settings.shim_config.display();
    let handler = |name: &str, shim_type: &str| {
        format!(
            "[{runtimes}.{name:?}]\nruntime_type = {shim_type:?}\npod_annotations = [\"io.casemate.*\"]\n{own}\n\
             [{runtimes}.{name:?}.options]\nConfigPath = \"{shim}\"\n"
        )
    };
    let mut handlers = handler(DEFAULT_HANDLER, SHIM_TYPE);
    handlers.push_str(&handler(LYING_HANDLER, LYING_SHIM_TYPE));
    if let Some(class) = settings.class.filter(|class| *class != DEFAULT_HANDLER) {
        handlers.push_str(&handler(class, SHIM_TYPE));
    }
    if settings.class != Some("runc") {
        handlers.push_str(&format!(
            "[{runtimes}.runc]\nruntime_type = \"io.containerd.runc.v2\"\n\
             [{runtimes}.runc.options]\nBinaryName = \"{}/usr/sbin/runc\"\n",
            tools.display()
        ));
    }
    format!(
        r#"version = 2
root = "{dir}/root"
state = "/run/containerd/state"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt"]
[grpc]
address = "{SOCKET}"
[debug]
level = "info"
[proxy_plugins.casemate]
type = "snapshot"
address = "{SNAPSHOTTER_SOCKET}"
[{cri}]
sandbox_image = "{registry}/{PAUSE_REPOSITORY}:latest"
restrict_oom_score_adj = true
disable_apparmor = true
stream_server_address = "127.0.0.1"
[{cri}.cni]
bin_dir = "{tools}/usr/lib/cni"
conf_dir = "{dir}/net.d"
[{cri}.registry]
config_path = "{dir}/certs.d"
[{cri}.containerd]
{all}
disable_snapshot_annotations = false
default_runtime_name = "casemate"
{handlers}"#,
        registry = Registry::address(),
        tools = tools.display(),
    )
}

fn cni_config(dir: &Path) -> String {
    format!(
        r#"{{"cniVersion": "0.4.0", "name": "casemate", "plugins": [
  {{"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false,
    "ipam": {{"type": "host-local", "dataDir": "{dir}/ipam",
              "ranges": [[{{"subnet": "{subnet}", "gateway": "{gateway}"}}]],
              "routes": [{{"dst": "0.0.0.0/0"}}]}}}}]}}
"#,
        dir = dir.display(),
        subnet = world::SUBNET,
        gateway = world::HOST_ADDRESS,
    )
}

fn trust_registry(certificates: &Path, host: &str, registry: &Registry) -> anyhow::Result<()> {
    let dir = certificates.join(host);
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let server = format!("https://{}", Registry::address());
    let text = format!(
        "server = \"{server}\"\n[host.\"{server}\"]\ncapabilities = [\"pull\", \"resolve\"]\nca = \"{}\"\n",
        registry.ca().display()
    );
    fs::write(dir.join("hosts.toml"), text).context("write containerd's registry file")
}
