// SPDX-License-Identifier: Apache-2.0
//! The SEV kernel-hashes table, by which measured firmware checks kernel, initrd and command line.
//!
//! Sources: QEMU, `target/i386/sev.c` (`SevHashTable`); EDK II,
//! `OvmfPkg/AmdSev/BlobVerifierLibSevHashes`. A header (GUID, u16 length 168) is followed by three
//! entries (GUID, u16 length 50, SHA-256) for command line, initrd and kernel, in this order, and
//! by zeros up to a multiple of 16.
//!
//! # Security
//!
//! E1: firmware *accepts unchecked* what the table does not name. So a table here always names all
//! three, and one that lacks an entry is refused.

use ring::digest;

use crate::guid::Guid;
use crate::guid::guid;
use crate::words::take;

/// Size of the table with its padding, in bytes.
pub const TABLE_SIZE: usize = 176;

/// Longest command line that Linux takes on x86, in bytes, without its NUL.
pub const MAX_COMMAND_LINE: usize = 2047;

/// The three digests that the firmware demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KernelHashes {
    /// SHA-256 of the command line and one NUL.
    pub cmdline: [u8; 32],
    /// SHA-256 of the initrd; of nothing if there is none.
    pub initrd: [u8; 32],
    /// SHA-256 of the kernel file as it is, setup header included.
    pub kernel: [u8; 32],
}

impl KernelHashes {
    /// Hashes what a launcher is going to give to the firmware. `cmdline` comes without its NUL.
    ///
    /// # Errors
    ///
    /// [`KernelHashesError::NulInCommandLine`] and [`KernelHashesError::CommandLineTooLong`]: of
    /// such a line the kernel would read another one than was hashed.
    pub fn of(kernel: &[u8], initrd: &[u8], cmdline: &[u8]) -> Result<Self, KernelHashesError> {
        if cmdline.len() > MAX_COMMAND_LINE {
            return Err(KernelHashesError::CommandLineTooLong { length: cmdline.len() });
        }
        if cmdline.contains(&0) {
            return Err(KernelHashesError::NulInCommandLine);
        }
        Ok(Self {
            cmdline: sha256(&[cmdline, &[0]]),
            initrd: sha256(&[initrd]),
            kernel: sha256(&[kernel]),
        })
    }

    /// Writes the table.
    #[must_use]
    pub fn to_table(&self) -> [u8; TABLE_SIZE] {
        let mut table = [0; TABLE_SIZE];
        let mut rest = table.as_mut_slice();
        put(&mut rest, &HEADER);
        put(&mut rest, &TABLE_LENGTH.to_le_bytes());
        for (entry, hash) in Entry::ALL.into_iter().zip([&self.cmdline, &self.initrd, &self.kernel])
        {
            put(&mut rest, &entry.guid());
            put(&mut rest, &ENTRY_LENGTH.to_le_bytes());
            put(&mut rest, hash);
        }
        table
    }

    /// Reads the table in a page that a launcher fills, if there is one: each place where the header
    /// stands is the beginning of a table.
    ///
    /// # Errors
    ///
    /// A table that [`KernelHashes::from_table`] refuses, or that the page's end cuts.
    ///
    /// # Security
    ///
    /// E1: a launch with such a page would look measured and start what the table does not name.
    pub fn in_page(page: &[u8]) -> Result<Option<Self>, KernelHashesError> {
        let mut found = None;
        for (offset, start) in page.windows(HEADER.len()).enumerate() {
            if start == HEADER {
                let table = page.get(offset..).unwrap_or_default();
                let table = table.get(..table.len().min(TABLE_SIZE)).unwrap_or_default();
                found = Some(Self::from_table(table)?);
            }
        }
        Ok(found)
    }

    /// Reads a table: exactly the bytes that [`KernelHashes::to_table`] writes for some digests.
    ///
    /// # Errors
    ///
    /// A table that lacks an entry, has another order, another length or anything in its padding:
    /// see [`KernelHashesError`].
    pub fn from_table(table: &[u8]) -> Result<Self, KernelHashesError> {
        let table: &[u8; TABLE_SIZE] =
            table.try_into().map_err(|_| KernelHashesError::WrongSize { size: table.len() })?;
        let mut rest = table.as_slice();
        if take(&mut rest) != Some(HEADER) {
            return Err(KernelHashesError::BadHeader);
        }
        let length = take(&mut rest).map(u16::from_le_bytes).unwrap_or_default();
        // A shorter table lacks entries, whatever stands behind its end.
        let entries = usize::from(length).saturating_sub(HEADER_SIZE);
        let (mut entries, padding) =
            rest.split_at_checked(entries).ok_or(KernelHashesError::BadLength { length })?;
        let mut found = Vec::new();
        while !entries.is_empty() {
            let guid = take(&mut entries).ok_or(KernelHashesError::BadLength { length })?;
            let Some(entry) = Entry::ALL.into_iter().find(|entry| entry.guid() == guid) else {
                // It stands where one of the three must stand.
                let missing = |entry: &Entry| found.iter().all(|(known, _)| known != entry);
                let entry = Entry::ALL.into_iter().find(missing).unwrap_or(Entry::Kernel);
                return Err(KernelHashesError::MissingEntry { entry: entry.name() });
            };
            let bad = KernelHashesError::BadEntry { entry: entry.name() };
            if take(&mut entries) != Some(ENTRY_LENGTH.to_le_bytes()) {
                return Err(bad);
            }
            let hash: [u8; 32] = take(&mut entries).ok_or(bad)?;
            if found.iter().any(|(known, _)| *known == entry) {
                return Err(KernelHashesError::DuplicateEntry { entry: entry.name() });
            }
            found.push((entry, hash));
        }
        let hash_of = |entry: Entry| {
            found
                .iter()
                .find(|(known, _)| *known == entry)
                .map(|(_, hash)| *hash)
                .ok_or(KernelHashesError::MissingEntry { entry: entry.name() })
        };
        let hashes = Self {
            cmdline: hash_of(Entry::CommandLine)?,
            initrd: hash_of(Entry::Initrd)?,
            kernel: hash_of(Entry::Kernel)?,
        };
        if !found.iter().map(|(entry, _)| *entry).eq(Entry::ALL) {
            return Err(KernelHashesError::WrongOrder);
        }
        if length != TABLE_LENGTH {
            return Err(KernelHashesError::BadLength { length });
        }
        if padding.iter().any(|byte| *byte != 0) {
            return Err(KernelHashesError::DirtyPadding);
        }
        Ok(hashes)
    }

