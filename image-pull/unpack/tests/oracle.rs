// SPDX-License-Identifier: Apache-2.0
//! Compares what we unpack with what umoci unpacks, on images made by GNU tar and by hand.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]
#![allow(clippy::as_conversions, reason = "small numbers")]
#![allow(clippy::allow_attributes, reason = "not every lint speaks up in tests")]

mod archive;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use archive::Archive;
use archive::Header;
use casemate_unpack::Compression;
use casemate_unpack::Limits;
use casemate_unpack::Quarantine;

/// Whether root and the programs are there.
fn can_run() -> bool {
    let missing = if !rustix::process::geteuid().is_root() {
        Some("root")
    } else {
        ["umoci", "tar"].into_iter().find(|p| Command::new(p).arg("--version").output().is_err())
    };
    if let Some(missing) = missing {
        assert!(std::env::var_os("CASEMATE_REQUIRE").is_none(), "needs {missing}");
        eprintln!("skipped: needs {missing}");
    }
    missing.is_none()
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
}

/// What matters of a file.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    kind: String,
    mode: u32,
    owner: (u32, u32),
    time: (i64, i64),
    links: Vec<PathBuf>,
    attributes: Vec<(String, Vec<u8>)>,
    content: Vec<u8>,
}

fn attributes(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut names = vec![0; 4096];
    let size = rustix::fs::llistxattr(path, &mut names).unwrap();
    let mut found: Vec<_> = names[..size]
        .split(|b| *b == 0)
        .filter(|n| !n.is_empty())
        .map(|name| {
            let mut value = vec![0; 4096];
            let name = std::str::from_utf8(name).unwrap();
            let size = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
            (name.to_owned(), value[..size].to_vec())
        })
        .collect();
    found.sort();
    found
}

fn look(root: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut paths = vec![root.to_owned()];
    let mut by_inode: BTreeMap<u64, Vec<PathBuf>> = BTreeMap::new();
    let mut at = 0;
    while at < paths.len() {
        let path = paths[at].clone();
        let found = path.symlink_metadata().unwrap();
        if found.is_dir() {
            paths.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        } else {
            let name = path.strip_prefix(root).unwrap().to_owned();
            by_inode.entry(found.ino()).or_default().push(name);
        }
        at += 1;
    }
    by_inode.values_mut().for_each(|links| links.sort());
    let see = |path: PathBuf| {
        let found = path.symlink_metadata().unwrap();
        let kind = found.file_type();
        let content = if kind.is_symlink() {
            fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
        } else if kind.is_file() {
            fs::read(&path).unwrap()
        } else {
            vec![]
        };
        let seen = Seen {
            kind: format!("{kind:?} fifo={}", kind.is_fifo()),
            mode: found.permissions().mode(),
            owner: (found.uid(), found.gid()),
            time: (found.mtime(), found.mtime_nsec()),
            links: by_inode.get(&found.ino()).cloned().unwrap_or_default(),
            attributes: attributes(&path),
            content,
        };
        (path.strip_prefix(root).unwrap().to_owned(), seen)
    };
    paths.into_iter().map(see).collect()
}

/// Unpacks `layers` with umoci and with ours, and compares everything below the roots.
#[track_caller]
fn compare(layers: &[Vec<u8>]) -> BTreeMap<PathBuf, Seen> {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    run("umoci", &["init", "--layout", &path("oci")]);
    let image = format!("{}:app", path("oci"));
    run("umoci", &["new", "--image", &image]);
    for layer in layers {
        fs::write(path("layer.tar"), layer).unwrap();
        run("umoci", &["raw", "add-layer", "--image", &image, &path("layer.tar")]);
    }
    run("umoci", &["unpack", "--image", &image, &path("bundle")]);

    let mut quarantine =
        Quarantine::create(&directory.path().join("ours"), Limits::default()).unwrap();
    for layer in layers {
        let id = ring::digest::digest(&ring::digest::SHA256, layer).as_ref().try_into().unwrap();
        quarantine = quarantine.apply(&mut layer.as_slice(), Compression::None, &id).unwrap();
    }
    let ours = look(&quarantine.release().unwrap().path);
    let mut theirs = look(&directory.path().join("bundle/rootfs"));
    // What no layer speaks of is the unpacker's own choice.
    if let (Some(theirs), Some(ours)) = (theirs.get_mut(Path::new("")), ours.get(Path::new(""))) {
        (theirs.mode, theirs.time) = (ours.mode, ours.time);
    }
    let names = |found: &BTreeMap<PathBuf, Seen>| found.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&ours), names(&theirs));
    for (path, seen) in &ours {
        assert!(seen == &theirs[path], "{path:?}:\n{seen:?}\n{:?}", theirs[path]);
    }
    ours
}

