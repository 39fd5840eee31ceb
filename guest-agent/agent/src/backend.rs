// SPDX-License-Identifier: Apache-2.0
//! What the service needs from the world, as traits: the guest has one implementation of each, the
//! tests another.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
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
use casemate_containers::WindowSize;
use casemate_kbs_protocol::ResourceUri;
use casemate_kbs_protocol::Secret;
use casemate_policy::Encryption;
use casemate_policy::ImageRef;
use tokio::sync::broadcast;

/// All of them.
#[derive(Clone)]
pub struct Parts {
    /// Sets the guest's network.
    pub network: Arc<dyn ApplyNetwork>,
    /// Attests the guest.
    pub attest: Arc<dyn Attest>,
    /// Pulls images.
    pub images: Arc<dyn PullImages>,
    /// Fetches secrets.
    pub secrets: Arc<dyn FetchSecrets>,
    /// Runs containers.
    pub containers: Arc<dyn Containers>,
    /// Ends the VM.
    pub power: Arc<dyn Power>,
}

/// Sets the guest's network.
#[async_trait]
pub trait ApplyNetwork: Send + Sync {
    /// Configures interfaces, routes, name resolution and hostname.
    ///
    /// # Errors
    ///
    /// When the kernel refuses or a device is missing; the network may be half set then.
    async fn apply(&self, network: &Network) -> Result<(), ApiError>;
}

/// Attests the guest.
#[async_trait]
pub trait Attest: Send + Sync {
    /// Attests once; repeats what may succeed on repetition.
    ///
    /// # Errors
    ///
    /// When the guest is not attested; that is final.
    async fn attest(&self) -> Result<(), ApiError>;

    /// Attests once more, for the head of the audit log: once, without repetition.
    ///
    /// # Errors
    ///
    /// When there is no new attestation; the old one is as good as it was.
    async fn refresh(&self) -> Result<(), ApiError> {
        self.attest().await
    }
}

/// Pulls images.
#[async_trait]
pub trait PullImages: Send + Sync {
    /// Pulls, verifies, decrypts and unpacks an image.
    ///
    /// # Errors
    ///
    /// [`PullFailure`]; nothing of the image is left then.
    async fn pull(
        &self,
        image: &ImageRef,
        encryption: Encryption,
        progress: &PullProgress,
    ) -> Result<PulledImage, PullFailure>;

    /// Checks that an image carries a signature of the key that the guest configuration has under
    /// this name.
    ///
    /// # Errors
    ///
    /// [`PullFailure`] if it does not. Who can check none refuses every image that needs one.
    async fn check_signature(&self, image: &ImageRef, signer: &str) -> Result<(), PullFailure> {
        let text = format!("{image} needs a signature of {signer:?}, and none can be checked here");
        Err(PullFailure { error: ApiError::new(Code::ImageSignature, text), is_transient: false })
    }
}

/// How far a pull is, for people.
pub type PullProgress = casemate_image_pull::Progress;

/// A pulled image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulledImage {
    /// Directory of its root file system.
    pub rootfs: PathBuf,
}

/// Why an image is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullFailure {
    /// What the host is told.
    pub error: ApiError,
    /// Whether the same pull may succeed later.
    pub is_transient: bool,
}

/// Fetches secrets under the guest's attested session.
#[async_trait]
pub trait FetchSecrets: Send + Sync {
    /// The content of a resource.
    ///
    /// # Errors
    ///
    /// When the broker does not give it.
    async fn fetch(&self, resource: &ResourceUri) -> Result<Secret, ApiError>;
}

/// Runs containers.
#[async_trait]
pub trait Containers: Send + Sync {
    /// Creates a container and leaves it before the start of its program.
    ///
    /// # Errors
    ///
    /// When it cannot be made; nothing of it is left then.
    async fn create(&self, spec: CreateSpec) -> Result<Created, ApiError>;

    /// Lets a created container's program run.
    ///
    /// # Errors
    ///
    /// When it is not in the state "created".
    async fn start(&self, id: &ContainerId) -> Result<(), ApiError>;

    /// Runs a command in a running container, at once.
    ///
    /// # Errors
    ///
    /// When the container does not run or the program cannot be run.
    async fn exec(&self, spec: ExecSpec) -> Result<Created, ApiError>;

    /// Waits for a process to end; `None` when it is unknown.
    async fn wait(&self, process: &ProcessId) -> Option<Exit>;

    /// Signals a process or every process of its container.
    ///
    /// # Errors
    ///
    /// When it is unknown or has ended.
    fn signal(&self, process: &ProcessId, number: u32, scope: SignalScope) -> Result<(), ApiError>;

    /// Removes a container, ending what still runs.
    ///
    /// # Errors
    ///
    /// When something stays; the call can be repeated then.
    async fn delete(&self, id: &ContainerId) -> Result<Exit, ApiError>;

    /// Forgets an exec that has ended.
    ///
    /// # Errors
    ///
    /// When it is unknown or runs.
    fn delete_exec(&self, container: &ContainerId, exec: &ContainerId) -> Result<Exit, ApiError>;

    /// Sets the size of a process's terminal.
    ///
    /// # Errors
    ///
    /// When it is unknown or has no terminal.
    fn resize(&self, process: &ProcessId, size: WindowSize) -> Result<(), ApiError>;

    /// Pids of a container's processes.
    ///
    /// # Errors
    ///
    /// When it is unknown.
    fn pids(&self, id: &ContainerId) -> Result<Vec<u32>, ApiError>;

    /// Figures of a container's cgroup.
    ///
    /// # Errors
    ///
    /// When it is unknown.
    fn stats(&self, id: &ContainerId) -> Result<Stats, ApiError>;

    /// Sets limits of a container; those that are not given stay.
    ///
    /// # Errors
    ///
    /// When they are not set.
    fn update(&self, id: &ContainerId, limits: Limits) -> Result<(), NotUpdated>;

    /// The end of what a container has written to its termination log.
    ///
    /// # Errors
    ///
    /// When it is unknown or the log cannot be read.
    fn termination_message(&self, id: &ContainerId) -> Result<Vec<u8>, ApiError>;

    /// Makes these files the content of a volume; they are written when this returns.
    ///
    /// # Errors
    ///
    /// When they are not; the volume is as it was then.
    async fn put_volume(&self, put: PutVolume) -> Result<(), ApiError>;

    /// Containers in which the kernel kills a process for want of memory, from now on.
    fn oom_events(&self) -> broadcast::Receiver<ContainerId>;
}

/// A container's limits are not set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotUpdated {
    /// What the host is told.
    pub error: ApiError,
    /// Whether the limits are those from before.
    pub is_undone: bool,
}

/// Ends the VM.
pub trait Power: Send + Sync {
    /// Writes back what is dirty and powers off; returns when that fails, or in a test.
    fn off(&self);
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}
