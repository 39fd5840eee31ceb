// SPDX-License-Identifier: Apache-2.0
//! The policy format: what it holds, what it refuses, and that its text says the same again.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

use casemate_policy::DocumentError;
use casemate_policy::Policy;
use casemate_policy::Problem;
use proptest::prelude::*;

/// A policy with every field of the format.
const FULL: &str = r#"version = 1

[sandbox]
hostname = "web-0"

[containers.init]
image = "registry.example/init@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
encryption = "optional"
argv = ["/bin/init"]
cwd = "/"
user = { uid = 0, gid = 0 }
terminal = false
stdin = false
logs = "none"
readonly_rootfs = false
no_new_privileges = false
seccomp = "unconfined"
signals = [9]
max_starts = 1

[containers.web]
image = "registry.example:5000/team/web@sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
encryption = "required"
argv = ["/bin/web", "--name", """
a "b"
c""", ""]
cwd = "/srv/web"
user = { uid = 1000, gid = 1000, groups = [1000, 2000] }
env = [
    { name = "PATH", value = "/bin" },
    { name = "empty", value = "" },
]
env_holes = [
    { name = "HOSTNAME", value = "[a-z0-9-]+", required = true },
    { name = "[A-Z]+_SERVICE_HOST", value = "[0-9.]+", required = false },
]
terminal = true
stdin = true
logs = "host-visible"
readonly_rootfs = true
mounts = [
    { destination = "/cache", kind = "empty-dir", readonly = false, volume = "cache" },
    { destination = "/dev/shm", kind = "shm", readonly = false },
    { destination = "/dev/termination-log", kind = "termination-log", readonly = false },
    { destination = "/etc/hostname", kind = "hostname", readonly = true },
    { destination = "/etc/hosts", kind = "hosts", readonly = true },
    { destination = "/etc/resolv.conf", kind = "resolv-conf", readonly = true },
]
capabilities = [
    "CAP_CHOWN",
    "CAP_KILL",
]
no_new_privileges = true
seccomp = "default"
memory_limit = 67108864
exec = [
    { argv = ["/bin/probe", "-x"], terminal = false, stdin = false },
    { argv = ["/bin/sh"], terminal = true, stdin = true },
]
signals = [9, 15]
max_starts = 0
after = ["init"]
"#;

#[test]
fn writes_what_it_reads() {
    let policy = Policy::parse(FULL.as_bytes()).unwrap();
    let text = policy.to_toml();
    assert_eq!(Policy::parse(text.as_bytes()).unwrap(), policy);
    // The form is what owners read and what digests hang on.
    assert_eq!(text, FULL);
}

#[test]
fn an_empty_policy_lets_nothing_run() {
    let policy = Policy::parse(b"version = 1\ncontainers = {}\n").unwrap();
    assert!(policy.containers.is_empty());
    assert_eq!(Policy::parse(policy.to_toml().as_bytes()).unwrap(), policy);
}

/// Parses the full policy after one replacement and expects a problem at a path.
fn check(from: &str, to: &str, path: &str, problem: Problem) {
    assert!(FULL.contains(from), "{from} does not occur");
    let text = FULL.replacen(from, to, 1);
    match Policy::parse(text.as_bytes()) {
        Err(DocumentError::Field { path: found, problem: why }) => {
            assert_eq!((found.as_str(), why), (path, problem), "{to}");
        }
        other => panic!("{to}: {other:?}"),
    }
}

