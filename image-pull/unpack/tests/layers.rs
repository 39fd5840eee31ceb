// SPDX-License-Identifier: Apache-2.0
//! Layers applied to a directory: what honest ones make, and what hostile ones do not.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]
#![allow(clippy::as_conversions, reason = "small numbers")]
#![allow(clippy::allow_attributes, reason = "not every lint speaks up in tests")]

mod archive;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;

use archive::Archive;
use archive::Header;
use casemate_unpack::Compression;
use casemate_unpack::FoundFile;
use casemate_unpack::Limits;
use casemate_unpack::Quarantine;
use casemate_unpack::Rootfs;
use casemate_unpack::TarError;
use casemate_unpack::UnpackError;
use casemate_unpack::find_files;

fn diff_id(archive: &[u8]) -> [u8; 32] {
    ring::digest::digest(&ring::digest::SHA256, archive).as_ref().try_into().unwrap()
}

/// A directory for one test, with a file outside of the root that nobody may touch.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("outside"), "untouched").unwrap();
        Self { directory }
    }

    fn rootfs(&self) -> PathBuf {
        self.directory.path().join("rootfs")
    }

    fn apply_with(&self, limits: Limits, layers: &[Archive]) -> Result<Rootfs, UnpackError> {
        let mut quarantine = Quarantine::create(&self.rootfs(), limits)?;
        for layer in layers {
            let bytes = layer.clone().finish();
            let id = diff_id(&bytes);
            quarantine = quarantine.apply(&mut bytes.as_slice(), Compression::None, &id)?;
        }
        quarantine.release()
    }

    fn apply(&self, layers: &[Archive]) -> Result<Rootfs, UnpackError> {
        self.apply_with(Limits::default(), layers)
    }

    /// What is left outside of the root file system: nothing new, whatever happened.
    fn check_outside(&self) {
        assert_eq!(fs::read(self.directory.path().join("outside")).unwrap(), b"untouched");
        let mut names: Vec<_> = fs::read_dir(self.directory.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .filter(|n| n != "rootfs")
            .collect();
        names.sort();
        assert_eq!(names, ["outside"]);
    }
}

/// Every path below `root` with its content, target or kind.
fn list(root: &Path) -> BTreeMap<String, String> {
    fn walk(root: &Path, directory: &Path, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let kind = path.symlink_metadata().unwrap().file_type();
            let content = if kind.is_dir() {
                walk(root, &path, found);
                "/".to_owned()
            } else if kind.is_symlink() {
                format!("-> {}", fs::read_link(&path).unwrap().display())
            } else if kind.is_fifo() {
                "|".to_owned()
            } else {
                String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned()
            };
            found.insert(name, content);
        }
    }
    let mut found = BTreeMap::new();
    walk(root, root, &mut found);
    found
}

#[track_caller]
fn check(layers: &[Archive], expected: &[(&str, &str)]) {
    let place = Place::new();
    let rootfs = place.apply(layers).unwrap();
    let expected = expected.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    assert_eq!(list(&rootfs.path), expected);
    place.check_outside();
}

#[track_caller]
fn refused(layers: &[Archive]) -> UnpackError {
    let place = Place::new();
    let error = place.apply(layers).unwrap_err();
    assert!(!place.rootfs().exists(), "a refused layer was released");
    place.check_outside();
    error
}

fn archive() -> Archive {
    Archive::default()
}

#[test]
fn makes_each_kind() {
    let layer = archive()
        .dir("./")
        .dir("./d/")
        .file("./d/f", "content")
        .symlink("d/s", "/anywhere/../at/all")
        .hard_link("h", "./d/f")
        .add(Header::new(b'6', "p"), "")
        .file("implicit/parent/f", "x");
    let place = Place::new();
    let rootfs = place.apply(&[layer]).unwrap();
    let found = list(&rootfs.path);
    assert_eq!(found["d/f"], "content");
    assert_eq!(found["d/s"], "-> /anywhere/../at/all");
    assert_eq!(found["h"], "content");
    assert_eq!(found["p"], "|");
    assert_eq!(found["implicit/parent"], "/");
    let inode = |name: &str| rootfs.path.join(name).metadata().unwrap().ino();
    assert_eq!(inode("h"), inode("d/f"));
    place.check_outside();
}

