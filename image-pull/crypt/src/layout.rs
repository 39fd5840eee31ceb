// SPDX-License-Identifier: Apache-2.0
//! Encrypting an image in an image layout: the owner's side.

use std::fs;
use std::fs::File;
use std::io;
use std::io::BufWriter;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;

use serde_json::json;

use crate::key::Kek;
use crate::key::Kid;
use crate::layer::ENCRYPTION_PREFIX;
use crate::layer::EncryptError;
use crate::layer::encrypt_layer;
use crate::oci::Descriptor;
use crate::oci::Digest;
use crate::oci::Layout;
use crate::oci::LayoutError;
use crate::oci::MAX_CONFIG;
use crate::oci::ManifestError;
use crate::oci::layout::REF_NAME;
use crate::oci::layout::VERSION;

/// What [`encrypt_layout`] made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncryptedImage {
    /// Digest of the new manifest: what a policy pins.
    pub digest: Digest,
    /// How many layers were encrypted.
    pub layers: usize,
    /// The image's name in both layouts, if it has one.
    pub name: Option<String>,
}

/// Encrypts every layer of the linux/amd64 image called `name` (or the only one) in the layout
/// `from`, and writes it as the only image of a new layout `to`.
///
/// Each layer gets a random key of its own, wrapped with `kek` under the name `kid`. The
/// configuration stays as it is, so the image runs as before.
///
/// # Errors
///
/// [`EncryptLayoutError`]; `to` must not exist, and is removed again after a failure.
pub fn encrypt_layout(
    from: &Path,
    to: &Path,
    name: Option<&str>,
    kid: &Kid,
    kek: &Kek,
) -> Result<EncryptedImage, EncryptLayoutError> {
    let read = |source| EncryptLayoutError::Layout { source };
    let layout = Layout::open(from).map_err(read)?;
    let image = layout.image(name).map_err(read)?;
    if let Some((layer, _)) = image.manifest.layers().find(|(_, kind)| kind.encrypted) {
        return Err(EncryptLayoutError::Encrypted { digest: layer.digest });
    }
    if image.manifest.layers().len() == 0 {
        return Err(EncryptLayoutError::NoLayers);
    }
    let config = layout.read_blob(image.manifest.config(), MAX_CONFIG).map_err(read)?;

    let output = Output::create(to)?;
    output.write_blob(&config)?;
    let mut layers = Vec::new();
    for (layer, kind) in image.manifest.layers() {
        let plaintext = layout.open_blob(&layer.digest).map_err(read)?;
        let part = output.root.join(PART);
        let write = |source| EncryptLayoutError::Write { path: part.clone(), source };
        let ciphertext = BufWriter::new(File::create_new(&part).map_err(write)?);
        let sealed = encrypt_layer(plaintext, ciphertext, layer.digest, kid, kek)
            .map_err(|source| EncryptLayoutError::Layer { digest: layer.digest, source })?;
        fs::rename(&part, output.blob_path(&sealed.digest)).map_err(write)?;
        let mut annotations = layer.annotations.clone();
        annotations.retain(|key, _| !key.starts_with(ENCRYPTION_PREFIX));
        annotations.extend(sealed.annotations);
        layers.push(Descriptor {
            media_type: kind.encrypted().to_string(),
            digest: sealed.digest,
            size: sealed.size,
            annotations,
            platform: None,
            other: layer.other.clone(),
        });
    }
    let count = layers.len();
    let manifest = |source| EncryptLayoutError::Manifest { source };
    let encrypted = image.manifest.with_layers(layers).map_err(manifest)?;
    let bytes = encrypted.to_bytes().map_err(manifest)?;
    let digest = output.write_blob(&bytes)?;
    let mut entry = json!({
        "mediaType": encrypted.media_type(),
        "digest": digest.to_string(),
        "size": bytes.len(),
        "platform": {"architecture": image.config.architecture, "os": image.config.os},
    });
    if let (Some(name), Some(fields)) = (&image.name, entry.as_object_mut()) {
        fields.insert("annotations".to_owned(), json!({ REF_NAME: name }));
    }
    let index = json!({"schemaVersion": 2, "manifests": [entry]});
    output.write_file("index.json", index.to_string().as_bytes())?;
    output
        .write_file("oci-layout", json!({"imageLayoutVersion": VERSION}).to_string().as_bytes())?;
    output.keep();
    Ok(EncryptedImage { digest, layers: count, name: image.name })
}

/// Why an image could not be encrypted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncryptLayoutError {
    /// The layout to read is refused.
    #[error("failed to read the image")]
    Layout {
        /// Why.
        #[source]
        source: LayoutError,
    },
    /// The image has no layers: there is nothing to encrypt.
    #[error("image has no layers")]
    NoLayers,
    /// A layer is encrypted already.
    #[error("layer {digest} is encrypted already")]
    Encrypted {
        /// The layer.
        digest: Digest,
    },
    /// The new layout cannot be written.
    #[error("failed to write {path}", path = path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A layer cannot be encrypted.
    #[error("failed to encrypt layer {digest}")]
    Layer {
        /// The layer.
        digest: Digest,
        /// Why.
        #[source]
        source: EncryptError,
    },
    /// The new manifest is refused.
    #[error("failed to write the manifest")]
    Manifest {
        /// Why.
        #[source]
        source: ManifestError,
    },
}

/// Name of the layer that is being written, inside the new layout.
const PART: &str = "part";

/// A layout being written; removed when dropped unless kept.
struct Output {
    root: PathBuf,
    kept: bool,
}

impl Output {
    fn create(root: &Path) -> Result<Self, EncryptLayoutError> {
        let write = |source| EncryptLayoutError::Write { path: root.to_owned(), source };
        fs::create_dir(root).map_err(write)?;
        let output = Self { root: root.to_owned(), kept: false };
        fs::create_dir_all(root.join("blobs/sha256")).map_err(write)?;
        Ok(output)
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.to_hex())
    }

    fn write_blob(&self, bytes: &[u8]) -> Result<Digest, EncryptLayoutError> {
        let digest = Digest::of(bytes);
        let path = self.blob_path(&digest);
        write(&path, bytes)?;
        Ok(digest)
    }

    fn write_file(&self, name: &str, bytes: &[u8]) -> Result<(), EncryptLayoutError> {
        write(&self.root.join(name), bytes)
    }

    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if !self.kept {
            // Best effort: the error that led here is the one to report.
            let _ = fs::remove_dir_all(&self.root);
        }
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), EncryptLayoutError> {
    File::create(path)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(|source| EncryptLayoutError::Write { path: path.to_owned(), source })
}
