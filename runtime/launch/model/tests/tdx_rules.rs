// SPDX-License-Identifier: Apache-2.0
//! Each rule of a TDX launch, broken once.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use casemate_kvm_model::Model;
use casemate_kvm_model::Rule;
use casemate_launch::FirmwareError;
use casemate_launch::Kvm;
use casemate_launch::TdxKvm;
use casemate_launch::abi;
use casemate_launch::abi::CpuidEntry;
use casemate_launch::abi::TdxInitMemRegion;
use casemate_launch::abi::TdxInitVm;
use rustix::io::Errno;
use support::Change;
use support::MEMORY;
use support::PAGES;
use support::Stage;
use support::check;
use support::region;
use support::snp;
use support::td;
use support::tdx;

#[test]
fn capabilities() {
    let ask = |room| move |kvm: &mut Model| kvm.tdx_capabilities(room).map(drop);
    check(snp(Stage::Created), ask(8), Rule::NotTdx, Errno::NOTTY);
    check(tdx(Stage::Created), ask(1), Rule::CapabilitiesRoom, Errno::TOOBIG);
    assert_eq!(tdx(Stage::Created).tdx_capabilities(2).unwrap().cpuid.len(), 2);
}

#[test]
fn init_vm() {
    let good = |kvm: &mut Model| kvm.tdx_init_vm(&td(), &[]);
    check(snp(Stage::Created), good, Rule::NotTdx, Errno::NOTTY);
    check(tdx(Stage::Initialized), good, Rule::InitVmTwice, Errno::INVAL);
    let changes: [(Change<TdxInitVm>, Rule, Errno); 7] = [
        (|init| init.reserved[11] = 1, Rule::ReservedField, Errno::INVAL),
        (|init| init.cpuid_padding = 1, Rule::ReservedField, Errno::INVAL),
        (|init| init.cpuid_nent = 1, Rule::CpuidCount, Errno::FAULT),
        // DEBUG and PERFMON.
        (|init| init.attributes |= 1, Rule::UnsupportedTdAttributes, Errno::INVAL),
        (|init| init.attributes |= 1 << 63, Rule::UnsupportedTdAttributes, Errno::INVAL),
        (|init| init.xfam |= 1 << 62, Rule::UnsupportedXfam, Errno::INVAL),
        (|init| init.xfam = 1, Rule::UnsupportedXfam, Errno::INVAL),
    ];
    for (change, rule, errno) in changes {
        let mut init = td();
        change(&mut init);
        check(tdx(Stage::Created), |kvm| kvm.tdx_init_vm(&init, &[]), rule, errno);
    }
}

#[test]
fn cpuid_of_init_vm() {
    let mut init = td();
    init.cpuid_nent = 1;
    let good = CpuidEntry { function: 1, ecx: 1 << 24, ..CpuidEntry::default() };
    tdx(Stage::Created).tdx_init_vm(&init, &[good]).unwrap();
    for (entry, rule, errno) in [
        (CpuidEntry { function: 2, ..good }, Rule::CpuidEntry, Errno::INVAL),
        (CpuidEntry { index: 1, ..good }, Rule::CpuidEntry, Errno::INVAL),
        (CpuidEntry { eax: 1, ..good }, Rule::CpuidBits, Errno::INVAL),
        (CpuidEntry { padding: [1, 0, 0], ..good }, Rule::ReservedField, Errno::INVAL),
    ] {
        check(tdx(Stage::Created), |kvm| kvm.tdx_init_vm(&init, &[entry]), rule, errno);
    }
    let refused = tdx(Stage::Created).tdx_init_vm(&init, &[CpuidEntry { edx: 1, ..good }]);
    assert!(matches!(refused.unwrap_err().firmware, Some(FirmwareError::TdxModule(_))));
}

#[test]
fn init_vcpu() {
    let init = |vcpu| move |kvm: &mut Model| kvm.tdx_init_vcpu(vcpu, 0x9000);
    check(snp(Stage::WithVcpus), init(0), Rule::NotTdx, Errno::NOTTY);
    check(tdx(Stage::WithMemory), init(0), Rule::NoVcpu, Errno::BADF);
    check(tdx(Stage::Started), init(0), Rule::InitVcpuTwice, Errno::INVAL);
    check(tdx(Stage::Finished), init(1), Rule::AfterFinalize, Errno::INVAL);
    // INIT_VCPU starts the APIC as x2APIC, which the CPUID table must offer.
    let mut without = tdx(Stage::WithVcpus);
    without.set_cpuid2(0, &[support::LEAF_1]).unwrap();
    check(without, init(0), Rule::NoX2Apic, Errno::INVAL);
}

