// SPDX-License-Identifier: Apache-2.0
//! What KVM and user space exchange at a launch: structures and numbers, checked at compile time.
//!
//! Source: Linux 7.2, `include/uapi/linux/kvm.h` and `arch/x86/include/uapi/asm/kvm.h`;
//! `Documentation/virt/kvm/x86/amd-memory-encryption.rst` and `intel-tdx.rst` for their meaning.
//! They are the project's own because published bindings lack the TDX structures, and because every
//! byte counts: a launch structure that is short by its padding shifts HOST_DATA.
//!
//! All types can be looked at as bytes, so none has hidden padding.

mod memory;
mod snp;
mod tdx;

pub use memory::CAP_EXIT_HYPERCALL;
pub use memory::CAP_GUEST_MEMFD;
pub use memory::CAP_MAX_VCPUS;
pub use memory::CAP_MEMORY_ATTRIBUTES;
pub use memory::CAP_SPLIT_IRQCHIP;
pub use memory::CAP_VM_TYPES;
pub use memory::CAP_X86_APIC_BUS_CYCLES_NS;
pub use memory::CREATE_GUEST_MEMFD;
pub use memory::CpuidEntry;
pub use memory::CreateGuestMemfd;
pub use memory::HC_MAP_GPA_RANGE;
pub use memory::MEM_GUEST_MEMFD;
pub use memory::MEMORY_ATTRIBUTE_PRIVATE;
pub use memory::MEMORY_ENCRYPT_OP;
pub use memory::MemoryAttributes;
pub use memory::SET_MEMORY_ATTRIBUTES;
pub use memory::SET_USER_MEMORY_REGION2;
pub use memory::UserMemoryRegion2;
pub use memory::VM_TYPE_SNP;
pub use memory::VM_TYPE_TDX;
pub use snp::DeviceAttr;
pub use snp::GET_DEVICE_ATTR;
pub use snp::GRP_SEV;
pub use snp::ID_AUTH_SIZE;
pub use snp::ID_BLOCK_SIZE;
pub use snp::PAGE_TYPE_CPUID;
pub use snp::PAGE_TYPE_NORMAL;
pub use snp::PAGE_TYPE_SECRETS;
pub use snp::PAGE_TYPE_UNMEASURED;
pub use snp::PAGE_TYPE_VMSA;
pub use snp::PAGE_TYPE_ZERO;
pub use snp::SEV_INIT2;
pub use snp::SNP_LAUNCH_FINISH;
pub use snp::SNP_LAUNCH_START;
pub use snp::SNP_LAUNCH_UPDATE;
pub use snp::SNP_POLICY_BITS;
pub use snp::SevCmd;
pub use snp::SevInit;
pub use snp::SnpLaunchFinish;
pub use snp::SnpLaunchStart;
pub use snp::SnpLaunchUpdate;
pub use snp::VMSA_FEATURES;
pub use tdx::TDX_CAPABILITIES;
pub use tdx::TDX_FINALIZE_VM;
pub use tdx::TDX_INIT_MEM_REGION;
pub use tdx::TDX_INIT_VCPU;
pub use tdx::TDX_INIT_VM;
pub use tdx::TDX_MEASURE_MEMORY_REGION;
pub use tdx::TdxCapabilities;
pub use tdx::TdxCmd;
pub use tdx::TdxInitMemRegion;
pub use tdx::TdxInitVm;

/// Size of a page of guest memory, in bytes.
pub const PAGE_SIZE: u64 = 4096;
