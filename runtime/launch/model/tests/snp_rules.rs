// SPDX-License-Identifier: Apache-2.0
//! Each rule of an SNP launch, broken once.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use casemate_kvm_model::CpuidLimit;
use casemate_kvm_model::Host;
use casemate_kvm_model::Model;
use casemate_kvm_model::Rule;
use casemate_launch::CpuidRegister;
use casemate_launch::Kvm;
use casemate_launch::PspStatus;
use casemate_launch::SnpKvm;
use casemate_launch::Source;
use casemate_launch::abi;
use casemate_launch::abi::SevInit;
use casemate_launch::abi::SnpLaunchFinish;
use casemate_launch::abi::SnpLaunchUpdate;
use kvm_bindings::kvm_debugregs;
use rustix::io::Errno;
use support::Change;
use support::MEMORY;
use support::PAGES;
use support::Stage;
use support::check;
use support::psp;
use support::snp;
use support::start;
use support::tdx;
use support::update;

#[test]
fn init2() {
    let init = |change: fn(&mut SevInit)| {
        move |kvm: &mut Model| {
            let mut init = SevInit::default();
            change(&mut init);
            kvm.sev_init2(&init)
        }
    };
    for (kvm, change, rule, errno) in [
        (tdx(Stage::Created), init(|_| {}), Rule::NotSnp, Errno::NOTTY),
        (snp(Stage::Initialized), init(|_| {}), Rule::LegacyCommand, Errno::PERM),
    ] {
        check(kvm, change, rule, errno);
    }
    let mut late = snp(Stage::Created);
    late.create_vcpu(0).unwrap();
    check(late, init(|_| {}), Rule::InitAfterVcpu, Errno::INVAL);
    let changes: [(Change<SevInit>, Rule); 7] = [
        (|init| init.flags = 1, Rule::UnknownFlags),
        (|init| init.pad1 = 1, Rule::ReservedField),
        (|init| init.pad2[7] = 1, Rule::ReservedField),
        // KVM sets the SNP bit itself.
        (|init| init.vmsa_features = 1, Rule::UnsupportedFeatures),
        (|init| init.vmsa_features = 1 << 40, Rule::UnsupportedFeatures),
        (|init| init.ghcb_version = 1, Rule::GhcbVersion),
        (|init| init.ghcb_version = 3, Rule::GhcbVersion),
    ];
    for (change, rule) in changes {
        check(snp(Stage::Created), init(change), rule, Errno::INVAL);
    }
}

#[test]
fn no_commands_of_sev_after_init2() {
    for number in [0, 1, 7, 21, 22, 99] {
        let call = |kvm: &mut Model| kvm.sev_command(number);
        check(snp(Stage::Initialized), call, Rule::LegacyCommand, Errno::PERM);
        check(snp(Stage::Finished), call, Rule::LegacyCommand, Errno::PERM);
        check(snp(Stage::Created), call, Rule::NotSnp, Errno::NOTTY);
    }
}

#[test]
fn attributes() {
    let kvm = Model::new(Host { tells_policy_bits: false, ..Host::default() });
    let call = |kvm: &mut Model| kvm.sev_attribute(abi::SNP_POLICY_BITS).map(drop);
    check(kvm, call, Rule::UnknownSevAttribute, Errno::NXIO);
}

#[test]
fn launch_start() {
    let good = |kvm: &mut Model| kvm.snp_launch_start(&start());
    check(tdx(Stage::Created), good, Rule::NotSnp, Errno::NOTTY);
    check(snp(Stage::Created), good, Rule::StartBeforeInit, Errno::NOTTY);
    check(snp(Stage::Started), good, Rule::StartTwice, Errno::INVAL);
    let changes: [(Change<abi::SnpLaunchStart>, Rule); 7] = [
        (|start| start.flags = 1, Rule::UnknownFlags),
        (|start| start.pad0[5] = 1, Rule::ReservedField),
        (|start| start.pad1[3] = 1, Rule::ReservedField),
        (|start| start.policy = 0, Rule::PolicyReservedBit),
        (|start| start.policy = 0x1_0000, Rule::PolicyReservedBit),
        (|start| start.policy |= 1 << 25, Rule::UnsupportedPolicy),
        (|start| start.policy |= 1 << 63, Rule::UnsupportedPolicy),
    ];
    for (change, rule) in changes {
        let mut start = start();
        change(&mut start);
        let call = |kvm: &mut Model| kvm.snp_launch_start(&start);
        check(snp(Stage::WithVcpus), call, rule, Errno::INVAL);
    }
}

