// SPDX-License-Identifier: Apache-2.0
//! ID block and ID authentication: what is read is written again byte for byte, and the signatures
//! of whatever was read can be checked.

#![no_main]

use casemate_launch_digest::id_block::IdAuth;
use casemate_launch_digest::id_block::IdBlock;
use casemate_launch_digest::id_block::Identity;
use casemate_launch_digest::id_block::PublicKey;
use casemate_launch_digest::id_block::Signature;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(key) = PublicKey::parse(bytes) {
        assert_eq!(key.to_bytes(), bytes);
    }
    if let Ok(signature) = Signature::parse(bytes) {
        assert_eq!(signature.to_bytes(), bytes);
    }
    // The two files of a launch, one after the other.
    let Some((block, auth)) = bytes.split_at_checked(IdBlock::SIZE) else { return };
    let block = IdBlock::parse(block).inspect(|read| assert_eq!(read.to_bytes(), block));
    let auth = IdAuth::parse(auth).inspect(|read| assert_eq!(read.to_bytes().as_slice(), auth));
    let (Ok(block), Ok(auth)) = (block, auth) else { return };
    let verdict = auth.verify(&block);
    // An identity exists if and only if the signatures are right.
    assert_eq!(Identity::new(block, auth).map(drop), verdict);
});
