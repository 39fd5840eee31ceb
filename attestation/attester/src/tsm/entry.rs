// SPDX-License-Identifier: Apache-2.0
//! One request: a folder of configfs whose files are its fields.

use std::io;
use std::path::{Path, PathBuf};

use rustix::rand::{GetRandomFlags, getrandom};

use super::{PrivilegeLevel, Provider, TsmError};
use crate::files::Files;

pub(super) const INBLOB: &str = "inblob";
pub(super) const OUTBLOB: &str = "outblob";
pub(super) const AUXBLOB: &str = "auxblob";
const GENERATION: &str = "generation";
const PROVIDER: &str = "provider";
const PRIVLEVEL: &str = "privlevel";

/// A folder of our own, removed when dropped.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    files: &'a dyn Files,
    path: PathBuf,
}

impl<'a> Entry<'a> {
    pub(super) fn create(files: &'a dyn Files, folder: &Path) -> Result<Self, TsmError> {
        for _ in 0..NAMES {
            let path = folder.join(random_name()?);
            match files.make_folder(&path) {
                Ok(()) => return Ok(Self { files, path }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(TsmError::Absent { folder: folder.to_owned() });
                }
                Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {
                    return Err(TsmError::NoProvider);
                }
                Err(source) => return Err(TsmError::Create { source }),
            }
        }
        Err(TsmError::NamesTaken { attempts: NAMES })
    }

    pub(super) fn expect_provider(&self, expected: Provider) -> Result<(), TsmError> {
        let name = self.read(PROVIDER, MAX_TEXT)?;
        if name.trim_ascii_end() == expected.as_str().as_bytes() {
            return Ok(());
        }
        let found = name.trim_ascii_end().iter().copied().filter(u8::is_ascii_graphic);
        Err(TsmError::OtherProvider { expected, found: found.map(char::from).collect() })
    }

    /// How often the entry was written.
    pub(super) fn generation(&self) -> Result<u64, TsmError> {
        let text = self.read(GENERATION, MAX_TEXT)?;
        parse_generation(&text).ok_or(TsmError::Generation)
    }

    pub(super) fn set_level(&self, level: PrivilegeLevel) -> Result<(), TsmError> {
        let written = self.files.write(&self.path.join(PRIVLEVEL), level.as_str().as_bytes());
        written.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => TsmError::NoPrivilegeLevels,
            io::ErrorKind::InvalidInput => TsmError::PrivilegeLevel { level, source },
            _ => TsmError::Write { attribute: PRIVLEVEL, source },
        })
    }

    /// Writes a binary attribute. The kernel takes the value when the file is closed and drops its
    /// own refusal: only the generation tells whether the value arrived.
    pub(super) fn write(&self, attribute: &'static str, bytes: &[u8]) -> Result<(), TsmError> {
        self.files
            .write(&self.path.join(attribute), bytes)
            .map_err(|source| TsmError::Write { attribute, source })
    }

    pub(super) fn read(&self, attribute: &'static str, cap: usize) -> Result<Vec<u8>, TsmError> {
        self.files
            .read(&self.path.join(attribute), cap)
            .map_err(|source| TsmError::Read { attribute, source })?
            .ok_or(TsmError::TooLarge { attribute, cap })
    }

    /// Reads an attribute that not every driver has.
    pub(super) fn read_optional(
        &self,
        attribute: &'static str,
        cap: usize,
    ) -> Result<Option<Vec<u8>>, TsmError> {
        match self.read(attribute, cap) {
            Err(TsmError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            result => result.map(Some),
        }
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        // An entry that stays costs some memory of the kernel and holds nothing secret.
        let _ = self.files.remove_folder(&self.path);
    }
}

/// A name that no other process has reason to choose.
fn random_name() -> Result<String, TsmError> {
    let mut bytes = [0; 16];
    let filled = getrandom(&mut bytes, GetRandomFlags::empty())
        .map_err(|errno| TsmError::Create { source: errno.into() })?;
    if filled != bytes.len() {
        return Err(TsmError::Create { source: io::ErrorKind::UnexpectedEof.into() });
    }
    Ok(format!("casemate-{:032x}", u128::from_le_bytes(bytes)))
}

pub(super) fn parse_generation(text: &[u8]) -> Option<u64> {
    let digits = text.strip_suffix(b"\n").unwrap_or(text);
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Random names that are tried.
const NAMES: u32 = 4;
/// Largest text attribute, in bytes; names and numbers are far smaller.
const MAX_TEXT: usize = 64;
