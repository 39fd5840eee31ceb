// SPDX-License-Identifier: Apache-2.0
//! The TDX executor on hosts that lack something or fail.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use casemate_kvm_model::Fault;
use casemate_kvm_model::Faults;
use casemate_kvm_model::Host;
use casemate_kvm_model::Model;
use casemate_launch::Call;
use casemate_launch::FirmwareError;
use casemate_launch::LaunchError;
use casemate_launch::MAX_ATTEMPTS;
use casemate_launch::MAX_TDX_INIT_ATTEMPTS;
use casemate_launch::Machine;
use casemate_launch::MemoryLayout;
use casemate_launch::MemoryRegion;
use casemate_launch::Refusal;
use casemate_launch::RegionKind;
use casemate_launch::TdxLaunched;
use casemate_launch::Tee;
use casemate_launch::abi;
use casemate_launch::abi::CpuidEntry;
use casemate_launch::launch_tdx;
use casemate_launch_digest::plan::TdAttributes;
use casemate_launch_digest::plan::TdParams;
use casemate_launch_digest::plan::TdxPlan;
use casemate_launch_digest::plan::TdxSection;
use casemate_launch_digest::plan::TdxSectionKind;
use casemate_launch_digest::plan::Xfam;
use casemate_launch_digest::tdx::MrtdForm;
use rustix::io::Errno;
use support::machine;
use support::tdx_plan;

const BUSY: Refusal = Refusal::kernel(Errno::BUSY);

fn launch(host: Host, faults: Faults) -> (Result<TdxLaunched, LaunchError>, Model) {
    let mut model = Model::with_faults(host, faults);
    let launched = launch_tdx(&tdx_plan(), &machine(), &mut model);
    (launched, model)
}

fn assert_is_planned(model: &Model) {
    let guest = model.tdx_guest().unwrap();
    assert_eq!(guest.mrtd, *tdx_plan().mrtd(MrtdForm::SinglePass).as_bytes());
    assert_eq!((guest.vcpus, guest.hob), (2, Some(0x80_9000)));
    assert_eq!(guest.mrconfigid, [1; 48]);
    assert_eq!(guest.mrowner, [2; 48]);
    assert_eq!(guest.mrownerconfig, [3; 48]);
}

#[test]
fn makes_the_calls_in_the_kernels_order() {
    let (launched, model) = launch(Host::default(), Faults::none());
    assert_eq!(launched, Ok(TdxLaunched { retries: 0 }));
    assert_is_planned(&model);
    let mut calls = model.calls().to_vec();
    calls.dedup();
    calls.retain(|call| *call != Call::CheckExtension);
    let memory = [
        Call::MapShared,
        Call::CreateGuestMemfd,
        Call::SetUserMemoryRegion2,
        Call::SetMemoryAttributes,
    ];
    let vcpu = [Call::CreateVcpu, Call::SetCpuid2, Call::TdxInitVcpu];
    let before = [Call::CreateVm, Call::EnableCap, Call::TdxCapabilities, Call::TdxInitVm];
    let after = [Call::TdxInitMemRegion, Call::TdxFinalizeVm];
    assert_eq!(calls, [&before[..], &memory.repeat(3), &vcpu.repeat(2), &after].concat());
}

#[test]
fn a_host_without_tdx_is_refused_and_no_vm_is_made() {
    // E21: never another kind of guest.
    let host = Host { vm_types: 1 | 1 << abi::VM_TYPE_SNP, ..Host::default() };
    let (launched, model) = launch(host, Faults::none());
    assert_eq!(launched, Err(LaunchError::TeeMissing { tee: Tee::Tdx }));
    assert_eq!(model.calls(), [Call::CheckExtension]);
}

#[test]
fn attributes_and_features_that_the_host_lacks_are_refused_by_name() {
    let launch = |params| {
        let plan = TdxPlan::new(tdx_plan().sections().to_vec(), params, std::num::NonZeroU16::MIN);
        launch_tdx(&plan.unwrap(), &machine(), &mut Model::new(Host::default()))
    };
    let attributes = TdAttributes::from_bits(1 << 28 | 1);
    assert_eq!(
        launch(TdParams { attributes, ..TdParams::default() }),
        Err(LaunchError::UnsupportedAttributes { planned: 0x1000_0001, supported: 1 << 28 })
    );
    let xfam = Xfam::from_bits(1 << 8 | 3).unwrap();
    assert_eq!(
        launch(TdParams { xfam, ..TdParams::default() }),
        Err(LaunchError::UnsupportedXfam { planned: 0x103, supported: 0x6_02e7 })
    );
}

#[test]
fn asks_with_more_room_until_the_cpuid_table_fits() {
    let entry = |function| CpuidEntry { function, eax: u32::MAX, ..CpuidEntry::default() };
    let host = Host { td_cpuid: (0..30).map(entry).collect(), ..Host::default() };
    let (launched, model) = launch(host, Faults::none());
    assert!(launched.is_ok());
    let asked = model.calls().iter().filter(|call| **call == Call::TdxCapabilities).count();
    assert_eq!(asked, 3); // 8, 16, 32

    let host = Host { td_cpuid: (0..257).map(entry).collect(), ..Host::default() };
    let (launched, _) = launch(host, Faults::none());
    let source = Refusal::kernel(Errno::TOOBIG);
    assert_eq!(launched, Err(LaunchError::Refused { call: Call::TdxCapabilities, source }));
}

