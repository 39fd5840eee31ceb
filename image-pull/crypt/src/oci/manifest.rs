// SPDX-License-Identifier: Apache-2.0
//! Manifests and indexes.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

use super::BadLayerType;
use super::Descriptor;
use super::LayerType;
use super::config::MAX_CONFIG;
use super::media_type::DOCKER_CONFIG;
use super::media_type::DOCKER_INDEX;
use super::media_type::DOCKER_MANIFEST;
use super::media_type::OCI_CONFIG;
use super::media_type::OCI_INDEX;
use super::media_type::OCI_MANIFEST;

/// What a registry or layout calls a manifest: an image's manifest or an index of images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// The manifest of one image.
    Manifest(Box<Manifest>),
    /// An index of images for several platforms.
    Index(Index),
}

impl Document {
    /// Parses a document that came with the media type `outer`, if any: the descriptor's or the
    /// HTTP response's.
    ///
    /// # Errors
    ///
    /// [`ManifestError`] if it is malformed, over a cap, or if its kind is not the same by outer
    /// media type, inner media type and fields.
    ///
    /// # Security
    ///
    /// C2: one document must not be a manifest for one reader and an index for another.
    pub fn parse(bytes: &[u8], outer: Option<&str>) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_MANIFEST {
            return Err(ManifestError::Large { size: bytes.len() });
        }
        let shape: Shape = parse(bytes)?;
        if shape.schema_version != 2 {
            return Err(ManifestError::SchemaVersion { version: shape.schema_version });
        }
        let inner = shape.media_type.as_deref();
        if let (Some(outer), Some(inner)) = (outer, inner)
            && outer != inner
        {
            return Err(ManifestError::TypesDiffer { outer: shown(outer), inner: shown(inner) });
        }
        let has_manifest = shape.layers.is_some() || shape.config.is_some();
        let has_index = shape.manifests.is_some();
        if has_manifest && has_index || shape.fs_layers.is_some() {
            return Err(ManifestError::Ambiguous);
        }
        match outer.or(inner) {
            Some(OCI_MANIFEST | DOCKER_MANIFEST) if has_manifest => {
                Manifest::parse(bytes).map(|m| Self::Manifest(Box::new(m)))
            }
            Some(OCI_INDEX | DOCKER_INDEX) if has_index => Index::parse(bytes).map(Self::Index),
            None if has_manifest => Manifest::parse(bytes).map(|m| Self::Manifest(Box::new(m))),
            None if has_index => Index::parse(bytes).map(Self::Index),
            Some(OCI_MANIFEST | DOCKER_MANIFEST | OCI_INDEX | DOCKER_INDEX) | None => {
                Err(ManifestError::Ambiguous)
            }
            Some(other) => Err(ManifestError::UnknownType { text: shown(other) }),
        }
    }
}

/// The manifest of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    wire: WireManifest,
    layer_types: Vec<LayerType>,
}

impl Manifest {
    fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        Self::try_from(parse::<WireManifest>(bytes)?)
    }

    /// The configuration's descriptor.
    #[must_use]
    pub fn config(&self) -> &Descriptor {
        &self.wire.config
    }

    /// The layers, lowest first, with their parsed types.
    pub fn layers(&self) -> impl ExactSizeIterator<Item = (&Descriptor, LayerType)> {
        self.wire.layers.iter().zip(self.layer_types.iter().copied())
    }

    /// The same image with these layers, as an OCI manifest.
    ///
    /// # Errors
    ///
    /// [`ManifestError`] if the layers are no layers of an image.
    pub fn with_layers(&self, layers: Vec<Descriptor>) -> Result<Self, ManifestError> {
        let mut wire = WireManifest { layers, ..self.wire.clone() };
        wire.media_type = Some(OCI_MANIFEST.to_owned());
        wire.config.media_type = OCI_CONFIG.to_owned();
        Self::try_from(wire)
    }

    /// The manifest as JSON: always the same bytes for the same manifest.
    ///
    /// # Errors
    ///
    /// [`ManifestError::Json`] if it does not serialise.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ManifestError> {
        serde_json::to_vec(&self.wire).map_err(|source| ManifestError::Json { source })
    }

    /// The media type for descriptors of [`Self::to_bytes`].
    #[must_use]
    pub fn media_type(&self) -> &str {
        self.wire.media_type.as_deref().unwrap_or(OCI_MANIFEST)
    }
}

impl TryFrom<WireManifest> for Manifest {
    type Error = ManifestError;

    fn try_from(wire: WireManifest) -> Result<Self, Self::Error> {
        let config = &wire.config;
        if !matches!(config.media_type.as_str(), OCI_CONFIG | DOCKER_CONFIG) {
            return Err(ManifestError::ConfigType { text: shown(&config.media_type) });
        }
        if usize::try_from(config.size).map_or(true, |s| s > MAX_CONFIG) {
            return Err(ManifestError::ConfigLarge { size: config.size });
        }
        if wire.layers.len() > MAX_LAYERS {
            return Err(ManifestError::Layers { count: wire.layers.len() });
        }
        let layer_types = wire
            .layers
            .iter()
            .map(|l| l.media_type.parse())
            .collect::<Result<_, _>>()
            .map_err(|source| ManifestError::LayerType { source })?;
        Ok(Self { wire, layer_types })
    }
}

