// SPDX-License-Identifier: Apache-2.0
//! The text: written as read, and nothing that changes in it goes unnoticed.

use casemate_policy::DocumentError;
use casemate_policy::Pattern;
use casemate_policy::Policy;
use casemate_policy::Problem;
use casemate_policy::Sha256Digest;
use casemate_policy::Volume;
use proptest::prelude::*;

use crate::full::FULL;

#[test]
fn writes_what_it_reads() {
    let policy = Policy::parse(FULL.as_bytes()).unwrap();
    let text = policy.to_toml();
    assert_eq!(Policy::parse(text.as_bytes()).unwrap(), policy);
    // The form is what owners read and what digests hang on.
    assert_eq!(text, FULL);
    assert_eq!(policy.digest(), Sha256Digest::of(FULL.as_bytes()));
}

#[test]
fn the_digest_is_that_of_the_content() {
    let policy = Policy::parse(FULL.as_bytes()).unwrap();
    let spaced = FULL.replace(" = ", "   =  ");
    assert_eq!(Policy::parse(spaced.as_bytes()).unwrap().digest(), policy.digest());
    let mut other = policy.clone();
    other.containers.get_mut("web").unwrap().signals.pop();
    assert_ne!(other.digest(), policy.digest());
}

#[test]
fn an_empty_policy_lets_nothing_run() {
    let policy = Policy::parse(b"version = 1\ncontainers = {}\n").unwrap();
    assert!(policy.containers.is_empty() && policy.volumes.is_empty());
    assert_eq!(Policy::parse(policy.to_toml().as_bytes()).unwrap(), policy);
}

#[test]
fn what_is_absent_grants_nothing() {
    let text = r#"
        version = 1
        [containers.web]
        image = "registry.example/web@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        encryption = "required"
        argv = ["/bin/web"]
        cwd = "/"
        user = { uid = 1000, gid = 1000 }
        logs = "none"
        no_new_privileges = true
        seccomp = "default"
        signals = []
    "#;
    let policy = Policy::parse(text.as_bytes()).unwrap();
    let web = &policy.containers["web"];
    assert_eq!(web.role, casemate_policy::Role::App);
    assert_eq!(web.metrics, casemate_policy::Visibility::None);
    assert_eq!(web.termination_message, casemate_policy::Visibility::None);
    assert_eq!(web.proc_mount, casemate_policy::ProcMount::Default);
    assert_eq!(web.restart, casemate_policy::Restart::Never);
    assert!(!web.terminal && !web.stdin && web.capabilities.is_empty() && web.exec.is_empty());
    assert!(!web.resources.memory.admits(1 << 20));
    assert_eq!(Policy::parse(policy.to_toml().as_bytes()).unwrap(), policy);
}

