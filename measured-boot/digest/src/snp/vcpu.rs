// SPDX-License-Identifier: Apache-2.0
//! CPU models and SEV features: the parameters that enter the virtual CPUs' measured state.

use std::fmt;
use std::str::FromStr;

/// A CPU model of QEMU with a fixed CPUID signature.
///
/// The signature is what a virtual CPU finds in EDX at its start (family, model, stepping), so the
/// model is part of the launch digest. `host` has no fixed signature and therefore does not exist
/// here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VcpuType {
    name: &'static str,
    signature: u32,
}

impl VcpuType {
    /// All models that can be measured, as QEMU names them.
    pub const ALL: &'static [Self] = &[
        Self::new("EPYC", NAPLES),
        Self::new("EPYC-v1", NAPLES),
        Self::new("EPYC-v2", NAPLES),
        Self::new("EPYC-IBPB", NAPLES),
        Self::new("EPYC-v3", NAPLES),
        Self::new("EPYC-v4", NAPLES),
        Self::new("EPYC-v5", NAPLES),
        Self::new("EPYC-Rome", ROME),
        Self::new("EPYC-Rome-v1", ROME),
        Self::new("EPYC-Rome-v2", ROME),
        Self::new("EPYC-Rome-v3", ROME),
        Self::new("EPYC-Rome-v4", ROME),
        Self::new("EPYC-Rome-v5", ROME),
        Self::new("EPYC-Milan", MILAN),
        Self::new("EPYC-Milan-v1", MILAN),
        Self::new("EPYC-Milan-v2", MILAN),
        Self::new("EPYC-Milan-v3", MILAN),
        Self::new("EPYC-Milan-v4", MILAN),
        Self::new("EPYC-Genoa", GENOA),
        Self::new("EPYC-Genoa-v1", GENOA),
        Self::new("EPYC-Genoa-v2", GENOA),
        Self::new("EPYC-Genoa-v3", GENOA),
        Self::new("EPYC-Turin", TURIN),
        Self::new("EPYC-Turin-v1", TURIN),
        Self::new("EPYC-Turin-v2", TURIN),
    ];

    const fn new(name: &'static str, signature: u32) -> Self {
        Self { name, signature }
    }

    /// The model's name, as in QEMU's `-cpu`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.name
    }

    /// The model's CPUID signature: EAX of CPUID leaf 1.
    #[must_use]
    pub fn signature(self) -> u32 {
        self.signature
    }
}

impl fmt::Display for VcpuType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name)
    }
}

impl FromStr for VcpuType {
    type Err = UnknownVcpuType;

    /// Finds a model by its exact name.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let mut models = Self::ALL.iter().copied();
        models
            .find(|model| model.name == name)
            .ok_or_else(|| UnknownVcpuType { name: name.to_owned() })
    }
}

/// A CPU model whose signature is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the CPU model {name:?} has no known signature, expected an EPYC model of QEMU")]
pub struct UnknownVcpuType {
    /// The unknown name.
    pub name: String,
}

/// SEV features of the guest: the SEV_FEATURES word of the virtual CPUs' state.
///
/// Source: AMD64 Architecture Programmer's Manual, volume 2, table B-4, offset 0x3B0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GuestFeatures(u64);

impl GuestFeatures {
    /// SNP and nothing else: what current Linux hosts set.
    pub const SNP: Self = Self(1);

    /// SNP with swapped debug registers: what Linux hosts before 6.8 and some vendors' kernels set.
    pub const SNP_DEBUG_SWAP: Self = Self(0x21);

    /// Takes the word of SEV_FEATURES.
    ///
    /// # Errors
    ///
    /// [`InvalidFeatures::WithoutSnp`] without the SNP bit (bit 0): such a guest has no SNP digest.
    pub const fn from_bits(bits: u64) -> Result<Self, InvalidFeatures> {
        if bits & 1 == 0 { Err(InvalidFeatures::WithoutSnp { bits }) } else { Ok(Self(bits)) }
    }

    /// The word of SEV_FEATURES.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }
}

impl FromStr for GuestFeatures {
    type Err = InvalidFeatures;

    /// Reads hexadecimal digits, with or without `0x`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        // from_str_radix would take a sign.
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(InvalidFeatures::Text { text: text.to_owned() });
        }
        let bits = u64::from_str_radix(digits, 16)
            .map_err(|_| InvalidFeatures::Text { text: text.to_owned() })?;
        Self::from_bits(bits)
    }
}

impl fmt::Display for GuestFeatures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:#x}", self.0)
    }
}

/// Why there are no such SEV features.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidFeatures {
    /// SNP is not among them.
    #[error("the guest features {bits:#x} lack bit 0, SNP")]
    WithoutSnp {
        /// The refused word.
        bits: u64,
    },
    /// The text is no number of 64 bits.
    #[error("{text:?} is no hexadecimal number of 64 bits")]
    Text {
        /// The refused text.
        text: String,
    },
}

const NAPLES: u32 = 0x80_0f12;
const ROME: u32 = 0x83_0f10;
const MILAN: u32 = 0xa0_0f11;
const GENOA: u32 = 0xa1_0f10;
const TURIN: u32 = 0xb0_0f00;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_models_by_exact_name_only() {
        assert_eq!("EPYC-Milan".parse::<VcpuType>().unwrap().signature(), 0xa0_0f11);
        for name in ["host", "epyc", "EPYC ", "", "Skylake-Server"] {
            assert_eq!(name.parse::<VcpuType>(), Err(UnknownVcpuType { name: name.to_owned() }));
        }
    }

    #[test]
    fn names_are_distinct() {
        let names: std::collections::HashSet<_> = VcpuType::ALL.iter().map(|t| t.name()).collect();
        assert_eq!(names.len(), VcpuType::ALL.len());
    }

    #[test]
    fn refuses_features_without_snp() {
        assert_eq!(GuestFeatures::from_bits(0x20), Err(InvalidFeatures::WithoutSnp { bits: 0x20 }));
        assert_eq!(GuestFeatures::from_bits(0x21), Ok(GuestFeatures::SNP_DEBUG_SWAP));
    }

    #[test]
    fn reads_hexadecimal_digits_only() {
        assert_eq!("0x21".parse(), Ok(GuestFeatures::SNP_DEBUG_SWAP));
        assert_eq!("21".parse(), Ok(GuestFeatures::SNP_DEBUG_SWAP));
        assert_eq!(GuestFeatures::SNP_DEBUG_SWAP.to_string(), "0x21");
        for text in ["", "0x", "+1", "0x-1", "1 ", "1_0001", "10000000000000001", "0xg1"] {
            let refused = Err(InvalidFeatures::Text { text: text.to_owned() });
            assert_eq!(text.parse::<GuestFeatures>(), refused);
        }
        let refused = Err(InvalidFeatures::WithoutSnp { bits: 0x20 });
        assert_eq!("20".parse::<GuestFeatures>(), refused);
    }
}
