// SPDX-License-Identifier: Apache-2.0
//! `casemate policy {check, explain, diff, lint, simulate}` as a person calls them: output and exit
//! codes.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;

use casemate_boot_formats::initdata::Algorithm;
use casemate_boot_formats::initdata::Initdata;
use serde_json::Value;
use serde_json::json;

const SMALL: &str = include_str!("../../../policy/review/tests/data/small.toml");
const CONFIG: &str = "version = 1\n[broker]\nurl = \"https://broker.example:8443\"\nca = \"\"\"\n\
    -----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n\"\"\"\n";
const RULES: &str = "package casemate\nimport rego.v1\ndefault allow := false\n\
    allow if input.request != \"ExecProcess\"\n";

/// A folder with a policy, and with initdata and a pod that carry it.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        desk.write("policy.toml", SMALL);
        let initdata = desk.initdata("initdata.toml", &[]);
        let annotation = initdata.to_annotation().unwrap();
        desk.write(
            "pod.yaml",
            &format!(
                "apiVersion: v1\nkind: Pod\nmetadata:\n  annotations:\n    io.casemate.initdata: {annotation}\n"
            ),
        );
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        self.text(name)
    }

    fn initdata(&self, name: &str, more: &[(&str, &str)]) -> Initdata {
        let entries = [("policy.toml", SMALL), ("casemate.toml", CONFIG)];
        let entries = entries.iter().chain(more).copied();
        let initdata = Initdata::build(Algorithm::Sha256, entries).unwrap();
        self.write(name, initdata.as_str());
        initdata
    }
}

fn policy(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_casemate")).arg("policy").args(args).output().unwrap()
}

/// Expects an exit code and gives standard output.
fn exits(code: i32, args: &[&str]) -> String {
    let output = policy(args);
    let (out, err) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{args:?}\n{out}\n{err}");
    out
}

/// Expects an exit code and gives the last line of standard error, in the form of every failure.
fn fails(exit: i32, code: &str, args: &[&str]) -> String {
    let output = policy(args);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(exit), "{args:?}\n{text}");
    let last = text.lines().last().unwrap_or_default();
    assert!(last.starts_with(&format!("{code}: ")) && last.contains("; next: "), "{text}");
    text
}

#[test]
fn check_reads_every_kind_of_document() {
    let desk = Desk::new();
    for (name, kind) in
        [("policy.toml", "policy"), ("initdata.toml", "initdata"), ("pod.yaml", "pod")]
    {
        let json: Value =
            serde_json::from_str(&exits(0, &["check", "--json", &desk.text(name)])).unwrap();
        assert_eq!(json["kind"], kind);
        assert_eq!(json["policy"]["containers"], json!(["init", "web"]));
        let digest = json["policy"]["canonical_digest"].as_str().unwrap();
        assert!(digest.starts_with("sha256:") && digest.len() == 71, "{digest}");
        assert_eq!(json["initdata"].is_null(), kind == "policy");
    }
    let text = exits(0, &["check", &desk.text("pod.yaml")]);
    assert!(
        text.contains("containers: init, web")
            && text.contains("broker    https://broker.example:8443"),
        "{text}"
    );
    // The digest is the one that the broker allows.
    let measured = Command::new(env!("CARGO_BIN_EXE_casemate"))
        .args(["measure", "initdata", &desk.text("initdata.toml")])
        .output()
        .unwrap();
    assert!(text.contains(String::from_utf8(measured.stdout).unwrap().trim()), "{text}");
    // The policy comes out of its carrier as it went in.
    let out = desk.text("found.toml");
    exits(0, &["check", &desk.text("pod.yaml"), "--policy-out", &out]);
    assert_eq!(fs::read_to_string(out).unwrap(), SMALL);
}

