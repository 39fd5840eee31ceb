// SPDX-License-Identifier: Apache-2.0
//! Image documents: digests, descriptors, manifests, indexes and configurations (OCI image
//! specification 1.1, Docker image manifest version 2 schema 2).
//!
//! Documents come from hostile registries. Each is parsed from bytes whose digest is known, under a
//! cap, and refuses what has two readings: a manifest that is also an index, or a media type inside
//! that differs from the one outside.

mod config;
mod descriptor;
mod digest;
pub(crate) mod layout;
mod manifest;
mod media_type;

pub use config::ConfigError;
pub use config::ImageConfig;
pub use config::MAX_CONFIG;
pub use descriptor::Descriptor;
pub use descriptor::Platform;
pub use digest::BadDigest;
pub use digest::Digest;
pub use digest::Hasher;
pub use layout::Layout;
pub use layout::LayoutError;
pub use layout::LayoutImage;
pub use manifest::Document;
pub use manifest::Index;
pub use manifest::MAX_LAYERS;
pub use manifest::MAX_MANIFEST;
pub use manifest::Manifest;
pub use manifest::ManifestError;
pub use media_type::BadLayerType;
pub use media_type::Compression;
pub use media_type::LayerType;
pub use media_type::MANIFEST_TYPES;
