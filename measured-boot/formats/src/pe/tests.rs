// SPDX-License-Identifier: Apache-2.0
use proptest::prelude::*;

use super::*;

/// Offset of the COFF header in [`image`].
const COFF: usize = 0x44;
const OPTIONAL: usize = COFF + COFF_SIZE;
const TABLE: usize = OPTIONAL + 160;
const HEADERS_SIZE: usize = 0x200;

/// A small image: headers, two sections in file order, a tail, certificates.
fn image() -> Vec<u8> {
    build(&[(0x200, 0x300), (0x500, 0x100)], 0x20, 0x48)
}

/// An image with these sections (offset, size), a tail behind them and certificates.
fn build(sections: &[(u32, u32)], tail: usize, certificates: usize) -> Vec<u8> {
    let filled = sections.iter().filter(|(_, size)| *size > 0);
    let end = filled.map(|(at, size)| (at + size) as usize).max().unwrap_or(HEADERS_SIZE);
    let mut file: Vec<u8> = (0..end + tail).map(|index| (index % 251) as u8).collect();
    file[..HEADERS_SIZE].fill(0);
    let certificates_at = file.len() as u32;
    let mut put = |offset: usize, bytes: &[u8]| {
        file[offset..offset + bytes.len()].copy_from_slice(bytes);
    };
    put(0, b"MZ");
    put(PE_POINTER, &0x40_u32.to_le_bytes());
    put(0x40, b"PE\0\0");
    put(COFF, &X86_64.to_le_bytes());
    put(COFF + 2, &(sections.len() as u16).to_le_bytes());
    put(COFF + 16, &160_u16.to_le_bytes());
    put(OPTIONAL, &PE32_PLUS.to_le_bytes());
    put(OPTIONAL + HEADER_SIZE, &(HEADERS_SIZE as u32).to_le_bytes());
    put(OPTIONAL + CHECKSUM, &[0xc5; 4]);
    put(OPTIONAL + DIRECTORIES, &6_u32.to_le_bytes());
    for (index, (at, size)) in sections.iter().enumerate() {
        put(TABLE + index * SECTION_SIZE + SECTION_RAW_AT, &at.to_le_bytes());
        put(TABLE + index * SECTION_SIZE + SECTION_RAW_SIZE, &size.to_le_bytes());
    }
    if certificates > 0 {
        put(OPTIONAL + CERTIFICATE_ENTRY, &certificates_at.to_le_bytes());
        put(OPTIONAL + CERTIFICATE_ENTRY + 4, &(certificates as u32).to_le_bytes());
    }
    file.resize(file.len() + certificates, 0xce);
    file
}

/// The file without checksum, certificate directory and certificates.
fn expected(file: &[u8], certificates: usize) -> Vec<u8> {
    let checksum = OPTIONAL + CHECKSUM;
    let entry = OPTIONAL + CERTIFICATE_ENTRY;
    [&file[..checksum], &file[checksum + 4..entry], &file[entry + 8..file.len() - certificates]]
        .concat()
}

fn hashed(file: &[u8]) -> Vec<u8> {
    PeImage::parse(file).unwrap().hashed().collect::<Vec<_>>().concat()
}

fn refused(offset: usize, bytes: &[u8]) -> PeError {
    let mut file = image();
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
    PeImage::parse(&file).unwrap_err()
}

#[test]
fn hashes_all_but_checksum_and_certificates() {
    let file = image();
    let pe = PeImage::parse(&file).unwrap();
    assert_eq!(hashed(&file), expected(&file, 0x48));
    assert_eq!(pe.certificates(), [0xce; 0x48]);
    let sha384 = digest::digest(&digest::SHA384, &expected(&file, 0x48));
    assert_eq!(pe.sha384(), sha384.as_ref());
    let sha256 = digest::digest(&digest::SHA256, &expected(&file, 0x48));
    assert_eq!(pe.sha256(), sha256.as_ref());
}

