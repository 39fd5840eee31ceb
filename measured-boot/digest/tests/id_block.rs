// SPDX-License-Identifier: Apache-2.0
//! ID block and ID authentication against a pair that another tool made.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "a test may panic"
)]

mod fixtures;

use std::num::NonZeroU16;

use casemate_launch_digest::GuestFeatures;
use casemate_launch_digest::LaunchDigest;
use casemate_launch_digest::id_block::IdAuth;
use casemate_launch_digest::id_block::IdAuthError;
use casemate_launch_digest::id_block::IdBlock;
use casemate_launch_digest::id_block::IdBlockError;
use casemate_launch_digest::id_block::Identity;
use casemate_launch_digest::id_block::MAX_KEY_FILE;
use casemate_launch_digest::id_block::PublicKey;
use casemate_launch_digest::id_block::Signature;
use casemate_launch_digest::id_block::SigningKey;
use casemate_launch_digest::id_block::SigningKeyError;
use casemate_launch_digest::plan::PlanError;
use casemate_launch_digest::plan::SnpGuest;
use casemate_launch_digest::plan::SnpPlan;
use casemate_launch_digest::plan::Vcpus;
use casemate_launch_digest::snp::GuestPolicy;
use casemate_launch_digest::snp::PageContents;
use casemate_launch_digest::snp::PageRange;
use casemate_launch_digest::snp::VmmProfile;
use proptest::prelude::*;
use ring::rand::SystemRandom;
use ring::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
use ring::signature::ECDSA_P384_SHA384_FIXED_SIGNING;
use ring::signature::EcdsaKeyPair;

struct Vector {
    block: IdBlock,
    block_bytes: Vec<u8>,
    auth_bytes: Vec<u8>,
    id_key: SigningKey,
    author_key: SigningKey,
    expected: serde_json::Value,
}

fn vector() -> Option<Vector> {
    let file = |name: &str| fixtures::launch_file(&format!("virtee-sev-idblock/{name}"));
    let expected = fixtures::vectors("virtee-sev-idblock/expected.json")?;
    let random = SystemRandom::new();
    let text = |key: &str| expected[key].as_str().unwrap();
    let digest: [u8; 48] = hex::decode(text("launch_digest")).unwrap().try_into().unwrap();
    Some(Vector {
        block: IdBlock {
            launch_digest: LaunchDigest::from_bytes(digest),
            family_id: [0; 16],
            image_id: [0; 16],
            guest_svn: 0,
            policy: text("policy").parse().unwrap(),
        },
        block_bytes: fixtures::from_base64(text("id_block_base64")),
        auth_bytes: file("test_auth_block.bin")?,
        id_key: SigningKey::from_pkcs8(&file("test_id_key.pem")?, &random).unwrap(),
        author_key: SigningKey::from_pkcs8(&file("test_auth_key.pem")?, &random).unwrap(),
        expected,
    })
}

#[test]
fn reads_and_writes_the_vector_byte_for_byte() {
    let Some(vector) = vector() else { return };
    assert_eq!(vector.block.to_bytes().as_slice(), vector.block_bytes);
    assert_eq!(IdBlock::parse(&vector.block_bytes), Ok(vector.block));

    let auth = IdAuth::parse(&vector.auth_bytes).unwrap();
    assert_eq!(auth.to_bytes().as_slice(), vector.auth_bytes);
    assert_eq!(auth.id_key(), vector.id_key.public_key());
    assert_eq!(auth.author_key(), Some(vector.author_key.public_key()));
    auth.verify(&vector.block).unwrap();

    // The signatures stand in files of their own too.
    for (name, signature) in [
        ("test_id_sig.bin", auth.signature()),
        ("test_auth_sig.bin", auth.author_signature().unwrap()),
    ] {
        let Some(file) = fixtures::launch_file(&format!("virtee-sev-idblock/{name}")) else {
            return;
        };
        assert_eq!(Signature::parse(&file).as_ref(), Ok(signature), "{name}");
    }
}

#[test]
fn key_digests_are_those_of_the_report() {
    let Some(vector) = vector() else { return };
    for (key, name) in [
        (vector.id_key.public_key(), "id_key_digest_base64"),
        (vector.author_key.public_key(), "author_key_digest_base64"),
    ] {
        let expected = fixtures::from_base64(vector.expected[name].as_str().unwrap());
        assert_eq!(key.digest().0.as_slice(), expected, "{name}");
        assert_eq!(PublicKey::parse(&key.to_bytes()), Ok(*key));
    }
}

