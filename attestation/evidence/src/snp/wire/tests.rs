// SPDX-License-Identifier: Apache-2.0

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::snp::testing::vector;

fn real() -> String {
    String::from_utf8(vector("trustee/e2e-evidence.json")).unwrap()
}

fn ours(name: &str) -> Evidence {
    Evidence { report: Report::parse(&vector(name)).unwrap(), certificates: Vec::new() }
}

#[test]
fn the_ecosystems_file_rebuilds_the_signed_bytes() {
    let evidence = Evidence::from_json(&real()).unwrap();
    assert_eq!(evidence.report.as_bytes(), vector("trustee/e2e-evidence.report.bin"));
    let [vcek] = &evidence.certificates[..] else { panic!("one certificate") };
    assert_eq!(vcek.kind, CertificateKind::Vcek);
    assert_eq!(vcek.data, vector("trustee/e2e-evidence.vcek.der"));
}

#[test]
fn we_write_the_ecosystems_members() {
    let evidence = Evidence::from_json(&real()).unwrap();
    let mut written = evidence.to_json().unwrap();
    let theirs: Value = serde_json::from_str(&real()).unwrap();
    let raw = written.as_object_mut().unwrap().remove("raw_report").unwrap();
    assert_eq!(STANDARD.decode(raw.as_str().unwrap()).unwrap(), evidence.report.as_bytes());
    // Members that the file's older writer did not have are null for this version.
    let report = written["attestation_report"].as_object_mut().unwrap();
    assert_eq!(report.remove("launch_mit_vector"), Some(Value::Null));
    assert_eq!(report.remove("current_mit_vector"), Some(Value::Null));
    assert_eq!(written, theirs);
}

#[test]
fn every_version_round_trips_with_and_without_raw_bytes() {
    for name in [
        "oak/derived-milan_oc_release.report.bin",
        "oak/derived-genoa_oc.report.bin",
        "oak/derived-turin_oc.report.bin",
        "trustee/test-report.bin",
        "trustee/test-vlek-report.bin",
    ] {
        let evidence = ours(name);
        let mut json = evidence.to_json().unwrap();
        assert_eq!(Evidence::from_json(&json.to_string()).unwrap(), evidence, "{name}");
        json.as_object_mut().unwrap().remove("raw_report");
        assert_eq!(Evidence::from_json(&json.to_string()).unwrap(), evidence, "{name}");
    }
}

#[test]
fn no_certificates_are_null() {
    let json = ours("trustee/test-report.bin").to_json().unwrap();
    assert_eq!(json["cert_chain"], Value::Null);
    assert_eq!(json["attestation_report"]["cpuid_fam_id"], Value::Null);
}

#[test]
fn unknown_certificates_keep_their_guid() {
    let mut evidence = ours("trustee/test-report.bin");
    evidence.certificates = vec![
        TableEntry { kind: CertificateKind::Other([0xAB; 16]), data: vec![1] },
        TableEntry { kind: CertificateKind::Other([0; 16]), data: vec![] },
        TableEntry { kind: CertificateKind::Crl, data: vec![2] },
    ];
    let json = evidence.to_json().unwrap();
    assert_eq!(
        json["cert_chain"][0],
        json!({"cert_type": {"OTHER": "abababab-abab-abab-abab-abababababab"}, "data": [1]})
    );
    assert_eq!(json["cert_chain"][1]["cert_type"], "Empty");
    assert_eq!(Evidence::from_json(&json.to_string()).unwrap(), evidence);
}

#[test]
fn typed_and_raw_must_agree() {
    let good = ours("oak/derived-genoa_oc.report.bin").to_json().unwrap();
    for (pointer, value) in [
        ("/attestation_report/policy", json!(196_609)),
        ("/attestation_report/measurement/0", json!(1)),
        ("/attestation_report/reported_tcb/snp", json!(99)),
        ("/attestation_report/reported_tcb/fmc", json!(0)),
        ("/attestation_report/cpuid_fam_id", Value::Null),
        ("/attestation_report/launch_mit_vector", Value::Null),
        ("/attestation_report/signature/r/50", json!(7)),
    ] {
        let mut bad = good.clone();
        let place = bad.pointer_mut(pointer).unwrap();
        assert_ne!(*place, value, "{pointer}");
        *place = value;
        assert!(
            matches!(Evidence::from_json(&bad.to_string()), Err(WireError::Mismatch)),
            "{pointer}"
        );
    }
}