#[test]
fn signing_does_not_change_the_hash() {
    let signed = build(&[(0x200, 0x300)], 0, 0x48);
    let unsigned = build(&[(0x200, 0x300)], 0, 0);
    let hash = |file: &[u8]| PeImage::parse(file).unwrap().sha384();
    assert_eq!(hash(&signed), hash(&unsigned));
    assert!(PeImage::parse(&unsigned).unwrap().certificates().is_empty());
    let mut checksum = signed.clone();
    checksum[OPTIONAL + CHECKSUM] ^= 1;
    assert_eq!(hash(&checksum), hash(&signed));
}

#[test]
fn hashes_sections_in_the_order_of_the_file() {
    // Another order of their headers, and one without data whose offset means nothing.
    let ordered = build(&[(0x200, 0x300), (0x500, 0x100), (0, 0)], 0, 0);
    let swapped = build(&[(0x500, 0x100), (0x7777, 0), (0x200, 0x300)], 0, 0);
    assert_eq!(hashed(&ordered)[HEADERS_SIZE - 12..], hashed(&swapped)[HEADERS_SIZE - 12..]);
}

#[test]
fn reads_images_without_a_certificate_directory() {
    let mut file = build(&[(0x200, 0x300)], 0, 0);
    file[OPTIONAL + DIRECTORIES] = 4;
    let checksum = OPTIONAL + CHECKSUM;
    assert_eq!(hashed(&file), [&file[..checksum], &file[checksum + 4..]].concat());
}

#[test]
fn refuses_what_is_no_image() {
    assert_eq!(PeImage::parse(&[]), Err(PeError::NotPe));
    assert_eq!(refused(0, b"ZM"), PeError::NotPe);
    assert_eq!(refused(0x40, b"NE"), PeError::NotPe);
    assert_eq!(refused(PE_POINTER, &u32::MAX.to_le_bytes()), PeError::Truncated);
    let large = vec![0; MAX_KERNEL_SIZE + 1];
    assert_eq!(PeImage::parse(&large), Err(PeError::TooLarge));
    let machine = 0xaa64_u16;
    assert_eq!(refused(COFF, &machine.to_le_bytes()), PeError::WrongMachine { machine });
    let magic = 0x010b_u16;
    assert_eq!(refused(OPTIONAL, &magic.to_le_bytes()), PeError::NotPe32Plus { magic });
}

#[test]
fn refuses_bad_headers() {
    let count = 97_u16;
    assert_eq!(refused(COFF + 2, &count.to_le_bytes()), PeError::TooManySections { count });
    let size = 111_u16;
    assert_eq!(refused(COFF + 16, &size.to_le_bytes()), PeError::ShortOptionalHeader { size });
    for count in [7_u32, 17, u32::MAX] {
        let error = refused(OPTIONAL + DIRECTORIES, &count.to_le_bytes());
        assert_eq!(error, PeError::TooManyDirectories { count });
    }
    let table_end = TABLE as u32 + 2 * SECTION_SIZE as u32;
    for size in [0, table_end - 1, image().len() as u32 + 1, u32::MAX] {
        let error = refused(OPTIONAL + HEADER_SIZE, &size.to_le_bytes());
        assert_eq!(error, PeError::BadHeaderSize { size });
    }
}

#[test]
fn refuses_images_with_gaps_and_overlaps() {
    // E1: firmware would hash other bytes of such an image than it runs.
    let error = |sections: &[(u32, u32)]| PeImage::parse(&build(sections, 0, 0)).unwrap_err();
    let at = |offset, expected| PeError::NotContiguous { offset, expected };
    assert_eq!(error(&[(0x201, 0x300)]), at(0x201, 0x200));
    assert_eq!(error(&[(0x1ff, 0x300)]), at(0x1ff, 0x200));
    assert_eq!(error(&[(0x200, 0x300), (0x501, 0x10)]), at(0x501, 0x500));
    assert_eq!(error(&[(0x200, 0x300), (0x4ff, 0x10)]), at(0x4ff, 0x500));
    assert_eq!(error(&[(0x200, 0x300), (0x200, 0x300)]), at(0x200, 0x500));
    let section = PeError::OutOfBounds { part: "section" };
    let size_at = TABLE + SECTION_SIZE + SECTION_RAW_SIZE;
    // Into the tail is well, into the certificates and behind the file is not.
    let mut file = image();
    file[size_at..size_at + 4].copy_from_slice(&0x120_u32.to_le_bytes());
    assert!(PeImage::parse(&file).is_ok());
    for size in [0x121_u32, 0x169, u32::MAX] {
        assert_eq!(refused(size_at, &size.to_le_bytes()), section);
    }
}

