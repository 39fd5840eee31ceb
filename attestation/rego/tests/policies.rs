// SPDX-License-Identifier: Apache-2.0
//! Policies in the manner of the ecosystem's default, and policies that mean no good.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use casemate_ear::Status;
use casemate_rego::Cage;
use casemate_rego::Policy;
use casemate_rego::Reaping;
use casemate_rego::RegoError;
use serde_json::Value;
use serde_json::json;

/// Executables by a reference value, hardware by firmware versions, configuration by the policy.
const POLICY: &str = r#"
package policy
import rego.v1

default executables := 33
default hardware := 97
default configuration := 36

executables := 3 if {
    input.snp
    input.snp.measurement in query_reference_value("snp_launch_measurement")
}

hardware := 2 if {
    input.snp.reported_tcb_bootloader in query_reference_value("snp_bootloader")
    input.snp.reported_tcb_snp in query_reference_value("snp_snp_svn")
}

configuration := 2 if {
    input.snp.policy_debug_allowed == false
    input.init_data in query_reference_value("init_data")
}

trust_claims := {
    "executables": executables,
    "hardware": hardware,
    "configuration": configuration,
    "file-system": 0, "instance-identity": 0, "runtime-opaque": 0,
    "storage-opaque": 0, "sourced-data": 0,
}
"#;

/// Reads a policy, to be evaluated by this package's program.
fn parse(text: &str) -> Result<Policy, RegoError> {
    let cage = Cage::new(PathBuf::from(env!("CARGO_BIN_EXE_casemate-rego")), Reaping::Here);
    Policy::parse(text, cage)
}

fn input() -> Value {
    json!({
        "snp": {
            "measurement": "aa", "policy_debug_allowed": false,
            "reported_tcb_bootloader": 10, "reported_tcb_snp": 23,
        },
        "init_data": "bb", "report_data": "cc",
        "init_data_claims": null, "runtime_data_claims": {"nonce": "n"},
    })
}

fn references() -> BTreeMap<String, Value> {
    let sets = [
        ("snp_launch_measurement", json!(["a0", "aa"])),
        ("snp_bootloader", json!([10])),
        ("snp_snp_svn", json!([22, 23])),
        ("init_data", json!(["bb"])),
    ];
    sets.into_iter().map(|(name, set)| (name.to_owned(), set)).collect()
}

#[test]
fn a_policy_of_the_ecosystem_runs() {
    let policy = parse(POLICY).unwrap();
    let claims = policy.evaluate(&input(), &references()).unwrap();
    assert_eq!((claims.executables, claims.hardware, claims.configuration), (3, 2, 2));
    assert_eq!(claims.status(), Status::Affirming);
    let mut other = input();
    *other.pointer_mut("/snp/measurement").unwrap() = json!("ff");
    assert_eq!(policy.evaluate(&other, &references()).unwrap().status(), Status::Warning);
    // Reference values that are not there accept nothing.
    let claims = policy.evaluate(&input(), &BTreeMap::new()).unwrap();
    assert_eq!(claims.status(), Status::Contraindicated);
}

#[test]
fn a_policy_that_names_nobody_is_refused() {
    let without = |word: &str| parse(&POLICY.replace(word, "elsewhere"));
    assert!(matches!(without("measurement"), Err(RegoError::NoMeasurement)));
    assert!(matches!(without("init_data"), Err(RegoError::NoInitdata)));
    let comment = format!("{}\n# init_data\n", POLICY.replace("init_data", "elsewhere"));
    assert!(matches!(parse(&comment), Err(RegoError::NoInitdata)));
    assert!(matches!(parse("measurement init_data ("), Err(RegoError::Evaluation { .. })));
    let huge = format!("{POLICY}#{}", " ".repeat(300 << 10));
    assert!(matches!(parse(&huge), Err(RegoError::TooLarge)));
}

