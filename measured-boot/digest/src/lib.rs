// SPDX-License-Identifier: Apache-2.0
//! What hardware will measure when a confidential guest starts, computed from bytes alone.
//!
//! The owner predicts launch digest (SNP) or MRTD and RTMRs (TDX) offline and gives them to the
//! broker as reference values; a launcher executes the same [plan], and the software PSP folds the
//! same pages from a paused VM's memory. All of them trust only the bytes that they pass in:
//! firmware files and memory contents are hostile, and nothing here does I/O.
//!
//! | module | what |
//! |---|---|
//! | [`plan`] | one typed, ordered launch for either TEE: made from files, folded, executed |
//! | [`snp`] | pages, CPUs, VMM profiles and the fold of SEV-SNP |
//! | [`id_block`] | ID block and ID authentication: create, sign, verify |
//! | [`tdx`] | MRTD, event logs, RTMRs |
//!
//! ```
//! use std::num::NonZeroU16;
//!
//! use casemate_boot_formats::sev_hashes::KernelHashes;
//! use casemate_launch_digest::plan::{Firmware, PlanError, SnpGuest, SnpInputs};
//! use casemate_launch_digest::snp::{GuestFeatures, LaunchDigest, VmmProfile};
//!
//! /// The reference values of a guest with 1, 2, … 255 virtual CPUs.
//! fn reference_values(
//!     firmware: &[u8],
//!     kernel: &[u8],
//!     initramfs: &[u8],
//! ) -> Result<Vec<LaunchDigest>, Box<dyn std::error::Error>> {
//!     let inputs = SnpInputs {
//!         firmware: Firmware::parse(firmware)?,
//!         hashes: Some(KernelHashes::of(kernel, initramfs, b"casemate.tee=snp quiet")?),
//!         vmm: VmmProfile::Qemu("EPYC-v4".parse()?),
//!         features: GuestFeatures::SNP,
//!         vcpus: NonZeroU16::new(255).ok_or("no virtual CPU")?,
//!         guest: SnpGuest::default(),
//!     };
//!     let plan = inputs.plan()?;
//!     for step in plan.steps() {
//!         println!("{:#x} {:?} x {}: {}", step.gpa, step.page_type, step.count, step.digest);
//!     }
//!     Ok(plan.digests_by_vcpus())
//! }
//! # assert!(reference_values(&[0; 4096], b"", b"").is_err());
//! ```
//!
//! # Invariants
//!
//! - Prediction, launcher and software PSP run the same fold; they differ only in where a page
//!   comes from.
//! - A plan cannot hold what hardware would refuse: pages twice, pages beyond memory, an ID block
//!   of another launch.
//! - Nothing is measured by default: a section, CPU model or VMM that is not known is an error, and
//!   what no vector covers is [`tdx::NotShown`], not a guess.
//! - The SNP digest covers no policy, host data or ID block, and MRTD no attributes, MRCONFIGID or
//!   number of CPUs: those are fields of the report that the verifier checks beside it.

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
