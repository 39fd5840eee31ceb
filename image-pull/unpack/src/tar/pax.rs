// SPDX-License-Identifier: Apache-2.0
//! PAX extended headers (POSIX.1-2001), with the records that Go's reader knows.

use std::collections::BTreeMap;

use super::TarError;
use super::Time;
use super::header::RawHeader;
use super::sparse;

/// The records of one extended header.
#[derive(Debug, Default)]
pub(super) struct PaxRecords {
    records: BTreeMap<Vec<u8>, Vec<u8>>,
    /// `GNU.sparse.offset` and `GNU.sparse.numbytes` in turn, of the PAX 0.0 form.
    sparse: Vec<u64>,
}

/// Where the map of a sparse file is.
pub(super) enum SparseForm {
    /// In the extended header (PAX 0.0 and 0.1).
    InHeader { map: sparse::Builder, real_size: u64 },
    /// At the start of the file's data (PAX 1.0).
    InData { real_size: u64 },
}

impl PaxRecords {
    /// Reads records `<length> <key>=<value>\n`; the last of several with one key counts.
    pub(super) fn parse(mut bytes: &[u8]) -> Result<Self, TarError> {
        let mut found = Self::default();
        while !bytes.is_empty() {
            let (record, rest) = split_record(bytes).ok_or(TarError::Pax)?;
            bytes = rest;
            let equals = record.iter().position(|b| *b == b'=').ok_or(TarError::Pax)?;
            let (key, value) = record.split_at(equals);
            let value = value.get(1..).unwrap_or_default();
            let is_text = matches!(key, b"path" | b"linkpath" | b"uname" | b"gname");
            if key.is_empty() || key.contains(&0) || is_text && value.contains(&0) {
                return Err(TarError::Pax);
            }
            match key {
                b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                    let is_offset = key.ends_with(b"offset");
                    if is_offset != found.sparse.len().is_multiple_of(2) {
                        return Err(TarError::Sparse);
                    }
                    found.sparse.push(sparse::decimal(value)?);
                }
                _ => {
                    found.records.insert(key.to_vec(), value.to_vec());
                }
            }
        }
        Ok(found)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.sparse.is_empty()
    }

    /// Puts the records in place of the header's own fields; an empty value leaves the field.
    pub(super) fn apply(&self, header: &mut RawHeader) -> Result<(), TarError> {
        if let Some(path) = self.get("path") {
            header.path = path.to_vec();
        }
        if let Some(link) = self.get("linkpath") {
            header.link = link.to_vec();
        }
        if let Some(size) = self.get("size") {
            header.size = decimal(size)?;
        }
        if let Some(uid) = self.get("uid") {
            header.uid = decimal(uid)?;
        }
        if let Some(gid) = self.get("gid") {
            header.gid = decimal(gid)?;
        }
        if let Some(mtime) = self.get("mtime") {
            header.mtime = time(mtime).ok_or(TarError::Pax)?;
        }
        Ok(())
    }

    /// Whether the records make the file sparse, and how; the file's true name is then a record too.
    pub(super) fn sparse_form(
        &mut self,
        path: &mut Vec<u8>,
    ) -> Result<Option<SparseForm>, TarError> {
        let version = (self.get("GNU.sparse.major"), self.get("GNU.sparse.minor"));
        let in_data = match version {
            (Some(b"1"), Some(b"0")) => true,
            (Some(b"0"), Some(b"0" | b"1")) => false,
            (None, None) if self.get("GNU.sparse.map").is_some() || !self.sparse.is_empty() => {
                false
            }
            (None, None) => return Ok(None),
            _ => return Err(TarError::Sparse),
        };
        if let Some(name) = self.get("GNU.sparse.name") {
            *path = name.to_vec();
        }
        let size = self.get("GNU.sparse.size").or_else(|| self.get("GNU.sparse.realsize"));
        let real_size = sparse::decimal(size.ok_or(TarError::Sparse)?)?;
        if in_data {
            return Ok(Some(SparseForm::InData { real_size }));
        }
        let numbers = match self.get("GNU.sparse.map") {
            Some(list) => {
                list.split(|b| *b == b',').map(sparse::decimal).collect::<Result<_, _>>()?
            }
            None => std::mem::take(&mut self.sparse),
        };
        if let Some(count) = self.get("GNU.sparse.numblocks")
            && sparse::decimal(count)?.checked_mul(2) != u64::try_from(numbers.len()).ok()
        {
            return Err(TarError::Sparse);
        }
        let map = sparse::Builder::from_numbers(&numbers)?;
        Ok(Some(SparseForm::InHeader { map, real_size }))
    }

    /// The extended attributes, in the order of their names.
    pub(super) fn into_xattrs(self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let named = |(key, value): (Vec<u8>, Vec<u8>)| {
            key.strip_prefix(b"SCHILY.xattr.".as_slice()).map(|name| (name.to_vec(), value))
        };
        self.records.into_iter().filter_map(named).collect()
    }

    fn get(&self, key: &str) -> Option<&[u8]> {
        self.records.get(key.as_bytes()).map(Vec::as_slice).filter(|v| !v.is_empty())
    }
}

