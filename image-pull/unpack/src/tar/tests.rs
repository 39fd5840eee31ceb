// SPDX-License-Identifier: Apache-2.0
//! Archives of every form, honest and not.

#![allow(clippy::as_conversions, reason = "small numbers")]
#![allow(clippy::allow_attributes, reason = "shared with code that is")]

use super::*;

#[path = "../../tests/archive/mod.rs"]
mod archive;

use archive::Archive;
use archive::Header;
use archive::seal;

/// Everything that an archive holds: its entries with their content, holes as zeros.
fn read(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, TarError> {
    let mut reader = TarReader::new(bytes);
    let mut found = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut content = Vec::new();
        while let Some(chunk) = reader.next_chunk()? {
            match chunk {
                Chunk::Data(data) => content.extend_from_slice(data),
                Chunk::Hole(size) if size < 1 << 20 => {
                    content.resize(content.len() + size as usize, 0)
                }
                Chunk::Hole(_) => return Err(TarError::Sparse),
            }
        }
        found.push((entry, content));
    }
    Ok(found)
}

fn one(archive: Archive) -> (Entry, Vec<u8>) {
    let mut found = read(&archive.finish()).unwrap();
    assert_eq!(found.len(), 1);
    found.remove(0)
}

fn fails(archive: Archive) -> TarError {
    read(&archive.finish()).unwrap_err()
}

fn gnu(kind: u8, path: &str) -> Header {
    Header { magic: *b"ustar  \0", ..Header::new(kind, path) }
}

#[test]
fn reads_each_kind() {
    let archive = Archive::default()
        .dir("d/")
        .file("d/f", "content")
        .symlink("s", "d/f")
        .hard_link("h", "d/f")
        .add(Header::new(b'6', "fifo"), "")
        .add(Header::new(b'3', "chr"), "")
        .add(Header::new(b'4', "blk"), "")
        .add(Header::new(0, "old"), "x")
        .add(Header::new(0, "olddir/"), "")
        .add(Header::new(b'7', "contiguous"), "y");
    let found = read(&archive.finish()).unwrap();
    let target = || b"d/f".to_vec();
    let kinds: Vec<_> = found.iter().map(|(e, _)| e.kind.clone()).collect();
    assert_eq!(
        kinds,
        [
            Kind::Directory,
            Kind::File { size: 7 },
            Kind::Symlink { target: target() },
            Kind::HardLink { target: target() },
            Kind::Fifo,
            Kind::Device,
            Kind::Device,
            Kind::File { size: 1 },
            Kind::Directory,
            Kind::File { size: 1 },
        ]
    );
    assert_eq!(found[1].1, b"content");
    assert_eq!(found[1].0.mtime, Time { seconds: 1_700_000_000, nanoseconds: 0 });
    assert_eq!(found[1].0.mode, 0o644);
}

#[test]
fn ends_with_two_zero_blocks_or_the_input() {
    let archive = Archive::default().file("a", "1");
    let whole = archive.clone().finish();
    assert_eq!(read(&whole).unwrap().len(), 1);
    assert_eq!(read(&whole[..whole.len() - 512]).unwrap().len(), 1);
    assert_eq!(read(&whole[..whole.len() - 1024]).unwrap().len(), 1);
    let broken = archive.raw(&[0; 512]).file("b", "2");
    assert!(matches!(fails(broken), TarError::Header { what: "end of archive" }));
}

#[test]
fn refuses_every_truncation_inside_an_entry() {
    let archive = Archive::default().pax(&[("path", b"long")]).file("a", [7; 700]);
    let whole = archive.finish();
    // Header and content of the PAX header, header and 700 bytes of the file; the padding of the
    // last entry may be missing.
    for at in 1..512 * 3 + 700 {
        assert!(matches!(read(&whole[..at]), Err(TarError::Truncated)), "{at}");
    }
}

#[test]
fn survives_every_changed_byte() {
    let sparse = sparse_1_0(&[(0, 3), (1000, 2)], 2000, b"abcde");
    let archive = Archive::default().pax(&[("path", b"p"), ("mtime", b"1.5")]).file("a", "1");
    let whole =
        archive.add(gnu(b'L', "././@LongLink"), "long\0").file("l", "2").raw(&sparse).finish();
    for at in 0..whole.len() {
        for change in [0x01, 0x08, 0x40, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= change;
            let found = read(&bytes);
            // A header's checksum covers all of it; the end of the checksum's own field is free.
            assert!(found.is_err() || at > 512 || (154..156).contains(&at), "{at} {change:#x}");
        }
    }
}

