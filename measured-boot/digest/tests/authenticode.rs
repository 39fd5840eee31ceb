// SPDX-License-Identifier: Apache-2.0
//! The Authenticode digest of kernels.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]

mod fixtures;

use casemate_launch_digest::tdx::AuthenticodeError;
use casemate_launch_digest::tdx::EventDigest;
use casemate_launch_digest::tdx::authenticode_digest;
use proptest::prelude::*;

/// Headers of 0x200 bytes, two sections, data behind them and, if asked for, certificates.
fn pe(certificates: usize) -> Vec<u8> {
    let mut file = vec![0; 0x200];
    file[..2].copy_from_slice(b"MZ");
    file[0x3c] = 0x40;
    file[0x40..0x44].copy_from_slice(b"PE\0\0");
    file[0x46] = 2; // sections
    file[0x54] = 0xf0; // size of the optional header
    let optional = 0x58;
    file[optional..optional + 2].copy_from_slice(&0x20b_u16.to_le_bytes());
    let mut put = |place: usize, value: u32| {
        file[place..place + 4].copy_from_slice(&value.to_le_bytes());
    };
    put(optional + 60, 0x200); // size of the headers
    put(optional + 64, 0xdead_beef); // checksum
    put(optional + 108, 16); // directories
    let table = optional + 0xf0;
    // The second section stands first in the table.
    put(table + 16, 0x100);
    put(table + 20, 0x300);
    put(table + 40 + 16, 0x100);
    put(table + 40 + 20, 0x200);
    if certificates > 0 {
        put(CERTIFICATES, 0x420);
        put(CERTIFICATES + 4, u32::try_from(certificates).unwrap());
    }
    file.extend_from_slice(&[1; 0x100]);
    file.extend_from_slice(&[2; 0x100]);
    file.extend_from_slice(&[3; 0x20]);
    file.extend(std::iter::repeat_n(4, certificates));
    file
}

const CHECKSUM: usize = 0x58 + 64;
const CERTIFICATES: usize = 0x58 + 144;

#[test]
fn covers_all_but_checksum_and_certificates() {
    let plain = pe(0);
    let by_hand =
        [&plain[..CHECKSUM], &plain[CHECKSUM + 4..CERTIFICATES], &plain[CERTIFICATES + 8..]];
    let expected = EventDigest::of(&by_hand.concat());
    assert_eq!(authenticode_digest(&plain), Ok(expected));
    // A signature does not change what it signs.
    assert_eq!(authenticode_digest(&pe(0x40)), Ok(expected));
}

#[test]
fn every_byte_counts_but_those() {
    for file in [pe(0), pe(0x40)] {
        let digest = authenticode_digest(&file).unwrap();
        let free = |index: usize| (CHECKSUM..CHECKSUM + 4).contains(&index) || index >= 0x420;
        for index in 0..file.len() {
            let mut changed = file.clone();
            changed[index] ^= 1;
            match authenticode_digest(&changed) {
                Ok(other) => assert_eq!(other == digest, free(index), "byte {index:#x}"),
                Err(_) => assert!(!free(index), "byte {index:#x}"),
            }
        }
    }
}

#[test]
fn refuses_what_can_be_read_in_two_ways() {
    let with = |place: usize, value: u32| {
        let mut file = pe(0x40);
        file[place..place + 4].copy_from_slice(&value.to_le_bytes());
        authenticode_digest(&file)
    };
    let (optional, table) = (0x58, 0x58 + 0xf0);
    let malformed = Err(AuthenticodeError::Malformed);
    assert_eq!(with(table + 20, 0x280), malformed, "overlapping sections");
    assert_eq!(with(table + 20, 0x308), malformed, "a gap between sections");
    assert_eq!(with(table + 16, 0x8000_0000), malformed, "a section beyond the file");
    assert_eq!(with(optional + 60, 0x100), malformed, "headers that end before the sections");
    assert_eq!(with(optional + 108, 4), malformed, "no directory for certificates");
    assert_eq!(with(CERTIFICATES + 4, 0x38), malformed, "data behind the certificates");
    assert_eq!(with(CERTIFICATES, 0x200), malformed, "certificates inside a section");
    assert_eq!(with(0x40, 0), Err(AuthenticodeError::NotPe));
    assert_eq!(with(optional, 0x10b), Err(AuthenticodeError::NotPe));
    assert_eq!(with(0x46, 97), Err(AuthenticodeError::TooManySections { count: 97 }));
    let odd = [pe(0), vec![0]].concat();
    let size = odd.len();
    assert_eq!(authenticode_digest(&odd), Err(AuthenticodeError::UnalignedSize { size }));
    let file = pe(0x40);
    for size in (0..file.len()).step_by(8) {
        // Without its certificates the file is whole, but its directory says otherwise.
        assert!(authenticode_digest(&file[..size]).is_err(), "{size:#x}");
    }
}

/// Debian signs its kernels: the signature holds the Authenticode digest that the signer computed.
#[test]
fn agrees_with_the_signer_of_a_kernel() {
    let folder = fixtures::workspace().join("target/casemate/inputs/kernel/boot");
    let kernel = std::fs::read_dir(&folder).ok().and_then(|mut files| {
        files.find_map(|file| {
            let path = file.ok()?.path();
            path.file_name()?.to_str()?.starts_with("vmlinuz").then_some(path)
        })
    });
    let Some(kernel) = kernel else {
        fixtures::skip::<()>(&format!("no kernel in {}", folder.display()));
        return;
    };
    let mut file = std::fs::read(kernel).unwrap();
    let word = |file: &[u8], place: usize| {
        usize::try_from(u32::from_le_bytes(file[place..place + 4].try_into().unwrap())).unwrap()
    };
    let optional = word(&file, 0x3c) + 24;
    let (start, size) = (word(&file, optional + 144), word(&file, optional + 148));
    assert!(size > 0, "the kernel is not signed");
    let certificates = file[start..start + size].to_vec();

    // The signer used SHA-256, so hash the parts again that our digest covers: the file without
    // checksum, directory entry and certificates.
    let digest = authenticode_digest(&file).unwrap();
    file.truncate(start);
    file.drain(optional + 144..optional + 152);
    file.drain(optional + 64..optional + 68);
    assert_eq!(digest, EventDigest::of(&file));
    let signed = ring::digest::digest(&ring::digest::SHA256, &file);
    assert!(certificates.windows(32).any(|window| window == signed.as_ref()));
}

proptest! {
    #[test]
    fn hostile_files_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        let _ = authenticode_digest(&bytes);
        let mut file = pe(0x40);
        for (index, byte) in bytes.iter().enumerate().take(64) {
            let place = (index * 37) % 0x200;
            file[place] = *byte;
        }
        let _ = authenticode_digest(&file);
    }
}
