// SPDX-License-Identifier: Apache-2.0
//! Bundles of reference values: nothing is read that nobody signed. Bundles are signed here, so that
//! readers look behind the signature.

#![no_main]

use std::sync::LazyLock;

use casemate_verifier::Bundle;
use casemate_verifier::BundleError;
use casemate_verifier::PublicKey;
use casemate_verifier::Signers;
use libfuzzer_sys::fuzz_target;
use ring::rand::SystemRandom;
use ring::signature::ECDSA_P384_SHA384_ASN1_SIGNING;
use ring::signature::EcdsaKeyPair;
use ring::signature::KeyPair as _;

struct Owner {
    pair: EcdsaKeyPair,
    random: SystemRandom,
    signers: Signers,
}

static OWNER: LazyLock<Owner> = LazyLock::new(|| {
    let random = SystemRandom::new();
    let algorithm = &ECDSA_P384_SHA384_ASN1_SIGNING;
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("there is randomness");
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).expect("a new key");
    let key = PublicKey::from_pem(&pem(pair.public_key().as_ref())).expect("a key on P-384");
    let signers = Signers::new(vec![key], 1).expect("one of one");
    Owner { pair, random, signers }
});

fuzz_target!(|bytes: &[u8]| {
    let owner = &*OWNER;
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(key) = PublicKey::from_pem(text)
    {
        assert!(Signers::new(vec![key.clone()], 1).is_ok());
        assert!(Signers::new(vec![key.clone(), key], 1).is_err());
    }
    let open =
        |signatures: &[Vec<u8>], least| Bundle::open(bytes, signatures, &owner.signers, least, NOW);
    let forged = open(&[bytes.get(..104).unwrap_or_default().to_vec()], 0);
    assert!(matches!(forged, Err(BundleError::Signatures { signed: 0, .. })));
    if !bytes.starts_with(b"{") {
        return;
    }
    let signature = owner.pair.sign(&owner.random, bytes).expect("a signature").as_ref().to_vec();
    if let Ok(bundle) = open(std::slice::from_ref(&signature), 0) {
        assert!(NOW < bundle.expires());
        if let Some(above) = bundle.version().checked_add(1) {
            assert!(matches!(open(&[signature], above), Err(BundleError::Rollback { .. })));
        }
    }
});

/// A point on P-384 as a file (RFC 5480: id-ecPublicKey, secp384r1).
fn pem(point: &[u8]) -> String {
    use base64::Engine as _;
    const HEAD: [u8; 23] = [
        0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05,
        0x2b, 0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
    ];
    let text = base64::engine::general_purpose::STANDARD.encode([&HEAD, point].concat());
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
}

const NOW: u64 = 1_767_225_600;
