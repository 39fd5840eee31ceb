// SPDX-License-Identifier: Apache-2.0
//! Certificates as a host gives them with an extended report (GHCB, section 4.1.8.1): each with the
//! GUID of its kind.

use std::fmt;

use super::MAX_CERTIFICATES;

/// One certificate of a table, unparsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableEntry {
    /// What the host says it is.
    pub kind: CertificateKind,
    /// The certificate, usually DER.
    pub data: Vec<u8>,
}

/// Largest certificate table that is read, bytes: four pages, as Linux takes from a host. Zeros
/// behind it do not count.
pub const MAX_TABLE_BYTES: usize = 16 << 10;

/// Reads a certificate table: entries of GUID, offset and length (both 32 bits, little-endian), an
/// entry of zeros, then the certificates. Empty bytes are a host without certificates. Buffers are
/// longer than tables, so zeros may follow.
///
/// # Errors
///
/// [`TableError`] when an entry points into the entries or outside, two overlap or have one GUID,
/// the last entry is missing, a byte that belongs to no entry is not zero, or a cap is passed.
pub fn parse_table(bytes: &[u8]) -> Result<Vec<TableEntry>, TableError> {
    let headers = headers(bytes)?;
    let mut used = vec![(0, headers.len().saturating_add(1).saturating_mul(ENTRY_BYTES))];
    let mut entries: Vec<TableEntry> = Vec::with_capacity(headers.len());
    for (entry, header) in headers.iter().enumerate() {
        let (start, end) = (header.offset, header.end());
        let data = bytes.get(start..end).unwrap_or_default();
        if data.is_empty() || used.iter().any(|(from, to)| start < *to && *from < end) {
            return Err(TableError::Place { entry });
        }
        if end > MAX_TABLE_BYTES {
            return Err(TableError::TooLarge);
        }
        let kind = CertificateKind::from_guid(header.guid);
        if entries.iter().any(|other| other.kind == kind) {
            return Err(TableError::Duplicate { entry });
        }
        used.push((start, end));
        entries.push(TableEntry { kind, data: data.to_vec() });
    }
    used.sort_unstable();
    let ends = std::iter::once(0).chain(used.iter().map(|(_, to)| *to));
    let starts = used.iter().map(|(from, _)| *from).chain([bytes.len()]);
    let unused = |end: usize, next: usize| bytes.get(end..next).unwrap_or_default();
    match ends.zip(starts).find(|(end, next)| unused(*end, *next).iter().any(|byte| *byte != 0)) {
        Some((offset, _)) => Err(TableError::Unused { offset }),
        None => Ok(entries),
    }
}

/// How many of the bytes in a buffer are its certificate table: up to the end of the last entry or
/// certificate. What a kernel did not clear may follow.
///
/// # Errors
///
/// [`TableError`] when the last entry is missing or a cap is passed.
pub fn table_extent(buffer: &[u8]) -> Result<usize, TableError> {
    let headers = headers(buffer)?;
    let entries = headers.len().saturating_add(1).saturating_mul(ENTRY_BYTES);
    let end = headers.iter().map(Header::end).max().unwrap_or(0).max(entries);
    Ok(end.min(buffer.len()))
}

/// Writes a certificate table: the entries, the entry of zeros, then the certificates.
///
/// # Errors
///
/// [`TableError`] when the table would not be read back.
pub fn write_table(entries: &[TableEntry]) -> Result<Vec<u8>, TableError> {
    let mut offset = entries.len().saturating_add(1).saturating_mul(ENTRY_BYTES);
    let mut bytes = Vec::new();
    for entry in entries {
        let number = |size: usize| u32::try_from(size).map_err(|_| TableError::TooLarge);
        bytes.extend(entry.kind.guid());
        bytes.extend(number(offset)?.to_le_bytes());
        bytes.extend(number(entry.data.len())?.to_le_bytes());
        offset = offset.saturating_add(entry.data.len());
    }
    bytes.extend([0; ENTRY_BYTES]);
    entries.iter().for_each(|entry| bytes.extend(&entry.data));
    parse_table(&bytes).map(|_| bytes)
}

