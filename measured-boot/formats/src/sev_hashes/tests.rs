// SPDX-License-Identifier: Apache-2.0
use proptest::prelude::*;

use super::*;

/// The table of an empty kernel, an empty initrd and `console=ttyS0 loglevel=7`, as made by
/// sev-snp-measure 0.0.13.
const KNOWN_TABLE: &str = "\
    06d63894224fc94cb479a793d411fd21a800\
    d82dd09720bd944caa78e7714d36ab2a3200321c8eec6a77bad179511397f913a083067ad8cb737bb260aacbfe8df70fc50a\
    31f7ba442f3ad74b9af141e29169781d3200e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\
    3794e74dd2ab7f42b835d5b172d2045b3200e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\
    0000000000000000";

fn sample() -> KernelHashes {
    KernelHashes::of(b"kernel", b"initrd", b"quiet").unwrap()
}

#[test]
fn writes_the_known_table() {
    let hashes = KernelHashes::of(b"", b"", b"console=ttyS0 loglevel=7").unwrap();
    assert_eq!(hex::encode(hashes.to_table()), KNOWN_TABLE);
}

#[test]
fn hashes_the_command_line_with_one_nul_and_untrimmed() {
    let line = |line: &[u8]| KernelHashes::of(b"", b"", line).unwrap().cmdline;
    assert_ne!(line(b"quiet"), line(b"quiet "));
    assert_eq!(line(b"quiet"), sha256(&[b"quiet\0"]));
}

#[test]
fn refuses_command_lines_that_the_kernel_would_read_differently() {
    assert_eq!(
        KernelHashes::of(b"", b"", b"quiet\0init=/bin/sh"),
        Err(KernelHashesError::NulInCommandLine)
    );
    let fitting = vec![b'a'; MAX_COMMAND_LINE];
    assert!(KernelHashes::of(b"", b"", &fitting).is_ok());
    let long = vec![b'a'; MAX_COMMAND_LINE + 1];
    assert_eq!(
        KernelHashes::of(b"", b"", &long),
        Err(KernelHashesError::CommandLineTooLong { length: 2048 })
    );
}

#[test]
fn refuses_a_table_that_lacks_an_entry() {
    // E1: the firmware accepts unchecked what its table does not name.
    for (position, entry) in [(18, "command line"), (68, "initrd"), (118, "kernel")] {
        let mut table = sample().to_table();
        table[position] ^= 1;
        assert_eq!(
            KernelHashes::from_table(&table),
            Err(KernelHashesError::MissingEntry { entry })
        );
    }
    for (length, entry) in [(18_u16, "command line"), (68, "initrd"), (118, "kernel")] {
        let mut table = sample().to_table();
        table[16..18].copy_from_slice(&length.to_le_bytes());
        assert_eq!(
            KernelHashes::from_table(&table),
            Err(KernelHashesError::MissingEntry { entry })
        );
    }
}

#[test]
fn finds_the_table_wherever_it_stands_in_a_page() {
    let mut page = vec![0; 4096];
    assert_eq!(KernelHashes::in_page(&page), Ok(None));
    assert_eq!(KernelHashes::in_page(&[]), Ok(None));
    for offset in [0, 1, 0xc00, 4096 - TABLE_SIZE] {
        let mut page = page.clone();
        page[offset..][..TABLE_SIZE].copy_from_slice(&sample().to_table());
        assert_eq!(KernelHashes::in_page(&page), Ok(Some(sample())));
        // E1: without the kernel's entry.
        page[offset + 118] ^= 1;
        let error = KernelHashesError::MissingEntry { entry: "kernel" };
        assert_eq!(KernelHashes::in_page(&page), Err(error));
    }
    let offset = 4096 - TABLE_SIZE + 8;
    page[offset..].copy_from_slice(&sample().to_table()[..TABLE_SIZE - 8]);
    let error = KernelHashesError::WrongSize { size: TABLE_SIZE - 8 };
    assert_eq!(KernelHashes::in_page(&page), Err(error));
}

