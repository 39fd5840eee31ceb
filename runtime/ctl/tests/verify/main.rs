// SPDX-License-Identifier: Apache-2.0
//! `casemate verify` as scripts call it: exit codes, JSON, and files in every form.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

mod guide;
mod vtpm;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;

use casemate_tee_sim::authority;
use casemate_tee_sim::authority::Authority;
use casemate_tee_sim::authority::Names;
use serde_json::Value;

const AFFIRMING: i32 = 0;
const REFUSED: i32 = 1;
const UNUSABLE: i32 = 2;
const UNBOUND: i32 = 3;

const AT: &str = "2026-01-01T00:00:00Z";

fn vector(name: &str) -> String {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors"));
    let path = path.join(name);
    assert!(path.exists(), "{} is missing", path.display());
    path.display().to_string()
}

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_casemate")).arg("verify").args(args).output().unwrap()
}

fn exit(output: &Output) -> i32 {
    output.status.code().unwrap()
}

/// Runs with `--json`: exit code and object.
fn json(args: &[&str]) -> (i32, Value) {
    let output = run(&[args, &["--json"]].concat());
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    let object = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{error}"));
    (exit(&output), object)
}

fn codes(object: &Value) -> BTreeSet<String> {
    let reasons = object["reasons"].as_array().unwrap();
    reasons.iter().map(|reason| reason["code"].as_str().unwrap().to_owned()).collect()
}

fn set(codes: &[&str]) -> BTreeSet<String> {
    codes.iter().map(|code| (*code).to_owned()).collect()
}

/// Expects exit code 2, nothing on standard output and one line of a code.
fn unusable(args: &[&str]) -> String {
    let output = run(args);
    assert_eq!(exit(&output), UNUSABLE, "{args:?}");
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

fn field(report: &str, at: usize, length: usize) -> String {
    hex::encode(&fs::read(report).unwrap()[at..at + length])
}

/// A genuine report of a Genoa platform with all that it takes.
struct Genoa {
    report: String,
    vcek: String,
    data: String,
    measurement: String,
}

impl Genoa {
    fn new() -> Self {
        let report = vector("snp/oak/derived-genoa_oc.report.bin");
        let vcek = vector("snp/oak/derived-genoa_oc.vcek.der");
        let (data, measurement) = (field(&report, 0x50, 64), field(&report, 0x90, 48));
        Self { report, vcek, data, measurement }
    }

    fn args<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let files = ["snp", "--report", &self.report, "--vcek", &self.vcek, "--at", AT];
        [&files, more].concat()
    }
}

#[test]
fn zero_only_when_both_were_compared() {
    let genoa = Genoa::new();
    let (data, measurement) =
        (["--report-data", &genoa.data], ["--measurement", &genoa.measurement]);
    let both = [data, measurement].concat();
    for (more, code, verdict) in [
        (&both[..], AFFIRMING, "affirming"),
        (&data, UNBOUND, "unbound"),
        (&measurement, UNBOUND, "unbound"),
        (&[], UNBOUND, "unbound"),
    ] {
        let (exit, object) = json(&genoa.args(more));
        assert_eq!((exit, &object["verdict"]), (code, &verdict.into()), "{object:#}");
        assert_eq!((&object["root"], &object["reasons"]), (&"amd".into(), &Value::Array(vec![])));
        assert_eq!(object["claims"]["guest.debug"]["outcome"], "ok");
        assert_eq!(object["at"], AT);
    }
    let zero = "00".repeat(64);
    let (exit, object) = json(&genoa.args(&["--report-data", &zero, "--measurement", &zero[..96]]));
    assert_eq!((exit, codes(&object)), (REFUSED, set(&["report-data", "measurement"])));
    let detail = object["reasons"][0]["detail"].as_str().unwrap();
    assert!(detail.contains(&genoa.data) && detail.contains(&zero), "{detail}");
    let (exit, object) = json(&genoa.args(&["--host-data", &"01".repeat(32)]));
    assert_eq!((exit, codes(&object)), (REFUSED, set(&["host-data"])));
}

