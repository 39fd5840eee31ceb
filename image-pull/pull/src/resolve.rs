// SPDX-License-Identifier: Apache-2.0
//! Manifest and configuration of an image.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use casemate_image_crypt::Digest;
use casemate_image_crypt::oci::Descriptor;
use casemate_image_crypt::oci::Document;
use casemate_image_crypt::oci::ImageConfig;
use casemate_image_crypt::oci::Layout;
use casemate_image_crypt::oci::MANIFEST_TYPES;
use casemate_image_crypt::oci::MAX_CONFIG;
use casemate_image_crypt::oci::MAX_MANIFEST;
use casemate_image_crypt::oci::Manifest;

use crate::client::Client;
use crate::client::Request;
use crate::error::PullError;
use crate::reference::Reference;

/// An image whose manifest and configuration are known and fit together.
#[derive(Debug, Clone)]
pub struct ResolvedImage {
    /// Where its layers are.
    pub source: ImageSource,
    /// What a policy pins: the digest of the document that the reference names, index or manifest.
    pub digest: Digest,
    /// The digest of the image's own manifest.
    pub manifest_digest: Digest,
    /// The manifest.
    pub manifest: Manifest,
    /// The configuration.
    pub config: ImageConfig,
    /// The bytes of all three by digest, or of two if no index led to the manifest.
    pub documents: Documents,
}

/// Documents of an image by their digests.
pub type Documents = BTreeMap<Digest, Bytes>;

/// Where an image's layers are.
#[derive(Debug, Clone)]
pub enum ImageSource {
    /// In a registry.
    Registry(Reference),
    /// In a directory.
    Layout(Layout),
    /// Nowhere within reach.
    Nowhere,
}

/// Reads manifest and configuration of the image called `name` (or the only one) in the image
/// layout at `path`.
///
/// # Errors
///
/// [`PullError`] if the layout or the image is refused.
pub fn resolve_layout(path: &Path, name: Option<&str>) -> Result<ResolvedImage, PullError> {
    let failed = |source| PullError::Layout { source };
    let layout = Layout::open(path).map_err(failed)?;
    let image = layout.image(name).map_err(failed)?;
    check(&image.manifest, &image.config)?;
    let mut documents = Documents::new();
    for (descriptor, max) in
        [(&image.descriptor, MAX_MANIFEST), (image.manifest.config(), MAX_CONFIG)]
    {
        let bytes = layout.read_blob(descriptor, max).map_err(failed)?;
        documents.insert(descriptor.digest, bytes.into());
    }
    Ok(ResolvedImage {
        documents,
        source: ImageSource::Layout(layout),
        digest: image.descriptor.digest,
        manifest_digest: image.descriptor.digest,
        manifest: image.manifest,
        config: image.config,
    })
}

/// Reads an image again from documents that were kept, without a registry.
///
/// # Errors
///
/// [`PullError`] if a document is missing, is not what its digest says, or the image is refused.
pub fn resolve_documents(
    digest: Digest,
    documents: &Documents,
) -> Result<ResolvedImage, PullError> {
    let get = |what: &'static str, digest: Digest| match documents.get(&digest) {
        Some(bytes) if Digest::of(bytes) == digest => Ok(bytes),
        Some(_) => Err(PullError::Digest { what, expected: digest }),
        None => Err(PullError::NotKept { what, digest }),
    };
    let (manifest_digest, manifest) = match parse(get("manifest", digest)?, None)? {
        Document::Manifest(manifest) => (digest, *manifest),
        Document::Index(index) => {
            let entry = index.guests_image().map_err(|source| PullError::Manifest { source })?;
            let bytes = get("manifest", entry.digest)?;
            match parse(bytes, Some(&entry.media_type))? {
                Document::Manifest(manifest) => (entry.digest, *manifest),
                Document::Index(_) => return Err(PullError::Nested),
            }
        }
    };
    let bytes = get("configuration", manifest.config().digest)?;
    let config = ImageConfig::parse(bytes).map_err(|source| PullError::Config { source })?;
    check(&manifest, &config)?;
    let (source, documents) = (ImageSource::Nowhere, documents.clone());
    Ok(ResolvedImage { source, digest, manifest_digest, manifest, config, documents })
}

