// SPDX-License-Identifier: Apache-2.0
//! The plan's CPU states as KVM takes them.
//!
//! KVM makes the measured page of a virtual CPU from its registers when the launch finishes, and
//! adds what it adds to every guest. A state without that addition cannot be had from KVM, and its
//! digest would never appear: it is refused before anything is launched.

use casemate_launch_digest::snp::Segment;
use casemate_launch_digest::snp::VcpuState;
use kvm_bindings::kvm_debugregs;
use kvm_bindings::kvm_dtable;
use kvm_bindings::kvm_fpu;
use kvm_bindings::kvm_regs;
use kvm_bindings::kvm_segment;
use kvm_bindings::kvm_sregs;
use kvm_bindings::kvm_xcr;
use kvm_bindings::kvm_xcrs;

use crate::Call;
use crate::LaunchError;
use crate::SnpKvm;
use crate::retry::Caller;

/// The registers of one virtual CPU, ready for KVM.
pub(crate) struct Registers {
    sregs: kvm_sregs,
    regs: kvm_regs,
    fpu: kvm_fpu,
    xcrs: kvm_xcrs,
    debug: kvm_debugregs,
    g_pat: u64,
}

impl Registers {
    pub(crate) fn new(vcpu: u16, state: &VcpuState) -> Result<Self, LaunchError> {
        let require = |condition, register| {
            if condition { Ok(()) } else { Err(LaunchError::ImpossibleVcpu { vcpu, register }) }
        };
        require(state.efer & EFER_SVME != 0, "EFER without SVME")?;
        require(state.cr4 & CR4_MCE != 0, "CR4 without MCE")?;
        require(state.cr0 & CR0_CACHE_BITS == 0, "CR0 with CD or NW")?;
        require(state.dr7 == DR7_AT_RESET, "DR7 other than at reset")?;
        let segment = |segment: &Segment, register| {
            require(segment.attributes < 0x1000, register).map(|()| to_kvm_segment(segment))
        };
        let table = |segment: &Segment, register| {
            let limit = u16::try_from(segment.limit).ok();
            let limit = limit.filter(|_| segment.selector == 0 && segment.attributes == 0);
            let impossible = LaunchError::ImpossibleVcpu { vcpu, register };
            Ok(kvm_dtable { base: segment.base, limit: limit.ok_or(impossible)?, padding: [0; 3] })
        };

        let sregs = kvm_sregs {
            cs: segment(&state.cs, "CS")?,
            ds: segment(&state.ds, "DS")?,
            es: segment(&state.es, "ES")?,
            fs: segment(&state.fs, "FS")?,
            gs: segment(&state.gs, "GS")?,
            ss: segment(&state.ss, "SS")?,
            tr: segment(&state.tr, "TR")?,
            ldt: segment(&state.ldtr, "LDTR")?,
            gdt: table(&state.gdtr, "GDTR")?,
            idt: table(&state.idtr, "IDTR")?,
            cr0: state.cr0,
            cr4: state.cr4 & !CR4_MCE,
            efer: state.efer & !EFER_SVME,
            apic_base: if vcpu == 0 { APIC_BASE | APIC_BASE_BSP } else { APIC_BASE },
            ..kvm_sregs::default()
        };
        let regs = kvm_regs {
            rdx: state.rdx,
            rip: state.rip,
            rflags: state.rflags,
            ..kvm_regs::default()
        };
        let fpu = kvm_fpu { fcw: state.x87_fcw, mxcsr: state.mxcsr, ..kvm_fpu::default() };
        let mut xcrs = kvm_xcrs { nr_xcrs: 1, ..kvm_xcrs::default() };
        let [xcr0, ..] = &mut xcrs.xcrs;
        *xcr0 = kvm_xcr { xcr: 0, value: state.xcr0, ..kvm_xcr::default() };
        let debug = kvm_debugregs { dr6: state.dr6, dr7: state.dr7, ..kvm_debugregs::default() };
        Ok(Self { sregs, regs, fpu, xcrs, debug, g_pat: state.g_pat })
    }

