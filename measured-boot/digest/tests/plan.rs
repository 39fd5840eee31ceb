// SPDX-License-Identifier: Apache-2.0
//! Launch plans: their order under each VMM, what they refuse, and the fold of any of them.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]

mod fixtures;

use std::num::NonZeroU16;

use casemate_boot_formats::ovmf::OvmfError;
use casemate_boot_formats::ovmf::SectionKind;
use casemate_boot_formats::sev_hashes::KernelHashes;
use casemate_boot_formats::sev_hashes::KernelHashesError;
use casemate_launch_digest::FoldError;
use casemate_launch_digest::GuestFeatures;
use casemate_launch_digest::LaunchDigest;
use casemate_launch_digest::Pages;
use casemate_launch_digest::VcpuType;
use casemate_launch_digest::plan::Firmware;
use casemate_launch_digest::plan::LaunchPlan;
use casemate_launch_digest::plan::MAX_PLAN_PAGES;
use casemate_launch_digest::plan::MAX_RANGES;
use casemate_launch_digest::plan::PlanError;
use casemate_launch_digest::plan::Prediction;
use casemate_launch_digest::plan::SnpGuest;
use casemate_launch_digest::plan::SnpInputs;
use casemate_launch_digest::plan::SnpPlan;
use casemate_launch_digest::plan::Vcpus;
use casemate_launch_digest::plan::VcpusError;
use casemate_launch_digest::snp::GceHost;
use casemate_launch_digest::snp::MAX_SECTIONS;
use casemate_launch_digest::snp::PageContents;
use casemate_launch_digest::snp::PageRange;
use casemate_launch_digest::snp::PageType;
use casemate_launch_digest::snp::Section;
use casemate_launch_digest::snp::SectionsError;
use casemate_launch_digest::snp::SevMetadata;
use casemate_launch_digest::snp::UnknownVmm;
use casemate_launch_digest::snp::VMSA_GPA;
use casemate_launch_digest::snp::VcpuState;
use casemate_launch_digest::snp::VmmProfile;
use fixtures::synthetic::Synthetic;
use fixtures::synthetic::synthetic;
use proptest::prelude::*;

fn firmware() -> Synthetic {
    Synthetic {
        pages: 2,
        fill: 3,
        reset_eip: 0x80_b004,
        // Neither sorted by address nor with the hash table at the end.
        sections: vec![
            (0x81_1000, 0x2000, 1),
            (0x80_e000, 0x1000, 3),
            (0x81_0000, 0x1000, 0x10),
            (0x80_d000, 0x1000, 2),
            (0x80_f000, 0x1000, 4),
        ],
        hash_table: 0x81_0c00,
    }
}

fn count(vcpus: u16) -> NonZeroU16 {
    NonZeroU16::new(vcpus).unwrap()
}

fn hashes() -> KernelHashes {
    KernelHashes::of(b"kernel", b"initrd", b"quiet").unwrap()
}

fn model() -> VcpuType {
    "EPYC-Milan".parse().unwrap()
}

fn inputs(image: &[u8], vmm: VmmProfile) -> SnpInputs<'_> {
    SnpInputs {
        firmware: Firmware::parse(image).unwrap(),
        hashes: Some(hashes()),
        vmm,
        features: GuestFeatures::SNP,
        vcpus: count(3),
        guest: SnpGuest::default(),
    }
}

/// Address, number and type of each range.
fn order(plan: &SnpPlan<'_>) -> Vec<(u64, u64, PageType)> {
    plan.ranges().iter().map(|range| (range.gpa(), range.count(), range.page_type())).collect()
}

