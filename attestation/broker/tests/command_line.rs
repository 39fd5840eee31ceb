// SPDX-License-Identifier: Apache-2.0
//! The binary's commands, each as an owner types it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_casemate-broker")).args(args).output().unwrap()
}

fn ok(args: &[&str]) -> String {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Asserts a failure in the form `<code>: …; next: …` and gives the text.
fn fails(args: &[&str], code: &str) -> String {
    let output = run(args);
    assert!(!output.status.success(), "{args:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with(&format!("{code}: ")) && text.contains("; next: "), "{text}");
    assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    text
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

#[test]
fn an_owners_day() {
    let folder = tempfile::tempdir().unwrap();
    let dir = text(&folder.path().join("broker"));
    let dir = dir.as_str();
    let printed = ok(&["init", "--dir", dir, "--host", "broker.example", "127.0.0.1"]);
    assert_eq!(printed.trim_end(), format!("{dir}/ca.pem"));
    fails(&["init", "--dir", dir, "--host", "x.example"], "broker.command");

    // Nobody else reads the folder.
    assert_eq!(fs::metadata(dir).unwrap().permissions().mode() & 0o777, 0o700);
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
    }

    let measurement = "ab".repeat(48);
    let initdata = "cd".repeat(32);
    ok(&["reference", "add", "--dir", dir, "--measurement", &measurement]);
    let key = folder.path().join("key");
    fs::write(&key, b"a very secret key").unwrap();
    ok(&["resource", "put", "--dir", dir, "default/key/1", &text(&key)]);
    ok(&["resource", "allow", "--dir", dir, "default/key/1", "--initdata", &initdata]);
    let listed = ok(&["list", "--dir", dir]);
    assert_eq!(
        listed,
        format!(
            "reference {measurement}\nresource default/key/1 17 bytes\n\
             allowed default/key/1 to initdata {initdata}\n"
        )
    );
    let milan = format!(
        "{}/../../../shared/vectors/snp/trustee/milan_ask_ark_asvk.pem",
        env!("CARGO_MANIFEST_DIR")
    );
    let printed =
        ok(&["root", "add", "--dir", dir, "--name", "milan", "--kind", "amd-milan", &milan]);
    assert!(printed.starts_with("amd:milan 9f056bee"), "{printed}");
    // D14: not under another kind, nor twice.
    let add = ["root", "add", "--dir", dir, "--name", "x", "--kind"];
    fails(&[&add[..], &["amd-genoa", &milan]].concat(), "broker.command");
    fails(&[&add[..], &["simulated", &milan]].concat(), "broker.command");
    let again = ["root", "add", "--dir", dir, "--name", "milan", "--kind", "amd-milan", &milan];
    fails(&again, "broker.command");

    // References of TDs, by register.
    let (mrtd, rtmr) = ("01".repeat(48), "02".repeat(48));
    ok(&["reference", "add", "--dir", dir, "--mrtd", &mrtd, "--rtmr1", &rtmr, "--rtmr1", &mrtd]);
    let listed = ok(&["list", "--dir", dir]);
    for line in [("tdx_mrtd", &mrtd), ("tdx_rtmr1", &mrtd), ("tdx_rtmr1", &rtmr)] {
        assert!(listed.contains(&format!("reference {} {}\n", line.0, line.1)), "{listed}");
    }
    ok(&["reference", "remove", "--dir", dir, "--mrtd", &mrtd, "--rtmr1", &rtmr]);
    ok(&["reference", "remove", "--dir", dir, "--rtmr1", &mrtd]);
    fails(&["reference", "remove", "--dir", dir, "--rtmr1", &mrtd], "broker.command");

    ok(&["resource", "deny", "--dir", dir, "default/key/1", "--initdata", &initdata]);
    fails(
        &["resource", "deny", "--dir", dir, "default/key/1", "--initdata", &initdata],
        "broker.command",
    );
    ok(&["resource", "remove", "--dir", dir, "default/key/1"]);
    ok(&["reference", "remove", "--dir", dir, "--measurement", &measurement]);
    ok(&["root", "remove", "--dir", dir, "--name", "milan"]);
    assert_eq!(ok(&["list", "--dir", dir]), "");
}

#[test]
fn bad_input_is_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let dir = text(&folder.path().join("broker"));
    let dir = dir.as_str();
    fails(&["list", "--dir", dir], "broker.command");
    fails(&["init", "--dir", dir, "--host", "a b"], "broker.command");
    ok(&["init", "--dir", dir, "--host", "localhost"]);
    let missing = text(&folder.path().join("missing"));
    fails(&["resource", "put", "--dir", dir, "a/b/c", &missing], "broker.store");
    let file = folder.path().join("file");
    fs::write(&file, b"").unwrap();
    fails(&["resource", "put", "--dir", dir, "a/b/c", &text(&file)], "broker.command");
    fs::write(&file, vec![0; (1 << 20) + 1]).unwrap();
    fails(&["resource", "put", "--dir", dir, "a/b/c", &text(&file)], "broker.command");
    fails(
        &["root", "add", "--dir", dir, "--name", "x", "--kind", "simulated", &text(&file)],
        "broker.command",
    );
    // Malformed arguments are the argument parser's.
    for args in [
        &["resource", "put", "--dir", dir, "a/../c", "x"][..],
        &["resource", "allow", "--dir", dir, "a/b/c", "--initdata", "00"],
        &["reference", "add", "--dir", dir, "--measurement", "xyz"],
        &["reference", "add", "--dir", dir],
        &["root", "add", "--dir", dir, "--name", "x", "--kind", "sample", "x"],
        &["init", "--dir", dir],
    ] {
        assert_eq!(run(args).status.code(), Some(2), "{args:?}");
    }
}

/// A running server that is stopped by its process id.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_server_says_where_it_listens_and_stops_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let dir = text(&folder.path().join("broker"));
    ok(&["init", "--dir", &dir, "--host", "127.0.0.1"]);
    let mut server = Server(
        Command::new(env!("CARGO_BIN_EXE_casemate-broker"))
            .args(["serve", "--dir", &dir, "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim_end().strip_prefix("https://127.0.0.1:").unwrap();
    assert!(address.parse::<u16>().unwrap() > 0);
    let stop = format!("kill {}", server.0.id());
    let asked = Command::new("sh").args(["-c", &stop]).status().unwrap();
    assert!(asked.success());
    assert!(server.0.wait().unwrap().success());
}

#[test]
fn rules_that_cannot_be_used_are_told_before_the_first_guest() {
    let folder = tempfile::tempdir().unwrap();
    let dir = text(&folder.path().join("broker"));
    ok(&["init", "--dir", &dir, "--host", "127.0.0.1"]);
    let rules = folder.path().join("broker/rules.toml");
    let template = fs::read_to_string(&rules).unwrap();
    let serve = ["serve", "--dir", &dir, "--listen", "127.0.0.1:0"];
    let tdx = "[tdx]\nwhere = \"any-genuine-chip\"\nmr-config-id = \"initdata\"\nmrtd = { reference = \"tdx_mrtd\" }\n";
    for bad in [
        String::new(),
        template.replace("measurement = ", "measurment = "),
        template.replace("snp_launch_measurement", "other"),
        tdx.replace("tdx_mrtd", "other"),
    ] {
        fs::write(&rules, bad).unwrap();
        fails(&serve, "broker.command");
    }
    // A TD's firmware alone: served, with a warning.
    fs::write(&rules, tdx).unwrap();
    let started = Command::new(env!("CARGO_BIN_EXE_casemate-broker"))
        .args(serve)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut server = Server(started.unwrap());
    let mut lines = BufReader::new(server.0.stderr.take().unwrap()).lines();
    for rule in ["rtmr1", "rtmr2"] {
        let line = lines.next().unwrap().unwrap();
        assert!(line.contains("WARN") && line.contains(rule), "{line}");
    }
}
