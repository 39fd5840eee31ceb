// SPDX-License-Identifier: Apache-2.0
//! Why a pull fails, and the codes that people see.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use casemate_agent_api::Code;
use casemate_image_crypt::Digest;
use casemate_image_crypt::LayerKeyError;
use casemate_image_crypt::oci::ConfigError;
use casemate_image_crypt::oci::LayoutError;
use casemate_image_crypt::oci::ManifestError;
use casemate_unpack::UnpackError;

use crate::keys::KeyUnavailable;

/// Why an image cannot be pulled or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// The registry or its token service cannot be reached, or breaks off again and again.
    #[error("failed to reach {host}")]
    Unreachable {
        /// `host[:port]`.
        host: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The server's certificate does not chain to what is trusted for it.
    #[error("certificate of {host} is not trusted")]
    Untrusted {
        /// `host[:port]`.
        host: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// A connection ended before its content, also on the last attempt.
    #[error("{host} broke off after {received} of {size} bytes")]
    BrokeOff {
        /// `host[:port]`.
        host: String,
        /// Bytes received.
        received: u64,
        /// Bytes expected.
        size: u64,
    },
    /// Something took longer than it may.
    #[error("{host} took longer than {limit:?}")]
    Slow {
        /// `host[:port]`.
        host: String,
        /// The limit that was passed.
        limit: Duration,
    },
    /// The server answers with an unexpected status.
    #[error("{host} answered with status {status}")]
    Status {
        /// `host[:port]`.
        host: String,
        /// The HTTP status.
        status: u16,
    },
    /// The registry refuses access.
    #[error("{host} refuses access with status {status}")]
    Denied {
        /// `host[:port]`.
        host: String,
        /// The HTTP status.
        status: u16,
    },
    /// The registry has no such image or blob.
    #[error("{host} has no {what}")]
    Missing {
        /// `host[:port]`.
        host: String,
        /// What was asked for.
        what: String,
    },
    /// A redirect that is not followed.
    #[error("{host} redirects to a place that is not allowed: {reason}")]
    Redirect {
        /// `host[:port]`.
        host: String,
        /// Why it is not followed.
        reason: &'static str,
    },
    /// The registry's demand for a token, or the token, cannot be used.
    #[error("{host} asks for authentication that cannot be used: {reason}")]
    Challenge {
        /// `host[:port]`.
        host: String,
        /// Why.
        reason: &'static str,
    },
    /// A response is over its cap.
    #[error("{what} from {host} has more than {max} bytes")]
    Large {
        /// `host[:port]`.
        host: String,
        /// What was fetched.
        what: &'static str,
        /// The cap in bytes.
        max: u64,
    },
    /// Content is not what its digest or size says.
    #[error("{what} is not {expected}: digest or size differ")]
    Digest {
        /// What was fetched.
        what: &'static str,
        /// The digest that it should have.
        expected: Digest,
    },
    /// The manifest is refused.
    #[error("manifest is refused")]
    Manifest {
        /// Why.
        #[source]
        source: ManifestError,
    },
    /// An index leads to another index.
    #[error("index leads to another index")]
    Nested,
    /// The configuration is refused.
    #[error("image configuration is refused")]
    Config {
        /// Why.
        #[source]
        source: ConfigError,
    },
    /// The image is for another platform.
    #[error("image is for {os}/{architecture}, not for linux/amd64")]
    Platform {
        /// Operating system.
        os: String,
        /// Architecture.
        architecture: String,
    },
    /// Manifest and configuration differ in the number of layers.
    #[error("manifest has {layers} layers, configuration {diff_ids}")]
    LayerCount {
        /// Layers of the manifest.
        layers: usize,
        /// Layers of the configuration.
        diff_ids: usize,
    },
    /// The image does not carry the signature that the policy demands.
    #[error("signature of {digest} is refused: {reason}")]
    Signature {
        /// The manifest.
        digest: Digest,
        /// Why.
        reason: &'static str,
    },
    /// All layers together are over the cap.
    #[error("layers have {size} bytes together, more than {max}")]
    Layers {
        /// Size in bytes.
        size: u64,
        /// The cap in bytes.
        max: u64,
    },
    /// The policy demands an encrypted image.
    #[error("image is not encrypted, and the policy demands it")]
    NotEncrypted,
    /// Some layers are encrypted and some are not.
    #[error("image mixes encrypted layers and clear ones: layer {digest} is clear")]
    Mixed {
        /// The first clear layer.
        digest: Digest,
    },
    /// A layer's key annotations are refused, or its key does not unwrap.
    #[error("key of layer {digest} is refused")]
    LayerKey {
        /// The layer.
        digest: Digest,
        /// Why.
        #[source]
        source: LayerKeyError,
    },
    /// The key-encryption key cannot be had.
    #[error("layer {digest} cannot be decrypted")]
    Key {
        /// The layer.
        digest: Digest,
        /// Why.
        #[source]
        source: KeyUnavailable,
    },
    /// A layer is not what was encrypted under its key.
    #[error("layer {digest} does not decrypt: content and key do not belong together")]
    Decrypt {
        /// The layer.
        digest: Digest,
    },
    /// A layer cannot be unpacked.
    #[error("failed to unpack layer {digest}")]
    Unpack {
        /// The layer.
        digest: Digest,
        /// Why.
        #[source]
        source: UnpackError,
    },
    /// The place for the root file system cannot be used.
    #[error("failed to make the root file system at {path}", path = path.display())]
    Destination {
        /// The place.
        path: PathBuf,
        /// Why.
        #[source]
        source: UnpackError,
    },
    /// A file with the image's accounts is a link or something else that is not followed.
    #[error("{path} of the image is no regular file")]
    AccountFile {
        /// The file.
        path: &'static str,
    },
    /// The image's layout on disk is refused.
    #[error("failed to read the image layout")]
    Layout {
        /// Why.
        #[source]
        source: LayoutError,
    },
    /// A blob of a layout cannot be read.
    #[error("failed to read blob {digest}")]
    Blob {
        /// The blob.
        digest: Digest,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A document was not kept.
    #[error("{what} {digest} was not kept")]
    NotKept {
        /// What it is.
        what: &'static str,
        /// Its digest.
        digest: Digest,
    },
    /// The image's layers are not within reach.
    #[error("the image's layers are not within reach")]
    NoLayers,
    /// The unpacking thread ended without a result.
    #[error("unpacking thread ended without a result")]
    Thread,
}

impl PullError {
    /// The code for people and scripts.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Unreachable { .. }
            | Self::BrokeOff { .. }
            | Self::Slow { .. }
            | Self::Status { .. }
            | Self::Missing { .. }
            | Self::Redirect { .. }
            | Self::NotKept { .. }
            | Self::NoLayers
            | Self::Blob { .. } => Code::ImageUnreachable,
            Self::Untrusted { .. } => Code::ImageUntrusted,
            Self::Denied { .. } | Self::Challenge { .. } => Code::ImageDenied,
            Self::Digest { .. } => Code::ImageDigest,
            Self::Large { .. }
            | Self::Manifest { .. }
            | Self::Nested
            | Self::Config { .. }
            | Self::Platform { .. }
            | Self::LayerCount { .. }
            | Self::Layers { .. }
            | Self::Mixed { .. }
            | Self::AccountFile { .. }
            | Self::Layout { .. } => Code::ImageInvalid,
            Self::NotEncrypted => Code::ImageNotEncrypted,
            Self::Signature { .. } => Code::ImageSignature,
            Self::LayerKey { .. } | Self::Decrypt { .. } => Code::ImageDecrypt,
            Self::Key { source, .. } => source.code,
            Self::Unpack { source, .. } | Self::Destination { source, .. } => unpack_code(source),
            Self::Thread => Code::Internal,
        }
    }

    /// Whether the same pull may succeed later without anybody changing the image or the policy.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::BrokeOff { .. } | Self::Slow { .. } => true,
            Self::Status { status, .. } => *status == 429 || *status >= 500,
            Self::Key { source, .. } => source.code == Code::BrokerUnreachable,
            _ => false,
        }
    }
}

fn unpack_code(error: &UnpackError) -> Code {
    if error.is_full() {
        Code::GuestFull
    } else if error.is_wrong_content() {
        Code::ImageDigest
    } else if error.is_internal() {
        Code::Internal
    } else {
        Code::ImageInvalid
    }
}

/// Why a puller cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// A registry's name is malformed or there twice.
    #[error("registry {host:?} of the configuration is malformed or named twice")]
    Registry {
        /// The name.
        host: String,
    },
    /// A registry's CA cannot be used.
    #[error("CA of registry {host:?} cannot be used: {reason}")]
    Ca {
        /// The registry.
        host: String,
        /// Why.
        reason: &'static str,
    },
    /// The HTTP client cannot be made.
    #[error("failed to set up the HTTP client")]
    Client {
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// TLS cannot be set up.
    #[error("failed to set up TLS")]
    Tls {
        /// Why.
        #[source]
        source: rustls::Error,
    },
}
