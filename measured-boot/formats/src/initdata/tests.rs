// SPDX-License-Identifier: Apache-2.0
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;

/// A document as an owner may write it by hand, with comments and both string forms.
const DOCUMENT: &str = r#"# who we are
version = "0.1.0"
algorithm = "sha384"

[data]
"casemate.toml" = """
[broker]
url = "https://broker.example"
"""
"policy.toml" = '''containers = []'''
"#;

/// SHA-384 of [`DOCUMENT`], computed with coreutils' `sha384sum`.
const DOCUMENT_SHA384: &str = "c57e6b75f60100c3121604a63d72ecf27549572c8d1ee9bd\
     43b63aa33b35a804c3b79c05d26c20d417ff2cb4cddaabfe";

#[test]
fn keeps_bytes_algorithm_and_entries() {
    let initdata = Initdata::parse(DOCUMENT.as_bytes()).unwrap();
    assert_eq!(initdata.as_bytes(), DOCUMENT.as_bytes());
    assert_eq!(initdata.algorithm(), Algorithm::Sha384);
    assert_eq!(initdata.entry("policy.toml"), Some("containers = []"));
    assert_eq!(initdata.entry("absent"), None);
    let names: Vec<_> = initdata.entries().map(|(name, _)| name).collect();
    assert_eq!(names, ["casemate.toml", "policy.toml"]);
}

#[test]
fn digest_covers_the_whole_file() {
    let initdata = Initdata::parse(DOCUMENT.as_bytes()).unwrap();
    assert_eq!(hex::encode(initdata.digest()), DOCUMENT_SHA384);
    // A comment counts: the same data under another comment is another document.
    let commented = DOCUMENT.replace("who we are", "who we were");
    let other = Initdata::parse(commented.as_bytes()).unwrap();
    assert!(other.entries().eq(initdata.entries()));
    assert_ne!(other.digest(), initdata.digest());
}