#[test]
fn launch_update() {
    let good = |kvm: &mut Model| kvm.snp_launch_update(&mut update(), Source::Read(&PAGES.0));
    check(snp(Stage::WithVcpus), good, Rule::UpdateBeforeStart, Errno::INVAL);
    check(tdx(Stage::Started), good, Rule::NotSnp, Errno::NOTTY);
    let mut finished = snp(Stage::Finished);
    assert_eq!(psp(good(&mut finished)), Some(PspStatus::INVALID_GUEST_STATE));
    assert_eq!(finished.broken_rule(), Some(Rule::UpdateAfterFinish));

    let changes: [(Change<SnpLaunchUpdate>, Rule, Errno); 15] = [
        (|update| update.flags = 1, Rule::UnknownFlags, Errno::INVAL),
        (|update| update.pad0 = 1, Rule::ReservedField, Errno::INVAL),
        (|update| update.pad1 = 1, Rule::ReservedField, Errno::INVAL),
        (|update| update.pad2[3] = 1, Rule::ReservedField, Errno::INVAL),
        // KVM measures the virtual CPUs itself.
        (|update| update.page_type = 2, Rule::VmsaFromUser, Errno::INVAL),
        (|update| update.page_type = 0, Rule::UnknownPageType, Errno::INVAL),
        (|update| update.page_type = 7, Rule::UnknownPageType, Errno::INVAL),
        (|update| update.len = 0, Rule::NotWholePages, Errno::INVAL),
        (|update| update.len = 4097, Rule::NotWholePages, Errno::INVAL),
        (|update| update.uaddr += 1, Rule::NotWholePages, Errno::INVAL),
        (|update| update.uaddr += 8192, Rule::WrongSource, Errno::IO),
        (|update| update.len = 3 * 4096, Rule::WrongSource, Errno::IO),
        (|update| update.gfn_start = MEMORY / 4096, Rule::NoPrivateSlot, Errno::INVAL),
        (|update| update.gfn_start = u64::MAX, Rule::NoPrivateSlot, Errno::INVAL),
        (|update| update.gfn_start = MEMORY / 4096 - 1, Rule::NotPrivate, Errno::IO),
    ];
    for (change, rule, errno) in changes {
        let mut update = update();
        change(&mut update);
        let call = |kvm: &mut Model| kvm.snp_launch_update(&mut update, Source::Read(&PAGES.0));
        check(snp(Stage::Started), call, rule, errno);
    }
    let nothing = |kvm: &mut Model| kvm.snp_launch_update(&mut update(), Source::Nothing);
    check(snp(Stage::Started), nothing, Rule::WrongSource, Errno::IO);
    let mut twice = snp(Stage::Started);
    good(&mut twice).unwrap();
    check(twice, good, Rule::PageTwice, Errno::IO);
}

#[test]
fn an_update_across_slots_is_done_in_parts() {
    let mut kvm = snp(Stage::Started);
    let border = MEMORY / 2 / 4096;
    let mut update = SnpLaunchUpdate { gfn_start: border - 1, len: 8192, ..update() };
    let before = update;
    kvm.snp_launch_update(&mut update, Source::Read(&PAGES.0)).unwrap();
    let half =
        SnpLaunchUpdate { gfn_start: border, uaddr: before.uaddr + 4096, len: 4096, ..before };
    assert_eq!(update, half);
    kvm.snp_launch_update(&mut update, Source::Read(&PAGES.0)).unwrap();
    assert_eq!(update.len, 0);
}

