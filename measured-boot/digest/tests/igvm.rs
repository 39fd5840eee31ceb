// SPDX-License-Identifier: Apache-2.0
//! Plans as IGVM files start the same guest.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]

mod fixtures;

use std::num::NonZeroU16;

use casemate_boot_formats::igvm::Igvm;
use casemate_boot_formats::igvm::IgvmPage;
use casemate_boot_formats::igvm::IgvmPlan;
use casemate_boot_formats::igvm::PageKind;
use casemate_boot_formats::igvm::Tee;
use casemate_boot_formats::igvm::VpContext;
use casemate_boot_formats::sev_hashes::KernelHashes;
use casemate_launch_digest::FoldError;
use casemate_launch_digest::GuestFeatures;
use casemate_launch_digest::id_block::IdBlock;
use casemate_launch_digest::id_block::SigningKey;
use casemate_launch_digest::plan::Firmware;
use casemate_launch_digest::plan::IgvmDigestError;
use casemate_launch_digest::plan::SnpGuest;
use casemate_launch_digest::plan::SnpInputs;
use casemate_launch_digest::plan::igvm_digest;
use casemate_launch_digest::snp::GceHost;
use casemate_launch_digest::snp::VmmProfile;
use fixtures::synthetic::Synthetic;
use fixtures::synthetic::synthetic;
use proptest::prelude::*;
use ring::rand::SystemRandom;
use ring::signature::ECDSA_P384_SHA384_FIXED_SIGNING;
use ring::signature::EcdsaKeyPair;

fn inputs(image: &[u8], vmm: VmmProfile) -> SnpInputs<'_> {
    SnpInputs {
        firmware: Firmware::parse(image).unwrap(),
        hashes: Some(KernelHashes::of(b"kernel", b"initrd", b"quiet").unwrap()),
        vmm,
        features: GuestFeatures::SNP,
        vcpus: NonZeroU16::new(3).unwrap(),
        guest: SnpGuest::default(),
    }
}

proptest! {
    #[test]
    fn the_file_has_the_digest_of_the_plan(synthetic in synthetic(), vmm in 0_usize..4) {
        let vmm = [
            VmmProfile::Qemu("EPYC-v4".parse().unwrap()),
            VmmProfile::Ec2,
            VmmProfile::Gce(GceHost::Milan),
            VmmProfile::Casemate,
        ][vmm];
        let image = synthetic.image();
        let plan = inputs(&image, vmm).plan().unwrap();
        let file = plan.to_igvm().unwrap();
        let igvm = Igvm::parse(&file).unwrap();
        prop_assert_eq!(igvm_digest(&igvm.plan(Tee::Snp).unwrap()), Ok(plan.digest()));
    }
}

#[test]
fn the_file_keeps_policy_and_identity() {
    let random = SystemRandom::new();
    let key = || {
        let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &random).unwrap();
        SigningKey::from_pkcs8(pair.as_ref(), &random).unwrap()
    };
    let image = Synthetic {
        pages: 1,
        fill: 0,
        reset_eip: 0,
        sections: vec![(0x80_0000, 0x1000, 0x10)],
        hash_table: 0x80_0000,
    }
    .image();
    let plan = inputs(&image, VmmProfile::Casemate).plan().unwrap();
    let block = IdBlock {
        launch_digest: plan.digest(),
        family_id: [1; 16],
        image_id: [2; 16],
        guest_svn: 3,
        policy: plan.guest().policy,
    };
    let identity = block.sign(&key(), Some(&key()), &random).unwrap();
    let plan = plan.with_identity(identity.clone()).unwrap();
    let file = plan.to_igvm().unwrap();
    let read = Igvm::parse(&file).unwrap().plan(Tee::Snp).unwrap();
    assert_eq!(read.policy, 0x3_0000);
    let kept = read.id_block.unwrap();
    assert_eq!(kept.launch_digest, *plan.digest().as_bytes());
    assert_eq!((kept.family_id, kept.image_id, kept.guest_svn), ([1; 16], [2; 16], 3));
    let (auth, author) = (identity.auth().to_bytes(), kept.author.unwrap());
    assert_eq!(kept.id_signature.r, auth[0x40..0x40 + 72]);
    assert_eq!(kept.id_key.y, auth[0x240 + 4 + 72..0x240 + 4 + 144]);
    assert_eq!(author.0.s, auth[0x680 + 72..0x680 + 144]);
    assert_eq!(author.1.x, auth[0x880 + 4..0x880 + 4 + 72]);
    assert_eq!((kept.id_key_algorithm, kept.author_key_algorithm, kept.version), (1, 1, 1));
}

#[test]
fn refuses_what_kvm_cannot_launch() {
    let mut plan = IgvmPlan::new(Tee::Tdx, 0);
    assert_eq!(igvm_digest(&plan), Err(IgvmDigestError::NotSnp));
    plan.tee = Tee::Snp;
    let shared = IgvmPage { gpa: 0x1000, kind: PageKind::Shared, contents: None };
    plan.pages = vec![shared];
    assert_eq!(igvm_digest(&plan), Ok(casemate_launch_digest::LaunchDigest::new()));
    plan.pages = vec![IgvmPage { kind: PageKind::CpuidExtended, ..shared }];
    assert_eq!(igvm_digest(&plan), Err(IgvmDigestError::UnsupportedPage { gpa: 0x1000 }));
    plan.pages = vec![IgvmPage { gpa: 1, kind: PageKind::Measured, ..shared }];
    let unaligned = FoldError::UnalignedAddress { gpa: 1 };
    assert_eq!(igvm_digest(&plan), Err(IgvmDigestError::Fold(unaligned)));
    plan.pages.clear();
    plan.vp_contexts = vec![VpContext { gpa: 0, vp_index: 0, vmsa: &[0; 4096] }];
    assert_eq!(igvm_digest(&plan), Err(IgvmDigestError::UnsupportedVmsa { gpa: 0 }));
}