#[test]
fn each_vmm_has_its_order() {
    let image = firmware().image();
    let order = |vmm| order(&inputs(&image, vmm).plan().unwrap());
    let code = (0xffff_e000, 2, PageType::Normal);
    let memory = (0x81_1000, 2, PageType::Zero);
    let cpuid = (0x80_e000, 1, PageType::Cpuid);
    let table = (0x81_0000, 1, PageType::Normal);
    let secrets = (0x80_d000, 1, PageType::Secrets);
    let svsm = (0x80_f000, 1, PageType::Zero);
    let in_table = vec![code, memory, cpuid, table, secrets, svsm];
    assert_eq!(order(VmmProfile::Qemu(model())), in_table);
    assert_eq!(order(VmmProfile::Ec2), [code, memory, table, secrets, svsm, cpuid]);
    let unmeasured = (0x81_1000, 2, PageType::Unmeasured);
    let gce = order(VmmProfile::Gce(GceHost::Milan));
    assert_eq!(gce, [code, unmeasured, cpuid, table, secrets, svsm]);
    assert_eq!(order(VmmProfile::Casemate), [code, secrets, cpuid, svsm, memory, table]);
}

#[test]
fn casemate_measures_what_it_documents() {
    let image = firmware().image();
    let plan = inputs(&image, VmmProfile::Casemate).plan().unwrap();

    let mut digest = LaunchDigest::new();
    let mut update = |gpa, pages: Pages<'_>| digest.update(gpa, pages).unwrap();
    update(0xffff_e000, Pages::Normal(&image));
    update(0x80_d000, Pages::Secrets);
    update(0x80_e000, Pages::Cpuid);
    update(0x80_f000, Pages::Zero(1));
    update(0x81_1000, Pages::Zero(2));
    update(0x81_0000, Pages::Normal(hashes().to_page(0x81_0c00).unwrap().as_slice()));
    for eip in [0xffff_fff0, 0x80_b004, 0x80_b004] {
        let page = VcpuState::at_reset(eip, GuestFeatures::SNP).to_page();
        update(VMSA_GPA, Pages::Vmsa(&page));
    }
    assert_eq!(plan.digest(), digest);
    assert_eq!(LaunchPlan::Snp(plan.clone()).predict(), Prediction::Snp(digest));

    // All but the hash table and the CPUs hangs on the firmware alone.
    let other = KernelHashes::of(b"other kernel", b"", b"").unwrap();
    let other = SnpInputs { hashes: Some(other), ..inputs(&image, VmmProfile::Casemate) };
    let other = other.plan().unwrap();
    let same = plan.steps().zip(other.steps()).take_while(|(a, b)| a == b).count();
    assert_eq!(same, 5);
}

#[test]
fn only_qemu_hangs_on_the_cpu_model() {
    let image = firmware().image();
    let digest = |name: &str, model: &str| {
        let vmm = VmmProfile::from_name(name, model.parse().unwrap()).unwrap();
        assert_eq!(vmm.name(), name);
        inputs(&image, vmm).plan().unwrap().digest()
    };
    for name in ["qemu", "ec2", "ec2-without-rdx", "gce", "gce-genoa", "casemate"] {
        let differs = digest(name, "EPYC-v4") != digest(name, "EPYC-Turin");
        assert_eq!(differs, name == "qemu", "{name}");
    }
    let names = ["qemu", "ec2", "ec2-without-rdx", "gce", "gce-genoa", "casemate"];
    let digests: std::collections::HashSet<_> =
        names.iter().map(|name| digest(name, "EPYC-v4")).collect();
    assert_eq!(digests.len(), names.len());
    for name in ["", "QEMU", "kvm"] {
        let refused = VmmProfile::from_name(name, model());
        assert_eq!(refused, Err(UnknownVmm { name: name.to_owned() }));
    }
}

#[test]
fn vmms_differ_in_these_registers() {
    let state = |vmm: VmmProfile, eip| vmm.vcpu_state(GuestFeatures::SNP, eip);
    let reset = VcpuState::RESET_VECTOR;
    let qemu = state(VmmProfile::Qemu(model()), reset);
    assert_eq!((qemu.rdx, qemu.cs.attributes, qemu.mxcsr), (0xa0_0f11, 0x9b, 0x1f80));
    let ec2 = state(VmmProfile::Ec2, reset);
    assert_eq!((ec2.rdx, ec2.cs.attributes, ec2.ss.attributes), (0x600, 0x9a, 0x92));
    assert_eq!((ec2.tr.attributes, ec2.mxcsr, ec2.x87_fcw), (0x83, 0, 0));
    assert_eq!(state(VmmProfile::Ec2, 0x80_b004).cs.attributes, 0x9b);
    assert_eq!(state(VmmProfile::Ec2WithoutRdx, reset), VcpuState { rdx: 0, ..ec2 });
    let gce = state(VmmProfile::Gce(GceHost::Milan), reset);
    assert_eq!((gce.rdx, gce.g_pat, gce.mxcsr, gce.x87_fcw), (0x600, 0x7_0106, 0, 0));
    assert_eq!(VmmProfile::Gce(GceHost::Genoa).vmsa_gpa(), 0xf_ffff_ffff_f000);
    assert_eq!(state(VmmProfile::Casemate, reset), VcpuState { rdx: 0, ..qemu });
}

