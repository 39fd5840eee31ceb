// SPDX-License-Identifier: Apache-2.0

use pem_rfc7468::LineEnding;
use proptest::prelude::*;
use ring::rand::SystemRandom;
use ring::signature::ECDSA_P384_SHA384_ASN1_SIGNING;
use ring::signature::EcdsaKeyPair;
use ring::signature::KeyPair as _;
use serde_json::Value;
use serde_json::json;

use super::*;

const NOW: u64 = 1_767_225_600; // 2026-01-01

struct Signer {
    pair: EcdsaKeyPair,
    key: PublicKey,
}

impl Signer {
    fn new() -> Self {
        let (random, algorithm) = (SystemRandom::new(), &ECDSA_P384_SHA384_ASN1_SIGNING);
        let der = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, der.as_ref(), &random).unwrap();
        // RFC 5480: id-ecPublicKey, secp384r1.
        let head = hex::decode("3076301006072a8648ce3d020106052b81040022036200").unwrap();
        let spki = [head.as_slice(), pair.public_key().as_ref()].concat();
        let pem = pem_rfc7468::encode_string("PUBLIC KEY", LineEnding::LF, &spki).unwrap();
        let key = PublicKey::from_pem(&pem).unwrap();
        Self { pair, key }
    }

    fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        self.pair.sign(&SystemRandom::new(), bytes).unwrap().as_ref().to_vec()
    }
}

fn file() -> Value {
    let part = json!({"sha256": "00", "size": 1});
    json!({
        "format": 1, "name": "guest", "version": 7, "expires": "2026-02-01T00:00:00Z",
        "images": [{
            "format": 1, "kind": "production", "parts": {"kernel": part},
            "descriptions": {"image.json": part},
            "snp": [{"vcpu_types": ["EPYC-v4"], "guest_features": 1,
                     "launch_digests": ["01".repeat(48), "02".repeat(48)]}],
            "tdx": {"mrtd": "05".repeat(48), "mrtd_two_pass": "06".repeat(48),
                    "rtmrs": {"rtmr2": "07".repeat(48)}, "not_shown": {"rtmr0": "why"}}}],
        "values": {"tdx_mrtd": ["03".repeat(48)], "snp_launch_measurement": ["04".repeat(48)]},
    })
}

fn open(file: &str) -> Result<Bundle, BundleError> {
    let signer = Signer::new();
    let signature = signer.sign(file.as_bytes());
    let signers = Signers::new(vec![signer.key], 1).unwrap();
    Bundle::open(file.as_bytes(), &[signature], &signers, 7, NOW)
}

#[test]
fn values_and_digests_of_images_come_out() {
    let bundle = open(&file().to_string()).unwrap();
    assert_eq!((bundle.name(), bundle.version()), ("guest", 7));
    assert_eq!(bundle.expires(), NOW + 31 * 86_400);
    let set = |name: &str| -> Vec<u8> { bundle.values()[name].iter().map(|m| m.0[0]).collect() };
    assert_eq!(set(SNP_LAUNCH), [1, 2, 4]);
    assert_eq!(set(crate::TDX_MRTD), [3, 5, 6]);
    assert_eq!(set("tdx_rtmr2"), [7]);
}

#[test]
fn as_many_as_the_threshold_must_have_signed() {
    let file = file().to_string();
    let bytes = file.as_bytes();
    let [a, b, c, stranger] = std::array::from_fn(|_| Signer::new());
    let keys = vec![a.key.clone(), b.key.clone(), c.key.clone()];
    let signers = Signers::new(keys.clone(), 2).unwrap();
    let open = |signatures: &[Vec<u8>]| Bundle::open(bytes, signatures, &signers, 0, NOW);
    assert!(open(&[a.sign(bytes), c.sign(bytes)]).is_ok());
    assert!(open(&[stranger.sign(bytes), b.sign(bytes), vec![], a.sign(bytes)]).is_ok());
    for (signatures, signed) in [
        (vec![], 0),
        (vec![a.sign(bytes)], 1),
        // One signer's two signatures are one signer's.
        (vec![a.sign(bytes), a.sign(bytes)], 1),
        (vec![a.sign(bytes), stranger.sign(bytes)], 1),
        (vec![a.sign(bytes), b.sign(b"other")], 1),
    ] {
        let found = open(&signatures);
        assert!(
            matches!(found, Err(BundleError::Signatures { signed: s, threshold: 2 }) if s == signed)
        );
    }
    let many = vec![a.sign(bytes); MAX_SIGNATURES + 1];
    assert!(matches!(open(&many), Err(BundleError::TooLarge)));
    for (keys, threshold) in
        [(keys.clone(), 0), (keys.clone(), 4), (vec![], 0), (vec![a.key.clone(), a.key.clone()], 2)]
    {
        assert!(matches!(Signers::new(keys, threshold), Err(BundleError::Threshold)));
    }
}