#[test]
fn a_cpuid_page_with_other_values_comes_back() {
    let register = CpuidRegister::Edx;
    let limit = CpuidLimit { function: 0, index: 0, register, zeros: 0, ones: 4 };
    let host = Host { cpuid_limits: vec![limit], ..Host::default() };
    let mut kvm = Model::new(host);
    kvm.create_vm(abi::VM_TYPE_SNP).unwrap();
    kvm.sev_init2(&SevInit::default()).unwrap();
    support::add_memory(&mut kvm).unwrap();
    kvm.snp_launch_start(&start()).unwrap();
    #[repr(align(4096))]
    struct Page([u8; 4096]);
    let mut page = Page([0; 4096]);
    let uaddr = Source::Read(&page.0).range().0;
    let cpuid = SnpLaunchUpdate { uaddr, page_type: abi::PAGE_TYPE_CPUID, ..update() };
    let answer = kvm.snp_launch_update(&mut cpuid.clone(), Source::Correctable(&mut page.0));
    assert_eq!(psp(answer), Some(PspStatus::INVALID_PARAM));
    assert_eq!(kvm.broken_rule(), Some(Rule::CpuidValues));
    assert_eq!(page.0[16 + 36], 4);
    // The corrected page is taken, at the same address.
    kvm.snp_launch_update(&mut cpuid.clone(), Source::Correctable(&mut page.0)).unwrap();
}

#[test]
fn launch_finish() {
    let finish = |change: fn(&mut SnpLaunchFinish)| {
        move |kvm: &mut Model| {
            let mut finish = SnpLaunchFinish::default();
            change(&mut finish);
            kvm.snp_launch_finish(&finish, None)
        }
    };
    check(tdx(Stage::Started), finish(|_| {}), Rule::NotSnp, Errno::NOTTY);
    check(snp(Stage::WithVcpus), finish(|_| {}), Rule::FinishBeforeStart, Errno::INVAL);
    check(snp(Stage::Finished), finish(|_| {}), Rule::FinishTwice, Errno::INVAL);
    let changes: [(Change<SnpLaunchFinish>, Rule, Errno); 8] = [
        (|finish| finish.flags = 1, Rule::UnknownFlags, Errno::INVAL),
        (|finish| finish.pad0[0] = 1, Rule::ReservedField, Errno::INVAL),
        (|finish| finish.pad0[2] = 1, Rule::ReservedField, Errno::INVAL),
        (|finish| finish.pad1[0] = 1, Rule::ReservedField, Errno::INVAL),
        (|finish| finish.vcek_disabled = 2, Rule::WrongSwitch, Errno::INVAL),
        (|finish| finish.id_block_en = 0xff, Rule::WrongSwitch, Errno::INVAL),
        (|finish| finish.auth_key_en = 1, Rule::WrongSwitch, Errno::INVAL),
        (|finish| finish.id_block_en = 1, Rule::WrongSource, Errno::IO),
    ];
    for (change, rule, errno) in changes {
        check(snp(Stage::Started), finish(change), rule, errno);
    }
    let mut traced = snp(Stage::Started);
    let debug = kvm_debugregs { dr7: 0x401, ..kvm_debugregs::default() };
    traced.set_debug_regs(1, &debug).unwrap();
    check(traced, finish(|_| {}), Rule::DebugRegister, Errno::INVAL);
}

#[test]
fn virtual_cpus_are_measured_in_the_order_of_their_creation() {
    let digest = |ids: [u16; 2]| {
        let mut kvm = snp(Stage::WithMemory);
        ids.iter().for_each(|id| kvm.create_vcpu(*id).unwrap());
        kvm.set_msr(0, 0x277, 6).unwrap();
        kvm.snp_launch_start(&start()).unwrap();
        kvm.snp_launch_finish(&SnpLaunchFinish::default(), None).unwrap();
        kvm.snp_guest().unwrap().digest
    };
    assert_ne!(digest([0, 1]), digest([1, 0]));
}

#[test]
fn a_structure_that_is_short_by_its_padding_shifts_host_data_visibly() {
    let host_data = [0x77; 32];
    let finish = SnpLaunchFinish { host_data, ..SnpLaunchFinish::default() };
    let mut kvm = snp(Stage::Started);
    kvm.snp_launch_finish(&finish, None).unwrap();
    assert_eq!(kvm.snp_guest().unwrap().host_data, host_data);
    // One byte earlier, as a known library writes it: its first byte becomes a switch.
    let mut shifted = SnpLaunchFinish { vcek_disabled: 0x77, host_data, ..finish };
    shifted.host_data[31] = 0;
    let call = |kvm: &mut Model| kvm.snp_launch_finish(&shifted, None);
    check(snp(Stage::Started), call, Rule::WrongSwitch, Errno::INVAL);
}
