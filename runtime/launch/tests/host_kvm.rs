// SPDX-License-Identifier: Apache-2.0
//! The real ioctls, as far as a machine without SNP and TDX goes: refusals are typed, an ordinary
//! VM gets memory and registers through the same code, and runs.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use casemate_launch::HostKvm;
use casemate_launch::Kvm;
use casemate_launch::LaunchError;
use casemate_launch::Refusal;
use casemate_launch::SnpKvm;
use casemate_launch::Source;
use casemate_launch::TdxKvm;
use casemate_launch::Tee;
use casemate_launch::abi;
use casemate_launch::abi::CpuidEntry;
use casemate_launch::abi::CreateGuestMemfd;
use casemate_launch::abi::MemoryAttributes;
use casemate_launch::abi::SnpLaunchUpdate;
use casemate_launch::abi::TdxInitMemRegion;
use casemate_launch::abi::UserMemoryRegion2;
use casemate_launch::launch_snp;
use casemate_launch::launch_tdx;
use kvm_bindings::kvm_regs;
use kvm_bindings::kvm_segment;
use kvm_bindings::kvm_sregs;
use kvm_ioctls::VcpuExit;
use rustix::io::Errno;

/// /dev/kvm, or the reason why there is none.
fn open() -> Option<HostKvm> {
    HostKvm::open().map_err(|refusal| skip(&format!("/dev/kvm: {refusal}"))).ok()
}

fn skip(reason: &str) {
    let required = std::env::var_os("CASEMATE_REQUIRE").is_some_and(|value| value == "1");
    assert!(!required, "required test cannot run: {reason}");
    eprintln!("skipped: {reason}");
}

fn has(kvm: &mut HostKvm, tee: Tee) -> bool {
    kvm.check_extension(abi::CAP_VM_TYPES).unwrap() >> tee.vm_type() & 1 == 1
}

#[test]
fn a_host_without_the_tee_is_refused_by_name() {
    // E21: a confidential guest on a host without the TEE never becomes another guest.
    let Some(mut kvm) = open() else { return };
    if has(&mut kvm, Tee::Snp) || has(&mut kvm, Tee::Tdx) {
        return skip("this host has a TEE");
    }
    let snp = launch_snp(&support::snp_plan(), &support::machine(), &mut kvm);
    assert_eq!(snp, Err(LaunchError::TeeMissing { tee: Tee::Snp }));
    let tdx = launch_tdx(&support::tdx_plan(), &support::machine(), &mut kvm);
    assert_eq!(tdx, Err(LaunchError::TeeMissing { tee: Tee::Tdx }));
    assert!(kvm.vm().is_none(), "no VM of any kind was made");
    assert_eq!(kvm.transcript().to_string(), "KVM_CHECK_EXTENSION x2: ok\n");
}

#[test]
fn vm_types_that_kvm_does_not_know_are_refused_by_the_kernel() {
    let Some(mut kvm) = open() else { return };
    for tee in [Tee::Snp, Tee::Tdx] {
        if !has(&mut kvm, tee) {
            assert_eq!(kvm.create_vm(tee.vm_type()), Err(Refusal::kernel(Errno::INVAL)));
        }
    }
}

#[test]
fn an_attribute_of_a_host_without_sev_is_refused_by_the_kernel() {
    let Some(mut kvm) = open() else { return };
    if has(&mut kvm, Tee::Snp) {
        return skip("this host has SNP");
    }
    let refusal = kvm.sev_attribute(abi::VMSA_FEATURES).unwrap_err();
    // ENXIO of KVM, ENOTTY or EINVAL of what looks like it.
    assert!(matches!(refusal.errno, Errno::NXIO | Errno::NOTTY | Errno::INVAL), "{refusal}");
}

#[test]
fn calls_without_a_vm_are_refused() {
    let Some(mut kvm) = open() else { return };
    let refused = Err(Refusal::kernel(Errno::BADF));
    assert_eq!(kvm.enable_cap(abi::CAP_SPLIT_IRQCHIP, 24), refused);
    assert_eq!(kvm.create_vcpu(0), refused);
    assert_eq!(kvm.set_memory_attributes(&MemoryAttributes::default()), refused);
    assert_eq!(kvm.tdx_finalize_vm(), refused);
}