#[test]
fn init_mem_region() {
    let add =
        |vcpu| move |kvm: &mut Model| kvm.tdx_init_mem_region(vcpu, 0, &mut region(), &PAGES.0);
    check(snp(Stage::WithVcpus), add(0), Rule::NotTdx, Errno::NOTTY);
    check(tdx(Stage::WithVcpus), add(0), Rule::RegionBeforeInitVcpu, Errno::INVAL);
    // INIT_VCPU was done on the other one.
    check(tdx(Stage::Started), add(1), Rule::RegionBeforeInitVcpu, Errno::INVAL);
    check(tdx(Stage::Finished), add(0), Rule::AfterFinalize, Errno::INVAL);
    let mut twice = tdx(Stage::Started);
    add(0)(&mut twice).unwrap();
    check(twice, add(0), Rule::PageTwice, Errno::EXIST);

    let flags = |kvm: &mut Model| kvm.tdx_init_mem_region(0, 2, &mut region(), &PAGES.0);
    check(tdx(Stage::Started), flags, Rule::UnknownFlags, Errno::INVAL);
    let changes: [(Change<TdxInitMemRegion>, Rule, Errno); 10] = [
        (|region| region.nr_pages = 0, Rule::NotWholePages, Errno::INVAL),
        (|region| region.nr_pages = u64::MAX, Rule::NotWholePages, Errno::INVAL),
        (|region| region.gpa = 1, Rule::NotWholePages, Errno::INVAL),
        (|region| region.source_addr += 1, Rule::NotWholePages, Errno::INVAL),
        (|region| region.gpa = 1 << 47, Rule::SharedAddress, Errno::INVAL),
        (|region| region.gpa = 1 << 51, Rule::SharedAddress, Errno::INVAL),
        (|region| region.nr_pages = 3, Rule::WrongSource, Errno::FAULT),
        (|region| region.source_addr -= 4096, Rule::WrongSource, Errno::FAULT),
        (|region| region.gpa = MEMORY, Rule::NoPrivateSlot, Errno::FAULT),
        (|region| region.gpa = MEMORY - 4096, Rule::NotPrivate, Errno::INVAL),
    ];
    for (change, rule, errno) in changes {
        let mut region = region();
        change(&mut region);
        let call = |kvm: &mut Model| kvm.tdx_init_mem_region(0, 1, &mut region, &PAGES.0);
        check(tdx(Stage::Started), call, rule, errno);
    }
}

#[test]
fn finalize_vm() {
    check(snp(Stage::Started), Model::tdx_finalize_vm, Rule::NotTdx, Errno::NOTTY);
    let early = tdx(Stage::Created);
    check(early, Model::tdx_finalize_vm, Rule::FinalizeBeforeInitVm, Errno::INVAL);
    check(tdx(Stage::Finished), Model::tdx_finalize_vm, Rule::AfterFinalize, Errno::INVAL);
}

#[test]
fn init_vm_comes_before_virtual_cpus() {
    // KVM makes no virtual CPU of a TD before INIT_VM, so this model cannot have one either.
    let mut kvm = tdx(Stage::Created);
    kvm.enable_cap(abi::CAP_SPLIT_IRQCHIP, 24).unwrap();
    check(kvm, |kvm| kvm.create_vcpu(0), Rule::VcpuBeforeInitVm, Errno::IO);
}

#[test]
fn measured_contents_and_every_address_enter_mrtd() {
    let mrtd = |flags, gpa, source: &[u8; 8192]| {
        #[repr(align(4096))]
        struct Pages([u8; 8192]);
        let pages = Pages(*source);
        let mut region = TdxInitMemRegion {
            source_addr: casemate_launch::Source::Read(&pages.0).range().0,
            gpa,
            nr_pages: 2,
        };
        let mut kvm = tdx(Stage::Started);
        kvm.tdx_init_mem_region(0, flags, &mut region, &pages.0).unwrap();
        kvm.tdx_finalize_vm().unwrap();
        kvm.tdx_guest().unwrap().mrtd
    };
    let (one, other) = ([1; 8192], [2; 8192]);
    assert_ne!(mrtd(1, 0, &one), mrtd(1, 0, &other));
    assert_ne!(mrtd(0, 0, &one), mrtd(1, 0, &one));
    assert_ne!(mrtd(0, 0, &one), mrtd(0, 0x2000, &one));
    assert_eq!(mrtd(0, 0, &one), mrtd(0, 0, &other));
}
