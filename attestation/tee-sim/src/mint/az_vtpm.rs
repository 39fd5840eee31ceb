// SPDX-License-Identifier: Apache-2.0
//! Evidence of Azure's confidential VMs: a TPM's quote, the key of that TPM in the paravisor's data,
//! and evidence of the hardware that binds these data.
//!
//! The hardware's part is that of [`snp`](super::snp) and [`tdx`](super::tdx), and can have some of
//! their faults: a verifier must make the checks of the hardware here too.

mod faults;
mod hcl;
mod plan;
mod tpm;
mod wire;

pub use faults::VtpmFault;
pub use plan::Plan;

use super::fault::Fault;
use super::snp::{self, SnpFault};
use super::tdx::{self, TdxFault};
use super::{MintError, Minted, Tee};
use crate::keys::Keys;

/// What evidence to mint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Version of the JSON form.
    pub version: Version,
    /// The hardware, and what it is. Its bound values come from the others here.
    pub hardware: Hardware,
    /// What the quote is over, up to 64 bytes.
    pub nonce: Vec<u8>,
    /// Digest of the initdata, which the guest extends into register 8.
    pub init_data: [u8; 32],
    /// Register 4: the boot programs.
    pub boot: [u8; 32],
    /// Register 9: kernel and initramfs.
    pub kernel: [u8; 32],
}

/// Versions of the JSON form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Without a version; arrays of integers.
    V0,
    /// Hexadecimal digits and base64.
    V1,
    /// The paravisor's data hold the nonce too.
    V2,
}

/// Hardware below the paravisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hardware {
    /// AMD SEV-SNP.
    Snp(snp::Options),
    /// Intel TDX.
    Tdx(tdx::Options),
}

/// A fault of such evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AzFault {
    /// Of TPM and paravisor.
    Vtpm(VtpmFault),
    /// Of the SNP report below.
    Snp(SnpFault),
    /// Of the TDX quote below.
    Tdx(TdxFault),
}

impl Options {
    /// A guest of a strict SNP machine.
    #[must_use]
    pub fn snp(at: u64) -> Self {
        let hardware = snp::Options::new(snp::Product::Genoa, at);
        let version = snp::ReportVersion::V3;
        Self::on(Hardware::Snp(snp::Options { version, ..hardware }))
    }

    /// A guest of a strict TDX machine.
    #[must_use]
    pub fn tdx(at: u64) -> Self {
        Self::on(Hardware::Tdx(tdx::Options::new(tdx::Form::V4, at)))
    }

    fn on(hardware: Hardware) -> Self {
        Self {
            version: Version::V2,
            hardware,
            nonce: vec![0xda; 48],
            init_data: [0x40; 32],
            boot: [0x44; 32],
            kernel: [0x49; 32],
        }
    }

    /// Which technology.
    #[must_use]
    pub const fn tee(&self) -> Tee {
        match self.hardware {
            Hardware::Snp(_) => Tee::AzSnpVtpm,
            Hardware::Tdx(_) => Tee::AzTdxVtpm,
        }
    }

    /// Mints good evidence, or with faults.
    ///
    /// # Errors
    ///
    /// [`MintError`]; [`MintError::OtherTee`] for a fault of the other hardware.
    pub fn mint(&self, keys: &Keys, faults: &[AzFault]) -> Result<Minted, MintError> {
        let mut options = self.clone();
        for fault in faults {
            fault.change_options(&mut options);
        }
        let mut plan = Plan::new(&options, keys)?;
        for fault in faults {
            fault.change_plan(&mut plan)?;
        }
        plan.mint(keys)
    }
}

impl AzFault {
    /// Every fault that evidence of this technology can have; none for one without a TPM.
    #[must_use]
    pub fn of(tee: Tee) -> Vec<Self> {
        let tpm = VtpmFault::ALL.iter().copied().map(Self::Vtpm);
        match tee {
            Tee::AzSnpVtpm => tpm.chain(SNP.iter().copied().map(Self::Snp)).collect(),
            Tee::AzTdxVtpm => tpm.chain(TDX.iter().copied().map(Self::Tdx)).collect(),
            Tee::Snp | Tee::Tdx => Vec::new(),
        }
    }

