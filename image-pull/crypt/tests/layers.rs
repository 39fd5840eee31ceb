// SPDX-License-Identifier: Apache-2.0
//! Encrypted layers: formats of others, honest round trips, and content that was tampered with.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]
#![allow(clippy::as_conversions, reason = "small numbers")]
#![allow(clippy::allow_attributes, reason = "not every lint speaks up in tests")]

use std::collections::BTreeMap;
use std::io;
use std::io::Read as _;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use casemate_image_crypt::Digest;
use casemate_image_crypt::Kek;
use casemate_image_crypt::Kid;
use casemate_image_crypt::LayerEncryption;
use casemate_image_crypt::LayerKeyError;
use casemate_image_crypt::OpenError;
use casemate_image_crypt::OptionsError;
use casemate_image_crypt::PacketError;
use casemate_image_crypt::encrypt_layer;
use ring::hmac;
use serde_json::Value;
use serde_json::json;

const PUBOPTS: &str = "org.opencontainers.image.enc.pubopts";
const KEYS: &str = "org.opencontainers.image.enc.keys.provider.attestation-agent";

fn kek(byte: u8) -> Kek {
    Kek::try_from([byte; 32].as_slice()).unwrap()
}

fn kid() -> Kid {
    "kbs:///default/key/1".parse().unwrap()
}

type Annotations = BTreeMap<String, String>;

/// Ciphertext and annotations of `plain` under the key-encryption key 1.
fn encrypt(plain: &[u8]) -> (Vec<u8>, Annotations) {
    let mut ciphertext = Vec::new();
    let sealed = encrypt_layer(plain, &mut ciphertext, Digest::of(plain), &kid(), &kek(1)).unwrap();
    assert_eq!(sealed.digest, Digest::of(&ciphertext));
    assert_eq!(sealed.size, ciphertext.len() as u64);
    (ciphertext, sealed.annotations)
}

fn open(ciphertext: &[u8], annotations: &Annotations) -> Result<Vec<u8>, OpenError<io::Error>> {
    let key = LayerEncryption::from_annotations(annotations).unwrap().unwrap_key(&kek(1)).unwrap();
    key.open(ciphertext, |plain| {
        let mut bytes = Vec::new();
        plain.read_to_end(&mut bytes).map(|_| bytes)
    })
}

fn key_error(annotations: &Annotations) -> LayerKeyError {
    let found = LayerEncryption::from_annotations(annotations);
    found.and_then(|e| e.unwrap_key(&kek(1)).map(|_| ())).unwrap_err()
}

fn json_of(annotations: &Annotations, name: &str) -> Value {
    serde_json::from_slice(&BASE64.decode(&annotations[name]).unwrap()).unwrap()
}

fn change(annotations: &Annotations, name: &str, value: &Value) -> Annotations {
    let mut changed = annotations.clone();
    changed.insert(name.to_owned(), BASE64.encode(value.to_string()));
    changed
}

#[test]
fn round_trip_of_every_size() {
    for size in [0, 1, 15, 16, 17, 65_535, 65_536, 65_537, 300_000] {
        let plain: Vec<u8> = (0..size).map(|i: u32| (i % 251) as u8).collect();
        let (ciphertext, annotations) = encrypt(&plain);
        assert_eq!(ciphertext.len(), plain.len());
        assert!(size < 16 || ciphertext != plain);
        assert_eq!(open(&ciphertext, &annotations).unwrap(), plain, "{size}");
    }
}

#[test]
fn every_layer_has_a_key_of_its_own() {
    let (first, second) = (encrypt(&[0; 64]), encrypt(&[0; 64]));
    assert_ne!(first.0, second.0);
    assert_ne!(first.1, second.1);
}