#[test]
fn addresses_outside_of_what_was_lent_never_reach_the_kernel() {
    let Some(mut kvm) = open() else { return };
    kvm.create_vm(0).unwrap();
    let fault = Err(Refusal::kernel(Errno::FAULT));

    let page = [0; 4096];
    let (start, _) = Source::Read(&page).range();
    let mut update = SnpLaunchUpdate {
        uaddr: start + 1,
        len: 4096,
        page_type: abi::PAGE_TYPE_NORMAL,
        ..SnpLaunchUpdate::default()
    };
    assert_eq!(kvm.snp_launch_update(&mut update, Source::Read(&page)), fault);
    assert_eq!(kvm.snp_launch_update(&mut update, Source::Nothing), fault);
    // The kernel would write a correction into memory that is borrowed for reading.
    update.page_type = abi::PAGE_TYPE_CPUID;
    update.uaddr = start;
    assert_eq!(kvm.snp_launch_update(&mut update, Source::Read(&page)), fault);

    let mut region = TdxInitMemRegion { source_addr: start, gpa: 0, nr_pages: 2 };
    assert_eq!(kvm.tdx_init_mem_region(0, 0, &mut region, &page), fault);
    region.nr_pages = u64::MAX;
    assert_eq!(kvm.tdx_init_mem_region(0, 0, &mut region, &page), fault);

    let mapped = kvm.map_shared(0x2000).unwrap();
    for (userspace_addr, memory_size) in [(mapped + 0x1000, 0x2000), (mapped - 0x1000, 0x1000)] {
        let region =
            UserMemoryRegion2 { userspace_addr, memory_size, ..UserMemoryRegion2::default() };
        assert_eq!(kvm.set_user_memory_region2(&region), fault);
    }
}

#[test]
fn an_ordinary_vm_runs_from_memory_built_here() {
    let Some(mut kvm) = open() else { return };
    kvm.create_vm(0).unwrap();
    let userspace_addr = kvm.map_shared(0x4000).unwrap();
    let region = UserMemoryRegion2 {
        guest_phys_addr: 0x1000,
        memory_size: 0x4000,
        userspace_addr,
        ..UserMemoryRegion2::default()
    };
    if let Err(refusal) = kvm.set_user_memory_region2(&region) {
        return skip(&format!("KVM_SET_USER_MEMORY_REGION2: {refusal}"));
    }
    // mov al, 0x5a; out 0x10, al; mov [0x2000], al; hlt
    let code = [0xb0, 0x5a, 0xe6, 0x10, 0xa2, 0x00, 0x20, 0xf4];
    let memory = &kvm.shared_memory()[0];
    rustix::io::pwrite(memory, &code, 0).unwrap();

    kvm.create_vcpu(0).unwrap();
    kvm.set_cpuid2(0, &[CpuidEntry { function: 1, ..CpuidEntry::default() }]).unwrap();
    let segment =
        |type_| kvm_segment { limit: 0xffff, type_, present: 1, s: 1, ..kvm_segment::default() };
    let system = |type_| kvm_segment { s: 0, ..segment(type_) };
    let sregs = kvm_sregs {
        cs: segment(0xb),
        ds: segment(3),
        es: segment(3),
        fs: segment(3),
        gs: segment(3),
        ss: segment(3),
        tr: system(0xb),
        ldt: system(2),
        cr0: 0x10,
        apic_base: 0xfee0_0900,
        ..kvm_sregs::default()
    };
    kvm.set_sregs(0, &sregs).unwrap();
    let regs = kvm_regs { rip: 0x1000, rflags: 2, ..kvm_regs::default() };
    kvm.set_regs(0, &regs).unwrap();

    let vcpu = &mut kvm.vcpus_mut()[0];
    match vcpu.run() {
        Ok(VcpuExit::IoOut(0x10, data)) => assert_eq!(data, [0x5a]),
        Err(error) => return skip(&format!("KVM_RUN: {error}")),
        exit => panic!("{exit:?}"),
    }
    assert!(matches!(vcpu.run(), Ok(VcpuExit::Hlt)));
    let mut written = [0];
    rustix::io::pread(&kvm.shared_memory()[0], &mut written, 0x1000).unwrap();
    assert_eq!(written, [0x5a]);
}

#[test]
fn private_memory_is_made_where_kvm_has_it() {
    let Some(mut kvm) = open() else { return };
    kvm.create_vm(0).unwrap();
    if kvm.check_extension(abi::CAP_GUEST_MEMFD).unwrap() == 0 {
        return skip("KVM has no guest_memfd");
    }
    let odd = CreateGuestMemfd { size: 0x1001, ..CreateGuestMemfd::default() };
    assert!(kvm.create_guest_memfd(&odd).is_err());
    let create = CreateGuestMemfd { size: 0x4000, ..CreateGuestMemfd::default() };
    match kvm.create_guest_memfd(&create) {
        Ok(first) => assert_ne!(kvm.create_guest_memfd(&create), Ok(first)),
        Err(refusal) => skip(&format!("KVM_CREATE_GUEST_MEMFD: {refusal}")),
    }
}