#[test]
fn refuses_what_it_does_not_know() {
    for (from, to) in [
        ("version = 1", "version = 1\nextra = 1"),
        ("hostname =", "domain ="),
        ("addresses =", "interfaces ="),
        ("{ ip =", "{ mac = \"x\", ip ="),
        (
            "kind = \"empty-dir\"\nsize_limit",
            "kind = \"empty-dir\"\nmedium = \"Memory\"\nsize_limit",
        ),
        ("kind = \"untrusted\"", "kind = \"host-path\""),
        ("kind = \"untrusted\"", "kind = \"untrusted\"\npath = \"/\""),
        ("max_bytes = 4096", ""),
        ("terminal = true", "terminal = true\nprivileged = true"),
        // A10, A11: hooks and devices are not in the language.
        ("terminal = true", "terminal = true\nhooks = []"),
        ("terminal = true", "terminal = true\ndevices = []"),
        ("uid = 1000", "uid = 1000, umask = 0"),
        ("kind = \"hosts\"", "kind = \"host-path\""),
        ("kind = \"hosts\"", "kind = \"hosts\", options = []"),
        ("\"required\"", "\"sometimes\""),
        ("\"CAP_KILL\"", "\"CAP_ANY\""),
        ("\"CAP_KILL\"", "\"KILL\""),
        ("seccomp = \"default\"", "seccomp = \"localhost/x\""),
        ("role = \"sidecar\"", "role = \"pause\""),
        ("restart = \"always\"", "restart = \"sometimes\""),
        ("max_starts = 5", "max_starts = -1"),
        ("uid = 1000", "uid = -1"),
        ("mode = 292", "mode = -1"),
        ("kind = \"nofile\"", "kind = \"files\""),
        ("\"unlimited\"", "\"infinity\""),
        ("hard = 4096", "hard = -1"),
        ("purpose = \"exec\"", "purpose = \"attack\""),
        ("memory = { limit", "memory = { swap = 1, limit"),
        ("pids = 64", "pids = { limit = 64 }"),
        ("\"kbs:///default/db/user\"", "\"https://evil.example/x\""),
        ("\"kbs:///default/db/user\"", "\"kbs:///default/db\""),
        ("\"kbs:///default/db/user\"", "\"kbs://evil.example/default/db/user\""),
        ("\"10.1.2.3\"", "\"10.1.2\""),
        ("\"10.0.0.0/8\"", "\"10.0.0.1/8\""),
        ("kernel.shm_rmid_forced", "kernel.core_pattern"),
        ("argv = [\"/bin/init\"]", "argv = [\"/bin/init\"]\nargv = [\"/bin/sh\"]"),
        // C1: a mutable tag
        ("@sha256:ba78", ":v1@sha256:ba78"),
        ("\"app.conf\" = \"sha256:e3b0", "\"app.conf\" = \"sha256:E3b0"),
        ("\"app.conf\" = \"sha256:e3b0", "\"app.conf\" = \"sha512:e3b0"),
        ("\"[a-z0-9-]+\"", "\"[a-z\""),
        ("\"[a-z0-9-]+\"", "\"a)|(?:b\""),
        ("\"web-[0-9]+\"", "\"web-[\""),
    ] {
        assert!(FULL.contains(from), "{from} does not occur");
        let error = Policy::parse(FULL.replacen(from, to, 1).as_bytes()).unwrap_err();
        assert!(matches!(error, DocumentError::Syntax { .. }), "{to}: {error}");
    }
}

/// Fields have names, wherever serde would count them off.
#[test]
fn a_list_is_no_table() {
    for (from, to, path) in [
        ("{ uid = 7, gid = 7 }", "[7, 7, []]", "containers.proxy.user"),
        ("{ name = \"PATH\", value = \"/bin\" }", "[\"PATH\", \"/bin\"]", "containers.web.env[0]"),
        ("{ limit = 500 }", "[500]", "containers.web.resources.cpu_millis"),
        (
            "{ ip = \"10.1.2.3\", names = [\"db\", \"db.example\"] }",
            "[\"10.1.2.3\", [\"db\"]]",
            "sandbox.hosts[0]",
        ),
        (
            "[volumes.plain]\nkind = \"empty-dir\"",
            "[volumes]\nplain = [\"empty-dir\"]",
            "volumes.plain",
        ),
    ] {
        assert!(FULL.contains(from), "{from} does not occur");
        match Policy::parse(FULL.replacen(from, to, 1).as_bytes()) {
            Err(DocumentError::Field { path: found, problem }) => {
                assert_eq!((found.as_str(), problem), (path, Problem::NotTable));
            }
            other => panic!("{to}: {other:?}"),
        }
    }
}

