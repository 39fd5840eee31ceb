// SPDX-License-Identifier: Apache-2.0
//! Initdata: the owner's document that is bound to a guest at launch.
//!
//! Source: the initdata specification of Confidential Containers (trustee, `kbs/docs/initdata.md`),
//! version 0.1.0. The document is TOML with `version`, `algorithm` and a `[data]` table of strings;
//! its digest is taken over the *whole file*, byte for byte, so that spaces and comments count.
//! Initdata is public: it travels through the host in clear.

mod carrier;

use std::collections::BTreeMap;

use ring::digest;
use serde::Serialize;

pub use carrier::MAX_ANNOTATION_SIZE;
pub use carrier::MAX_COMPRESSED_SIZE;
pub use carrier::MAX_DEVICE_SIZE;

/// The only version of the document format that exists.
pub const VERSION: &str = "0.1.0";

/// Largest accepted document, in bytes.
///
/// Kubernetes caps all annotations of an object at 256 KiB, which bounds the compressed form; a
/// policy compresses about fourfold.
pub const MAX_DOCUMENT_SIZE: usize = 1024 * 1024;

/// Largest accepted number of entries in the `[data]` table.
pub const MAX_ENTRIES: usize = 64;

/// Largest accepted name of an entry, in bytes.
pub const MAX_ENTRY_NAME: usize = 256;

/// The document's hash algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// SHA-256: the one that fits SNP's HOST_DATA exactly.
    Sha256,
    /// SHA-384: the one that fits TDX's MRCONFIGID exactly.
    Sha384,
    /// SHA-512: truncated on SNP and TDX.
    Sha512,
}

impl Algorithm {
    const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// The name that stands in the document.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    fn digest(self, bytes: &[u8]) -> digest::Digest {
        let algorithm = match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, bytes)
    }
}

/// A checked initdata document together with the exact bytes that its digest covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Initdata {
    text: String,
    algorithm: Algorithm,
    entries: BTreeMap<String, String>,
}

impl Initdata {
    /// Parses a document and keeps its bytes.
    ///
    /// # Errors
    ///
    /// Anything but exactly `version = "0.1.0"`, a known `algorithm` and a `[data]` table of
    /// strings: see [`InitdataError`]. Duplicate keys are [`InitdataError::Syntax`].
    pub fn parse(document: &[u8]) -> Result<Self, InitdataError> {
        if document.len() > MAX_DOCUMENT_SIZE {
            return Err(InitdataError::DocumentTooLarge);
        }
        let text = std::str::from_utf8(document)
            .map_err(|source| InitdataError::NotUtf8 { offset: source.valid_up_to(), source })?;
        let mut table: toml::Table = text.parse().map_err(|error| syntax_error(text, &error))?;

        let version = take_string(&mut table, "version")?;
        if version != VERSION {
            return Err(InitdataError::UnknownVersion { version });
        }
        let name = take_string(&mut table, "algorithm")?;
        let Some(algorithm) = Algorithm::ALL.into_iter().find(|known| known.name() == name) else {
            return Err(InitdataError::UnknownAlgorithm { algorithm: name });
        };
        let data = match table.remove("data") {
            Some(toml::Value::Table(data)) => data,
            Some(_) => return Err(InitdataError::WrongType { key: "data".to_owned() }),
            None => return Err(InitdataError::MissingKey { key: "data" }),
        };
        // D16: an unknown key may mean something to another reader of the same digest.
        if let Some((key, _)) = table.into_iter().next() {
            return Err(InitdataError::UnknownKey { key });
        }
        Ok(Self { text: text.to_owned(), algorithm, entries: parse_entries(data)? })
    }

