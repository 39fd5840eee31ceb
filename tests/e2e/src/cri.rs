// SPDX-License-Identifier: Apache-2.0
//! A small CRI client: what kubelet does for one pod.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use hyper_util::rt::TokioIo;
use k8s_cri::v1::ContainerConfig;
use k8s_cri::v1::ContainerStatus;
use k8s_cri::v1::ContainerStatusRequest;
use k8s_cri::v1::CreateContainerRequest;
use k8s_cri::v1::ExecSyncRequest;
use k8s_cri::v1::ExecSyncResponse;
use k8s_cri::v1::ImageSpec;
use k8s_cri::v1::ImageStatusRequest;
use k8s_cri::v1::PodSandboxConfig;
use k8s_cri::v1::PodSandboxStatusRequest;
use k8s_cri::v1::PullImageRequest;
use k8s_cri::v1::RemoveContainerRequest;
use k8s_cri::v1::RemovePodSandboxRequest;
use k8s_cri::v1::RunPodSandboxRequest;
use k8s_cri::v1::StartContainerRequest;
use k8s_cri::v1::StopContainerRequest;
use k8s_cri::v1::StopPodSandboxRequest;
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use tokio::net::UnixStream;
use tonic::Status;
use tonic::transport::Channel;
use tonic::transport::Endpoint;
use tower::service_fn;

use crate::pod::ImageUser;

/// A connection to containerd's CRI service.
#[derive(Debug, Clone)]
pub struct Cri {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
}

impl Cri {
    /// Connects to the socket at `path`.
    ///
    /// # Errors
    ///
    /// When nobody listens there.
    pub async fn connect(path: &Path) -> anyhow::Result<Self> {
        let socket = path.to_owned();
        let channel = Endpoint::from_static("http://cri.invalid")
            // A pod under TCG takes a while; a hang must still end.
            .timeout(Duration::from_secs(240))
            .connect_with_connector(service_fn(move |_| {
                let socket = socket.clone();
                async move { UnixStream::connect(socket).await.map(TokioIo::new) }
            }))
            .await
            .with_context(|| format!("connect to {}", path.display()))?;
        Ok(Self {
            runtime: RuntimeServiceClient::new(channel.clone()),
            images: ImageServiceClient::new(channel),
        })
    }

    /// Pulls `image` as kubelet does for a pod.
    ///
    /// # Errors
    ///
    /// What containerd answers.
    pub async fn pull(&mut self, image: &str, pod: &PodSandboxConfig) -> Result<String, Status> {
        let request = PullImageRequest {
            image: Some(image_spec(image)),
            auth: None,
            sandbox_config: Some(pod.clone()),
        };
        Ok(self.images.pull_image(request).await?.into_inner().image_ref)
    }

    /// Starts a pod sandbox with the runtime handler and returns its id.
    ///
    /// # Errors
    ///
    /// What containerd answers; the shim's own message is in it.
    pub async fn run_pod(
        &mut self,
        config: &PodSandboxConfig,
        handler: &str,
    ) -> Result<String, Status> {
        let request = RunPodSandboxRequest {
            config: Some(config.clone()),
            runtime_handler: handler.to_owned(),
        };
        Ok(self.runtime.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id)
    }

    /// The user that an image's configuration names.
    ///
    /// # Errors
    ///
    /// What containerd answers, or that it has no such image.
    pub async fn image_user(&mut self, image: &str) -> Result<ImageUser, Status> {
        let request = ImageStatusRequest { image: Some(image_spec(image)), verbose: false };
        let reply = self.images.image_status(request).await?.into_inner();
        let image = reply.image.ok_or_else(|| Status::not_found(format!("no image {image}")))?;
        Ok(ImageUser { uid: image.uid.map(|uid| uid.value), name: image.username })
    }

    /// The pod's address.
    ///
    /// # Errors
    ///
    /// What containerd answers.
    pub async fn pod_ip(&mut self, id: &str) -> Result<String, Status> {
        let request = PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false };
        let reply = self.runtime.pod_sandbox_status(request).await?.into_inner();
        let network = reply.status.and_then(|status| status.network);
        network.map(|n| n.ip).ok_or_else(|| Status::internal("the pod has no address"))
    }

    /// Creates a container and returns its id.
    ///
    /// # Errors
    ///
    /// What containerd answers.
    pub async fn create(
        &mut self,
        pod_id: &str,
        pod: &PodSandboxConfig,
        container: &ContainerConfig,
    ) -> Result<String, Status> {
        let request = CreateContainerRequest {
            pod_sandbox_id: pod_id.to_owned(),
            config: Some(container.clone()),
            sandbox_config: Some(pod.clone()),
        };
        Ok(self.runtime.create_container(request).await?.into_inner().container_id)
    }

    /// Starts a created container.
    ///
    /// # Errors
    ///
    /// What containerd answers.
    pub async fn start(&mut self, id: &str) -> Result<(), Status> {
        self.runtime
            .start_container(StartContainerRequest { container_id: id.to_owned() })
            .await
            .map(drop)
    }

    /// Runs a command in a container and waits for its end.
    ///
    /// # Errors
    ///
    /// What containerd answers.
    pub async fn exec_sync(&mut self, id: &str, cmd: &[&str]) -> Result<ExecSyncResponse, Status> {
        let request = ExecSyncRequest {
            container_id: id.to_owned(),
            cmd: cmd.iter().map(|&arg| arg.to_owned()).collect(),
            timeout: 60,
        };
        Ok(self.runtime.exec_sync(request).await?.into_inner())
    }

    /// A container's status.
    ///
    /// # Errors
    ///
    /// What containerd answers.
    pub async fn status(&mut self, id: &str) -> Result<ContainerStatus, Status> {
        let request = ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        let reply = self.runtime.container_status(request).await?.into_inner();
        reply.status.ok_or_else(|| Status::internal("no status in the reply"))
    }

    /// Stops a container: its stop signal, and SIGKILL after `grace` seconds.
    ///
    /// # Errors
    ///
    /// What containerd answers.
    pub async fn stop(&mut self, id: &str, grace: u32) -> Result<(), Status> {
        let stop = StopContainerRequest { container_id: id.to_owned(), timeout: i64::from(grace) };
        self.runtime.stop_container(stop).await.map(drop)
    }

    /// Stops and removes a container.
    ///
    /// # Errors
    ///
    /// What containerd answers.
    pub async fn remove(&mut self, id: &str) -> Result<(), Status> {
        self.stop(id, 5).await?;
        let remove = RemoveContainerRequest { container_id: id.to_owned() };
        self.runtime.remove_container(remove).await.map(drop)
    }

    /// Stops and removes a pod with everything in it.
    ///
    /// # Errors
    ///
    /// What containerd answers.
    pub async fn remove_pod(&mut self, id: &str) -> Result<(), Status> {
        let stop = StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
        self.runtime.stop_pod_sandbox(stop).await?;
        let remove = RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
        self.runtime.remove_pod_sandbox(remove).await.map(drop)
    }

    /// The plain client, for what has no method of its own here.
    pub fn runtime(&mut self) -> &mut RuntimeServiceClient<Channel> {
        &mut self.runtime
    }

    /// The plain client of the image service.
    pub fn images(&mut self) -> &mut ImageServiceClient<Channel> {
        &mut self.images
    }
}

/// The image as CRI names it.
#[must_use]
pub fn image_spec(image: &str) -> ImageSpec {
    ImageSpec { image: image.to_owned(), ..ImageSpec::default() }
}
