// SPDX-License-Identifier: Apache-2.0
//! The GUIDed table in the footer of an OVMF image.
//!
//! Source: EDK II, `OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.asm`. The table ends 32 bytes before the
//! end of the image and is walked backwards: each entry is its data, its length (u16) and its GUID.

use super::MAX_TABLE_ENTRIES;
use super::OvmfError;
use crate::guid::Guid;
use crate::guid::guid;

/// The entries of the footer table, last one first.
#[derive(Debug)]
pub(crate) struct FooterTable<'a>(Vec<(Guid, &'a [u8])>);

impl<'a> FooterTable<'a> {
    pub(crate) fn find(image: &'a [u8]) -> Result<Self, OvmfError> {
        let end = image.len().checked_sub(FOOTER_DISTANCE).ok_or(OvmfError::NoTable)?;
        let before = image.get(..end).ok_or(OvmfError::NoTable)?;
        let (before, trailer) = before.split_last_chunk().ok_or(OvmfError::NoTable)?;
        let (guid, table_size) = split_trailer(*trailer);
        if guid != FOOTER {
            return Err(OvmfError::NoTable);
        }
        // The size covers the footer's own trailer.
        let entries_size = table_size.checked_sub(TRAILER_SIZE).ok_or(OvmfError::BadTable)?;
        let start = before.len().checked_sub(entries_size).ok_or(OvmfError::BadTable)?;
        let mut rest = before.get(start..).ok_or(OvmfError::BadTable)?;

        let mut entries = Vec::new();
        while let Some((before, trailer)) = rest.split_last_chunk() {
            if entries.len() >= MAX_TABLE_ENTRIES {
                return Err(OvmfError::TooManyEntries);
            }
            let (guid, size) = split_trailer(*trailer);
            let data_size = size.checked_sub(TRAILER_SIZE).ok_or(OvmfError::BadTable)?;
            let split = before.len().checked_sub(data_size).ok_or(OvmfError::BadTable)?;
            let (before, data) = before.split_at_checked(split).ok_or(OvmfError::BadTable)?;
            entries.push((guid, data));
            rest = before;
        }
        if !rest.is_empty() {
            return Err(OvmfError::BadTable);
        }
        Ok(Self(entries))
    }

    /// The data of one entry, which must have exactly `N` bytes.
    pub(crate) fn entry<const N: usize>(
        &self,
        guid: Guid,
        name: &'static str,
    ) -> Result<Option<[u8; N]>, OvmfError> {
        let mut found = self.0.iter().filter(|(known, _)| *known == guid);
        let Some((_, data)) = found.next() else { return Ok(None) };
        if found.next().is_some() {
            return Err(OvmfError::DuplicateEntry { entry: name });
        }
        let data = <[u8; N]>::try_from(*data)
            .map_err(|_| OvmfError::BadEntry { entry: name, length: data.len() })?;
        Ok(Some(data))
    }
}

fn split_trailer(trailer: [u8; TRAILER_SIZE]) -> (Guid, usize) {
    let [low, high, guid @ ..] = trailer;
    (guid, usize::from(u16::from_le_bytes([low, high])))
}

/// Distance of the footer table's end from the end of the image.
pub(super) const FOOTER_DISTANCE: usize = 32;
/// Length and GUID behind each entry's data.
const TRAILER_SIZE: usize = 18;

pub(super) const FOOTER: Guid = guid(0x96b582de_1fb2_45f7_baea_a366c55a082d);

/// The bytes of a footer table with these entries, first one first.
#[cfg(test)]
pub(crate) fn footer_of(entries: &[(Guid, &[u8])]) -> Vec<u8> {
    let mut table = Vec::new();
    for (guid, data) in entries {
        table.extend(*data);
        table.extend((data.len() as u16 + 18).to_le_bytes());
        table.extend(guid);
    }
    table.extend((table.len() as u16 + 18).to_le_bytes());
    table.extend(FOOTER);
    table
}