    /// Writes a new document with the given entries, sorted by name.
    ///
    /// # Errors
    ///
    /// The caps of [`Initdata::parse`]; an entry given twice is [`InitdataError::DuplicateEntry`].
    pub fn build<N: Into<String>, T: Into<String>>(
        algorithm: Algorithm,
        entries: impl IntoIterator<Item = (N, T)>,
    ) -> Result<Self, InitdataError> {
        #[derive(Serialize)]
        struct Document {
            version: &'static str,
            algorithm: &'static str,
            data: BTreeMap<String, String>,
        }

        let mut data = BTreeMap::new();
        for (name, text) in entries {
            let name = name.into();
            if data.insert(name.clone(), text.into()).is_some() {
                return Err(InitdataError::DuplicateEntry { name });
            }
        }
        let document = Document { version: VERSION, algorithm: algorithm.name(), data };
        let text = toml::to_string_pretty(&document)
            .map_err(|source| InitdataError::Write { source: Box::new(source) })?;
        Self::parse(text.as_bytes())
    }

    /// The document, byte for byte as it was parsed.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// The document as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The document's hash algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The text of one entry of the `[data]` table.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<&str> {
        self.entries.get(name).map(String::as_str)
    }

    /// All entries of the `[data]` table, sorted by name.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// The digest of the whole document under its own algorithm: 32, 48 or 64 bytes.
    #[must_use]
    pub fn digest(&self) -> Vec<u8> {
        self.algorithm.digest(self.as_bytes()).as_ref().to_vec()
    }

    /// The digest as SNP's HOST_DATA holds it: padded with zeros or truncated to 32 bytes.
    #[must_use]
    pub fn host_data(&self) -> [u8; 32] {
        self.fitted_digest()
    }

    /// The digest as TDX's MRCONFIGID holds it: padded with zeros or truncated to 48 bytes.
    #[must_use]
    pub fn mr_config_id(&self) -> [u8; 48] {
        self.fitted_digest()
    }

    fn fitted_digest<const N: usize>(&self) -> [u8; N] {
        let digest = self.algorithm.digest(self.as_bytes());
        let mut field = [0; N];
        for (to, from) in field.iter_mut().zip(digest.as_ref()) {
            *to = *from;
        }
        field
    }
}