#[test]
fn digest_is_padded_or_truncated_to_the_field() {
    for algorithm in Algorithm::ALL {
        let initdata = Initdata::build(algorithm, [("a", "b")]).unwrap();
        let digest = initdata.digest();
        assert_eq!(initdata.host_data(), digest[..32]);
        let known = digest.len().min(48);
        assert_eq!(initdata.mr_config_id()[..known], digest[..known]);
        assert!(initdata.mr_config_id()[known..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn builds_a_readable_document() {
    let initdata = Initdata::build(
        Algorithm::Sha256,
        [("policy.toml", "a = 1\nb = \"\\\\\"\n"), ("casemate.toml", "")],
    )
    .unwrap();
    // The digest of what owners deployed hangs on this form: a change here is a change for them.
    assert_eq!(
        initdata.as_str(),
        "version = \"0.1.0\"\nalgorithm = \"sha256\"\n\n[data]\n\"casemate.toml\" = \"\"\n\
         \"policy.toml\" = '''\na = 1\nb = \"\\\\\"\n'''\n"
    );
}

#[test]
fn build_rejects_an_entry_given_twice() {
    let error = Initdata::build(Algorithm::Sha256, [("a", "1"), ("a", "2")]).unwrap_err();
    assert!(matches!(error, InitdataError::DuplicateEntry { name } if name == "a"));
}

fn refused(document: impl AsRef<[u8]>) -> InitdataError {
    Initdata::parse(document.as_ref()).unwrap_err()
}

#[test]
fn rejects_each_departure_from_the_format() {
    const HEAD: &str = "version = \"0.1.0\"\nalgorithm = \"sha256\"\n";

    assert!(matches!(refused([b'v', 0xff]), InitdataError::NotUtf8 { offset: 1, .. }));
    assert!(matches!(refused("version = "), InitdataError::Syntax { line: 1, .. }));
    assert!(matches!(refused(""), InitdataError::MissingKey { key: "version" }));
    assert!(matches!(
        refused("version = \"0.1.0\"\n[data]"),
        InitdataError::MissingKey { key: "algorithm" }
    ));
    assert!(matches!(refused(HEAD), InitdataError::MissingKey { key: "data" }));
    assert!(matches!(
        refused(HEAD.replace("0.1.0", "0.2.0")),
        InitdataError::UnknownVersion { version } if version == "0.2.0"
    ));
    assert!(matches!(
        refused(HEAD.replace("sha256", "SHA256")),
        InitdataError::UnknownAlgorithm { algorithm } if algorithm == "SHA256"
    ));
    assert!(matches!(
        refused(HEAD.replace("\"0.1.0\"", "1")),
        InitdataError::WrongType { key } if key == "version"
    ));
    assert!(matches!(
        refused(format!("{HEAD}data = 1")),
        InitdataError::WrongType { key } if key == "data"
    ));
    // D16: unknown keys
    assert!(matches!(
        refused(format!("{HEAD}extra = 1\n[data]")),
        InitdataError::UnknownKey { key } if key == "extra"
    ));
    assert!(matches!(
        refused(format!("{HEAD}[data]\n[data2]")),
        InitdataError::UnknownKey { key } if key == "data2"
    ));
    assert!(matches!(
        refused(format!("{HEAD}[data]\na = 1")),
        InitdataError::WrongType { key } if key == "a"
    ));
    assert!(matches!(
        refused(format!("{HEAD}[data]\n\"\" = \"\"")),
        InitdataError::BadEntryName { length: 0 }
    ));
    let long = "n".repeat(MAX_ENTRY_NAME + 1);
    assert!(matches!(
        refused(format!("{HEAD}[data]\n{long} = \"\"")),
        InitdataError::BadEntryName { length: 257 }
    ));
}

#[test]
fn rejects_duplicate_keys() {
    let twice = format!("{DOCUMENT}\"policy.toml\" = 'containers = [1]'\n");
    assert!(matches!(refused(twice), InitdataError::DuplicateKey { line: 11 }));
    let twice = DOCUMENT.replacen("algorithm", "version = \"0.1.0\"\nalgorithm", 1);
    assert!(matches!(refused(twice), InitdataError::DuplicateKey { .. }));
    let twice = format!("{DOCUMENT}[data]\n");
    assert!(matches!(refused(twice), InitdataError::DuplicateKey { .. }));
    // The same name, bare and quoted.
    let twice = format!("{DOCUMENT}a = ''\n\"a\" = ''\n");
    assert!(matches!(refused(twice), InitdataError::DuplicateKey { .. }));
}

#[test]
fn rejects_what_exceeds_the_caps() {
    let fitting = format!("{DOCUMENT}#{}", "x".repeat(MAX_DOCUMENT_SIZE - DOCUMENT.len() - 1));
    assert!(Initdata::parse(fitting.as_bytes()).is_ok());
    assert!(matches!(refused(fitting + "x"), InitdataError::DocumentTooLarge));

    let entries = |count| (0..count).map(|number| (format!("e{number}"), ""));
    assert!(Initdata::build(Algorithm::Sha256, entries(MAX_ENTRIES)).is_ok());
    let error = Initdata::build(Algorithm::Sha256, entries(MAX_ENTRIES + 1)).unwrap_err();
    assert!(matches!(error, InitdataError::TooManyEntries));
}

#[test]
fn deep_nesting_is_an_error_not_a_crash() {
    let nested = format!("{DOCUMENT}deep = {}", "[".repeat(500_000));
    assert!(matches!(refused(nested), InitdataError::Syntax { .. }));
    let nested = format!("{DOCUMENT}deep{} = ''", ".a".repeat(100_000));
    refused(nested);
}

#[test]
fn annotation_is_deterministic_and_reads_back() {
    let initdata = Initdata::parse(DOCUMENT.as_bytes()).unwrap();
    let annotation = initdata.to_annotation().unwrap();
    assert_eq!(annotation, initdata.to_annotation().unwrap());
    assert_eq!(Initdata::from_annotation(&annotation).unwrap(), initdata);
    // RFC 1952: no flags, time zero, operating system "unknown".
    let header = STANDARD.decode(annotation).unwrap()[..10].to_vec();
    assert_eq!(header, [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255]);
}

#[test]
fn rejects_bad_annotations() {
    let annotation = Initdata::parse(DOCUMENT.as_bytes()).unwrap().to_annotation().unwrap();
    let refused = |annotation: &str| Initdata::from_annotation(annotation).unwrap_err();

    assert!(matches!(refused("a b="), InitdataError::Base64 { .. }));
    assert!(matches!(refused(&format!("{annotation}\n")), InitdataError::Base64 { .. }));
    assert!(matches!(
        refused(&"A".repeat(MAX_ANNOTATION_SIZE + 4)),
        InitdataError::AnnotationTooLarge
    ));
    let gzip = STANDARD.decode(&annotation).unwrap();
    let with = |bytes: &[u8]| STANDARD.encode(bytes);
    for length in 0..gzip.len() {
        let cut = refused(&with(&gzip[..length]));
        assert!(matches!(cut, InitdataError::GzipTruncated), "{length}: {cut:?}");
    }
    let mut checksum = gzip.clone();
    checksum[gzip.len() - 8] ^= 1;
    assert!(matches!(refused(&with(&checksum)), InitdataError::Gzip { .. }));
    assert!(matches!(refused(&with(b"not gzip at all")), InitdataError::Gzip { .. }));
    assert!(matches!(
        refused(&with(&[gzip.as_slice(), b"x"].concat())),
        InitdataError::TrailingData { length: 1 }
    ));
    // D16: a second document behind the first
    let double = [gzip.clone(), gzip].concat();
    assert!(matches!(refused(&with(&double)), InitdataError::TrailingData { .. }));
}

#[test]
fn stops_a_gzip_bomb_at_the_cap() {
    let bomb = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::copy(&mut std::io::Read::take(std::io::repeat(b'#'), 100 << 20), &mut encoder)
            .unwrap();
        encoder.finish().unwrap()
    };
    assert!(bomb.len() < MAX_COMPRESSED_SIZE);
    let error = Initdata::from_annotation(&STANDARD.encode(bomb)).unwrap_err();
    assert!(matches!(error, InitdataError::DocumentTooLarge));
}

#[test]
fn rejects_a_document_that_does_not_compress_enough() {
    let mut state = 1_u32;
    let noise: String = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b' ' + (state >> 24) as u8 % 64)
    })
    .take(300_000)
    .collect();
    let initdata = Initdata::build(Algorithm::Sha256, [("noise", noise)]).unwrap();
    assert!(matches!(initdata.to_annotation(), Err(InitdataError::CompressedTooLarge)));
    assert!(matches!(initdata.to_device_image(), Err(InitdataError::CompressedTooLarge)));
}

