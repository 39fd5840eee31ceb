// SPDX-License-Identifier: Apache-2.0
//! Compares a guest image with its manifest.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use crate::GuestImage;
use crate::Manifest;
use crate::PartRecord;
use crate::ReadError;
use crate::ReferenceValues;
use crate::ReferenceValuesError;
use crate::SBOM_FILE;
use crate::id_blocks::vcpus_of;
use crate::image::MAX_PART_SIZE;
use crate::image::read_capped;
use crate::image::read_manifest;

/// Recomputes the digest of every part and names what differs from the manifest.
///
/// # Errors
///
/// A manifest or folder that cannot be read. A part that differs or is absent is no error but a
/// [`Difference`].
pub fn verify(folder: &Path) -> Result<Vec<Difference>, ReadError> {
    let manifest = read_manifest(folder)?;
    let mut differences = Vec::new();
    for (name, expected) in &manifest.parts {
        match read_capped(&folder.join(name), MAX_PART_SIZE) {
            Ok(bytes) => {
                let found = PartRecord::of(&bytes);
                if found != *expected {
                    let expected = expected.clone();
                    differences.push(Difference::Changed { part: name.clone(), expected, found });
                }
            }
            Err(ReadError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                differences.push(Difference::Missing { part: name.clone() });
            }
            Err(error) => return Err(error),
        }
    }
    let read = |source| ReadError::File { path: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(read)? {
        names.push(entry.map_err(read)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    names.retain(|name| {
        let is_beside = BESIDE.contains(&name.as_str()) || vcpus_of(name).is_some();
        !is_beside && !manifest.parts.contains_key(name)
    });
    differences.extend(names.into_iter().map(|name| Difference::Unexpected { name }));
    Ok(differences)
}

/// Compares the reference values beside a guest image with those that its files lead to; they cover
/// the manifest and the bill of materials too.
///
/// # Errors
///
/// An image that is not what its manifest says, or cannot be measured.
pub fn verify_reference_values(folder: &Path) -> Result<bool, VerifyError> {
    let manifest = read_capped(&folder.join(Manifest::FILE), Manifest::MAX_SIZE)?;
    let sbom = read_capped(&folder.join(SBOM_FILE), MAX_PART_SIZE)?;
    let values = ReferenceValues::of(&GuestImage::read(folder)?, &manifest, &sbom)?.to_json();
    let found = read_capped(&folder.join(ReferenceValues::FILE), ReferenceValues::MAX_SIZE)?;
    Ok(found == values.as_bytes())
}

/// Why reference values cannot be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// A file cannot be read or is not what the manifest says.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The image cannot be measured.
    #[error(transparent)]
    ReferenceValues(#[from] ReferenceValuesError),
}

/// Files that belong to an image and are not measured.
pub(crate) const BESIDE: [&str; 4] =
    [Manifest::FILE, SBOM_FILE, ReferenceValues::FILE, ReferenceValues::SIGNATURE];

/// One way in which a guest image departs from its manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Difference {
    /// A part has other bytes.
    Changed {
        /// Name of the part.
        part: String,
        /// What the manifest says.
        expected: PartRecord,
        /// What lies there.
        found: PartRecord,
    },
    /// A part is absent.
    Missing {
        /// Name of the part.
        part: String,
    },
    /// A file that is no part of the image.
    Unexpected {
        /// Name of the file.
        name: String,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { part, expected, found } => write!(
                formatter,
                "{part} differs: expected {} bytes, sha256 {}; found {} bytes, sha256 {}",
                expected.size, expected.sha256, found.size, found.sha256
            ),
            Self::Missing { part } => write!(formatter, "{part} is missing"),
            Self::Unexpected { name } => write!(formatter, "{name} is not part of the image"),
        }
    }
}
