// SPDX-License-Identifier: Apache-2.0
//! SNP evidence: a report and the certificates from its key to a root of the minter's own.

mod chain;
mod faults;
mod plan;

use std::str::FromStr;

pub use faults::SnpFault;
pub use plan::Plan;

use crate::keys::Keys;
use crate::mint::{MintError, Minted};
use crate::report::Tcb;

/// What evidence to mint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Product line and model of the CPU.
    pub product: Product,
    /// Version of the report.
    pub version: ReportVersion,
    /// Kind of the signing key.
    pub signer: SignerKind,
    /// Patch levels, all four in the report the same.
    pub tcb: Levels,
    /// Guest policy.
    pub policy: u64,
    /// PLATFORM_INFO.
    pub platform_info: u64,
    /// REPORT_DATA.
    pub report_data: [u8; 64],
    /// HOST_DATA.
    pub host_data: [u8; 32],
    /// Launch digest.
    pub measurement: [u8; 48],
    /// When the verifier looks, seconds since 1970; certificates are valid around it.
    pub at: u64,
}

/// Product lines and models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// EPYC 7003.
    Milan,
    /// EPYC 9004.
    Genoa,
    /// EPYC 8004: another model under the same root.
    Siena,
    /// EPYC 9005.
    Turin,
}

/// Versions of the report's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReportVersion {
    /// Without CPUID fields.
    V2,
    /// With CPUID family, model and stepping.
    V3,
    /// The same form.
    V4,
    /// With mitigation vectors.
    V5,
}

/// Kinds of signing keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignerKind {
    /// The chip's key.
    Vcek,
    /// A key leased to a provider.
    Vlek,
}

/// Patch levels; the controller's firmware is on Turin alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Levels {
    /// The controller's firmware.
    pub fmc: u8,
    /// All others.
    pub tcb: Tcb,
}

impl Options {
    /// A strict guest on this product: no debugging, no migration, no multithreading, one socket,
    /// the newest firmware interface, hidden ciphertext, checked aliases.
    #[must_use]
    pub fn new(product: Product, at: u64) -> Self {
        Self {
            product,
            version: ReportVersion::V5,
            signer: SignerKind::Vcek,
            tcb: product.levels(),
            policy: POLICY,
            platform_info: PLATFORM_INFO,
            report_data: [0xda; 64],
            host_data: [0x40; 32],
            measurement: [0x3e; 48],
            at,
        }
    }

    /// A strict guest on another product, of the same time and with the same values bound.
    fn on(&self, product: Product) -> Self {
        let Self { report_data, host_data, measurement, at, .. } = *self;
        Self { report_data, host_data, measurement, ..Self::new(product, at) }
    }

    /// Mints good evidence, or with faults.
    ///
    /// # Errors
    ///
    /// [`MintError`]; [`MintError::NoSuchReport`] for Turin with version 2.
    pub fn mint(&self, keys: &Keys, faults: &[SnpFault]) -> Result<Minted, MintError> {
        let mut options = self.clone();
        for fault in faults {
            fault.change_options(&mut options);
        }
        if options.product == Product::Turin && options.version == ReportVersion::V2 {
            return Err(MintError::NoSuchReport {
                product: options.product.line(),
                version: options.version.number(),
                why: "it does not say which order its TCB levels have; 3 is the first that does",
            });
        }
        let mut plan = Plan::new(&options, keys);
        for fault in faults {
            fault.change_plan(&mut plan);
        }
        plan.mint(keys)
    }
}

impl Product {
    /// Name of the line in certificates.
    #[must_use]
    pub const fn line(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa | Self::Siena => "Genoa",
            Self::Turin => "Turin",
        }
    }

    /// CPUID family, model and stepping.
    const fn cpuid(self) -> [u8; 3] {
        match self {
            Self::Milan => [0x19, 0x01, 1],
            Self::Genoa => [0x19, 0x11, 1],
            Self::Siena => [0x19, 0xa0, 2],
            Self::Turin => [0x1a, 0x02, 1],
        }
    }

    /// Newest patch levels.
    const fn levels(self) -> Levels {
        let tcb = match self {
            Self::Milan => Tcb { bootloader: 4, tee: 1, snp: 24, microcode: 219 },
            Self::Genoa => Tcb { bootloader: 10, tee: 1, snp: 23, microcode: 84 },
            Self::Siena => Tcb { bootloader: 10, tee: 1, snp: 23, microcode: 26 },
            Self::Turin => Tcb { bootloader: 2, tee: 1, snp: 4, microcode: 75 },
        };
        Levels { fmc: 2, tcb }
    }
}

impl ReportVersion {
    const fn number(self) -> u32 {
        match self {
            Self::V2 => 2,
            Self::V3 => 3,
            Self::V4 => 4,
            Self::V5 => 5,
        }
    }
}

/// Text is no set of patch levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("patch levels are BOOTLOADER,TEE,SNP,MICROCODE, with FMC before them on Turin")]
pub struct LevelsError;

impl FromStr for Levels {
    type Err = LevelsError;

    fn from_str(text: &str) -> Result<Self, LevelsError> {
        let numbers = text.split(',').map(|number| number.trim().parse());
        let numbers = numbers.collect::<Result<Vec<u8>, _>>().map_err(|_| LevelsError)?;
        let (fmc, [bootloader, tee, snp, microcode]) = match *numbers.as_slice() {
            [b, t, s, m] => (0, [b, t, s, m]),
            [f, b, t, s, m] => (f, [b, t, s, m]),
            _ => return Err(LevelsError),
        };
        Ok(Self { fmc, tcb: Tcb { bootloader, tee, snp, microcode } })
    }
}

/// Firmware ABI 1.55 at least, one socket, no debugging, no migration, no multithreading; memory
/// encrypted with AES-256-XTS, power readings off, ciphertext hidden, no page swapped.
const POLICY: u64 = 55 | 1 << 8 | 1 << 17 | 1 << 20 | 1 << 22 | 1 << 23 | 1 << 24 | 1 << 25;
/// Bit 0: multithreading.
pub(crate) const INFO_SMT: u64 = 1;
pub(crate) const INFO_TSME: u64 = 1 << 1;
pub(crate) const INFO_ECC: u64 = 1 << 2;
pub(crate) const INFO_RAPL_OFF: u64 = 1 << 3;
pub(crate) const INFO_CIPHERTEXT_HIDING: u64 = 1 << 4;
pub(crate) const INFO_ALIAS_CHECK: u64 = 1 << 5;
const PLATFORM_INFO: u64 =
    INFO_TSME | INFO_ECC | INFO_RAPL_OFF | INFO_CIPHERTEXT_HIDING | INFO_ALIAS_CHECK;
