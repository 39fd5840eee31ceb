// SPDX-License-Identifier: Apache-2.0
//! The measured state of a virtual CPU (VMSA) as KVM makes it for QEMU.
//!
//! Sources: AMD64 Architecture Programmer's Manual, volume 2, table B-4 (layout); QEMU,
//! `x86_cpu_reset` (values); Linux, `sev_es_sync_vmsa` (which of them KVM copies).

use std::num::NonZeroU16;

use crate::GuestFeatures;
use crate::LaunchDigest;
use crate::Pages;
use crate::VcpuType;

/// Guest-physical address under which the state of every virtual CPU is measured.
pub const VMSA_GPA: u64 = 0xffff_ffff_f000;

/// One virtual CPU at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vcpu {
    /// The CPU model.
    pub vcpu_type: VcpuType,
    /// The SEV features of the guest.
    pub features: GuestFeatures,
    /// Linear address of the first instruction.
    pub eip: u32,
}

impl Vcpu {
    /// The reset vector, at which the first virtual CPU starts.
    pub const RESET_VECTOR: u32 = 0xffff_fff0;

    /// The page that KVM measures for this CPU.
    #[must_use]
    pub fn vmsa(&self) -> Box<[u8; 4096]> {
        const DATA: u16 = 0x93;
        let code_base = self.eip & 0xffff_0000;
        let mut vmsa = Vmsa(Box::new([0; 4096]));
        vmsa.segment(offset::ES, 0, DATA, 0);
        vmsa.segment(offset::CS, 0xf000, 0x9b, code_base);
        vmsa.segment(offset::SS, 0, DATA, 0);
        vmsa.segment(offset::DS, 0, DATA, 0);
        vmsa.segment(offset::FS, 0, DATA, 0);
        vmsa.segment(offset::GS, 0, DATA, 0);
        vmsa.segment(offset::GDTR, 0, 0, 0);
        vmsa.segment(offset::LDTR, 0, 0x82, 0);
        vmsa.segment(offset::IDTR, 0, 0, 0);
        vmsa.segment(offset::TR, 0, 0x8b, 0);
        vmsa.put(offset::EFER, 0x1000_u64.to_le_bytes()); // SVME
        vmsa.put(offset::CR4, 0x40_u64.to_le_bytes()); // MCE
        vmsa.put(offset::CR0, 0x10_u64.to_le_bytes()); // ET
        vmsa.put(offset::DR7, 0x400_u64.to_le_bytes());
        vmsa.put(offset::DR6, 0xffff_0ff0_u64.to_le_bytes());
        vmsa.put(offset::RFLAGS, 2_u64.to_le_bytes());
        vmsa.put(offset::RIP, u64::from(self.eip & 0xffff).to_le_bytes());
        vmsa.put(offset::G_PAT, 0x0007_0406_0007_0406_u64.to_le_bytes());
        vmsa.put(offset::RDX, u64::from(self.vcpu_type.signature()).to_le_bytes());
        vmsa.put(offset::SEV_FEATURES, self.features.bits().to_le_bytes());
        vmsa.put(offset::XCR0, 1_u64.to_le_bytes());
        vmsa.put(offset::MXCSR, 0x1f80_u32.to_le_bytes());
        vmsa.put(offset::X87_FCW, 0x37f_u16.to_le_bytes());
        vmsa.0
    }
}

/// Folds the state of `count` virtual CPUs in the order of their creation: the first one starts at
/// the reset vector, all others at the EIP of the firmware's reset block.
///
/// `each` sees the digest after every CPU, so that one pass gives the digests of all counts.
///
/// # Errors
///
/// None in practice: the address is that of a page.
pub fn fold_vcpus(
    digest: &mut LaunchDigest,
    vcpu_type: VcpuType,
    features: GuestFeatures,
    reset_eip: u32,
    count: NonZeroU16,
    mut each: impl FnMut(LaunchDigest),
) -> Result<(), crate::FoldError> {
    let first = Vcpu { vcpu_type, features, eip: Vcpu::RESET_VECTOR }.vmsa();
    let other = Vcpu { vcpu_type, features, eip: reset_eip }.vmsa();
    for index in 0..count.get() {
        let vmsa = if index == 0 { &first } else { &other };
        digest.update(VMSA_GPA, Pages::Vmsa(vmsa))?;
        each(*digest);
    }
    Ok(())
}

/// A page under construction.
struct Vmsa(Box<[u8; 4096]>);

impl Vmsa {
    /// A segment register: selector, attributes, limit 0xffff, base.
    fn segment(&mut self, offset: usize, selector: u16, attributes: u16, base: u32) {
        let [s0, s1] = selector.to_le_bytes();
        let [a0, a1] = attributes.to_le_bytes();
        let [b0, b1, b2, b3] = base.to_le_bytes();
        self.put(offset, [s0, s1, a0, a1, 0xff, 0xff, 0, 0, b0, b1, b2, b3, 0, 0, 0, 0]);
    }

    fn put<const N: usize>(&mut self, offset: usize, bytes: [u8; N]) {
        let place = self.0.get_mut(offset..).and_then(|rest| rest.first_chunk_mut());
        // All offsets are constants of the table below, far from the page's end.
        debug_assert!(place.is_some());
        if let Some(place) = place {
            *place = bytes;
        }
    }
}

/// Offsets in the VMSA, in bytes.
mod offset {
    pub(super) const ES: usize = 0x00;
    pub(super) const CS: usize = 0x10;
    pub(super) const SS: usize = 0x20;
    pub(super) const DS: usize = 0x30;
    pub(super) const FS: usize = 0x40;
    pub(super) const GS: usize = 0x50;
    pub(super) const GDTR: usize = 0x60;
    pub(super) const LDTR: usize = 0x70;
    pub(super) const IDTR: usize = 0x80;
    pub(super) const TR: usize = 0x90;
    pub(super) const EFER: usize = 0xd0;
    pub(super) const CR4: usize = 0x148;
    pub(super) const CR0: usize = 0x158;
    pub(super) const DR7: usize = 0x160;
    pub(super) const DR6: usize = 0x168;
    pub(super) const RFLAGS: usize = 0x170;
    pub(super) const RIP: usize = 0x178;
    pub(super) const G_PAT: usize = 0x268;
    pub(super) const RDX: usize = 0x310;
    pub(super) const SEV_FEATURES: usize = 0x3b0;
    pub(super) const XCR0: usize = 0x3e8;
    pub(super) const MXCSR: usize = 0x408;
    pub(super) const X87_FCW: usize = 0x410;
}
