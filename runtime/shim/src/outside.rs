// SPDX-License-Identifier: Apache-2.0
//! What the pod's driver needs of the world, as traits, so that tests can stand in for it.

use std::path::Path;

use async_trait::async_trait;
use casemate_agent_api::ApiError;
use casemate_agent_api::Code;
use casemate_pod_network::NetworkError;
use casemate_vmm::Vmm;
use protobuf::well_known_types::any::Any;

pub use casemate_pod_network::PodNetwork as GuestNetwork;

/// The world outside of the shim.
pub struct Outside {
    /// Launches the VM.
    pub vmm: Box<dyn Vmm>,
    /// Joins the pod's network to the VM.
    pub network: Box<dyn PodNetworking>,
    /// Knows what an image's name stands for.
    pub images: Box<dyn Images>,
    /// Takes the task events.
    pub events: Box<dyn EventSink>,
}

/// Joins a pod's network namespace to a VM.
#[async_trait]
pub trait PodNetworking: Send + Sync {
    /// Makes the taps in `namespace`.
    ///
    /// # Errors
    ///
    /// With the code for the user.
    async fn attach(&self, namespace: &Path) -> Result<GuestNetwork, ApiError>;

    /// Removes what [`PodNetworking::attach`] made. Failures are logged.
    async fn detach(&self, namespace: &Path);
}

/// Knows which manifest an image's name resolved to on this host.
#[async_trait]
pub trait Images: Send + Sync {
    /// The digest (`sha256:…`) of the manifest for this platform.
    ///
    /// # Errors
    ///
    /// With the code for the user.
    async fn manifest_digest(&self, name: &str) -> Result<String, ApiError>;
}

/// Takes task events, in order. It never blocks.
pub trait EventSink: Send + Sync {
    /// Takes one event.
    fn publish(&self, topic: &'static str, event: Any);
}

/// The host's kernel: tap devices and traffic control.
#[derive(Debug, Clone, Copy, Default)]
pub struct KernelNetworking;

#[async_trait]
impl PodNetworking for KernelNetworking {
    async fn attach(&self, namespace: &Path) -> Result<GuestNetwork, ApiError> {
        let namespace = namespace.to_owned();
        tokio::task::spawn_blocking(move || casemate_pod_network::attach(&namespace))
            .await
            .unwrap_or_else(|join| Err(NetworkError::Thread { source: join.into() }))
            .map_err(|error| ApiError::new(Code::NetworkRefused, error))
    }

    async fn detach(&self, namespace: &Path) {
        let path = namespace.to_owned();
        let result = tokio::task::spawn_blocking(move || casemate_pod_network::detach(&path)).await;
        if let Ok(Err(error)) = result {
            tracing::warn!(%error, namespace = %namespace.display(), "pod network not removed");
        }
    }
}