#[test]
fn firmware_in_two_files_is_the_same_as_in_one() {
    let image = [vec![0x5a; 3 * 4096], firmware().image()].concat();
    let (vars, code) = image.split_at(3 * 4096);
    let split = Firmware::split(vars, code).unwrap();
    let whole = Firmware::parse(&image).unwrap();
    assert_eq!(split.gpa(), 0xffff_b000);
    assert_eq!(split.image(), whole.image());
    assert_eq!(split.digest(), whole.digest());
    let with = |firmware| SnpInputs { firmware, ..inputs(code, VmmProfile::Qemu(model())) };
    assert_eq!(with(split).plan().unwrap(), with(whole).plan().unwrap());

    let odd = Firmware::split(&vars[1..], code).err();
    assert_eq!(odd, Some(OvmfError::NotWholePages { size: 3 * 4096 - 1 }));
    let large = vec![0; 16 << 20];
    assert_eq!(Firmware::split(&large, code).err(), Some(OvmfError::TooLarge));
}

#[test]
fn a_plan_without_its_hash_table_is_refused() {
    // E1: firmware that looks at no table boots any kernel.
    let mut synthetic = firmware();
    synthetic.sections.retain(|section| section.2 != 0x10);
    let image = synthetic.image();
    let refused = inputs(&image, VmmProfile::Casemate).plan();
    assert_eq!(refused, Err(PlanError::NoHashTable));
    // Without hashes it is an explicit choice of the caller.
    let open = SnpInputs { hashes: None, ..inputs(&image, VmmProfile::Casemate) };
    assert!(open.plan().is_ok());
}

#[test]
fn a_plan_with_a_table_that_lacks_an_entry_is_refused() {
    let vcpus = Vcpus::of(VmmProfile::Casemate, GuestFeatures::SNP, None, count(1)).unwrap();
    let plan = |page: &[u8]| {
        let range = PageRange::new(0x81_0000, PageContents::Normal(page.to_vec().into())).unwrap();
        SnpPlan::new(vec![range], vcpus.clone(), SnpGuest::default())
    };
    let mut page = vec![0; 4096];
    page[0xc00..][..176].copy_from_slice(&hashes().to_table());
    assert!(plan(&page).is_ok());
    // E1: the firmware starts what its table does not name.
    for (position, entry) in [(18, "command line"), (68, "initrd"), (118, "kernel")] {
        let mut page = page.clone();
        page[0xc00 + position] ^= 1;
        let missing = KernelHashesError::MissingEntry { entry };
        assert_eq!(plan(&page), Err(PlanError::Hashes(missing)));
    }
}

#[test]
fn refuses_impossible_ranges() {
    let page = vec![0; 4096];
    let normal = |bytes: &[u8]| PageContents::Normal(bytes.to_vec().into());
    let refused = |gpa, contents| PageRange::new(gpa, contents).err().unwrap();
    assert_eq!(refused(1, normal(&page)), FoldError::UnalignedAddress { gpa: 1 });
    assert_eq!(refused(0, normal(&page[1..])), FoldError::PartialPage { length: 4095 });
    assert_eq!(refused(0, normal(&[])), FoldError::NoPages { gpa: 0 });
    assert_eq!(refused(0, PageContents::Zero(0)), FoldError::NoPages { gpa: 0 });
    let gpa = PageRange::ADDRESS_LIMIT - 4096;
    assert!(PageRange::new(gpa, PageContents::Secrets).is_ok());
    let beyond = FoldError::BeyondMemory { gpa, count: 2 };
    assert_eq!(refused(gpa, PageContents::Unmeasured(2)), beyond);
    let count = u64::MAX;
    let beyond = FoldError::BeyondMemory { gpa: 0, count };
    assert_eq!(refused(0, PageContents::Zero(count)), beyond);
}