    /// The whole page that a launcher measures: the table at its offset, zeros around it.
    ///
    /// # Errors
    ///
    /// [`KernelHashesError::OutsidePage`] if the table would cross the page's end.
    pub fn to_page(&self, table_address: u64) -> Result<Box<[u8; 4096]>, KernelHashesError> {
        let mut page = Box::new([0; 4096]);
        let outside = KernelHashesError::OutsidePage { address: table_address };
        let offset =
            usize::try_from(table_address % crate::ovmf::PAGE_SIZE).map_err(|_| outside.clone())?;
        let place = page.get_mut(offset..).and_then(|rest| rest.first_chunk_mut());
        *place.ok_or(outside)? = self.to_table();
        Ok(page)
    }
}

/// Why a kernel-hashes table cannot be made or is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelHashesError {
    /// The command line holds a NUL.
    #[error("the kernel command line contains a NUL byte")]
    NulInCommandLine,
    /// The command line is longer than [`MAX_COMMAND_LINE`].
    #[error("the kernel command line has {length} bytes, more than {MAX_COMMAND_LINE}")]
    CommandLineTooLong {
        /// Length in bytes.
        length: usize,
    },
    /// The table has not exactly [`TABLE_SIZE`] bytes.
    #[error("the SEV hash table has {size} bytes, expected {TABLE_SIZE}")]
    WrongSize {
        /// Size in bytes.
        size: usize,
    },
    /// The table does not start with its GUID.
    #[error("the SEV hash table has no header")]
    BadHeader,
    /// The length in the header is wrong.
    #[error("the SEV hash table says that it has {length} bytes")]
    BadLength {
        /// Length in the header.
        length: u16,
    },
    /// The table does not name one of the three; firmware would then accept any.
    #[error("the SEV hash table lacks the {entry}")]
    MissingEntry {
        /// The absent entry.
        entry: &'static str,
    },
    /// The table names one of the three twice; firmware and owner could take different ones.
    #[error("the SEV hash table names the {entry} twice")]
    DuplicateEntry {
        /// The repeated entry.
        entry: &'static str,
    },
    /// The three entries stand in another order than every launcher writes.
    #[error("the entries of the SEV hash table are in the wrong order")]
    WrongOrder,
    /// An entry has another length than a SHA-256 entry.
    #[error("the {entry} entry of the SEV hash table has the wrong length")]
    BadEntry {
        /// The bad entry.
        entry: &'static str,
    },
    /// The padding of the table holds something.
    #[error("the padding of the SEV hash table is not zero")]
    DirtyPadding,
    /// The table does not fit its page.
    #[error("a SEV hash table at {address:#x} crosses the end of its page")]
    OutsidePage {
        /// Guest-physical address of the table.
        address: u64,
    },
}

/// The three entries of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    CommandLine,
    Initrd,
    Kernel,
}

impl Entry {
    /// All of them, in the order of the table.
    const ALL: [Self; 3] = [Self::CommandLine, Self::Initrd, Self::Kernel];

    fn guid(self) -> Guid {
        match self {
            Self::CommandLine => CMDLINE,
            Self::Initrd => INITRD,
            Self::Kernel => KERNEL,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::CommandLine => "command line",
            Self::Initrd => "initrd",
            Self::Kernel => "kernel",
        }
    }
}

fn put<const N: usize>(rest: &mut &mut [u8], bytes: &[u8; N]) {
    if let Some((place, after)) = std::mem::take(rest).split_first_chunk_mut() {
        *place = *bytes;
        *rest = after;
    }
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

const HEADER_SIZE: usize = 18;
/// Length of the table without its padding.
const TABLE_LENGTH: u16 = 168;
const ENTRY_LENGTH: u16 = 50;

const HEADER: Guid = guid(0x9438d606_4f22_4cc9_b479_a793d411fd21);
const CMDLINE: Guid = guid(0x97d02dd8_bd20_4c94_aa78_e7714d36ab2a);
const INITRD: Guid = guid(0x44baf731_3a2f_4bd7_9af1_41e29169781d);
const KERNEL: Guid = guid(0x4de79437_abd2_427f_b835_d5b172d2045b);

#[cfg(test)]
mod tests;
