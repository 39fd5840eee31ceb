// SPDX-License-Identifier: Apache-2.0
//! Content of volumes: what the host may give, and that a container waits for it.

use casemate_policy::Sha256Digest;
use casemate_policy::Volume;
use casemate_policy_monitor::PutVolumeRequest;
use casemate_policy_monitor::ReferenceMonitor;
use casemate_policy_monitor::Rule;

use crate::pod::CONFIG;
use crate::pod::conf;
use crate::pod::create;
use crate::pod::file;
use crate::pod::fresh;
use crate::pod::info;
use crate::pod::put;
use crate::pod::ready;
use crate::support::denied;

fn check(rule: Rule, field: &str, request: &PutVolumeRequest) {
    let denial = denied(&mut fresh(), rule, field, |m| m.put_volume(request));
    // A28: nor digest nor name that the policy expects.
    let shown = denial.to_string();
    assert!(!shown.contains("e3b0c442") && !shown.contains("ba7816bf"), "{shown}");
    let sent = request.files.iter().any(|file| file.name == "app.conf");
    assert!(sent || !shown.contains("app.conf"), "{shown}");
}

// A14: each revision has a number of its own.
#[test]
fn revisions_grow_by_one() {
    let mut monitor = fresh();
    for revision in 1..4 {
        assert_eq!(put(&mut monitor, &info(revision)), u64::try_from(revision).unwrap());
    }
    assert_eq!(put(&mut monitor, &conf()), 1);
    // Kubelet sends the same again when it likes.
    assert_eq!(put(&mut monitor, &conf()), 2);
    // A revision that failed has used no number.
    let (revision, pending) = monitor.put_volume(&conf()).unwrap();
    monitor.rollback(pending);
    assert_eq!((revision, put(&mut monitor, &conf())), (3, 3));
}

#[test]
fn one_revision_at_a_time() {
    let mut monitor = fresh();
    let (_, pending) = monitor.put_volume(&info(1)).unwrap();
    denied(&mut monitor, Rule::Phase, "volume", |m| m.put_volume(&info(2)));
    assert_eq!(put(&mut monitor, &conf()), 1);
    monitor.commit(pending);
    assert_eq!(put(&mut monitor, &info(2)), 2);
}

#[test]
fn a_failed_revision_leaves_no_trace() {
    let mut monitor = fresh();
    for _ in 0..2 {
        let before = monitor.clone();
        let (_, pending) = monitor.put_volume(&conf()).unwrap();
        assert_ne!(monitor, before);
        monitor.rollback(pending);
        assert_eq!(monitor, before);
        put(&mut monitor, &conf());
    }
}

#[test]
fn only_volumes_of_the_host_take_content() {
    for volume in ["", "other", "Info", "cache"] {
        let request = PutVolumeRequest { volume: volume.into(), files: Vec::new() };
        check(Rule::Volume, "volume", &request);
    }
}

// B13: ConfigMap content altered, renamed, added, left out
#[test]
fn pinned_content_is_the_policys() {
    let mut request = conf();
    request.files[1].sha256 = Sha256Digest::of(b"other");
    check(Rule::Volume, "files[1].content", &request);
    let mut request = conf();
    request.files[1].name = "c".into();
    check(Rule::Volume, "files[1].name", &request);
    let mut request = conf();
    request.files.push(file("c", b""));
    check(Rule::Volume, "files[2].name", &request);
    let mut request = conf();
    request.files.remove(0);
    check(Rule::Volume, "files", &request);
    let mut request = conf();
    request.files.clear();
    check(Rule::Volume, "files", &request);
    // One file's content under the other one's name.
    let mut request = conf();
    let (first, second) = (request.files[0].sha256, request.files[1].sha256);
    (request.files[0].sha256, request.files[1].sha256) = (second, first);
    check(Rule::Volume, "files[0].content", &request);
    // The order does not matter.
    let mut request = conf();
    request.files.reverse();
    assert_eq!(put(&mut fresh(), &request), 1);
}

// B13: a ConfigMap beside files of the host's choice in one projected volume
#[test]
fn pinned_files_among_others_are_the_policys() {
    let mixed = |files: &[(&str, &[u8])]| PutVolumeRequest {
        volume: "mixed".into(),
        files: files.iter().map(|(name, content)| file(name, content)).collect(),
    };
    for others in 0..3 {
        let names = ["token", "labels"];
        let mut files: Vec<(&str, &[u8])> =
            names[..others].iter().map(|n| (*n, &b"x"[..])).collect();
        files.push(("app.conf", CONFIG));
        assert_eq!(put(&mut fresh(), &mixed(&files)), 1);
    }
    check(Rule::Volume, "files[1].content", &mixed(&[("token", b"x"), ("app.conf", b"evil")]));
    check(Rule::Volume, "files", &mixed(&[("token", b"x")]));
    check(Rule::Volume, "files", &mixed(&[("App.conf", CONFIG)]));
    check(Rule::Volume, "files", &mixed(&[]));
    check(Rule::Volume, "files", &mixed(&[("app.conf", CONFIG), ("token", &[b'x'; 101])]));
}

// A13: names that lead out of the volume, or onto the guest's own entries
#[test]
fn names_are_single_components() {
    let long = "x".repeat(256);
    for name in
        ["", ".", "..", "..data", "a/b", "/etc/passwd", "../x", "a\0", "a\nb", long.as_str()]
    {
        for mut request in [conf(), info(1)] {
            request.files[0].name = name.into();
            check(Rule::Invalid, "files[0].name", &request);
        }
    }
    let mut request = info(1);
    request.files.push(file("labels", b""));
    check(Rule::Invalid, "files[1].name", &request);
}

// A15: sizes at the bound, over it, and such that their sum overflows
#[test]
fn sizes_are_bounded() {
    assert_eq!(put(&mut fresh(), &info(100)), 1);
    check(Rule::Volume, "files", &info(101));
    let mut request = info(50);
    request.files.push(file("more", &[b'x'; 51]));
    check(Rule::Volume, "files", &request);
    for file in &mut request.files {
        file.size = u64::MAX;
    }
    check(Rule::Volume, "files", &request);
    let mut request = conf();
    request.files[0].size = Volume::MAX_BYTES + 1;
    check(Rule::Volume, "files", &request);
    let files = (0..=Volume::MAX_FILES).map(|n| file(&format!("f{n}"), b"")).collect();
    check(Rule::Invalid, "files", &PutVolumeRequest { volume: "info".into(), files });
}

// B13: an omitted ConfigMap is an altered one.
#[test]
fn a_container_waits_for_its_volumes() {
    for (given, field) in [(conf(), "mounts[2]"), (info(1), "mounts[1]")] {
        let mut monitor = fresh();
        put(&mut monitor, &given);
        let field = format!("containers.web.{field}");
        denied(&mut monitor, Rule::Volume, &field, |m| m.create(&create("web", "web-1")));
    }
    // Content on its way does not count.
    let mut monitor = fresh();
    put(&mut monitor, &conf());
    let (_, pending) = monitor.put_volume(&info(1)).unwrap();
    let field = "containers.web.mounts[2]";
    denied(&mut monitor, Rule::Volume, field, |m| m.create(&create("web", "web-1")));
    monitor.rollback(pending);
    denied(&mut monitor, Rule::Volume, field, |m| m.create(&create("web", "web-1")));
    assert!(ready().create(&create("web", "web-1")).is_ok());
}
