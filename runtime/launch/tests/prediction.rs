// SPDX-License-Identifier: Apache-2.0
//! What is launched is what was predicted: for random plans, on a KVM that fails at random, the
//! model's own fold of the bytes that it got equals the prediction made from the plan (E1).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::num::NonZeroU16;
use std::sync::LazyLock;

use casemate_kvm_model::CpuidLimit;
use casemate_kvm_model::Faults;
use casemate_kvm_model::Host;
use casemate_kvm_model::Model;
use casemate_launch::CpuidRegister;
use casemate_launch::launch_snp;
use casemate_launch::launch_tdx;
use casemate_launch_digest::id_block::SigningKey;
use casemate_launch_digest::plan::SnpGuest;
use casemate_launch_digest::plan::SnpPlan;
use casemate_launch_digest::plan::TdxPlan;
use casemate_launch_digest::plan::TdxSection;
use casemate_launch_digest::plan::TdxSectionKind;
use casemate_launch_digest::plan::Vcpus;
use casemate_launch_digest::snp::GuestFeatures;
use casemate_launch_digest::snp::GuestPolicy;
use casemate_launch_digest::snp::HostData;
use casemate_launch_digest::snp::PageContents;
use casemate_launch_digest::snp::PageRange;
use casemate_launch_digest::snp::VcpuState;
use casemate_launch_digest::snp::VcpuType;
use casemate_launch_digest::snp::VmmProfile;
use casemate_launch_digest::tdx::MrtdForm;
use proptest::collection::vec;
use proptest::prelude::*;
use support::assert_is_planned;
use support::machine;

static KEYS: LazyLock<[SigningKey; 2]> = LazyLock::new(|| [support::key(), support::key()]);

/// Gaps, sizes and kinds of ranges, from the start of RAM across its two slots.
fn layout() -> impl Strategy<Value = Vec<PageRange<'static>>> {
    let range = (0_u64..1600, 0_u8..8, 1_u64..600, any::<u8>());
    (vec(range, 1..7), 1_u64..300).prop_map(|(ranges, firmware_pages)| {
        let mut gpa = 0;
        let mut placed = Vec::new();
        for (gap, kind, count, seed) in ranges {
            gpa += gap * 4096;
            let contents = match kind {
                0 => PageContents::Zero(count),
                1 => PageContents::Unmeasured(count),
                2 => PageContents::Secrets,
                3 => PageContents::Cpuid,
                _ => PageContents::Normal(bytes(seed, count % 40 + 1).into()),
            };
            let range = PageRange::new(gpa, contents).unwrap();
            gpa = range.end();
            if gpa <= support::RAM {
                placed.push(range);
            }
        }
        let image = PageContents::Normal(bytes(0x42, firmware_pages).into());
        let image = PageRange::new((1 << 32) - firmware_pages * 4096, image).unwrap();
        // The first half before the image, the rest behind it: the order counts.
        placed.insert(placed.len() / 2, image);
        placed
    })
}

fn bytes(seed: u8, pages: u64) -> Vec<u8> {
    let length = usize::try_from(pages * 4096).unwrap();
    (0..length).map(|at| (at.wrapping_mul(31) >> 3).to_le_bytes()[0].wrapping_add(seed)).collect()
}

fn cpu_states() -> impl Strategy<Value = Vcpus> {
    let vmm = prop_oneof![
        Just(VmmProfile::Casemate),
        Just(VmmProfile::Ec2),
        Just(VmmProfile::Ec2WithoutRdx),
        (0..VcpuType::ALL.len()).prop_map(|index| VmmProfile::Qemu(VcpuType::ALL[index])),
    ];
    let features = prop_oneof![Just(GuestFeatures::SNP), Just(GuestFeatures::SNP_DEBUG_SWAP)];
    (vmm, features, any::<u32>(), 1_u16..20, any::<bool>(), any::<[u64; 3]>()).prop_map(
        |(vmm, features, eip, count, is_free, words)| {
            let count = NonZeroU16::new(count).unwrap();
            if !is_free {
                return Vcpus::of(vmm, features, Some(eip), count).unwrap();
            }
            let state = |eip| {
                let mut state = VcpuState::at_reset(eip, features);
                state.rip = words[0];
                state.rdx = words[1];
                state.g_pat = words[2];
                state.cs.base = words[0] ^ words[1];
                state.cs.attributes = 0xa9b;
                state.tr.attributes = 0x02;
                state.ldtr.selector = 8;
                state.gdtr.base = words[2];
                state.cr4 = 0x40 | 1 << 5;
                state.mxcsr = 0x1f00;
                state
            };
            Vcpus::new(state(VcpuState::RESET_VECTOR), state(eip), count).unwrap()
        },
    )
}