#[test]
fn plans_that_the_machine_cannot_have_are_refused_before_any_call() {
    let mut model = Model::new(Host::default());
    let regions = machine().memory.regions().to_vec();
    let low = Machine { memory: MemoryLayout::new(regions[..2].to_vec()).unwrap(), ..machine() };
    assert_eq!(
        launch_tdx(&tdx_plan(), &low, &mut model),
        Err(LaunchError::OutsideMemory { gpa: 0xffff_0000 })
    );
    let plain = Machine { cpuid: vec![], ..machine() };
    assert_eq!(launch_tdx(&tdx_plan(), &plain, &mut model), Err(LaunchError::NoX2Apic));
    // Islands of memory that is accepted already, two entries each.
    let island = |index: u64| {
        let gpa = 0x10_0000 + index * 0x2000;
        TdxSection::new(TdxSectionKind::TempMemory, gpa, 0x1000, (&[]).into(), false).unwrap()
    };
    let mut sections: Vec<_> = (0..60).map(island).collect();
    let hob = TdxSection::new(TdxSectionKind::Hob, 0x80_9000, 0x1000, (&[]).into(), false);
    sections.push(hob.unwrap());
    let plan = TdxPlan::new(sections, TdParams::default(), std::num::NonZeroU16::MIN).unwrap();
    assert_eq!(
        launch_tdx(&plan, &machine(), &mut model),
        Err(LaunchError::HobTooLarge { needed: 56 + 48 * 124 + 8, room: 0x1000 })
    );
    assert!(model.calls().is_empty());
}

#[test]
fn memory_of_many_regions_still_fits_the_hob() {
    let mut regions = machine().memory.regions().to_vec();
    regions.extend((0..29).map(|index| MemoryRegion {
        gpa: (1 << 32) + index * 0x2000,
        size: 0x1000,
        kind: RegionKind::Ram,
    }));
    let machine = Machine { memory: MemoryLayout::new(regions).unwrap(), ..machine() };
    let mut model = Model::new(Host::default());
    assert!(launch_tdx(&tdx_plan(), &machine, &mut model).is_ok());
    assert_is_planned(&model);
}

#[test]
fn each_call_is_made_again_after_eagain_and_eintr() {
    let (_, model) = launch(Host::default(), Faults::none());
    let mut calls = model.calls().to_vec();
    calls.sort_unstable_by_key(ToString::to_string);
    calls.dedup();
    assert_eq!(calls.len(), 14);
    for call in calls {
        for errno in [Errno::AGAIN, Errno::INTR] {
            let faults = Faults::script([(call, Fault::Refuse(Refusal::kernel(errno))); 2]);
            let (launched, model) = launch(Host::default(), faults);
            assert_eq!(launched, Ok(TdxLaunched { retries: 2 }), "{call}");
            assert_is_planned(&model);
        }
    }
}

#[test]
fn a_busy_module_is_asked_again_where_busy_means_that() {
    for call in [Call::TdxInitVcpu, Call::TdxInitMemRegion, Call::TdxFinalizeVm] {
        let (launched, model) =
            launch(Host::default(), Faults::script([(call, Fault::Refuse(BUSY))]));
        assert_eq!(launched, Ok(TdxLaunched { retries: 1 }), "{call}");
        assert_is_planned(&model);
    }
    let faults = Faults::script([(Call::TdxInitVm, Fault::Refuse(BUSY))]);
    let (launched, _) = launch(Host::default(), faults);
    assert_eq!(launched, Err(LaunchError::Refused { call: Call::TdxInitVm, source: BUSY }));
}

#[test]
fn tries_are_bounded_and_longest_for_random_numbers() {
    let again = Refusal::kernel(Errno::AGAIN);
    for (call, attempts) in [
        (Call::TdxInitVm, MAX_TDX_INIT_ATTEMPTS),
        (Call::TdxInitMemRegion, MAX_ATTEMPTS),
        (Call::TdxFinalizeVm, MAX_ATTEMPTS),
    ] {
        let faults = Faults::always(call, Fault::Refuse(again));
        let (launched, model) = launch(Host::default(), faults);
        let source = Some(again);
        assert_eq!(launched, Err(LaunchError::RetriesExhausted { call, attempts, source }));
        assert_eq!(model.pauses(), attempts - 1);
    }
    let faults = Faults::always(Call::TdxInitMemRegion, Fault::Partial(0));
    assert!(matches!(launch(Host::default(), faults).0, Err(LaunchError::RetriesExhausted { .. })));
}

#[test]
fn pages_one_by_one_give_the_same_guest() {
    let faults = Faults::always(Call::TdxInitMemRegion, Fault::Partial(1));
    let (launched, model) = launch(Host::default(), faults);
    assert!(launched.is_ok());
    assert_is_planned(&model);
    let calls = model.calls().iter().filter(|call| **call == Call::TdxInitMemRegion).count();
    assert_eq!(calls, 16 + 2 + 16 + 2);
}

#[test]
fn impossible_progress_ends_the_launch() {
    // E1: a page that KVM says it did beyond the request was not in the plan.
    let faults = Faults::script([(Call::TdxInitMemRegion, Fault::Misreport)]);
    let (launched, _) = launch(Host::default(), faults);
    let (call, gpa) = (Call::TdxInitMemRegion, 0xffff_0000);
    assert_eq!(launched, Err(LaunchError::ImpossibleProgress { call, gpa }));
}

#[test]
fn an_error_of_the_module_ends_the_launch_with_its_status() {
    let firmware = Some(FirmwareError::TdxModule(0xc000_0504_0000_0000));
    let source = Refusal { errno: Errno::IO, firmware };
    let faults = Faults::script([(Call::TdxFinalizeVm, Fault::Refuse(source))]);
    let (launched, model) = launch(Host::default(), faults);
    assert_eq!(launched, Err(LaunchError::Refused { call: Call::TdxFinalizeVm, source }));
    assert_eq!(model.tdx_guest(), None);
}
