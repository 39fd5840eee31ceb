// SPDX-License-Identifier: Apache-2.0
//! The digest of an initdata document as reports hold it.

use crate::snp::HostData;

/// The digest of a whole initdata document under the document's own algorithm.
///
/// A report's field is longer or shorter than the digest: as in CoCo, a shorter digest is filled
/// with zeros at its end and a longer one is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InitdataDigest {
    /// SHA-256, which fits HOST_DATA.
    Sha256([u8; 32]),
    /// SHA-384, which fits MRCONFIGID.
    Sha384([u8; 48]),
    /// SHA-512.
    Sha512([u8; 64]),
}

impl InitdataDigest {
    /// Takes a digest of one of the three lengths.
    ///
    /// # Errors
    ///
    /// [`UnknownDigestLength`].
    pub fn from_bytes(digest: &[u8]) -> Result<Self, UnknownDigestLength> {
        if let Ok(digest) = digest.try_into() {
            return Ok(Self::Sha256(digest));
        }
        if let Ok(digest) = digest.try_into() {
            return Ok(Self::Sha384(digest));
        }
        let digest = digest.try_into().map_err(|_| UnknownDigestLength { length: digest.len() })?;
        Ok(Self::Sha512(digest))
    }

    /// What HOST_DATA of an SNP report holds.
    #[must_use]
    pub fn host_data(&self) -> HostData {
        HostData(self.fitted())
    }

    /// What MRCONFIGID of a TD report holds.
    #[must_use]
    pub fn mr_config_id(&self) -> [u8; 48] {
        self.fitted()
    }

    fn fitted<const N: usize>(&self) -> [u8; N] {
        let digest: &[u8] = match self {
            Self::Sha256(digest) => digest,
            Self::Sha384(digest) => digest,
            Self::Sha512(digest) => digest,
        };
        let mut field = [0; N];
        for (place, byte) in field.iter_mut().zip(digest) {
            *place = *byte;
        }
        field
    }
}

/// A digest of another length than SHA-256, SHA-384 and SHA-512 have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an initdata digest has 32, 48 or 64 bytes, not {length}")]
pub struct UnknownDigestLength {
    /// Length in bytes.
    pub length: usize,
}

#[cfg(test)]
mod tests {
    use casemate_boot_formats::initdata::Algorithm;
    use casemate_boot_formats::initdata::Initdata;

    use super::*;
    use crate::plan::TdParams;

    #[test]
    fn fits_the_fields_as_the_document_does() {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512] {
            let document = Initdata::build(algorithm, [("policy.toml", "x = 1\n")]).unwrap();
            let digest = InitdataDigest::from_bytes(&document.digest()).unwrap();
            assert_eq!(digest.host_data(), HostData::from(&document));
            assert_eq!(digest.mr_config_id(), TdParams::for_initdata(&document).mr_config_id);
        }
    }

    #[test]
    fn pads_and_cuts() {
        let short = InitdataDigest::Sha256([7; 32]);
        assert_eq!(short.host_data(), HostData([7; 32]));
        assert_eq!(short.mr_config_id()[..32], [7; 32]);
        assert_eq!(short.mr_config_id()[32..], [0; 16]);
        let long = InitdataDigest::Sha512(std::array::from_fn(|index| index as u8));
        assert_eq!(long.host_data().0[31], 31);
        assert_eq!(long.mr_config_id()[47], 47);
        for length in [0, 20, 31, 33, 47, 49, 63, 65] {
            let digest = vec![0; length];
            assert_eq!(InitdataDigest::from_bytes(&digest), Err(UnknownDigestLength { length }));
        }
    }
}
