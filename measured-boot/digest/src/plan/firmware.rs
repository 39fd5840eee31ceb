// SPDX-License-Identifier: Apache-2.0
//! The firmware image in one file or two.

use std::borrow::Cow;

use casemate_boot_formats::ovmf::MAX_FIRMWARE_SIZE;
use casemate_boot_formats::ovmf::Ovmf;
use casemate_boot_formats::ovmf::OvmfError;
use casemate_boot_formats::ovmf::PAGE_SIZE;

use crate::snp::LaunchDigest;
use crate::snp::SevMetadata;

/// A firmware image that ends at 4 GiB, with its SEV metadata.
#[derive(Clone, PartialEq, Eq)]
pub struct Firmware<'a> {
    /// The file of variables that lies before the code, empty if both are one file.
    vars: &'a [u8],
    code: &'a [u8],
    gpa: u64,
    metadata: SevMetadata,
}

impl<'a> Firmware<'a> {
    /// Reads a whole image.
    ///
    /// # Errors
    ///
    /// An image without an OVMF footer table or with anything malformed in it: see [`OvmfError`].
    pub fn parse(image: &'a [u8]) -> Result<Self, OvmfError> {
        Self::split(&[], image)
    }

    /// Reads an image that was split into variables (`OVMF_VARS.fd`) and code (`OVMF_CODE.fd`). In
    /// memory the variables lie right before the code.
    ///
    /// # Errors
    ///
    /// As [`Firmware::parse`]; the metadata lies in the code.
    pub fn split(vars: &'a [u8], code: &'a [u8]) -> Result<Self, OvmfError> {
        let total = vars.len().saturating_add(code.len());
        if total > MAX_FIRMWARE_SIZE {
            return Err(OvmfError::TooLarge);
        }
        let vars_size = u64::try_from(vars.len()).map_err(|_| OvmfError::TooLarge)?;
        if !vars_size.is_multiple_of(PAGE_SIZE) {
            return Err(OvmfError::NotWholePages { size: vars_size });
        }
        let ovmf = Ovmf::parse(code)?;
        let gpa = ovmf.image_address().saturating_sub(vars_size);
        Ok(Self { vars, code, gpa, metadata: SevMetadata::from(&ovmf) })
    }

    /// Guest-physical address of the first byte.
    #[must_use]
    pub fn gpa(&self) -> u64 {
        self.gpa
    }

    /// The whole image as it lies in guest memory. It is copied if it came in two files.
    #[must_use]
    pub fn image(&self) -> Cow<'a, [u8]> {
        if self.vars.is_empty() {
            return Cow::Borrowed(self.code);
        }
        Cow::Owned([self.vars, self.code].concat())
    }

    /// The launch digest after the image alone: what stands for it in an [`SnpOutline`].
    ///
    /// [`SnpOutline`]: super::SnpOutline
    #[must_use]
    pub fn digest(&self) -> LaunchDigest {
        let mut digest = LaunchDigest::new();
        digest.fold_contents(self.gpa, self.vars);
        let code = self.gpa.saturating_add(u64::try_from(self.vars.len()).unwrap_or(u64::MAX));
        digest.fold_contents(code, self.code);
        digest
    }

    /// The SEV metadata.
    #[must_use]
    pub fn metadata(&self) -> &SevMetadata {
        &self.metadata
    }
}

impl std::fmt::Debug for Firmware<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let size = self.vars.len().saturating_add(self.code.len());
        write!(formatter, "Firmware({:#x}, {size} bytes)", self.gpa)
    }
}