#[test]
fn sets_mode_and_time() {
    let layer = archive()
        .add(Header { mode: 0o1750, mtime: 1_000, ..Header::new(b'5', "d") }, "")
        .add(Header { mode: 0o4711, mtime: 2_000, ..Header::new(b'0', "d/setuid") }, "x")
        .add(Header { mode: 0o2755, mtime: 3_000, ..Header::new(b'0', "d/setgid") }, "x")
        .add(Header { mode: 0o600, mtime: 4_000, ..Header::new(b'6', "d/fifo") }, "");
    let place = Place::new();
    let rootfs = place.apply(&[layer]).unwrap();
    for (name, mode, mtime) in [
        ("d", 0o1750, 1_000), // though files were made in it afterwards
        ("d/setuid", 0o4711, 2_000),
        ("d/setgid", 0o2755, 3_000),
        ("d/fifo", 0o600, 4_000),
    ] {
        let found = rootfs.path.join(name).symlink_metadata().unwrap();
        assert_eq!(found.permissions().mode() & 0o7777, mode, "{name}");
        assert_eq!(found.mtime(), mtime, "{name}");
    }
}

#[test]
fn attributes_of_the_root() {
    let layer = archive()
        .add(Header { mode: 0o700, mtime: 7, ..Header::new(b'5', "./") }, "")
        .file("f", "");
    let place = Place::new();
    let found = place.apply(&[layer]).unwrap().path.metadata().unwrap();
    assert_eq!((found.permissions().mode() & 0o7777, found.mtime()), (0o700, 7));
    // Without an entry of its own it can be entered by everybody.
    let place = Place::new();
    let found = place.apply(&[archive()]).unwrap().path.metadata().unwrap();
    assert_eq!(found.permissions().mode() & 0o7777, 0o755);
}

#[test]
fn later_layers_replace() {
    let below = archive()
        .file("file", "old")
        .dir("dir")
        .file("dir/a", "a")
        .symlink("link", "dir")
        .file("becomes-dir", "x")
        .dir("becomes-file")
        .file("becomes-file/deep/er", "x");
    let above = archive()
        .file("file", "new")
        .dir("dir")
        .file("dir/b", "b")
        .file("link", "a file")
        .file("becomes-dir/f", "y")
        .file("becomes-file", "z");
    let error = refused(&[below.clone(), above.clone()]);
    // The parent is a file below and nobody said that it is a directory now.
    assert!(matches!(error, UnpackError::Entry { .. }), "{error}");
    let above = archive().dir("becomes-dir").raw(&above.finish()[..]);
    check(
        &[below, above],
        &[
            ("file", "new"),
            ("dir", "/"),
            ("dir/a", "a"),
            ("dir/b", "b"),
            ("link", "a file"),
            ("becomes-dir", "/"),
            ("becomes-dir/f", "y"),
            ("becomes-file", "z"),
        ],
    );
}

// C5: duplicate entries.
#[test]
fn the_last_of_duplicate_entries_counts() {
    let layer = archive()
        .file("a", "1")
        .file("./a", "2")
        .dir("b")
        .file("b/x", "1")
        .file("b", "3")
        .file("/c", "4")
        .dir("c")
        .file("d", "first")
        .hard_link("e", "d")
        .file("d", "second");
    check(&[layer], &[("a", "2"), ("b", "3"), ("c", "/"), ("d", "second"), ("e", "first")]);
}

#[test]
fn whiteouts_remove_what_is_below() {
    let below = archive()
        .file("keep", "1")
        .file("gone", "2")
        .dir("tree")
        .file("tree/a/b/c", "3")
        .dir("opaque")
        .file("opaque/old", "4")
        .file("opaque/both/old", "5");
    let above = archive()
        .file(".wh.gone", "")
        .file(".wh.tree", "")
        .file(".wh.never-there", "")
        .file("nowhere/.wh.x", "")
        .dir("opaque")
        .file("opaque/new", "6")
        .file("opaque/both/new", "7")
        .file("opaque/.wh..wh..opq", "")
        .file("opaque/newer", "8");
    check(
        &[below, above],
        &[
            ("keep", "1"),
            ("opaque", "/"),
            ("opaque/new", "6"),
            ("opaque/both", "/"),
            ("opaque/both/new", "7"),
            ("opaque/newer", "8"),
        ],
    );
}

// C5: whiteout tricks. A whiteout speaks of the layers below, wherever it stands.
#[test]
fn whiteouts_leave_their_own_layer() {
    let below = archive().file("a", "old").dir("d").file("d/old", "x");
    let above = archive()
        .file("a", "new")
        .file(".wh.a", "")
        .dir("d")
        .file("d/new", "y")
        .file(".wh.d", "")
        .file(".wh..wh..opq", "");
    check(&[below, above], &[("a", "new"), ("d", "/"), ("d/new", "y")]);
}

