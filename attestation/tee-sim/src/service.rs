// SPDX-License-Identifier: Apache-2.0
//! The service: launches over the control socket, reports over each VM's port.

use std::convert::Infallible;
use std::error::Error as _;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use casemate_attester::Report;
use casemate_attester::abi::{ReportRequest, build_refusal, build_response};
use casemate_evidence::snp::write_table;
use casemate_tee_sim_device::wire::{Kind, Request, Response};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::identity::{Identity, IdentityError};
use crate::measure::{MeasureError, PausedVm};
use crate::protocol::{Answer, Launch, MAX_REQUEST, RequestError};
use crate::report::{ReportFields, ReportVersion};

/// The software PSP of one machine.
pub struct Service {
    identity: Identity,
    version: ReportVersion,
    /// Private copies of guest memory live here for a moment.
    folder: PathBuf,
    slots: Arc<Semaphore>,
}

/// VMs at a time, as a PSP has a limited number of address space ids.
const MAX_VMS: usize = 1006;
/// Attaching, copying 4 MiB and folding take tens of milliseconds.
const LAUNCH_LIMIT: Duration = Duration::from_secs(20);
/// Before the next try to accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Invalid parameter (56860, status codes).
const INVALID_PARAM: u32 = 0x16;

/// Why a VM was not launched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchFailure {
    /// The request is refused.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The VM could not be measured.
    #[error(transparent)]
    Measure(#[from] MeasureError),
    /// The VM's port does not answer, or files failed.
    #[error("failed to reach the VM's port")]
    Port(#[from] io::Error),
    /// The chip failed.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The VM did not answer in time.
    #[error("the VM did not answer in time")]
    Deadline,
    /// All slots are taken.
    #[error("no more VMs at a time than {MAX_VMS}")]
    Full,
}

impl LaunchFailure {
    const fn code(&self) -> &'static str {
        match self {
            Self::Request(_) => "request.invalid",
            Self::Measure(MeasureError::NotPaused { .. }) => "vm.running",
            Self::Measure(_) => "vm.measure",
            Self::Port(_) => "vm.port",
            Self::Identity(_) => "psp.key",
            Self::Deadline => "vm.deadline",
            Self::Full => "psp.full",
        }
    }
}

impl From<&LaunchFailure> for Answer {
    fn from(failure: &LaunchFailure) -> Self {
        let mut message = failure.to_string();
        let mut source = failure.source();
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Self::Error { code: failure.code(), message }
    }
}

impl Service {
    /// A service with the keys of an installation; `folder` is for temporary files.
    #[must_use]
    pub fn new(identity: Identity, version: ReportVersion, folder: PathBuf) -> Self {
        Self { identity, version, folder, slots: Arc::new(Semaphore::new(MAX_VMS)) }
    }

