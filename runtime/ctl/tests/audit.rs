// SPDX-License-Identifier: Apache-2.0
//! `casemate audit`, as the owner of a pod calls it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;

use casemate_audit::Head;
use casemate_audit::Log;
use casemate_audit::OwnerPublicKey;
use casemate_audit::Record;
use casemate_audit::Text;
use casemate_audit::Verdict;
use casemate_audit::line;
use serde_json::Value;

struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Calls the tool; names of files of the desk begin with `@`.
    fn casemate(&self, args: &str) -> Output {
        let args = args.split_whitespace().map(|arg| match arg.strip_prefix('@') {
            Some(name) => self.path(name).into_os_string(),
            None => arg.into(),
        });
        Command::new(env!("CARGO_BIN_EXE_casemate")).args(args).output().unwrap()
    }

    /// Makes a key, and a log of a guest that is sealed to it; its head.
    fn log(&self) -> Head {
        let made = self.casemate("audit key --out @owner.pem");
        assert!(made.status.success(), "{made:?}");
        let public = OwnerPublicKey::from_pem(&String::from_utf8(made.stdout).unwrap()).unwrap();
        let mut log = Log::sealed(&public).unwrap();
        let mut denied =
            Record::new("CreateContainer", Verdict::Denied, 2_345_678).with_name("name", "web");
        denied.code = Some(Text::new("policy.argv"));
        denied.field = Some(Text::new("argv[1]"));
        denied.text = Some(Text::new("argv[1]: \"sh\" is not in the policy"));
        log.append(&Record::new("Hello", Verdict::Allowed, 1_000_000)).unwrap();
        log.append(&denied).unwrap();
        let frames = std::iter::once(log.boot_frame()).chain(log.frames_from(0));
        fs::write(self.path("audit.log"), frames.map(line).collect::<String>()).unwrap();
        log.head()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn the_owner_reads_a_log() {
    let desk = Desk::new();
    let head = desk.log();
    let read = desk.casemate(&format!("audit read --key @owner.pem --head {head} @audit.log"));
    assert!(read.status.success(), "{read:?}");
    let shown = text(&read.stdout);
    let lines: Vec<_> = shown.lines().collect();
    assert_eq!(lines[0], "     0      1.000s  allowed    Hello");
    assert_eq!(
        lines[1],
        "     1      2.345s  DENIED     CreateContainer name=web  policy.argv: \
         argv[1]: \"sh\" is not in the policy"
    );
    assert!(lines[2].starts_with("2 records of boot "), "{shown}");
    assert!(lines[2].ends_with(&format!(", head {head}, attested")), "{shown}");
    assert_eq!(text(&read.stderr), "");
}

// E20: ids and names of the host's choice
#[test]
fn the_hosts_words_are_no_columns() {
    let desk = Desk::new();
    assert!(desk.casemate("audit key --out @owner.pem").status.success());
    let public = fs::read_to_string(desk.path("owner.pem")).unwrap();
    let key = casemate_audit::OwnerKey::from_pem(&public).unwrap();
    let mut log = Log::sealed(key.public_key()).unwrap();
    let record = Record::new("Start  policy.order", Verdict::Denied, 0)
        .with_name("container_id", "c1 name=web  policy.argv: x")
        .with_name("exec_id", "")
        .with_name("name", "a\"\\b\u{5d0}")
        .with_name("image_digest", "sha256:00");
    log.append(&record).unwrap();
    let frames = std::iter::once(log.boot_frame()).chain(log.frames_from(0));
    fs::write(desk.path("audit.log"), frames.map(line).collect::<String>()).unwrap();
    let read = desk.casemate("audit read --key @owner.pem @audit.log");
    assert!(read.status.success(), "{read:?}");
    assert_eq!(
        text(&read.stdout).lines().next().unwrap(),
        "     0      0.000s  DENIED     \"Start  policy.order\" \
         container_id=\"c1 name=web  policy.argv: x\" exec_id=\"\" name=\"a\\\"\\\\b\\u{5d0}\" \
         image_digest=sha256:00"
    );
}

#[test]
fn json_is_one_object_a_line() {
    let desk = Desk::new();
    let head = desk.log();
    let read =
        desk.casemate(&format!("audit read --json --key @owner.pem --head {head} @audit.log"));
    assert!(read.status.success(), "{read:?}");
    let lines: Vec<Value> =
        text(&read.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[1]["sequence"], 1);
    assert_eq!(lines[1]["record"]["code"], "policy.argv");
    assert_eq!(lines[2]["attested"], true);
    assert_eq!(lines[2]["head"], head.to_string());
    assert_eq!(lines[2]["findings"], Value::Array(Vec::new()));
}

#[test]
fn a_cut_tail_is_told() {
    let desk = Desk::new();
    let head = desk.log();
    let whole = fs::read_to_string(desk.path("audit.log")).unwrap();
    let cut: Vec<_> = whole.lines().take(2).collect();
    fs::write(desk.path("audit.log"), cut.join("\n") + "\n").unwrap();
    // Nothing in the log itself tells.
    let read = desk.casemate("audit read --key @owner.pem @audit.log");
    assert!(read.status.success(), "{read:?}");
    assert!(text(&read.stderr).starts_with("note: neither --broker-log"), "{read:?}");
    assert!(text(&read.stdout).ends_with(", not attested\n"), "{read:?}");
    let read = desk.casemate(&format!("audit read --key @owner.pem --head {head} @audit.log"));
    assert_eq!(read.status.code(), Some(1));
    let error = text(&read.stderr);
    assert!(error.starts_with("audit-log: ") && error.contains("; next: "), "{error}");
    assert!(error.contains("the tail of the log is cut off: it has 1 records, and 2"), "{error}");
    assert!(text(&read.stdout).contains("Hello"), "what is there is shown");
}

#[test]
fn the_brokers_log_tells_the_heads() {
    let desk = Desk::new();
    let head = desk.log();
    let earlier = Head { sequence: 0, ..head };
    let other = Head { boot: casemate_audit::BootId::new([7; 16]), ..head };
    let entry = |head: &Head| {
        format!("{{\"event\":\"attest\",\"outcome\":\"accepted\",\"audit_head\":\"{head}\"}}\n")
    };
    let resource = "{\"event\":\"resource\",\"outcome\":\"released\"}\n";
    // Heads of other boots are others' business.
    fs::write(desk.path("broker"), [&entry(&other), resource, &entry(&head)].concat()).unwrap();
    let call = "audit read --key @owner.pem --broker-log @broker @audit.log";
    let read = desk.casemate(call);
    assert!(read.status.success(), "{read:?}");
    assert!(text(&read.stdout).ends_with(", attested\n"), "{read:?}");
    // One that is not on the chain.
    fs::write(desk.path("broker"), [entry(&head), entry(&earlier)].concat()).unwrap();
    let read = desk.casemate(call);
    assert_eq!(read.status.code(), Some(1));
    assert!(text(&read.stderr).contains("not the one that was attested with 0"), "{read:?}");
    // None of this log.
    fs::write(desk.path("broker"), entry(&other)).unwrap();
    let read = desk.casemate(call);
    assert_eq!(read.status.code(), Some(1));
    assert!(text(&read.stderr).contains("attested no guest with this log"), "{read:?}");
    fs::write(desk.path("broker"), "not json\n").unwrap();
    assert!(text(&desk.casemate(call).stderr).starts_with("file: "));
}

#[test]
fn without_the_key_only_the_chain_is_checked() {
    let desk = Desk::new();
    let head = desk.log();
    let read = desk.casemate(&format!("audit read --head {head} @audit.log"));
    assert!(read.status.success(), "{read:?}");
    assert!(!text(&read.stdout).contains("Hello"));
    assert!(text(&read.stdout).contains("(not opened)"));
    // Another owner's key.
    assert!(desk.casemate("audit key --out @other.pem").status.success());
    let read = desk.casemate("audit read --key @other.pem @audit.log");
    assert_eq!(read.status.code(), Some(1));
    assert!(text(&read.stderr).contains("sealed to another key"), "{read:?}");
}

#[test]
fn a_key_is_private_and_never_overwritten() {
    let desk = Desk::new();
    assert!(desk.casemate("audit key --out @owner.pem").status.success());
    let mode = fs::metadata(desk.path("owner.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let before = fs::read(desk.path("owner.pem")).unwrap();
    let again = desk.casemate("audit key --out @owner.pem");
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).starts_with("file: "), "{again:?}");
    assert_eq!(fs::read(desk.path("owner.pem")).unwrap(), before);
}

#[test]
fn wrong_files_and_heads_are_told_apart() {
    let desk = Desk::new();
    desk.log();
    fs::write(desk.path("rubbish"), "hello\n").unwrap();
    for (call, code) in [
        ("audit read --key @owner.pem @rubbish", "audit-log: "),
        ("audit read --key @rubbish @audit.log", "key: "),
        ("audit read --key @audit.log @audit.log", "key: "),
        ("audit read --key @owner.pem @absent", "file: "),
    ] {
        let read = desk.casemate(call);
        assert_eq!(read.status.code(), Some(1), "{call}");
        assert!(text(&read.stderr).starts_with(code), "{call}: {read:?}");
    }
    let read = desk.casemate("audit read --head 7 @audit.log");
    assert_eq!(read.status.code(), Some(2));
    assert!(text(&read.stderr).starts_with("usage: "), "{read:?}");
}