/// Why bytes are no certificate table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// Over [`MAX_TABLE_BYTES`].
    #[error("a certificate table has more than {MAX_TABLE_BYTES} bytes")]
    TooLarge,
    /// Over [`MAX_CERTIFICATES`].
    #[error("a certificate table has more than {MAX_CERTIFICATES} entries")]
    TooMany,
    /// The bytes end within an entry.
    #[error("the certificate table ends within entry {entry}")]
    Truncated {
        /// Number of the entry, from 0.
        entry: usize,
    },
    /// A byte that belongs to no entry is not zero.
    #[error("what stands at offset {offset:#x} of the certificate table belongs to no entry")]
    Unused {
        /// Where such bytes begin.
        offset: usize,
    },
    /// The entry of zeros is missing or not zero throughout.
    #[error("the certificate table has no end")]
    NoEnd,
    /// A certificate lies outside, has no bytes, or shares bytes with another or with the entries.
    #[error("entry {entry} of the certificate table points to the wrong bytes")]
    Place {
        /// Number of the entry, from 0.
        entry: usize,
    },
    /// A GUID is there twice.
    #[error("entry {entry} of the certificate table has the GUID of another")]
    Duplicate {
        /// Number of the second one, from 0.
        entry: usize,
    },
}

struct Header {
    guid: [u8; 16],
    offset: usize,
    len: usize,
}

impl Header {
    fn read(raw: &[u8]) -> Option<Self> {
        let (guid, rest) = raw.split_first_chunk::<16>()?;
        let (offset, rest) = rest.split_first_chunk::<4>()?;
        let (len, _) = rest.split_first_chunk::<4>()?;
        Some(Self {
            guid: *guid,
            offset: usize::try_from(u32::from_le_bytes(*offset)).ok()?,
            len: usize::try_from(u32::from_le_bytes(*len)).ok()?,
        })
    }

    fn end(&self) -> usize {
        self.offset.saturating_add(self.len)
    }
}

/// The entries up to the one of zeros.
fn headers(bytes: &[u8]) -> Result<Vec<Header>, TableError> {
    let mut headers = Vec::new();
    for (entry, raw) in bytes.chunks(ENTRY_BYTES).enumerate() {
        let header = Header::read(raw).ok_or(TableError::Truncated { entry })?;
        if header.guid == [0; 16] {
            let is_end = header.offset == 0 && header.len == 0;
            return if is_end { Ok(headers) } else { Err(TableError::NoEnd) };
        }
        if headers.len() == MAX_CERTIFICATES {
            return Err(TableError::TooMany);
        }
        headers.push(header);
    }
    if headers.is_empty() { Ok(headers) } else { Err(TableError::NoEnd) }
}

/// Size of an entry: GUID, offset, length.
const ENTRY_BYTES: usize = 24;

/// What an entry is said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateKind {
    /// AMD's root key.
    Ark,
    /// AMD's signing key.
    Ask,
    /// The chip's key.
    Vcek,
    /// The leased key.
    Vlek,
    /// A list of revoked certificates.
    Crl,
    /// Something else; the GUID's bytes in the order of its text.
    Other([u8; 16]),
}

impl CertificateKind {
    const KNOWN: [(Self, [u8; 16]); 5] = [
        (Self::Ark, 0xc0b406a4_a803_4952_9743_3fb6014cd0ae_u128.to_be_bytes()),
        (Self::Ask, 0x4ab7b379_bbac_4fe4_a02f_05aef327c782_u128.to_be_bytes()),
        (Self::Vcek, 0x63da758d_e664_4564_adc5_f4b93be8accd_u128.to_be_bytes()),
        (Self::Vlek, 0xa8074bc2_a25a_483e_aae6_39c045a0b8a1_u128.to_be_bytes()),
        (Self::Crl, 0x92f81bc3_5811_4d3d_97ff_d19f88dc67ea_u128.to_be_bytes()),
    ];

