// SPDX-License-Identifier: Apache-2.0
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use proptest::prelude::*;

use super::*;

/// A store, and a place beside it that nothing may be written to.
struct Bench {
    folder: tempfile::TempDir,
    store: VolumeStore,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("volumes")).unwrap();
        std::fs::create_dir(folder.path().join("outside")).unwrap();
        let store = VolumeStore::open(folder.path().join("volumes")).unwrap();
        Self { folder, store }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join("volumes").join(path)
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap()
    }

    fn put(&self, volume: &str, files: &[(&str, &str)]) -> Result<u64, VolumeError> {
        let files: Vec<_> = files
            .iter()
            .map(|(name, content)| VolumeFile { name, content: content.as_bytes() })
            .collect();
        self.store.put(volume, &files)
    }

    fn list(&self, path: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(path)).unwrap();
        let mut names: Vec<_> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn nothing_outside(&self) {
        let outside = std::fs::read_dir(self.folder.path().join("outside")).unwrap();
        assert_eq!(outside.count(), 0);
        let mut here: Vec<_> = std::fs::read_dir(self.folder.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        here.sort();
        assert_eq!(here, ["outside", "volumes"]);
    }
}

#[test]
fn content_is_laid_out_as_kubelet_does() {
    let bench = Bench::new();
    assert_eq!(bench.put("conf", &[("app.conf", "a"), (".hidden", "h")]).unwrap(), 1);
    assert_eq!(bench.list("conf"), ["..1", "..data", ".hidden", "app.conf"]);
    assert_eq!(bench.read("conf/app.conf"), "a");
    let link = std::fs::read_link(bench.path("conf/app.conf")).unwrap();
    assert_eq!(link, Path::new("..data/app.conf"));
    let mode = |path: &str| bench.path(path).metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("conf"), mode("conf/..1")), (0o755, 0o755));
    assert_eq!(mode("conf/app.conf"), 0o444);
}

#[test]
fn a_revision_is_swapped_whole_and_open_files_keep_theirs() {
    // A14: a file sent again while a container reads it.
    let bench = Bench::new();
    bench.put("conf", &[("a", "one"), ("gone", "x")]).unwrap();
    let mut open = File::open(bench.path("conf/a")).unwrap();
    let directory = File::open(bench.path("conf/..data/")).unwrap();
    assert_eq!(bench.put("conf", &[("a", "two"), ("new", "y")]).unwrap(), 2);
    assert_eq!(bench.list("conf"), ["..2", "..data", "a", "new"]);
    assert_eq!((bench.read("conf/a"), bench.read("conf/new")), ("two".into(), "y".into()));
    let mut old = String::new();
    open.read_to_string(&mut old).unwrap();
    assert_eq!(old, "one");
    // The old revision takes nothing new.
    assert!(rustix::fs::mkdirat(&directory, "x", SHARED).is_err());
    // The same content again is a revision, too.
    assert_eq!(bench.put("conf", &[]).unwrap(), 3);
    assert_eq!(bench.list("conf"), ["..3", "..data"]);
}

#[test]
fn names_that_leave_the_volume_are_refused_and_nothing_is_written() {
    // A13.
    let bench = Bench::new();
    bench.put("conf", &[("a", "one")]).unwrap();
    let long = "n".repeat(256);
    for name in [
        "",
        ".",
        "..",
        "..data",
        "../outside/x",
        "/outside/x",
        "a/b",
        "a/../../x",
        "a\0b",
        "/proc/self/root/x",
        &long,
    ] {
        let refused = bench.put("conf", &[("ok", "x"), (name, "evil")]);
        assert!(matches!(refused, Err(VolumeError::Name { .. })), "{name:?}");
        let refused = bench.put(name, &[("a", "evil")]);
        assert!(matches!(refused, Err(VolumeError::Name { .. })), "volume {name:?}");
    }
    assert!(bench.put("conf", &[("a", "x"), ("a", "y")]).is_err());
    assert_eq!(bench.list("conf"), ["..1", "..data", "a"]);
    assert_eq!(bench.list(""), ["conf"]);
    bench.nothing_outside();
}

#[test]
fn a_link_in_the_place_of_a_volume_is_not_followed() {
    // A13: however it came there; CVE-2026-41326 was a link of the host's.
    let bench = Bench::new();
    symlink("../outside", bench.path("conf")).unwrap();
    let refused = bench.put("conf", &[("a", "evil")]);
    assert!(
        matches!(refused, Err(VolumeError::Io { source: Errno::LOOP | Errno::NOTDIR, .. })),
        "{refused:?}"
    );
    assert!(bench.store.content("conf").is_err());
    assert!(bench.store.sub_directory("conf", "x").is_err());
    bench.nothing_outside();
}