#[test]
fn long_names_of_gnu_and_pax() {
    let long = "x/".repeat(120) + "end";
    let by_gnu = Archive::default()
        .add(gnu(b'L', "././@LongLink"), format!("{long}\0"))
        .add(gnu(b'K', "././@LongLink"), format!("{long}2\0"))
        .add(Header { link: b"short".to_vec(), ..gnu(b'2', "short") }, "");
    let (entry, _) = one(by_gnu);
    assert_eq!(entry.path, long.as_bytes());
    assert_eq!(entry.kind, Kind::Symlink { target: format!("{long}2").into_bytes() });

    let records = [("path", long.as_bytes()), ("linkpath", b"target")];
    let (entry, _) = one(Archive::default().pax(&records).symlink("short", "short"));
    assert_eq!(entry.path, long.as_bytes());
    assert_eq!(entry.kind, Kind::Symlink { target: b"target".to_vec() });
}

#[test]
fn prefix_of_ustar() {
    let mut block = Header::new(b'5', "name").block();
    block[345..351].copy_from_slice(b"prefix");
    seal(&mut block);
    assert_eq!(one(Archive::default().raw(&block)).0.path, b"prefix/name");
    // In a GNU header the field holds times.
    let mut block = gnu(b'5', "name").block();
    block[345..356].copy_from_slice(b"14524731234");
    seal(&mut block);
    assert_eq!(one(Archive::default().raw(&block)).0.path, b"name");
    // Go before 1.8 put a prefix there.
    let mut block = gnu(b'5', "name").block();
    block[345..361].copy_from_slice(b"prefix/and/other");
    seal(&mut block);
    assert_eq!(one(Archive::default().raw(&block)).0.path, b"prefix/and/other/name");
}

// C5: PAX overrides.
#[test]
fn pax_records_replace_fields() {
    let records: &[(&str, &[u8])] = &[
        ("path", b"other"),
        ("size", b"3"),
        ("uid", b"70000"),
        ("gid", b"4000000000"),
        ("mtime", b"5.25"),
        ("SCHILY.xattr.user.a", b"v\0w\n"),
        ("SCHILY.xattr.user.empty", b""),
        ("uname", b""),
        ("LIBARCHIVE.creationtime", b"1"),
    ];
    let header = Header { size: 0, ..Header::new(b'0', "name") };
    let (entry, content) =
        one(Archive::default().pax(records).raw(&header.block()).content(b"abc"));
    assert_eq!(entry.path, b"other");
    assert_eq!(entry.kind, Kind::File { size: 3 });
    assert_eq!(content, b"abc");
    assert_eq!((entry.uid, entry.gid), (70_000, 4_000_000_000));
    assert_eq!(entry.mtime, Time { seconds: 5, nanoseconds: 250_000_000 });
    let xattrs = [(b"user.a".to_vec(), b"v\0w\n".to_vec()), (b"user.empty".to_vec(), vec![])];
    assert_eq!(entry.xattrs, xattrs);
    // An empty value leaves the field of the header.
    let (entry, _) = one(Archive::default().pax(&[("path", b"")]).file("name", ""));
    assert_eq!(entry.path, b"name");
}

#[test]
fn refuses_bad_pax_values() {
    for (key, value) in [
        ("size", &b"-1"[..]),
        ("size", b"18446744073709551616"),
        ("size", b"0x10"),
        ("uid", b"4294967296"),
        ("gid", b"-1"),
        ("mtime", b"now"),
        ("path", b"a\0b"),
    ] {
        let found = fails(Archive::default().pax(&[(key, value)]).file("a", ""));
        assert!(matches!(found, TarError::Pax), "{key}: {found}");
    }
}

#[test]
fn global_headers_have_no_effect() {
    let content = archive::record("path", b"evil");
    let archive = Archive::default().add(Header::new(b'g', "g"), content.clone()).file("a", "1");
    assert_eq!(one(archive).0.path, b"a");
    let between = Archive::default()
        .pax(&[("path", b"b")])
        .add(Header::new(b'g', "g"), content)
        .file("a", "1");
    assert!(matches!(fails(between), TarError::Header { .. }));
}

#[test]
fn extended_headers_have_a_cap_and_an_entry() {
    for kind in [b'x', b'g', b'L', b'K'] {
        // C5: a long name of 8 GiB must not be read.
        let huge = Header { size: (1 << 20) + 1, ..Header::new(kind, "huge") };
        let found = fails(Archive::default().raw(&huge.block()));
        assert!(matches!(found, TarError::Special { .. }), "{kind}: {found}");
    }
    let alone = Archive::default().pax(&[("path", b"a")]);
    assert!(matches!(fails(alone), TarError::Truncated));
}

