// SPDX-License-Identifier: Apache-2.0
//! The Authenticode digest of a PE file, by which firmware measures a kernel.
//!
//! Sources: Microsoft, *Windows Authenticode Portable Executable Signature Format*, "Calculating
//! the PE Image Hash"; EDK II, `DxeTpm2MeasureBootLib`. It covers the file but for its checksum, the
//! directory entry of its certificates and the certificates. A bzImage with an EFI stub is a PE file.

use ring::digest;

use super::EventDigest;

/// Largest accepted PE file in bytes.
pub const MAX_PE_SIZE: usize = 256 * 1024 * 1024;

/// Largest accepted number of sections; Linux has four.
const MAX_PE_SECTIONS: usize = 96;

/// The SHA-384 Authenticode digest of a file: the first event of RTMR 1.
///
/// # Errors
///
/// A file that is no PE file for 64 bits, or that could be read in two ways: see
/// [`AuthenticodeError`].
pub fn authenticode_digest(file: &[u8]) -> Result<EventDigest, AuthenticodeError> {
    let mut context = digest::Context::new(&digest::SHA384);
    for part in hashed_parts(file)? {
        context.update(part);
    }
    let mut hash = [0; 48];
    hash.copy_from_slice(context.finish().as_ref());
    Ok(EventDigest(hash))
}

/// The parts of the file that are hashed, in order.
fn hashed_parts(file: &[u8]) -> Result<Vec<&[u8]>, AuthenticodeError> {
    if file.len() > MAX_PE_SIZE {
        return Err(AuthenticodeError::TooLarge { size: file.len() });
    }
    if !file.len().is_multiple_of(8) {
        return Err(AuthenticodeError::UnalignedSize { size: file.len() });
    }
    let pe = Pe { file };
    let signature = pe.offset(0x3c)?;
    if pe.bytes::<4>(signature)? != *b"PE\0\0" {
        return Err(AuthenticodeError::NotPe);
    }
    let sections = usize::from(u16::from_le_bytes(pe.bytes(at(signature, 6))?));
    let optional_size = usize::from(u16::from_le_bytes(pe.bytes(at(signature, 20))?));
    let optional = at(signature, 24);
    if pe.bytes::<2>(optional)? != PE32_PLUS {
        return Err(AuthenticodeError::NotPe);
    }
    if sections > MAX_PE_SECTIONS {
        return Err(AuthenticodeError::TooManySections { count: sections });
    }
    let checksum = at(optional, 64);
    let directory = at(optional, CERTIFICATE_ENTRY);
    let directories = u32::from_le_bytes(pe.bytes(at(optional, 108))?);
    if optional_size < CERTIFICATE_ENTRY + 8 || directories < 5 {
        return Err(AuthenticodeError::Malformed);
    }
    let headers_end = pe.offset(at(optional, 60))?;

    let mut parts = vec![
        pe.part(0, checksum)?,
        pe.part(at(checksum, 4), directory)?,
        pe.part(at(directory, 8), headers_end)?,
    ];
    let table = at(optional, optional_size);
    if at(table, sections.saturating_mul(SECTION_HEADER)) > headers_end {
        return Err(AuthenticodeError::Malformed);
    }
    let mut ranges = Vec::with_capacity(sections);
    for index in 0..sections {
        let header = at(table, index.saturating_mul(SECTION_HEADER));
        let (size, start) = (pe.offset(at(header, 16))?, pe.offset(at(header, 20))?);
        if size > 0 {
            ranges.push((start, at(start, size)));
        }
    }
    ranges.sort_unstable();
    let mut hashed_end = headers_end;
    for (start, end) in ranges {
        // Bytes between or below sections would be hashed by some and not by others.
        if start != hashed_end {
            return Err(AuthenticodeError::Malformed);
        }
        parts.push(pe.part(start, end)?);
        hashed_end = end;
    }
    let (start, size) = (pe.offset(directory)?, pe.offset(at(directory, 4))?);
    let data_end = if size == 0 { file.len() } else { start };
    // The certificates must be the last thing in the file.
    if size > 0 && at(start, size) != file.len() {
        return Err(AuthenticodeError::Malformed);
    }
    parts.push(pe.part(hashed_end, data_end)?);
    Ok(parts)
}

struct Pe<'a> {
    file: &'a [u8],
}

impl<'a> Pe<'a> {
    fn part(&self, start: usize, end: usize) -> Result<&'a [u8], AuthenticodeError> {
        self.file.get(start..end).ok_or(AuthenticodeError::Malformed)
    }

    fn bytes<const N: usize>(&self, offset: usize) -> Result<[u8; N], AuthenticodeError> {
        let rest = self.file.get(offset..).and_then(|rest| rest.first_chunk());
        rest.copied().ok_or(AuthenticodeError::Malformed)
    }

    /// A 32-bit offset or size that stands at an offset.
    fn offset(&self, offset: usize) -> Result<usize, AuthenticodeError> {
        let value = u32::from_le_bytes(self.bytes(offset)?);
        usize::try_from(value).map_err(|_| AuthenticodeError::Malformed)
    }
}

/// Why a file has no Authenticode digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthenticodeError {
    /// The file is larger than [`MAX_PE_SIZE`].
    #[error("the PE file has {size} bytes, more than {MAX_PE_SIZE}")]
    TooLarge {
        /// Size in bytes.
        size: usize,
    },
    /// The size is no multiple of eight. Some firmware pads such a file and some does not.
    #[error("the PE file has {size} bytes, no multiple of 8")]
    UnalignedSize {
        /// Size in bytes.
        size: usize,
    },
    /// The file is no PE file for 64 bits.
    #[error("the file is no PE32+ file")]
    NotPe,
    /// More sections than any kernel has.
    #[error("the PE file has {count} sections, too many")]
    TooManySections {
        /// Number of sections.
        count: usize,
    },
    /// Offsets are out of bounds, or sections do not follow each other without gaps.
    #[error("the PE file is malformed")]
    Malformed,
}

/// An offset behind another one; an impossible one is outside every file.
fn at(base: usize, distance: usize) -> usize {
    base.saturating_add(distance)
}

const PE32_PLUS: [u8; 2] = 0x20b_u16.to_le_bytes();
/// Offset of the certificates' directory entry in the optional header.
const CERTIFICATE_ENTRY: usize = 112 + 4 * 8;
const SECTION_HEADER: usize = 40;