#[test]
fn refuses_entries_that_stand_twice_or_out_of_order() {
    let table = sample().to_table();
    let (header, rest) = table.split_at(18);
    let (entries, padding) = rest.split_at(150);
    let [cmdline, initrd, kernel] = [&entries[..50], &entries[50..100], &entries[100..]];
    let read = |entries: [&[u8]; 3]| {
        KernelHashes::from_table(&[header, &entries.concat(), padding].concat())
    };
    assert_eq!(read([cmdline, initrd, kernel]), Ok(sample()));
    for entries in [
        [cmdline, kernel, initrd],
        [initrd, cmdline, kernel],
        [initrd, kernel, cmdline],
        [kernel, cmdline, initrd],
        [kernel, initrd, cmdline],
    ] {
        assert_eq!(read(entries), Err(KernelHashesError::WrongOrder));
    }
    for (entries, entry) in [
        ([cmdline, cmdline, kernel], "command line"),
        ([cmdline, initrd, initrd], "initrd"),
        ([kernel, initrd, kernel], "kernel"),
    ] {
        assert_eq!(read(entries), Err(KernelHashesError::DuplicateEntry { entry }));
    }
}

#[test]
fn refuses_tables_that_are_cut_inside_an_entry() {
    for length in 19_u16..168 {
        let mut table = sample().to_table();
        table[16..18].copy_from_slice(&length.to_le_bytes());
        let error = KernelHashes::from_table(&table).unwrap_err();
        match (length - 18) % 50 {
            0 => assert!(matches!(error, KernelHashesError::MissingEntry { .. })),
            1..16 => assert_eq!(error, KernelHashesError::BadLength { length }),
            _ => assert!(matches!(error, KernelHashesError::BadEntry { .. })),
        }
    }
}

#[test]
fn refuses_other_forms() {
    let table = sample().to_table();
    let with = |position: usize, byte: u8| {
        let mut table = table;
        table[position] = byte;
        KernelHashes::from_table(&table).unwrap_err()
    };
    assert_eq!(with(0, 0), KernelHashesError::BadHeader);
    assert_eq!(with(16, 176), KernelHashesError::BadLength { length: 176 });
    assert_eq!(with(16, 177), KernelHashesError::BadLength { length: 177 });
    assert_eq!(with(34, 49), KernelHashesError::BadEntry { entry: "command line" });
    assert_eq!(with(175, 1), KernelHashesError::DirtyPadding);
    for size in 0..table.len() {
        assert_eq!(
            KernelHashes::from_table(&table[..size]),
            Err(KernelHashesError::WrongSize { size })
        );
    }
}

#[test]
fn every_mutated_byte_is_refused_or_seen() {
    let table = sample().to_table();
    for position in 0..table.len() {
        for flip in 1..=255 {
            let mut mutated = table;
            mutated[position] ^= flip;
            if let Ok(hashes) = KernelHashes::from_table(&mutated) {
                assert_ne!(hashes, sample());
                assert_eq!(hashes.to_table(), mutated);
            }
        }
    }
}

#[test]
fn page_holds_the_table_at_its_offset() {
    let page = sample().to_page(0x81_0c00).unwrap();
    assert_eq!(page[0xc00..0xc00 + TABLE_SIZE], sample().to_table());
    assert!(page[..0xc00].iter().chain(&page[0xc00 + TABLE_SIZE..]).all(|byte| *byte == 0));
    assert!(sample().to_page(0x1000 - 176).is_ok());
    let address = 0x1000 - 175;
    assert_eq!(sample().to_page(address), Err(KernelHashesError::OutsidePage { address }));
}

proptest! {
    #[test]
    fn round_trips(cmdline: [u8; 32], initrd: [u8; 32], kernel: [u8; 32]) {
        let hashes = KernelHashes { cmdline, initrd, kernel };
        prop_assert_eq!(KernelHashes::from_table(&hashes.to_table()), Ok(hashes));
    }

    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = KernelHashes::from_table(&bytes);
    }
}
