// SPDX-License-Identifier: Apache-2.0
//! What the PSP refuses of ID blocks at the end of a launch. A plan cannot hold such blocks, so the
//! model gets them directly.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use casemate_kvm_model::Host;
use casemate_kvm_model::Model;
use casemate_kvm_model::Rule;
use casemate_launch::FirmwareError;
use casemate_launch::Identity;
use casemate_launch::Kvm;
use casemate_launch::PspStatus;
use casemate_launch::Refusal;
use casemate_launch::SnpKvm;
use casemate_launch::Source;
use casemate_launch::abi;
use casemate_launch::abi::SevInit;
use casemate_launch::abi::SnpLaunchFinish;
use casemate_launch::abi::SnpLaunchStart;
use casemate_launch_digest::id_block::IdBlock;
use casemate_launch_digest::id_block::SigningKey;
use casemate_launch_digest::snp::GuestPolicy;
use casemate_launch_digest::snp::LaunchDigest;
use ring::rand::SystemRandom;

/// Finishes a launch without pages, whose digest is zeros, with these bytes.
fn finish(block: &[u8; 96], auth: &[u8; 4096], has_author: bool) -> (Result<(), Refusal>, Model) {
    let mut kvm = Model::new(Host::default());
    kvm.create_vm(abi::VM_TYPE_SNP).unwrap();
    kvm.sev_init2(&SevInit::default()).unwrap();
    let start = SnpLaunchStart { policy: 0x3_0000, ..SnpLaunchStart::default() };
    kvm.snp_launch_start(&start).unwrap();
    let finish = SnpLaunchFinish {
        id_block_uaddr: Source::Read(block).range().0,
        id_auth_uaddr: Source::Read(auth).range().0,
        id_block_en: 1,
        auth_key_en: has_author.into(),
        ..SnpLaunchFinish::default()
    };
    (kvm.snp_launch_finish(&finish, Some(Identity { block, auth })), kvm)
}

fn block() -> IdBlock {
    IdBlock {
        launch_digest: LaunchDigest::new(),
        family_id: [1; 16],
        image_id: [2; 16],
        guest_svn: 3,
        policy: GuestPolicy::DEFAULT,
    }
}

fn sign(
    block: IdBlock,
    key: &SigningKey,
    author: Option<&SigningKey>,
) -> ([u8; 96], Box<[u8; 4096]>) {
    let identity = block.sign(key, author, &SystemRandom::new()).unwrap();
    (identity.block().to_bytes(), identity.auth().to_bytes())
}

fn check(block: &[u8; 96], auth: &[u8; 4096], has_author: bool, rule: Rule, status: PspStatus) {
    let (answer, kvm) = finish(block, auth, has_author);
    assert_eq!(answer.unwrap_err().firmware, Some(FirmwareError::Psp(status)));
    assert_eq!(kvm.broken_rule(), Some(rule));
    assert_eq!(kvm.snp_guest(), None);
}

#[test]
fn right_blocks_are_taken() {
    let (key, author) = (support::key(), support::key());
    for author in [None, Some(&author)] {
        let (bytes, auth) = sign(block(), &key, author);
        let (answer, kvm) = finish(&bytes, &auth, author.is_some());
        assert_eq!(answer, Ok(()), "{:?}", kvm.broken_rule());
        assert_eq!(kvm.snp_guest().unwrap().id_block, Some(bytes));
    }
}

#[test]
fn blocks_for_another_launch_are_refused() {
    // E1: an owner's signature binds one digest and one policy.
    let key = support::key();
    let launch_digest = LaunchDigest::from_bytes([1; 48]);
    let (bytes, auth) = sign(IdBlock { launch_digest, ..block() }, &key, None);
    check(&bytes, &auth, false, Rule::IdBlockDigest, PspStatus::BAD_MEASUREMENT);
    let policy = GuestPolicy::from_bits(0x2_0000).unwrap();
    let (bytes, auth) = sign(IdBlock { policy, ..block() }, &key, None);
    check(&bytes, &auth, false, Rule::IdBlockPolicy, PspStatus::POLICY_FAILURE);
    let (mut bytes, auth) = sign(block(), &key, None);
    bytes[0x50] = 2;
    check(&bytes, &auth, false, Rule::IdBlockVersion, PspStatus::INVALID_PARAM);
}

#[test]
fn blocks_signed_by_another_key_are_refused() {
    let (key, author) = (support::key(), support::key());
    let (bytes, auth) = sign(block(), &key, Some(&author));
    let (status, rule) = (PspStatus::BAD_SIGNATURE, Rule::IdBlockSignature);
    for offset in [0x40, 0x90, 0x244, 0x28c, 0x680, 0x6c8, 0x884] {
        let mut changed = auth.clone();
        changed[offset] ^= 1;
        check(&bytes, &changed, true, rule, status);
    }
    let mut changed = bytes;
    changed[0x54] ^= 1; // E12: the guest's security version
    check(&changed, &auth, true, rule, status);
    // No author signed this ID key.
    let (bytes, auth) = sign(block(), &key, None);
    check(&bytes, &auth, true, rule, status);
}