#[test]
fn numbers_of_both_forms() {
    let large = Header { size: 1 << 40, ..Header::new(b'0', "large") };
    let mut reader =
        TarReader::new(Archive::default().raw(&large.block()).finish().leak() as &[u8]);
    let entry = reader.next_entry().unwrap().unwrap();
    assert_eq!(entry.kind, Kind::File { size: 1 << 40 });

    let with = |at: usize, bytes: &[u8]| {
        let mut block = Header::new(b'0', "n").block();
        block[at..at + bytes.len()].copy_from_slice(bytes);
        seal(&mut block);
        read(&Archive::default().raw(&block).finish())
    };
    // Negative time in base 256.
    let found = with(136, &[0xff; 12]).unwrap();
    assert_eq!(found[0].0.mtime.seconds, -1);
    assert!(matches!(with(124, &[0xff; 12]), Err(TarError::Header { what: "size" })));
    assert!(matches!(with(108, &[0xff; 8]), Err(TarError::Header { what: "uid" })));
    assert!(matches!(with(124, b"0000000009\0"), Err(TarError::Header { what: "size" })));
    assert!(matches!(with(124, b"-000000001\0"), Err(TarError::Header { what: "size" })));
    assert!(with(116, b"  17 \0\0\0").is_ok_and(|f| f[0].0.gid == 0o17));
    assert!(with(108, &[0; 8]).is_ok_and(|f| f[0].0.uid == 0));
}

#[test]
fn refuses_unknown_types_and_bad_checksums() {
    for kind in [b'V', b'M', b'N', b'X', b'D', b'A', 1, 255] {
        let found = fails(Archive::default().add(Header::new(kind, "a"), ""));
        assert!(matches!(found, TarError::Kind { kind: k, .. } if k == kind), "{kind}: {found}");
    }
    let mut block = Header::new(b'0', "a").block();
    block[0] = b'b';
    assert!(matches!(fails(Archive::default().raw(&block)), TarError::Checksum));
}

fn sparse_1_0(runs: &[(u64, u64)], real_size: u64, data: &[u8]) -> Vec<u8> {
    let mut map = format!("{}\n", runs.len());
    for (offset, size) in runs {
        map += &format!("{offset}\n{size}\n");
    }
    let mut content = map.into_bytes();
    content.resize(content.len().next_multiple_of(512), 0);
    content.extend_from_slice(data);
    let size = real_size.to_string();
    let records = [
        ("GNU.sparse.major", &b"1"[..]),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"sparse"),
        ("GNU.sparse.realsize", size.as_bytes()),
    ];
    let mut bytes =
        Archive::default().pax(&records).file("GNUSparseFile.0/sparse", content).finish();
    bytes.truncate(bytes.len() - 1024);
    bytes
}

fn sparse_gnu(runs: &[(u64, u64)], real_size: u64, data: &[u8]) -> Archive {
    let entry = |(offset, size): &(u64, u64)| format!("{offset:011o}\0{size:011o}\0").into_bytes();
    let header = Header { size: data.len() as u64, ..gnu(b'S', "sparse") };
    let mut block = header.block();
    let (first, rest) = runs.split_at(runs.len().min(4));
    for (at, run) in first.iter().enumerate() {
        block[386 + at * 24..][..24].copy_from_slice(&entry(run));
    }
    block[482] = u8::from(!rest.is_empty());
    block[483..495].copy_from_slice(format!("{real_size:011o}\0").as_bytes());
    seal(&mut block);
    let mut archive = Archive::default().raw(&block);
    let mut chunks = rest.chunks(21).peekable();
    while let Some(chunk) = chunks.next() {
        let mut block = [0; 512];
        for (at, run) in chunk.iter().enumerate() {
            block[at * 24..][..24].copy_from_slice(&entry(run));
        }
        block[504] = u8::from(chunks.peek().is_some());
        archive = archive.raw(&block);
    }
    archive.content(data)
}

fn sparse_0(records: &[(&str, &[u8])], data: &[u8]) -> Archive {
    Archive::default().pax(records).file("sparse", data)
}

