// SPDX-License-Identifier: Apache-2.0
//! Pulling.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use casemate_image_crypt::Digest;
use casemate_image_crypt::LayerKey;
use casemate_image_crypt::OpenError;
use casemate_image_crypt::UnverifiedPlaintext;
use casemate_image_crypt::oci;
use casemate_image_crypt::oci::Descriptor;
use casemate_image_crypt::oci::ImageConfig;
use casemate_policy::Encryption;
use casemate_policy::Registry;
use casemate_unpack::Compression;
use casemate_unpack::Limits;
use casemate_unpack::Quarantine;
use casemate_unpack::UnpackError;
use tokio::task::spawn_blocking;

use crate::blob;
use crate::client::Client;
use crate::client::Credentials;
use crate::client::Timeouts;
use crate::error::PullError;
use crate::error::SetupError;
use crate::keys::KeySource;
use crate::keys::LayerKeys;
use crate::login::Login;
use crate::progress::Progress;
use crate::reference::PinnedReference;
use crate::reference::Reference;
use crate::resolve;
use crate::resolve::ResolvedImage;

/// What a [`Puller`] is made of.
#[derive(Default)]
pub struct Settings {
    /// Registries with a CA of their own; only that CA is trusted there. Any other registry must
    /// have a certificate of the public web.
    pub registries: Vec<Registry>,
    /// Credentials by registry; without, access is anonymous.
    pub credentials: Vec<Credentials>,
    /// What unpacked images may take.
    pub limits: Limits,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// How host names are resolved; `None` = by the C library.
    pub resolver: Option<Arc<dyn reqwest::dns::Resolve>>,
}

/// An image to pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullRequest {
    /// The image.
    pub image: PinnedReference,
    /// Whether its layers must be encrypted.
    pub encryption: Encryption,
    /// Where the root file system goes: must not exist; its parent must.
    pub destination: PathBuf,
}

/// A pulled image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulledImage {
    /// Digest of the image's own manifest; differs from the pinned one if that is an index's.
    pub manifest_digest: Digest,
    /// The configuration.
    pub config: ImageConfig,
    /// The root file system.
    pub rootfs: PathBuf,
}

/// Pulls images from registries.
pub struct Puller {
    pub(crate) client: Client,
    pub(crate) limits: Limits,
}

impl Puller {
    /// Makes a puller; it opens no connection yet.
    ///
    /// # Errors
    ///
    /// [`SetupError`] if a registry's CA or name cannot be used.
    pub fn new(settings: Settings) -> Result<Self, SetupError> {
        let limits = settings.limits;
        Ok(Self { client: Client::new(settings)?, limits })
    }

    /// Whether the image's registry, or the mirror in its place, is at `host`, `host[:port]` as in image
    /// names.
    #[must_use]
    pub fn is_at(&self, image: &PinnedReference, host: &str) -> bool {
        self.client.is_at(image.reference(), host)
    }

    /// Uses a login for this image's repository from now on, where its registry is; `token_host` as in
    /// [`Credentials::token_host`].
    ///
    /// # Security
    ///
    /// C11: no other host and no redirect gets it.
    pub fn log_in(&self, image: &PinnedReference, login: Login, token_host: Option<String>) {
        self.client.log_in(image.reference(), login, token_host);
    }

