// SPDX-License-Identifier: Apache-2.0
//! `casemate verify --rego`: a policy of the ecosystem narrows a verdict.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use serde_json::json;

const AT: &str = "2026-01-01T00:00:00Z";

/// In the manner of the ecosystem's default.
const POLICY: &str = r#"
package policy
import rego.v1
default executables := 33
executables := 3 if { input.snp.measurement in query_reference_value("snp_launch_measurement") }
executables := 3 if { input.tdx.quote.body.mr_td in query_reference_value("mr_td") }
default configuration := 36
configuration := 2 if { input.init_data in query_reference_value("init_data") }
trust_claims := {"executables": executables, "configuration": configuration, "hardware": 2}
"#;

fn vector(name: &str) -> String {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors"));
    let path = path.join(name);
    assert!(path.exists(), "{} is missing", path.display());
    path.display().to_string()
}

/// Bytes of a file in hexadecimal.
fn field(file: &str, at: usize, length: usize) -> String {
    hex::encode(&fs::read(file).unwrap()[at..at + length])
}

/// A genuine report, a policy and its reference values.
struct Desk {
    dir: tempfile::TempDir,
    report: String,
    vcek: String,
}

impl Desk {
    fn new(policy: &str, references: &Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("policy.rego"), policy).unwrap();
        fs::write(dir.path().join("references.json"), references.to_string()).unwrap();
        let report = vector("snp/oak/derived-genoa_oc.report.bin");
        Self { dir, report, vcek: vector("snp/oak/derived-genoa_oc.vcek.der") }
    }

    fn references() -> Value {
        let report = vector("snp/oak/derived-genoa_oc.report.bin");
        json!({
            "snp_launch_measurement": [field(&report, 0x90, 48)],
            "init_data": [field(&report, 0xC0, 32)],
        })
    }

    /// Exit code and object; the text of stderr where there is none.
    fn judge(&self, more: &[&str]) -> (i32, Result<Value, String>) {
        let (data, measurement) = (field(&self.report, 0x50, 64), field(&self.report, 0x90, 48));
        let args = ["snp", "--report", &self.report, "--vcek", &self.vcek, "--at", AT];
        let bound = ["--report-data", &data, "--measurement", &measurement];
        self.run(&[&args[..], &bound, more].concat())
    }

    fn run(&self, args: &[&str]) -> (i32, Result<Value, String>) {
        let file = |name: &str| self.dir.path().join(name);
        let output = Command::new(env!("CARGO_BIN_EXE_casemate"))
            .arg("verify")
            .args(args)
            .arg("--rego")
            .arg(file("policy.rego"))
            .arg("--rego-reference")
            .arg(file("references.json"))
            .arg("--json")
            .output()
            .unwrap();
        let object = serde_json::from_slice(&output.stdout);
        let error = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), object.map_err(|_| error))
    }
}

fn reasons(object: &Value) -> Vec<&str> {
    let reasons = object["reasons"].as_array().unwrap();
    reasons.iter().map(|reason| reason["claim"].as_str().unwrap()).collect()
}

#[test]
fn what_the_policy_affirms_stays_as_it_was() {
    let desk = Desk::new(POLICY, &Desk::references());
    let (exit, object) = desk.judge(&[]);
    let object = object.unwrap();
    assert_eq!((exit, &object["verdict"]), (0, &json!("affirming")), "{object:#}");
    assert_eq!(object["claims"]["rego.executables"]["outcome"], "ok");
    assert_eq!(object["claims"]["rego.executables"]["source"], "appraisal");
}

#[test]
fn what_it_warns_of_is_refused_with_a_reason() {
    let desk = Desk::new(POLICY, &json!({"init_data": Desk::references()["init_data"]}));
    let (exit, object) = desk.judge(&[]);
    let object = object.unwrap();
    assert_eq!((exit, reasons(&object)), (1, vec!["rego.executables"]), "{object:#}");
    assert_eq!(object["reasons"][0]["code"], "rego");
    let (exit, object) = Desk::new(POLICY, &json!({})).judge(&[]);
    let object = object.unwrap();
    assert_eq!((exit, reasons(&object).len()), (1, 2), "{object:#}");
}

#[test]
fn it_makes_nothing_better() {
    let all = POLICY.replace("33", "3").replace("36", "2");
    let desk = Desk::new(&all, &Desk::references());
    // D14: refused by the verifier, and the policy is not asked.
    let (exit, object) = desk.judge(&["--host-data", &"01".repeat(32)]);
    let object = object.unwrap();
    assert_eq!((exit, reasons(&object)), (1, vec!["guest.host-data"]), "{object:#}");
    assert_eq!(object["claims"]["rego.executables"], Value::Null);
    // Unbound by the verifier.
    let args = ["snp", "--report", &desk.report, "--vcek", &desk.vcek, "--at", AT];
    let (exit, object) = desk.run(&args);
    assert_eq!(exit, 3, "{object:?}");
}

#[test]
fn quotes_have_an_input_of_their_own() {
    let (quote, collateral) =
        (vector("tdx/dcap-qvl/tdx_quote"), vector("tdx/dcap-qvl/tdx_quote_collateral.json"));
    let args =
        ["tdx", "--quote", &quote, "--collateral", &collateral, "--at", "2025-06-20T00:00:00Z"];
    // MRTD and MRCONFIGID of a version 4 quote, behind its header of 48 bytes.
    let (mr_td, id) = (field(&quote, 48 + 136, 48), field(&quote, 48 + 184, 48));
    let known = json!({"mr_td": [mr_td], "init_data": [id]});
    let (exit, object) = Desk::new(POLICY, &known).run(&args);
    assert_eq!(exit, 3, "{object:?}");
    let (exit, object) = Desk::new(POLICY, &json!({"init_data": [id]})).run(&args);
    assert_eq!((exit, reasons(&object.unwrap())), (1, vec!["rego.executables"]));
}

#[test]
fn a_policy_that_cannot_be_used_gives_no_verdict() {
    let endless = "package policy\nimport rego.v1\nx := [input.snp.measurement, input.init_data]\n\
        n := numbers.range(1, 3000)\n\
        trust_claims := {\"hardware\": 2} if { count({[a, b, c] | some a in n; some b in n; some c in n}) > 0 }\n";
    for (policy, word) in [
        ("package policy", "measurement"),
        ("package policy\nx := [input.snp.measurement, input.init_data", "--rego"),
        ("package policy\nx := [input.snp.measurement, input.init_data]", "--rego"),
        (endless, "--rego"),
    ] {
        let (exit, object) = Desk::new(policy, &Desk::references()).judge(&[]);
        let error = object.unwrap_err();
        assert!(exit == 2 && error.contains(word), "{policy}: {error}");
    }
    let (exit, _) = Desk::new(POLICY, &json!([])).judge(&[]);
    assert_eq!(exit, 2);
    let vtpm = vector("az-snp-vtpm/evidence-v2.json");
    let args = ["evidence", "--tee", "az-snp-vtpm", "--file", &vtpm];
    assert_eq!(Desk::new(POLICY, &json!({})).run(&args).0, 2);
}
