// SPDX-License-Identifier: Apache-2.0
//! Each rule about VMs, memory and virtual CPUs, broken once.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use casemate_kvm_model::Host;
use casemate_kvm_model::Model;
use casemate_kvm_model::Rule;
use casemate_launch::Kvm;
use casemate_launch::SnpKvm;
use casemate_launch::abi;
use casemate_launch::abi::CpuidEntry;
use casemate_launch::abi::CreateGuestMemfd;
use casemate_launch::abi::MemoryAttributes;
use casemate_launch::abi::UserMemoryRegion2;
use kvm_bindings::kvm_regs;
use rustix::io::Errno;
use support::Stage;
use support::check;
use support::snp;
use support::tdx;

#[test]
fn vms() {
    check(snp(Stage::Opened), |kvm| kvm.create_vcpu(0), Rule::NoVm, Errno::BADF);
    check(snp(Stage::Created), |kvm| kvm.create_vm(4), Rule::SecondVm, Errno::INVAL);
    // E21: a host without the TEE.
    let host = Model::new(Host { vm_types: 1, ..Host::default() });
    check(host, |kvm| kvm.create_vm(4), Rule::UnknownVmType, Errno::INVAL);
    check(snp(Stage::Opened), |kvm| kvm.create_vm(64), Rule::UnknownVmType, Errno::INVAL);
}

#[test]
fn capabilities() {
    let enable = |capability, argument| move |kvm: &mut Model| kvm.enable_cap(capability, argument);
    let (irqchip, hypercall) = (abi::CAP_SPLIT_IRQCHIP, abi::CAP_EXIT_HYPERCALL);
    let bus = abi::CAP_X86_APIC_BUS_CYCLES_NS;
    let with_vcpus = || snp(Stage::WithVcpus);
    for (kvm, call, rule, errno) in [
        (snp(Stage::Created), enable(7, 0), Rule::UnknownCapability, Errno::INVAL),
        (snp(Stage::Created), enable(hypercall, 1), Rule::UnknownCapability, Errno::INVAL),
        (snp(Stage::Created), enable(irqchip, 25), Rule::UnknownCapability, Errno::INVAL),
        (snp(Stage::Created), enable(bus, 40), Rule::ApicBusWithoutIrqchip, Errno::NXIO),
        (with_vcpus(), enable(irqchip, 24), Rule::IrqchipAfterVcpu, Errno::INVAL),
        (tdx(Stage::Initialized), enable(irqchip, 24), Rule::IrqchipTwice, Errno::EXIST),
        (tdx(Stage::WithVcpus), enable(bus, 40), Rule::IrqchipAfterVcpu, Errno::INVAL),
    ] {
        check(kvm, call, rule, errno);
    }
}

#[test]
fn private_memory() {
    let good = CreateGuestMemfd { size: 0x1000, ..CreateGuestMemfd::default() };
    let mut reserved = good;
    reserved.reserved[5] = 1;
    for (create, rule) in [
        (CreateGuestMemfd { size: 0, ..good }, Rule::NotWholePages),
        (CreateGuestMemfd { size: 0x1001, ..good }, Rule::NotWholePages),
        (CreateGuestMemfd { flags: 1, ..good }, Rule::UnknownFlags),
        (reserved, Rule::ReservedField),
    ] {
        let call = |kvm: &mut Model| kvm.create_guest_memfd(&create).map(drop);
        check(snp(Stage::Created), call, rule, Errno::INVAL);
    }
    let odd = |kvm: &mut Model| kvm.map_shared(0x1001).map(drop);
    check(snp(Stage::Created), odd, Rule::NotWholePages, Errno::INVAL);
}