#[test]
fn every_output_tells_the_verdict_and_the_root() {
    let genoa = Genoa::new();
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("page.html").display().to_string();
    for more in [&["--explain"][..], &["--html", &page], &[]] {
        let output = run(&genoa.args(more));
        assert_eq!(exit(&output), UNBOUND);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("verdict   unbound") && text.contains("root      amd\n"), "{text}");
        assert!(text.contains("WARNING   UNBOUND"), "{text}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("warning: UNBOUND"));
    }
    let explained = String::from_utf8(run(&genoa.args(&["--explain"])).stdout).unwrap();
    let (_, object) = json(&genoa.args(&[]));
    let claims = object["claims"].as_object().unwrap();
    for (claim, line) in claims {
        let shown = explained.lines().filter(|shown| shown.contains(&format!("  {claim} ")));
        assert_eq!(shown.count(), 1, "{claim}");
        assert!(explained.contains(line["rule"].as_str().unwrap()), "{claim}");
    }
    let page = fs::read_to_string(page).unwrap();
    for claim in claims.keys() {
        assert!(page.contains(&format!("<tr id=\"{claim}\"")), "{claim}");
    }
    assert!(page.contains(&genoa.measurement) && page.contains("amd:genoa"));
    // The published key of the ARK.
    assert!(page.contains("429a69c9422aa258ee4d8db5fcda9c6470ef15f8cd5a9cebd6cbc7d90b863831"));
}

#[test]
fn the_page_is_self_contained() {
    let page = hostile_page();
    for forbidden in
        ["<script", "http://", "https://", "<img", " src=\"", "url(", "@import", "<link", "<iframe"]
    {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    assert!(page.contains("default-src 'none'"));
    assert_eq!(page.matches("<html").count(), 1);
    assert!(page.contains("SIMULATED"), "the page warns of a simulated root");
}

#[test]
fn the_page_shows_in_a_browser() {
    let Some(browser) = browser() else {
        assert!(std::env::var_os("CASEMATE_REQUIRE").is_none(), "there is no Chromium");
        eprintln!("skipped: there is no Chromium");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("page.html");
    fs::write(&page, hostile_page()).unwrap();
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--dump-dom",
            "--virtual-time-budget=2000",
        ])
        .arg(format!("--user-data-dir={}", dir.path().join("profile").display()))
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    let dom = String::from_utf8(output.stdout).unwrap();
    assert!(dom.contains("<span id=\"verdict\">refused</span>"), "{dom}");
    // E19: the name in the certificate added no element.
    assert!(!dom.contains("<script") && !dom.contains("<img"));
    assert!(dom.matches("<tr id=").count() > 30);
}

fn browser() -> Option<PathBuf> {
    let names = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"];
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .flat_map(|dir| names.map(|name| dir.join(name)))
        .find(|program| program.exists())
}

/// The page of evidence whose certificates hold mark-up in their names.
fn hostile_page() -> String {
    let names = Names { product: "<script>alert(1)</script><img src=x>", ..Names::default() };
    let desk = Desk::with(&Authority::with(&names, 0));
    let page = desk.path("page.html");
    let output = run(&desk.args(&["--html", &page, "--host-data", "01"]));
    assert_eq!(exit(&output), REFUSED);
    fs::read_to_string(page).unwrap()
}

/// A folder with simulated evidence.
struct Desk {
    dir: tempfile::TempDir,
    data: String,
    measurement: String,
}

impl Desk {
    fn new() -> Self {
        Self::with(&Authority::new())
    }

