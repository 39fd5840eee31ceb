// SPDX-License-Identifier: Apache-2.0
//! What the PSP checks of an ID block.
//!
//! Source: SEV Secure Nested Paging Firmware ABI (56860) 1.57, section 8.18.2, tables 74 and 75.

use casemate_launch::Identity;
use ring::signature::ECDSA_P384_SHA384_FIXED;
use ring::signature::UnparsedPublicKey;

use crate::Rule;

/// Checks an ID block against a launch.
pub(crate) fn check(
    identity: &Identity<'_>,
    has_author_key: bool,
    digest: &[u8; 48],
    policy: u64,
) -> Result<(), Rule> {
    let (block, auth) = (identity.block.as_slice(), identity.auth.as_slice());
    if field::<4>(block, 0x50)? != [1, 0, 0, 0] {
        return Err(Rule::IdBlockVersion);
    }
    check_signature(auth, 0x240, 0x40, block)?;
    if has_author_key {
        let id_key = auth.get(0x240..0x240 + KEY_SIZE).ok_or(Rule::IdBlockSignature)?;
        check_signature(auth, 0x880, 0x680, id_key)?;
    }
    if field::<48>(block, 0)? != *digest {
        return Err(Rule::IdBlockDigest);
    }
    if field::<8>(block, 0x58)? != policy.to_le_bytes() {
        return Err(Rule::IdBlockPolicy);
    }
    Ok(())
}

/// Checks a signature whose numbers are 72 bytes, little endian.
fn check_signature(
    auth: &[u8],
    key_at: usize,
    signature_at: usize,
    message: &[u8],
) -> Result<(), Rule> {
    // The uncompressed form of a point.
    let mut key = vec![4];
    key.extend(big_endian(auth, key_at.saturating_add(4))?);
    key.extend(big_endian(auth, key_at.saturating_add(76))?);
    let mut signature = big_endian(auth, signature_at)?;
    signature.extend(big_endian(auth, signature_at.saturating_add(72))?);
    UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, key)
        .verify(message, &signature)
        .map_err(|_| Rule::IdBlockSignature)
}

fn big_endian(bytes: &[u8], offset: usize) -> Result<Vec<u8>, Rule> {
    let mut number = field::<48>(bytes, offset)?.to_vec();
    number.reverse();
    Ok(number)
}

fn field<const N: usize>(bytes: &[u8], offset: usize) -> Result<[u8; N], Rule> {
    let field = bytes.get(offset..).and_then(|rest| rest.first_chunk());
    field.copied().ok_or(Rule::IdBlockSignature)
}

const KEY_SIZE: usize = 1028;
