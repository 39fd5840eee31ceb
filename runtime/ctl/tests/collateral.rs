// SPDX-License-Identifier: Apache-2.0
//! `casemate collateral` as a person calls it: what a cloud VM's owner does in three commands.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by a panic")]

use std::collections::HashMap;
use std::fs;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::process::Output;
use std::thread;

use casemate_tee_sim::authority;
use casemate_tee_sim::authority::ASK_SERIAL;
use casemate_tee_sim::authority::Authority;
use casemate_tee_sim::authority::Names;

const AT: &str = "2026-06-01T00:00:00Z";
const AROUND: (&str, &str) = ("260520000000Z", "260815000000Z");

fn casemate(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_casemate"));
    command.current_dir(dir).args(args).env("XDG_CACHE_HOME", dir.join("cache"));
    command.args(["--trust-root", "root.pem", "--at", AT]);
    command.output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A service on loopback that answers by the end of a path, until the test's process ends.
fn serve(answers: HashMap<&'static str, Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.extend(byte);
            }
            let head = String::from_utf8(head).unwrap();
            let path = head.split(' ').nth(1).unwrap();
            let body = answers.iter().find(|(part, _)| path.contains(*part));
            let (status, body) = body.map_or((404, &[][..]), |(_, body)| (200, body));
            let length = body.len();
            let reply = format!(
                "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
            );
            stream.write_all(&[reply.as_bytes(), body].concat()).unwrap();
        }
    });
    base
}

/// A folder with a report and the root of its chip, and the service of that chip's vendor.
fn chip(authority: &Authority) -> (tempfile::TempDir, HashMap<&'static str, Vec<u8>>) {
    let dir = tempfile::tempdir().unwrap();
    let mut report = authority::report(&[0xDA; 64], &[0x3E; 48], &[0; 32]);
    authority.sign(&mut report);
    fs::write(dir.path().join("report.bin"), report).unwrap();
    fs::write(dir.path().join("root.pem"), authority.ark_pem()).unwrap();
    let chain = authority::pem("CERTIFICATE", &authority.ask) + &authority.ark_pem();
    let answers = HashMap::from([
        ("?blSPL=10&teeSPL=00&snpSPL=25&ucodeSPL=84", authority.vcek.clone()),
        ("/vcek/v1/Genoa/cert_chain", chain.into_bytes()),
        ("/vcek/v1/Genoa/crl", authority.crl(AROUND, &[])),
    ]);
    (dir, answers)
}

#[test]
fn a_report_is_judged_with_what_was_fetched() {
    let authority = Authority::new();
    let (dir, answers) = chip(&authority);
    let kds = serve(answers);
    let dir = dir.path();
    let fetched = casemate(
        dir,
        &["collateral", "fetch", "--report", "report.bin", "--kds", &kds, "--out", "found"],
    );
    assert!(fetched.status.success(), "{}", stderr(&fetched));
    assert_eq!(String::from_utf8(fetched.stdout).unwrap(), "found/crl.der\nfound/chain.pem\n");
    let (data, measurement) = ("da".repeat(64), "3e".repeat(48));
    let mut verify = vec!["verify", "snp", "--report", "report.bin", "--chain", "found/chain.pem"];
    verify.extend([
        "--crl",
        "found/crl.der",
        "--report-data",
        &data,
        "--measurement",
        &measurement,
    ]);
    let verdict = casemate(dir, &verify);
    assert_eq!(verdict.status.code(), Some(0), "{}", stderr(&verdict));

    // D17: with the service gone, what is kept will do; elsewhere it will not, but for a bundle.
    let gone = "http://127.0.0.1:1";
    let fetch = ["collateral", "fetch", "--report", "report.bin", "--kds", gone, "--out", "again"];
    let kept = casemate(dir, &fetch);
    assert!(kept.status.success(), "{}", stderr(&kept));
    let elsewhere = [&fetch[..], &["--cache", "empty"]].concat();
    let missing = casemate(dir, &elsewhere);
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).starts_with("collateral-unreachable: "), "{}", stderr(&missing));
    assert!(stderr(&missing).contains("; next: check the network"));
    let exported = casemate(dir, &["collateral", "export", "--out", "bundle.json"]);
    assert_eq!(String::from_utf8(exported.stdout).unwrap().lines().count(), 3);
    let imported = casemate(dir, &["collateral", "import", "bundle.json", "--cache", "empty"]);
    assert!(imported.status.success(), "{}", stderr(&imported));
    let found = casemate(dir, &elsewhere);
    assert!(found.status.success(), "{}", stderr(&found));
    assert!(stderr(&found).contains("warning: collateral-unreachable: "));
}

