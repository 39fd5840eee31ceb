// SPDX-License-Identifier: Apache-2.0
//! A guest's puller in front of a hostile registry on loopback.

#[path = "../../../image-pull/unpack/tests/archive/mod.rs"]
pub(crate) mod archive;
#[path = "../../../image-pull/pull/tests/hostile_registry/registry.rs"]
pub(crate) mod registry;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use anyhow::ensure;
use async_trait::async_trait;
use casemate_agent_api::Code;
use casemate_image_crypt::Digest;
use casemate_image_crypt::Kek;
use casemate_image_crypt::Kid;
use casemate_image_pull::Credentials;
use casemate_image_pull::KeySource;
use casemate_image_pull::KeyUnavailable;
use casemate_image_pull::Limits;
use casemate_image_pull::NoKeys;
use casemate_image_pull::Progress;
use casemate_image_pull::PullError;
use casemate_image_pull::PullRequest;
use casemate_image_pull::PulledImage;
use casemate_image_pull::Puller;
use casemate_image_pull::Settings;
use casemate_image_pull::Timeouts;
use casemate_policy::Encryption;

use archive::Archive;
use registry::Ca;
use registry::Image;
use registry::KID;
use registry::Registry;
use registry::Reply;
use registry::Seen;
use registry::blob_path;

/// A guest that pulls, its pinned CA, and its empty directory.
pub(crate) struct Pulls {
    pub(crate) ca: Ca,
    directory: tempfile::TempDir,
    pub(crate) limits: Limits,
    pub(crate) timeouts: Timeouts,
    pub(crate) credentials: fn(&str) -> Vec<Credentials>,
    pub(crate) encryption: Encryption,
}

impl Pulls {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            ca: Ca::new(),
            directory: tempfile::tempdir()?,
            limits: Limits::default(),
            timeouts: Timeouts {
                connect: Duration::from_secs(5),
                idle: Duration::from_millis(400),
                document: Duration::from_secs(20),
                layer: Duration::from_secs(20),
                retry: Duration::from_millis(1),
            },
            credentials: |_| vec![],
            encryption: Encryption::Optional,
        })
    }

    /// Where the image would be.
    pub(crate) fn rootfs(&self) -> PathBuf {
        self.directory.path().join("rootfs")
    }

    /// A puller with `pinned` under this guest's CA.
    pub(crate) fn puller(&self, registry: &Registry, pinned: &[&str]) -> anyhow::Result<Puller> {
        let entry = |host: &&str| casemate_policy::Registry {
            host: (*host).to_owned(),
            location: None,
            ca: self.ca.pem.clone(),
        };
        Ok(Puller::new(Settings {
            registries: pinned.iter().map(entry).collect(),
            credentials: (self.credentials)(&registry.host),
            limits: self.limits,
            timeouts: self.timeouts,
            resolver: None,
        })?)
    }

    /// Pulls `digest` from `registry`, with `pinned` under this guest's CA. What fails leaves
    /// nothing behind, which is looked at here.
    pub(crate) async fn pull_with(
        &self,
        registry: &Registry,
        pinned: &[&str],
        digest: Digest,
        keys: &dyn KeySource,
    ) -> anyhow::Result<Result<PulledImage, PullError>> {
        let puller = self.puller(registry, pinned)?;
        let request = PullRequest {
            image: format!("{}/app@{digest}", registry.host).parse()?,
            encryption: self.encryption,
            destination: self.rootfs(),
        };
        let result = puller.pull(&request, keys, &Progress::default()).await;
        if result.is_err() {
            let left: Vec<_> = fs::read_dir(self.directory.path())?.collect();
            ensure!(left.is_empty(), "left behind: {left:?}");
        }
        Ok(result)
    }

    /// As [`Self::pull_with`], from a pinned registry and without keys.
    pub(crate) async fn pull(
        &self,
        registry: &Registry,
        digest: Digest,
    ) -> anyhow::Result<Result<PulledImage, PullError>> {
        self.pull_with(registry, &[&registry.host], digest, &NoKeys).await
    }

    /// Pulls `image` from a registry where `answer` comes before the honest one.
    pub(crate) async fn try_image(
        &self,
        image: &Image,
        answer: impl Fn(&Seen) -> Option<Reply> + Send + Sync + 'static,
    ) -> anyhow::Result<Result<PulledImage, PullError>> {
        let registry = Registry::start(&self.ca, image.content(), answer).await;
        self.pull(&registry, image.digest()).await
    }
}

/// The pull failed with this code.
pub(crate) fn refused(
    what: &str,
    code: Code,
    result: anyhow::Result<Result<PulledImage, PullError>>,
) -> anyhow::Result<PullError> {
    match result? {
        Ok(image) => bail!("{what}: pulled as {}", image.manifest_digest),
        Err(error) if error.code() == code => Ok(error),
        Err(error) => bail!("{what}: refused as {} ({error}), and not as {code}", error.code()),
    }
}

/// A source with one key.
pub(crate) struct OneKey(pub(crate) [u8; 32]);

#[async_trait]
impl KeySource for OneKey {
    async fn key(&self, kid: &Kid) -> Result<Kek, KeyUnavailable> {
        let unavailable = || KeyUnavailable {
            kid: kid.clone(),
            code: Code::ResourceDenied,
            reason: "no such key".to_owned(),
        };
        if kid.as_str() == KID {
            Kek::try_from(&self.0[..]).map_err(|_| unavailable())
        } else {
            Err(unavailable())
        }
    }
}

/// The lower layer of the image.
pub(crate) fn base() -> Vec<u8> {
    let passwd = "root:x:0:0::/:\nweb:x:33:33::/:\n";
    Archive::default().file("etc/passwd", passwd).file("bin/app", "old").finish()
}

/// Its upper layer.
pub(crate) fn app() -> Vec<u8> {
    Archive::default().file("bin/app", program()).finish()
}

/// Bytes that do not compress, so that a layer takes many reads.
pub(crate) fn program() -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..300_000).map(|_| next()).collect()
}

/// An image of two layers.
pub(crate) fn image() -> Image {
    Image::new().layer(&base()).layer(&app())
}

/// The same, encrypted.
pub(crate) fn encrypted(key: [u8; 32]) -> anyhow::Result<Image> {
    let kek = Kek::try_from(&key[..])?;
    Ok(Image::new().encrypted_layer(&base(), &kek).encrypted_layer(&app(), &kek))
}

/// Where the registry has an image's upper layer.
pub(crate) fn top_layer(image: &Image) -> String {
    let digest = image.layers.last().and_then(|layer| layer["digest"].as_str());
    blob_path(&digest.expect("a layer").parse().expect("a digest"))
}

/// Answers requests for one path.
pub(crate) fn at(
    path: String,
    reply: impl Fn(&Seen) -> Option<Reply> + Send + Sync + 'static,
) -> impl Fn(&Seen) -> Option<Reply> + Send + Sync + 'static {
    move |seen| if seen.path == path { reply(seen) } else { None }
}
