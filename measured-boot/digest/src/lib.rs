// SPDX-License-Identifier: Apache-2.0
//! The launch digest of an SNP guest: what the PSP will measure, computed from bytes alone.
//!
//! The owner predicts the digest offline and gives it to the broker as the reference value; the
//! software PSP folds the same pages from a paused VM's memory. Both trust only the bytes that they
//! pass in: firmware files and memory contents are hostile, and nothing here does I/O.
//!
//! ```
//! use std::num::NonZeroU16;
//!
//! use casemate_launch_digest::{GuestFeatures, SnpLaunch, VcpuType};
//! # use casemate_boot_formats::sev_hashes::KernelHashes;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (firmware, kernel, initramfs) = (vec![0; 4096], [], []);
//! let launch = SnpLaunch {
//!     firmware: &firmware,
//!     hashes: Some(KernelHashes::of(&kernel, &initramfs, b"quiet")?),
//!     vcpu_type: "EPYC-v4".parse::<VcpuType>()?,
//!     features: GuestFeatures::SNP,
//! };
//! # if false {
//! let one = launch.digest(NonZeroU16::MIN)?;
//! println!("{one}");
//! # }
//! # Ok(())
//! # }
//! ```
//!
//! # Invariants
//!
//! - Prediction and software PSP run the same fold ([`measure_memory`]); they differ only in where
//!   a page comes from.
//! - Nothing is measured by default: a section or CPU model that is not known is an error.
//! - The digest covers no policy, host data or ID block: those are fields of the report that the
//!   verifier checks beside it.

#![cfg_attr(test, allow(clippy::as_conversions, reason = "small numbers of known size"))]

pub mod id_block;
mod initdata;
pub mod plan;
pub mod snp;
pub mod tdx;

pub use initdata::InitdataDigest;
pub use initdata::UnknownDigestLength;
pub use snp::FoldError;
pub use snp::GuestFeatures;
pub use snp::InvalidFeatures;
pub use snp::LaunchDigest;
pub use snp::LaunchError;
pub use snp::Pages;
pub use snp::SnpLaunch;
pub use snp::UnknownVcpuType;
pub use snp::VMSA_GPA;
pub use snp::Vcpu;
pub use snp::VcpuType;
pub use snp::fold_vcpus;
pub use snp::measure_memory;
