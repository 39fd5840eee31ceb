// SPDX-License-Identifier: Apache-2.0
//! Commands of an SNP launch.

use std::mem::offset_of;
use std::mem::size_of;

use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;

/// `KVM_SEV_INIT2`.
pub const SEV_INIT2: u32 = 22;
/// `KVM_SEV_SNP_LAUNCH_START`.
pub const SNP_LAUNCH_START: u32 = 100;
/// `KVM_SEV_SNP_LAUNCH_UPDATE`.
pub const SNP_LAUNCH_UPDATE: u32 = 101;
/// `KVM_SEV_SNP_LAUNCH_FINISH`.
pub const SNP_LAUNCH_FINISH: u32 = 102;

/// `KVM_X86_GRP_SEV`, the group of /dev/kvm's attributes for SEV.
pub const GRP_SEV: u32 = 1;
/// `KVM_X86_SEV_VMSA_FEATURES`: SEV features that KVM takes.
pub const VMSA_FEATURES: u64 = 0;
/// `KVM_X86_SNP_POLICY_BITS`: policy bits that KVM takes; Linux 6.19 and newer.
pub const SNP_POLICY_BITS: u64 = 1;

/// `KVM_GET_DEVICE_ATTR`, on /dev/kvm.
pub const GET_DEVICE_ATTR: u32 = 0x4018_aee2;

/// `KVM_SEV_SNP_PAGE_TYPE_NORMAL`.
pub const PAGE_TYPE_NORMAL: u8 = 1;
/// The state of a virtual CPU: KVM's own business, refused from user space.
pub const PAGE_TYPE_VMSA: u8 = 2;
/// `KVM_SEV_SNP_PAGE_TYPE_ZERO`.
pub const PAGE_TYPE_ZERO: u8 = 3;
/// `KVM_SEV_SNP_PAGE_TYPE_UNMEASURED`.
pub const PAGE_TYPE_UNMEASURED: u8 = 4;
/// `KVM_SEV_SNP_PAGE_TYPE_SECRETS`.
pub const PAGE_TYPE_SECRETS: u8 = 5;
/// `KVM_SEV_SNP_PAGE_TYPE_CPUID`.
pub const PAGE_TYPE_CPUID: u8 = 6;

/// Size of an ID block in bytes.
pub const ID_BLOCK_SIZE: usize = 96;
/// Size of an ID authentication page in bytes.
pub const ID_AUTH_SIZE: usize = 4096;

/// `struct kvm_device_attr`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct DeviceAttr {
    /// Zero.
    pub flags: u32,
    /// The group, such as [`GRP_SEV`].
    pub group: u32,
    /// The attribute.
    pub attr: u64,
    /// Address of the value.
    pub addr: u64,
}

/// `struct kvm_sev_cmd`: the argument of `KVM_MEMORY_ENCRYPT_OP`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct SevCmd {
    /// The command.
    pub id: u32,
    /// Zero.
    pub pad0: u32,
    /// Address of the command's structure.
    pub data: u64,
    /// The firmware's status, written by KVM.
    pub error: u32,
    /// File descriptor of /dev/sev.
    pub sev_fd: u32,
}

/// `struct kvm_sev_init`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct SevInit {
    /// SEV features of all virtual CPUs; KVM itself adds bit 0, SNP.
    pub vmsa_features: u64,
    /// Zero.
    pub flags: u32,
    /// Highest version of the GHCB protocol; 0 stands for 2.
    pub ghcb_version: u16,
    /// Zero.
    pub pad1: u16,
    /// Zeros.
    pub pad2: [u32; 8],
}

/// `struct kvm_sev_snp_launch_start`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct SnpLaunchStart {
    /// The guest policy.
    pub policy: u64,
    /// Workarounds that the guest sees.
    pub gosvw: [u8; 16],
    /// Zero.
    pub flags: u16,
    /// Zeros.
    pub pad0: [u8; 6],
    /// Zeros.
    pub pad1: [u64; 4],
}

/// `struct kvm_sev_snp_launch_update`. KVM may do a part, and moves the first three fields on.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct SnpLaunchUpdate {
    /// Number of the first page: its guest-physical address divided by the page size.
    pub gfn_start: u64,
    /// Address of the contents in this process.
    pub uaddr: u64,
    /// Size in bytes, whole pages.
    pub len: u64,
    /// `KVM_SEV_SNP_PAGE_TYPE_*`.
    pub page_type: u8,
    /// Zero.
    pub pad0: u8,
    /// Zero.
    pub flags: u16,
    /// Zero.
    pub pad1: u32,
    /// Zeros.
    pub pad2: [u64; 4],
}

/// `struct kvm_sev_snp_launch_finish`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct SnpLaunchFinish {
    /// Address of the ID block, [`ID_BLOCK_SIZE`] bytes.
    pub id_block_uaddr: u64,
    /// Address of the ID authentication page, [`ID_AUTH_SIZE`] bytes.
    pub id_auth_uaddr: u64,
    /// 1 with an ID block.
    pub id_block_en: u8,
    /// 1 if the authentication page carries an author key.
    pub auth_key_en: u8,
    /// 1 if the guest may not get reports signed by the chip's own key.
    pub vcek_disabled: u8,
    /// What the guest finds in its report.
    pub host_data: [u8; 32],
    /// Zeros.
    pub pad0: [u8; 3],
    /// Zero.
    pub flags: u16,
    /// Zeros.
    pub pad1: [u64; 4],
}

const _: () = {
    assert!(size_of::<DeviceAttr>() == 24);
    assert!(size_of::<SevCmd>() == 24);
    assert!(offset_of!(SevCmd, data) == 8);
    assert!(offset_of!(SevCmd, error) == 16);
    assert!(offset_of!(SevCmd, sev_fd) == 20);
    assert!(size_of::<SevInit>() == 48);
    assert!(offset_of!(SevInit, ghcb_version) == 12);
    assert!(size_of::<SnpLaunchStart>() == 64);
    assert!(offset_of!(SnpLaunchStart, gosvw) == 8);
    assert!(offset_of!(SnpLaunchStart, flags) == 24);
    assert!(size_of::<SnpLaunchUpdate>() == 64);
    assert!(offset_of!(SnpLaunchUpdate, page_type) == 24);
    assert!(offset_of!(SnpLaunchUpdate, flags) == 26);
    assert!(size_of::<SnpLaunchFinish>() == 88);
    assert!(offset_of!(SnpLaunchFinish, id_block_en) == 16);
    assert!(offset_of!(SnpLaunchFinish, auth_key_en) == 17);
    assert!(offset_of!(SnpLaunchFinish, vcek_disabled) == 18);
    assert!(offset_of!(SnpLaunchFinish, host_data) == 19);
    assert!(offset_of!(SnpLaunchFinish, flags) == 54);
};
