// SPDX-License-Identifier: Apache-2.0
//! Commands of a TDX launch.

use std::mem::offset_of;
use std::mem::size_of;

use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;

/// `KVM_TDX_CAPABILITIES`, on the VM.
pub const TDX_CAPABILITIES: u32 = 0;
/// `KVM_TDX_INIT_VM`, on the VM.
pub const TDX_INIT_VM: u32 = 1;
/// `KVM_TDX_INIT_VCPU`, on a virtual CPU.
pub const TDX_INIT_VCPU: u32 = 2;
/// `KVM_TDX_INIT_MEM_REGION`, on a virtual CPU.
pub const TDX_INIT_MEM_REGION: u32 = 3;
/// `KVM_TDX_FINALIZE_VM`, on the VM.
pub const TDX_FINALIZE_VM: u32 = 4;

/// `KVM_TDX_MEASURE_MEMORY_REGION`: the flag of [`TDX_INIT_MEM_REGION`] for measured contents.
pub const TDX_MEASURE_MEMORY_REGION: u32 = 1;

/// `struct kvm_tdx_cmd`: the argument of `KVM_MEMORY_ENCRYPT_OP`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct TdxCmd {
    /// The command.
    pub id: u32,
    /// Flags of the command.
    pub flags: u32,
    /// Address of the command's structure, or its value.
    pub data: u64,
    /// The TDX module's status, written by KVM; zero when given.
    pub hw_error: u64,
}

/// `struct kvm_tdx_capabilities` before the entries of its CPUID table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TdxCapabilities {
    /// TD attributes that KVM and the module take.
    pub supported_attrs: u64,
    /// XFAM bits that KVM and the module take.
    pub supported_xfam: u64,
    /// `TDG.VP.VMCALL<GetTdVmCallInfo>` leaves that KVM and user space may answer.
    pub tdvmcallinfo: [u64; 4],
    /// Zeros.
    pub reserved: [u64; 250],
    /// Number of entries that follow, or for which there is room.
    pub cpuid_nent: u32,
    /// Zero.
    pub cpuid_padding: u32,
}

/// `struct kvm_tdx_init_vm` before the entries of its CPUID table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TdxInitVm {
    /// TD attributes.
    pub attributes: u64,
    /// Extended features that the guest may use.
    pub xfam: u64,
    /// MRCONFIGID: what the guest is configured for.
    pub mrconfigid: [u8; 48],
    /// MROWNER.
    pub mrowner: [u8; 48],
    /// MROWNERCONFIG.
    pub mrownerconfig: [u8; 48],
    /// Zeros.
    pub reserved: [u64; 12],
    /// Number of CPUID entries that follow.
    pub cpuid_nent: u32,
    /// Zero.
    pub cpuid_padding: u32,
}

/// `struct kvm_tdx_init_mem_region`. KVM moves it on by what it has done.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct TdxInitMemRegion {
    /// Address of the contents in this process.
    pub source_addr: u64,
    /// Guest-physical address.
    pub gpa: u64,
    /// Number of pages.
    pub nr_pages: u64,
}

const _: () = {
    assert!(size_of::<TdxCmd>() == 24);
    assert!(offset_of!(TdxCmd, data) == 8);
    assert!(offset_of!(TdxCmd, hw_error) == 16);
    assert!(size_of::<TdxCapabilities>() == 2056);
    assert!(offset_of!(TdxCapabilities, cpuid_nent) == 2048);
    assert!(size_of::<TdxInitVm>() == 264);
    assert!(offset_of!(TdxInitVm, mrconfigid) == 16);
    assert!(offset_of!(TdxInitVm, mrowner) == 64);
    assert!(offset_of!(TdxInitVm, mrownerconfig) == 112);
    assert!(offset_of!(TdxInitVm, cpuid_nent) == 256);
    assert!(size_of::<TdxInitMemRegion>() == 24);
    assert!(offset_of!(TdxInitMemRegion, gpa) == 8);
    assert!(offset_of!(TdxInitMemRegion, nr_pages) == 16);
};