#[test]
fn check_shows_the_line_at_fault() {
    let desk = Desk::new();
    let broken = desk.write("broken.toml", &SMALL.replace("cwd = \"/srv\"", "cwd = \"srv\""));
    let text = fails(1, "policy", &["check", &broken]);
    assert!(text.contains("28 | cwd = \"srv\"\n   |       ^^^^^\n"), "{text}");
    assert!(text.contains("containers.web.cwd: is no absolute path"), "{text}");
    let unknown = desk.write("unknown.toml", &SMALL.replace("cwd = \"/srv\"", "cmd = \"/srv\""));
    let text = fails(1, "policy", &["check", &unknown]);
    assert!(text.contains("| cmd = \"/srv\""), "{text}");
    // E19: the document's own text drives no terminal.
    let evil =
        desk.write("evil.toml", &SMALL.replace("cwd = \"/srv\"", "cwd = \"srv\" # \u{1b}[2J"));
    let text = fails(1, "policy", &["check", &evil]);
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn what_cannot_be_read_exits_with_two() {
    let desk = Desk::new();
    let (missing, good) = (desk.text("missing"), desk.text("policy.toml"));
    let bad = desk.write("bad.toml", "version = 9\n[containers]\n");
    fails(2, "file", &["check", &missing]);
    fails(2, "file", &["explain", &missing]);
    fails(2, "policy", &["explain", &bad]);
    fails(2, "policy", &["diff", &good, &bad]);
    fails(2, "policy", &["lint", &bad]);
    fails(2, "file", &["simulate", &good, &missing]);
    let list = desk.write("requests.json", r#"[{"Fly": {}}]"#);
    let text = fails(2, "requests", &["simulate", &good, &list]);
    assert!(text.contains("entry 1 of the list"), "{text}");
    fails(2, "usage", &["lint", &good, "--deny", "L999"]);
    fails(2, "usage", &["simulate", &good]);
}

#[test]
fn explain_tells_what_came_with_the_policy() {
    let desk = Desk::new();
    let text = exits(0, &["explain", &desk.text("initdata.toml")]);
    for sentence in [
        "In this pod may run: 1 init container (init) and 1 app container (web).",
        "The command: /bin/web --port 8443",
        "It attests to the key broker at https://broker.example:8443.",
        "/bin/probe -x (liveness probe)",
    ] {
        assert!(text.contains(sentence), "{sentence}\n{text}");
    }
    let json: Value =
        serde_json::from_str(&exits(0, &["explain", "--json", &desk.text("policy.toml")])).unwrap();
    assert_eq!(json["containers"][1]["name"], "web");
}

#[test]
fn diff_exits_with_one_where_documents_differ() {
    let desk = Desk::new();
    let (older, initdata) = (desk.text("policy.toml"), desk.text("initdata.toml"));
    assert_eq!(exits(0, &["diff", &older, &older]), "Both say the same.\n");
    assert_eq!(exits(0, &["diff", &initdata, &desk.text("pod.yaml")]), "Both say the same.\n");
    let newer = desk.write("newer.toml", &SMALL.replace("/bin/probe", "/bin/sh"));
    let text = exits(1, &["diff", &older, &newer]);
    assert!(text.contains("allows more  [containers.web.exec[0]]"), "{text}");
    let json: Value = serde_json::from_str(&exits(1, &["diff", "--json", &older, &newer])).unwrap();
    assert_eq!(json["changes"][0]["direction"], "allows-more");
    assert_eq!(json["changes"][0]["weight"], "high");
    // Rules are a part of what an initdata document says.
    desk.initdata("ruled.toml", &[("policy.rego", RULES)]);
    let text = exits(1, &["diff", &initdata, &desk.text("ruled.toml")]);
    assert!(text.contains("allows less  [policy.rego]"), "{text}");
}

#[test]
fn lint_fails_on_what_is_denied() {
    let desk = Desk::new();
    let good = desk.text("policy.toml");
    let weak = desk.write("weak.toml", &SMALL.replace("/bin/probe\", \"-x", "/bin/sh"));
    let text = exits(0, &["lint", &good]);
    assert!(text.ends_with("0 of them denied\n"), "{text}");
    let text = exits(1, &["lint", &weak]);
    assert!(text.contains("L003 high containers.web.exec[0].argv"), "{text}");
    exits(0, &["lint", &weak, "--deny", "none"]);
    exits(0, &["lint", &weak, "--allow", "L003"]);
    exits(1, &["lint", &good, "--deny", "low"]);
    exits(1, &["lint", &good, "--deny", "L017,high"]);
    exits(0, &["lint", &good, "--deny", "L017", "--allow", "L017"]);
    let json: Value = serde_json::from_str(&exits(1, &["lint", "--json", &weak])).unwrap();
    assert_eq!((&json["denied"], &json["findings"][0]["id"]), (&json!(1), &json!("L003")));
    assert_eq!(json["findings"][0]["place"]["line"], 48);
    let list = exits(0, &["lint", "--list"]);
    assert!(list.starts_with("L001  high"), "{list}");
}

#[test]
fn simulate_answers_a_list_and_points_at_the_line() {
    let desk = Desk::new();
    let file = desk.text("pod.yaml");
    let example = exits(0, &["simulate", &file, "--example"]);
    let honest = desk.write("honest.json", &example);
    let text = exits(0, &["simulate", &file, &honest]);
    assert!(text.ends_with("0 answered not as expected\n"), "{text}");

    let mut list: Vec<Value> = serde_json::from_str(&example).unwrap();
    let exec =
        json!({"ExecProcess": {"container_id": "web-1", "exec_id": "x", "argv": ["/bin/sh"]}});
    let at = list.iter().position(|step| step["ExecProcess"].is_object()).unwrap();
    list.insert(at, exec);
    let evil = desk.write("evil.json", &Value::from(list.clone()).to_string());
    let text = exits(1, &["simulate", &file, &evil]);
    assert!(text.contains("policy.exec  (not as expected)"), "{text}");
    assert!(text.contains("47 | exec = [\n"), "{text}");
    assert!(text.contains("next: add the command to the container's exec list"), "{text}");

    list[at]["expect"] = "policy.exec".into();
    let expected = desk.write("expected.json", &Value::from(list).to_string());
    let json: Value =
        serde_json::from_str(&exits(0, &["simulate", "--json", &file, &expected])).unwrap();
    assert_eq!(json[at]["verdict"], "denied");
    assert_eq!(json[at]["place"]["line"], 47);
}

#[cfg(not(feature = "rego"))]
#[test]
fn rules_that_this_build_cannot_evaluate_are_not_passed_over() {
    let desk = Desk::new();
    desk.initdata("ruled.toml", &[("policy.rego", RULES)]);
    let ruled = desk.text("ruled.toml");
    assert!(exits(0, &["check", &ruled]).contains("policy.rego is NOT checked"));
    let honest = desk.write("honest.json", &exits(0, &["simulate", &ruled, "--example"]));
    fails(2, "rules", &["simulate", &ruled, &honest]);
    exits(0, &["simulate", &ruled, &honest, "--without-rules"]);
}

#[cfg(feature = "rego")]
#[test]
fn rules_are_checked_and_asked() {
    let desk = Desk::new();
    desk.initdata("ruled.toml", &[("policy.rego", RULES)]);
    let ruled = desk.text("ruled.toml");
    assert!(exits(0, &["check", &ruled]).contains("policy.rego is well-formed"));
    let honest = desk.write("honest.json", &exits(0, &["simulate", &ruled, "--example"]));
    let text = exits(1, &["simulate", &ruled, &honest]);
    assert!(text.contains("denied   ExecProcess        policy.rules"), "{text}");
    exits(0, &["simulate", &ruled, &honest, "--without-rules"]);
    desk.initdata("broken.toml", &[("policy.rego", "package casemate\nallow if (")]);
    fails(1, "rules", &["check", &desk.text("broken.toml")]);
}