/// Splits off one record, without its length and newline.
fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = bytes.iter().take(MAX_LENGTH_DIGITS).position(|b| *b == b' ')?;
    let digits = std::str::from_utf8(bytes.get(..space)?).ok()?;
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let length: usize = digits.parse().ok()?;
    let record = bytes.get(..length)?;
    let content = record.get(space.checked_add(1)?..)?.strip_suffix(b"\n")?;
    Some((content, bytes.get(length..)?))
}

fn decimal<T: std::str::FromStr>(text: &[u8]) -> Result<T, TarError> {
    let text = std::str::from_utf8(text).map_err(|_| TarError::Pax)?;
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(TarError::Pax);
    }
    text.parse().map_err(|_| TarError::Pax)
}

/// `[-]<seconds>[.<fraction>]`.
fn time(text: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(text).ok()?;
    let (negative, text) = match text.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if seconds.is_empty() || !is_number(seconds) || !is_number(fraction) {
        return None;
    }
    let seconds: i64 = seconds.parse().ok()?;
    let nanoseconds: u32 = format!("{fraction:0<9.9}").parse().ok()?;
    Some(match (negative, nanoseconds) {
        (false, _) => Time { seconds, nanoseconds },
        (true, 0) => Time { seconds: seconds.checked_neg()?, nanoseconds },
        (true, n) => Time {
            seconds: seconds.checked_neg()?.checked_sub(1)?,
            nanoseconds: 1_000_000_000_u32.checked_sub(n)?,
        },
    })
}

/// Most digits of a record's length, with the space; a header has at most 1 MiB.
const MAX_LENGTH_DIGITS: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_exact() {
        let check = |text: &str, seconds, nanoseconds| {
            assert_eq!(time(text.as_bytes()), Some(Time { seconds, nanoseconds }), "{text}");
        };
        check("0", 0, 0);
        check("12.5", 12, 500_000_000);
        check("12.0000000019", 12, 1);
        check("-1", -1, 0);
        check("-1.25", -2, 750_000_000);
        for text in ["", "-", ".5", "1.x", "+1", "1.-5", "99999999999999999999"] {
            assert_eq!(time(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn records_must_be_whole() {
        let parse = |text: &[u8]| PaxRecords::parse(text).map(|r| r.records.len());
        assert_eq!(parse(b"").unwrap(), 0);
        assert_eq!(parse(b"8 a=b c\n7 d=e\xff\n").unwrap(), 2);
        for text in [
            &b"8 a=b\n"[..],
            b"6 a=b\n\n",
            b"8 a=b\n\n",
            b"6 a=bc\n",
            b"6 abc\n",
            b"5 =b\n",
            b"x a=b\n",
            b" 6 a=b\n",
            b"-6 a=b\n",
            b"99999999999999999999 a=b\n",
            b"11 path=a\0b\n",
        ] {
            assert!(parse(text).is_err(), "{:?}", String::from_utf8_lossy(text));
        }
    }
}