/// An index of images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    manifests: Vec<Descriptor>,
}

impl Index {
    fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let wire: WireIndex = parse(bytes)?;
        if wire.manifests.len() > MAX_INDEX_ENTRIES {
            return Err(ManifestError::Entries { count: wire.manifests.len() });
        }
        Ok(Self { manifests: wire.manifests })
    }

    /// The entries.
    #[must_use]
    pub fn manifests(&self) -> &[Descriptor] {
        &self.manifests
    }

    /// The first entry for linux/amd64, as containerd chooses.
    ///
    /// # Errors
    ///
    /// [`ManifestError::NoPlatform`] if there is none.
    pub fn guests_image(&self) -> Result<&Descriptor, ManifestError> {
        self.manifests
            .iter()
            .find(|d| d.platform.as_ref().is_some_and(super::Platform::is_guests))
            .ok_or(ManifestError::NoPlatform)
    }
}

/// Why bytes are no manifest or index.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Over the cap.
    #[error("manifest has {size} bytes, more than {MAX_MANIFEST}")]
    Large {
        /// Its size in bytes.
        size: usize,
    },
    /// Not the JSON of a manifest.
    #[error("manifest is malformed")]
    Json {
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// Another schema.
    #[error("manifest has schema version {version}, not 2")]
    SchemaVersion {
        /// Its version.
        version: u64,
    },
    /// Media type outside and inside are not the same.
    #[error("manifest was given as {outer:?} and calls itself {inner:?}")]
    TypesDiffer {
        /// The descriptor's or the response's media type.
        outer: String,
        /// The document's own.
        inner: String,
    },
    /// Neither a manifest nor an index, or both.
    #[error("document's fields do not fit one kind of manifest")]
    Ambiguous,
    /// Another media type.
    #[error("unknown manifest media type {text:?}")]
    UnknownType {
        /// The type.
        text: String,
    },
    /// The configuration is of another type: not an image.
    #[error("configuration media type {text:?} is not an image's")]
    ConfigType {
        /// The type.
        text: String,
    },
    /// The configuration is over the cap.
    #[error("image configuration has {size} bytes, more than {MAX_CONFIG}")]
    ConfigLarge {
        /// Its size in bytes.
        size: u64,
    },
    /// Too many layers.
    #[error("manifest lists {count} layers, more than {MAX_LAYERS}")]
    Layers {
        /// How many.
        count: usize,
    },
    /// A layer that cannot be unpacked.
    #[error("manifest lists a layer that cannot be unpacked")]
    LayerType {
        /// Its type.
        #[source]
        source: BadLayerType,
    },
    /// Too many images in an index.
    #[error("index lists {count} images, more than {MAX_INDEX_ENTRIES}")]
    Entries {
        /// How many.
        count: usize,
    },
    /// No image for the guest's platform.
    #[error("index has no image for linux/amd64")]
    NoPlatform,
}

/// Largest manifest or index in bytes, as registries have it.
pub const MAX_MANIFEST: usize = 4 << 20;
/// Most layers of an image; builders stop at 127.
pub const MAX_LAYERS: usize = 256;
/// Most entries of an index.
const MAX_INDEX_ENTRIES: usize = 1024;
/// How much of a foreign text is shown in an error, in characters.
const MAX_SHOWN: usize = 100;

