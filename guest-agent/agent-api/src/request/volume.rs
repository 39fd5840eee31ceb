// SPDX-License-Identifier: Apache-2.0
//! The content of a volume: the one way for the host's bytes into files of the guest.

use std::collections::BTreeSet;
use std::fmt;

use super::Problem;
use super::RequestError;
use super::admit_within;
use super::text;
use crate::proto;

/// Most files of a revision.
pub const MAX_VOLUME_FILES: usize = 1024;
/// Most bytes of content of a revision: Kubernetes' own limit of 1 MiB for a ConfigMap or Secret,
/// and 64 KiB for what a projected volume adds to it.
pub const MAX_VOLUME_BYTES: usize = 1024 * 1024 + 64 * 1024;
/// Most bytes of the message: content, names and what encodes them.
pub(crate) const MAX_MESSAGE: u64 = 1536 * 1024;

/// Name of a volume in the pod: a DNS label, as Kubernetes demands.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VolumeName(String);

impl VolumeName {
    /// Most bytes of a name (RFC 1123, section 2.1).
    pub const MAX: usize = 63;

    /// Parses the text: 1 to 63 bytes of `[a-z0-9]([a-z0-9-]*[a-z0-9])?`.
    ///
    /// # Errors
    ///
    /// [`RequestError`] when it has another form.
    pub fn parse(name: &str) -> Result<Self, RequestError> {
        text::within("volume", name.len(), Self::MAX)?;
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let well_formed = name.bytes().next().is_some_and(inner)
            && name.bytes().next_back().is_some_and(inner)
            && name.bytes().all(|b| inner(b) || b == b'-');
        if well_formed {
            Ok(Self(name.to_owned()))
        } else {
            Err(RequestError::new("volume", Problem::Form))
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Name of a file in a volume: one component of a path, never of a special meaning.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileName(String);

impl FileName {
    /// Most bytes of a name (`NAME_MAX` of Linux).
    pub const MAX: usize = 255;

    /// Parses the text: 1 to 255 bytes without `/` and control characters that do not begin with
    /// `..` (which a volume's own bookkeeping uses) and are not `.`.
    ///
    /// # Errors
    ///
    /// [`RequestError`] when it has another form.
    pub fn parse(name: &str) -> Result<Self, RequestError> {
        // A13: a name that leaves its directory, or that the kernel would read otherwise.
        text::within("name", name.len(), Self::MAX)?;
        if name.chars().any(char::is_control) {
            return Err(RequestError::new("name", Problem::Character));
        }
        if name.is_empty() || name == "." || name.starts_with("..") || name.contains('/') {
            return Err(RequestError::new("name", Problem::Form));
        }
        Ok(Self(name.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A new revision of a volume.
#[derive(Clone, PartialEq, Eq)]
pub struct PutVolume {
    /// The volume.
    pub volume: VolumeName,
    /// All of its files; names are different.
    pub files: Vec<VolumeFile>,
}

/// One file of a volume.
#[derive(Clone, PartialEq, Eq)]
pub struct VolumeFile {
    /// Its name.
    pub name: FileName,
    /// Its content.
    pub content: Vec<u8>,
}

impl TryFrom<proto::PutVolumeRequest> for PutVolume {
    type Error = RequestError;

    fn try_from(message: proto::PutVolumeRequest) -> Result<Self, Self::Error> {
        // A15: what lies beyond a cap is not looked at.
        admit_within("put_volume", &message, MAX_MESSAGE)?;
        text::within("files", message.files.len(), MAX_VOLUME_FILES)?;
        let bytes =
            message.files.iter().fold(0, |sum: usize, f| sum.saturating_add(f.content.len()));
        text::within("content", bytes, MAX_VOLUME_BYTES)?;
        let volume = VolumeName::parse(&message.volume)?;
        let files: Vec<VolumeFile> =
            message.files.into_iter().map(VolumeFile::try_from).collect::<Result<_, _>>()?;
        let mut names = BTreeSet::new();
        if !files.iter().all(|file| names.insert(&file.name)) {
            return Err(RequestError::new("name", Problem::Twice));
        }
        Ok(Self { volume, files })
    }
}

impl TryFrom<proto::File> for VolumeFile {
    type Error = RequestError;

    fn try_from(message: proto::File) -> Result<Self, Self::Error> {
        admit_within("files", &message, MAX_MESSAGE)?;
        Ok(Self { name: FileName::parse(&message.name)?, content: message.content })
    }
}

/// Without the content: a Secret of Kubernetes may be in it.
impl fmt::Debug for PutVolume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PutVolume")
            .field("volume", &self.volume)
            .field("files", &self.files)
            .finish()
    }
}

/// Without the content.
impl fmt::Debug for VolumeFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VolumeFile")
            .field("name", &self.name)
            .field("bytes", &self.content.len())
            .finish()
    }
}