#[derive(Clone, Copy, Debug)]
enum Id {
    None,
    Key,
    KeyAndAuthor,
}

fn guests() -> impl Strategy<Value = SnpGuest> {
    (prop_oneof![Just(0x3_0000), Just(0x2_0000), Just(0xb_001f)], any::<[u8; 32]>(), any::<bool>())
        .prop_map(|(policy, host_data, vcek_disabled)| SnpGuest {
            policy: GuestPolicy::from_bits(policy).unwrap(),
            host_data: HostData(host_data),
            vcek_disabled,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn snp_model_measures_what_was_predicted(
        ranges in layout(),
        vcpus in cpu_states(),
        guest in guests(),
        id in prop_oneof![Just(Id::None), Just(Id::Key), Just(Id::KeyAndAuthor)],
        seed in any::<u64>(),
        corrects_cpuid in any::<bool>(),
    ) {
        let plan = SnpPlan::new(ranges, vcpus, guest).unwrap();
        let [id_key, author] = &*KEYS;
        let plan = match id {
            Id::None => plan,
            Id::Key => support::with_id_block(plan, id_key, None),
            Id::KeyAndAuthor => support::with_id_block(plan, id_key, Some(author)),
        };
        let mut host = Host::default();
        if corrects_cpuid {
            let (function, register) = (1, CpuidRegister::Ecx);
            host.cpuid_limits.push(CpuidLimit { function, index: 0, register, zeros: 1 << 24, ones: 0 });
        }
        let mut model = Model::with_faults(host, Faults::seeded(seed));
        let launched = launch_snp(&plan, &machine(), &mut model);
        prop_assert!(launched.is_ok(), "{launched:?} {:?}", model.broken_rule());
        prop_assert_eq!(launched.unwrap().retries, model.pauses());
        assert_is_planned(&model, &plan);
    }

    #[test]
    fn tdx_model_measures_what_was_predicted(
        sections in vec((0_u64..500, 1_u64..300, 0_usize..5000, any::<bool>()), 1..5),
        hob_at in 0_usize..5,
        vcpus in 1_u16..9,
        seed in any::<u64>(),
    ) {
        let mut gpa = 0x10_0000;
        let mut placed = Vec::new();
        for (index, (gap, pages, length, measured)) in sections.into_iter().enumerate() {
            if index == hob_at {
                placed.push(hob(gpa));
                gpa += 0x2000;
            }
            gpa += gap * 4096;
            let contents = bytes(7, 2)[..length].to_vec();
            let size = pages.max(2) * 4096;
            let kind = TdxSectionKind::BootFirmware;
            placed.push(TdxSection::new(kind, gpa, size, contents.into(), measured).unwrap());
            gpa += size;
        }
        if placed.iter().all(|section| section.kind() != TdxSectionKind::Hob) {
            placed.push(hob(gpa));
        }
        let count = NonZeroU16::new(vcpus).unwrap();
        let plan = TdxPlan::new(placed, support::td_params(), count).unwrap();
        let mut model = Model::with_faults(Host::default(), Faults::seeded(seed));
        let launched = launch_tdx(&plan, &machine(), &mut model);
        prop_assert!(launched.is_ok(), "{launched:?} {:?}", model.broken_rule());
        let guest = model.tdx_guest().unwrap();
        prop_assert_eq!(guest.mrtd, *plan.mrtd(MrtdForm::SinglePass).as_bytes());
        prop_assert_eq!(guest.attributes, plan.params().attributes.bits());
        prop_assert_eq!(guest.xfam, plan.params().xfam.bits());
        prop_assert_eq!(guest.mrconfigid, plan.params().mr_config_id);
        prop_assert_eq!(guest.mrowner, plan.params().mr_owner);
        prop_assert_eq!(guest.mrownerconfig, plan.params().mr_owner_config);
        prop_assert_eq!(guest.vcpus, usize::from(vcpus));
        prop_assert_eq!(guest.hob, Some(plan.hob_address()));
    }
}

fn hob(gpa: u64) -> TdxSection<'static> {
    TdxSection::new(TdxSectionKind::Hob, gpa, 0x2000, (&[]).into(), false).unwrap()
}

#[test]
fn a_changed_byte_that_kvm_gets_changes_the_model_digest() {
    // E1: the property above can fail.
    let plan = support::snp_plan();
    let mut other = support::ranges();
    other[4] = PageRange::new(0x81_0000, PageContents::Normal(vec![4; 4096].into())).unwrap();
    let other = SnpPlan::new(other, support::vcpus(3), *plan.guest()).unwrap();
    let mut model = Model::new(Host::default());
    launch_snp(&other, &machine(), &mut model).unwrap();
    assert_ne!(&model.snp_guest().unwrap().digest, plan.digest().as_bytes());
}
