// SPDX-License-Identifier: Apache-2.0

use proptest::prelude::*;

use super::*;
use crate::jwk::tests::example_key;

fn unhex(text: &str) -> Vec<u8> {
    hex::decode(text.replace(' ', "")).unwrap()
}

#[test]
fn concat_kdf_of_rfc_7518_appendix_c() {
    // Z, then the key for A128GCM between "Alice" and "Bob".
    let z = unhex("9e56d91d817135d372834283bf84269cfb316ea3da806a48f6daa7798cfe90c4");
    let key = kdf_round(&z, "A128GCM", b"Alice", b"Bob", 128);
    assert_eq!(URL_SAFE_NO_PAD.encode(&key[..16]), "VqqN6vgjbSBcIijNcacQGg");
}

#[test]
fn agreement_of_rfc_7518_appendix_c() {
    let alice = TeePublicKey::from_coordinates(
        "gI0GAILBdu7T53akrFmMyGcsF3n5dO7MmwNBHKW5SV0",
        "SLW_xSffzlPWrHEVI30DHM_4egVwt3NQqeUD7nMFpps",
    )
    .unwrap();
    assert_eq!(
        example_key().agree(&alice)[..],
        unhex("9e56d91d817135d372834283bf84269cfb316ea3da806a48f6daa7798cfe90c4")
    );
}

#[test]
fn key_wrap_of_rfc_3394_section_4_6() {
    let kek: [u8; 32] = unhex("000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F")
        .try_into()
        .unwrap();
    let data = unhex("00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F");
    let mut wrapped = [0u8; WRAPPED_KEY_BYTES];
    aes_kw::KwAes256::new(&kek.into()).wrap_key(&data, &mut wrapped).unwrap();
    assert_eq!(
        wrapped[..],
        unhex("28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21")
    );
}

#[test]
fn header_has_the_exact_bytes_of_the_ecosystem() {
    let jwe = Jwe::seal(&Secret::from(b"x".to_vec()), example_key().public_key()).unwrap();
    let header = String::from_utf8(URL_SAFE_NO_PAD.decode(&jwe.protected).unwrap()).unwrap();
    let value: serde_json::Value = serde_json::from_str(&header).unwrap();
    let (x, y) = (&value["epk"]["x"], &value["epk"]["y"]);
    assert_eq!(
        header,
        format!(
            r#"{{"alg":"ECDH-ES+A256KW","enc":"A256GCM","epk":{{"crv":"P-256","kty":"EC","x":{x},"y":{y}}}}}"#
        )
    );
    let json = serde_json::to_string(&jwe).unwrap();
    assert!(json.starts_with(r#"{"protected":""#));
    let members: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&json).unwrap();
    let mut names: Vec<_> = members.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["ciphertext", "encrypted_key", "iv", "protected", "tag"]);
}

#[test]
fn two_seals_share_nothing() {
    let seal = || Jwe::seal(&Secret::from(vec![7; 32]), example_key().public_key()).unwrap();
    let (a, b) = (seal(), seal());
    assert_ne!(a.protected, b.protected);
    assert_ne!(a.encrypted_key, b.encrypted_key);
    assert_ne!(a.iv, b.iv);
    assert_ne!(a.ciphertext, b.ciphertext);
}

#[test]
fn another_key_does_not_open_it() {
    // D13: the reply goes to the attested key, and to no other.
    let jwe = Jwe::seal(&Secret::from(vec![7; 32]), example_key().public_key()).unwrap();
    let other = TeeKeyPair::generate().unwrap();
    assert_eq!(jwe.open(&other).err(), Some(JweError::Key));
}

