// SPDX-License-Identifier: Apache-2.0
//! The QEMU driver.

mod command_line;
mod monitor;

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::UnixStream;
use tokio::sync::OnceCell;
use tokio::time::timeout;

pub use command_line::{Platform, SNP_POLICY, Sockets, command_line};

use crate::config::{Acceleration, Tee, VmConfig};
use crate::error::Error;
use crate::image::{GuestImage, HashTable};
use crate::probe;
use crate::psp::{self, PspSession};
use crate::qmp::{Qmp, QmpError};
use crate::spawn::{Child, Handle, Plan, SpawnError};
use crate::vm::{Exit, LaunchDigest, Vm, Vmm};
use monitor::Monitor;

/// Starts VMs with QEMU.
#[derive(Debug, Default)]
pub struct QemuVmm {
    /// What the trial of KVM gave; asked once in the life of this value.
    acceleration: OnceCell<Acceleration>,
}

impl QemuVmm {
    /// A driver that knows nothing of the host yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    async fn acceleration(&self, config: &VmConfig, image: &GuestImage) -> Acceleration {
        match config.acceleration {
            Some(chosen) => chosen,
            None => {
                *self
                    .acceleration
                    .get_or_init(|| probe::acceleration(&config.qemu, &image.kernel))
                    .await
            }
        }
    }

    async fn prepare(&self, config: &VmConfig) -> Result<Prepared, Error> {
        // E21: what the TEE needs is checked before anything starts.
        let (hardware, psp) = match &config.tee {
            Tee::Snp => (Some(probe::snp()?), None),
            Tee::Tdx => (Some(probe::tdx()?), None),
            Tee::Sim { socket } => (None, Some(psp::connect(socket).await?)),
        };
        let image = GuestImage::open(&config.guest_image, config.vcpus)?;
        if let Some(platform) = hardware {
            return Ok(Prepared { image, platform, firmware_size: 0, psp });
        }
        let acceleration = self.acceleration(config, &image).await;
        let HashTable { address, bytes, firmware_size } = image.hash_table()?;
        let hash_table = config.runtime_dir.join("sev-hashes.bin");
        write_private(&hash_table, &bytes)?;
        let platform = Platform::Sim { acceleration, hash_table, hash_table_address: address };
        Ok(Prepared { image, platform, firmware_size, psp })
    }
}

/// A launch whose files are checked and written.
struct Prepared {
    image: GuestImage,
    platform: Platform,
    firmware_size: u64,
    /// The software PSP, which waits for the launch.
    psp: Option<UnixStream>,
}

#[async_trait]
impl Vmm for QemuVmm {
    async fn launch(&self, config: &VmConfig) -> Result<Box<dyn Vm>, Error> {
        let prepared = self.prepare(config).await?;
        let sockets = Sockets::in_folder(&config.runtime_dir);
        let arguments = command_line(config, &prepared.image, &sockets, &prepared.platform)?;
        let vm = start(config, &arguments, sockets, prepared).await?;
        tracing::info!(vm = config.name.as_str(), pid = vm.pid(), "VM runs");
        Ok(Box::new(vm))
    }
}

/// QEMU answers within a second; on a loaded machine it may take some.
const START_LIMIT: Duration = Duration::from_secs(30);
/// The software PSP folds a digest in tens of milliseconds.
const PSP_LIMIT: Duration = Duration::from_secs(30);

async fn start(
    config: &VmConfig,
    arguments: &[String],
    sockets: Sockets,
    prepared: Prepared,
) -> Result<QemuVm, Error> {
    let (ours, theirs) = control_pair()?;
    let plan = Plan {
        program: &config.qemu,
        arguments,
        control: theirs.into(),
        network_namespace: config.network.as_ref().map(|network| network.namespace.as_path()),
        cgroups: &config.cgroups,
    };
    // From here on a return or a drop kills QEMU.
    let mut child = Child::spawn(plan).await.map_err(spawn_error)?;
    let negotiated = timeout(START_LIMIT, Qmp::negotiate(ours)).await;
    let mut qmp = match negotiated {
        Ok(Ok(qmp)) => qmp,
        Ok(Err(error)) => return Err(why(error, &mut child).await),
        Err(_) => return Err(Error::Deadline { limit: START_LIMIT, step: "starting" }),
    };
    let psp = match prepared.psp {
        Some(connection) => {
            let size = prepared.firmware_size;
            let launch = psp::launch(connection, &sockets, size, &config.host_data);
            match timeout(PSP_LIMIT, launch).await {
                Ok(session) => Some(session?),
                Err(_) => {
                    return Err(Error::Deadline { limit: PSP_LIMIT, step: "being measured" });
                }
            }
        }
        None => {
            if let Err(error) = qmp.cont().await {
                return Err(why(error, &mut child).await);
            }
            None
        }
    };
    let handle = child.handle();
    let monitor = Monitor::start(qmp, child);
    Ok(QemuVm { handle, monitor, agent: sockets.agent, psp })
}

/// A control connection that ends because QEMU did: QEMU's own words say more.
async fn why(error: QmpError, child: &mut Child) -> Error {
    child.handle().kill();
    match (error, timeout(START_LIMIT, child.wait()).await) {
        (QmpError::Closed | QmpError::Io(_), Ok(detail)) => Error::Ended { detail },
        (error, _) => error.into(),
    }
}

fn control_pair() -> Result<(UnixStream, StdUnixStream), Error> {
    let pair = || {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        Ok((UnixStream::from_std(ours)?, theirs))
    };
    pair().map_err(|source: std::io::Error| Error::Qmp(source.into()))
}

fn spawn_error(error: SpawnError) -> Error {
    let SpawnError { action, path, source } = error;
    match action {
        "start" => Error::Spawn { program: path, source },
        _ => Error::File { action, path, source },
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(|source| Error::File { action: "write", path: path.to_owned(), source })
}

/// A VM in a QEMU process.
struct QemuVm {
    handle: Handle,
    monitor: Monitor,
    agent: PathBuf,
    psp: Option<PspSession>,
}

#[async_trait]
impl Vm for QemuVm {
    fn pid(&self) -> u32 {
        self.handle.pid()
    }

    fn launch_digest(&self) -> Option<LaunchDigest> {
        self.psp.as_ref().map(|session| session.digest)
    }

    async fn connect_agent(&self) -> Result<UnixStream, Error> {
        UnixStream::connect(&self.agent)
            .await
            .map_err(|source| Error::AgentSocket { path: self.agent.clone(), source })
    }

    async fn wait(&self) -> Exit {
        self.monitor.wait().await
    }

    fn kill(&self) {
        self.monitor.expect_end();
        self.handle.kill();
    }

    async fn quit(&self, deadline: Duration) -> Exit {
        self.monitor.quit();
        match timeout(deadline, self.monitor.wait()).await {
            Ok(exit) => exit,
            Err(_) => {
                self.handle.kill();
                self.monitor.wait().await
            }
        }
    }
}

impl Drop for QemuVm {
    fn drop(&mut self) {
        self.kill();
    }
}
