// SPDX-License-Identifier: Apache-2.0
//! The SNP executor on hosts that lack something, fail, or correct it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use casemate_kvm_model::CpuidLimit;
use casemate_kvm_model::Fault;
use casemate_kvm_model::Faults;
use casemate_kvm_model::Host;
use casemate_kvm_model::Model;
use casemate_kvm_model::Rule;
use casemate_launch::Call;
use casemate_launch::CpuidRegister;
use casemate_launch::LaunchError;
use casemate_launch::MAX_ATTEMPTS;
use casemate_launch::Machine;
use casemate_launch::MemoryLayout;
use casemate_launch::PspStatus;
use casemate_launch::Refusal;
use casemate_launch::SnpLaunched;
use casemate_launch::Tee;
use casemate_launch::abi;
use casemate_launch::launch_snp;
use casemate_launch_digest::plan::SnpGuest;
use casemate_launch_digest::plan::SnpPlan;
use casemate_launch_digest::plan::Vcpus;
use casemate_launch_digest::snp::GceHost;
use casemate_launch_digest::snp::GuestFeatures;
use casemate_launch_digest::snp::GuestPolicy;
use casemate_launch_digest::snp::VmmProfile;
use rustix::io::Errno;
use support::assert_is_planned;
use support::machine;
use support::snp_plan;

const AGAIN: Refusal = Refusal::kernel(Errno::AGAIN);

fn launch(
    plan: &SnpPlan<'_>,
    host: Host,
    faults: Faults,
) -> (Result<SnpLaunched, LaunchError>, Model) {
    let mut model = Model::with_faults(host, faults);
    let launched = launch_snp(plan, &machine(), &mut model);
    (launched, model)
}

#[test]
fn makes_the_calls_in_the_kernels_order() {
    let (launched, model) = launch(&snp_plan(), Host::default(), Faults::none());
    assert_eq!(launched, Ok(SnpLaunched { retries: 0, cpuid_changes: vec![] }));
    let mut calls = model.calls().to_vec();
    calls.dedup();
    calls.retain(|call| !matches!(call, Call::CheckExtension | Call::GetDeviceAttr));
    let memory = [
        Call::MapShared,
        Call::CreateGuestMemfd,
        Call::SetUserMemoryRegion2,
        Call::SetMemoryAttributes,
    ];
    let vcpu = [
        Call::CreateVcpu,
        Call::SetCpuid2,
        Call::SetSregs,
        Call::SetRegs,
        Call::SetFpu,
        Call::SetXcrs,
        Call::SetDebugRegs,
        Call::SetMsrs,
    ];
    let before = [Call::CreateVm, Call::EnableCap, Call::SevInit2, Call::EnableCap];
    let after = [Call::SnpLaunchStart, Call::SnpLaunchUpdate, Call::SnpLaunchFinish];
    let expected = [&before[..], &memory.repeat(3), &vcpu.repeat(3), &after].concat();
    assert_eq!(calls, expected);
    assert_is_planned(&model, &snp_plan());
}

#[test]
fn an_id_block_is_given_and_checked() {
    let (id_key, author) = (support::key(), support::key());
    for author in [None, Some(&author)] {
        let plan = support::with_id_block(snp_plan(), &id_key, author);
        let (launched, model) = launch(&plan, Host::default(), Faults::none());
        assert!(launched.is_ok());
        assert_is_planned(&model, &plan);
    }
}

#[test]
fn a_host_without_snp_is_refused_and_no_vm_is_made() {
    // E21: never another kind of guest.
    let host = Host { vm_types: 1 | 1 << abi::VM_TYPE_TDX, ..Host::default() };
    let (launched, model) = launch(&snp_plan(), host, Faults::none());
    assert_eq!(launched, Err(LaunchError::TeeMissing { tee: Tee::Snp }));
    assert_eq!(model.calls(), [Call::CheckExtension]);
}

#[test]
fn each_missing_ability_of_the_host_has_its_error() {
    let missing = |capability, number| LaunchError::CapabilityMissing { capability, number };
    for (host, expected) in [
        (Host { guest_memfd: 0, ..Host::default() }, missing("GUEST_MEMFD", abi::CAP_GUEST_MEMFD)),
        (
            Host { memory_attributes: 0, ..Host::default() },
            missing("MEMORY_ATTRIBUTES", abi::CAP_MEMORY_ATTRIBUTES),
        ),
        (
            Host { split_irqchip: 0, ..Host::default() },
            missing("SPLIT_IRQCHIP", abi::CAP_SPLIT_IRQCHIP),
        ),
        (
            Host { exit_hypercall: 0, ..Host::default() },
            missing("EXIT_HYPERCALL", abi::CAP_EXIT_HYPERCALL),
        ),
        (
            Host { max_vcpus: 2, ..Host::default() },
            LaunchError::TooManyVcpus { planned: 3, allowed: 2 },
        ),
        (
            Host { policy_bits: 0x2_0000, ..Host::default() },
            LaunchError::UnsupportedPolicy { planned: 0x3_0000, supported: 0x2_0000 },
        ),
    ] {
        let (launched, model) = launch(&snp_plan(), host, Faults::none());
        assert_eq!(launched, Err(expected));
        assert!(!model.calls().contains(&Call::SnpLaunchStart));
    }
}