/// Why an initdata document, annotation or device is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitdataError {
    /// The document is longer than [`MAX_DOCUMENT_SIZE`].
    #[error("the initdata document is larger than {MAX_DOCUMENT_SIZE} bytes")]
    DocumentTooLarge,
    /// The document is not text.
    #[error("the initdata document is not UTF-8 from byte {offset} on")]
    NotUtf8 {
        /// First bad byte.
        offset: usize,
        /// What the decoder said.
        #[source]
        source: std::str::Utf8Error,
    },
    /// A key stands twice: two readers could take different values.
    #[error("the initdata document has a duplicate key in line {line}")]
    DuplicateKey {
        /// Line of the second one, from 1.
        line: usize,
    },
    /// The document is not TOML.
    #[error("the initdata document is not TOML, line {line}: {reason}")]
    Syntax {
        /// Line of the error, from 1.
        line: usize,
        /// What the parser said, on one line.
        reason: String,
    },
    /// A required key is absent.
    #[error("the initdata document lacks the key {key:?}")]
    MissingKey {
        /// The absent key.
        key: &'static str,
    },
    /// A key that version 0.1.0 does not know.
    #[error("the initdata document has the unknown key {key:?}")]
    UnknownKey {
        /// The unknown key.
        key: String,
    },
    /// A value of another type than the format demands.
    #[error("the initdata key {key:?} has a value of the wrong type")]
    WrongType {
        /// The key of that value.
        key: String,
    },
    /// A version other than [`VERSION`].
    #[error("the initdata version is {version:?}, expected {VERSION:?}")]
    UnknownVersion {
        /// The version in the document.
        version: String,
    },
    /// An algorithm that is not one of [`Algorithm`].
    #[error("the initdata algorithm is {algorithm:?}, expected sha256, sha384 or sha512")]
    UnknownAlgorithm {
        /// The algorithm in the document.
        algorithm: String,
    },
    /// More than [`MAX_ENTRIES`] entries.
    #[error("the initdata document has more than {MAX_ENTRIES} entries")]
    TooManyEntries,
    /// An entry with an empty name or one longer than [`MAX_ENTRY_NAME`].
    #[error("an initdata entry has a name of {length} bytes, expected 1 to {MAX_ENTRY_NAME}")]
    BadEntryName {
        /// Length of the name in bytes.
        length: usize,
    },
    /// An entry was given twice to [`Initdata::build`].
    #[error("the initdata entry {name:?} is given twice")]
    DuplicateEntry {
        /// Name of the entry.
        name: String,
    },
    /// The document cannot be written.
    #[error("failed to write the initdata document")]
    Write {
        /// What the writer said.
        #[source]
        source: Box<toml::ser::Error>,
    },
    /// The annotation is longer than [`MAX_ANNOTATION_SIZE`].
    #[error("the initdata annotation is larger than {MAX_ANNOTATION_SIZE} bytes")]
    AnnotationTooLarge,
    /// The annotation is not standard, padded base64.
    #[error("the initdata annotation is not base64")]
    Base64 {
        /// What the decoder said.
        #[source]
        source: base64::DecodeError,
    },
    /// The compressed document is longer than [`MAX_COMPRESSED_SIZE`].
    #[error("the compressed initdata is larger than {MAX_COMPRESSED_SIZE} bytes")]
    CompressedTooLarge,
    /// The compressed document ends too early.
    #[error("the compressed initdata is truncated")]
    GzipTruncated,
    /// The compressed document is not a gzip member, or its checksum is wrong.
    #[error("the compressed initdata is not gzip")]
    Gzip {
        /// What the decoder said.
        #[source]
        source: std::io::Error,
    },
    /// Bytes follow the compressed document.
    #[error("{length} bytes follow the compressed initdata")]
    TrailingData {
        /// Number of bytes.
        length: usize,
    },
    /// The device is longer than [`MAX_DEVICE_SIZE`].
    #[error("the initdata device is larger than {MAX_DEVICE_SIZE} bytes")]
    DeviceTooLarge,
    /// The device does not start with the magic.
    #[error("the device is not an initdata device")]
    BadMagic,
    /// The device is shorter than its header says.
    #[error("the initdata device is truncated")]
    DeviceTruncated,
    /// The padding of the device holds something.
    #[error("the padding of the initdata device is not zero at byte {offset}")]
    DirtyPadding {
        /// Offset in the device of the first byte that is not zero.
        offset: usize,
    },
}

fn parse_entries(data: toml::Table) -> Result<BTreeMap<String, String>, InitdataError> {
    if data.len() > MAX_ENTRIES {
        return Err(InitdataError::TooManyEntries);
    }
    data.into_iter()
        .map(|(name, value)| {
            if name.is_empty() || name.len() > MAX_ENTRY_NAME {
                return Err(InitdataError::BadEntryName { length: name.len() });
            }
            match value {
                toml::Value::String(text) => Ok((name, text)),
                _ => Err(InitdataError::WrongType { key: name }),
            }
        })
        .collect()
}

fn take_string(table: &mut toml::Table, key: &'static str) -> Result<String, InitdataError> {
    match table.remove(key) {
        Some(toml::Value::String(text)) => Ok(text),
        Some(_) => Err(InitdataError::WrongType { key: key.to_owned() }),
        None => Err(InitdataError::MissingKey { key }),
    }
}

fn syntax_error(text: &str, error: &toml::de::Error) -> InitdataError {
    let start = error.span().map_or(0, |span| span.start);
    let line = text.bytes().take(start).filter(|byte| *byte == b'\n').count().saturating_add(1);
    // The parser has no other sign of it; without this one the document is refused as bad syntax.
    if error.message().starts_with("duplicate key") {
        return InitdataError::DuplicateKey { line };
    }
    InitdataError::Syntax { line, reason: error.message().replace('\n', " ") }
}

#[cfg(test)]
mod tests;
