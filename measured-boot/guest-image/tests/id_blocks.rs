// SPDX-License-Identifier: Apache-2.0
//! ID blocks beside an image: each must bind a launch of this image, by number of virtual CPUs.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may panic"
)]

mod fixtures;

use std::fs;
use std::path::Path;

use casemate_guest_image::Difference;
use casemate_guest_image::IdBlockDemand;
use casemate_guest_image::IdBlockProblem;
use casemate_guest_image::Kind;
use casemate_guest_image::ReferenceValues;
use casemate_guest_image::build;
use casemate_guest_image::verify;
use casemate_guest_image::verify_id_blocks;
use casemate_launch_digest::LaunchDigest;
use casemate_launch_digest::id_block::IdBlock;
use casemate_launch_digest::id_block::Identity;
use casemate_launch_digest::id_block::KeyDigest;
use casemate_launch_digest::id_block::SigningKey;
use casemate_launch_digest::snp::GuestPolicy;
use ring::rand::SystemRandom;
use ring::signature::ECDSA_P384_SHA384_FIXED_SIGNING;
use ring::signature::EcdsaKeyPair;

#[test]
fn each_id_block_is_judged_by_digest_signature_policy_and_key() {
    let Some(debian) = fixtures::debian() else { return };
    let folder = tempfile::tempdir().unwrap();
    let probe = fixtures::compile_probe(folder.path());
    let out = folder.path().join("image");
    build(&fixtures::build_inputs(&debian, &probe, Kind::Production), &out).unwrap();
    let values = fs::read(out.join(ReferenceValues::FILE)).unwrap();
    let values: ReferenceValues = serde_json::from_slice(&values).unwrap();
    let digest = |model: &str, vcpus: usize| {
        let mut lists = values.snp.iter();
        let list = lists.find(|list| list.vcpu_types.iter().any(|name| name == model)).unwrap();
        LaunchDigest::from_bytes(
            hex::decode(&list.launch_digests[vcpus - 1]).unwrap().try_into().unwrap(),
        )
    };
    let demand = IdBlockDemand { policy: policy(0x3_0000), id_key: None };
    let judge = || verify_id_blocks(&out, &demand);

    // None is no error.
    assert!(judge().unwrap().is_empty());
    let key = key();
    let good = sign(digest("EPYC-v4", 1), 0x3_0000, &key);
    put(&out, 1, &good);
    put(&out, 3, &sign(digest("EPYC-Genoa", 3), 0x3_0000, &key));
    assert_eq!(verify(&out).unwrap(), []);
    let bound = judge().unwrap();
    assert_eq!(bound.iter().map(|launch| launch.vcpus.get()).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(bound[0].identity, good);
    assert!(bound[0].vcpu_types.iter().any(|name| name == "EPYC-v4"));
    assert!(bound[1].vcpu_types.iter().all(|name| name.starts_with("EPYC-Genoa")));

    // Whose key.
    let digest_of_key = key.public_key().digest();
    let by = |id_key| verify_id_blocks(&out, &IdBlockDemand { id_key: Some(id_key), ..demand });
    by(digest_of_key).unwrap();
    let other = by(KeyDigest([0; 48])).unwrap_err();
    assert!(matches!(other, IdBlockProblem::Key { found, .. } if found == digest_of_key));

    // Half of a pair.
    fs::remove_file(out.join("id-auth-3.bin")).unwrap();
    let half = judge().unwrap_err();
    assert!(matches!(&half, IdBlockProblem::Half { missing } if missing == "id-auth-3.bin"));
    fs::remove_file(out.join("id-block-3.bin")).unwrap();

    // E1: a launch of this image, but with another number of CPUs.
    put(&out, 1, &sign(digest("EPYC-v4", 2), 0x3_0000, &key));
    let moved = judge().unwrap_err();
    assert!(matches!(&moved, IdBlockProblem::Digest { of: Some(of), .. } if of.get() == 2));
    assert!(moved.to_string().ends_with("is that of 2 virtual CPUs, not of 1"), "{moved}");
    // E1: a launch of another image.
    put(&out, 1, &sign(LaunchDigest::from_bytes([7; 48]), 0x3_0000, &key));
    assert!(matches!(judge().unwrap_err(), IdBlockProblem::Digest { of: None, .. }));
    // D4: a guest that the host may debug.
    put(&out, 1, &sign(digest("EPYC-v4", 1), 0xb_0000, &key));
    let debug = judge().unwrap_err();
    assert!(matches!(debug, IdBlockProblem::Policy { found: 0xb_0000, wanted: 0x3_0000, .. }));

    // The signature of another block, and of another guest of the same key.
    put(&out, 1, &good);
    let auth = sign(digest("EPYC-v4", 2), 0x3_0000, &key).auth().to_bytes();
    fs::write(out.join("id-auth-1.bin"), auth.as_slice()).unwrap();
    assert!(matches!(judge().unwrap_err(), IdBlockProblem::Signature { .. }));
    let auth = good.auth().to_bytes();
    fs::write(out.join("id-auth-1.bin"), &auth[1..]).unwrap();
    assert!(matches!(judge().unwrap_err(), IdBlockProblem::Auth { .. }));
    let block = good.block().to_bytes();
    fs::write(out.join("id-block-1.bin"), &block[1..]).unwrap();
    assert!(matches!(judge().unwrap_err(), IdBlockProblem::Block { .. }));
    fs::write(out.join("id-block-1.bin"), [0; 97]).unwrap();
    assert!(matches!(judge().unwrap_err(), IdBlockProblem::Read(_)));

    // A name that no launch looks for is no part of the image.
    put(&out, 1, &good);
    fs::write(out.join("id-block-01.bin"), good.block().to_bytes()).unwrap();
    let stray = Difference::Unexpected { name: "id-block-01.bin".to_owned() };
    assert_eq!(verify(&out).unwrap(), [stray]);
    judge().unwrap();
}

fn put(folder: &Path, vcpus: u16, identity: &Identity) {
    let file = |name: &str, bytes: &[u8]| {
        fs::write(folder.join(format!("{name}-{vcpus}.bin")), bytes).unwrap();
    };
    file("id-block", &identity.block().to_bytes());
    file("id-auth", identity.auth().to_bytes().as_slice());
}

fn sign(launch_digest: LaunchDigest, bits: u64, key: &SigningKey) -> Identity {
    let (family_id, image_id, policy) = ([0; 16], [0; 16], policy(bits));
    let block = IdBlock { launch_digest, family_id, image_id, guest_svn: 0, policy };
    block.sign(key, None, &SystemRandom::new()).unwrap()
}

fn policy(bits: u64) -> GuestPolicy {
    GuestPolicy::from_bits(bits).unwrap()
}

fn key() -> SigningKey {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &random).unwrap();
    SigningKey::from_pkcs8(pkcs8.as_ref(), &random).unwrap()
}