/// The format written by hand from its description: what another implementation would make.
#[test]
fn layers_of_another_implementation_open() {
    use aes::cipher::BlockCipherEncrypt as _;
    use aes::cipher::KeyInit as _;
    let (key, nonce) = ([0x42; 32], [0xff; 16]); // the counter wraps around at once
    let plain = b"sixteen bytes...and some more, and a third block";
    let block_cipher = aes::Aes256::new(&key.into());
    let mut ciphertext = plain.to_vec();
    for (index, chunk) in ciphertext.chunks_mut(16).enumerate() {
        let counter = u128::from_be_bytes(nonce).wrapping_add(index as u128);
        let mut block = counter.to_be_bytes().into();
        block_cipher.encrypt_block(&mut block);
        chunk.iter_mut().zip(block.iter()).for_each(|(byte, pad)| *byte ^= pad);
    }
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &ciphertext);
    let private = json!({"symkey": BASE64.encode(key), "digest": Digest::of(plain),
        "cipheroptions": {"nonce": BASE64.encode(nonce)}});
    let public = json!({"cipher": "AES_256_CTR_HMAC_SHA256", "hmac": BASE64.encode(mac.as_ref()),
        "cipheroptions": {}});
    let mut wrapped = private.to_string().into_bytes();
    let aead = ring::aead::UnboundKey::new(&ring::aead::AES_256_GCM, &[1; 32]).unwrap();
    ring::aead::LessSafeKey::new(aead)
        .seal_in_place_append_tag(
            ring::aead::Nonce::assume_unique_for_key([9; 12]),
            ring::aead::Aad::empty(),
            &mut wrapped,
        )
        .unwrap();
    // Version 1 of the packet.
    let packet = json!({"kid": "kbs:///default/key/1", "wrapped_data": BASE64.encode(&wrapped),
        "iv": BASE64.encode([9; 12]), "wrap_type": "A256GCM"});
    let annotations = BTreeMap::from([
        (PUBOPTS.to_owned(), BASE64.encode(public.to_string())),
        (KEYS.to_owned(), BASE64.encode(packet.to_string())),
        // Recipients of other key providers are not ours to read.
        (KEYS.replace("attestation-agent", "other"), "nonsense".to_owned()),
    ]);
    assert_eq!(open(&ciphertext, &annotations).unwrap(), plain);
}

/// The other direction: what we write has every field that other implementations read.
#[test]
fn annotations_are_what_others_read() {
    let (_, annotations) = encrypt(b"layer");
    assert_eq!(annotations.keys().collect::<Vec<_>>(), [KEYS, PUBOPTS]);
    let public = json_of(&annotations, PUBOPTS);
    assert_eq!(public["cipher"], "AES_256_CTR_HMAC_SHA256");
    assert_eq!(BASE64.decode(public["hmac"].as_str().unwrap()).unwrap().len(), 32);
    assert_eq!(public["cipheroptions"], json!({}));
    let packet = json_of(&annotations, KEYS);
    assert_eq!(packet["kid"], "kbs:///default/key/1");
    assert_eq!(packet["version"], "0.1.0");
    // Ciphertext and tag of the private options.
    let mut wrapped = BASE64.decode(packet["wrapped_data"].as_str().unwrap()).unwrap();
    let iv = BASE64.decode(packet["iv"].as_str().unwrap()).unwrap();
    let aead = ring::aead::UnboundKey::new(&ring::aead::AES_256_GCM, &[1; 32]).unwrap();
    let nonce = ring::aead::Nonce::try_assume_unique_for_key(&iv).unwrap();
    let private = ring::aead::LessSafeKey::new(aead)
        .open_in_place(nonce, ring::aead::Aad::empty(), &mut wrapped)
        .unwrap();
    let private: Value = serde_json::from_slice(private).unwrap();
    assert_eq!(private["digest"], json!(Digest::of(b"layer")));
    assert_eq!(BASE64.decode(private["symkey"].as_str().unwrap()).unwrap().len(), 32);
    let nonce = private["cipheroptions"]["nonce"].as_str().unwrap();
    assert_eq!(BASE64.decode(nonce).unwrap().len(), 16);
}

fn fixture(name: &str) -> Option<Vec<u8>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/vectors/encryption")
        .join(name);
    let found = std::fs::read(&path).ok();
    if found.is_none() {
        assert!(std::env::var_os("CASEMATE_REQUIRE").is_none(), "missing {}", path.display());
        eprintln!("skipped: no vector {}", path.display());
    }
    found
}

fn with_packet(packet: &[u8]) -> Annotations {
    let (_, mut annotations) = encrypt(b"x");
    annotations.insert(KEYS.to_owned(), BASE64.encode(packet));
    annotations
}

