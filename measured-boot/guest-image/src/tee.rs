// SPDX-License-Identifier: Apache-2.0
//! The TEE that a guest image is for.

use std::fmt;

/// The TEE that a guest image is for. Firmware and command line differ; kernel, modules and agent are
/// the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageTee {
    /// AMD SEV-SNP: the firmware checks kernel, initramfs and command line against a measured table.
    Snp,
    /// Intel TDX: firmware and kernel measure what they start into the guest's registers.
    Tdx,
}

impl ImageTee {
    /// Every TEE.
    pub const ALL: [Self; 2] = [Self::Snp, Self::Tdx];

    /// Its name on the guest's command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Snp => "snp",
            Self::Tdx => "tdx",
        }
    }

    /// Debian's package of the firmware, for every architecture alike.
    #[must_use]
    pub const fn firmware_package(self) -> &'static str {
        match self {
            Self::Snp => "ovmf-amdsev",
            Self::Tdx => "ovmf-inteltdx",
        }
    }

    /// Where the package has the firmware.
    pub(crate) const fn firmware_file(self) -> &'static str {
        match self {
            Self::Snp => "usr/share/ovmf/OVMF.amdsev.fd",
            Self::Tdx => "usr/share/ovmf/OVMF.inteltdx.ms.fd",
        }
    }
}

impl fmt::Display for ImageTee {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
