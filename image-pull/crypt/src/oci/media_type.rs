// SPDX-License-Identifier: Apache-2.0
//! Media types of layers and manifests.

use std::fmt;
use std::str::FromStr;

/// How a layer's tar archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, RFC 1952.
    Gzip,
    /// Zstandard, RFC 8878.
    Zstd,
}

/// The media type of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LayerType {
    /// How the archive is compressed, before any encryption.
    pub compression: Compression,
    /// Whether the layer is encrypted.
    pub encrypted: bool,
    /// Whether the type is of the deprecated "nondistributable" family.
    pub nondistributable: bool,
}

impl LayerType {
    /// The type of the same layer once encrypted.
    #[must_use]
    pub fn encrypted(self) -> Self {
        Self { encrypted: true, ..self }
    }
}

impl FromStr for LayerType {
    type Err = BadLayerType;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (plain, encrypted) = match text.strip_suffix(ENCRYPTED) {
            Some(plain) => (plain, true),
            None => (text, false),
        };
        TYPES
            .iter()
            .find(|(name, ..)| *name == plain)
            .map(|&(_, compression, nondistributable)| Self {
                compression,
                encrypted,
                nondistributable,
            })
            .ok_or_else(|| BadLayerType { text: text.chars().take(MAX_SHOWN).collect() })
    }
}

impl fmt::Display for LayerType {
    /// The OCI name; Docker's names are read only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.nondistributable { OCI_NONDISTRIBUTABLE } else { OCI_LAYER })?;
        f.write_str(match self.compression {
            Compression::None => "",
            Compression::Gzip => "+gzip",
            Compression::Zstd => "+zstd",
        })?;
        f.write_str(if self.encrypted { ENCRYPTED } else { "" })
    }
}

/// The text is no media type of a layer that can be unpacked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown layer media type {text:?}")]
pub struct BadLayerType {
    text: String,
}

/// The media types to ask a registry for: manifests and indexes, OCI and Docker.
pub const MANIFEST_TYPES: &[&str] = &[OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_INDEX];

pub(super) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(super) const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(super) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const OCI_NONDISTRIBUTABLE: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar";
const ENCRYPTED: &str = "+encrypted";

/// The layer types without encryption: name, compression, whether nondistributable.
const TYPES: &[(&str, Compression, bool)] = &[
    ("application/vnd.oci.image.layer.v1.tar", Compression::None, false),
    ("application/vnd.oci.image.layer.v1.tar+gzip", Compression::Gzip, false),
    ("application/vnd.oci.image.layer.v1.tar+zstd", Compression::Zstd, false),
    ("application/vnd.oci.image.layer.nondistributable.v1.tar", Compression::None, true),
    ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", Compression::Gzip, true),
    ("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", Compression::Zstd, true),
    ("application/vnd.docker.image.rootfs.diff.tar", Compression::None, false),
    ("application/vnd.docker.image.rootfs.diff.tar.gzip", Compression::Gzip, false),
    ("application/vnd.docker.image.rootfs.diff.tar.zstd", Compression::Zstd, false),
    ("application/vnd.docker.image.rootfs.foreign.diff.tar", Compression::None, true),
    ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Compression::Gzip, true),
];

/// How much of an unknown media type is shown in an error, in characters.
const MAX_SHOWN: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oci_names_round_trip() {
        for (name, ..) in TYPES.iter().filter(|(n, ..)| n.contains("oci")) {
            for text in [(*name).to_owned(), format!("{name}{ENCRYPTED}")] {
                let kind: LayerType = text.parse().unwrap();
                assert_eq!(kind.to_string(), text);
                assert_eq!(kind.encrypted, text.ends_with(ENCRYPTED));
            }
        }
    }

    #[test]
    fn docker_names_become_oci_names() {
        for (docker, oci) in [("tar.gzip", "tar+gzip"), ("tar.zstd", "tar+zstd"), ("tar", "tar")] {
            let kind: LayerType =
                format!("application/vnd.docker.image.rootfs.diff.{docker}").parse().unwrap();
            let expected = format!("application/vnd.oci.image.layer.v1.{oci}+encrypted");
            assert_eq!(kind.encrypted().to_string(), expected);
        }
    }

    #[test]
    fn refuses_other_types() {
        for text in [
            "",
            "+encrypted",
            "application/vnd.oci.image.layer.v1.tar+encrypted+encrypted",
            "application/vnd.oci.image.layer.v1.tar+encrypted+gzip",
            "application/vnd.oci.image.layer.v1.tar+bzip2",
            "application/vnd.oci.image.layer.v1.tar+gzip ",
            "Application/vnd.oci.image.layer.v1.tar",
            "application/vnd.oci.image.manifest.v1+json",
            "application/vnd.in-toto+json",
        ] {
            assert!(text.parse::<LayerType>().is_err(), "{text}");
        }
    }
}