#[test]
fn features_that_kvm_does_not_offer_are_refused() {
    let vcpus = Vcpus::of(
        VmmProfile::Casemate,
        GuestFeatures::SNP_DEBUG_SWAP,
        None,
        std::num::NonZeroU16::MIN,
    );
    let plan = SnpPlan::new(support::ranges(), vcpus.unwrap(), SnpGuest::default()).unwrap();
    let host = Host { vmsa_features: 1 << 9, ..Host::default() };
    let (launched, _) = launch(&plan, host, Faults::none());
    let expected = LaunchError::UnsupportedFeatures { planned: 0x20, supported: 0x200 };
    assert_eq!(launched, Err(expected));
}

#[test]
fn an_older_kvm_that_does_not_tell_its_policy_bits_still_decides() {
    let host = Host { tells_policy_bits: false, ..Host::default() };
    assert!(launch(&snp_plan(), host.clone(), Faults::none()).0.is_ok());
    let policy = GuestPolicy::from_bits(0x203_0000).unwrap();
    let guest = SnpGuest { policy, ..SnpGuest::default() };
    let plan = SnpPlan::new(support::ranges(), support::vcpus(1), guest).unwrap();
    let (launched, model) = launch(&plan, host, Faults::none());
    let source = Refusal::kernel(Errno::INVAL);
    assert_eq!(launched, Err(LaunchError::Refused { call: Call::SnpLaunchStart, source }));
    assert_eq!(model.broken_rule(), Some(Rule::UnsupportedPolicy));
}

#[test]
fn plans_that_the_machine_or_kvm_cannot_have_are_refused_before_any_call() {
    let mut model = Model::new(Host::default());
    let small = machine().memory.regions()[..1].to_vec();
    let small = Machine { memory: MemoryLayout::new(small).unwrap(), ..machine() };
    let launched = launch_snp(&snp_plan(), &small, &mut model);
    assert_eq!(launched, Err(LaunchError::OutsideMemory { gpa: 0xffff_0000 }));

    let vmm = VmmProfile::Gce(GceHost::Genoa);
    let vcpus = Vcpus::of(vmm, GuestFeatures::SNP, None, std::num::NonZeroU16::MIN).unwrap();
    let plan = SnpPlan::new(support::ranges(), vcpus, SnpGuest::default()).unwrap();
    let register = "measured address";
    assert_eq!(
        launch_snp(&plan, &machine(), &mut model),
        Err(LaunchError::ImpossibleVcpu { vcpu: 0, register })
    );
    let crowded = Machine { cpuid: vec![abi::CpuidEntry::default(); 65], ..machine() };
    assert_eq!(
        launch_snp(&snp_plan(), &crowded, &mut model),
        Err(LaunchError::TooManyCpuidEntries { entries: 65, limit: 64 })
    );
    assert!(model.calls().is_empty());
}

#[test]
fn each_call_is_made_again_after_eagain_and_eintr_but_for_the_last() {
    let plan = snp_plan();
    let (_, model) = launch(&plan, Host::default(), Faults::none());
    let mut calls = model.calls().to_vec();
    calls.sort_unstable_by_key(ToString::to_string);
    calls.dedup();
    assert_eq!(calls.len(), 20);
    for call in calls {
        for errno in [Errno::AGAIN, Errno::INTR] {
            let refusal = Refusal::kernel(errno);
            let faults = Faults::script([(call, Fault::Refuse(refusal)); 2]);
            let (launched, model) = launch(&plan, Host::default(), faults);
            if call == Call::SnpLaunchFinish {
                // The virtual CPUs may be measured already: a second call would crash old kernels.
                assert_eq!(launched, Err(LaunchError::Refused { call, source: refusal }));
                assert_eq!(model.calls().iter().filter(|made| **made == call).count(), 1);
                assert_eq!(model.snp_guest(), None);
            } else {
                assert_eq!(launched.map(|launched| launched.retries), Ok(2), "{call}");
                assert_is_planned(&model, &plan);
            }
        }
    }
}

#[test]
fn tries_are_bounded() {
    for call in [Call::CreateVm, Call::SnpLaunchStart, Call::SnpLaunchUpdate] {
        let faults = Faults::always(call, Fault::Refuse(AGAIN));
        let (launched, model) = launch(&snp_plan(), Host::default(), faults);
        let attempts = MAX_ATTEMPTS;
        assert_eq!(
            launched,
            Err(LaunchError::RetriesExhausted { call, attempts, source: Some(AGAIN) })
        );
        let made = model.calls().iter().filter(|made| **made == call).count();
        assert_eq!(u32::try_from(made).unwrap(), MAX_ATTEMPTS);
        assert_eq!(model.pauses(), MAX_ATTEMPTS - 1);
    }
}

