// SPDX-License-Identifier: Apache-2.0
//! Image layouts: images in a local directory (OCI image layout specification 1.0.0).

use std::fs::File;
use std::io;
use std::io::Read as _;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;

use super::ConfigError;
use super::Descriptor;
use super::Digest;
use super::Document;
use super::ImageConfig;
use super::Index;
use super::MAX_CONFIG;
use super::MAX_MANIFEST;
use super::Manifest;
use super::ManifestError;

/// A directory that holds images.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
    index: Index,
}

/// One image of a layout.
#[derive(Debug, Clone)]
pub struct LayoutImage {
    /// The manifest's descriptor.
    pub descriptor: Descriptor,
    /// The manifest.
    pub manifest: Manifest,
    /// The configuration.
    pub config: ImageConfig,
    /// The image's name in the layout, if it has one.
    pub name: Option<String>,
}

impl Layout {
    /// Opens the layout in the directory `root`.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if the directory is no layout of a known version.
    pub fn open(root: &Path) -> Result<Self, LayoutError> {
        let version = read(&root.join("oci-layout"), MAX_MARKER)?;
        let marker: Marker = serde_json::from_slice(&version)
            .map_err(|source| LayoutError::Marker { path: root.to_owned(), source })?;
        if marker.image_layout_version != VERSION {
            return Err(LayoutError::Version { version: marker.image_layout_version });
        }
        let path = root.join("index.json");
        let Document::Index(index) = parse(&path, &read(&path, MAX_MANIFEST)?, None)? else {
            return Err(LayoutError::NotIndex { path });
        };
        Ok(Self { root: root.to_owned(), index })
    }

    /// Finds the image for linux/amd64 that is called `name`, or the only one.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if there is none, more than one, or if it is malformed.
    pub fn image(&self, name: Option<&str>) -> Result<LayoutImage, LayoutError> {
        let called = |d: &&Descriptor| name.is_none_or(|n| ref_name(d) == Some(n));
        let fits = |d: &&Descriptor| d.platform.as_ref().is_none_or(super::Platform::is_guests);
        let mut found = self.index.manifests().iter().filter(called).filter(fits);
        let (Some(entry), None) = (found.next(), found.next()) else {
            let names = self.index.manifests().iter().filter_map(ref_name).map(str::to_owned);
            return Err(LayoutError::Choice { names: names.collect() });
        };
        let (descriptor, manifest) = self.manifest(entry)?;
        let bytes = self.read_blob(manifest.config(), MAX_CONFIG)?;
        let config = ImageConfig::parse(&bytes).map_err(|source| LayoutError::Config { source })?;
        Ok(LayoutImage { descriptor, manifest, config, name: ref_name(entry).map(str::to_owned) })
    }

    /// Opens a blob for reading; the reader of its bytes must compare them with the digest.
    ///
    /// # Errors
    ///
    /// [`LayoutError::Io`] if there is no such blob.
    pub fn open_blob(&self, digest: &Digest) -> Result<File, LayoutError> {
        let path = self.blob_path(digest);
        File::open(&path).map_err(|source| LayoutError::Io { path, source })
    }

    /// Reads a small blob and compares it with its descriptor.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if it cannot be read, is over `max` bytes or differs.
    pub fn read_blob(&self, descriptor: &Descriptor, max: usize) -> Result<Vec<u8>, LayoutError> {
        let path = self.blob_path(&descriptor.digest);
        let bytes = read(&path, max)?;
        let same_size = u64::try_from(bytes.len()).is_ok_and(|s| s == descriptor.size);
        if !same_size || Digest::of(&bytes) != descriptor.digest {
            return Err(LayoutError::Differs { path });
        }
        Ok(bytes)
    }

    /// The image's manifest, through at most one nested index.
    fn manifest(&self, entry: &Descriptor) -> Result<(Descriptor, Manifest), LayoutError> {
        let mut descriptor = entry.clone();
        for _ in 0..=MAX_NESTING {
            let bytes = self.read_blob(&descriptor, MAX_MANIFEST)?;
            let path = self.blob_path(&descriptor.digest);
            match parse(&path, &bytes, Some(&descriptor.media_type))? {
                Document::Manifest(manifest) => return Ok((descriptor, *manifest)),
                Document::Index(index) => {
                    descriptor = index
                        .guests_image()
                        .map_err(|source| LayoutError::Manifest { path, source })?
                        .clone();
                }
            }
        }
        Err(LayoutError::Nested)
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.to_hex())
    }
}

/// Why an image cannot be read from a directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// A file cannot be read.
    #[error("failed to read {path}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is over its cap.
    #[error("{path} has more than {max} bytes", path = path.display())]
    Large {
        /// The file.
        path: PathBuf,
        /// The cap in bytes.
        max: usize,
    },
    /// The file `oci-layout` is malformed.
    #[error("{path} is no image layout", path = path.display())]
    Marker {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// Another version of layout.
    #[error("image layout has version {version:?}, not {VERSION}")]
    Version {
        /// Its version.
        version: String,
    },
    /// `index.json` is no index.
    #[error("{path} is no index", path = path.display())]
    NotIndex {
        /// The file.
        path: PathBuf,
    },
    /// A manifest or index is malformed.
    #[error("{path} is no manifest that can be used", path = path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: ManifestError,
    },
    /// The configuration is malformed.
    #[error("image configuration cannot be used")]
    Config {
        /// What is wrong.
        #[source]
        source: ConfigError,
    },
    /// No image, or more than one.
    #[error("layout has not exactly one linux/amd64 image of this name; names in it: {names:?}")]
    Choice {
        /// The names of the layout's images.
        names: Vec<String>,
    },
    /// A blob is not what its descriptor says.
    #[error("{path} differs from its digest or size", path = path.display())]
    Differs {
        /// The file.
        path: PathBuf,
    },
    /// Indexes inside indexes.
    #[error("layout nests more than {MAX_NESTING} indexes")]
    Nested,
}

fn ref_name(descriptor: &Descriptor) -> Option<&str> {
    descriptor.annotations.get(REF_NAME).map(String::as_str)
}

fn parse(path: &Path, bytes: &[u8], outer: Option<&str>) -> Result<Document, LayoutError> {
    Document::parse(bytes, outer)
        .map_err(|source| LayoutError::Manifest { path: path.to_owned(), source })
}

fn read(path: &Path, max: usize) -> Result<Vec<u8>, LayoutError> {
    let failed = |source| LayoutError::Io { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path).map_err(failed)?.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > max {
        return Err(LayoutError::Large { path: path.to_owned(), max });
    }
    Ok(bytes)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    image_layout_version: String,
}

/// The annotation that names an image in a layout.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
pub(crate) const VERSION: &str = "1.0.0";
/// Largest `oci-layout` file in bytes.
const MAX_MARKER: usize = 4096;
/// Most indexes between `index.json` and a manifest.
const MAX_NESTING: usize = 1;
