// SPDX-License-Identifier: Apache-2.0
//! The certificate table that the host hands to the guest beside a report.

use std::collections::BTreeMap;
use std::fmt;

use crate::abi::CERTIFICATES_MAX;

/// The GUID that names an entry, in RFC 4122 byte order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertificateGuid(pub [u8; 16]);

impl CertificateGuid {
    /// Versioned chip endorsement key: 63da758d-e664-4564-adc5-f4b93be8accd.
    pub const VCEK: Self = Self(0x63da758d_e664_4564_adc5_f4b93be8accd_u128.to_be_bytes());
    /// Versioned loaded endorsement key: a8074bc2-a25a-483e-aae6-39c045a0b8a1.
    pub const VLEK: Self = Self(0xa8074bc2_a25a_483e_aae6_39c045a0b8a1_u128.to_be_bytes());
    /// AMD signing key: 4ab7b379-bbac-4fe4-a02f-05aef327c782.
    pub const ASK: Self = Self(0x4ab7b379_bbac_4fe4_a02f_05aef327c782_u128.to_be_bytes());
    /// AMD root key: c0b406a4-a803-4952-9743-3fb6014cd0ae.
    pub const ARK: Self = Self(0xc0b406a4_a803_4952_9743_3fb6014cd0ae_u128.to_be_bytes());
    /// Ends the table.
    const END: Self = Self([0; 16]);
}

impl fmt::Debug for CertificateGuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// Certificates by GUID, DER, as the host gave them: unverified and possibly none.
///
/// Source: GHCB specification (56421), "SNP Extended Guest Request".
///
/// # Security
///
/// The host writes this table. It helps the relying party to find the chain and proves nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateTable {
    entries: BTreeMap<CertificateGuid, Vec<u8>>,
}

/// Why a certificate table is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateTableError {
    /// The bytes end before the entry of zeros, or an entry points outside.
    #[error("the certificate table is cut short at entry {entry}")]
    Truncated {
        /// Number of the entry, from 0.
        entry: usize,
    },
    /// A GUID stands there twice.
    #[error("the certificate table holds {guid:?} twice")]
    Duplicate {
        /// The GUID.
        guid: CertificateGuid,
    },
    /// An entry has no bytes.
    #[error("the certificate {guid:?} is empty")]
    Empty {
        /// The GUID.
        guid: CertificateGuid,
    },
    /// More entries than any host has a use for.
    #[error("the certificate table has more than {cap} entries")]
    TooManyEntries {
        /// The cap.
        cap: usize,
    },
    /// The table is longer than the kernel hands over.
    #[error("the certificate table has {len} bytes, over the cap of {cap}")]
    TooLarge {
        /// Its size.
        len: usize,
        /// The cap.
        cap: usize,
    },
}

impl CertificateTable {
    /// More than the known GUIDs, far fewer than would cost anything.
    const MAX_ENTRIES: usize = 16;

    /// Reads a table.
    ///
    /// A buffer that begins with the end entry, or is empty, is a host without certificates.
    ///
    /// # Errors
    ///
    /// [`CertificateTableError`], naming the entry.
    pub fn parse(bytes: &[u8]) -> Result<Self, CertificateTableError> {
        if bytes.len() > CERTIFICATES_MAX {
            let len = bytes.len();
            return Err(CertificateTableError::TooLarge { len, cap: CERTIFICATES_MAX });
        }
        let mut table = Self::default();
        if bytes.is_empty() {
            return Ok(table);
        }
        for (index, raw) in bytes.chunks(Self::ENTRY_LEN).enumerate() {
            let (guid, offset, len) =
                split_entry(raw).ok_or(CertificateTableError::Truncated { entry: index })?;
            if guid == CertificateGuid::END {
                return Ok(table);
            }
            if index >= Self::MAX_ENTRIES {
                return Err(CertificateTableError::TooManyEntries { cap: Self::MAX_ENTRIES });
            }
            let data = slice(bytes, offset, len)
                .ok_or(CertificateTableError::Truncated { entry: index })?;
            if data.is_empty() {
                return Err(CertificateTableError::Empty { guid });
            }
            if table.entries.insert(guid, data.to_vec()).is_some() {
                return Err(CertificateTableError::Duplicate { guid });
            }
        }
        Err(CertificateTableError::Truncated { entry: bytes.len() / Self::ENTRY_LEN })
    }

    /// Puts a certificate into the table, in place of one of the same GUID.
    #[must_use]
    pub fn with(mut self, guid: CertificateGuid, der: Vec<u8>) -> Self {
        self.entries.insert(guid, der);
        self
    }