#[test]
fn a_typed_form_that_cannot_be_the_report_is_refused() {
    // Without raw bytes: values that no report of this version can hold.
    let mut turin = ours("oak/derived-turin_oc.report.bin").to_json().unwrap();
    turin.as_object_mut().unwrap().remove("raw_report");
    turin["attestation_report"]["reported_tcb"]["fmc"] = Value::Null;
    assert!(matches!(Evidence::from_json(&turin.to_string()), Err(WireError::Mismatch)));

    let mut milan = ours("trustee/test-report.bin").to_json().unwrap();
    milan.as_object_mut().unwrap().remove("raw_report");
    milan["attestation_report"]["cpuid_fam_id"] = json!(25);
    assert!(matches!(Evidence::from_json(&milan.to_string()), Err(WireError::Mismatch)));

    milan["attestation_report"]["version"] = json!(6);
    assert!(matches!(
        Evidence::from_json(&milan.to_string()),
        Err(WireError::Report { source: ReportError::Version { version: 6, .. } })
    ));
}

#[test]
fn strict_about_members_lengths_and_duplicates() {
    // D7
    let text = real();
    let duplicate = text.replacen("\"guest_svn\"", "\"version\":3,\"guest_svn\"", 1);
    assert_ne!(duplicate, text);
    assert!(matches!(Evidence::from_json(&duplicate), Err(WireError::Json { .. })));

    let value: Value = serde_json::from_str(&text).unwrap();
    let refused = |change: fn(&mut Value)| {
        let mut bad = value.clone();
        change(&mut bad);
        Evidence::from_json(&bad.to_string()).err()
    };
    let changes: [fn(&mut Value); 8] = [
        |v| v["more"] = json!(1),
        |v| v["attestation_report"]["more"] = json!(1),
        |v| v["attestation_report"]["measurement"].as_array_mut().unwrap().push(json!(0)),
        |v| drop(v["attestation_report"]["measurement"].as_array_mut().unwrap().pop()),
        |v| v["attestation_report"]["measurement"][0] = json!(256),
        |v| v["attestation_report"]["measurement"][0] = json!(-1),
        |v| v["attestation_report"]["version"] = json!("3"),
        |v| v["cert_chain"][0]["cert_type"] = json!("VXEK"),
    ];
    for change in changes {
        assert!(matches!(refused(change), Some(WireError::Json { .. })));
    }
    assert!(matches!(
        refused(|v| v["cert_chain"][0]["cert_type"] = json!({"OTHER": "zz"})),
        Some(WireError::Guid)
    ));
    assert!(matches!(refused(|v| v["raw_report"] = json!("*")), Some(WireError::RawReport)));
    assert!(matches!(
        refused(|v| v["raw_report"] = json!("AAAA")),
        Some(WireError::Report { source: ReportError::Size { actual: 3 } })
    ));
    assert!(matches!(
        refused(|v| {
            let one = v["cert_chain"][0].clone();
            v["cert_chain"] = Value::Array(vec![one; MAX_CERTIFICATES + 1]);
        }),
        Some(WireError::TooManyCertificates)
    ));
}

#[test]
fn every_truncation_is_refused() {
    let text = real();
    let text = text.trim_end();
    for end in 0..text.len() {
        assert!(Evidence::from_json(&text[..end]).is_err(), "{end}");
    }
}

#[test]
fn a_changed_byte_is_an_error_or_other_evidence() {
    // D1
    let ours = ours("trustee/test-report.bin").to_json().unwrap().to_string();
    for text in [real(), ours] {
        let good = Evidence::from_json(&text).unwrap();
        for at in 0..text.trim_end().len() {
            let mut bad = text.clone().into_bytes();
            bad[at] ^= 1;
            let Ok(bad) = String::from_utf8(bad) else { continue };
            assert!(Evidence::from_json(&bad).ok().as_ref() != Some(&good), "{at}");
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        report_data: [u8; 32],
        chip: [u8; 32],
        signature in proptest::collection::vec(any::<u8>(), 144),
        certificates in proptest::collection::vec(
            (0_usize..4, proptest::collection::vec(any::<u8>(), 0..40)), 0..5),
    ) {
        use CertificateKind::*;
        let mut bytes = vector("trustee/test-report.bin");
        bytes[0x50..0x70].copy_from_slice(&report_data);
        bytes[0x1A0..0x1C0].copy_from_slice(&chip);
        bytes[0x2A0..0x330].copy_from_slice(&signature);
        let entry = |(kind, data): (usize, Vec<u8>)| {
            TableEntry { kind: [Ark, Ask, Vcek, Crl][kind], data }
        };
        let evidence = Evidence {
            report: Report::parse(&bytes).unwrap(),
            certificates: certificates.into_iter().map(entry).collect(),
        };
        let text = evidence.to_json().unwrap().to_string();
        prop_assert_eq!(Evidence::from_json(&text).unwrap(), evidence);
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,200}", number: u32) {
        let _ = Evidence::from_json(&text);
        let _ = Evidence::from_json(&real().replacen(": 1", &format!(": {number}"), 1));
    }
}