#[test]
fn signs_what_it_verifies() {
    let Some(vector) = vector() else { return };
    let random = SystemRandom::new();
    let block = IdBlock {
        family_id: *b"family of guests",
        image_id: *b"image of a guest",
        guest_svn: 7,
        ..vector.block
    };
    for author in [None, Some(&vector.author_key)] {
        let identity = block.sign(&vector.id_key, author, &random).unwrap();
        let (bytes, auth) = (identity.block().to_bytes(), identity.auth().to_bytes());
        let auth = IdAuth::parse(auth.as_slice()).unwrap();
        assert_eq!(&auth, identity.auth());
        assert_eq!(auth.author_key(), author.map(SigningKey::public_key));
        let parsed = Identity::new(IdBlock::parse(&bytes).unwrap(), auth.clone());
        assert_eq!(parsed.as_ref(), Ok(&identity));

        // E1: another block under the same authentication.
        let other = IdBlock { guest_svn: 8, ..block };
        assert_eq!(auth.verify(&other), Err(IdAuthError::BadSignature { key: "ID" }));
        assert!(Identity::new(other, auth).is_err());
    }
}

#[test]
fn the_same_key_as_der() {
    let random = SystemRandom::new();
    let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &random).unwrap();
    let key = SigningKey::from_pkcs8(pair.as_ref(), &random).unwrap();
    assert_eq!(PublicKey::parse(&key.public_key().to_bytes()), Ok(*key.public_key()));
}

#[test]
fn refuses_other_key_files() {
    let random = SystemRandom::new();
    let error = |file: &[u8]| SigningKey::from_pkcs8(file, &random).err().unwrap();
    let p256 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    assert_eq!(error(p256.as_ref()), SigningKeyError::NoP384Key);
    assert_eq!(error(b""), SigningKeyError::NoP384Key);
    assert_eq!(error(b"-----BEGIN PRIVATE KEY-----\n"), SigningKeyError::MalformedPem);
    let sec1 = b"-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n";
    assert_eq!(error(sec1), SigningKeyError::OtherPem);
    let size = MAX_KEY_FILE + 1;
    assert_eq!(error(&vec![0; size]), SigningKeyError::TooLarge { size });
}

#[test]
fn every_changed_byte_is_noticed() {
    let Some(vector) = vector() else { return };
    let auth = IdAuth::parse(&vector.auth_bytes).unwrap();
    for index in 0..IdBlock::SIZE {
        let mut bytes = vector.block_bytes.clone();
        bytes[index] ^= 0x20;
        if let Ok(block) = IdBlock::parse(&bytes) {
            assert_eq!(block.to_bytes().as_slice(), bytes, "byte {index}");
            assert!(auth.verify(&block).is_err(), "byte {index}");
        }
    }
    let mut accepted = 0;
    for index in 0..IdAuth::SIZE {
        let mut bytes = vector.auth_bytes.clone();
        bytes[index] ^= 0x20;
        if let Ok(auth) = IdAuth::parse(&bytes) {
            assert_eq!(auth.to_bytes().as_slice(), bytes, "byte {index}");
            assert!(auth.verify(&vector.block).is_err(), "byte {index}");
            accepted += 1;
        }
    }
    // Two signatures and two keys of two numbers with 48 bytes each: all else is fixed.
    assert_eq!(accepted, 8 * 48);
}

#[test]
fn refuses_truncated_and_longer_structures() {
    let Some(vector) = vector() else { return };
    for size in 0..IdBlock::SIZE {
        let refused = IdBlock::parse(&vector.block_bytes[..size]);
        assert_eq!(refused, Err(IdBlockError::WrongSize { size }));
    }
    for size in 0..IdAuth::SIZE {
        let refused = IdAuth::parse(&vector.auth_bytes[..size]);
        assert_eq!(refused, Err(IdAuthError::WrongSize { size }));
    }
    let longer = [vector.block_bytes.as_slice(), &[0]].concat();
    assert_eq!(IdBlock::parse(&longer), Err(IdBlockError::WrongSize { size: 97 }));
    let longer = [vector.auth_bytes.as_slice(), &[0]].concat();
    assert_eq!(IdAuth::parse(&longer), Err(IdAuthError::WrongSize { size: 4097 }));
    let key = vector.id_key.public_key().to_bytes();
    assert!((0..PublicKey::SIZE).all(|size| PublicKey::parse(&key[..size]).is_err()));
    let signature = IdAuth::parse(&vector.auth_bytes).unwrap().signature().to_bytes();
    assert!((0..Signature::SIZE).all(|size| Signature::parse(&signature[..size]).is_err()));
}

