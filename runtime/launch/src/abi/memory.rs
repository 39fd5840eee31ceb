// SPDX-License-Identifier: Apache-2.0
//! Types of VMs, memory and capabilities.

use std::mem::offset_of;
use std::mem::size_of;

use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;

/// Argument of `KVM_CREATE_VM`: an SNP guest.
pub const VM_TYPE_SNP: u32 = 4;
/// Argument of `KVM_CREATE_VM`: a TDX guest.
pub const VM_TYPE_TDX: u32 = 5;

/// `KVM_MEMORY_ENCRYPT_OP`, on a VM (SNP, TDX) or on a virtual CPU (TDX).
pub const MEMORY_ENCRYPT_OP: u32 = 0xc008_aeba;
/// `KVM_CREATE_GUEST_MEMFD`, on a VM.
pub const CREATE_GUEST_MEMFD: u32 = 0xc040_aed4;
/// `KVM_SET_USER_MEMORY_REGION2`, on a VM.
pub const SET_USER_MEMORY_REGION2: u32 = 0x40a0_ae49;
/// `KVM_SET_MEMORY_ATTRIBUTES`, on a VM.
pub const SET_MEMORY_ATTRIBUTES: u32 = 0x4020_aed2;

/// `KVM_CAP_VM_TYPES`: a bit for each type of VM.
pub const CAP_VM_TYPES: u32 = 235;
/// `KVM_CAP_EXIT_HYPERCALL`: hypercalls that end up in user space.
pub const CAP_EXIT_HYPERCALL: u32 = 201;
/// `KVM_CAP_GUEST_MEMFD`.
pub const CAP_GUEST_MEMFD: u32 = 234;
/// `KVM_CAP_MEMORY_ATTRIBUTES`: a bit for each attribute.
pub const CAP_MEMORY_ATTRIBUTES: u32 = 233;
/// `KVM_CAP_X86_APIC_BUS_CYCLES_NS`.
pub const CAP_X86_APIC_BUS_CYCLES_NS: u32 = 237;
/// `KVM_CAP_SPLIT_IRQCHIP`.
pub const CAP_SPLIT_IRQCHIP: u32 = 121;
/// `KVM_CAP_MAX_VCPUS`.
pub const CAP_MAX_VCPUS: u32 = 66;

/// `KVM_HC_MAP_GPA_RANGE`: the hypercall by which a guest shares and unshares pages.
pub const HC_MAP_GPA_RANGE: u32 = 12;

/// `KVM_MEM_GUEST_MEMFD`: the slot's private pages come from a guest_memfd.
pub const MEM_GUEST_MEMFD: u32 = 4;
/// `KVM_MEMORY_ATTRIBUTE_PRIVATE`.
pub const MEMORY_ATTRIBUTE_PRIVATE: u64 = 8;

/// `struct kvm_create_guest_memfd`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct CreateGuestMemfd {
    /// Size in bytes, whole pages.
    pub size: u64,
    /// `GUEST_MEMFD_FLAG_*`; 0 gives private memory only.
    pub flags: u64,
    /// Zeros.
    pub reserved: [u64; 6],
}

/// `struct kvm_userspace_memory_region2`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct UserMemoryRegion2 {
    /// Number of the slot.
    pub slot: u32,
    /// `KVM_MEM_*`.
    pub flags: u32,
    /// Address of the slot in the guest.
    pub guest_phys_addr: u64,
    /// Size in bytes, whole pages.
    pub memory_size: u64,
    /// Address of the shared pages in this process.
    pub userspace_addr: u64,
    /// Where in the guest_memfd the private pages begin, in bytes.
    pub guest_memfd_offset: u64,
    /// File descriptor of the guest_memfd.
    pub guest_memfd: u32,
    /// Zero.
    pub pad1: u32,
    /// Zeros.
    pub pad2: [u64; 14],
}

/// `struct kvm_memory_attributes`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct MemoryAttributes {
    /// Guest-physical address, of a page.
    pub address: u64,
    /// Size in bytes, whole pages.
    pub size: u64,
    /// The attributes that the whole range has from now on.
    pub attributes: u64,
    /// Zero.
    pub flags: u64,
}

/// `struct kvm_cpuid_entry2`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct CpuidEntry {
    /// EAX of the query.
    pub function: u32,
    /// ECX of the query.
    pub index: u32,
    /// `KVM_CPUID_FLAG_*`; bit 0 says that `index` counts.
    pub flags: u32,
    /// EAX of the answer.
    pub eax: u32,
    /// EBX of the answer.
    pub ebx: u32,
    /// ECX of the answer.
    pub ecx: u32,
    /// EDX of the answer.
    pub edx: u32,
    /// Zeros.
    pub padding: [u32; 3],
}

const _: () = {
    assert!(size_of::<CreateGuestMemfd>() == 64);
    assert!(offset_of!(CreateGuestMemfd, flags) == 8);
    assert!(size_of::<UserMemoryRegion2>() == 160);
    assert!(offset_of!(UserMemoryRegion2, userspace_addr) == 24);
    assert!(offset_of!(UserMemoryRegion2, guest_memfd_offset) == 32);
    assert!(offset_of!(UserMemoryRegion2, guest_memfd) == 40);
    assert!(size_of::<MemoryAttributes>() == 32);
    assert!(offset_of!(MemoryAttributes, attributes) == 16);
    assert!(size_of::<CpuidEntry>() == 40);
};