    fn with(authority: &Authority) -> Self {
        let (data, measurement) = ([0xAB; 64], [0xCD; 48]);
        let mut report = authority::report(&data, &measurement, &[0xEF; 32]);
        authority.sign(&mut report);
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
        write("report.bin", &report);
        write("vcek.der", &authority.vcek);
        write("chain.der", &[authority.ask.clone(), authority.ark.clone()].concat());
        write("root.pem", authority.ark_pem().as_bytes());
        let json = authority.evidence(&report).to_json().unwrap();
        write("evidence.json", json.to_string().as_bytes());
        Self { dir, data: hex::encode(data), measurement: hex::encode(measurement) }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    /// Arguments without a root.
    fn untrusted(&self, more: &[&str]) -> Vec<String> {
        let files = [
            "snp".into(),
            "--report".into(),
            self.path("report.bin"),
            "--vcek".into(),
            self.path("vcek.der"),
            "--chain".into(),
            self.path("chain.der"),
            "--report-data".into(),
            self.data.clone(),
            "--measurement".into(),
            self.measurement.clone(),
            "--at".into(),
            AT.into(),
        ];
        files.into_iter().chain(more.iter().map(|arg| (*arg).to_owned())).collect()
    }

    fn args(&self, more: &[&str]) -> Vec<&'static str> {
        let root = self.path("root.pem");
        let args = self.untrusted(&[&["--trust-root", &root][..], more].concat());
        // The test's process is short-lived.
        args.into_iter().map(|arg| &*arg.leak()).collect()
    }
}