#[test]
fn every_field_without_a_default_must_be_there() {
    for field in [
        "image",
        "encryption",
        "argv",
        "cwd",
        "user",
        "logs",
        "no_new_privileges",
        "seccomp",
        "signals",
    ] {
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

    let section = |from: &str, to: &str| &FULL[FULL.find(from).unwrap()..FULL.find(to).unwrap()];
    let one = section("[containers.init]", "[containers.proxy]");
    let many: String =
        (0..257).map(|n| one.replace("containers.init", &format!("containers.c{n}"))).collect();
    too_many(&format!("version = 1\n{many}"), "containers");
    let volumes: String =
        (0..257).map(|n| format!("[volumes.v{n}]\nkind = \"empty-dir\"\n")).collect();
    too_many(&format!("version = 1\n{volumes}\n[containers]\n"), "volumes");
    let empty = Sha256Digest::of(b"");
    let files: String = (0..1025).map(|n| format!("f{n} = \"{empty}\"\n")).collect();
    let files = format!("[volumes.c]\nkind = \"config\"\n[volumes.c.files]\n{files}");
    too_many(&format!("version = 1\n{files}\n[containers]\n"), "volumes.c.files");
}

fn too_many(text: &str, field: &str) {
    let error = Policy::parse(text.as_bytes()).unwrap_err();
    let at = |found: &str| found == field;
    assert!(
        matches!(&error, DocumentError::Field { path, problem: Problem::TooMany } if at(path.as_str())),
        "{error}"
    );
}

#[test]
fn deep_nesting_is_an_error_not_a_crash() {
    let nested = format!("version = 1\nx = {}", "[".repeat(500_000));
    assert!(Policy::parse(nested.as_bytes()).is_err());
    let nested = format!("version = 1\nx = {}", "{a=".repeat(300_000));
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
        [" ", "a\r\nb", "\r", "\n", "\r\n", "\n\n", "a\\\n  b", "\t'''\"\"\"\n", "\u{7f}\u{85}\n"]
    {
        policy.containers.get_mut("web").unwrap().argv = vec!["x".to_owned(), text.to_owned()];
        assert_eq!(Policy::parse(policy.to_toml().as_bytes()).unwrap(), policy, "{text:?}");
    }
}

// E19: no value looks like another, or like a field of its own.
#[test]
fn a_text_is_one_line_with_every_character_seen() {
    let mut policy = Policy::parse(FULL.as_bytes()).unwrap();
    let lines = policy.to_toml().lines().count();
    let evil = "x\nreadonly_rootfs = true\n\"'\u{202e}\u{2066}\u{200b}\u{85}\u{2028}\u{feff}";
    let web = policy.containers.get_mut("web").unwrap();
    web.argv = vec![evil.to_owned()];
    web.env[1].value = evil.to_owned();
    web.exec[0].argv = vec![evil.to_owned()];
    if let Some(Volume::Config { files }) = policy.volumes.get_mut("conf") {
        files.insert("a\u{202e}b".to_owned(), Sha256Digest::of(b"x"));
    }
    let text = policy.to_toml();
    assert_eq!(Policy::parse(text.as_bytes()).unwrap(), policy);
    assert!(!text.chars().any(|c| casemate_policy::is_hidden(c) && c != '\n'), "{text}");
    // The one line more is the file's.
    assert_eq!(text.lines().count(), lines + 1, "{text}");
    assert!(text.contains("argv = [\"x\\nreadonly_rootfs = true\\n\\\"'\\u202E"), "{text}");
}

proptest! {
    #[test]
    fn any_text_in_a_field_round_trips(
        argv in prop::collection::vec("[^\0]{1,20}", 1..4),
        value in "[^\0]{0,40}",
        name in "[ -<>-~]{1,20}",
        file in "[^/\0]{1,20}",
        sysctl in ".{0,20}",
        sub_path in "[^\0]{1,20}",
        secret in "(/[^/\0]{1,8}){1,3}",
        literal in ".{1,20}",
    ) {
        let full = Policy::parse(FULL.as_bytes()).unwrap();
        // One field at a time: a text that one field refuses must not hide the others.
        let mut policies = vec![full.clone(); 7];
        let web = |policy: &mut Policy, change: &dyn Fn(&mut casemate_policy::Container)| {
            change(policy.containers.get_mut("web").unwrap());
        };
        web(&mut policies[0], &|c| c.argv.clone_from(&argv));
        web(&mut policies[1], &|c| {
            c.env[1].name.clone_from(&name);
            c.env[1].value.clone_from(&value);
        });
        if let Some(Volume::Config { files }) = policies[2].volumes.get_mut("conf") {
            files.insert(file, Sha256Digest::of(b"x"));
        }
        for text in policies[3].sandbox.sysctls.values_mut() {
            text.clone_from(&sysctl);
        }
        web(&mut policies[4], &|c| c.mounts[0].sub_path = Some(sub_path.clone()));
        web(&mut policies[5], &|c| c.secrets[0].path.clone_from(&secret));
        policies[6].sandbox.hostname = Some(Pattern::literal(&literal).unwrap());
        for policy in policies {
            if policy.validate().is_ok() {
                let text = policy.to_toml();
                prop_assert_eq!(Policy::parse(text.as_bytes()).unwrap(), policy);
            }
        }
    }

    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Policy::parse(&bytes);
    }

    #[test]
    fn a_literal_matches_itself_only(text in "\\PC{0,20}", other in "\\PC{0,20}") {
        let pattern = Pattern::literal(&text).unwrap();
        prop_assert!(pattern.matches(&text));
        prop_assert_eq!(pattern.matches(&other), text == other);
    }
}