#[test]
fn whiteouts_are_not_followed_through_links() {
    let below = archive().dir("real").file("real/f", "x").symlink("link", "real");
    let above = archive().file(".wh.link", "");
    check(&[below, above], &[("real", "/"), ("real/f", "x")]);
}

// C5: traversal, absolute names.
#[test]
fn names_stay_inside() {
    for path in ["../evil", "a/../../evil", "..", "/../evil", "a/.."] {
        let error = refused(&[archive().file(path, "evil")]);
        assert!(matches!(error, UnpackError::Name { .. }), "{path}: {error}");
        let records = [("path", path.as_bytes())];
        let error = refused(&[archive().pax(&records).file("good", "evil")]);
        assert!(matches!(error, UnpackError::Name { .. }), "{path}: {error}");
    }
    check(&[archive().file("/etc/passwd", "x")], &[("etc", "/"), ("etc/passwd", "x")]);
}

// C5: a link, then a write through it.
#[test]
fn links_lead_nowhere_outside() {
    let place = Place::new();
    let outside = place.directory.path().to_str().unwrap().to_owned();
    for target in [outside.as_str(), "..", "../..", "/..", "../../../../../../../.."] {
        let place = Place::new();
        let layer = archive().symlink("l", target).file("l/outside", "evil");
        let rootfs = place.apply(&[layer]).unwrap();
        // What the link means in the container is what it meant here.
        let inside = target.trim_matches(['/', '.']);
        let written = rootfs.path.join(inside).join("outside");
        assert_eq!(fs::read(written).unwrap(), b"evil", "{target}");
        place.check_outside();
    }
    place.check_outside();
    // Writing to the link itself replaces it.
    let target = format!("{outside}/outside");
    check(&[archive().symlink("l", &target).file("l", "evil")], &[("l", "evil")]);
    // Links in two layers, and a chain of them.
    let below = archive().symlink("a", "b").symlink("b", "/c").dir("c");
    check(
        &[below, archive().file("a/f", "x")],
        &[("a", "-> b"), ("b", "-> /c"), ("c", "/"), ("c/f", "x")],
    );
    let error = refused(&[archive().symlink("a", "b").symlink("b", "a").file("a/f", "x")]);
    assert!(matches!(error, UnpackError::Entry { .. }), "{error}");
}

#[test]
fn missing_targets_of_links_are_made_inside() {
    check(
        &[archive().symlink("var/run", "/run/a/../b").file("var/run/x/f", "y")],
        &[
            ("var", "/"),
            ("var/run", "-> /run/a/../b"),
            ("run", "/"),
            ("run/a", "/"),
            ("run/b", "/"),
            ("run/b/x", "/"),
            ("run/b/x/f", "y"),
        ],
    );
}

// C5: hard links.
#[test]
fn hard_links_stay_inside() {
    let place = Place::new();
    let outside = place.directory.path().join("outside");
    for target in [outside.to_str().unwrap(), "../outside", "missing", "", "/", "l/outside"] {
        let place = Place::new();
        let layer = archive().symlink("l", "/..").hard_link("h", target);
        let error = place.apply(&[layer]).unwrap_err();
        assert!(matches!(error, UnpackError::Entry { action: "link", .. }), "{target}: {error}");
        place.check_outside();
    }
    // A hard link to a symbolic link is that link.
    check(
        &[archive().file("f", "x").symlink("s", "f").hard_link("h", "s")],
        &[("f", "x"), ("s", "-> f"), ("h", "-> f")],
    );
    // To a file of a lower layer.
    check(&[archive().file("f", "x"), archive().hard_link("h", "/f")], &[("f", "x"), ("h", "x")]);
}

// C5: device nodes.
#[test]
fn devices_are_not_made() {
    let layer = archive()
        .add(Header::new(b'3', "dev/mem"), "")
        .add(Header::new(b'4', "dev/sda"), "")
        .add(Header::new(b'3', "f"), "");
    let place = Place::new();
    let rootfs = place.apply(&[archive().file("f", "x"), layer]).unwrap();
    assert_eq!(rootfs.skipped_devices, 3);
    let found = list(&rootfs.path);
    assert_eq!(found.keys().collect::<Vec<_>>(), ["dev"]);
}

