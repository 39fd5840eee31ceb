// SPDX-License-Identifier: Apache-2.0
//! Files beside the SNP vectors: what they say must be what the reports say.

#![expect(clippy::panic, reason = "helpers of tests fail the test")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use casemate_evidence::snp::Certificate;
use casemate_evidence::snp::Report;
use casemate_evidence::snp::SigningKey;
use casemate_verifier::Chain;
use casemate_verifier::Root;
use ring::digest;

fn file(name: &str) -> Vec<u8> {
    let path = format!("{}/../../../shared/vectors/snp/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("test vector {name} is missing: {error}"))
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|part| part == needle)
}

#[test]
fn a_clouds_reply_has_the_chain_of_the_report() {
    // The reply of the cloud's certificate service: VCEK, chain, and the TCB that it belongs to.
    let reply: serde_json::Value =
        serde_json::from_slice(&file("aci-sidecar/uvm_host_amd_certificate.json")).unwrap();
    let report = Report::parse(&file("aci-sidecar/snp_report.bin")).unwrap();
    let mut certificates =
        Certificate::read_all(reply["vcekCert"].as_str().unwrap().as_bytes()).unwrap();
    let chain = reply["certificateChain"].as_str().unwrap();
    certificates.extend(Certificate::read_all(chain.as_bytes()).unwrap());
    let roots = Root::all_builtin().unwrap();
    let chain = Chain::find(&certificates, SigningKey::Vcek, &roots).unwrap();
    assert_eq!(chain.root().to_string(), "amd:milan");
    let mut tcb = hex::decode(reply["tcbm"].as_str().unwrap()).unwrap();
    tcb.reverse();
    assert_eq!(tcb, report.as_bytes()[0x180..0x188]);
    let [_, _, leaf] = chain.certificates();
    assert_eq!(leaf.tcb(), Some(report.reported_tcb()));
}

#[test]
fn host_data_is_the_hash_of_the_policy_beside_the_report() {
    let policy = STANDARD.decode(file("aci-sidecar/uvm_security_policy.base64").trim_ascii());
    let hash = digest::digest(&digest::SHA256, &policy.unwrap());
    let report = Report::parse(&file("aci-sidecar/snp_report.bin")).unwrap();
    assert_eq!(hash.as_ref(), report.host_data());
}

#[test]
fn the_vendors_endorsement_names_the_measurement() {
    let report = Report::parse(&file("aci-sidecar/snp_report.bin")).unwrap();
    let endorsement = file("aci-sidecar/body.uvm_reference_info.bin");
    assert!(contains(&endorsement, hex::encode(report.measurement()).as_bytes()));
}

#[test]
fn a_certificate_in_an_environment_variable_is_one_of_the_vendors() {
    let text = file("aci-sidecar/security-context-test/host-amd-cert-base64");
    let reply: serde_json::Value =
        serde_json::from_slice(&STANDARD.decode(text.trim_ascii()).unwrap()).unwrap();
    let certificates =
        Certificate::read_all(reply["vcekCert"].as_str().unwrap().as_bytes()).unwrap();
    let roots = Root::all_builtin().unwrap();
    assert!(Chain::find(&certificates, SigningKey::Vcek, &roots).is_ok());
}

#[test]
fn reports_and_certificates_were_cut_from_the_evidence_beside_them() {
    for name in ["turin_oc", "genoa_oc", "milan_oc_release", "cb"] {
        let report = file(&format!("oak/derived-{name}.report.bin"));
        let vcek = file(&format!("oak/derived-{name}.vcek.der"));
        assert!(contains(&file(&format!("oak/{name}_evidence.binarypb")), &report), "{name}");
        assert!(contains(&file(&format!("oak/{name}_endorsements.binarypb")), &vcek), "{name}");
    }
}