#[test]
fn refuses_impossible_plans() {
    let vcpus = Vcpus::of(VmmProfile::Casemate, GuestFeatures::SNP, None, count(1)).unwrap();
    let plan = |ranges| SnpPlan::new(ranges, vcpus.clone(), SnpGuest::default());
    let zero = |gpa, count| PageRange::new(gpa, PageContents::Zero(count)).unwrap();
    assert_eq!(plan(vec![]), Err(PlanError::Empty));
    let overlap = plan(vec![zero(0x2000, 1), zero(0, 3)]);
    assert_eq!(overlap, Err(PlanError::Overlap { gpa: 0x2000 }));
    let twice = plan(vec![zero(0x2000, 1), zero(0, 1), zero(0x2000, 1)]);
    assert_eq!(twice, Err(PlanError::Overlap { gpa: 0x2000 }));
    let pages = MAX_PLAN_PAGES + 1;
    assert_eq!(plan(vec![zero(0, pages)]), Err(PlanError::TooLarge { ranges: 1, pages }));
    let ranges: Vec<_> =
        (0_u64..).take(MAX_RANGES + 1).map(|index| zero(index * 8192, 1)).collect();
    assert!(matches!(plan(ranges), Err(PlanError::TooLarge { .. })));
    assert!(plan(vec![zero(0x1000, 1), zero(0, 1)]).is_ok());
}

#[test]
fn refuses_impossible_cpus() {
    let none = Vcpus::of(VmmProfile::Ec2, GuestFeatures::SNP, None, count(2));
    assert_eq!(none, Err(VcpusError::NoResetEip));
    let state = |features| VcpuState::at_reset(0, features);
    let mixed =
        Vcpus::new(state(GuestFeatures::SNP), state(GuestFeatures::SNP_DEBUG_SWAP), count(2));
    assert_eq!(mixed, Err(VcpusError::MixedFeatures));
    let vcpus = Vcpus::of(VmmProfile::Ec2, GuestFeatures::SNP, Some(0x1234), count(3)).unwrap();
    let states: Vec<_> = vcpus.states().map(|state| state.rip).collect();
    assert_eq!(states, [0xfff0, 0x1234, 0x1234]);
    assert_eq!(vcpus.features(), GuestFeatures::SNP);
}

#[test]
fn refuses_impossible_metadata() {
    let section = |gpa, size, kind| Section { gpa, size, kind };
    let new = |sections, table| SevMetadata::new(sections, None, table);
    let memory = SectionKind::SecMem;
    for (gpa, size, kind) in [
        (0x800, 0x1000, memory),
        (0x1000, 0x800, memory),
        (0xffff_f000, 0x2000, memory),
        (u64::MAX - 0xfff, 0x1000, memory),
        (0x1000, 0x2000, SectionKind::Secrets),
        (0x1000, 0x2000, SectionKind::Cpuid),
        (0x1000, 0x2000, SectionKind::KernelHashes),
    ] {
        let refused = new(vec![section(gpa, size, kind)], None);
        assert_eq!(refused, Err(SectionsError::OutOfBounds { gpa, size }));
    }
    let overlap = vec![section(0x1000, 0x2000, memory), section(0x2000, 0x1000, memory)];
    assert_eq!(new(overlap, None), Err(SectionsError::Overlap { gpa: 0x2000 }));
    let many = vec![section(0, 0, memory); MAX_SECTIONS + 1];
    assert_eq!(new(many, None), Err(SectionsError::TooMany { count: MAX_SECTIONS + 1 }));
    let table = vec![section(0x1000, 0x1000, SectionKind::KernelHashes)];
    let outside = new(table.clone(), Some(0x1fff));
    assert_eq!(outside, Err(SectionsError::HashTableOutside { gpa: 0x1fff }));
    assert!(new(table, Some(0x1f50)).is_ok());
    // Sections without pages exist in real firmware and are not measured.
    let empty = new(vec![section(0, 0, SectionKind::Secrets)], None).unwrap();
    assert_eq!(empty.sections(), []);
}

