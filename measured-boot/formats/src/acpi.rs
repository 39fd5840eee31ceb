// SPDX-License-Identifier: Apache-2.0
//! The three ACPI files that QEMU hands to a guest's firmware through fw_cfg.
//!
//! The firmware of a TDX guest measures each of them to RTMR 0 as it lies in fw_cfg. Sources: QEMU,
//! `hw/acpi/bios-linker-loader.c` (commands of 128 bytes, zeros behind the last one) and
//! `hw/acpi/aml-build.c`; ACPI Specification 6.5, sections 5.2.5 (RSDP) and 5.2.6 (table header).
//!
//! Addresses and checksums in the files are not final: the commands tell the firmware where to put
//! them. So a table's own checksum says nothing here, and is not looked at; what is checked is that
//! the three files belong together and that each is what it is given as.

use crate::words::take;

/// Largest accepted list of commands, in bytes.
pub const MAX_LOADER_SIZE: usize = 256 * 1024;

/// Largest accepted file of tables, in bytes.
pub const MAX_TABLES_SIZE: usize = 16 * 1024 * 1024;

/// The files, which belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcpiFiles<'a> {
    loader: &'a [u8],
    rsdp: &'a [u8],
    tables: &'a [u8],
}

impl<'a> AcpiFiles<'a> {
    /// Checks fw_cfg's `etc/table-loader`, `etc/acpi/rsdp` and `etc/acpi/tables`.
    ///
    /// # Errors
    ///
    /// A command that is unknown, malformed or about bytes that no file has, files without the
    /// tables that the commands complete, or a root pointer that does not lead to them: see
    /// [`AcpiFilesError`].
    pub fn parse(
        loader: &'a [u8],
        rsdp: &'a [u8],
        tables: &'a [u8],
    ) -> Result<Self, AcpiFilesError> {
        if tables.len() > MAX_TABLES_SIZE {
            return Err(AcpiFilesError::TablesSize { size: tables.len() });
        }
        check_root_pointer(rsdp)?;
        let mut run = Run { rsdp, tables, allocated: Vec::new(), table_starts: Vec::new() };
        let mut root = None;
        for (entry, command) in commands(loader)?.into_iter().enumerate() {
            root = run.check(entry, &command)?.or(root);
        }
        let (at, signature) = root.ok_or(AcpiFilesError::NoRoot)?;
        if !run.table_starts.contains(&at) || !run.tables_at(at).starts_with(signature) {
            return Err(AcpiFilesError::NoRoot);
        }
        Ok(Self { loader, rsdp, tables })
    }

    /// `etc/table-loader`.
    #[must_use]
    pub const fn loader(&self) -> &'a [u8] {
        self.loader
    }

    /// `etc/acpi/rsdp`.
    #[must_use]
    pub const fn rsdp(&self) -> &'a [u8] {
        self.rsdp
    }

    /// `etc/acpi/tables`.
    #[must_use]
    pub const fn tables(&self) -> &'a [u8] {
        self.tables
    }
}

/// Why three files are not QEMU's ACPI files. Entries of the list of commands count from 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AcpiFilesError {
    /// Not whole commands, none at all or too many.
    #[error("etc/table-loader has {size} bytes, expected commands of 128 bytes, at most 262144")]
    LoaderSize {
        /// Size of the file in bytes.
        size: usize,
    },
    /// The tables are too large.
    #[error("etc/acpi/tables has {size} bytes, at most 16777216 are accepted")]
    TablesSize {
        /// Size of the file in bytes.
        size: usize,
    },
    /// A command that QEMU does not write.
    #[error("entry {entry} of etc/table-loader has the unknown command {command}")]
    UnknownCommand {
        /// Number of the entry.
        entry: usize,
        /// Its first word.
        command: u32,
    },
    /// A command whose names or numbers cannot be.
    #[error("entry {entry} of etc/table-loader is malformed")]
    BadCommand {
        /// Number of the entry.
        entry: usize,
    },
    /// A command about a file that no command before it allocates, or a second allocation.
    #[error("entry {entry} of etc/table-loader is about a file that is not allocated once before")]
    BadAllocation {
        /// Number of the entry.
        entry: usize,
    },
    /// A command about bytes that its file has not.
    #[error("entry {entry} of etc/table-loader lies outside its file")]
    OutOfFile {
        /// Number of the entry.
        entry: usize,
    },
    /// A checksum over something else than one whole table.
    #[error("entry {entry} of etc/table-loader completes no table of etc/acpi/tables")]
    NoTable {
        /// Number of the entry.
        entry: usize,
    },
    /// `etc/acpi/rsdp` is no root pointer.
    #[error("etc/acpi/rsdp is no ACPI root pointer")]
    BadRootPointer,
    /// The root pointer does not lead to a table of tables.
    #[error("etc/acpi/rsdp does not lead to a table of etc/acpi/tables")]
    NoRoot,
}