/// An archive of the directory `tree` by GNU tar.
fn gnu_tar(tree: &Path, options: &[&str]) -> Vec<u8> {
    let output = Command::new("tar")
        .arg("-C")
        .arg(tree)
        .args(["-cf", "-"])
        .args(options.contains(&"--format=pax").then_some("--xattrs"))
        .args(options)
        .arg(".")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A directory with a bit of everything.
fn tree() -> tempfile::TempDir {
    use std::io::Seek as _;
    use std::io::Write as _;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let long = ["long"; 60].join("/");
    fs::create_dir_all(path(&long)).unwrap();
    fs::write(path(&format!("{long}/{}", "n".repeat(200))), "long name").unwrap();
    fs::write(path("naïve – 名前"), "unicode").unwrap();
    fs::write(path("setuid"), "x").unwrap();
    std::os::unix::fs::chown(path("setuid"), Some(1234), Some(5678)).unwrap();
    fs::set_permissions(path("setuid"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::create_dir(path("sticky")).unwrap();
    fs::set_permissions(path("sticky"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::hard_link(path("setuid"), path("sticky/hard")).unwrap();
    std::os::unix::fs::symlink(format!("/{}", ["target"; 40].join("/")), path("link")).unwrap();
    std::os::unix::fs::symlink("missing", path("sticky/dangling")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o640),
        0,
    )
    .unwrap();
    let mut sparse = fs::File::create(path("sparse")).unwrap();
    for at in 0..30_u64 {
        sparse.seek(std::io::SeekFrom::Start(at * 1_000_000)).unwrap();
        sparse.write_all(&[b'a' + at as u8; 5000]).unwrap();
    }
    sparse.set_len(40_000_000).unwrap();
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    fs::write(path("capable"), "x").unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(path("capable"), "security.capability", &capability, flags).unwrap();
    directory
}

#[test]
fn archives_of_gnu_tar() {
    if !can_run() {
        return;
    }
    let tree = tree();
    for options in [
        &["--format=pax"][..],
        &["--format=pax", "--sparse"],
        &["--format=pax", "--sparse", "--sparse-version=0.0"],
        &["--format=pax", "--sparse", "--sparse-version=0.1"],
        &["--format=gnu"],
        &["--format=pax", "--pax-option=delete=mtime,delete=atime,delete=ctime"],
    ] {
        let found = compare(&[gnu_tar(tree.path(), options)]);
        assert_eq!(found[Path::new("sparse")].content.len(), 40_000_000, "{options:?}");
        assert_eq!(found[Path::new("sticky/hard")].links.len(), 2, "{options:?}");
        let has_pax = options[0] == "--format=pax";
        assert_eq!(found[Path::new("capable")].attributes.len(), usize::from(has_pax));
    }
}

/// umoci does not know the old sparse files of GNU tar; tar itself is the oracle there.
#[test]
fn sparse_files_of_gnu_tar() {
    if !can_run() {
        return;
    }
    let tree = tree();
    let layer = gnu_tar(tree.path(), &["--format=gnu", "--sparse"]);
    let directory = tempfile::tempdir().unwrap();
    let destination = directory.path().join("ours");
    let quarantine = Quarantine::create(&destination, Limits::default()).unwrap();
    let id = ring::digest::digest(&ring::digest::SHA256, &layer).as_ref().try_into().unwrap();
    let quarantine = quarantine.apply(&mut layer.as_slice(), Compression::None, &id).unwrap();
    let found = quarantine.release().unwrap().path.join("sparse");
    assert_eq!(fs::read(&found).unwrap(), fs::read(tree.path().join("sparse")).unwrap());
    // Its holes are holes again: 512-byte blocks of 150,000 bytes of data, rounded up to pages.
    assert!(found.metadata().unwrap().blocks() < 30 * 2 * 8 * 2);
}

#[test]
fn directories_of_this_machine() {
    if !can_run() {
        return;
    }
    for source in ["/etc", "/usr/lib/x86_64-linux-gnu/perl-base", "/usr/share/zoneinfo"] {
        if Path::new(source).is_dir() {
            let found = compare(&[gnu_tar(Path::new(source), &["--format=pax", "--sort=name"])]);
            assert!(found.len() > 10, "{source}");
        }
    }
}

#[test]
fn layers_above_layers() {
    if !can_run() {
        return;
    }
    let new = Archive::default;
    let below = new()
        .dir("./")
        .dir("etc/")
        .file("etc/a", "a")
        .file("etc/b", "b")
        .dir("opaque/")
        .file("opaque/old", "x")
        .dir("opaque/sub/")
        .file("opaque/sub/old", "x")
        .dir("usr/")
        .dir("usr/lib/")
        .symlink("lib", "usr/lib")
        .dir("becomes-file/")
        .file("becomes-file/x", "x")
        .file("becomes-dir", "x")
        .file("becomes-link", "x")
        .symlink("link-becomes-file", "etc/a")
        .symlink("link-becomes-dir", "etc")
        .file("linked", "linked")
        .dir("removed/")
        .file("removed/deep", "x")
        .finish();
    let above = new()
        .dir("etc/")
        .file("etc/.wh.a", "")
        .file("etc/b", "b2")
        .dir("opaque/")
        .file("opaque/.wh..wh..opq", "")
        .dir("opaque/sub/")
        .file("opaque/sub/new", "y")
        .file("opaque/new", "y")
        .file("lib/library", "through a link")
        .file("becomes-file", "y")
        .dir("becomes-dir/")
        .file("becomes-dir/x", "y")
        .symlink("becomes-link", "etc/b")
        .file("link-becomes-file", "y")
        .dir("link-becomes-dir/")
        .file("link-becomes-dir/x", "y")
        .hard_link("hard", "linked")
        .file(".wh.removed", "")
        .add(Header { uid: 12, gid: 34, mode: 0o2711, ..Header::new(b'0', "owned") }, "z")
        .finish();
    let last = new()
        .file("etc/a", "again")
        .dir("removed/")
        .file("hard", "no longer")
        .file(".wh.lib", "")
        .dir("lib/")
        .file("lib/own", "1")
        .finish();
    let found = compare(&[below, above, last]);
    assert!(found.contains_key(Path::new("usr/lib/library")));
    assert!(found.contains_key(Path::new("lib")));
}

// C5: whiteouts behind what they stand for, twice, of a layer's own names, and names given twice
#[test]
fn tricks_with_names() {
    if !can_run() {
        return;
    }
    let new = Archive::default;
    let setuid = Header { mode: 0o6755, ..Header::new(b'0', "su") };
    let capable: &[(&str, &[u8])] = &[(
        "SCHILY.xattr.security.capability",
        &[1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    )];
    let path: &[(&str, &[u8])] = &[("path", b"d/by-record"), ("uid", b"77")];
    let below = new()
        .dir("d/")
        .file("d/old", "x")
        .dir("d/sub/")
        .file("d/sub/old", "x")
        .add(setuid, "su")
        .pax(capable)
        .file("ping", "ping")
        .finish();
    let above = new()
        .dir("d/")
        .file("d/new", "y")
        .file("d/.wh..wh..opq", "")
        .file("d/.wh..wh..opq", "")
        .file("twice", "one")
        .file("twice", "two")
        .pax(path)
        .file("d/by-header", "y")
        .file("su", "evil")
        .file("ping", "evil")
        .finish();
    let found = compare(&[below, above]);
    assert!(!found.contains_key(Path::new("d/sub")));
    assert_eq!(found[Path::new("twice")].content, b"two");
    assert_eq!(found[Path::new("d/by-record")].owner.0, 77);
    assert_eq!(found[Path::new("su")].mode & 0o7777, 0o644);
    assert!(found[Path::new("ping")].attributes.is_empty());
}
