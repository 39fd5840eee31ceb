// SPDX-License-Identifier: Apache-2.0
//! Carries out the launch plan of a confidential virtual machine on KVM, SNP or TDX. The plan comes
//! from `casemate-launch-digest`, which predicts from the same plan what the hardware will report.
//!
//! # Trust
//!
//! This crate runs on the host, which the workload's owner does not trust: whatever it does or
//! leaves out shows in the launch digest, or in a field of the guest's report beside it. It trusts
//! KVM as any program on the host does, and still counts what KVM says it did, since an error found
//! here names the call, and one found in a digest names nothing. What it guards is the user against
//! silent weakening: it asks for exactly the TEE, policy, features and ID block of the plan, and a
//! host that cannot give them ends the launch with an error of its own (E21).
//!
//! # Example
//!
//! The model of KVM stands in for the hardware here; on a host it is [`HostKvm::open`].
//!
//! ```
//! use std::num::NonZeroU16;
//!
//! use casemate_kvm_model::{Host, Model};
//! use casemate_launch::{Machine, MemoryLayout, MemoryRegion, RegionKind, launch_snp};
//! use casemate_launch_digest::plan::{SnpGuest, SnpPlan, Vcpus};
//! use casemate_launch_digest::snp::{GuestFeatures, PageContents, PageRange, VmmProfile};
//!
//! let image = [0xf4; 4096];
//! let pages = PageRange::new(0xffff_f000, PageContents::Normal(image.as_slice().into()))?;
//! let (vmm, count) = (VmmProfile::Casemate, NonZeroU16::MIN);
//! let vcpus = Vcpus::of(vmm, GuestFeatures::SNP, None, count)?;
//! let plan = SnpPlan::new(vec![pages], vcpus, SnpGuest::default())?;
//!
//! let firmware = MemoryRegion { gpa: 0xffff_f000, size: 0x1000, kind: RegionKind::Firmware };
//! let ram = MemoryRegion { gpa: 0, size: 0x800_0000, kind: RegionKind::Ram };
//! let memory = MemoryLayout::new(vec![ram, firmware])?;
//! let machine = Machine { memory, cpuid: Vec::new() };
//!
//! let mut kvm = Model::new(Host::default());
//! launch_snp(&plan, &machine, &mut kvm)?;
//! let measured = kvm.snp_guest().map(|guest| guest.digest);
//! assert_eq!(measured, Some(*plan.digest().as_bytes()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Invariants
//!
//! - A launch makes the VM type of its plan or none.
//! - Tries are bounded, and `KVM_SEV_SNP_LAUNCH_FINISH` is made once.
//! - Every page of the plan is given to KVM once, in the plan's order, from page-aligned memory.
//! - The CPUID page may lose features that the hardware does not have; any other correction of the
//!   PSP ends the launch and is shown.
//! - Addresses in a kernel structure are checked against memory that was lent for the call, so the
//!   traits are safe to call. `unsafe` stands in the module `kvm` alone.

pub mod abi;
mod calls;
mod cpuid;
mod error;
mod hob;
mod kvm;
mod machine;
mod memory;
mod pages;
mod retry;
mod snp;
mod tdx;
mod tee;
mod transcript;
mod vcpu;

pub use calls::Identity;
pub use calls::Kvm;
pub use calls::SnpKvm;
pub use calls::Source;
pub use calls::TdxKvm;
pub use calls::TdxSupport;
pub use cpuid::CpuidChange;
pub use cpuid::CpuidRegister;
pub use cpuid::MAX_CPUID_ENTRIES;
pub use error::Call;
pub use error::FirmwareError;
pub use error::LaunchError;
pub use error::PspStatus;
pub use error::Refusal;
pub use kvm::HostKvm;
pub use kvm::SharedMemory;
pub use machine::ADDRESS_LIMIT;
pub use machine::MAX_REGIONS;
pub use machine::Machine;
pub use machine::MemoryLayout;
pub use machine::MemoryLayoutError;
pub use machine::MemoryRegion;
pub use machine::RegionKind;
pub use retry::MAX_ATTEMPTS;
pub use retry::MAX_TDX_INIT_ATTEMPTS;
pub use snp::SnpLaunched;
pub use snp::launch_snp;
pub use tdx::MAX_TDX_CPUID_ENTRIES;
pub use tdx::TdxLaunched;
pub use tdx::launch_tdx;
pub use tee::Tee;
pub use transcript::MAX_TRANSCRIPT_LINES;
pub use transcript::Transcript;
