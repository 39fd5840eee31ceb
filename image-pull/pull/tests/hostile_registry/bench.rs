// SPDX-License-Identifier: Apache-2.0
//! What the tests share: a puller's surroundings and an image.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

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

use crate::archive::Archive;
use crate::registry::Ca;
use crate::registry::Image;
use crate::registry::KID;
use crate::registry::Registry;
use crate::registry::Reply;
use crate::registry::Seen;
use crate::registry::blob_path;

/// One test's authority and directory.
pub struct Bench {
    pub ca: Ca,
    pub directory: tempfile::TempDir,
    pub limits: Limits,
    pub timeouts: Timeouts,
    pub credentials: fn(&str) -> Vec<Credentials>,
    pub encryption: Encryption,
}

impl Bench {
    pub fn new() -> Self {
        Self {
            ca: Ca::new(),
            directory: tempfile::tempdir().unwrap(),
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
        }
    }

    pub fn rootfs(&self) -> PathBuf {
        self.directory.path().join("rootfs")
    }

    pub fn puller(&self, hosts: &[&str]) -> Puller {
        let registry = |host: &&str| casemate_policy::Registry {
            host: (*host).to_owned(),
            location: None,
            ca: self.ca.pem.clone(),
        };
        Puller::new(Settings {
            registries: hosts.iter().map(registry).collect(),
            credentials: (self.credentials)(hosts[0]),
            limits: self.limits,
            timeouts: self.timeouts,
            resolver: None,
        })
        .unwrap()
    }

    pub async fn pull_with(
        &self,
        registry: &Registry,
        others: &[&str],
        digest: Digest,
        keys: &dyn KeySource,
    ) -> Result<PulledImage, PullError> {
        let hosts = [&[registry.host.as_str()], others].concat();
        let request = PullRequest {
            image: format!("{}/app@{digest}", registry.host).parse().unwrap(),
            encryption: self.encryption,
            destination: self.rootfs(),
        };
        let result = self.puller(&hosts).pull(&request, keys, &Progress::default()).await;
        // Nothing half-made stays behind.
        let names = fs::read_dir(self.directory.path()).unwrap().count();
        assert_eq!(names, usize::from(result.is_ok()));
        result
    }

    pub async fn pull(
        &self,
        registry: &Registry,
        digest: Digest,
    ) -> Result<PulledImage, PullError> {
        self.pull_with(registry, &[], digest, &NoKeys).await
    }

    /// Pulls `image` from a registry where `handler` comes first.
    pub async fn try_image(
        &self,
        image: &Image,
        handler: impl Fn(&Seen) -> Option<Reply> + Send + Sync + 'static,
    ) -> Result<PulledImage, PullError> {
        let registry = Registry::start(&self.ca, image.content(), handler).await;
        self.pull(&registry, image.digest()).await
    }

    #[track_caller]
    pub fn check_content(&self) {
        assert_eq!(fs::read(self.rootfs().join("bin/app")).unwrap(), program());
    }
}

/// A key source with one key.
pub struct OneKey(pub [u8; 32]);

#[async_trait]
impl KeySource for OneKey {
    async fn key(&self, kid: &Kid) -> Result<Kek, KeyUnavailable> {
        if kid.as_str() == KID {
            return Ok(Kek::try_from(self.0.as_slice()).unwrap());
        }
        let reason = "no such key".to_owned();
        Err(KeyUnavailable { kid: kid.clone(), code: Code::ResourceDenied, reason })
    }
}

/// Bytes that do not compress, so that a layer takes many reads.
pub fn program() -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..300_000).map(|_| next()).collect()
}

pub fn base() -> Vec<u8> {
    let passwd = "root:x:0:0::/:\nweb:x:33:33::/:\n";
    Archive::default().file("etc/passwd", passwd).file("bin/app", "old").finish()
}

pub fn app() -> Vec<u8> {
    let group = "web:x:33:\nlogs:x:4:web\n";
    Archive::default().file("bin/app", program()).file("etc/group", group).finish()
}

pub fn image() -> Image {
    Image::new().layer(&base()).layer(&app())
}

pub fn top_layer(image: &Image) -> String {
    let digest: Digest = image.layers.last().unwrap()["digest"].as_str().unwrap().parse().unwrap();
    blob_path(&digest)
}

/// Answers requests for `path` only.
pub fn at(
    path: String,
    reply: impl Fn(&Seen) -> Option<Reply> + Send + Sync + 'static,
) -> impl Fn(&Seen) -> Option<Reply> + Send + Sync + 'static {
    move |seen| if seen.path == path { reply(seen) } else { None }
}
