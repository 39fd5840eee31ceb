// SPDX-License-Identifier: Apache-2.0
//! A policy in Rego in the broker's folder: it narrows, and is never passed over.

use std::sync::Arc;

use casemate_agent_api::Code;
use casemate_kbs_client::ClientError;
use casemate_tee_sim::authority::Authority;

use crate::harness::Guest;
use crate::harness::KEY;
use crate::harness::KEY_VALUE;
use crate::harness::Place;

/// The broker's own references for the launch, a file's for the configuration.
const POLICY: &str = r#"
package policy
import rego.v1
default executables := 33
executables := 3 if { input.snp.measurement in query_reference_value("snp_launch_measurement") }
default configuration := 36
configuration := 2 if {
    input.init_data in query_reference_value("init_data")
    count(input.runtime_data_claims.nonce) > 0
}
trust_claims := {"executables": executables, "configuration": configuration}
"#;

async fn fetch(place: &Place, guest: &Guest) -> Result<Vec<u8>, ClientError> {
    let uri = format!("kbs:///{KEY}").parse().unwrap();
    Ok(guest.session(&place.endpoint()).resource(&uri).await?.expose().to_vec())
}

fn write(place: &Place, name: &str, text: &str) {
    std::fs::write(place.dir.join(name), text).unwrap();
}

#[cfg(feature = "rego")]
#[tokio::test]
async fn a_guest_must_be_affirmed_by_the_policy_too() {
    use crate::harness::INITDATA;
    use casemate_kbs_protocol::host_data;

    let authority = Arc::new(Authority::new());
    let place = Place::ready(&authority).await;
    write(&place, "rules.rego", POLICY);
    let known = hex::encode(host_data(INITDATA).unwrap());
    write(&place, "rules-references.json", &format!(r#"{{"init_data": ["{known}"]}}"#));
    let guest = Guest::new(&authority);
    assert_eq!(fetch(&place, &guest).await.unwrap(), KEY_VALUE);
    let lines = place.audit().first().unwrap()["verdict"].clone();
    let lines = lines.as_array().unwrap();
    assert!(lines.iter().any(|l| l["claim"] == "rego.executables" && l["outcome"] == "ok"));

    write(&place, "rules-references.json", r#"{"init_data": ["00"]}"#);
    let error = fetch(&place, &guest).await.unwrap_err();
    assert_eq!(error.code(), Code::AttestRefused, "{error}");
    assert!(error.to_string().contains("rego.configuration"), "{error}");

    // What the verifier refuses, the policy is not asked about, however generous it is (D14).
    write(&place, "rules.rego", &POLICY.replace("33", "3").replace("36", "2"));
    assert_eq!(fetch(&place, &guest).await.unwrap(), KEY_VALUE);
    let other = Guest { measurement: [0x3F; 48], ..guest.clone() };
    let error = fetch(&place, &other).await.unwrap_err();
    assert!(error.to_string().contains("guest.measurement"), "{error}");
    assert!(!error.to_string().contains("rego."), "{error}");
    place.stop().await;
}

#[cfg(feature = "rego")]
#[tokio::test]
async fn a_policy_that_cannot_be_used_lets_nobody_in() {
    let authority = Arc::new(Authority::new());
    let place = Place::ready(&authority).await;
    let guest = Guest::new(&authority);
    for (policy, references) in [
        ("package policy", "{}"),
        ("package policy\nx := [input.snp.measurement, input.init_data", "{}"),
        ("package policy\nx := [input.snp.measurement, input.init_data]", "{}"),
        (POLICY, "[]"),
        // The broker's own set is not to be replaced.
        (POLICY, r#"{"snp_launch_measurement": ["00"]}"#),
    ] {
        write(&place, "rules.rego", policy);
        write(&place, "rules-references.json", references);
        assert!(fetch(&place, &guest).await.is_err(), "{policy} {references}");
    }
    place.stop().await;
}

#[cfg(not(feature = "rego"))]
#[tokio::test]
async fn a_policy_that_nothing_evaluates_lets_nobody_in() {
    let authority = Arc::new(Authority::new());
    let place = Place::ready(&authority).await;
    let guest = Guest::new(&authority);
    assert_eq!(fetch(&place, &guest).await.unwrap(), KEY_VALUE);
    write(&place, "rules.rego", POLICY);
    let error = fetch(&place, &guest).await.unwrap_err();
    assert_ne!(error.code(), Code::AttestRefused, "{error}");
    place.stop().await;
}
