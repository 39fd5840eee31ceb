// SPDX-License-Identifier: Apache-2.0
//! What containerd's stores say about images: media types, chains, the configured user.

use std::collections::HashSet;
use std::path::PathBuf;

use containerd_client::services::v1::InfoRequest;
use containerd_client::services::v1::ListContentRequest;
use containerd_client::services::v1::ListImagesRequest;
use containerd_client::services::v1::ReadContentRequest;
use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::services::v1::snapshots::RemoveSnapshotRequest;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::tonic::Code;
use containerd_client::tonic::Request;
use containerd_client::tonic::Status;
use containerd_client::tonic::transport::Channel;
use containerd_client::with_namespace;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::chain::chain_ids;
use crate::error::Error;

/// containerd's API, as far as this snapshotter asks it.
#[derive(Debug, Clone)]
pub(crate) struct Containerd {
    socket: PathBuf,
}

/// An image manifest, as far as it matters here.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Manifest {
    config: Descriptor,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

/// An image index, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
}

/// An image configuration, as far as it matters here.
#[derive(Debug, Deserialize)]
struct ImageConfig {
    #[serde(default)]
    config: RunConfig,
    rootfs: RootFs,
}

#[derive(Debug, Default, Deserialize)]
struct RunConfig {
    #[serde(default, rename = "User")]
    user: Option<String>,
}

#[derive(Debug, Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Vec<String>,
}

/// A layer of an image with the chain that ends in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layer {
    /// Chain ID.
    pub(crate) chain: String,
    /// Digest of the blob.
    pub(crate) digest: String,
    /// Whether the media type says that it is encrypted.
    pub(crate) encrypted: bool,
}

/// An image as the content store holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    /// Layers, bottom first.
    pub(crate) layers: Vec<Layer>,
    /// USER of the configuration.
    pub(crate) user: String,
}

impl Containerd {
    /// containerd behind `socket`; nothing is connected yet.
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// The image with this manifest digest.
    ///
    /// # Errors
    ///
    /// When a blob is missing, over the cap or malformed.
    pub(crate) async fn image(&self, namespace: &str, manifest: &str) -> Result<Image, Error> {
        let manifest: Manifest = self.json(namespace, manifest).await?;
        let config: ImageConfig = self.json(namespace, &manifest.config.digest).await?;
        let chains = chain_ids(&config.rootfs.diff_ids);
        if chains.len() != manifest.layers.len() {
            return Err(Error::Blob {
                digest: manifest.config.digest,
                why: "no configuration for these layers",
            });
        }
        let layers = manifest
            .layers
            .into_iter()
            .zip(chains)
            .map(|(layer, chain)| Layer {
                chain,
                digest: layer.digest,
                encrypted: layer.media_type.ends_with("+encrypted"),
            })
            .collect();
        Ok(Image { layers, user: config.config.user.unwrap_or_default() })
    }

    /// Digests of all image manifests in the content store.
    ///
    /// # Errors
    ///
    /// When containerd does not answer.
    pub(crate) async fn manifests(&self, namespace: &str) -> Result<Vec<String>, Error> {
        // containerd labels a manifest with the digest of its configuration.
        let filter = "labels.\"containerd.io/gc.ref.content.config\"".to_owned();
        let request = ListContentRequest { filters: vec![filter] };
        let mut stream = ContentClient::new(self.channel().await?)
            .list(with_namespace!(request, namespace))
            .await
            .map_err(failed("content list"))?
            .into_inner();
        let mut digests = Vec::new();
        while let Some(part) = stream.message().await.map_err(failed("content list"))? {
            digests.extend(part.info.into_iter().map(|info| info.digest));
        }
        Ok(digests)
    }

    /// Whether the content store holds the blob.
    ///
    /// # Errors
    ///
    /// When containerd does not answer.
    pub(crate) async fn has_blob(&self, namespace: &str, digest: &str) -> Result<bool, Error> {
        let request = InfoRequest { digest: digest.to_owned() };
        let reply = ContentClient::new(self.channel().await?)
            .info(with_namespace!(request, namespace))
            .await;
        match reply {
            Ok(_) => Ok(true),
            Err(status) if status.code() == Code::NotFound => Ok(false),
            Err(status) => Err(failed("content info")(status)),
        }
    }

    /// Manifest digests of all finished images: a pull makes the image record last.
    ///
    /// # Errors
    ///
    /// When containerd does not answer.
    pub(crate) async fn finished(&self, namespace: &str) -> Result<HashSet<String>, Error> {
        let request = ListImagesRequest { filters: Vec::new() };
        let images = ImagesClient::new(self.channel().await?)
            .list(with_namespace!(request, namespace))
            .await
            .map_err(failed("image list"))?
            .into_inner()
            .images;
        let mut digests = HashSet::new();
        for target in images.into_iter().filter_map(|image| image.target) {
            if INDEX_TYPES.contains(&target.media_type.as_str()) {
                let index: Index = self.json(namespace, &target.digest).await?;
                digests.extend(index.manifests.into_iter().map(|d| d.digest));
            }
            digests.insert(target.digest);
        }
        Ok(digests)
    }

    /// Removes a snapshot from containerd's metadata; its content goes with the next collection.
    ///
    /// # Errors
    ///
    /// When containerd refuses, for example because the snapshot has children.
    pub(crate) async fn forget(
        &self,
        namespace: &str,
        snapshotter: &str,
        key: &str,
    ) -> Result<(), Error> {
        let request =
            RemoveSnapshotRequest { snapshotter: snapshotter.to_owned(), key: key.to_owned() };
        let reply = SnapshotsClient::new(self.channel().await?)
            .remove(with_namespace!(request, namespace))
            .await;
        match reply {
            Err(status) if status.code() != Code::NotFound => {
                Err(failed("snapshot remove")(status))
            }
            _ => Ok(()),
        }
    }

    async fn json<T: DeserializeOwned>(&self, namespace: &str, digest: &str) -> Result<T, Error> {
        let bytes = self.blob(namespace, digest).await?;
        serde_json::from_slice(&bytes)
            .map_err(|_| Error::Blob { digest: digest.to_owned(), why: "malformed" })
    }

    async fn blob(&self, namespace: &str, digest: &str) -> Result<Vec<u8>, Error> {
        let request = ReadContentRequest { digest: digest.to_owned(), ..Default::default() };
        let mut stream = ContentClient::new(self.channel().await?)
            .read(with_namespace!(request, namespace))
            .await
            .map_err(failed("content read"))?
            .into_inner();
        let mut bytes = Vec::new();
        while let Some(part) = stream.message().await.map_err(failed("content read"))? {
            if bytes.len().saturating_add(part.data.len()) > MAX_JSON_BLOB {
                return Err(Error::Blob { digest: digest.to_owned(), why: "too large" });
            }
            bytes.extend_from_slice(&part.data);
        }
        Ok(bytes)
    }

    async fn channel(&self) -> Result<Channel, Error> {
        containerd_client::connect(&self.socket)
            .await
            .map_err(|error| Error::Containerd { what: "connect", message: error.to_string() })
    }
}

fn failed(what: &'static str) -> impl Fn(Status) -> Error {
    move |status| Error::Containerd { what, message: status.message().to_owned() }
}

/// Manifests and configurations are small; registries accept manifests up to 4 MiB.
const MAX_JSON_BLOB: usize = 8 << 20;

const INDEX_TYPES: &[&str] = &[
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];