/// RSDP: 20 bytes of ACPI 1.0, or 36 since 2.0.
fn check_root_pointer(rsdp: &[u8]) -> Result<(), AcpiFilesError> {
    let revision = rsdp.get(15).copied();
    let length = rsdp.get(20..24);
    let is_known = match rsdp.len() {
        20 => revision == Some(0),
        36 => revision == Some(2) && length == Some(&36_u32.to_le_bytes()),
        _ => false,
    };
    if is_known && rsdp.starts_with(b"RSD PTR ") {
        Ok(())
    } else {
        Err(AcpiFilesError::BadRootPointer)
    }
}

/// One command for the firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command<'a> {
    /// Put a file into memory.
    Allocate { file: &'a [u8] },
    /// Add the address of one file to a number in another.
    AddPointer { into: &'a [u8], of: &'a [u8], offset: usize, size: usize },
    /// Sum up bytes of a file.
    AddChecksum { file: &'a [u8], result: usize, start: usize, length: usize },
    /// Tell the VMM the address of a file.
    WritePointer { of: &'a [u8] },
}

fn commands(loader: &[u8]) -> Result<Vec<Command<'_>>, AcpiFilesError> {
    let (entries, rest) = loader.as_chunks::<ENTRY_SIZE>();
    if entries.is_empty() || !rest.is_empty() || loader.len() > MAX_LOADER_SIZE {
        return Err(AcpiFilesError::LoaderSize { size: loader.len() });
    }
    // The file is padded with zeros; no command is zero.
    let used = entries.iter().rposition(|entry| entry.iter().any(|byte| *byte != 0));
    let used = used.map_or(0, |last| last.saturating_add(1));
    entries.iter().take(used).enumerate().map(|(number, entry)| command(number, entry)).collect()
}

fn command(number: usize, entry: &[u8; ENTRY_SIZE]) -> Result<Command<'_>, AcpiFilesError> {
    let mut rest = entry.as_slice();
    let code = take(&mut rest).map(u32::from_le_bytes).unwrap_or_default();
    if !(1..=4).contains(&code) {
        return Err(AcpiFilesError::UnknownCommand { entry: number, command: code });
    }
    let command = match code {
        1 => allocate(&mut rest),
        2 => add_pointer(&mut rest),
        3 => add_checksum(&mut rest),
        _ => write_pointer(&mut rest),
    };
    command
        .filter(|_| rest.iter().all(|byte| *byte == 0))
        .ok_or(AcpiFilesError::BadCommand { entry: number })
}

fn allocate<'a>(rest: &mut &'a [u8]) -> Option<Command<'a>> {
    let file = name(rest)?;
    let alignment = take(rest).map(u32::from_le_bytes)?;
    let [zone] = take(rest)?;
    (alignment.is_power_of_two() && matches!(zone, 1 | 2)).then_some(Command::Allocate { file })
}

fn add_pointer<'a>(rest: &mut &'a [u8]) -> Option<Command<'a>> {
    let (into, of) = (name(rest)?, name(rest)?);
    let offset = number(rest)?;
    let [size] = take(rest)?;
    let command = Command::AddPointer { into, of, offset, size: usize::from(size) };
    matches!(size, 1 | 2 | 4 | 8).then_some(command)
}

fn add_checksum<'a>(rest: &mut &'a [u8]) -> Option<Command<'a>> {
    let file = name(rest)?;
    let (result, start, length) = (number(rest)?, number(rest)?, number(rest)?);
    Some(Command::AddChecksum { file, result, start, length })
}

fn write_pointer<'a>(rest: &mut &'a [u8]) -> Option<Command<'a>> {
    let (_, of) = (name(rest)?, name(rest)?);
    let (_, _) = (number(rest)?, number(rest)?);
    let [size] = take(rest)?;
    matches!(size, 1 | 2 | 4 | 8).then_some(Command::WritePointer { of })
}