// C5: extended attributes.
#[test]
fn attributes_that_speak_to_the_kernel_are_left_out() {
    let records: &[(&str, &[u8])] = &[
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/x"),
        ("SCHILY.xattr.security.selinux", b"label"),
        ("SCHILY.xattr.security.ima", b"x"),
    ];
    let place = Place::new();
    let rootfs = place.apply(&[archive().pax(records).file("f", "x")]).unwrap();
    let mut names = vec![0_u8; 1024];
    let size = rustix::fs::llistxattr(rootfs.path.join("f"), &mut names).unwrap();
    assert_eq!(String::from_utf8_lossy(&names[..size]), "");
}

#[test]
fn file_capabilities_and_owners_are_kept() {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("CASEMATE_REQUIRE").is_none(), "needs root");
        eprintln!("skipped: needs root to set owners and file capabilities");
        return;
    }
    // Revision 2 of vfs_cap_data: CAP_NET_RAW permitted and effective.
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let records: &[(&str, &[u8])] = &[("SCHILY.xattr.security.capability", &capability)];
    let header = Header { uid: 70_000, gid: 70_001, mode: 0o4755, ..Header::new(b'0', "ping") };
    let link = Header { uid: 5, gid: 6, link: b"ping".to_vec(), ..Header::new(b'2', "link") };
    let layer = archive().pax(records).add(header, "x").hard_link("same", "ping").add(link, "");
    let place = Place::new();
    let rootfs = place.apply(&[layer]).unwrap();
    for name in ["ping", "same"] {
        let path = rootfs.path.join(name);
        let mut value = [0; 64];
        let size = rustix::fs::lgetxattr(&path, "security.capability", &mut value).unwrap();
        assert_eq!(&value[..size], capability, "{name}");
        let found = path.metadata().unwrap();
        assert_eq!((found.uid(), found.gid()), (70_000, 70_001), "{name}");
        assert_eq!(found.permissions().mode() & 0o7777, 0o4755, "{name}");
    }
    let found = rootfs.path.join("link").symlink_metadata().unwrap();
    assert_eq!((found.uid(), found.gid()), (5, 6));
}

// C5: entries, bytes, file size.
#[test]
fn limits_hold_for_all_layers_together() {
    let limits = Limits { entries: 3, bytes: 100_000, file_bytes: 5_000 };
    let refused = |layers: &[Archive]| {
        let place = Place::new();
        let error = place.apply_with(limits, layers).unwrap_err();
        assert!(error.is_full(), "{error}");
        place.check_outside();
        error
    };
    let small = archive().file("a", "1").file("b", "2");
    assert!(Place::new().apply_with(limits, std::slice::from_ref(&small)).is_ok());
    assert!(matches!(refused(&[small.clone(), small]), UnpackError::Entries { max: 3 }));
    let large = archive().file("a", vec![0; 5_001]);
    assert!(matches!(refused(&[large]), UnpackError::File { size: 5_001, .. }));
    let long = archive().raw(&[0; 1024]).raw(&[7; 60_000]);
    assert!(Place::new().apply_with(limits, std::slice::from_ref(&long)).is_ok());
    assert!(matches!(refused(&[long.clone(), long]), UnpackError::Bytes { max: 100_000 }));
    // A hole counts as what it pretends to be.
    let records: &[(&str, &[u8])] =
        &[("GNU.sparse.size", b"1099511627776"), ("GNU.sparse.map", b"0,1")];
    let sparse = archive().pax(records).file("a", "1");
    assert!(matches!(refused(&[sparse]), UnpackError::File { size: 1_099_511_627_776, .. }));
}

// C5: a bomb stops at the limit, long before its end.
#[test]
fn bombs_stop_at_the_limit() {
    use std::io::Read as _;
    let limits = Limits { bytes: 10 << 20, ..Limits::default() };
    let place = Place::new();
    let zeros = Header { size: 1 << 40, ..Header::new(b'0', "zeros") };
    let header = zeros.block();
    let mut endless = header.as_slice().chain(std::io::repeat(0));
    let quarantine = Quarantine::create(&place.rootfs(), Limits { file_bytes: 2 << 40, ..limits });
    let error = quarantine.unwrap().apply(&mut endless, Compression::None, &[0; 32]).unwrap_err();
    assert!(matches!(error, UnpackError::Bytes { .. }), "{error}");
    // The same behind the end of the archive.
    let quarantine = Quarantine::create(&place.rootfs(), limits).unwrap();
    let error = quarantine.apply(&mut std::io::repeat(0), Compression::None, &[0; 32]).unwrap_err();
    assert!(matches!(error, UnpackError::Bytes { .. }), "{error}");
    place.check_outside();
}