#[test]
fn no_older_list_stays_and_one_that_revokes_the_signer_is_told() {
    // D2
    let authority = Authority::new();
    let (folder, mut answers) = chip(&authority);
    let dir = folder.path();
    answers.insert("/vcek/v1/Genoa/crl", authority.crl(AROUND, &[ASK_SERIAL]));
    let fetch = |kds: &str, cache: &str| {
        let from = ["collateral", "fetch", "--report", "report.bin", "--kds", kds];
        casemate(dir, &[&from[..], &["--out", "found", "--cache", cache]].concat())
    };
    let fetched = fetch(&serve(answers.clone()), "one");
    assert!(fetched.status.success(), "{}", stderr(&fetched));
    assert!(stderr(&fetched).contains("warning: the revocation list names \"SEV-simulated\""));
    assert!(dir.join("found/crl.der").exists());
    answers.remove("/vcek/v1/Genoa/crl");
    let fetched = fetch(&serve(answers), "two");
    assert!(fetched.status.success(), "{}", stderr(&fetched));
    assert!(stderr(&fetched).contains("warning: collateral-missing: "), "{}", stderr(&fetched));
    assert!(dir.join("found/chain.pem").exists() && !dir.join("found/crl.der").exists());
}

#[test]
fn a_service_that_lies_is_named() {
    // D17
    let authority = Authority::new();
    let (dir, mut answers) = chip(&authority);
    let other = Authority::with(&Names { chip: vec![7; 64], ..Names::default() }, 0);
    answers.insert("?blSPL=10&teeSPL=00&snpSPL=25&ucodeSPL=84", other.vcek);
    let kds = serve(answers);
    let args = ["collateral", "fetch", "--report", "report.bin", "--kds", &kds, "--out", "found"];
    let refused = casemate(dir.path(), &args);
    assert_eq!(refused.status.code(), Some(1));
    let line = stderr(&refused);
    assert!(line.starts_with(&format!("collateral-refused: {kds}/vcek/v1/Genoa/")), "{line}");
    assert!(line.contains("it is of another chip: 0707"), "{line}");
    assert!(!dir.path().join("found").exists());
}

#[test]
fn what_is_given_is_read_before_anybody_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("root.pem"), Authority::new().ark_pem()).unwrap();
    fs::write(dir.path().join("report.bin"), b"nonsense").unwrap();
    let fetch = ["collateral", "fetch", "--report", "report.bin", "--out", "found"];
    let refused = casemate(dir.path(), &fetch);
    assert!(stderr(&refused).starts_with("file: report.bin: "), "{}", stderr(&refused));
    for url in ["http://kds.example", "kds.example", "https://user@kds.example"] {
        let refused = casemate(dir.path(), &[&fetch[..], &["--kds", url]].concat());
        assert_eq!(refused.status.code(), Some(2), "{url}");
    }
}

#[test]
fn evidence_json_says_which_platform_is_meant() {
    let vector = |name: &str| {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors/");
        format!("{path}{name}")
    };
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("root.pem"), Authority::new().ark_pem()).unwrap();
    // Nobody is there, and the line says what was asked for.
    for (option, service, name, asked) in [
        ("--quote", "--pccs", "az-tdx-vtpm/evidence-v1.json", "http://127.0.0.1:1/"),
        ("--report", "--kds", "az-snp-vtpm/evidence-v2.json", "http://127.0.0.1:1/vcek/v1/"),
        ("--report", "--kds", "snp/trustee/e2e-evidence.json", "http://127.0.0.1:1/vcek/v1/"),
    ] {
        let file = vector(name);
        let args =
            ["collateral", "fetch", option, &file, service, "http://127.0.0.1:1", "--out", "found"];
        let mut command = Command::new(env!("CARGO_BIN_EXE_casemate"));
        command.current_dir(dir.path()).args(args).args(["--cache", "kept", "--at", AT]);
        let line = stderr(&command.output().unwrap());
        assert!(
            line.starts_with(&format!("collateral-unreachable: failed to fetch {asked}")),
            "{line}"
        );
        let args =
            ["collateral", "fetch", if option == "--quote" { "--report" } else { "--quote" }];
        let wrong = casemate(dir.path(), &[&args[..], &[&file, "--out", "found"]].concat());
        assert!(stderr(&wrong).starts_with(&format!("file: {file}: ")), "{}", stderr(&wrong));
    }
}
