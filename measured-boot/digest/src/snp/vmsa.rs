// SPDX-License-Identifier: Apache-2.0
//! The measured state of a virtual CPU (VMSA).
//!
//! Sources: AMD64 Architecture Programmer's Manual, volume 2, table B-4 (layout); QEMU,
//! `x86_cpu_reset` (values); Linux, `sev_es_sync_vmsa` (which of them KVM copies).

use std::num::NonZeroU16;

use super::FoldError;
use super::GuestFeatures;
use super::LaunchDigest;
use super::PageType;
use super::VcpuType;
use super::VmmProfile;
use super::sha384;

/// Guest-physical address under which KVM measures the state of every virtual CPU.
pub const VMSA_GPA: u64 = 0xffff_ffff_f000;

/// One virtual CPU at its start under QEMU.
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
    pub const RESET_VECTOR: u32 = VcpuState::RESET_VECTOR;

    /// The page that KVM measures for this CPU.
    #[must_use]
    pub fn vmsa(&self) -> Box<[u8; 4096]> {
        VmmProfile::Qemu(self.vcpu_type).vcpu_state(self.features, self.eip).to_page()
    }
}

/// A segment register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Segment {
    /// The selector.
    pub selector: u16,
    /// Attributes in the form of the VMCB: type and flags in bits 0 to 7, the rest in 8 to 11.
    pub attributes: u16,
    /// The limit in bytes.
    pub limit: u32,
    /// The base address.
    pub base: u64,
}

impl Segment {
    /// A real-mode segment of 64 KiB at address 0.
    #[must_use]
    pub const fn with_attributes(attributes: u16) -> Self {
        Self { selector: 0, attributes, limit: 0xffff, base: 0 }
    }

    fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        let parts: [&[u8]; 4] = [
            &self.selector.to_le_bytes(),
            &self.attributes.to_le_bytes(),
            &self.limit.to_le_bytes(),
            &self.base.to_le_bytes(),
        ];
        for (place, byte) in bytes.iter_mut().zip(parts.into_iter().flatten()) {
            *place = *byte;
        }
        bytes
    }
}

/// The registers of a virtual CPU at its start, as they are measured. All others are zero.
///
/// A launcher on KVM gives these values to KVM_SET_SREGS, KVM_SET_REGS, KVM_SET_FPU, KVM_SET_XCRS
/// and KVM_SET_MSRS; KVM makes the measured page of them when the launch finishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VcpuState {
    /// Data segment ES.
    pub es: Segment,
    /// Code segment CS.
    pub cs: Segment,
    /// Stack segment SS.
    pub ss: Segment,
    /// Data segment DS.
    pub ds: Segment,
    /// Data segment FS.
    pub fs: Segment,
    /// Data segment GS.
    pub gs: Segment,
    /// Global descriptor table.
    pub gdtr: Segment,
    /// Local descriptor table.
    pub ldtr: Segment,
    /// Interrupt descriptor table.
    pub idtr: Segment,
    /// Task register.
    pub tr: Segment,
    /// EFER. KVM itself adds SVME.
    pub efer: u64,
    /// Control register 4. KVM itself adds MCE.
    pub cr4: u64,
    /// Control register 0.
    pub cr0: u64,
    /// Debug register 7.
    pub dr7: u64,
    /// Debug register 6.
    pub dr6: u64,
    /// Flags.
    pub rflags: u64,
    /// Instruction pointer, relative to CS.
    pub rip: u64,
    /// The guest's page attribute table.
    pub g_pat: u64,
    /// RDX: at reset the CPUID signature.
    pub rdx: u64,
    /// SEV features of the guest.
    pub features: GuestFeatures,
    /// Extended control register 0.
    pub xcr0: u64,
    /// SSE control and status.
    pub mxcsr: u32,
    /// x87 control word.
    pub x87_fcw: u16,
}

impl VcpuState {
    /// The reset vector, at which the first virtual CPU starts.
    pub const RESET_VECTOR: u32 = 0xffff_fff0;

    /// A CPU after reset, with RDX zero, that starts at a linear address.
    #[must_use]
    pub fn at_reset(eip: u32, features: GuestFeatures) -> Self {
        const DATA: Segment = Segment::with_attributes(0x93);
        let base = u64::from(eip & 0xffff_0000);
        Self {
            es: DATA,
            cs: Segment { selector: 0xf000, attributes: 0x9b, limit: 0xffff, base },
            ss: DATA,
            ds: DATA,
            fs: DATA,
            gs: DATA,
            gdtr: Segment::with_attributes(0),
            ldtr: Segment::with_attributes(0x82),
            idtr: Segment::with_attributes(0),
            tr: Segment::with_attributes(0x8b),
            efer: 0x1000, // SVME
            cr4: 0x40,    // MCE
            cr0: 0x10,    // ET
            dr7: 0x400,
            dr6: 0xffff_0ff0,
            rflags: 2,
            rip: u64::from(eip & 0xffff),
            g_pat: 0x0007_0406_0007_0406,
            rdx: 0,
            features,
            xcr0: 1,
            mxcsr: 0x1f80,
            x87_fcw: 0x37f,
        }
    }

    /// The page that is measured for this CPU.
    #[must_use]
    pub fn to_page(&self) -> Box<[u8; 4096]> {
        let mut page = Vmsa(Box::new([0; 4096]));
        for (offset, segment) in [
            (offset::ES, self.es),
            (offset::CS, self.cs),
            (offset::SS, self.ss),
            (offset::DS, self.ds),
            (offset::FS, self.fs),
            (offset::GS, self.gs),
            (offset::GDTR, self.gdtr),
            (offset::LDTR, self.ldtr),
            (offset::IDTR, self.idtr),
            (offset::TR, self.tr),
        ] {
            page.put(offset, segment.to_bytes());
        }
        for (offset, value) in [
            (offset::EFER, self.efer),
            (offset::CR4, self.cr4),
            (offset::CR0, self.cr0),
            (offset::DR7, self.dr7),
            (offset::DR6, self.dr6),
            (offset::RFLAGS, self.rflags),
            (offset::RIP, self.rip),
            (offset::G_PAT, self.g_pat),
            (offset::RDX, self.rdx),
            (offset::SEV_FEATURES, self.features.bits()),
            (offset::XCR0, self.xcr0),
        ] {
            page.put(offset, value.to_le_bytes());
        }
        page.put(offset::MXCSR, self.mxcsr.to_le_bytes());
        page.put(offset::X87_FCW, self.x87_fcw.to_le_bytes());
        page.0
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
) -> Result<(), FoldError> {
    let page = |eip| sha384(&[Vcpu { vcpu_type, features, eip }.vmsa().as_slice()]);
    let (first, other) = (page(Vcpu::RESET_VECTOR), page(reset_eip));
    for index in 0..count.get() {
        let contents = if index == 0 { &first } else { &other };
        digest.fold_page(VMSA_GPA, PageType::Vmsa, contents);
        each(*digest);
    }
    Ok(())
}

/// A page under construction.
struct Vmsa(Box<[u8; 4096]>);

impl Vmsa {
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
