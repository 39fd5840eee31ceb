// SPDX-License-Identifier: Apache-2.0
//! Reading single files out of a layer without unpacking it.

use std::io::Read;

use crate::apply::Archive;
use crate::decompress::Compression;
use crate::error::UnpackError;
use crate::name;
use crate::name::Name;
use crate::quarantine::Limits;
use crate::tar::Chunk;
use crate::tar::Kind;
use crate::tar::shown;

/// What a layer says of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundFile {
    /// Nothing: a lower layer may have it.
    Absent,
    /// A regular file with this content.
    Content(Vec<u8>),
    /// No lower layer's file is visible, and this layer has none.
    Hidden,
    /// Something else is there, for example a link.
    Special,
}

/// Reads a layer to its end and returns what it says of each of the files `wanted`, in their order,
/// once the archive's SHA-256 agreed with `diff_id`. Paths have no leading slash.
///
/// # Errors
///
/// [`UnpackError`] if the layer is malformed, over a limit or differs; a wanted file may have at
/// most `limits.file_bytes`.
pub fn find_files(
    layer: &mut dyn Read,
    compression: Compression,
    diff_id: &[u8; 32],
    wanted: &[&str],
    limits: Limits,
) -> Result<Vec<FoundFile>, UnpackError> {
    let unlimited = Limits { file_bytes: limits.bytes, ..limits };
    let mut archive = Archive::new(layer, compression, unlimited, unlimited);
    let mut found = vec![FoundFile::Absent; wanted.len()];
    while let Some(entry) = archive.next_entry()? {
        match name::parse(&entry.path)? {
            Name::Root | Name::Ignored => {}
            Name::Entry { .. } => {
                let path = name::normal(&entry.path);
                for (wanted, found) in wanted.iter().zip(&mut found) {
                    if path == wanted.as_bytes() {
                        *found = match entry.kind {
                            Kind::File { size } if size > limits.file_bytes => {
                                let (path, max) = (shown(&path), limits.file_bytes);
                                return Err(UnpackError::File { path, size, max });
                            }
                            Kind::File { .. } => FoundFile::Content(read(&mut archive)?),
                            _ => FoundFile::Special,
                        };
                    } else if is_below(wanted, &path) && entry.kind != Kind::Directory {
                        *found = FoundFile::Special;
                    }
                }
            }
            Name::Whiteout { parent, name } => {
                let path = if parent.is_empty() { name } else { [parent, name].join(&b'/') };
                for (wanted, found) in wanted.iter().zip(&mut found) {
                    if path == wanted.as_bytes() || is_below(wanted, &path) {
                        hide(found);
                    }
                }
            }
            Name::Opaque { directory } => {
                for (wanted, found) in wanted.iter().zip(&mut found) {
                    if directory.is_empty() || is_below(wanted, &directory) {
                        hide(found);
                    }
                }
            }
        }
    }
    archive.finish(diff_id)?;
    Ok(found)
}

/// A whiteout hides lower layers only, so what this layer has stays.
fn hide(found: &mut FoundFile) {
    if *found == FoundFile::Absent {
        *found = FoundFile::Hidden;
    }
}

fn is_below(path: &str, directory: &[u8]) -> bool {
    path.as_bytes().strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
}

fn read(archive: &mut Archive<'_>) -> Result<Vec<u8>, UnpackError> {
    let mut content = Vec::new();
    while let Some(chunk) = archive.next_chunk()? {
        match chunk {
            Chunk::Data(data) => content.extend_from_slice(data),
            Chunk::Hole(size) => {
                let zeros = usize::try_from(size).unwrap_or(usize::MAX);
                content.resize(content.len().saturating_add(zeros), 0);
            }
        }
    }
    Ok(content)
}