/// Which of the deciding fields a document has.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: u64,
    media_type: Option<String>,
    layers: Option<serde::de::IgnoredAny>,
    config: Option<serde::de::IgnoredAny>,
    manifests: Option<serde::de::IgnoredAny>,
    fs_layers: Option<serde::de::IgnoredAny>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireManifest {
    schema_version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    config: Descriptor,
    layers: Vec<Descriptor>,
    #[serde(flatten)]
    other: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct WireIndex {
    manifests: Vec<Descriptor>,
}

fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, ManifestError> {
    serde_json::from_slice(bytes).map_err(|source| ManifestError::Json { source })
}

fn shown(text: &str) -> String {
    text.chars().take(MAX_SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

    fn descriptor(kind: &str) -> String {
        format!(r#"{{"mediaType":"{kind}","digest":"{DIGEST}","size":2}}"#)
    }

    fn manifest() -> String {
        let (config, layer) = (descriptor(OCI_CONFIG), descriptor(LAYER));
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{config},"layers":[{layer}],"annotations":{{"a":"b"}}}}"#
        )
    }

    fn index() -> String {
        let entry = |arch: &str, digit: &str| {
            format!(
                r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{}","size":9,"platform":{{"os":"linux","architecture":"{arch}","variant":"v8"}}}}"#,
                DIGEST.replace("e3b0", digit)
            )
        };
        format!(
            r#"{{"schemaVersion":2,"manifests":[{},{},{}]}}"#,
            entry("arm64", "0001"),
            entry("amd64", "0002"),
            entry("amd64", "0003")
        )
    }

    fn fails(text: &str, outer: Option<&str>) -> ManifestError {
        Document::parse(text.as_bytes(), outer).unwrap_err()
    }

    #[test]
    fn manifest_is_read() {
        for outer in [None, Some(OCI_MANIFEST)] {
            let Document::Manifest(found) = Document::parse(manifest().as_bytes(), outer).unwrap()
            else {
                panic!("no manifest")
            };
            assert_eq!(found.config().size, 2);
            assert_eq!(found.layers().len(), 1);
            let again = Document::parse(&found.to_bytes().unwrap(), outer).unwrap();
            assert_eq!(again, Document::Manifest(found));
        }
    }

    #[test]
    fn index_gives_the_first_linux_amd64() {
        let Document::Index(found) = Document::parse(index().as_bytes(), Some(OCI_INDEX)).unwrap()
        else {
            panic!("no index")
        };
        let digest = found.guests_image().unwrap().digest.to_string();
        assert!(digest.starts_with("sha256:0002"), "{digest}");
        let other = index().replace("amd64", "riscv64");
        let Document::Index(found) = Document::parse(other.as_bytes(), None).unwrap() else {
            panic!("no index")
        };
        assert!(matches!(found.guests_image(), Err(ManifestError::NoPlatform)));
    }

    // C2: media-type confusion.
    #[test]
    fn one_document_has_one_kind() {
        let both = manifest().replace("\"layers\"", "\"manifests\":[],\"layers\"");
        assert!(matches!(fails(&both, None), ManifestError::Ambiguous));
        assert!(matches!(fails(&manifest(), Some(OCI_INDEX)), ManifestError::TypesDiffer { .. }));
        let untyped = manifest().replace(&format!("\"mediaType\":\"{OCI_MANIFEST}\","), "");
        assert!(matches!(fails(&untyped, Some(OCI_INDEX)), ManifestError::Ambiguous));
        assert!(matches!(fails(&index(), Some(OCI_MANIFEST)), ManifestError::Ambiguous));
        assert!(matches!(fails(&untyped, Some("text/html")), ManifestError::UnknownType { .. }));
        assert!(matches!(fails(r#"{"schemaVersion":2}"#, None), ManifestError::Ambiguous));
        let old = r#"{"schemaVersion":1,"fsLayers":[]}"#;
        assert!(matches!(fails(old, None), ManifestError::SchemaVersion { version: 1 }));
        let twice = manifest().replace("\"layers\"", "\"layers\":[],\"layers\"");
        assert!(matches!(fails(&twice, None), ManifestError::Json { .. }));
    }

    #[test]
    fn refuses_what_is_no_image() {
        let artifact = manifest().replace(OCI_CONFIG, "application/vnd.example+json");
        assert!(matches!(fails(&artifact, None), ManifestError::ConfigType { .. }));
        let layer = manifest().replace(LAYER, "application/vnd.in-toto+json");
        assert!(matches!(fails(&layer, None), ManifestError::LayerType { .. }));
        let sha512 = manifest().replace(DIGEST, "sha512:00");
        assert!(matches!(fails(&sha512, None), ManifestError::Json { .. }));
        let negative = manifest().replace("\"size\":2", "\"size\":-2");
        assert!(matches!(fails(&negative, None), ManifestError::Json { .. }));
    }

    #[test]
    fn caps_hold() {
        let large = format!("{}{}", manifest(), " ".repeat(MAX_MANIFEST));
        assert!(matches!(fails(&large, None), ManifestError::Large { .. }));
        let layers = vec![descriptor(LAYER); MAX_LAYERS + 1].join(",");
        let many = manifest().replace(&descriptor(LAYER), &layers);
        assert!(matches!(fails(&many, None), ManifestError::Layers { .. }));
        let config = manifest().replacen("\"size\":2", "\"size\":99999999", 1);
        assert!(matches!(fails(&config, None), ManifestError::ConfigLarge { .. }));
        let entries = vec![descriptor(OCI_MANIFEST); MAX_INDEX_ENTRIES + 1].join(",");
        let many = format!(r#"{{"schemaVersion":2,"manifests":[{entries}]}}"#);
        assert!(matches!(fails(&many, None), ManifestError::Entries { .. }));
    }

    #[test]
    fn survives_every_changed_byte_and_every_truncation() {
        let text = manifest();
        for at in 0..text.len() {
            let _ = Document::parse(&text.as_bytes()[..at], None).unwrap_err();
            for change in [0x00, 0x20, 0x7f, 0xff] {
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= change;
                let _ = Document::parse(&bytes, Some(OCI_MANIFEST));
            }
        }
    }
}
