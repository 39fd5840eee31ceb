// SPDX-License-Identifier: Apache-2.0
//! Why a layer is refused.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::tar::TarError;

/// Why a layer cannot be unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// The layer is no tar archive that can be read.
    #[error("layer is no well-formed archive")]
    Tar {
        /// What is wrong.
        #[source]
        source: TarError,
    },
    /// The layer cannot be read or decompressed.
    #[error("failed to read or decompress the layer")]
    Read {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An entry's name is not one that may be unpacked.
    #[error("name {path:?} is refused: {reason}")]
    Name {
        /// The entry's name.
        path: String,
        /// Why.
        reason: &'static str,
    },
    /// An entry cannot be made.
    #[error("failed to {action} {path:?}")]
    Entry {
        /// The entry's name.
        path: String,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// An entry is of a kind that has no place in a layer.
    #[error("entry {path:?} is of unknown type {kind:#04x}")]
    Kind {
        /// The entry's name.
        path: String,
        /// The type byte of its header.
        kind: u8,
    },
    /// Too many entries.
    #[error("image has more than {max} entries")]
    Entries {
        /// The cap.
        max: u64,
    },
    /// Too many bytes.
    #[error("image has more than {max} bytes unpacked")]
    Bytes {
        /// The cap in bytes.
        max: u64,
    },
    /// A file is too large.
    #[error("file {path:?} has {size} bytes, more than {max}")]
    File {
        /// The entry's name.
        path: String,
        /// Its size in bytes.
        size: u64,
        /// The cap in bytes.
        max: u64,
    },
    /// The archive is not the one that the configuration names.
    #[error("unpacked layer differs from its diff_id")]
    DiffId,
    /// The quarantine cannot be made, or cannot become the destination.
    #[error("failed to {action} {path}", path = path.display())]
    Place {
        /// The directory.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl UnpackError {
    /// Whether there was no room left, or the image wants more than it may have.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Entry { source, .. } | Self::Place { source, .. } => [Errno::NOSPC, Errno::DQUOT]
                .iter()
                .any(|e| source.raw_os_error() == Some(e.raw_os_error())),
            Self::Entries { .. } | Self::Bytes { .. } | Self::File { .. } => true,
            _ => false,
        }
    }

    /// Whether the content is not the one that was announced.
    #[must_use]
    pub fn is_wrong_content(&self) -> bool {
        matches!(self, Self::DiffId)
    }

    /// Whether no layer can be the cause.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        matches!(self, Self::Place { .. }) && !self.is_full()
    }
}