// C4: the archive is the one that the configuration names, to its last byte.
#[test]
fn a_wrong_diff_id_releases_nothing() {
    let bytes = archive().file("f", "x").finish();
    let other = [&bytes[..], b"trailing"].concat();
    let place = Place::new();
    for (bytes, id) in [(&bytes, diff_id(&other)), (&other, diff_id(&bytes))] {
        let quarantine = Quarantine::create(&place.rootfs(), Limits::default()).unwrap();
        let error = quarantine.apply(&mut bytes.as_slice(), Compression::None, &id).unwrap_err();
        assert!(error.is_wrong_content(), "{error}");
        place.check_outside();
    }
    let quarantine = Quarantine::create(&place.rootfs(), Limits::default()).unwrap();
    let id = diff_id(&other);
    assert!(quarantine.apply(&mut other.as_slice(), Compression::None, &id).is_ok());
}

#[test]
fn a_dropped_quarantine_leaves_nothing() {
    let place = Place::new();
    let deep = "d/".repeat(1500) + "f";
    let layer = archive().pax(&[("path", deep.as_bytes())]).file("f", "x").dir("empty").finish();
    let quarantine = Quarantine::create(&place.rootfs(), Limits::default()).unwrap();
    let id = diff_id(&layer);
    let quarantine = quarantine.apply(&mut layer.as_slice(), Compression::None, &id).unwrap();
    drop(quarantine);
    place.check_outside();
}

#[test]
fn one_destination_has_one_quarantine() {
    let place = Place::new();
    let first = Quarantine::create(&place.rootfs(), Limits::default()).unwrap();
    let second = Quarantine::create(&place.rootfs(), Limits::default());
    assert!(second.unwrap_err().is_internal());
    first.release().unwrap();
    let third = Quarantine::create(&place.rootfs(), Limits::default());
    assert!(third.unwrap_err().is_internal());
    assert!(place.rootfs().is_dir());
    place.check_outside();
}

#[test]
fn errors_tell_their_cause() {
    let error = refused(&[archive().add(Header::new(b'V', "volume"), "")]);
    assert!(matches!(error, UnpackError::Kind { kind: b'V', .. }), "{error}");
    let error = refused(&[archive().raw(&[7; 512])]);
    assert!(matches!(error, UnpackError::Tar { source: TarError::Checksum }), "{error}");
    let error = refused(&[archive().file("./", "root as a file")]);
    assert!(matches!(error, UnpackError::Entry { .. }), "{error}");
    let error = refused(&[archive().file("a", "x").file("a/b", "y")]);
    assert!(matches!(error, UnpackError::Entry { .. }), "{error}");
}

#[test]
fn files_are_found_without_unpacking() {
    let find = |layer: Archive| {
        let bytes = layer.finish();
        let id = diff_id(&bytes);
        let wanted = ["etc/passwd", "etc/group"];
        let limits = Limits { file_bytes: 100, ..Limits::default() };
        find_files(&mut bytes.as_slice(), Compression::None, &id, &wanted, limits)
    };
    use FoundFile::*;
    let content = |text: &str| Content(text.into());
    let big = || archive().file("big", [0; 1000]);
    assert_eq!(find(big()).unwrap(), [Absent, Absent]);
    let layer = big().dir("./etc").file("./etc/passwd", "root").file("/etc/group", "g");
    assert_eq!(find(layer).unwrap(), [content("root"), content("g")]);
    let layer = archive().file("etc/passwd", "1").file("etc/passwd", "2");
    assert_eq!(find(layer).unwrap(), [content("2"), Absent]);
    assert_eq!(find(archive().file("etc/.wh.group", "")).unwrap(), [Absent, Hidden]);
    assert_eq!(find(archive().file(".wh.etc", "")).unwrap(), [Hidden, Hidden]);
    let layer = archive().file("etc/group", "g").file("etc/.wh..wh..opq", "");
    assert_eq!(find(layer).unwrap(), [Hidden, content("g")]);
    assert_eq!(find(archive().file(".wh..wh..opq", "")).unwrap(), [Hidden, Hidden]);
    let layer = archive().symlink("etc/passwd", "/evil").symlink("etc/group", "x");
    assert_eq!(find(layer).unwrap(), [Special, Special]);
    assert_eq!(find(archive().symlink("etc", "usr/etc")).unwrap(), [Special, Special]);
    let found = find(archive().file("etc/passwd", [b'x'; 101]));
    assert!(matches!(found, Err(UnpackError::File { .. })));
    let bytes = archive().file("etc/passwd", "x").finish();
    let found =
        find_files(&mut bytes.as_slice(), Compression::None, &[0; 32], &[], Limits::default());
    assert!(found.unwrap_err().is_wrong_content());
}