#[test]
fn refuses_each_broken_rule() {
    check("version = 1", "version = 2", "version", Problem::Version);
    check("\"web-0\"", "\"web 0\"", "sandbox.hostname", Problem::NotName);
    // B14: a name that would stand for loopback in /etc/hosts
    check("\"web-0\"", "\"localhost\"", "sandbox.hostname", Problem::NotName);
    check("containers.init]", "containers.Init]", "containers.Init", Problem::NotName);
    check("[\"/bin/init\"]", "[]", "containers.init.argv", Problem::Empty);
    check("[\"/bin/init\"]", "[\"\", \"x\"]", "containers.init.argv", Problem::Empty);
    let nul = "[\"/bin/init\", \"\\u0000\"]";
    check("[\"/bin/init\"]", nul, "containers.init.argv[1]", Problem::ForbiddenCharacter);
    let long = format!("[\"{}\"]", "x".repeat(128 * 1024));
    check("[\"/bin/init\"]", &long, "containers.init.argv[0]", Problem::TooLong);
    let many = format!("[{}]", "\"x\",".repeat(1025));
    check("[\"/bin/init\"]", &many, "containers.init.argv", Problem::TooMany);
    for cwd in ["srv", "/srv/", "/srv/../etc", "/./srv", "//srv", ""] {
        let to = format!("\"{cwd}\"");
        check("\"/srv/web\"", &to, "containers.web.cwd", Problem::NotNormalPath);
    }
    check("\"/srv/web\"", "\"/a\\nb\"", "containers.web.cwd", Problem::ForbiddenCharacter);
    check("uid = 1000", "uid = 4294967295", "containers.web.user", Problem::OutOfRange);
    check("[1000, 2000]", "[1, 1]", "containers.web.user.groups[1]", Problem::Duplicate);
    for name in ["", "A=B", "A\\u0000", "é"] {
        let to = format!("\"{name}\", value = \"\"");
        let path = "containers.web.env[1].name";
        check("\"empty\", value = \"\"", &to, path, Problem::NotEnvName);
    }
    // A7: duplicate key
    check("\"empty\"", "\"PATH\"", "containers.web.env[1].name", Problem::Duplicate);
    let value = "containers.web.env[1].value";
    check("value = \"\"", "value = \"\\u0000\"", value, Problem::ForbiddenCharacter);
    let hole = "containers.web.env_holes[1].name";
    check("\"[A-Z]+_SERVICE_HOST\"", "\"HOSTNAME\"", hole, Problem::Duplicate);
    check("\"[A-Z]+_SERVICE_HOST\"", "\"\"", hole, Problem::Empty);
    for limit in ["1048575", "1125899906842625"] {
        check("67108864", limit, "containers.web.memory_limit", Problem::OutOfRange);
    }
    check("[9, 15]", "[9, 0]", "containers.web.signals[1]", Problem::OutOfRange);
    check("[9, 15]", "[9, 65]", "containers.web.signals[1]", Problem::OutOfRange);
    check("[9, 15]", "[9, 9]", "containers.web.signals[1]", Problem::Duplicate);
    let capability = "containers.web.capabilities[1]";
    check("\"CAP_KILL\"", "\"CAP_CHOWN\"", capability, Problem::Duplicate);
    check("\"/bin/probe\"", "\"\"", "containers.web.exec[0].argv", Problem::Empty);
    check("[\"init\"]", "[\"other\"]", "containers.web.after", Problem::Unknown);
    check("[\"init\"]", "[\"web\"]", "containers.web.after", Problem::Unknown);
    check("[\"init\"]", "[\"init\", \"init\"]", "containers.web.after[1]", Problem::Duplicate);
    // Two containers that wait for each other.
    check(
        "max_starts = 1",
        "max_starts = 1\nafter = [\"web\"]",
        "containers.init.after",
        Problem::Unknown,
    );
}

// B1: mounts over what the guest itself puts there
#[test]
fn refuses_mounts_over_the_guest() {
    let path = "containers.web.mounts[0].destination";
    for destination in ["/", "/proc", "/proc/1", "/sys", "/sys/fs/cgroup", "/dev", "/dev/kmsg"] {
        let to = format!("\"{destination}\"");
        check("\"/cache\"", &to, path, Problem::ReservedPath);
    }
    let shm = "{ destination = \"/dev/shm\"";
    let twice = format!("{{ destination = \"/cache\", kind = \"shm\" }}, {shm}");
    check(shm, &twice, "containers.web.mounts[1].destination", Problem::Duplicate);
    check("\"/cache\"", "\"cache\"", path, Problem::NotNormalPath);
    for (from, index) in [
        ("/dev/shm", 1),
        ("/dev/termination-log", 2),
        ("/etc/hostname", 3),
        ("/etc/hosts", 4),
        ("/etc/resolv.conf", 5),
    ] {
        let path = format!("containers.web.mounts[{index}].destination");
        check(&format!("\"{from}\""), "\"/sys/x\"", &path, Problem::ReservedPath);
    }
    // Not reserved: names that only begin alike.
    for destination in ["/process", "/device", "/system", "/var/dev"] {
        let text = FULL.replacen("\"/cache\"", &format!("\"{destination}\""), 1);
        assert!(Policy::parse(text.as_bytes()).is_ok(), "{destination}");
    }
}

#[test]
fn a_volume_name_goes_with_empty_dir_only() {
    let path = "containers.web.mounts[0].volume";
    check(", volume = \"cache\"", "", path, Problem::Unfitting);
    check("volume = \"cache\"", "volume = \"a/b\"", path, Problem::Unfitting);
    let from = "kind = \"shm\", readonly = false";
    let to = "kind = \"shm\", volume = \"cache\"";
    check(from, to, "containers.web.mounts[1].volume", Problem::Unfitting);
}

#[test]
fn refuses_what_it_does_not_know() {
    for (from, to) in [
        ("version = 1", "version = 1\nextra = 1"),
        ("hostname =", "domain ="),
        ("terminal = true", "terminal = true\nprivileged = true"),
        ("uid = 1000", "uid = 1000, umask = 0"),
        ("\"empty-dir\"", "\"host-path\""),
        ("\"required\"", "\"sometimes\""),
        ("\"CAP_KILL\"", "\"CAP_ANY\""),
        ("\"CAP_KILL\"", "\"KILL\""),
        ("\"default\"", "\"localhost/x\""),
        ("max_starts = 0", "max_starts = -1"),
        ("uid = 1000", "uid = -1"),
        ("argv = [\"/bin/init\"]", "argv = [\"/bin/init\"]\nargv = [\"/bin/sh\"]"),
        // C1: a mutable tag
        ("@sha256:ba78", ":v1@sha256:ba78"),
        ("\"[a-z0-9-]+\"", "\"[a-z\""),
        ("\"[a-z0-9-]+\"", "\"a)|(?:b\""),
    ] {
        assert!(FULL.contains(from), "{from} does not occur");
        let error = Policy::parse(FULL.replacen(from, to, 1).as_bytes()).unwrap_err();
        assert!(matches!(error, DocumentError::Syntax { .. }), "{to}: {error}");
    }
}

