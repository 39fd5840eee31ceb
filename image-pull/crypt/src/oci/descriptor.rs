// SPDX-License-Identifier: Apache-2.0
//! Descriptors.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use super::Digest;

/// A descriptor: what a document says of another document or blob (OCI descriptor).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Media type.
    pub media_type: String,
    /// SHA-256 of the content.
    pub digest: Digest,
    /// Size of the content in bytes.
    pub size: u64,
    /// Annotations; none and empty are the same.
    #[serde(
        default,
        deserialize_with = "null_is_empty",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
    /// The platform, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Fields that this code has no use for, kept for rewriting.
    #[serde(flatten)]
    pub other: BTreeMap<String, serde_json::Value>,
}

/// What an image of an index runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// Architecture as in Go's `GOARCH`.
    pub architecture: String,
    /// Operating system as in Go's `GOOS`.
    pub os: String,
    /// Fields that this code has no use for, kept for rewriting.
    #[serde(flatten)]
    pub other: BTreeMap<String, serde_json::Value>,
}

impl Platform {
    /// Whether this is linux/amd64, the one platform that guests run.
    #[must_use]
    pub fn is_guests(&self) -> bool {
        self.os == "linux" && self.architecture == "amd64"
    }
}

fn null_is_empty<'de, D>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