    /// Writes the table: entries by GUID, the end entry, then the certificates.
    ///
    /// # Errors
    ///
    /// [`CertificateTableError`] when the table would not be read back.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CertificateTableError> {
        if self.entries.len() > Self::MAX_ENTRIES {
            return Err(CertificateTableError::TooManyEntries { cap: Self::MAX_ENTRIES });
        }
        let head = (self.entries.len() + 1) * Self::ENTRY_LEN;
        let len = head + self.entries.values().map(Vec::len).sum::<usize>();
        let too_large = CertificateTableError::TooLarge { len, cap: CERTIFICATES_MAX };
        if len > CERTIFICATES_MAX {
            return Err(too_large);
        }
        let mut bytes = Vec::with_capacity(len);
        let mut offset = head;
        for (guid, der) in &self.entries {
            if der.is_empty() || *guid == CertificateGuid::END {
                return Err(CertificateTableError::Empty { guid: *guid });
            }
            bytes.extend(guid.0);
            bytes.extend(u32::try_from(offset).map_err(|_| too_large)?.to_le_bytes());
            bytes.extend(u32::try_from(der.len()).map_err(|_| too_large)?.to_le_bytes());
            offset += der.len();
        }
        bytes.extend([0; Self::ENTRY_LEN]);
        self.entries.values().for_each(|der| bytes.extend(der));
        Ok(bytes)
    }

    /// The certificate of this GUID, DER.
    #[must_use]
    pub fn certificate(&self, guid: CertificateGuid) -> Option<&[u8]> {
        self.entries.get(&guid).map(Vec::as_slice)
    }

    /// The chip's certificate.
    #[must_use]
    pub fn vcek(&self) -> Option<&[u8]> {
        self.certificate(CertificateGuid::VCEK)
    }

    /// The certificate of a key that a cloud provider loaded.
    #[must_use]
    pub fn vlek(&self) -> Option<&[u8]> {
        self.certificate(CertificateGuid::VLEK)
    }

    /// The intermediate certificate.
    #[must_use]
    pub fn ask(&self) -> Option<&[u8]> {
        self.certificate(CertificateGuid::ASK)
    }

    /// The root as the host claims it.
    #[must_use]
    pub fn ark(&self) -> Option<&[u8]> {
        self.certificate(CertificateGuid::ARK)
    }

    /// All entries in order of their GUIDs.
    pub fn iter(&self) -> impl Iterator<Item = (CertificateGuid, &[u8])> {
        self.entries.iter().map(|(guid, der)| (*guid, der.as_slice()))
    }

    /// Size of an entry: GUID, offset, length.
    const ENTRY_LEN: usize = 24;
}

fn split_entry(raw: &[u8]) -> Option<(CertificateGuid, u32, u32)> {
    let (guid, rest) = raw.split_first_chunk::<16>()?;
    let (offset, rest) = rest.split_first_chunk::<4>()?;
    let len = rest.first_chunk::<4>()?;
    Some((CertificateGuid(*guid), u32::from_le_bytes(*offset), u32::from_le_bytes(*len)))
}

fn slice(bytes: &[u8], offset: u32, len: u32) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(len).ok()?)?;
    bytes.get(start..end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> CertificateTable {
        CertificateTable::default()
            .with(CertificateGuid::VCEK, vec![1; 40])
            .with(CertificateGuid::ASK, vec![2; 50])
            .with(CertificateGuid::ARK, vec![3; 60])
    }

    #[test]
    fn reads_what_it_wrote_even_with_a_padded_page() {
        let mut bytes = sample().to_bytes().unwrap();
        assert_eq!(CertificateTable::parse(&bytes), Ok(sample()));
        bytes.resize(4096, 0);
        let table = CertificateTable::parse(&bytes).unwrap();
        assert_eq!((table.vcek(), table.vlek()), (Some([1; 40].as_slice()), None));
        assert_eq!(table.iter().count(), 3);
    }

    #[test]
    fn a_host_without_certificates_is_an_empty_table() {
        assert_eq!(CertificateTable::parse(&[]), Ok(CertificateTable::default()));
        assert_eq!(CertificateTable::parse(&[0; 4096]), Ok(CertificateTable::default()));
    }

    #[test]
    fn truncation_at_every_length_is_an_error() {
        let bytes = sample().to_bytes().unwrap();
        for len in 1..bytes.len() {
            assert!(CertificateTable::parse(&bytes[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn every_changed_byte_is_seen() {
        let bytes = sample().to_bytes().unwrap();
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            // Offset and length of the end entry have no meaning.
            if !(3 * 24 + 16..4 * 24).contains(&at) {
                assert_ne!(CertificateTable::parse(&bad), Ok(sample()), "byte {at}");
            }
        }
    }

    #[test]
    fn refuses_duplicates() {
        let mut bytes = sample().to_bytes().unwrap();
        let first: [u8; 16] = bytes[..16].try_into().unwrap();
        bytes[24..40].copy_from_slice(&first);
        assert_eq!(
            CertificateTable::parse(&bytes),
            Err(CertificateTableError::Duplicate { guid: CertificateGuid(first) })
        );
    }

    #[test]
    fn refuses_an_empty_certificate() {
        let mut bytes = sample().to_bytes().unwrap();
        bytes[20..24].fill(0);
        assert!(matches!(
            CertificateTable::parse(&bytes),
            Err(CertificateTableError::Empty { .. })
        ));
    }

    #[test]
    fn refuses_too_many_entries() {
        let mut bytes: Vec<u8> = Vec::new();
        for n in 1..=17_u8 {
            bytes.extend([n; 16]);
            bytes.extend([0, 0, 0, 0, 1, 0, 0, 0]);
        }
        bytes.extend([0; 24]);
        assert_eq!(
            CertificateTable::parse(&bytes),
            Err(CertificateTableError::TooManyEntries { cap: 16 })
        );
    }

    #[test]
    fn refuses_more_than_the_kernel_hands_over() {
        let bytes = vec![0; CERTIFICATES_MAX + 1];
        assert!(matches!(
            CertificateTable::parse(&bytes),
            Err(CertificateTableError::TooLarge { .. })
        ));
        let table = CertificateTable::default().with(CertificateGuid::VCEK, bytes);
        assert!(matches!(table.to_bytes(), Err(CertificateTableError::TooLarge { .. })));
    }

    proptest! {
        #[test]
        fn round_trip(certs in proptest::collection::btree_map(
            any::<[u8; 16]>().prop_filter("not the end", |g| *g != [0; 16]),
            proptest::collection::vec(any::<u8>(), 1..200), 0..8)) {
            let table = CertificateTable {
                entries: certs.into_iter().map(|(g, d)| (CertificateGuid(g), d)).collect(),
            };
            prop_assert_eq!(CertificateTable::parse(&table.to_bytes().unwrap()), Ok(table));
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = CertificateTable::parse(&bytes);
        }
    }
}