#[test]
fn each_rule_has_its_reason() {
    let Some(vector) = vector() else { return };
    let block = |index: usize, value: u8| {
        let mut bytes = vector.block_bytes.clone();
        bytes[index] = value;
        IdBlock::parse(&bytes).unwrap_err()
    };
    assert_eq!(block(80, 2), IdBlockError::UnknownVersion { version: 2 });
    assert_eq!(block(90, 0), IdBlockError::Policy { bits: 0 });
    let auth = |index: usize, value: u8| {
        let mut bytes = vector.auth_bytes.clone();
        bytes[index] = value;
        IdAuth::parse(&bytes).unwrap_err()
    };
    assert_eq!(auth(0, 2), IdAuthError::Algorithm { key: "ID" });
    assert_eq!(auth(4, 2), IdAuthError::Algorithm { key: "author" });
    assert_eq!(auth(0x240, 1), IdAuthError::Curve);
    assert_eq!(auth(0x40 + 48, 1), IdAuthError::NumberTooLarge);
    assert_eq!(auth(0x8, 1), IdAuthError::Reserved);
    assert_eq!(auth(0xfff, 1), IdAuthError::Reserved);
    // An author key whose algorithm says that there is none.
    assert_eq!(auth(4, 0), IdAuthError::Reserved);

    // The keys of the two signatures are not interchangeable.
    let mut bytes = vector.auth_bytes.clone();
    let key = bytes[0x240..0x240 + 1028].to_vec();
    bytes[0x880..0x880 + 1028].copy_from_slice(&key);
    let auth = IdAuth::parse(&bytes).unwrap();
    assert_eq!(auth.verify(&vector.block), Err(IdAuthError::BadSignature { key: "author" }));
}

#[test]
fn a_plan_takes_only_its_own_identity() {
    let Some(vector) = vector() else { return };
    let random = SystemRandom::new();
    let pages = PageRange::new(0xffff_f000, PageContents::Normal(vec![1; 4096].into())).unwrap();
    let vcpus = Vcpus::of(VmmProfile::Casemate, GuestFeatures::SNP, None, NonZeroU16::MIN).unwrap();
    let plan = SnpPlan::new(vec![pages], vcpus, SnpGuest::default()).unwrap();
    let block = IdBlock { launch_digest: plan.digest(), ..vector.block };
    let identity = block.sign(&vector.id_key, None, &random).unwrap();
    let with = plan.clone().with_identity(identity.clone()).unwrap();
    assert_eq!(with.identity(), Some(&identity));

    let other = vector.block.sign(&vector.id_key, None, &random).unwrap();
    let refused = plan.clone().with_identity(other);
    assert!(matches!(refused, Err(PlanError::OtherDigest { .. })), "{refused:?}");
    let policy = GuestPolicy::from_bits(0x2_0000).unwrap();
    let other = IdBlock { policy, ..block }.sign(&vector.id_key, None, &random).unwrap();
    let refused = plan.with_identity(other);
    assert!(matches!(refused, Err(PlanError::OtherPolicy { .. })), "{refused:?}");
}

proptest! {
    #[test]
    fn blocks_round_trip(
        digest in any::<[u8; 32]>(),
        family_id in any::<[u8; 16]>(),
        image_id in any::<[u8; 16]>(),
        guest_svn in any::<u32>(),
        policy in 0_u64..1 << 26,
    ) {
        let mut launch_digest = [0; 48];
        launch_digest[8..40].copy_from_slice(&digest);
        let block = IdBlock {
            launch_digest: LaunchDigest::from_bytes(launch_digest),
            family_id,
            image_id,
            guest_svn,
            policy: GuestPolicy::from_bits(policy | 1 << 17).unwrap(),
        };
        prop_assert_eq!(IdBlock::parse(&block.to_bytes()), Ok(block));
    }

    #[test]
    fn hostile_structures_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4200)) {
        let _ = IdBlock::parse(&bytes);
        let _ = PublicKey::parse(&bytes);
        let _ = Signature::parse(&bytes);
        let mut whole = bytes;
        whole.resize(IdAuth::SIZE, 0);
        let _ = IdAuth::parse(&whole);
    }
}