    /// Pulls an image to `request.destination`.
    ///
    /// Dropping the future cancels the pull: the unpacking thread ends at its next read and removes
    /// what it made.
    ///
    /// # Errors
    ///
    /// [`PullError`]; nothing is left at the destination then.
    pub async fn pull(
        &self,
        request: &PullRequest,
        keys: &dyn KeySource,
        progress: &Progress,
    ) -> Result<PulledImage, PullError> {
        let image = Box::pin(resolve::resolve(&self.client, request.image.reference())).await?;
        check_encryption(&image, request.encryption)?;
        self.check_size(&image)?;
        let keys = LayerKeys::get(&image, keys).await?;
        let total = image.manifest.layers().fold(0_u64, |sum, (l, _)| sum.saturating_add(l.size));
        progress.start(u64::try_from(image.config.diff_ids.len()).unwrap_or(u64::MAX), total);

        let place = |source| PullError::Destination { path: request.destination.clone(), source };
        let mut quarantine =
            Quarantine::create(&request.destination, self.limits).map_err(place)?;
        let layers = image.manifest.layers().zip(&image.config.diff_ids).zip(keys.into_keys());
        for (((descriptor, kind), diff_id), key) in layers {
            let layer = Layer {
                descriptor: descriptor.clone(),
                compression: compression(kind.compression),
                diff_id: *diff_id,
                key,
            };
            let reference = request.image.reference();
            let (sender, reader) = blob::channel();
            let unpack = spawn_blocking(move || layer.unpack(reader, quarantine));
            let fetch = blob::fetch(&self.client, reference, descriptor, progress, sender);
            let (unpacked, ()) = tokio::join!(unpack, fetch);
            quarantine = unpacked.map_err(|_| PullError::Thread)??;
            progress.finish_layer();
        }
        let rootfs = quarantine.release().map_err(place)?;
        if rootfs.skipped_devices > 0 {
            tracing::info!(image = %request.image, count = rootfs.skipped_devices, "device nodes skipped");
        }
        let ResolvedImage { manifest_digest, config, .. } = image;
        Ok(PulledImage { manifest_digest, config, rootfs: rootfs.path })
    }

    /// Fetches manifest and configuration of an image, by tag or digest.
    ///
    /// # Errors
    ///
    /// [`PullError`] if the image cannot be fetched or is no image for the guest.
    pub async fn resolve(&self, reference: &Reference) -> Result<ResolvedImage, PullError> {
        resolve::resolve(&self.client, reference).await
    }

    /// C5: layers of absurd sizes are refused before the first is fetched.
    fn check_size(&self, image: &ResolvedImage) -> Result<(), PullError> {
        let max = self.limits.bytes;
        let size = image.manifest.layers().try_fold(0_u64, |sum, (l, _)| sum.checked_add(l.size));
        match size {
            Some(size) if size <= max => Ok(()),
            size => Err(PullError::Layers { size: size.unwrap_or(u64::MAX), max }),
        }
    }
}

/// A layer to unpack, with everything that it must agree with.
struct Layer {
    descriptor: Descriptor,
    compression: Compression,
    diff_id: Digest,
    key: Option<LayerKey>,
}

impl Layer {
    /// Verifies, decrypts and unpacks in one pass. Only a layer with the right digest, MAC and
    /// diff_id gives the quarantine back.
    fn unpack(self, input: impl Read, quarantine: Quarantine) -> Result<Quarantine, PullError> {
        let Self { descriptor, compression, diff_id, key } = self;
        let apply = |layer: &mut dyn Read| quarantine.apply(layer, compression, diff_id.as_bytes());
        blob::verified(input, &descriptor, |blob| consume(blob, &descriptor, key, apply))
    }
}

/// Gives a layer to `consume`, decrypted if it has a key.
pub(crate) fn consume<T>(
    blob: &mut dyn Read,
    descriptor: &Descriptor,
    key: Option<LayerKey>,
    consume: impl FnOnce(&mut dyn Read) -> Result<T, UnpackError>,
) -> Result<T, PullError> {
    let digest = descriptor.digest;
    let unpack = |source| PullError::Unpack { digest, source };
    let Some(key) = key else { return consume(blob).map_err(unpack) };
    key.open(blob, |plain: &mut UnverifiedPlaintext<'_>| consume(plain)).map_err(|e| match e {
        OpenError::Consume { source } => unpack(source),
        OpenError::Read { source } => PullError::Blob { digest, source },
        _ => PullError::Decrypt { digest },
    })
}

/// C9: an image is encrypted or is not. Which one is meant is the policy's word, not the
/// manifest's.
fn check_encryption(image: &ResolvedImage, wanted: Encryption) -> Result<(), PullError> {
    let is_encrypted = image.manifest.layers().any(|(_, kind)| kind.encrypted);
    if wanted == Encryption::Required && !is_encrypted {
        return Err(PullError::NotEncrypted);
    }
    match image.manifest.layers().find(|(_, kind)| !kind.encrypted) {
        Some((layer, _)) if is_encrypted => Err(PullError::Mixed { digest: layer.digest }),
        _ => Ok(()),
    }
}

pub(crate) fn compression(compression: oci::Compression) -> Compression {
    match compression {
        oci::Compression::None => Compression::None,
        oci::Compression::Gzip => Compression::Gzip,
        oci::Compression::Zstd => Compression::Zstd,
    }
}
