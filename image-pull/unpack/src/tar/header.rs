// SPDX-License-Identifier: Apache-2.0
//! Header blocks.

use super::BLOCK_SIZE;
use super::TarError;
use super::Time;
use super::sparse::RawSparse;

/// A block of an archive.
pub(super) struct Block([u8; BLOCK_SIZE]);

/// A header's fields, before extended headers change them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RawHeader {
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    pub(super) mtime: Time,
    pub(super) kind: u8,
}

impl Block {
    pub(super) fn new(bytes: [u8; BLOCK_SIZE]) -> Self {
        Self(bytes)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn is_zero(&self) -> bool {
        self.0.iter().all(|b| *b == 0)
    }

    /// Reads the fields that every kind of header has.
    pub(super) fn parse(&self) -> Result<RawHeader, TarError> {
        self.check_sum()?;
        let number = |field: &[u8], what| numeric(field).ok_or(TarError::Header { what });
        let id = |field: &[u8], what| {
            number(field, what)?.try_into().map_err(|_| TarError::Header { what })
        };
        let mut path = text(self.field(0, 100)).to_vec();
        if let Some(prefix) = self.prefix()
            && !prefix.is_empty()
        {
            path = [prefix, b"/", &path].concat();
        }
        // Only the permission bits count; old archives have the file type above them.
        let mode = number(self.field(100, 8), "mode")?;
        Ok(RawHeader {
            path,
            link: text(self.field(157, 100)).to_vec(),
            mode: u32::try_from(mode & 0o7777).unwrap_or_default(),
            uid: id(self.field(108, 8), "uid")?,
            gid: id(self.field(116, 8), "gid")?,
            size: number(self.field(124, 12), "size")?
                .try_into()
                .map_err(|_| TarError::Header { what: "size" })?,
            mtime: Time { seconds: number(self.field(136, 12), "mtime")?, nanoseconds: 0 },
            kind: self.0.get(156).copied().unwrap_or_default(),
        })
    }

    /// The four map entries of an old GNU sparse header.
    pub(super) fn sparse_entries(&self) -> impl Iterator<Item = RawSparse<'_>> {
        entries(self.field(386, 96))
    }

    /// Whether extension blocks follow an old GNU sparse header.
    pub(super) fn sparse_extended(&self) -> bool {
        self.0.get(482).is_some_and(|b| *b != 0)
    }

    /// The file's size with its holes in an old GNU sparse header.
    pub(super) fn sparse_real_size(&self) -> Result<u64, TarError> {
        let size = numeric(self.field(483, 12)).ok_or(TarError::Sparse)?;
        u64::try_from(size).map_err(|_| TarError::Sparse)
    }

    /// The 21 map entries of an extension block.
    pub(super) fn extension_entries(&self) -> impl Iterator<Item = RawSparse<'_>> {
        entries(self.field(0, 504))
    }

    /// Whether another extension block follows.
    pub(super) fn extension_extended(&self) -> bool {
        self.0.get(504).is_some_and(|b| *b != 0)
    }

    /// What goes before the name, by kind of header.
    fn prefix(&self) -> Option<&[u8]> {
        let is_ustar = self.field(257, 6) == b"ustar\0" && self.field(263, 2) == b"00";
        let is_star = is_ustar && self.field(508, 4) == b"tar\0";
        let is_gnu = self.field(257, 8) == b"ustar  \0";
        if is_star {
            Some(text(self.field(345, 131)))
        } else if is_ustar {
            Some(text(self.field(345, 155)))
        } else if is_gnu {
            // GNU headers have access and change times here. Go before 1.8 wrote a prefix in spite
            // of that; such archives are told by "times" that are no numbers.
            let is_time = |at| {
                let field = self.field(at, 12);
                field.first() == Some(&0) || numeric(field).is_some()
            };
            let prefix = text(self.field(345, 155));
            (!(is_time(345) && is_time(357)) && prefix.is_ascii()).then_some(prefix)
        } else {
            None
        }
    }

    fn check_sum(&self) -> Result<(), TarError> {
        let stored = numeric(self.field(148, 8)).ok_or(TarError::Checksum)?;
        let (mut unsigned, mut signed) = (0_i64, 0_i64);
        for (at, byte) in self.0.iter().enumerate() {
            let byte = if (148..156).contains(&at) { b' ' } else { *byte };
            unsigned = unsigned.saturating_add(i64::from(byte));
            signed = signed.saturating_add(i64::from(byte.cast_signed()));
        }
        if stored != unsigned && stored != signed {
            return Err(TarError::Checksum);
        }
        Ok(())
    }

    fn field(&self, at: usize, size: usize) -> &[u8] {
        self.0.get(at..at.saturating_add(size)).unwrap_or_default()
    }
}

/// A number in a header: octal text, or base-256 if the first bit is set.
pub(super) fn numeric(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        // Two's complement, big-endian; the marker bit is not part of the number, the next one is
        // its sign.
        let negative = first & 0x40 != 0;
        let start = i64::from(first & 0x3f) - if negative { 0x40 } else { 0 };
        return field.iter().skip(1).try_fold(start, |value, byte| {
            value.checked_mul(256).and_then(|v| v.checked_add(i64::from(*byte)))
        });
    }
    let digits = text(field).trim_ascii();
    let digits = std::str::from_utf8(digits).ok()?;
    if digits.is_empty() {
        return Some(0);
    }
    if !digits.bytes().all(|b| (b'0'..=b'7').contains(&b)) {
        return None;
    }
    i64::from_str_radix(digits, 8).ok()
}

/// A field's text: everything before the first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|b| *b == 0).next().unwrap_or_default()
}

fn entries(fields: &[u8]) -> impl Iterator<Item = RawSparse<'_>> {
    fields.chunks_exact(24).map(|pair| {
        let (offset, size) = pair.split_at(12);
        RawSparse { offset, size }
    })
}