#[test]
fn refuses_certificates_elsewhere_than_at_the_end() {
    // E1: what the directory names is not hashed, so it must not name code.
    let end = image().len() as u32;
    for (at, size) in [
        (end - 0x48, 0x47_u32),
        (end - 0x48, 0x49),
        (0x300, 0x100),
        (end, 0),
        (0, 1),
        (1, u32::MAX),
    ] {
        let entry = [at.to_le_bytes(), size.to_le_bytes()].concat();
        let error = refused(OPTIONAL + CERTIFICATE_ENTRY, &entry);
        assert_eq!(error, PeError::CertificatesNotLast, "{at:#x} {size:#x}");
    }
    // The whole file but its start.
    let entry = [4_u32.to_le_bytes(), (end - 4).to_le_bytes()].concat();
    let error = refused(OPTIONAL + CERTIFICATE_ENTRY, &entry);
    assert_eq!(error, PeError::OutOfBounds { part: "section" });
}

#[test]
fn every_mutated_byte_changes_the_hash_or_is_named() {
    let file = image();
    let parsed = PeImage::parse(&file).unwrap();
    let not_hashed = |position: usize| {
        (OPTIONAL + CHECKSUM..OPTIONAL + CHECKSUM + 4).contains(&position)
            || (OPTIONAL + CERTIFICATE_ENTRY..OPTIONAL + CERTIFICATE_ENTRY + 8).contains(&position)
            || position >= file.len() - 0x48
    };
    for position in 0..file.len() {
        for flip in [0x01, 0x10, 0x80, 0xff] {
            let mut mutated = file.clone();
            mutated[position] ^= flip;
            if let Ok(read) = PeImage::parse(&mutated) {
                let same = read.sha384() == parsed.sha384();
                assert_eq!(same, not_hashed(position), "byte {position:#x}");
            }
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    let file = image();
    for length in 0..file.len() {
        assert!(PeImage::parse(&file[..length]).is_err(), "accepted at {length}");
    }
}

proptest! {
    #[test]
    fn hashes_each_byte_once(
        sizes in proptest::collection::vec(0_u32..200, 0..6),
        tail in 0_usize..50,
        certificates in 0_usize..50,
    ) {
        let mut next = HEADERS_SIZE as u32;
        let sections: Vec<_> = sizes
            .into_iter()
            .map(|size| {
                let section = (next, size);
                next += size;
                section
            })
            .collect();
        let file = build(&sections, tail, certificates);
        prop_assert_eq!(hashed(&file), expected(&file, certificates));
    }

    #[test]
    fn never_panics(
        bytes in proptest::collection::vec(any::<u8>(), 0x1c0),
        keep in proptest::collection::vec(any::<bool>(), 0x1c0),
    ) {
        let mut file = image();
        for ((old, new), keep) in file[0x3c..].iter_mut().zip(bytes).zip(keep) {
            if !keep {
                *old = new;
            }
        }
        let _ = PeImage::parse(&file);
        file[PE_POINTER..PE_POINTER + 8].copy_from_slice(b"\x40\0\0\0PE\0\0");
        if let Ok(pe) = PeImage::parse(&file) {
            prop_assert!(pe.hashed().map(<[u8]>::len).sum::<usize>() <= file.len());
        }
    }
}