    /// The GUID that stands for the kind, its bytes in the order of its text.
    #[must_use]
    pub fn guid(self) -> [u8; 16] {
        match self {
            Self::Other(guid) => guid,
            known => Self::KNOWN
                .into_iter()
                .find_map(|(kind, guid)| (kind == known).then_some(guid))
                .unwrap_or_default(),
        }
    }

    /// The kind that a GUID stands for, its bytes in the order of its text.
    #[must_use]
    pub fn from_guid(guid: [u8; 16]) -> Self {
        Self::KNOWN
            .into_iter()
            .find_map(|(kind, known)| (known == guid).then_some(kind))
            .unwrap_or(Self::Other(guid))
    }
}

impl fmt::Display for CertificateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ark => "ARK",
            Self::Ask => "ASK",
            Self::Vcek => "VCEK",
            Self::Vlek => "VLEK",
            Self::Crl => "CRL",
            Self::Other(_) => "other",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(entries: &[(CertificateKind, &[u8])]) -> Vec<u8> {
        let mut offset = (entries.len() + 1) * ENTRY_BYTES;
        let mut bytes = Vec::new();
        for (kind, data) in entries {
            bytes.extend(kind.guid());
            bytes.extend(u32::try_from(offset).unwrap().to_le_bytes());
            bytes.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
            offset += data.len();
        }
        bytes.extend([0; ENTRY_BYTES]);
        entries.iter().for_each(|(_, data)| bytes.extend(*data));
        bytes
    }

    fn good() -> Vec<u8> {
        table(&[
            (CertificateKind::Vcek, b"chip"),
            (CertificateKind::Ask, b"signing key"),
            (CertificateKind::Other([7; 16]), b"?"),
        ])
    }

    #[test]
    fn reads_what_a_host_gives() {
        let entries = parse_table(&good()).unwrap();
        let read: Vec<(CertificateKind, &[u8])> =
            entries.iter().map(|entry| (entry.kind, entry.data.as_slice())).collect();
        assert_eq!(table(&read), good());
        assert_eq!(parse_table(&[]), Ok(Vec::new()));
        assert_eq!(parse_table(&[0; ENTRY_BYTES]), Ok(Vec::new()));
        assert_eq!(write_table(&entries), Ok(good()));
        // The kernel's buffer is longer than the table.
        let mut padded = good();
        padded.resize(2 * MAX_TABLE_BYTES, 0);
        assert_eq!(parse_table(&padded).unwrap(), entries);
        assert_eq!(table_extent(&padded), Ok(good().len()));
        assert_eq!(table_extent(&[]), Ok(0));
        assert_eq!(table_extent(&[0; 100]), Ok(ENTRY_BYTES));
    }

    #[test]
    fn what_belongs_to_no_entry_is_zero() {
        // D7: behind the last certificate, and between entries and certificates.
        let mut behind = good();
        behind.resize(good().len() + 100, 0);
        behind[good().len() + 50] = 1;
        assert_eq!(parse_table(&behind), Err(TableError::Unused { offset: good().len() }));
        assert_eq!(parse_table(&behind[..table_extent(&behind).unwrap()]), parse_table(&good()));
        let mut between = table(&[(CertificateKind::Vcek, b"?chip")]);
        between[16..24].copy_from_slice(&[49, 0, 0, 0, 4, 0, 0, 0]);
        assert_eq!(parse_table(&between), Err(TableError::Unused { offset: 48 }));
        between[48] = 0;
        assert_eq!(parse_table(&between).unwrap()[0].data, b"chip");
        let mut none = vec![0; 100];
        none[99] = 1;
        assert_eq!(parse_table(&none), Err(TableError::Unused { offset: ENTRY_BYTES }));
    }

    #[test]
    fn what_would_not_be_read_back_is_not_written() {
        let entry =
            |n: u8, len| TableEntry { kind: CertificateKind::Other([n; 16]), data: vec![n; len] };
        assert_eq!(write_table(&[]), Ok(vec![0; ENTRY_BYTES]));
        assert_eq!(write_table(&[entry(1, 0)]), Err(TableError::Place { entry: 0 }));
        assert_eq!(write_table(&[entry(0, 1)]), Err(TableError::NoEnd));
        let twice = [entry(1, 1), entry(1, 1)];
        assert_eq!(write_table(&twice), Err(TableError::Duplicate { entry: 1 }));
        assert_eq!(write_table(&[entry(1, MAX_TABLE_BYTES)]), Err(TableError::TooLarge));
        let many: Vec<_> = (1..=17).map(|n| entry(n, 1)).collect();
        assert_eq!(write_table(&many), Err(TableError::TooMany));
    }

    #[test]
    fn lying_offsets_and_lengths_are_refused() {
        // D7
        let with = |at: usize, value: u32| {
            let mut bytes = good();
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            parse_table(&bytes)
        };
        assert_eq!(with(16, 0), Err(TableError::Place { entry: 0 })); // into the entries
        assert_eq!(with(16, u32::MAX), Err(TableError::Place { entry: 0 }));
        assert_eq!(with(20, u32::MAX), Err(TableError::Place { entry: 0 }));
        assert_eq!(with(20, 0), Err(TableError::Place { entry: 0 }));
        assert_eq!(with(20, 5), Err(TableError::Place { entry: 1 })); // overlaps the next
        assert_eq!(with(16 + 24, 96), Err(TableError::Place { entry: 1 }));
        assert_eq!(with(16 + 72, 1), Err(TableError::NoEnd));
        let twice = table(&[(CertificateKind::Ask, b"a"), (CertificateKind::Ask, b"b")]);
        assert_eq!(parse_table(&twice), Err(TableError::Duplicate { entry: 1 }));
        let many: Vec<_> = (1..=17).map(|n| (CertificateKind::Other([n; 16]), &b"x"[..])).collect();
        assert_eq!(parse_table(&table(&many)), Err(TableError::TooMany));
    }

    #[test]
    fn every_truncation_is_refused() {
        let bytes = good();
        for end in 1..bytes.len() {
            assert!(parse_table(&bytes[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn a_changed_byte_is_an_error_or_another_table() {
        let entries = parse_table(&good()).unwrap();
        for at in 0..good().len() {
            let mut bad = good();
            bad[at] ^= 0x10;
            assert_ne!(parse_table(&bad).ok().as_ref(), Some(&entries), "{at}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_tables_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_table(&bytes);
        }

        #[test]
        fn tables_round_trip(data in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 1..40), 0..16)
        ) {
            let entries: Vec<(CertificateKind, &[u8])> = (1u8..)
                .zip(&data)
                .map(|(n, data)| (CertificateKind::Other([n; 16]), data.as_slice()))
                .collect();
            let read = parse_table(&table(&entries)).unwrap();
            let read: Vec<(CertificateKind, &[u8])> =
                read.iter().map(|entry| (entry.kind, entry.data.as_slice())).collect();
            prop_assert_eq!(read, entries);
        }
    }

    #[test]
    fn guids_are_those_of_the_specification() {
        let vcek = hex::decode("63da758de6644564adc5f4b93be8accd").unwrap();
        assert_eq!(CertificateKind::from_guid(vcek.try_into().unwrap()), CertificateKind::Vcek);
        for (kind, guid) in CertificateKind::KNOWN {
            assert_eq!(CertificateKind::from_guid(guid), kind);
        }
        assert_eq!(CertificateKind::from_guid([9; 16]), CertificateKind::Other([9; 16]));
    }
}