/// A packet that the attestation agent's sample key broker client made.
#[test]
fn vector_of_the_attestation_agent() {
    let Some(packet) = fixture("sample_kbc_annotation.json") else { return };
    let annotations = with_packet(&packet);
    let encryption = LayerEncryption::from_annotations(&annotations).unwrap();
    assert_eq!(encryption.kid(), &kid());
    let error = encryption.unwrap_key(&kek(1)).err().unwrap();
    assert!(matches!(error, LayerKeyError::Packet { source: PacketError::Unwrap }), "{error}");
    // The key that is written into that client for everybody to read.
    let sample: [u8; 32] = [
        217, 155, 119, 5, 176, 186, 122, 22, 130, 149, 179, 163, 54, 114, 112, 176, 221, 155, 55,
        27, 245, 20, 202, 139, 155, 167, 240, 163, 55, 17, 218, 234,
    ];
    assert!(encryption.unwrap_key(&Kek::try_from(sample.as_slice()).unwrap()).is_ok());
}

/// A packet of a release that wrote the prefix of key names twice: refused, see [`Kid`].
#[test]
fn vector_with_a_doubled_prefix() {
    let Some(packet) = fixture("cdh-annotation-v1.json") else { return };
    let error = key_error(&with_packet(&packet));
    assert!(matches!(error, LayerKeyError::Packet { source: PacketError::Kid { .. } }), "{error}");
    // With the name put right it is a packet like any other.
    let text = String::from_utf8(packet).unwrap().replace("kbs:///kbs:///", "kbs:///");
    assert!(LayerEncryption::from_annotations(&with_packet(text.as_bytes())).is_ok());
}

// C9: a flipped bit anywhere.
#[test]
fn altered_ciphertext_is_refused() {
    let (ciphertext, annotations) = encrypt(b"some bytes of a layer");
    for at in 0..ciphertext.len() {
        for bit in 0..8 {
            let mut altered = ciphertext.clone();
            altered[at] ^= 1 << bit;
            assert!(matches!(open(&altered, &annotations), Err(OpenError::Mac)), "{at}.{bit}");
        }
        assert!(matches!(open(&ciphertext[..at], &annotations), Err(OpenError::Mac)), "{at}");
    }
    let longer = [&ciphertext[..], b"x"].concat();
    assert!(matches!(open(&longer, &annotations), Err(OpenError::Mac)));
}

// C9: what a consumer made of altered bytes does not come out, also if it did not read to the end.
#[test]
fn nothing_comes_out_unverified() {
    let (mut ciphertext, annotations) = encrypt(&[7; 100_000]);
    *ciphertext.last_mut().unwrap() ^= 1;
    let key =
        || LayerEncryption::from_annotations(&annotations).unwrap().unwrap_key(&kek(1)).unwrap();
    /// Stands for a quarantine: removes what it owns when dropped.
    struct Quarantine<'a>(&'a std::cell::Cell<bool>);
    impl Drop for Quarantine<'_> {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    let removed = std::cell::Cell::new(false);
    let result = key().open(ciphertext.as_slice(), |plain| {
        let mut first = [0; 10];
        plain.read_exact(&mut first)?;
        assert_eq!(first, [7; 10], "the beginning is not altered");
        Ok::<_, io::Error>(Quarantine(&removed))
    });
    assert!(matches!(result, Err(OpenError::Mac)));
    assert!(removed.get());
    // A consumer's own failure is told as such.
    let result = key().open(ciphertext.as_slice(), |_| Err::<(), _>(io::Error::other("full")));
    assert!(matches!(result, Err(OpenError::Consume { .. })));
}

// C9: HMAC missing, empty, of another layer.
#[test]
fn the_mac_must_be_there_and_right() {
    let (ciphertext, annotations) = encrypt(b"layer");
    for value in [None, Some(json!(null)), Some(json!("")), Some(json!("AAAA"))] {
        let mut public = json_of(&annotations, PUBOPTS);
        match &value {
            None => drop(public.as_object_mut().unwrap().remove("hmac")),
            Some(value) => public["hmac"] = value.clone(),
        }
        let error = key_error(&change(&annotations, PUBOPTS, &public));
        let is_field = matches!(
            error,
            LayerKeyError::Options { source: OptionsError::Field { name: "hmac" } }
        );
        assert!(is_field, "{value:?}: {error}");
    }
    let mut public = json_of(&annotations, PUBOPTS);
    public["hmac"] = json!(BASE64.encode([0; 32]));
    let other = change(&annotations, PUBOPTS, &public);
    assert!(matches!(open(&ciphertext, &other), Err(OpenError::Mac)));
}

