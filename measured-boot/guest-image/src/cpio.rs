// SPDX-License-Identifier: Apache-2.0
//! A writer of newc cpio archives that always gives the same bytes for the same entries.
//!
//! Source: Linux, `Documentation/driver-api/early-userspace/buffer-format.rst`. All entries belong
//! to root, have time zero and consecutive inode numbers, and stand in the order of their paths.

use std::collections::BTreeMap;

/// An archive under construction; its folders come by themselves.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug, PartialEq, Eq)]
enum Entry {
    Folder,
    File { executable: bool, contents: Vec<u8> },
    CharDevice { major: u32, minor: u32 },
}

impl Archive {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds an empty folder.
    pub(crate) fn folder(&mut self, path: &str) -> Result<(), CpioError> {
        self.insert(path, Entry::Folder)
    }

    /// Adds a file that everybody may read.
    pub(crate) fn file(&mut self, path: &str, contents: Vec<u8>) -> Result<(), CpioError> {
        self.insert(path, Entry::File { executable: false, contents })
    }

    /// Adds a file that everybody may read and execute.
    pub(crate) fn program(&mut self, path: &str, contents: Vec<u8>) -> Result<(), CpioError> {
        self.insert(path, Entry::File { executable: true, contents })
    }

    /// Adds a character device that everybody may read and write.
    pub(crate) fn char_device(
        &mut self,
        path: &str,
        major: u32,
        minor: u32,
    ) -> Result<(), CpioError> {
        self.insert(path, Entry::CharDevice { major, minor })
    }

    /// The files of the archive with their contents, in the order of their paths.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.entries.iter().filter_map(|(path, entry)| match entry {
            Entry::File { contents, .. } => Some((path.as_str(), contents.as_slice())),
            Entry::Folder | Entry::CharDevice { .. } => None,
        })
    }

    /// Writes the archive.
    pub(crate) fn write(&self) -> Result<Vec<u8>, CpioError> {
        let mut out = Vec::new();
        for (inode, (path, entry)) in (1..).zip(&self.entries) {
            let header = match entry {
                Entry::Folder => Header { mode: 0o04_0755, links: 2, ..Header::default() },
                Entry::File { executable, contents } => Header {
                    mode: if *executable { 0o10_0755 } else { 0o10_0644 },
                    size: u32::try_from(contents.len())
                        .map_err(|_| CpioError::FileTooLarge { path: path.clone() })?,
                    ..Header::default()
                },
                Entry::CharDevice { major, minor } => {
                    Header { mode: 0o02_0666, device: (*major, *minor), ..Header::default() }
                }
            };
            Header { inode, ..header }.write(path, &mut out)?;
            if let Entry::File { contents, .. } = entry {
                out.extend_from_slice(contents);
                pad(&mut out);
            }
        }
        Header { links: 1, ..Header::default() }.write(TRAILER, &mut out)?;
        Ok(out)
    }

    fn insert(&mut self, path: &str, entry: Entry) -> Result<(), CpioError> {
        let refused = |reason| CpioError::BadPath { path: path.to_owned(), reason };
        if path.len() > MAX_PATH {
            return Err(refused("too long"));
        }
        if path.contains('\0') || path == TRAILER {
            return Err(refused("reserved"));
        }
        if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(refused("not plain and relative"));
        }
        for (end, _) in path.match_indices('/') {
            let parent = path.split_at(end).0.to_owned();
            if *self.entries.entry(parent).or_insert(Entry::Folder) != Entry::Folder {
                return Err(refused("below a file"));
            }
        }
        match self.entries.get(path) {
            // A folder may have come by itself before.
            Some(Entry::Folder) if entry == Entry::Folder => {}
            Some(_) => return Err(refused("given twice")),
            None => {
                self.entries.insert(path.to_owned(), entry);
            }
        }
        Ok(())
    }
}

/// Why an archive cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CpioError {
    /// A path that no archive of ours holds.
    #[error("the initramfs cannot hold the path {path:?}: {reason}")]
    BadPath {
        /// The refused path.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A file of 4 GiB or more.
    #[error("the file {path:?} is too large for an initramfs")]
    FileTooLarge {
        /// Path of the file in the archive.
        path: String,
    },
}

struct Header {
    inode: u32,
    mode: u32,
    links: u32,
    size: u32,
    device: (u32, u32),
}

impl Default for Header {
    fn default() -> Self {
        Self { inode: 0, mode: 0, links: 1, size: 0, device: (0, 0) }
    }
}

impl Header {
    fn write(&self, path: &str, out: &mut Vec<u8>) -> Result<(), CpioError> {
        let name_size = u32::try_from(path.len().saturating_add(1))
            .map_err(|_| CpioError::BadPath { path: path.to_owned(), reason: "too long" })?;
        out.extend_from_slice(b"070701");
        let Self { inode, mode, links, size, device: (major, minor) } = *self;
        // inode, mode, uid, gid, links, time, size, device of the file system, device, name, check
        for field in [inode, mode, 0, 0, links, 0, size, 0, 0, major, minor, name_size, 0] {
            out.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        out.extend_from_slice(path.as_bytes());
        out.push(0);
        pad(out);
        Ok(())
    }
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

const TRAILER: &str = "TRAILER!!!";
/// Linux skips entries with longer names.
const MAX_PATH: usize = 4095;

#[cfg(test)]
mod tests;