#[test]
fn a_link_in_the_place_of_a_revision_is_not_followed() {
    // A13.
    let bench = Bench::new();
    bench.put("conf", &[("a", "one")]).unwrap();
    symlink("../../outside", bench.path("conf/..2")).unwrap();
    assert!(bench.put("conf", &[("a", "evil")]).is_err());
    assert_eq!(bench.read("conf/a"), "one");
    bench.nothing_outside();
    // Nor one in the place of a file's name: it is replaced by nothing and leads nowhere new.
    std::fs::remove_file(bench.path("conf/..2")).unwrap();
    assert_eq!(bench.put("conf", &[("a", "two")]).unwrap(), 2);
    assert_eq!(bench.read("conf/a"), "two");
}

#[test]
fn a_failed_put_leaves_the_volume_as_it_was() {
    let bench = Bench::new();
    bench.put("conf", &[("a", "one")]).unwrap();
    // What an attempt that was cut off has left.
    std::fs::create_dir(bench.path("conf/..2")).unwrap();
    std::fs::write(bench.path("conf/..2/half"), "x").unwrap();
    assert!(bench.put("conf", &[("a", "two")]).is_err());
    assert_eq!(bench.list("conf"), ["..1", "..data", "a"]);
    assert_eq!(bench.read("conf/a"), "one");
    assert_eq!(bench.put("conf", &[("a", "two")]).unwrap(), 2);
    assert_eq!(bench.read("conf/a"), "two");
}

#[test]
fn a_volume_without_content_says_so() {
    let bench = Bench::new();
    let none = |result: Result<OwnedFd, VolumeError>| match result {
        Err(VolumeError::NoContent { volume }) => volume,
        other => panic!("{other:?}"),
    };
    assert_eq!(none(bench.store.content("conf")), "conf");
    assert_eq!(none(bench.store.sub_file("conf", "a")), "conf");
    assert!(bench.store.make_empty("conf").unwrap());
    assert_eq!(none(bench.store.content("conf")), "conf");
    bench.put("other", &[("a", "one")]).unwrap();
    assert!(bench.store.content("other").is_ok());
}

#[test]
fn parts_of_volumes_are_opened_below_them() {
    let bench = Bench::new();
    bench.put("conf", &[("a", "one")]).unwrap();
    let file = bench.store.sub_file("conf", "a").unwrap();
    bench.put("conf", &[("a", "two")]).unwrap();
    // Only a path: what it names is read through /proc, as a mount does.
    use std::os::fd::AsRawFd;
    let content = std::fs::read_to_string(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
    assert_eq!(content, "one");
    assert!(bench.store.sub_file("conf", "..data").is_err());
    assert!(bench.store.sub_file("conf", "b").is_err());

    assert!(bench.store.make_empty("cache").unwrap());
    assert!(!bench.store.make_empty("cache").unwrap());
    bench.store.sub_directory("cache", "a/b").unwrap();
    let mode = bench.path("cache/a/b").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o777);
    // A13: a container puts a link where the next one's sub-path will be.
    symlink("/", bench.path("cache/evil")).unwrap();
    symlink("../../outside", bench.path("cache/a/away")).unwrap();
    for sub_path in ["evil", "evil/tmp", "a/away", "a/away/x", "..", "a/../../outside", "/", ""] {
        assert!(bench.store.sub_directory("cache", sub_path).is_err(), "{sub_path:?}");
    }
    bench.nothing_outside();
}

#[test]
fn an_empty_volume_is_every_users() {
    let bench = Bench::new();
    bench.store.make_empty("cache").unwrap();
    let mode = bench.path("cache").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o777);
    assert_eq!(bench.store.directory("cache").unwrap(), bench.path("cache"));
    assert!(bench.store.directory("a/b").is_err());
}

proptest! {
    #[test]
    fn nothing_is_ever_written_outside(
        names in proptest::collection::vec("[a./\u{0}-]{0,6}", 0..4),
        volume in "[a./\u{0}-]{0,6}",
    ) {
        let bench = Bench::new();
        let files: Vec<_> = names.iter().map(|name| (name.as_str(), "x")).collect();
        let put = bench.put(&volume, &files);
        bench.nothing_outside();
        if put.is_ok() {
            for name in &names {
                prop_assert_eq!(bench.read(&format!("{volume}/{name}")), "x");
            }
        } else {
            prop_assert!(bench.list("").is_empty());
        }
    }
}