// C9: the wrong key, and an altered wrapped key.
#[test]
fn the_key_must_fit() {
    let (_, annotations) = encrypt(b"layer");
    let encryption = LayerEncryption::from_annotations(&annotations).unwrap();
    let error = encryption.unwrap_key(&kek(2)).err().unwrap();
    assert!(matches!(error, LayerKeyError::Packet { source: PacketError::Unwrap }), "{error}");
    let mut packet = json_of(&annotations, KEYS);
    let mut wrapped = BASE64.decode(packet["wrapped_data"].as_str().unwrap()).unwrap();
    wrapped[0] ^= 1;
    packet["wrapped_data"] = json!(BASE64.encode(wrapped));
    let error = key_error(&change(&annotations, KEYS, &packet));
    assert!(matches!(error, LayerKeyError::Packet { source: PacketError::Unwrap }), "{error}");
}

// C9: the wrapped key of another layer.
#[test]
fn keys_of_two_layers_are_not_exchanged() {
    let (first, second) = (encrypt(b"first layer!"), encrypt(b"second layer"));
    assert!(matches!(open(&first.0, &second.1), Err(OpenError::Mac)));
    // With the right key and MAC, but for another content.
    let mut ciphertext = Vec::new();
    let claimed = Digest::of(b"claimed");
    let error =
        encrypt_layer(&b"other"[..], &mut ciphertext, claimed, &kid(), &kek(1)).unwrap_err();
    assert!(error.to_string().contains("differs"), "{error}");
}

#[test]
fn annotations_must_be_there_and_bounded() {
    let (_, annotations) = encrypt(b"layer");
    for name in [PUBOPTS, KEYS] {
        let mut missing = annotations.clone();
        missing.remove(name);
        let error = key_error(&missing);
        assert!(matches!(error, LayerKeyError::NoAnnotation { name: n } if n == name), "{error}");
        for text in ["*", "A", &"A".repeat(1 << 20)] {
            let mut bad = annotations.clone();
            bad.insert(name.to_owned(), text.to_owned());
            let error = key_error(&bad);
            assert!(
                matches!(error, LayerKeyError::BadAnnotation { name: n } if n == name),
                "{error}"
            );
        }
    }
    let mut many = annotations.clone();
    many.insert(KEYS.to_owned(), vec![annotations[KEYS].as_str(); 17].join(","));
    assert!(matches!(key_error(&many), LayerKeyError::Recipients));
}

#[test]
fn any_recipient_is_enough() {
    let (ciphertext, annotations) = encrypt(b"layer");
    let mut stranger = json_of(&annotations, KEYS);
    stranger["kid"] = json!("kbs:///other/key/2");
    stranger["iv"] = json!(BASE64.encode([0; 12]));
    let stranger = BASE64.encode(stranger.to_string());
    let mut both = annotations.clone();
    both.insert(KEYS.to_owned(), format!("{stranger},{}", annotations[KEYS]));
    let encryption = LayerEncryption::from_annotations(&both).unwrap();
    let kids: Vec<_> = encryption.kids().map(Kid::as_str).collect();
    assert_eq!(kids, ["kbs:///other/key/2", "kbs:///default/key/1"]);
    assert_eq!(open(&ciphertext, &both).unwrap(), b"layer");
}

proptest::proptest! {
    #[test]
    fn round_trip(plain in proptest::collection::vec(0_u8..=255, 0..3000)) {
        let (ciphertext, annotations) = encrypt(&plain);
        proptest::prop_assert_eq!(open(&ciphertext, &annotations).unwrap(), plain);
    }

    #[test]
    fn any_annotation_is_read_or_refused(options in ".{0,80}", keys in ".{0,80}") {
        let annotations =
            BTreeMap::from([(PUBOPTS.to_owned(), options), (KEYS.to_owned(), keys)]);
        let _ = LayerEncryption::from_annotations(&annotations);
    }
}