#[test]
fn device_is_padded_and_reads_back() {
    let initdata = Initdata::parse(DOCUMENT.as_bytes()).unwrap();
    let device = initdata.to_device_image().unwrap();
    assert_eq!(device.len(), 512);
    assert_eq!(device[..8], *b"initdata");
    assert_eq!(device[10..16], [0; 6]);
    assert_eq!(Initdata::from_device_image(&device).unwrap(), initdata);
    // The host may serve a larger device of zeros.
    let mut larger = device;
    larger.resize(4096, 0);
    assert_eq!(Initdata::from_device_image(&larger).unwrap(), initdata);
}

#[test]
fn rejects_bad_devices() {
    let device = Initdata::parse(DOCUMENT.as_bytes()).unwrap().to_device_image().unwrap();
    let refused = |device: &[u8]| Initdata::from_device_image(device).unwrap_err();

    assert!(matches!(refused(b"Initdata"), InitdataError::BadMagic));
    assert!(matches!(refused(&vec![0; MAX_DEVICE_SIZE + 1]), InitdataError::DeviceTooLarge));
    assert!(matches!(refused(&device[..15]), InitdataError::DeviceTruncated));
    let mut dirty = device.clone();
    dirty[511] = 1;
    assert!(matches!(refused(&dirty), InitdataError::DirtyPadding { offset: 511 }));
    let mut long = device.clone();
    long[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(matches!(refused(&long), InitdataError::CompressedTooLarge));
    let mut long = device;
    long[8..16].copy_from_slice(&497_u64.to_le_bytes());
    assert!(matches!(refused(&long), InitdataError::DeviceTruncated));
}

#[test]
fn every_truncation_of_a_device_is_refused_or_the_same() {
    let initdata = Initdata::parse(DOCUMENT.as_bytes()).unwrap();
    let device = initdata.to_device_image().unwrap();
    let data_end = 16 + usize::from(device[8]) + 256 * usize::from(device[9]);
    for length in 0..device.len() {
        match Initdata::from_device_image(&device[..length]) {
            Ok(read) => {
                assert!(length >= data_end, "accepted at {length}");
                assert_eq!(read, initdata);
            }
            Err(_) => assert!(length < data_end, "refused at {length}"),
        }
    }
}

#[test]
fn every_mutated_byte_is_refused_or_harmless() {
    let initdata = Initdata::parse(DOCUMENT.as_bytes()).unwrap();
    let device = initdata.to_device_image().unwrap();
    for position in 0..device.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut mutated = device.clone();
            mutated[position] ^= flip;
            if let Ok(read) = Initdata::from_device_image(&mutated) {
                assert_eq!(read, initdata, "byte {position} changed the document unnoticed");
            }
        }
    }
    // D16: each byte of the document itself either breaks it or changes its digest.
    for position in 0..DOCUMENT.len() {
        let mut mutated = DOCUMENT.as_bytes().to_vec();
        mutated[position] ^= 0x01;
        if let Ok(read) = Initdata::parse(&mutated) {
            assert_ne!(read.host_data(), initdata.host_data());
        }
    }
}

proptest! {
    #[test]
    fn round_trips(
        entries in proptest::collection::btree_map("[ -~]{1,12}|\\PC{1,8}", "\\PC{0,40}|[\t\r\n\0-~]{0,40}", 0..6),
        algorithm in proptest::sample::select(&Algorithm::ALL),
    ) {
        let initdata = Initdata::build(algorithm, entries.clone()).unwrap();
        let read: std::collections::BTreeMap<_, _> = initdata
            .entries()
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .collect();
        prop_assert_eq!(read, entries);
        let annotation = initdata.to_annotation().unwrap();
        prop_assert_eq!(&Initdata::from_annotation(&annotation).unwrap(), &initdata);
        let device = initdata.to_device_image().unwrap();
        prop_assert_eq!(device.len() % 512, 0);
        prop_assert_eq!(&Initdata::from_device_image(&device).unwrap(), &initdata);
    }

    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = Initdata::parse(&bytes);
        let _ = Initdata::from_device_image(&bytes);
        let _ = Initdata::from_device_image(&[b"initdata\x40\0\0\0\0\0\0\0", bytes.as_slice()].concat());
        let _ = Initdata::from_annotation(&String::from_utf8_lossy(&bytes));
    }
}