#[test]
fn every_changed_byte_is_refused() {
    let key = example_key();
    let jwe = Jwe::seal(&Secret::from(b"0123456789".to_vec()), key.public_key()).unwrap();
    let text = serde_json::to_vec(&jwe).unwrap();
    for at in 0..text.len() {
        for flip in [0x01, 0x02, 0x20, 0x80] {
            let mut bad = text.clone();
            bad[at] ^= flip;
            let opened =
                serde_json::from_slice::<Jwe>(&bad).ok().and_then(|jwe| jwe.open(&key).ok());
            assert!(opened.is_none(), "byte {at} flipped by {flip:#x}");
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    let key = example_key();
    let jwe = Jwe::seal(&Secret::from(b"0123456789".to_vec()), key.public_key()).unwrap();
    let text = serde_json::to_vec(&jwe).unwrap();
    for end in 0..text.len() {
        assert!(serde_json::from_slice::<Jwe>(&text[..end]).is_err());
    }
    let cut = |change: fn(&mut Jwe)| {
        let mut bad = jwe.clone();
        change(&mut bad);
        bad.open(&key).err()
    };
    assert_eq!(cut(|j| j.tag.truncate(20)), Some(JweError::Member { member: Member::Tag }));
    assert_eq!(cut(|j| j.iv.clear()), Some(JweError::Member { member: Member::Iv }));
    assert_eq!(
        cut(|j| j.encrypted_key.clear()),
        Some(JweError::Member { member: Member::EncryptedKey })
    );
    assert_eq!(cut(|j| j.ciphertext.clear()), Some(JweError::Content));
    assert_eq!(cut(|j| j.protected.clear()), Some(JweError::Header));
}

#[test]
fn other_algorithms_and_members_are_refused() {
    let key = example_key();
    let jwe = Jwe::seal(&Secret::from(b"k".to_vec()), key.public_key()).unwrap();
    let header = String::from_utf8(URL_SAFE_NO_PAD.decode(&jwe.protected).unwrap()).unwrap();
    for (from, to) in [
        ("ECDH-ES+A256KW", "dir"),
        ("ECDH-ES+A256KW", "RSA1_5"),
        ("A256GCM", "A128CBC-HS256"),
        ("P-256", "P-384"),
        ("{\"alg\"", "{\"zip\":\"DEF\",\"alg\""),
        ("\"enc\"", "\"alg\":\"ECDH-ES+A256KW\",\"enc\""),
    ] {
        let mut bad = jwe.clone();
        bad.protected = URL_SAFE_NO_PAD.encode(header.replacen(from, to, 1));
        assert_eq!(bad.open(&key).err(), Some(JweError::Header), "{to}");
    }
    // A header in another order authenticates only if it was sealed so.
    let mut reordered = jwe.clone();
    let value: serde_json::Value = serde_json::from_str(&header).unwrap();
    reordered.protected = URL_SAFE_NO_PAD
        .encode(format!(r#"{{"enc":"A256GCM","alg":"ECDH-ES+A256KW","epk":{}}}"#, value["epk"]));
    assert_eq!(reordered.open(&key).err(), Some(JweError::Content));
}

#[test]
fn the_cap_stands_on_both_sides() {
    let key = example_key();
    let largest = Secret::from(vec![0; MAX_RESOURCE_BYTES]);
    let jwe = Jwe::seal(&largest, key.public_key()).unwrap();
    assert_eq!(jwe.open(&key).unwrap().expose().len(), MAX_RESOURCE_BYTES);
    let over = Secret::from(vec![0; MAX_RESOURCE_BYTES + 1]);
    assert_eq!(Jwe::seal(&over, key.public_key()), Err(JweError::TooLarge));
    let mut long = jwe;
    long.ciphertext = "A".repeat(MAX_CIPHERTEXT_CHARS + 4);
    assert_eq!(long.open(&key).err(), Some(JweError::TooLarge));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn seal_then_open_is_the_identity(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let key = example_key();
        let jwe = Jwe::seal(&Secret::from(bytes.clone()), key.public_key()).unwrap();
        let text = serde_json::to_string(&jwe).unwrap();
        let read: Jwe = serde_json::from_str(&text).unwrap();
        let opened = read.open(&key).unwrap();
        prop_assert_eq!(opened.expose(), &bytes[..]);
    }
}
