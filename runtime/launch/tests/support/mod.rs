// SPDX-License-Identifier: Apache-2.0
//! Machines, plans and guests of the tests.

#![allow(dead_code, clippy::unwrap_used, reason = "a test may panic, and uses its part")]

use std::num::NonZeroU16;

use casemate_kvm_model::Model;
use casemate_launch::Machine;
use casemate_launch::MemoryLayout;
use casemate_launch::MemoryRegion;
use casemate_launch::RegionKind;
use casemate_launch::abi::CpuidEntry;
use casemate_launch_digest::id_block::IdBlock;
use casemate_launch_digest::id_block::SigningKey;
use casemate_launch_digest::plan::SnpGuest;
use casemate_launch_digest::plan::SnpPlan;
use casemate_launch_digest::plan::TdParams;
use casemate_launch_digest::plan::TdxPlan;
use casemate_launch_digest::plan::TdxSection;
use casemate_launch_digest::plan::TdxSectionKind;
use casemate_launch_digest::plan::Vcpus;
use casemate_launch_digest::snp::GuestFeatures;
use casemate_launch_digest::snp::HostData;
use casemate_launch_digest::snp::PageContents;
use casemate_launch_digest::snp::PageRange;
use casemate_launch_digest::snp::VmmProfile;
use ring::rand::SystemRandom;
use ring::signature::ECDSA_P384_SHA384_FIXED_SIGNING;
use ring::signature::EcdsaKeyPair;

/// Size of RAM in bytes; the second half is a slot of its own.
pub(crate) const RAM: u64 = 0x200_0000;
/// Where the firmware region begins.
pub(crate) const FIRMWARE: u64 = 0xffc0_0000;

/// 32 MiB of RAM and 4 MiB for firmware, with a small CPUID table.
pub(crate) fn machine() -> Machine {
    let ram = |gpa| MemoryRegion { gpa, size: RAM / 2, kind: RegionKind::Ram };
    let firmware = MemoryRegion { gpa: FIRMWARE, size: 0x40_0000, kind: RegionKind::Firmware };
    Machine {
        memory: MemoryLayout::new(vec![ram(0), ram(RAM / 2), firmware]).unwrap(),
        cpuid: vec![
            CpuidEntry {
                function: 1,
                eax: 0xa0_0f11,
                ecx: 1 << 24 | 1 << 21 | 1,
                ..CpuidEntry::default()
            },
            CpuidEntry { function: 7, ebx: 0b10, flags: 1, ..CpuidEntry::default() },
            CpuidEntry { function: 0x8000_001f, eax: 0x1a, ..CpuidEntry::default() },
        ],
    }
}

/// A small guest with a range of each kind.
pub(crate) fn ranges() -> Vec<PageRange<'static>> {
    let image: Vec<u8> = (0..=250).cycle().take(0x1_0000).collect();
    vec![
        PageRange::new(0xffff_0000, PageContents::Normal(image.into())).unwrap(),
        PageRange::new(0x80_0000, PageContents::Zero(9)).unwrap(),
        PageRange::new(0x80_d000, PageContents::Secrets).unwrap(),
        PageRange::new(0x80_e000, PageContents::Cpuid).unwrap(),
        PageRange::new(0x81_0000, PageContents::Normal(vec![3; 4096].into())).unwrap(),
        PageRange::new(0x81_1000, PageContents::Unmeasured(2)).unwrap(),
    ]
}

pub(crate) fn vcpus(count: u16) -> Vcpus {
    let count = NonZeroU16::new(count).unwrap();
    Vcpus::of(VmmProfile::Casemate, GuestFeatures::SNP, Some(0x80_b004), count).unwrap()
}

pub(crate) fn snp_plan() -> SnpPlan<'static> {
    let guest = SnpGuest { host_data: HostData([0x5a; 32]), ..SnpGuest::default() };
    SnpPlan::new(ranges(), vcpus(3), guest).unwrap()
}

pub(crate) fn key() -> SigningKey {
    let random = SystemRandom::new();
    let file = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &random).unwrap();
    SigningKey::from_pkcs8(file.as_ref(), &random).unwrap()
}

/// The plan with an ID block, and an author's key or none.
pub(crate) fn with_id_block<'a>(
    plan: SnpPlan<'a>,
    id_key: &SigningKey,
    author: Option<&SigningKey>,
) -> SnpPlan<'a> {
    let block = IdBlock {
        launch_digest: plan.digest(),
        family_id: *b"casemate-family\0",
        image_id: *b"casemate-image\0\0",
        guest_svn: 7,
        policy: plan.guest().policy,
    };
    let identity = block.sign(id_key, author, &SystemRandom::new()).unwrap();
    plan.with_identity(identity).unwrap()
}

pub(crate) fn td_params() -> TdParams {
    TdParams {
        mr_config_id: [1; 48],
        mr_owner: [2; 48],
        mr_owner_config: [3; 48],
        ..TdParams::default()
    }
}

pub(crate) fn tdx_plan() -> TdxPlan<'static> {
    let section = |kind, gpa, size, contents: &'static [u8], measured| {
        TdxSection::new(kind, gpa, size, contents.into(), measured).unwrap()
    };
    let sections = vec![
        section(TdxSectionKind::BootFirmware, 0xffff_0000, 0x1_0000, &[0xf4; 0xff00], true),
        section(TdxSectionKind::Configuration, 0xffc0_0000, 0x2000, &[1; 0x2000], false),
        section(TdxSectionKind::TempMemory, 0x81_0000, 0x1_0000, &[], false),
        section(TdxSectionKind::Hob, 0x80_9000, 0x2000, &[], false),
    ];
    TdxPlan::new(sections, td_params(), NonZeroU16::new(2).unwrap()).unwrap()
}

/// Asserts that the model's SNP guest is the plan's.
pub(crate) fn assert_is_planned(model: &Model, plan: &SnpPlan<'_>) {
    let guest = model.snp_guest().unwrap();
    assert_eq!(&guest.digest, plan.digest().as_bytes());
    assert_eq!(guest.policy, plan.guest().policy.bits());
    // D16: the digest of the initdata reaches the report whole.
    assert_eq!(guest.host_data, plan.guest().host_data.0);
    assert_eq!(guest.vcek_disabled, plan.guest().vcek_disabled);
    assert_eq!(guest.features, plan.vcpus().features().bits());
    assert_eq!(guest.vcpus, usize::from(plan.vcpus().count().get()));
    assert_eq!(guest.id_block, plan.identity().map(|identity| identity.block().to_bytes()));
    let author = plan.identity().and_then(|identity| identity.auth().author_key());
    assert_eq!(guest.has_author_key, author.is_some());
}