#[test]
fn neither_old_nor_expired_nor_malformed_ones_are_accepted() {
    let changed = |pointer: &str, value: Value| {
        let mut file = file();
        *file.pointer_mut(pointer).unwrap() = value;
        open(&file.to_string())
    };
    assert!(matches!(
        changed("/version", json!(6)),
        Err(BundleError::Rollback { version: 6, min_version: 7 })
    ));
    assert!(matches!(
        changed("/expires", json!("2026-01-01T00:00:00Z")),
        Err(BundleError::Expired { .. })
    ));
    assert!(changed("/expires", json!("2026-01-01T00:00:01Z")).is_ok());
    assert!(matches!(changed("/expires", json!("2026-02-01")), Err(BundleError::Expiry)));
    assert!(matches!(changed("/format", json!(2)), Err(BundleError::Format)));
    assert!(matches!(changed("/images/0/format", json!(2)), Err(BundleError::Format)));
    for (pointer, value) in [
        ("/version", json!(-1)),
        ("/values", json!({"x": ["00"]})),
        ("/images/0/snp/0/launch_digests", json!(["zz"])),
        ("/images/0/snp/0", json!({"launch_digests": []})),
    ] {
        assert!(matches!(changed(pointer, value), Err(BundleError::Json { .. })), "{pointer}");
    }
    // D7: a set or a member that stands twice, and one that is unknown.
    let text = file().to_string();
    for (from, to) in [
        ("\"version\":7", "\"version\":7,\"version\":8"),
        ("\"tdx_mrtd\":", "\"tdx_mrtd\":[],\"tdx_mrtd\":"),
        ("\"version\":7", "\"version\":7,\"verson\":8"),
        ("\"rtmr2\":", "\"rtmr2\":\"\",\"rtmr2\":"),
        ("\"rtmr0\":", "\"rtmr0\":\"\",\"rtmr0\":"),
        ("\"kernel\":", "\"kernel\":{},\"kernel\":"),
    ] {
        let bad = text.replace(from, to);
        assert_ne!(bad, text);
        assert!(matches!(open(&bad), Err(BundleError::Json { .. })), "{to}");
    }
}

#[test]
fn every_changed_byte_is_refused() {
    let signer = Signer::new();
    let signers = Signers::new(vec![signer.key.clone()], 1).unwrap();
    let text = file().to_string();
    let signature = [signer.sign(text.as_bytes())];
    for at in (0..text.len()).step_by(7) {
        let mut bad = text.clone().into_bytes();
        bad[at] ^= 1;
        let found = Bundle::open(&bad, &signature, &signers, 0, NOW);
        assert!(matches!(found, Err(BundleError::Signatures { signed: 0, .. })), "{at}");
    }
}

#[test]
fn keys_are_p384_in_pem() {
    for bad in
        ["", "-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----\n", &" ".repeat(5000)]
    {
        assert_eq!(PublicKey::from_pem(bad), Err(PublicKeyError));
    }
}

#[test]
fn a_changed_or_missing_byte_that_is_signed_is_an_error_or_another_bundle() {
    // D1: an owner's own mistake is noticed or is what the owner says.
    let signer = Signer::new();
    let signers = Signers::new(vec![signer.key.clone()], 1).unwrap();
    let open = |bytes: &[u8]| Bundle::open(bytes, &[signer.sign(bytes)], &signers, 0, NOW);
    let text = file().to_string();
    let good = open(text.as_bytes()).unwrap();
    let mut unseen = 0;
    for at in 0..text.len() {
        assert!(open(&text.as_bytes()[..at]).is_err(), "{at}");
        let mut bad = text.clone().into_bytes();
        bad[at] ^= 1;
        unseen += usize::from(open(&bad).is_ok_and(|bundle| bundle == good));
    }
    // Digests of files, names of vCPUs and reasons are for people.
    assert!(unseen < 60, "{unseen}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn bundles_say_what_was_written(
        name in ".{0,12}",
        version: u64,
        seconds in 1..1_000_000_000_u64,
        sets in proptest::collection::btree_map(
            "[a-z_]{1,8}", proptest::collection::btree_set(any::<[u8; 24]>(), 0..4), 0..5),
    ) {
        let measurement = |half: &[u8; 24]| {
            Measurement([*half, *half].concat().try_into().unwrap())
        };
        let values: ReferenceValues = sets
            .iter()
            .map(|(name, set)| (name.clone(), set.iter().map(measurement).collect()))
            .collect();
        let time = time::OffsetDateTime::from_unix_timestamp((NOW + seconds).cast_signed()).unwrap();
        let (date, (hour, minute, second)) = (time.date(), time.to_hms());
        let text = json!({
            "format": 1, "name": name, "version": version, "values": values,
            "expires": format!("{date}T{hour:02}:{minute:02}:{second:02}Z"),
        })
        .to_string();
        let signer = Signer::new();
        let signature = [signer.sign(text.as_bytes())];
        let signers = Signers::new(vec![signer.key], 1).unwrap();
        let bundle = Bundle::open(text.as_bytes(), &signature, &signers, version, NOW).unwrap();
        prop_assert_eq!((bundle.name(), bundle.version()), (name.as_str(), version));
        prop_assert_eq!((bundle.expires(), bundle.values()), (NOW + seconds, &values));
    }
}