#[test]
fn claims_that_are_none_are_errors() {
    let gives = |claims: &str| {
        let text = format!(
            "package policy\nimport rego.v1\nx := [input.snp.measurement, input.init_data]\n{claims}\n"
        );
        parse(&text).unwrap().evaluate(&input(), &BTreeMap::new())
    };
    assert!(gives(r#"trust_claims := {"hardware": 2}"#).is_ok());
    for bad in [
        r#"trust_claims := {"hardware": 258}"#,
        r#"trust_claims := {"hardwear": 2}"#,
        r#"trust_claims := {"hardware": "2"}"#,
        "trust_claims := 2",
    ] {
        assert!(matches!(gives(bad), Err(RegoError::Claims { .. })), "{bad}");
    }
    assert!(gives("other := 1").is_err());
    assert!(gives("trust_claims := {\"hardware\": 2} if { false }").is_err());
}

const ENDLESS: &str = r#"
package policy
import rego.v1
x := [input.snp.measurement, input.init_data]
n := numbers.range(1, 3000)
trust_claims := {"hardware": 2} if { count({[a, b, c] | some a in n; some b in n; some c in n}) > 0 }
"#;

#[test]
fn time_is_capped() {
    let begin = Instant::now();
    let found = parse(ENDLESS).unwrap().evaluate(&input(), &BTreeMap::new());
    assert!(matches!(found, Err(RegoError::Evaluation { .. })), "{found:?}");
    assert!(begin.elapsed() < Duration::from_secs(20));
}

#[test]
fn memory_is_capped_in_the_process() {
    // Doubles a string until there is no more.
    let mut hungry = String::from(
        "package policy\nimport rego.v1\nx := [input.snp.measurement, input.init_data]\ns0 := \"0123456789abcdef\"\n",
    );
    for n in 0..28 {
        hungry.push_str(&format!("s{} := concat(\"\", [s{n}, s{n}])\n", n + 1));
    }
    hungry.push_str("trust_claims := {\"hardware\": 2} if { count(s28) > 0 }\n");
    let found = parse(&hungry).unwrap().evaluate(&input(), &BTreeMap::new());
    assert!(matches!(found, Err(RegoError::Evaluation { .. })), "{found:?}");
    // Whoever asked lives on.
    assert!(parse(POLICY).unwrap().evaluate(&input(), &references()).is_ok());
}

#[test]
fn reference_values_are_what_the_caller_gave_and_null_else() {
    let policy = parse(
        r#"
package policy
import rego.v1
x := [input.snp.measurement, input.init_data]
default hardware := 97
hardware := 2 if {
    query_reference_value("no such name") == null
    query_reference_value("number") == 7
    query_reference_value("list") == ["a\"b\\", {"c": null}]
}
trust_claims := {"hardware": hardware}
"#,
    )
    .unwrap();
    let references = [("number", json!(7)), ("list", json!(["a\"b\\", {"c": null}]))];
    let references = references.into_iter().map(|(name, set)| (name.to_owned(), set)).collect();
    assert_eq!(policy.evaluate(&input(), &references).unwrap().hardware, 2);
    assert_eq!(policy.evaluate(&input(), &BTreeMap::new()).unwrap().hardware, 97);
    // What the input says of itself is no reference value (D14).
    let mut forged = input();
    let known = json!({"number": 7, "list": ["a\"b\\", {"c": null}]});
    forged.as_object_mut().unwrap().insert("reference_values".to_owned(), known);
    assert_eq!(policy.evaluate(&forged, &BTreeMap::new()).unwrap().hardware, 97);
    assert!(matches!(policy.evaluate(&json!([]), &BTreeMap::new()), Err(RegoError::Input)));
}

#[test]
fn a_policy_without_the_import_runs_too() {
    let old = "package policy\nx := [input.snp.measurement, input.init_data]\ntrust_claims := {\"executables\": v, \"configuration\": 2} if { input.snp.measurement in query_reference_value(\"m\"); v := 3 }\n";
    let references = BTreeMap::from([("m".to_owned(), json!(["aa"]))]);
    let claims = parse(old).unwrap().evaluate(&input(), &references).unwrap();
    assert_eq!((claims.executables, claims.configuration), (3, 2));
}
