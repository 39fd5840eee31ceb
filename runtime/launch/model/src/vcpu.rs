// SPDX-License-Identifier: Apache-2.0
//! Virtual CPUs: their registers, and the page that KVM makes of them when a launch finishes.
//!
//! Sources: Linux, `svm_set_segment`, `svm_set_cr0`, `svm_set_cr4`, `svm_set_efer`,
//! `sev_es_sync_vmsa`; AMD64 Architecture Programmer's Manual, volume 2, table B-4 (layout).

use kvm_bindings::kvm_debugregs;
use kvm_bindings::kvm_dtable;
use kvm_bindings::kvm_fpu;
use kvm_bindings::kvm_regs;
use kvm_bindings::kvm_segment;
use kvm_bindings::kvm_sregs;

use crate::Rule;

/// One virtual CPU.
#[derive(Debug)]
pub(crate) struct Vcpu {
    pub(crate) id: u16,
    pub(crate) sregs: kvm_sregs,
    pub(crate) regs: kvm_regs,
    pub(crate) fpu: kvm_fpu,
    pub(crate) debug: kvm_debugregs,
    pub(crate) xcr0: u64,
    pub(crate) g_pat: u64,
    /// The guest owns the registers.
    pub(crate) is_protected: bool,
    /// CPUID leaf 1, ECX, bit 21.
    pub(crate) has_x2apic: bool,
    /// INIT_VCPU was done.
    pub(crate) is_td_initialized: bool,
}

impl Vcpu {
    /// The state that KVM gives a new virtual CPU.
    pub(crate) fn at_reset(id: u16) -> Self {
        let segment = |type_, s| kvm_segment {
            limit: 0xffff,
            type_,
            present: 1,
            s,
            ..kvm_segment::default()
        };
        let data = segment(2, 1);
        let table = kvm_dtable { limit: 0xffff, ..kvm_dtable::default() };
        let code = kvm_segment { selector: 0xf000, base: 0xffff_0000, ..segment(0xa, 1) };
        Self {
            id,
            sregs: kvm_sregs {
                cs: code,
                ds: data,
                es: data,
                fs: data,
                gs: data,
                ss: data,
                tr: segment(3, 0),
                ldt: segment(2, 0),
                gdt: table,
                idt: table,
                cr0: 0x6000_0010,
                ..kvm_sregs::default()
            },
            regs: kvm_regs { rdx: 0x600, rip: 0xfff0, rflags: 2, ..kvm_regs::default() },
            fpu: kvm_fpu { fcw: 0x40, mxcsr: 0x1f80, ..kvm_fpu::default() },
            debug: kvm_debugregs { dr6: 0xffff_0ff0, dr7: 0x400, ..kvm_debugregs::default() },
            xcr0: 1,
            g_pat: 0x0007_0406_0007_0406,
            is_protected: false,
            has_x2apic: false,
            is_td_initialized: false,
        }
    }

    /// Refuses to change registers that the guest owns.
    pub(crate) fn unprotected(&mut self) -> Result<&mut Self, Rule> {
        if self.is_protected { Err(Rule::ProtectedState) } else { Ok(self) }
    }

    /// The page that is measured.
    pub(crate) fn vmsa(&self, sev_features: u64) -> Result<Vec<u8>, Rule> {
        if self.debug.dr7 != 0x400 {
            return Err(Rule::DebugRegister);
        }
        let mut page = vec![0; 4096];
        let mut put = |offset: usize, bytes: &[u8]| {
            page.iter_mut().skip(offset).zip(bytes).for_each(|(place, byte)| *place = *byte);
        };
        let sregs = &self.sregs;
        for (offset, segment) in [
            (0x00, &sregs.es),
            (0x10, &sregs.cs),
            (0x20, &sregs.ss),
            (0x30, &sregs.ds),
            (0x40, &sregs.fs),
            (0x50, &sregs.gs),
            (0x70, &sregs.ldt),
            (0x90, &sregs.tr),
        ] {
            put(offset, &segment.selector.to_le_bytes());
            put(offset + 2, &attributes(segment).to_le_bytes());
            put(offset + 4, &segment.limit.to_le_bytes());
            put(offset + 8, &segment.base.to_le_bytes());
        }
        for (offset, table) in [(0x60, &sregs.gdt), (0x80, &sregs.idt)] {
            put(offset + 4, &table.limit.to_le_bytes());
            put(offset + 8, &table.base.to_le_bytes());
        }
        let regs = &self.regs;
        for (offset, value) in [
            (0x0d0, sregs.efer | EFER_SVME),
            (0x148, sregs.cr4 | CR4_MCE),
            (0x150, sregs.cr3),
            (0x158, sregs.cr0 & !CR0_CACHE_BITS),
            (0x160, self.debug.dr7),
            (0x168, self.debug.dr6),
            (0x170, regs.rflags),
            (0x178, regs.rip),
            (0x1d8, regs.rsp),
            (0x1f8, regs.rax),
            (0x240, sregs.cr2),
            (0x268, self.g_pat),
            (0x308, regs.rcx),
            (0x310, regs.rdx),
            (0x318, regs.rbx),
            (0x328, regs.rbp),
            (0x330, regs.rsi),
            (0x338, regs.rdi),
            (0x340, regs.r8),
            (0x348, regs.r9),
            (0x350, regs.r10),
            (0x358, regs.r11),
            (0x360, regs.r12),
            (0x368, regs.r13),
            (0x370, regs.r14),
            (0x378, regs.r15),
            (0x3b0, sev_features),
            (0x3e8, self.xcr0),
        ] {
            put(offset, &value.to_le_bytes());
        }
        put(0x408, &self.fpu.mxcsr.to_le_bytes());
        put(0x410, &self.fpu.fcw.to_le_bytes());
        Ok(page)
    }
}

fn attributes(segment: &kvm_segment) -> u16 {
    let present = if segment.unusable == 0 { segment.present } else { 0 };
    let fields = [
        (segment.type_, 0, 0xf),
        (segment.s, 4, 1),
        (segment.dpl, 5, 3),
        (present, 7, 1),
        (segment.avl, 8, 1),
        (segment.l, 9, 1),
        (segment.db, 10, 1),
        (segment.g, 11, 1),
    ];
    fields.into_iter().fold(0, |word, (field, shift, mask)| word | u16::from(field & mask) << shift)
}

const EFER_SVME: u64 = 1 << 12;
const CR4_MCE: u64 = 1 << 6;
const CR0_CACHE_BITS: u64 = 0b11 << 29;
