// SPDX-License-Identifier: Apache-2.0
//! A model in the middle of a launch, and calls that break one rule each.

#![allow(dead_code, clippy::unwrap_used, reason = "a test may panic, and uses its part")]

use casemate_kvm_model::Host;
use casemate_kvm_model::Model;
use casemate_kvm_model::Rule;
use casemate_launch::FirmwareError;
use casemate_launch::Kvm;
use casemate_launch::PspStatus;
use casemate_launch::Refusal;
use casemate_launch::SnpKvm;
use casemate_launch::Source;
use casemate_launch::TdxKvm;
use casemate_launch::abi;
use casemate_launch::abi::CpuidEntry;
use casemate_launch::abi::CreateGuestMemfd;
use casemate_launch::abi::MemoryAttributes;
use casemate_launch::abi::SevInit;
use casemate_launch::abi::SnpLaunchFinish;
use casemate_launch::abi::SnpLaunchStart;
use casemate_launch::abi::SnpLaunchUpdate;
use casemate_launch::abi::TdxInitMemRegion;
use casemate_launch::abi::TdxInitVm;
use casemate_launch::abi::UserMemoryRegion2;
use rustix::io::Errno;
use zerocopy::FromZeros;

pub(crate) type Answer = Result<(), Refusal>;
pub(crate) type Step = fn(&mut Model) -> Answer;
pub(crate) type Change<T> = fn(&mut T);

/// Size of the VM's memory, which begins at 0.
pub(crate) const MEMORY: u64 = 0x10_0000;

/// Two pages at a page's address.
#[repr(C, align(4096))]
pub(crate) struct Pages(pub(crate) [u8; 8192]);

pub(crate) static PAGES: Pages = Pages([0x5a; 8192]);

pub(crate) const LEAF_1: CpuidEntry =
    CpuidEntry { function: 1, index: 0, flags: 0, eax: 0, ebx: 0, ecx: 0, edx: 0, padding: [0; 3] };

/// How far a launch has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Opened,
    Created,
    Initialized,
    WithMemory,
    WithVcpus,
    Started,
    Finished,
}

/// A launch of an SNP guest that has come so far.
pub(crate) fn snp(stage: Stage) -> Model {
    let mut kvm = Model::new(Host::default());
    let steps: [(Stage, Step); 6] = [
        (Stage::Created, |kvm| kvm.create_vm(abi::VM_TYPE_SNP)),
        (Stage::Initialized, |kvm| kvm.sev_init2(&SevInit::default())),
        (Stage::WithMemory, add_memory),
        (Stage::WithVcpus, |kvm| kvm.create_vcpu(0).and_then(|()| kvm.create_vcpu(1))),
        (Stage::Started, |kvm| kvm.snp_launch_start(&start())),
        (Stage::Finished, |kvm| kvm.snp_launch_finish(&SnpLaunchFinish::default(), None)),
    ];
    for (reached, step) in steps.into_iter().filter(|(reached, _)| *reached <= stage) {
        assert_eq!(step(&mut kvm), Ok(()), "{reached:?} {:?}", kvm.broken_rule());
    }
    kvm
}

/// A launch of a TD that has come so far; at [`Stage::Started`], INIT_VCPU is done on CPU 0.
pub(crate) fn tdx(stage: Stage) -> Model {
    let mut kvm = Model::new(Host::default());
    let steps: [(Stage, Step); 6] = [
        (Stage::Created, |kvm| kvm.create_vm(abi::VM_TYPE_TDX)),
        (Stage::Initialized, |kvm| {
            kvm.enable_cap(abi::CAP_SPLIT_IRQCHIP, 24)?;
            kvm.tdx_init_vm(&td(), &[])
        }),
        (Stage::WithMemory, add_memory),
        (Stage::WithVcpus, |kvm| {
            for vcpu in [0, 1] {
                kvm.create_vcpu(vcpu)?;
                kvm.set_cpuid2(vcpu, &[CpuidEntry { ecx: 1 << 21, ..LEAF_1 }])?;
            }
            Ok(())
        }),
        (Stage::Started, |kvm| kvm.tdx_init_vcpu(0, 0x9000)),
        (Stage::Finished, Model::tdx_finalize_vm),
    ];
    for (reached, step) in steps.into_iter().filter(|(reached, _)| *reached <= stage) {
        assert_eq!(step(&mut kvm), Ok(()), "{reached:?} {:?}", kvm.broken_rule());
    }
    kvm
}

/// Memory from 0 to [`MEMORY`] in two slots, private but for its last page; behind it a slot
/// without private memory.
pub(crate) fn add_memory(kvm: &mut Model) -> Answer {
    let half = MEMORY / 2;
    for (slot, gpa) in [(0, 0), (1, half)] {
        let userspace_addr = kvm.map_shared(half)?;
        let create = CreateGuestMemfd { size: half, ..CreateGuestMemfd::default() };
        let guest_memfd = kvm.create_guest_memfd(&create)?;
        kvm.set_user_memory_region2(&UserMemoryRegion2 {
            slot,
            flags: abi::MEM_GUEST_MEMFD,
            guest_phys_addr: gpa,
            memory_size: half,
            userspace_addr,
            guest_memfd,
            ..UserMemoryRegion2::default()
        })?;
    }
    let userspace_addr = kvm.map_shared(0x1000)?;
    kvm.set_user_memory_region2(&UserMemoryRegion2 {
        slot: 2,
        guest_phys_addr: MEMORY,
        memory_size: 0x1000,
        userspace_addr,
        ..UserMemoryRegion2::default()
    })?;
    kvm.set_memory_attributes(&MemoryAttributes {
        size: MEMORY + 0x1000,
        attributes: abi::MEMORY_ATTRIBUTE_PRIVATE,
        ..MemoryAttributes::default()
    })?;
    kvm.set_memory_attributes(&MemoryAttributes {
        address: MEMORY - 0x1000,
        size: 0x1000,
        ..MemoryAttributes::default()
    })
}

pub(crate) fn start() -> SnpLaunchStart {
    SnpLaunchStart { policy: 0x3_0000, ..SnpLaunchStart::default() }
}

/// One measured page at 0.
pub(crate) fn update() -> SnpLaunchUpdate {
    let (uaddr, _) = Source::Read(&PAGES.0).range();
    let page_type = abi::PAGE_TYPE_NORMAL;
    SnpLaunchUpdate { uaddr, len: 4096, page_type, ..SnpLaunchUpdate::default() }
}

pub(crate) fn td() -> TdxInitVm {
    let mut init = TdxInitVm::new_zeroed();
    init.attributes = 1 << 28;
    init.xfam = 3;
    init
}

/// One page at 0.
pub(crate) fn region() -> TdxInitMemRegion {
    let (source_addr, _) = Source::Read(&PAGES.0).range();
    TdxInitMemRegion { source_addr, gpa: 0, nr_pages: 1 }
}

/// Asserts that a call breaks a rule, and how KVM answers.
#[track_caller]
pub(crate) fn check(
    mut kvm: Model,
    call: impl FnOnce(&mut Model) -> Answer,
    rule: Rule,
    errno: Errno,
) {
    assert_eq!(call(&mut kvm).map_err(|refusal| refusal.errno), Err(errno), "{rule:?}");
    assert_eq!(kvm.broken_rule(), Some(rule));
}

/// The PSP's status in a refusal.
pub(crate) fn psp(answer: Answer) -> Option<PspStatus> {
    match answer.unwrap_err() {
        Refusal { errno: Errno::IO, firmware: Some(FirmwareError::Psp(status)) } => Some(status),
        _ => None,
    }
}