#[test]
fn a_chain_adds_no_trust_and_a_simulated_root_is_named_loudly() {
    // D14
    let desk = Desk::new();
    let untrusted = desk.untrusted(&[]);
    let (exit, object) = json(&untrusted.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!((exit, &object["root"]), (REFUSED, &Value::Null));
    assert!(codes(&object).contains("root"), "{object:#}");

    let (exit, object) = json(&desk.args(&[]));
    assert_eq!((exit, &object["verdict"]), (AFFIRMING, &"affirming".into()), "{object:#}");
    let root = object["root"].as_str().unwrap();
    assert!(root.starts_with("simulated:"), "{root}");
    assert!(object["warnings"][0].as_str().unwrap().starts_with("SIMULATED"));
    for more in [&["--explain"][..], &["--json"], &[]] {
        let output = run(&desk.args(more));
        let (out, err) = (output.stdout, String::from_utf8(output.stderr).unwrap());
        let out = String::from_utf8(out).unwrap();
        assert!(out.contains("SIMULATED") && out.contains(root), "{out}");
        assert!(err.starts_with("warning: SIMULATED"), "{err}");
    }
}

#[test]
fn files_come_in_every_form() {
    let desk = Desk::new();
    let read = |name: &str| fs::read(desk.path(name)).unwrap();
    let (report, vcek, chain) = (read("report.bin"), read("vcek.der"), read("chain.der"));
    let hexed = |bytes: &[u8]| {
        let digits = hex::encode(bytes);
        digits.as_bytes().chunks(64).flat_map(|line| [line, b"\n"].concat()).collect::<Vec<u8>>()
    };
    let reply = [&[0; 4][..], &1184_u32.to_le_bytes(), &[0; 24], &report, &[0; 100]].concat();
    for (name, form) in
        [("hex", hexed(&report)), ("reply", reply.clone()), ("reply-hex", hexed(&reply))]
    {
        let path = desk.write(name, &form);
        let mut args = desk.args(&[]);
        args[2] = path.leak();
        assert_eq!(json(&args).0, AFFIRMING, "{name}");
    }
    let pem = |ders: &[&[u8]]| {
        let encode = |der: &&[u8]| {
            pem_rfc7468::encode_string("CERTIFICATE", pem_rfc7468::LineEnding::LF, der).unwrap()
        };
        ders.iter().map(encode).collect::<String>().into_bytes()
    };
    for (name, form) in [
        ("vcek.pem", pem(&[&vcek])),
        ("vcek.hex", hexed(&vcek)),
        ("vcek-and-chain.der", [vcek.clone(), chain].concat()),
    ] {
        let path = desk.write(name, &form);
        let mut args = desk.args(&[]);
        args[4] = path.leak();
        assert_eq!(json(&args).0, AFFIRMING, "{name}");
    }
}

#[test]
fn input_that_cannot_be_used_is_no_verdict() {
    let desk = Desk::new();
    let report = fs::read(desk.path("report.bin")).unwrap();
    let with = |at: usize, path: String| {
        let mut args = desk.args(&[]);
        args[at] = path.leak();
        unusable(&args)
    };
    // D7: cut short, with bytes behind, or something else.
    for (name, bytes) in [
        ("cut", &report[..793]),
        ("long", &[&report[..], &[0]].concat()),
        ("empty", &[]),
        ("text", b"no report"),
        ("large", &[b'0'; 20_000]),
    ] {
        let line = with(2, desk.write(name, bytes));
        assert!(line.lines().last().unwrap().contains("; next: "), "{name}: {line}");
    }
    assert!(with(2, desk.path("absent")).starts_with("file: failed to read"));
    for (name, bytes) in [("v1", &b"no certificate"[..]), ("v2", &[]), ("v3", &[0x30, 9, 0])] {
        assert!(with(4, desk.write(name, bytes)).starts_with("input: "), "{name}");
    }
    for more in [
        &["--at", "yesterday"][..],
        &["--report-data", "zz"],
        &["--json", "--explain"],
        &["--no-such-option"],
        &["--allow-product", "rome"],
    ] {
        let args = [&["snp", "--report", "x"], more].concat();
        assert!(unusable(&args).starts_with("usage: "), "{more:?}");
    }
    for text in ["", "[snp]\n", "[snp]\nwhere = \"any-genuine-chip\"\n"] {
        let policy = desk.write("policy.toml", text.as_bytes());
        let args = desk.args(&["--policy", &policy]);
        assert!(unusable(&args).starts_with("input: --policy"), "{text}");
    }
}

#[test]
fn a_missing_certificate_is_said_with_where_to_fetch_it() {
    let genoa = Genoa::new();
    let line = unusable(&["snp", "--report", &genoa.report]);
    assert!(line.starts_with("input: there is no certificate"), "{line}");
    let chip = field(&genoa.report, 0x1A0, 64);
    assert!(
        line.contains(&format!("https://kdsintf.amd.com/vcek/v1/Genoa/{chip}?blSPL=")),
        "{line}"
    );
    let turin = vector("snp/oak/derived-turin_oc.report.bin");
    let chip = field(&turin, 0x1A0, 8);
    let line = unusable(&["snp", "--report", &turin]);
    assert!(line.contains(&format!("/vcek/v1/Turin/{chip}?fmcSPL=00&blSPL=01")), "{line}");
}

#[test]
fn policies_are_applied_and_narrowed_by_options() {
    let desk = Desk::new();
    let policy = |rules: &str| {
        let text = format!(
            "[snp]\nwhere = \"any-genuine-chip\"\nmeasurement = \"{}\"\nhost-data = \"{}\"\n{rules}",
            desk.measurement,
            "ef".repeat(32)
        );
        desk.write("policy.toml", text.as_bytes())
    };
    let judge =
        |path: &str, more: &[&str]| json(&desk.args(&[&["--policy", path][..], more].concat()));
    assert_eq!(judge(&policy(""), &[]).0, AFFIRMING);
    let (exit, object) = judge(&policy("guest-svn = \">= 200\"\n"), &[]);
    assert_eq!((exit, codes(&object)), (REFUSED, set(&["svn"])));
    let other = "00".repeat(48);
    let narrowed = policy("").replace("policy.toml", "other.toml");
    let text = fs::read_to_string(desk.path("policy.toml")).unwrap();
    fs::write(&narrowed, text.replace(&desk.measurement, &other)).unwrap();
    let (exit, object) = judge(&narrowed, &[]);
    assert_eq!((exit, codes(&object)), (REFUSED, set(&["measurement"])));
    // HOST_DATA by the initdata needs its digest.
    let text = text.replace(&"ef".repeat(32), "initdata");
    let initdata = desk.write("initdata.toml", text.as_bytes());
    assert!(unusable(&desk.args(&["--policy", &initdata])).contains("give --host-data"));
    assert_eq!(judge(&initdata, &["--host-data", &"ef".repeat(32)]).0, AFFIRMING);
}

#[test]
fn evidence_of_the_ecosystem_is_judged() {
    let desk = Desk::new();
    let (file, root) = (desk.path("evidence.json"), desk.path("root.pem"));
    let args = ["evidence", "--tee", "snp", "--file", &file, "--trust-root", &root, "--at", AT];
    let bound = ["--report-data", &desk.data, "--measurement", &desk.measurement];
    assert_eq!(json(&[&args[..], &bound].concat()).0, AFFIRMING);
    assert_eq!(json(&args).0, UNBOUND);
    let wrong = unusable(&[&args[..], &["--mrtd", &"00".repeat(48)]].concat());
    assert!(wrong.starts_with("input: --mrtd is not for this kind"), "{wrong}");
    let genuine = vector("snp/trustee/e2e-evidence.json");
    let (exit, object) = json(&["evidence", "--tee", "snp", "--file", &genuine, "--at", AT]);
    assert_eq!(object["root"], "amd", "{object:#}");
    assert!([REFUSED, UNBOUND].contains(&exit));
    assert!(!codes(&object).contains("signature"));
    unusable(&["evidence", "--tee", "tdx", "--file", &genuine]);
}

#[cfg(not(feature = "rego"))]
#[test]
fn a_policy_in_rego_is_never_passed_over() {
    let desk = Desk::new();
    let policy = desk.write("policy.rego", b"package policy");
    let text = unusable(&desk.args(&["--rego", &policy]));
    assert!(text.contains("--features rego"), "{text}");
    // Reference values alone are for nothing.
    unusable(&desk.args(&["--rego-reference", &policy]));
}

/// A genuine quote with its collateral, and options that name its report data and MRTD.
struct Td {
    quote: String,
    collateral: String,
    data: String,
    rules: String,
}

impl Td {
    const AT: &'static str = "2025-07-01T00:00:00Z";

    fn new() -> Self {
        let quote = vector("tdx/dcap-qvl/tdx_quote");
        let at = |offset: usize, length: usize| field(&quote, 48 + offset, length);
        let rules = format!(
            "[tdx]\nwhere = \"any-genuine-chip\"\nmrtd = \"{}\"\nmr-config-id = \"{}\"\n",
            at(136, 48),
            at(184, 48)
        );
        let data = at(520, 64);
        let collateral = vector("tdx/dcap-qvl/tdx_quote_collateral.json");
        Self { quote, collateral, data, rules }
    }

    /// Judges by the rules and further ones.
    fn args(&self, dir: &Path, more: &str) -> Vec<String> {
        let policy = dir.join("td.toml");
        fs::write(&policy, format!("{}{more}", self.rules)).unwrap();
        let policy = policy.display().to_string();
        let options = ["--collateral", &self.collateral, "--report-data", &self.data, "--policy"];
        let head = ["tdx", "--quote", &self.quote, "--at", Self::AT];
        [&head[..], &options, &[policy.as_str()]].concat().into_iter().map(str::to_owned).collect()
    }

    fn register(&self, index: usize) -> String {
        field(&self.quote, 48 + 328 + 48 * index, 48)
    }
}

fn of(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

#[test]
fn a_td_whose_firmware_alone_was_compared_is_told_in_every_output() {
    let td = Td::new();
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (td.register(1), td.register(2));
    for (more, missing) in [
        (String::new(), Some("RTMR1 and RTMR2")),
        (format!("rtmr1 = \"{one}\"\n"), Some("with RTMR2:")),
        (format!("rtmr0 = \"{}\"\nrtmr2 = \"{two}\"\n", td.register(0)), Some("with RTMR1:")),
        (format!("rtmr1 = \"{one}\"\nrtmr2 = \"{two}\"\n"), None),
    ] {
        let args = td.args(dir.path(), &more);
        let (exit, object) = json(&of(&args));
        assert_eq!(exit, AFFIRMING, "{object:#}");
        let warnings = object["warnings"].as_array().unwrap();
        let found = warnings.iter().map(|text| text.as_str().unwrap());
        let found: Vec<&str> = found.filter(|text| text.starts_with("SYSTEM: ")).collect();
        assert_eq!(found.len(), usize::from(missing.is_some()), "{found:?}");
        let page = dir.path().join("page.html").display().to_string();
        let output = run(&[&of(&args)[..], &["--html", &page]].concat());
        let texts = [
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
            fs::read_to_string(page).unwrap(),
        ];
        for text in texts {
            assert_eq!(text.contains("SYSTEM: "), missing.is_some(), "{text}");
            assert!(text.contains(missing.unwrap_or_default()), "{text}");
        }
    }
}

#[test]
fn a_verdict_by_a_policys_grace_says_when_it_ends() {
    // D18
    let desk = Desk::new();
    let policy = |floor: u8, grace: u8, until: &str| {
        let text = format!(
            "[snp]\nwhere = \"any-genuine-chip\"\nmeasurement = \"{}\"\nhost-data = \"{}\"\n\
             [snp.tcb.genoa]\nfloor = {{ snp = \">= {floor}\" }}\n\
             grace = {{ until = {until}, floor = {{ snp = \">= {grace}\" }} }}\n",
            desk.measurement,
            "ef".repeat(32)
        );
        desk.write("policy.toml", text.as_bytes())
    };
    let graces = |path: &str| {
        let (exit, object) = json(&desk.args(&["--policy", path]));
        let warnings = object["warnings"].as_array().unwrap().clone();
        let texts = warnings.iter().map(|text| text.as_str().unwrap().to_owned());
        (exit, texts.filter(|text| text.starts_with("GRACE: ")).collect::<Vec<_>>())
    };
    // The report's is 25; now is 2026-01-01.
    let until = "2026-02-03T00:00:00Z";
    let (exit, found) = graces(&policy(26, 25, until));
    assert_eq!((exit, found.len()), (AFFIRMING, 1));
    assert!(found[0].contains(until), "{found:?}");
    assert_eq!(graces(&policy(25, 24, until)), (AFFIRMING, vec![]));
    assert_eq!(graces(&policy(27, 26, until)), (REFUSED, vec![]));
    assert_eq!(graces(&policy(26, 25, AT)), (REFUSED, vec![]));

    let td = Td::new();
    let dir = tempfile::tempdir().unwrap();
    let rules = "tcb-status = [\"SWHardeningNeeded\"]\n\
                 grace = { until = 2025-07-02T00:00:00Z, tcb-status = [\"UpToDate\"] }\n";
    let (exit, object) = json(&of(&td.args(dir.path(), rules)));
    assert_eq!(exit, AFFIRMING, "{object:#}");
    assert!(object["warnings"].to_string().contains("ends at 2025-07-02T00:00:00Z"), "{object:#}");
}

#[test]
fn quotes_are_judged() {
    let (quote, collateral) =
        (vector("tdx/dcap-qvl/tdx_quote"), vector("tdx/dcap-qvl/tdx_quote_collateral.json"));
    let args = ["tdx", "--quote", &quote, "--collateral", &collateral];
    let (exit, object) = json(&[&args[..], &["--at", "2040-01-01T00:00:00Z"]].concat());
    assert_eq!((exit, &object["root"]), (REFUSED, &"intel".into()));
    assert!(codes(&object).contains("collateral-expired"), "{object:#}");
    // Without collateral, the quote is refused for that.
    let (exit, object) = json(&["tdx", "--quote", &quote, "--at", AT]);
    assert_eq!(exit, REFUSED);
    assert!(codes(&object).contains("collateral-missing"), "{object:#}");
    let report = Genoa::new().report;
    unusable(&["tdx", "--quote", &report]);
    let hexed = hex::encode(fs::read(&quote).unwrap());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("quote.hex");
    fs::write(&path, hexed).unwrap();
    let (exit, object) = json(&["tdx", "--quote", path_text(&path), "--collateral", &collateral]);
    assert_eq!((exit, &object["root"]), (REFUSED, &"intel".into()));
}

fn path_text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A P-384 key as `openssl genpkey` and `openssl pkey -pubout` write it.
fn signing_key() -> (String, String) {
    use ring::signature::ECDSA_P384_SHA384_ASN1_SIGNING;
    use ring::signature::EcdsaKeyPair;
    use ring::signature::KeyPair as _;
    let (random, algorithm) = (ring::rand::SystemRandom::new(), &ECDSA_P384_SHA384_ASN1_SIGNING);
    let der = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, der.as_ref(), &random).unwrap();
    let head = hex::decode("3076301006072a8648ce3d020106052b81040022036200").unwrap();
    let public = [head.as_slice(), pair.public_key().as_ref()].concat();
    let pem = |label, der: &[u8]| {
        pem_rfc7468::encode_string(label, pem_rfc7468::LineEnding::LF, der).unwrap()
    };
    (pem("PRIVATE KEY", der.as_ref()), pem("PUBLIC KEY", &public))
}

#[test]
fn reference_values_of_a_guest_image_and_its_signatures_are_a_bundles() {
    use casemate_guest_image::ReferenceValues;
    let desk = Desk::new();
    let image = ReferenceValues {
        format: ReferenceValues::FORMAT,
        kind: casemate_guest_image::KindName::Production,
        parts: std::collections::BTreeMap::new(),
        descriptions: std::collections::BTreeMap::new(),
        snp: vec![casemate_guest_image::SnpReferenceValues {
            vcpu_types: vec!["EPYC-v4".into()],
            guest_features: 1,
            launch_digests: vec!["00".repeat(48), desk.measurement.clone()],
        }],
        tdx: Some(casemate_guest_image::TdxReferenceValues {
            mrtd: "01".repeat(48),
            mrtd_two_pass: "02".repeat(48),
            rtmrs: [("rtmr2".to_owned(), "03".repeat(48))].into(),
            not_shown: [("rtmr0".to_owned(), "why".to_owned())].into(),
        }),
    };
    let image: Value = serde_json::from_str(&image.to_json()).unwrap();
    let bundle = serde_json::json!({
        "format": 1, "name": "test", "version": 3, "expires": "2026-06-01T00:00:00Z",
        "images": [image],
    })
    .to_string();
    let (private, public) = signing_key();
    let random = ring::rand::SystemRandom::new();
    let signature =
        casemate_guest_image::signature::sign(private.as_bytes(), bundle.as_bytes(), &random);
    desk.write("bundle.json", bundle.as_bytes());
    desk.write("bundle.sig", &signature.unwrap());
    let policy = |reference: &str, min_version: u32| {
        let text = format!(
            "[snp]\nwhere = \"any-genuine-chip\"\nmeasurement = {{ reference = \"{reference}\" }}\n\
             host-data = \"{}\"\n[reference-values]\nbundle = \"bundle.json\"\n\
             signatures = [\"bundle.sig\"]\nkeys = ['''{public}''']\nthreshold = 1\n\
             min-version = {min_version}\n",
            "ef".repeat(32)
        );
        desk.write("policy.toml", text.as_bytes())
    };
    let path = policy("snp_launch_measurement", 3);
    // Without --measurement: the policy alone says what should run.
    let args = desk.args(&["--policy", &path]);
    let at = args.iter().position(|arg| *arg == "--measurement").unwrap();
    let args = [&args[..at], &args[at + 2..]].concat();
    assert_eq!(json(&args).0, AFFIRMING);
    for (reference, min_version, needle) in
        [("snp_launch_measurement", 4, "version 3"), ("other", 3, "\"other\"")]
    {
        let line = unusable(&desk.args(&["--policy", &policy(reference, min_version)]));
        assert!(line.contains(needle), "{line}");
    }
    // The policy may say which bundle it means.
    let text = fs::read_to_string(policy("snp_launch_measurement", 3)).unwrap();
    for (name, good) in [("test", true), ("other", false)] {
        desk.write("policy.toml", format!("{text}name = \"{name}\"\n").as_bytes());
        if good {
            assert_eq!(json(&args).0, AFFIRMING);
        } else {
            assert!(unusable(&args).contains("the bundle \"test\""));
        }
    }
    let path = policy("snp_launch_measurement", 3);
    desk.write("bundle.json", bundle.replace("\"version\":3", "\"version\":4").as_bytes());
    assert!(unusable(&desk.args(&["--policy", &path])).contains("0 of the signers"));
}

#[test]
fn the_page_never_takes_the_place_of_an_input() {
    let desk = Desk::new();
    let (report, linked) = (desk.path("report.bin"), desk.path("linked"));
    let (symbolic, page) = (desk.path("symbolic"), desk.path("page.html"));
    let before = fs::read(&report).unwrap();
    fs::hard_link(&report, &linked).unwrap();
    std::os::unix::fs::symlink(&report, &symbolic).unwrap();
    let dotted = desk.path("./report.bin");
    let (chain, root) = (desk.path("chain.der"), desk.path("root.pem"));
    for target in [&report, &linked, &symbolic, &dotted, &chain, &root] {
        let line = unusable(&desk.args(&["--html", target]));
        assert!(line.contains("is the file of --"), "{line}");
    }
    assert_eq!(fs::read(&report).unwrap(), before);
    for _ in 0..2 {
        // A page that is there already is written anew.
        assert_eq!(exit(&run(&desk.args(&["--html", &page]))), AFFIRMING);
    }
    // Nor does it wait for the reader of a pipe.
    let pipe = desk.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(unusable(&desk.args(&["--html", &pipe])).starts_with("file: "));
}

#[test]
fn pipes_are_read_from_standard_input_and_never_waited_for() {
    use std::io::Write as _;
    use std::process::Stdio;
    let desk = Desk::new();
    let fifo = desk.path("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let with = |path: &str| {
        let mut args = desk.args(&[]);
        args[2] = path.to_owned().leak();
        args
    };
    let line = unusable(&with(&fifo));
    assert!(line.contains("is a named pipe") && line.contains("`-` for standard input"), "{line}");
    assert!(unusable(&with("/dev/zero")).contains("is no regular file"));
    assert!(unusable(&with("/")).contains("is a directory"));
    let report = fs::read(desk.path("report.bin")).unwrap();
    for path in ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_casemate"))
            .arg("verify")
            .args(with(path))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&report).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(AFFIRMING), "{path}");
    }
}

