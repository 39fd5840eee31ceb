// SPDX-License-Identifier: Apache-2.0
//! What the shim asks of containerd: which manifest an image's name stands for.

use std::time::Duration;

use async_trait::async_trait;
use casemate_agent_api::ApiError;
use casemate_agent_api::Code;
use containerd_client::services::v1::GetImageRequest;
use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::tonic;

use crate::outside::Images;

/// The image and content services of a containerd.
#[derive(Debug, Clone)]
pub struct ContainerdImages {
    /// Path of containerd's socket.
    pub address: String,
    /// containerd namespace, `k8s.io` for CRI.
    pub namespace: String,
}

#[async_trait]
impl Images for ContainerdImages {
    async fn manifest_digest(&self, name: &str) -> Result<String, ApiError> {
        tokio::time::timeout(DEADLINE, self.resolve(name))
            .await
            .unwrap_or(Err(ResolveError::Deadline))
            .map_err(|error| {
                let detail = format!("failed to ask containerd for the image {name:?}: {error}");
                ApiError::new(Code::ImageInvalid, detail)
            })
    }
}

impl ContainerdImages {
    async fn resolve(&self, name: &str) -> Result<String, ResolveError> {
        let socket = self.address.strip_prefix("unix://").unwrap_or(&self.address);
        let channel = containerd_client::connect(socket).await.map_err(Box::new)?;
        let request = self.request(GetImageRequest { name: name.to_owned() })?;
        let reply = ImagesClient::new(channel).get(request).await.map_err(Box::new)?;
        let target = reply.into_inner().image.and_then(|image| image.target);
        let target = target.ok_or(ResolveError::NoTarget)?;
        // An index too: the policy pins what the name resolves to, and so does containerd.
        Ok(target.digest)
    }

    fn request<T>(&self, message: T) -> Result<tonic::Request<T>, ResolveError> {
        let mut request = tonic::Request::new(message);
        let namespace = self.namespace.parse().map_err(|_| ResolveError::Namespace)?;
        request.metadata_mut().insert("containerd-namespace", namespace);
        Ok(request)
    }
}

/// Why a name does not become a digest.
#[derive(Debug, thiserror::Error)]
enum ResolveError {
    #[error("no answer within {} s", DEADLINE.as_secs())]
    Deadline,
    #[error("{0}")]
    Connect(#[from] Box<tonic::transport::Error>),
    #[error("{}", .0.message())]
    Status(#[from] Box<tonic::Status>),
    #[error("the namespace cannot stand in a request")]
    Namespace,
    #[error("the image has no target")]
    NoTarget,
}

/// containerd answers from its database, in milliseconds.
const DEADLINE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_absent_containerd_is_an_error_with_a_code() {
        let images = ContainerdImages {
            address: "/nonexistent/containerd.sock".to_owned(),
            namespace: "k8s.io".to_owned(),
        };
        let error = images.manifest_digest("docker.io/library/web:1").await.unwrap_err();
        assert_eq!(error.code(), Code::ImageInvalid);
        assert!(error.detail().contains("docker.io/library/web:1"), "{error}");
    }
}