    pub(crate) fn apply<K: SnpKvm>(
        &self,
        vcpu: u16,
        caller: &mut Caller<'_, K>,
    ) -> Result<(), LaunchError> {
        caller.call(Call::SetSregs, |kvm| kvm.set_sregs(vcpu, &self.sregs))?;
        caller.call(Call::SetRegs, |kvm| kvm.set_regs(vcpu, &self.regs))?;
        caller.call(Call::SetFpu, |kvm| kvm.set_fpu(vcpu, &self.fpu))?;
        caller.call(Call::SetXcrs, |kvm| kvm.set_xcrs(vcpu, &self.xcrs))?;
        caller.call(Call::SetDebugRegs, |kvm| kvm.set_debug_regs(vcpu, &self.debug))?;
        caller.call(Call::SetMsrs, |kvm| kvm.set_msr(vcpu, MSR_PAT, self.g_pat))
    }
}

/// Attributes of the VMCB (bits 0 to 11) to the fields of `struct kvm_segment`.
fn to_kvm_segment(segment: &Segment) -> kvm_segment {
    let [low, high] = segment.attributes.to_le_bytes();
    let bit = |byte: u8, number: u8| byte >> number & 1;
    kvm_segment {
        base: segment.base,
        limit: segment.limit,
        selector: segment.selector,
        type_: low & 0xf,
        s: bit(low, 4),
        dpl: low >> 5 & 3,
        present: bit(low, 7),
        avl: bit(high, 0),
        l: bit(high, 1),
        db: bit(high, 2),
        g: bit(high, 3),
        unusable: 1 - bit(low, 7),
        padding: 0,
    }
}

/// EFER.SVME, which KVM sets for every guest.
const EFER_SVME: u64 = 1 << 12;
/// CR4.MCE, which KVM takes over from the host.
const CR4_MCE: u64 = 1 << 6;
/// CR0.CD and CR0.NW, which KVM clears.
const CR0_CACHE_BITS: u64 = 0b11 << 29;
/// The only DR7 with which KVM measures a CPU.
const DR7_AT_RESET: u64 = 0x400;
/// IA32_APIC_BASE at reset: enabled, at its usual address.
const APIC_BASE: u64 = 0xfee0_0800;
/// The flag of the first CPU in IA32_APIC_BASE.
const APIC_BASE_BSP: u64 = 1 << 8;
/// IA32_PAT.
const MSR_PAT: u32 = 0x277;

#[cfg(test)]
mod tests {
    use casemate_launch_digest::snp::GuestFeatures;

    use super::*;

    fn state() -> VcpuState {
        VcpuState::at_reset(VcpuState::RESET_VECTOR, GuestFeatures::SNP)
    }

    #[test]
    fn splits_attributes_into_fields() {
        let segment = to_kvm_segment(&Segment {
            selector: 0x10,
            attributes: 0xb7a,
            limit: 0xffff_ffff,
            base: 0x1000,
        });
        assert_eq!((segment.type_, segment.s, segment.dpl, segment.present), (0xa, 1, 3, 0));
        assert_eq!((segment.avl, segment.l, segment.db, segment.g), (1, 1, 0, 1));
        assert_eq!(segment.unusable, 1);
    }

    #[test]
    fn the_first_cpu_alone_is_the_boot_processor() {
        assert_eq!(Registers::new(0, &state()).unwrap().sregs.apic_base, 0xfee0_0900);
        assert_eq!(Registers::new(1, &state()).unwrap().sregs.apic_base, 0xfee0_0800);
    }

    #[test]
    fn refuses_each_state_that_kvm_cannot_give() {
        let wide = Segment { limit: 0x1_0000, ..Segment::with_attributes(0) };
        for (state, expected) in [
            (VcpuState { efer: 0, ..state() }, "EFER without SVME"),
            (VcpuState { cr4: 0, ..state() }, "CR4 without MCE"),
            (VcpuState { cr0: 0x6000_0010, ..state() }, "CR0 with CD or NW"),
            (VcpuState { dr7: 0x401, ..state() }, "DR7 other than at reset"),
            (VcpuState { tr: Segment::with_attributes(0x1000), ..state() }, "TR"),
            (VcpuState { gdtr: wide, ..state() }, "GDTR"),
            (VcpuState { idtr: Segment::with_attributes(0x82), ..state() }, "IDTR"),
        ] {
            assert_eq!(
                Registers::new(3, &state).err(),
                Some(LaunchError::ImpossibleVcpu { vcpu: 3, register: expected })
            );
        }
    }
}