// C5: GNU sparse.
#[test]
fn sparse_files_of_all_forms() {
    let mut expected = vec![0; 2000];
    expected[..3].copy_from_slice(b"abc");
    expected[1000..1002].copy_from_slice(b"de");
    let runs = [(0, 3), (1000, 2)];
    let forms = [
        Archive::default().raw(&sparse_1_0(&runs, 2000, b"abcde")),
        sparse_gnu(&runs, 2000, b"abcde"),
        sparse_0(&[("GNU.sparse.size", b"2000"), ("GNU.sparse.map", b"0,3,1000,2")], b"abcde"),
        sparse_0(
            &[
                ("GNU.sparse.size", b"2000"),
                ("GNU.sparse.numblocks", b"2"),
                ("GNU.sparse.offset", b"0"),
                ("GNU.sparse.numbytes", b"3"),
                ("GNU.sparse.offset", b"1000"),
                ("GNU.sparse.numbytes", b"2"),
            ],
            b"abcde",
        ),
    ];
    for (form, archive) in forms.into_iter().enumerate() {
        let found = read(&archive.file("after", "z").finish()).unwrap();
        assert_eq!(found[0].0.path, b"sparse", "{form}");
        assert_eq!(found[0].0.kind, Kind::File { size: 2000 }, "{form}");
        assert_eq!(found[0].1, expected, "{form}");
        assert_eq!(found[1].1, b"z", "{form}");
    }
}

#[test]
fn sparse_maps_of_many_blocks() {
    let runs: Vec<_> = (0..60).map(|i| (i * 100, 1)).collect();
    let data = [b'x'; 60];
    for archive in
        [sparse_gnu(&runs, 6000, &data), Archive::default().raw(&sparse_1_0(&runs, 6000, &data))]
    {
        let (_, content) = one(archive);
        assert_eq!(content.len(), 6000);
        assert!(content.iter().enumerate().all(|(at, b)| (*b == b'x') == (at % 100 == 0)));
    }
}

#[test]
fn refuses_bad_sparse_maps() {
    for (runs, size, data) in [
        (&[(10, 2), (5, 2)][..], 100, &b"abcd"[..]), // out of order
        (&[(0, 3), (2, 2)], 100, b"abcde"),          // overlap
        (&[(0, 5)], 4, b"abcde"),                    // beyond the end
        (&[(0, 5)], 10, b"abcd"),                    // less data
        (&[(0, 3)], 10, b"abcd"),                    // more data
        (&[(u64::MAX, 3)], 10, b"abc"),              // overflow
    ] {
        let found = fails(Archive::default().raw(&sparse_1_0(runs, size, data)));
        assert!(matches!(found, TarError::Sparse), "{runs:?}: {found}");
    }
    for records in [
        &[("GNU.sparse.map", &b"0,3"[..])][..],
        &[("GNU.sparse.size", b"9"), ("GNU.sparse.map", b"0,3,1")],
        &[("GNU.sparse.size", b"9"), ("GNU.sparse.map", b"0,,3")],
        &[("GNU.sparse.size", b"9"), ("GNU.sparse.map", b"0,3"), ("GNU.sparse.numblocks", b"2")],
        &[("GNU.sparse.size", b"9"), ("GNU.sparse.numbytes", b"3")],
        &[("GNU.sparse.major", b"2"), ("GNU.sparse.minor", b"0")],
    ] {
        let found = read(&sparse_0(records, b"abc").finish());
        assert!(matches!(found, Err(TarError::Sparse)), "{records:?}");
    }
    // Only files can be sparse.
    let records: &[(&str, &[u8])] = &[("GNU.sparse.size", b"9"), ("GNU.sparse.map", b"0,0")];
    let found = fails(Archive::default().pax(records).dir("sparse"));
    assert!(matches!(found, TarError::Sparse));
    // A map of more lines than there is data.
    let endless = Archive::default().raw(&sparse_1_0(&[], 5, b"")).finish();
    assert_eq!(read(&endless).unwrap()[0].1, [0; 5]);
}

proptest::proptest! {
    #[test]
    fn never_panics(bytes in proptest::collection::vec(0_u8..=255, 0..2048)) {
        let _ = read(&bytes);
    }

    #[test]
    fn round_trip(
        entries in proptest::collection::vec(
            ("[a-z]{1,90}", proptest::collection::vec(0_u8..=255, 0..1500), 0_u64..1 << 33),
            0..5,
        ),
    ) {
        let archive = entries.iter().fold(Archive::default(), |archive, (path, content, mtime)| {
            archive.add(Header { mtime: *mtime, ..Header::new(b'0', path) }, content)
        });
        let found = read(&archive.finish()).unwrap();
        proptest::prop_assert_eq!(found.len(), entries.len());
        for ((entry, read), (path, content, mtime)) in found.iter().zip(&entries) {
            proptest::prop_assert_eq!(&entry.path, path.as_bytes());
            proptest::prop_assert_eq!(read, content);
            proptest::prop_assert_eq!(entry.mtime.seconds, *mtime as i64);
        }
    }
}
