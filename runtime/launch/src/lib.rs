// SPDX-License-Identifier: Apache-2.0
//! Carries out the launch plan of a confidential virtual machine on KVM, SNP or TDX. The plan comes
//! from `casemate-launch-digest`, which predicts from the same plan what the hardware will report.
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