    /// The fault of this name.
    #[must_use]
    pub fn by_name(tee: Tee, name: &str) -> Option<Self> {
        Self::of(tee).into_iter().find(|fault| fault.fault().name == name)
    }

    /// What it is.
    #[must_use]
    pub const fn fault(self) -> &'static Fault {
        match self {
            Self::Vtpm(fault) => fault.fault(),
            Self::Snp(fault) => fault.fault(),
            Self::Tdx(fault) => fault.fault(),
        }
    }

    fn change_options(self, options: &mut Options) {
        match (self, &mut options.hardware) {
            (Self::Vtpm(fault), _) => fault.change_options(options),
            (Self::Snp(fault), Hardware::Snp(options)) => fault.change_options(options),
            (Self::Tdx(fault), Hardware::Tdx(options)) => fault.change_options(options),
            // The change of the plan tells.
            (Self::Snp(_), Hardware::Tdx(_)) | (Self::Tdx(_), Hardware::Snp(_)) => {}
        }
    }

    fn change_plan(self, plan: &mut Plan) -> Result<(), MintError> {
        let tee = plan.tee().name();
        match (self, &mut plan.hardware) {
            (Self::Vtpm(fault), _) => fault.change_plan(plan),
            (Self::Snp(fault), plan::HardwarePlan::Snp(plan)) => fault.change_plan(plan),
            (Self::Tdx(fault), plan::HardwarePlan::Tdx(plan)) => fault.change_plan(plan),
            (Self::Snp(_) | Self::Tdx(_), _) => {
                return Err(MintError::OtherTee { tee, fault: self.fault().name });
            }
        }
        Ok(())
    }
}

/// Faults of SNP reports that mean the same behind a TPM: one or two of each check.
const SNP: &[SnpFault] = &[
    SnpFault::RootUnknown,
    SnpFault::AskForged,
    SnpFault::LeafForged,
    SnpFault::LeafExpired,
    SnpFault::AskRevoked,
    SnpFault::ProductCpuid,
    SnpFault::HwidOther,
    SnpFault::ChipNotListed,
    SnpFault::ChipDenied,
    SnpFault::KeyInfoVlek,
    SnpFault::TcbCertificateSnp,
    SnpFault::TcbReported,
    SnpFault::TcbCommitted,
    SnpFault::BodyFlipped,
    SnpFault::SignatureOtherKey,
    SnpFault::Vmpl,
    SnpFault::Debug,
    SnpFault::Migration,
    SnpFault::Smt,
    SnpFault::PolicyUnknownBit,
    SnpFault::AliasCheck,
    SnpFault::GuestSvn,
    SnpFault::Measurement,
    SnpFault::VersionUnknown,
];

/// Faults of TDX quotes that mean the same behind a TPM.
const TDX: &[TdxFault] = &[
    TdxFault::RootUnknown,
    TdxFault::CaForged,
    TdxFault::PckForged,
    TdxFault::PckExpired,
    TdxFault::PckRevoked,
    TdxFault::PlatformNotListed,
    TdxFault::QeIdentityExpired,
    TdxFault::QeIdentityOtherKey,
    TdxFault::StatusOutOfDate,
    TdxFault::StatusRevoked,
    TdxFault::TcbLevelNone,
    TdxFault::ModuleOutOfDate,
    TdxFault::QeSigner,
    TdxFault::QeDebug,
    TdxFault::QeBindingOtherKey,
    TdxFault::QuoteOtherKey,
    TdxFault::QuoteHeaderFlipped,
    TdxFault::Debug,
    TdxFault::Perfmon,
    TdxFault::SeptVe,
    TdxFault::Migratable,
    TdxFault::AttributeUnknown,
    TdxFault::XfamExtra,
    TdxFault::MrSeam,
    TdxFault::MrOwner,
    TdxFault::Measurement,
    TdxFault::RtmrReference,
    TdxFault::VersionUnknown,
];