#[test]
fn slots() {
    // Breaks a good region behind the others of the support module.
    let check_region = |change: fn(&mut UserMemoryRegion2), rule, errno| {
        let mut kvm = snp(Stage::WithMemory);
        let userspace_addr = kvm.map_shared(0x2000).unwrap();
        let create = CreateGuestMemfd { size: 0x2000, ..CreateGuestMemfd::default() };
        let guest_memfd = kvm.create_guest_memfd(&create).unwrap();
        let mut region = UserMemoryRegion2 {
            slot: 3,
            flags: abi::MEM_GUEST_MEMFD,
            guest_phys_addr: 0x20_0000,
            memory_size: 0x2000,
            userspace_addr,
            guest_memfd,
            ..UserMemoryRegion2::default()
        };
        change(&mut region);
        check(kvm, |kvm| kvm.set_user_memory_region2(&region), rule, errno);
    };
    check_region(|region| region.slot = 1, Rule::SlotTaken, Errno::EXIST);
    check_region(|region| region.guest_phys_addr = 0xf_f000, Rule::SlotTaken, Errno::EXIST);
    check_region(|region| region.guest_phys_addr = 1, Rule::NotWholePages, Errno::INVAL);
    check_region(|region| region.memory_size = 0, Rule::NotWholePages, Errno::INVAL);
    check_region(|region| region.guest_phys_addr = !0xfff, Rule::NotWholePages, Errno::INVAL);
    check_region(|region| region.flags |= 1 << 9, Rule::UnknownFlags, Errno::INVAL);
    check_region(|region| region.pad1 = 1, Rule::ReservedField, Errno::INVAL);
    check_region(|region| region.pad2[13] = 1, Rule::ReservedField, Errno::INVAL);
    check_region(|region| region.userspace_addr += 0x1000, Rule::NotMapped, Errno::FAULT);
    check_region(|region| region.guest_memfd = 9, Rule::WrongGuestMemfd, Errno::BADF);
    check_region(|region| region.guest_memfd_offset = 0x1000, Rule::WrongGuestMemfd, Errno::BADF);
}

#[test]
fn attributes() {
    let good = MemoryAttributes { size: 0x1000, attributes: 8, ..MemoryAttributes::default() };
    for (attributes, rule) in [
        (MemoryAttributes { flags: 1, ..good }, Rule::UnknownFlags),
        (MemoryAttributes { attributes: 9, ..good }, Rule::UnknownAttributes),
        (MemoryAttributes { size: 0, ..good }, Rule::NotWholePages),
        (MemoryAttributes { address: 8, ..good }, Rule::NotWholePages),
        (MemoryAttributes { address: !0xfff, ..good }, Rule::NotWholePages),
    ] {
        let call = |kvm: &mut Model| kvm.set_memory_attributes(&attributes);
        check(snp(Stage::Created), call, rule, Errno::INVAL);
    }
}

#[test]
fn virtual_cpus() {
    let create = |id| move |kvm: &mut Model| kvm.create_vcpu(id);
    check(snp(Stage::WithVcpus), create(1), Rule::VcpuTwice, Errno::EXIST);
    check(snp(Stage::Created), create(512), Rule::TooManyVcpus, Errno::INVAL);
    check(snp(Stage::Finished), create(2), Rule::VcpuAfterLaunch, Errno::INVAL);
    check(tdx(Stage::Finished), create(2), Rule::VcpuAfterLaunch, Errno::INVAL);
    check(tdx(Stage::Created), create(0), Rule::VcpuBeforeInitVm, Errno::IO);

    let regs = |kvm: &mut Model| kvm.set_regs(5, &kvm_regs::default());
    check(snp(Stage::WithVcpus), regs, Rule::NoVcpu, Errno::BADF);
    let regs = |kvm: &mut Model| kvm.set_regs(0, &kvm_regs::default());
    check(snp(Stage::Finished), regs, Rule::ProtectedState, Errno::INVAL);
    let msr = |kvm: &mut Model| kvm.set_msr(0, 0x10, 0);
    check(snp(Stage::WithVcpus), msr, Rule::UnknownMsr, Errno::INVAL);
    let cpuid = |kvm: &mut Model| {
        kvm.set_cpuid2(0, &[CpuidEntry { padding: [0, 0, 1], ..CpuidEntry::default() }])
    };
    check(snp(Stage::WithVcpus), cpuid, Rule::ReservedField, Errno::INVAL);
}

#[test]
fn a_td_needs_an_apic_in_the_kernel() {
    let mut kvm = tdx(Stage::Created);
    casemate_launch::TdxKvm::tdx_init_vm(&mut kvm, &support::td(), &[]).unwrap();
    check(kvm, |kvm| kvm.create_vcpu(0), Rule::VcpuWithoutIrqchip, Errno::INVAL);
}