fn number(rest: &mut &[u8]) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(take(rest)?)).ok()
}

/// A name, which a NUL ends, and zeros.
fn name<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (field, after) = rest.split_at_checked(NAME_SIZE)?;
    *rest = after;
    let length = field.iter().position(|byte| *byte == 0)?;
    let (name, padding) = field.split_at_checked(length)?;
    let is_name = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    (is_name && padding.iter().all(|byte| *byte == 0)).then_some(name)
}

/// What the commands have done so far.
struct Run<'a> {
    rsdp: &'a [u8],
    tables: &'a [u8],
    allocated: Vec<&'a [u8]>,
    /// Where tables begin whose checksum is summed up.
    table_starts: Vec<usize>,
}

impl<'a> Run<'a> {
    /// Checks one command; if it makes the root pointer, says where to and what must lie there.
    fn check(
        &mut self,
        entry: usize,
        command: &Command<'a>,
    ) -> Result<Option<(usize, &'static [u8])>, AcpiFilesError> {
        let known = |file: &[u8]| {
            let is_known = self.allocated.contains(&file);
            is_known.then_some(()).ok_or(AcpiFilesError::BadAllocation { entry })
        };
        match *command {
            Command::Allocate { file } if self.allocated.contains(&file) => {
                return Err(AcpiFilesError::BadAllocation { entry });
            }
            Command::Allocate { file } => self.allocated.push(file),
            Command::WritePointer { of } => known(of)?,
            Command::AddPointer { into, of, offset, size } => {
                known(into)?;
                known(of)?;
                let target = self.pointer(into, of, offset, size);
                let target = target.ok_or(AcpiFilesError::OutOfFile { entry })?;
                return Ok(match (into == RSDP && of == TABLES, offset, size) {
                    (true, 16, 4) => Some((target, b"RSDT".as_slice())),
                    (true, 24, 8) => Some((target, b"XSDT".as_slice())),
                    _ => None,
                });
            }
            Command::AddChecksum { file, result, start, length } => {
                known(file)?;
                let outside = AcpiFilesError::OutOfFile { entry };
                let Some(bytes) = self.file(file) else { return Ok(None) };
                let end = start.checked_add(length).ok_or(outside.clone())?;
                let summed = bytes.get(start..end).ok_or(outside.clone())?;
                if !(start..end).contains(&result) {
                    return Err(outside);
                }
                if file == TABLES {
                    let is_table = is_table(summed) && result == start.saturating_add(9);
                    is_table.then_some(()).ok_or(AcpiFilesError::NoTable { entry })?;
                    self.table_starts.push(start);
                }
            }
        }
        Ok(None)
    }

    /// The number that an address is added to, if it lies in its file and within the other one.
    /// Files beside the two are not given, so nothing is known of them.
    fn pointer(&self, into: &[u8], of: &[u8], offset: usize, size: usize) -> Option<usize> {
        let Some(bytes) = self.file(into) else { return Some(0) };
        let bytes = bytes.get(offset..offset.checked_add(size)?)?;
        let mut value = [0; 8];
        value.get_mut(..size)?.copy_from_slice(bytes);
        let value = usize::try_from(u64::from_le_bytes(value)).ok()?;
        let fits = self.file(of).is_none_or(|file| value < file.len());
        fits.then_some(value)
    }

    fn file(&self, name: &[u8]) -> Option<&'a [u8]> {
        match name {
            RSDP => Some(self.rsdp),
            TABLES => Some(self.tables),
            _ => None,
        }
    }

    fn tables_at(&self, start: usize) -> &'a [u8] {
        self.tables.get(start..).unwrap_or_default()
    }
}

/// Whether these bytes are one table, by its header: signature, and its whole length.
fn is_table(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    let signature: Option<[u8; 4]> = take(&mut rest);
    let length = number(&mut rest);
    bytes.len() >= TABLE_HEADER_SIZE
        && length == Some(bytes.len())
        && signature.is_some_and(|s| s.iter().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit()))
}

const RSDP: &[u8] = b"etc/acpi/rsdp";
const TABLES: &[u8] = b"etc/acpi/tables";
const ENTRY_SIZE: usize = 128;
const NAME_SIZE: usize = 56;
const TABLE_HEADER_SIZE: usize = 36;

#[cfg(test)]
mod tests;