    /// Serves until dropped. The socket is private to the user.
    ///
    /// # Errors
    ///
    /// When the socket cannot be made.
    pub async fn serve(self, socket: &Path) -> io::Result<Infallible> {
        // A socket left by a dead service; a file of another kind stays and makes bind fail.
        if UnixStream::connect(socket).await.is_err() && is_socket(socket) {
            fs::remove_file(socket)?;
        }
        let listener = UnixListener::bind(socket)?;
        fs::set_permissions(socket, fs::Permissions::from_mode(0o600))?;
        let service = Arc::new(self);
        loop {
            match listener.accept().await {
                Ok((connection, _)) => {
                    let service = Arc::clone(&service);
                    tokio::spawn(async move { service.handle(connection).await });
                }
                Err(error) => {
                    // Out of descriptors, for example: VMs that run keep their PSP.
                    tracing::warn!(%error, "failed to accept a launcher");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// One launcher, one VM.
    async fn handle(&self, connection: UnixStream) {
        let mut connection = BufReader::new(connection);
        let launched = match timeout(LAUNCH_LIMIT, self.launch(&mut connection)).await {
            Ok(launched) => launched,
            Err(_) => Err(LaunchFailure::Deadline),
        };
        let (answer, vm) = match launched {
            Ok(vm) => (Answer::Ok { launch_digest: hex::encode(vm.fields.measurement) }, Some(vm)),
            Err(failure) => {
                tracing::warn!(code = failure.code(), %failure, "VM not launched");
                (Answer::from(&failure), None)
            }
        };
        let Ok(mut line) = serde_json::to_vec(&answer) else { return };
        line.push(b'\n');
        let told = connection.get_mut().write_all(&line).await;
        if let (Ok(()), Some(vm)) = (told, vm) {
            let digest = hex::encode(vm.fields.measurement);
            tracing::info!(%digest, "VM launched");
            tokio::select! {
                () = self.answer_guest(vm) => {}
                () = closed(&mut connection) => {}
            }
            tracing::info!(%digest, "VM forgotten");
        }
    }

    async fn launch(
        &self,
        connection: &mut BufReader<UnixStream>,
    ) -> Result<LaunchedVm, LaunchFailure> {
        let mut line = Vec::new();
        connection.take(MAX_REQUEST).read_until(b'\n', &mut line).await?;
        let launch = Launch::parse(&line)?;
        let slot = Arc::clone(&self.slots).try_acquire_owned().map_err(|_| LaunchFailure::Full)?;
        let folder = tempfile::Builder::new()
            .prefix("vm.")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(&self.folder)?;
        let paused = PausedVm::measure(&launch, folder.path()).await?;
        let fields = ReportFields {
            policy: launch.policy,
            vmpl: 0,
            report_data: [0; 64],
            measurement: *paused.digest().as_bytes(),
            host_data: launch.host_data,
            report_id: self.identity.random()?,
        };
        let port = UnixStream::connect(&launch.psp).await?;
        paused.run().await?;
        Ok(LaunchedVm { fields, port, _slot: slot })
    }

    /// Answers until the guest breaks the protocol or its port closes.
    async fn answer_guest(&self, mut vm: LaunchedVm) {
        let mut bytes = [0; Request::LEN];
        while vm.port.read_exact(&mut bytes).await.is_ok() {
            let request = match Request::parse(&bytes) {
                Ok(request) => request,
                Err(error) => {
                    // E19: a guest that speaks otherwise is cut off.
                    tracing::warn!(%error, "guest broke the protocol");
                    return;
                }
            };
            let Ok(response) = self.respond(&vm.fields, request).to_bytes() else { return };
            if vm.port.write_all(&response).await.is_err() {
                return;
            }
        }
    }

    fn respond(&self, vm: &ReportFields, request: Request) -> Response {
        let response = match self.report(vm, &request.report()) {
            Ok(report) => build_response(&report),
            Err(status) => build_refusal(status),
        };
        let certificates = match request.kind() {
            Kind::Report => Vec::new(),
            Kind::ExtendedReport => write_table(self.identity.certificates()).unwrap_or_default(),
        };
        Response { firmware_error: 0, response: Box::new(response), certificates }
    }

    /// A signed report, or the status that the firmware would give.
    fn report(&self, vm: &ReportFields, request: &ReportRequest) -> Result<Report, u32> {
        let vmpl = request.vmpl.get();
        if vmpl > 3 || request.reserved != [0; 28] {
            return Err(INVALID_PARAM);
        }
        let fields = ReportFields { vmpl, report_data: request.user_data, ..vm.clone() };
        let report = fields.encode(self.identity.platform(), self.version);
        self.identity.sign(&report).map_err(|_| INVALID_PARAM)
    }
}

/// A VM that runs. What its reports say was fixed before.
struct LaunchedVm {
    fields: ReportFields,
    port: UnixStream,
    _slot: tokio::sync::OwnedSemaphorePermit,
}

/// Until the launcher closes its end; anything that it sends is ignored.
async fn closed(connection: &mut BufReader<UnixStream>) {
    let mut ignored = [0; 256];
    while matches!(connection.read(&mut ignored).await, Ok(1..)) {}
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
}
