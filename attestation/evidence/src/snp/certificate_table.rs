// SPDX-License-Identifier: Apache-2.0
//! Certificates as a host gives them with an extended report (GHCB, section 4.1.8.1): each with the
//! GUID of its kind.

use std::fmt;

/// One certificate of a table, unparsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableEntry {
    /// What the host says it is.
    pub kind: CertificateKind,
    /// The certificate, usually DER.
    pub data: Vec<u8>,
}

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
    use super::*;

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