#[test]
fn tables_with_padding_and_azures_answer_hold_certificates() {
    use casemate_evidence::snp::CertificateKind;
    use casemate_evidence::snp::TableEntry;
    use casemate_evidence::snp::write_table;
    let desk = Desk::new();
    let vcek = fs::read(desk.path("vcek.der")).unwrap();
    let mut table = write_table(&[TableEntry { kind: CertificateKind::Vcek, data: vcek }]).unwrap();
    let with = |name: &str, bytes: &[u8]| {
        let path = desk.write(name, bytes);
        let mut args = desk.args(&[]);
        args[4] = path.leak();
        args
    };
    assert_eq!(json(&with("exact", &table)).0, AFFIRMING);
    table.resize(20_000, 0);
    assert_eq!(json(&with("padded", &table)).0, AFFIRMING);
    table[19_000] = 1;
    let line = unusable(&with("garbage", &table));
    assert!(line.contains("of the certificate table belongs to no entry"), "{line}");
    // Genuine: what Azure's containers get, as JSON and as base64 of it.
    let folder = "snp/aci-sidecar/";
    let report = vector(&format!("{folder}snp_report.bin"));
    let thim = vector(&format!("{folder}uvm_host_amd_certificate.json"));
    let wrapped = vector(&format!("{folder}security-context-test/host-amd-cert-base64"));
    let args = ["--at", "2023-06-01T00:00:00Z", "--allow-product", "milan"];
    for file in [&thim, &wrapped] {
        let call = ["snp", "--report", &report, "--vcek", file];
        let (_, object) = json(&[&call[..], &args].concat());
        assert_eq!(object["root"], "amd", "{object:#}");
    }
}
