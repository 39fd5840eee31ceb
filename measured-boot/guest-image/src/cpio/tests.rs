// SPDX-License-Identifier: Apache-2.0
use std::process::Command;
use std::process::Stdio;

use proptest::prelude::*;

use super::*;

fn sample() -> Archive {
    let mut archive = Archive::new();
    archive.program("init", b"program".to_vec()).unwrap();
    archive.file("lib/modules/a.ko.xz", vec![1; 5]).unwrap();
    archive.char_device("dev/null", 1, 3).unwrap();
    archive.folder("proc").unwrap();
    archive
}

#[test]
fn order_of_calls_does_not_matter() {
    let mut other = Archive::new();
    other.folder("proc").unwrap();
    other.folder("lib").unwrap();
    other.char_device("dev/null", 1, 3).unwrap();
    other.file("lib/modules/a.ko.xz", vec![1; 5]).unwrap();
    other.program("init", b"program".to_vec()).unwrap();
    assert_eq!(other.write(), sample().write());
}

#[test]
fn golden_bytes() {
    let mut archive = Archive::new();
    archive.program("init", b"abc".to_vec()).unwrap();
    let expected = concat!(
        "070701",
        "00000001",
        "000081ed",
        "00000000",
        "00000000",
        "00000001",
        "00000000",
        "00000003",
        "00000000",
        "00000000",
        "00000000",
        "00000000",
        "00000005",
        "00000000",
        "init\0\0",
        "abc\0",
        "070701",
        "00000000",
        "00000000",
        "00000000",
        "00000000",
        "00000001",
        "00000000",
        "00000000",
        "00000000",
        "00000000",
        "00000000",
        "00000000",
        "0000000b",
        "00000000",
        "TRAILER!!!\0\0\0\0",
    );
    assert_eq!(String::from_utf8(archive.write().unwrap()).unwrap(), expected);
}

#[test]
fn refuses_paths_that_are_not_plain() {
    let refused = |path: &str| {
        let error = Archive::new().file(path, Vec::new()).unwrap_err();
        assert!(matches!(&error, CpioError::BadPath { path: named, .. } if named == path));
    };
    for path in ["", "/init", "a//b", "a/", "./a", "a/../b", "..", "a\0b", "TRAILER!!!"] {
        refused(path);
    }
    refused(&"x".repeat(MAX_PATH + 1));
}

#[test]
fn refuses_what_stands_in_its_way() {
    let mut archive = sample();
    assert!(archive.file("init", Vec::new()).is_err(), "given twice");
    assert!(archive.file("proc", Vec::new()).is_err(), "a folder");
    assert!(archive.folder("init").is_err(), "a file");
    assert!(archive.file("init/below", Vec::new()).is_err(), "below a file");
    assert!(archive.folder("proc").is_ok(), "a folder may be named again");
}

#[test]
fn cpio_reads_the_same() {
    // An independent reader, where it is installed.
    let child = Command::new("cpio")
        .args(["--list", "--verbose", "--numeric-uid-gid", "--quiet"])
        .env("TZ", "UTC")
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        assert!(std::env::var_os("CASEMATE_REQUIRE").is_none(), "cpio is not installed");
        eprintln!("skipped: cpio is not installed");
        return;
    };
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, &sample().write().unwrap()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let listing = String::from_utf8(output.stdout).unwrap();
    let words: Vec<Vec<&str>> =
        listing.lines().map(|line| line.split_whitespace().collect()).collect();
    let rows: Vec<_> =
        words.iter().map(|row| (row[0], row[2], row[3], *row.last().unwrap())).collect();
    assert_eq!(
        rows,
        [
            ("drwxr-xr-x", "0", "0", "dev"),
            ("crw-rw-rw-", "0", "0", "dev/null"),
            ("-rwxr-xr-x", "0", "0", "init"),
            ("drwxr-xr-x", "0", "0", "lib"),
            ("drwxr-xr-x", "0", "0", "lib/modules"),
            ("-rw-r--r--", "0", "0", "lib/modules/a.ko.xz"),
            ("drwxr-xr-x", "0", "0", "proc"),
        ]
    );
}

proptest! {
    #[test]
    fn parents_come_first_and_all_is_aligned(
        paths in proptest::collection::btree_set("[a-c-]{1,3}(/[a-c.]{1,3}){0,3}", 1..12),
    ) {
        let mut archive = Archive::new();
        for path in &paths {
            let _ = archive.folder(path);
        }
        let bytes = archive.write().unwrap();
        prop_assert_eq!(bytes.len() % 4, 0);
        let mut seen: Vec<&String> = Vec::new();
        for path in archive.entries.keys() {
            if let Some((parent, _)) = path.rsplit_once('/') {
                prop_assert!(seen.iter().any(|known| *known == parent));
            }
            seen.push(path);
        }
    }
}