#[test]
fn success_without_progress_ends_too() {
    let faults = Faults::always(Call::SnpLaunchUpdate, Fault::Partial(0));
    let (launched, _) = launch(&snp_plan(), Host::default(), faults);
    let (call, attempts) = (Call::SnpLaunchUpdate, MAX_ATTEMPTS);
    assert_eq!(launched, Err(LaunchError::RetriesExhausted { call, attempts, source: None }));
}

#[test]
fn impossible_progress_ends_the_launch() {
    // E1: a page that KVM says it did beyond the request was not in the plan.
    let faults = Faults::script([(Call::SnpLaunchUpdate, Fault::Misreport)]);
    let (launched, _) = launch(&snp_plan(), Host::default(), faults);
    let (call, gpa) = (Call::SnpLaunchUpdate, 0xffff_0000);
    assert_eq!(launched, Err(LaunchError::ImpossibleProgress { call, gpa }));
}

#[test]
fn pages_one_by_one_give_the_same_guest() {
    let faults = Faults::always(Call::SnpLaunchUpdate, Fault::Partial(1));
    let (launched, model) = launch(&snp_plan(), Host::default(), faults);
    assert_eq!(launched.map(|launched| launched.retries), Ok(0));
    assert_is_planned(&model, &snp_plan());
    let updates = model.calls().iter().filter(|call| **call == Call::SnpLaunchUpdate).count();
    assert_eq!(updates, 16 + 9 + 1 + 1 + 1 + 2);
}

#[test]
fn a_firmware_error_ends_the_launch_with_its_status() {
    let source = Refusal::psp(PspStatus::INVALID_GUEST_STATE);
    let faults = Faults::script([(Call::SnpLaunchUpdate, Fault::Refuse(source))]);
    let (launched, model) = launch(&snp_plan(), Host::default(), faults);
    let error = launched.unwrap_err();
    assert_eq!(error, LaunchError::Refused { call: Call::SnpLaunchUpdate, source });
    let chain = std::error::Error::source(&error).unwrap().to_string();
    assert!(chain.ends_with("(PSP status INVALID_GUEST_STATE)"), "{chain}");
    assert_eq!(model.snp_guest(), None);
}

fn limit(function: u32, register: CpuidRegister, zeros: u32, ones: u32) -> Host {
    let limit = CpuidLimit { function, index: 0, register, zeros, ones };
    Host { cpuid_limits: vec![limit], ..Host::default() }
}

#[test]
fn harmless_cpuid_corrections_are_taken_once_and_told() {
    let host = limit(1, CpuidRegister::Ecx, 1 << 24, 0);
    let (launched, model) = launch(&snp_plan(), host, Faults::none());
    let changes = launched.unwrap().cpuid_changes;
    assert_eq!(
        changes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["0x1.0 Ecx 0x1200001 -> 0x200001"]
    );
    // What the PSP corrects is not measured.
    assert_is_planned(&model, &snp_plan());
    let page = model.snp_guest().unwrap().cpuid_page.clone().unwrap();
    assert_eq!(page[16 + 32..][..4], 0x20_0001_u32.to_le_bytes());
}

#[test]
fn other_cpuid_corrections_end_the_launch_with_the_difference() {
    for (host, ours, theirs) in [
        (limit(1, CpuidRegister::Eax, 0xf, 0), 0xa0_0f11, 0xa0_0f10),
        (limit(1, CpuidRegister::Ecx, 0, 1 << 31), 0x120_0001, 0x8120_0001),
        // SEV-ES taken from the guest's view of its own protection.
        (limit(0x8000_001f, CpuidRegister::Eax, 1 << 3, 0), 0x1a, 0x12),
    ] {
        let (launched, model) = launch(&snp_plan(), host, Faults::none());
        let Err(LaunchError::CpuidCorrection { changes }) = launched else {
            panic!("{launched:?}")
        };
        assert_eq!((changes[0].ours, changes[0].theirs), (ours, theirs));
        assert_eq!(changes.len(), 1);
        assert_eq!(model.snp_guest(), None);
        // The page was not given a second time.
        let refused = model.calls().iter().filter(|call| **call == Call::SnpLaunchUpdate);
        assert_eq!(refused.count(), 4);
    }
}

#[test]
fn a_cpuid_page_refused_twice_or_without_correction_ends_the_launch() {
    let refused = Fault::Refuse(Refusal::psp(PspStatus::INVALID_PARAM));
    let wait = Fault::Partial(u64::MAX);
    // Three ranges come before the CPUID page.
    let before = [(Call::SnpLaunchUpdate, wait); 3];
    let faults = Faults::script(before.into_iter().chain([(Call::SnpLaunchUpdate, refused)]));
    let (launched, _) = launch(&snp_plan(), Host::default(), faults);
    assert_eq!(launched, Err(LaunchError::CpuidRefused));

    let host = limit(1, CpuidRegister::Ecx, 1 << 24, 0);
    let twice = [(Call::SnpLaunchUpdate, wait), (Call::SnpLaunchUpdate, refused)];
    let faults = Faults::script(before.into_iter().chain(twice));
    let (launched, _) = launch(&snp_plan(), host, faults);
    assert_eq!(launched, Err(LaunchError::CpuidRefused));
}