#[test]
fn every_field_without_a_default_must_be_there() {
    for field in
        ["image", "encryption", "argv", "cwd", "user", "logs", "no_new_privileges", "seccomp"]
    {
        let start = FULL.find(&format!("\n{field} = ")).unwrap();
        let end = start + 1 + FULL[start + 1..].find('\n').unwrap();
        let text = format!("{}{}", &FULL[..start], &FULL[end..]);
        let error = Policy::parse(text.as_bytes()).unwrap_err();
        assert!(matches!(error, DocumentError::Syntax { .. }), "{field}: {error}");
    }
}

#[test]
fn refuses_what_is_over_the_caps() {
    let pad = |size: usize| format!("{FULL}#{}", "x".repeat(size - FULL.len() - 1));
    assert!(Policy::parse(pad(Policy::MAX_BYTES).as_bytes()).is_ok());
    let error = Policy::parse(pad(Policy::MAX_BYTES + 1).as_bytes()).unwrap_err();
    assert!(matches!(error, DocumentError::TooLarge { .. }));
    assert!(matches!(Policy::parse(b"\xff"), Err(DocumentError::NotUtf8)));

    let one =
        &FULL[FULL.find("[containers.init]").unwrap()..FULL.find("[containers.web]").unwrap()];
    let many: String =
        (0..257).map(|n| one.replace("containers.init", &format!("containers.c{n}"))).collect();
    let error = Policy::parse(format!("version = 1\n{many}").as_bytes()).unwrap_err();
    assert!(
        matches!(&error, DocumentError::Field { path, problem: Problem::TooMany } if path.as_str() == "containers"),
        "{error}"
    );
}

#[test]
fn deep_nesting_is_an_error_not_a_crash() {
    let nested = format!("version = 1\nx = {}", "[".repeat(500_000));
    assert!(Policy::parse(nested.as_bytes()).is_err());
}

#[test]
fn every_truncation_is_refused_or_a_shorter_policy() {
    let full = Policy::parse(FULL.as_bytes()).unwrap();
    for length in 0..FULL.len() {
        if let Ok(policy) = Policy::parse(&FULL.as_bytes()[..length]) {
            // What is cut off is a final newline, or the last field or item, and shows.
            assert!(policy != full || length >= FULL.trim_end().len(), "at {length}");
        }
    }
}

#[test]
fn every_mutated_byte_is_refused_or_seen() {
    let full = Policy::parse(FULL.as_bytes()).unwrap();
    let is_layout = |byte: u8| matches!(byte, b' ' | b'\n' | b'\t' | b'\r' | b',' | b'\'' | b'"');
    for position in 0..FULL.len() {
        for flip in [0x01, 0x20, 0x80] {
            let mut bytes = FULL.as_bytes().to_vec();
            bytes[position] ^= flip;
            if let Ok(policy) = Policy::parse(&bytes) {
                let harmless = is_layout(bytes[position]) || bytes[position] == b'#';
                assert!(policy != full || harmless, "byte {position} changed unnoticed");
            }
        }
    }
}

// A line end that a reader of text might change is part of the argument.
#[test]
fn line_ends_round_trip() {
    let mut policy = Policy::parse(FULL.as_bytes()).unwrap();
    for text in
        ["a\r\nb", "\r", "\n", "\r\n", "\n\n", "a\\\n  b", "\t'''\"\"\"\n", "\u{7f}\u{85}\n"]
    {
        policy.containers.get_mut("web").unwrap().argv = vec!["x".to_owned(), text.to_owned()];
        assert_eq!(Policy::parse(policy.to_toml().as_bytes()).unwrap(), policy, "{text:?}");
    }
}

proptest! {
    #[test]
    fn any_text_in_a_field_round_trips(
        argv in prop::collection::vec("[^\0]{1,20}", 1..4),
        value in "[^\0]{0,40}",
        name in "[ -<>-~]{1,20}",
    ) {
        let mut policy = Policy::parse(FULL.as_bytes()).unwrap();
        let web = policy.containers.get_mut("web").unwrap();
        web.argv = argv;
        web.env[1].name = name;
        web.env[1].value = value;
        if policy.validate().is_ok() {
            let text = policy.to_toml();
            prop_assert_eq!(Policy::parse(text.as_bytes()).unwrap(), policy);
        }
    }

    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Policy::parse(&bytes);
    }
}