fn contents() -> impl Strategy<Value = PageContents<'static>> {
    prop_oneof![
        (1_usize..4, any::<u8>())
            .prop_map(|(pages, byte)| PageContents::Normal(vec![byte; pages * 4096].into())),
        (1_u64..4).prop_map(PageContents::Zero),
        (1_u64..4).prop_map(PageContents::Unmeasured),
        Just(PageContents::Secrets),
        Just(PageContents::Cpuid),
    ]
}

proptest! {
    #[test]
    fn any_plan_folds_as_its_pages_do(
        contents in proptest::collection::vec(contents(), 1..20),
        vcpus in 1_u16..20,
        rdx in any::<u64>(),
    ) {
        let ranges: Vec<_> = (1_u64..)
            .zip(contents)
            .map(|(index, contents)| PageRange::new(index * 0x4000, contents).unwrap())
            .collect();
        let first = VcpuState::at_reset(VcpuState::RESET_VECTOR, GuestFeatures::SNP);
        let other = VcpuState { rdx, ..first };
        let cpus = Vcpus::new(first, other, count(vcpus)).unwrap();
        let plan = SnpPlan::new(ranges, cpus, SnpGuest::default()).unwrap();

        let mut digest = LaunchDigest::new();
        let mut by_step = Vec::new();
        for range in plan.ranges() {
            let pages = match range.contents() {
                PageContents::Normal(bytes) => Pages::Normal(bytes),
                PageContents::Zero(count) => Pages::Zero(*count),
                PageContents::Unmeasured(count) => Pages::Unmeasured(*count),
                PageContents::Secrets => Pages::Secrets,
                PageContents::Cpuid => Pages::Cpuid,
                _ => panic!("new contents"),
            };
            digest.update(range.gpa(), pages).unwrap();
            by_step.push(digest);
        }
        for state in plan.vcpus().states() {
            digest.update(VMSA_GPA, Pages::Vmsa(&state.to_page())).unwrap();
            by_step.push(digest);
        }
        prop_assert_eq!(plan.digest(), digest);
        prop_assert_eq!(plan.steps().map(|step| step.digest).collect::<Vec<_>>(), by_step.clone());
        let by_vcpus = plan.digests_by_vcpus();
        prop_assert_eq!(by_vcpus.len(), usize::from(vcpus));
        prop_assert_eq!(by_vcpus.as_slice(), &by_step[plan.ranges().len()..]);
    }

    #[test]
    fn counts_of_cpus_in_one_call_are_those_of_many(
        synthetic in synthetic(),
        vmm in 0_usize..6,
        vcpus in 1_u16..8,
    ) {
        let vmm = [
            VmmProfile::Qemu(model()),
            VmmProfile::Ec2,
            VmmProfile::Ec2WithoutRdx,
            VmmProfile::Gce(GceHost::Milan),
            VmmProfile::Gce(GceHost::Genoa),
            VmmProfile::Casemate,
        ][vmm];
        let image = synthetic.image();
        let plan = |vcpus| {
            SnpInputs { vcpus: count(vcpus), ..inputs(&image, vmm) }.plan().unwrap()
        };
        let all = plan(255).digests_by_vcpus();
        prop_assert_eq!(all.len(), 255);
        prop_assert_eq!(all[usize::from(vcpus) - 1], plan(vcpus).digest());
    }

    #[test]
    fn hostile_firmware_never_panics(synthetic in synthetic(), index in 1_usize..4096, byte in any::<u8>()) {
        let mut image = synthetic.image();
        let place = image.len() - index;
        image[place] = byte;
        if let Ok(firmware) = Firmware::parse(&image) {
            let inputs = SnpInputs {
                firmware,
                hashes: Some(hashes()),
                vmm: VmmProfile::Casemate,
                features: GuestFeatures::SNP,
                vcpus: count(2),
                guest: SnpGuest::default(),
            };
            let _ = inputs.plan();
        }
    }
}
