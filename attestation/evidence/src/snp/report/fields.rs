// SPDX-License-Identifier: Apache-2.0
//! What single fields of a report mean.

use std::fmt;

/// The guest's policy (ABI, table 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestPolicy(pub u64);

impl GuestPolicy {
    /// Least firmware ABI, major and minor.
    #[must_use]
    pub fn abi(self) -> (u8, u8) {
        let [minor, major, ..] = self.0.to_le_bytes();
        (major, minor)
    }

    /// Simultaneous multithreading is allowed.
    #[must_use]
    pub fn smt(self) -> bool {
        self.bit(16)
    }

    /// A migration agent may be associated.
    #[must_use]
    pub fn migration_agent(self) -> bool {
        self.bit(18)
    }

    /// The host may debug the guest: read and write its memory in the clear.
    #[must_use]
    pub fn debug(self) -> bool {
        self.bit(19)
    }

    /// The guest runs on one socket only.
    #[must_use]
    pub fn single_socket(self) -> bool {
        self.bit(20)
    }

    /// Devices and memory behind CXL may be used.
    #[must_use]
    pub fn cxl(self) -> bool {
        self.bit(21)
    }

    /// Memory must be encrypted with AES-256 in XTS mode.
    #[must_use]
    pub fn aes_256_xts(self) -> bool {
        self.bit(22)
    }

    /// The processor's energy counters (RAPL) must be off.
    #[must_use]
    pub fn rapl_disabled(self) -> bool {
        self.bit(23)
    }

    /// Ciphertext in memory must be hidden from the host.
    #[must_use]
    pub fn ciphertext_hiding(self) -> bool {
        self.bit(24)
    }

    /// The host may not swap or move the guest's pages.
    #[must_use]
    pub fn page_swap_disabled(self) -> bool {
        self.bit(25)
    }

    /// Bit 17 is one and every bit without a meaning is zero.
    #[must_use]
    pub fn is_well_formed(self) -> bool {
        self.bit(17) && self.0 >> 26 == 0
    }

    fn bit(self, n: u32) -> bool {
        self.0 >> n & 1 == 1
    }
}

/// Features of the platform (ABI, table 24).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlatformInfo(pub u64);

impl PlatformInfo {
    /// Simultaneous multithreading is on.
    #[must_use]
    pub fn smt(self) -> bool {
        self.bit(0)
    }

    /// All memory is encrypted (TSME).
    #[must_use]
    pub fn tsme(self) -> bool {
        self.bit(1)
    }

    /// Memory has error correction.
    #[must_use]
    pub fn ecc(self) -> bool {
        self.bit(2)
    }

    /// The processor's energy counters (RAPL) are off.
    #[must_use]
    pub fn rapl_disabled(self) -> bool {
        self.bit(3)
    }

    /// Ciphertext in memory is hidden from the host.
    #[must_use]
    pub fn ciphertext_hiding(self) -> bool {
        self.bit(4)
    }

    /// The check for aliased memory has run since boot and found none (AMD-SB-3015).
    #[must_use]
    pub fn alias_check_complete(self) -> bool {
        self.bit(5)
    }

    /// The IOMMU may write guests' memory safely; a bit of Turin.
    #[must_use]
    pub fn iommu_write_safe(self) -> bool {
        self.bit(6)
    }

    /// Trusted I/O (SEV-TIO) is on.
    #[must_use]
    pub fn tio(self) -> bool {
        self.bit(7)
    }

    /// The bits that have no meaning on this product line.
    #[must_use]
    pub fn unknown_bits(self, product: Option<Product>) -> u64 {
        let known = match product {
            Some(Product::Turin) => 0xFF,
            _ => 0xBF,
        };
        self.0 & !known
    }

    fn bit(self, n: u32) -> bool {
        self.0 >> n & 1 == 1
    }
}

/// Kind of key that signs reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigningKey {
    /// The chip's own key.
    Vcek,
    /// A key leased to a cloud provider.
    Vlek,
    /// The report is not signed.
    None,
    /// A value without a meaning.
    Reserved,
}

/// CPUID family, model and stepping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuId {
    /// Family, extended and base together.
    pub family: u8,
    /// Model, extended and base together.
    pub model: u8,
    /// Stepping.
    pub stepping: u8,
}

impl CpuId {
    /// The product line, `None` for one that this version does not know.
    #[must_use]
    pub fn product(self) -> Option<Product> {
        match (self.family, self.model) {
            (0x19, 0x00..=0x0F) => Some(Product::Milan),
            (0x19, 0x10..=0x1F | 0xA0..=0xAF) => Some(Product::Genoa),
            (FAMILY_TURIN, 0x00..=0x11) => Some(Product::Turin),
            _ => None,
        }
    }
}

/// Product lines with an ARK of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Product {
    /// EPYC 7003.
    Milan,
    /// EPYC 9004 and 8004.
    Genoa,
    /// EPYC 9005.
    Turin,
}

impl Product {
    /// Every product line.
    pub const ALL: [Self; 3] = [Self::Milan, Self::Genoa, Self::Turin];

    /// Its name in AMD's certificates.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }

    /// The product line of a certificate's product name, which may carry a stepping (`Milan-B0`).
    #[must_use]
    pub fn from_certificate_name(name: &str) -> Option<Self> {
        let (line, stepping) = match name.split_once('-') {
            Some((line, stepping)) => (line, Some(stepping)),
            None => (name, None),
        };
        if stepping.is_some_and(|stepping| !is_stepping(stepping)) {
            return None;
        }
        match line {
            "Milan" => Some(Self::Milan),
            // Siena and Bergamo are of Genoa's line and have its ARK.
            "Genoa" | "Siena" | "Bergamo" => Some(Self::Genoa),
            "Turin" => Some(Self::Turin),
            _ => None,
        }
    }
}

/// A letter and a digit, as AMD writes steppings.
fn is_stepping(text: &str) -> bool {
    matches!(text.as_bytes(), [letter, digit] if letter.is_ascii_uppercase() && digit.is_ascii_digit())
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Version of the SNP firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FirmwareVersion {
    /// ABI major.
    pub major: u8,
    /// ABI minor.
    pub minor: u8,
    /// Build.
    pub build: u8,
}

impl fmt::Display for FirmwareVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { major, minor, build } = self;
        write!(f, "{major}.{minor}.{build}")
    }
}

/// Where the layout of levels changes.
pub(super) const FAMILY_TURIN: u8 = 0x1A;