/// Fetches manifest and configuration from a registry.
///
/// C2, C3: every document is fetched once, compared with the digest that names it, and parsed from
/// those very bytes.
pub(crate) async fn resolve(
    client: &Client,
    reference: &Reference,
) -> Result<ResolvedImage, PullError> {
    let path = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => format!("manifests/{digest}"),
        (None, tag) => format!("manifests/{}", tag.unwrap_or("latest")),
    };
    let accept = MANIFEST_TYPES.join(", ");
    let request = Request { reference, path: &path, accept: Some(&accept), start: 0 };
    let top = client.document(request, "manifest", MAX_MANIFEST).await?;
    let digest = Digest::of(&top.bytes);
    check_pinned(reference, digest)?;
    let mut documents = Documents::from([(digest, top.bytes.clone())]);
    // Registries that store any file may serve it under a type of their own.
    let media_type = top.media_type.as_deref().filter(|t| MANIFEST_TYPES.contains(t));
    let (manifest_digest, manifest) = match parse(&top.bytes, media_type)? {
        Document::Manifest(manifest) => (digest, *manifest),
        Document::Index(index) => {
            let entry = index.guests_image().map_err(|source| PullError::Manifest { source })?;
            let path = format!("manifests/{}", entry.digest);
            let request = Request { reference, path: &path, accept: Some(&accept), start: 0 };
            let bytes = fetch(client, request, entry, "manifest", MAX_MANIFEST).await?;
            documents.insert(entry.digest, bytes.clone());
            match parse(&bytes, Some(&entry.media_type))? {
                Document::Manifest(manifest) => (entry.digest, *manifest),
                Document::Index(_) => return Err(PullError::Nested),
            }
        }
    };
    let path = format!("blobs/{}", manifest.config().digest);
    let request = Request { reference, path: &path, accept: None, start: 0 };
    let bytes = fetch(client, request, manifest.config(), "configuration", MAX_CONFIG).await?;
    let config = ImageConfig::parse(&bytes).map_err(|source| PullError::Config { source })?;
    check(&manifest, &config)?;
    documents.insert(manifest.config().digest, bytes);
    let source = ImageSource::Registry(reference.clone());
    Ok(ResolvedImage { source, digest, manifest_digest, manifest, config, documents })
}

/// C2, C3, C7: a reference with a digest means that document and no other.
fn check_pinned(reference: &Reference, found: Digest) -> Result<(), PullError> {
    match reference.digest() {
        Some(expected) if expected != found => {
            Err(PullError::Digest { what: "manifest", expected })
        }
        _ => Ok(()),
    }
}

/// Fetches what `descriptor` describes.
pub(crate) async fn fetch(
    client: &Client,
    request: Request<'_>,
    descriptor: &Descriptor,
    what: &'static str,
    max: usize,
) -> Result<bytes::Bytes, PullError> {
    let host = || client.host(request.reference);
    let large =
        || PullError::Large { host: host(), what, max: u64::try_from(max).unwrap_or(u64::MAX) };
    let size = usize::try_from(descriptor.size).map_err(|_| large())?;
    if size > max {
        return Err(large());
    }
    let expected = descriptor.digest;
    let bytes = match client.document(request, what, size).await {
        // More than its descriptor says.
        Err(PullError::Large { .. }) => return Err(PullError::Digest { what, expected }),
        document => document?.bytes,
    };
    if bytes.len() != size || Digest::of(&bytes) != expected {
        return Err(PullError::Digest { what, expected });
    }
    Ok(bytes)
}

fn parse(bytes: &[u8], media_type: Option<&str>) -> Result<Document, PullError> {
    Document::parse(bytes, media_type).map_err(|source| PullError::Manifest { source })
}

/// C4: whether manifest and configuration speak of the same image, and of one for the guest.
fn check(manifest: &Manifest, config: &ImageConfig) -> Result<(), PullError> {
    if config.os != "linux" || config.architecture != "amd64" {
        let (os, architecture) = (config.os.clone(), config.architecture.clone());
        return Err(PullError::Platform { os, architecture });
    }
    let (layers, diff_ids) = (manifest.layers().len(), config.diff_ids.len());
    if layers != diff_ids {
        return Err(PullError::LayerCount { layers, diff_ids });
    }
    Ok(())
}
