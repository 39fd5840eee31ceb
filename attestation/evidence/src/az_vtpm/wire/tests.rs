// SPDX-License-Identifier: Apache-2.0

use proptest::prelude::*;
use serde_json::Value;
use serde_json::json;

use super::*;

fn vector(name: &str) -> Vec<u8> {
    let path = format!("{}/../../../shared/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("test vector {name} is missing: {error}"))
}

fn text_of(name: &str) -> String {
    String::from_utf8(vector(name)).unwrap()
}

const SNP: [(&str, u32); 4] = [
    ("az-snp-vtpm/evidence-v0.json", 0),
    ("az-snp-vtpm/evidence-genoa.json", 0),
    ("az-snp-vtpm/evidence-v1.json", 1),
    ("az-snp-vtpm/evidence-v2.json", 2),
];

#[test]
fn reads_every_version_of_snp_evidence() {
    for (name, version) in SNP {
        let evidence = AzSnpEvidence::from_json(&text_of(name)).unwrap();
        assert_eq!(evidence.version, version, "{name}");
        assert_eq!(evidence.report.version(), 3, "{name}");
        assert_eq!(evidence.report.as_bytes(), &evidence.hcl.as_bytes()[0x20..0x4C0]);
        assert_eq!(evidence.hcl.key().n.len(), 256);
        assert_eq!(evidence.certificates.len(), 1);
        assert!((0..PCRS).all(|index| evidence.quote.is_selected(index)));
        assert!(!evidence.quote.is_selected(24) && !evidence.quote.is_selected(99));
    }
    let first = AzSnpEvidence::from_json(&text_of("az-snp-vtpm/evidence-v0.json")).unwrap();
    assert_eq!(first.quote.nonce(), b"challenge");
    // One machine in both forms.
    let second = AzSnpEvidence::from_json(&text_of("az-snp-vtpm/evidence-v1.json")).unwrap();
    assert!(first.hcl.key() == second.hcl.key() && first.certificates == second.certificates);
    let newest = AzSnpEvidence::from_json(&text_of("az-snp-vtpm/evidence-v2.json")).unwrap();
    assert!(newest.hcl.user_data().unwrap().starts_with(newest.quote.nonce()));
}

#[test]
fn reads_every_version_of_tdx_evidence() {
    let first = AzTdxEvidence::from_json(&text_of("az-tdx-vtpm/evidence-v0.json")).unwrap();
    let second = AzTdxEvidence::from_json(&text_of("az-tdx-vtpm/evidence-v1.json")).unwrap();
    assert_eq!((first.version, second.version), (0, 1));
    assert!(first.hcl == second.hcl && first.td == second.td);
    assert_eq!(second.quote.nonce(), b"challenge");
}

#[test]
fn reads_bare_paravisor_reports() {
    for name in [
        "az-snp-vtpm/hcl-report.bin",
        "az-tdx-vtpm/hcl-report.bin",
        "azure-cvm-tooling/hcl-report-snp.bin",
        "azure-cvm-tooling/hcl-report-tdx.bin",
    ] {
        let bytes = vector(name);
        let hcl = HclReport::parse(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(hcl.as_bytes() == bytes && hcl.data().ends_with(b"}"), "{name}");
    }
}

#[test]
fn reads_a_bare_quote_and_refuses_trailing_bytes() {
    let (message, signature) =
        (vector("az-snp-vtpm/tpm-quote.msg"), vector("az-snp-vtpm/tpm-quote.sig"));
    let pcrs = [[0; 32]; PCRS];
    let quote = TpmQuote::parse(&message, &signature, pcrs).unwrap();
    assert_eq!((quote.message(), quote.signature()), (&message[..], &signature[..]));
    assert_eq!(quote.nonce(), b"challenge");
    let selected: Vec<usize> = (0..PCRS).filter(|index| quote.is_selected(*index)).collect();
    assert_eq!(selected, [0, 1, 2, 3, 4, 5, 6, 7, 14]);
    // D7
    let mut long = message.clone();
    long.push(0);
    assert_eq!(TpmQuote::parse(&long, &signature, pcrs), Err(QuoteError::Trailing));
    for end in 0..message.len() {
        assert!(TpmQuote::parse(&message[..end], &signature, pcrs).is_err(), "{end}");
    }
    let bad = |at: usize| {
        let mut bytes = message.clone();
        bytes[at] ^= 1;
        TpmQuote::parse(&bytes, &signature, pcrs).unwrap_err()
    };
    assert_eq!(bad(0), QuoteError::Magic);
    assert_eq!(bad(5), QuoteError::Kind);
    for at in 0..message.len() {
        let mut bytes = message.clone();
        bytes[at] ^= 0x10;
        if let Ok(changed) = TpmQuote::parse(&bytes, &signature, pcrs) {
            assert_eq!(changed.message(), bytes, "{at}");
        }
    }
}

#[test]
fn a_paravisor_report_is_read_strictly() {
    let good = vector("az-snp-vtpm/hcl-report.bin");
    let with = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        HclReport::parse(&bytes)
    };
    assert!(matches!(with(0, b'X'), Err(HclError::Unknown { offset: 0, .. })));
    assert!(matches!(with(4, 3), Err(HclError::Unknown { offset: 4, .. })));
    assert!(matches!(with(8, 0), Err(HclError::Sizes)));
    assert!(matches!(with(0x0C, 1), Err(HclError::Unknown { offset: 0x0C, .. })));
    assert!(matches!(with(0x1F, 1), Err(HclError::Trailing)));
    assert!(matches!(with(0x20, 9), Err(HclError::Report { .. })));
    assert!(matches!(with(0x4C0, 0), Err(HclError::Sizes)));
    let td = with(0x4C8, 4).unwrap();
    assert!(matches!(td.hardware(), HardwareReport::Tdx { .. }));
    assert!(matches!(with(0x4CC, 2), Err(HclError::Unknown { .. }))); // says SHA-384
    assert!(matches!(with(0x4D3, 0x7F), Err(HclError::Truncated)));
    assert!(matches!(with(0x4D4, b'!'), Err(HclError::Data { .. })));
    assert!(matches!(with(good.len() - 1, 1), Err(HclError::Trailing)));
    let mut long = good.clone();
    long.resize(MAX_HCL, 0);
    assert!(HclReport::parse(&long).is_ok());
    long.push(0);
    assert!(matches!(HclReport::parse(&long), Err(HclError::TooLarge)));
    let used = 0x92A;
    for end in 0..used {
        assert!(HclReport::parse(&good[..end]).is_err(), "{end}");
    }
    for (at, byte) in good.iter().enumerate() {
        if let Ok(changed) = with(at, byte ^ 1) {
            assert_eq!(changed.as_bytes()[at], byte ^ 1, "{at}");
        }
    }
}

#[test]
fn strict_about_members_versions_and_encodings() {
    // D7
    let good: Value = serde_json::from_str(&text_of("az-snp-vtpm/evidence-v2.json")).unwrap();
    let refused = |change: fn(&mut Value)| {
        let mut bad = good.clone();
        change(&mut bad);
        AzSnpEvidence::from_json(&bad.to_string()).unwrap_err()
    };
    assert!(matches!(refused(|v| v["more"] = json!(1)), AzWireError::Json { .. }));
    let unknown = refused(|v| v["version"] = json!(3));
    assert!(matches!(unknown, AzWireError::Version { version: 3 }));
    assert!(matches!(refused(|v| v["hcl_report"] = json!("*")), AzWireError::Encoding));
    assert!(matches!(refused(|v| v["hcl_report"] = json!("")), AzWireError::Hcl { .. }));
    assert!(matches!(refused(|v| v["vcek"] = json!("AAAA")), AzWireError::Certificate { .. }));
    let pcrs = |v: &mut Value| drop(v["tpm_quote"]["pcrs"].as_array_mut().unwrap().pop());
    assert!(matches!(refused(pcrs), AzWireError::Pcrs));
    let short = refused(|v| v["tpm_quote"]["pcrs"][3] = json!("00"));
    assert!(matches!(short, AzWireError::Pcrs));
    let message = refused(|v| v["tpm_quote"]["message"] = json!("ff"));
    assert!(matches!(message, AzWireError::Quote { source: QuoteError::Truncated }));
    let twice = good.to_string().replacen('{', "{\"vcek\":\"AA\",", 1);
    assert!(matches!(AzSnpEvidence::from_json(&twice), Err(AzWireError::Json { .. })));
    // A TD's paravisor report beside a chip's certificate.
    let td: Value = serde_json::from_str(&text_of("az-tdx-vtpm/evidence-v1.json")).unwrap();
    let mut mixed = good;
    mixed["hcl_report"] = td["hcl_report"].clone();
    let mixed = AzSnpEvidence::from_json(&mixed.to_string());
    assert!(matches!(mixed, Err(AzWireError::Hardware)));
}

const MAX_HCL: usize = crate::az_vtpm::MAX_HCL_BYTES;

#[test]
fn a_changed_or_missing_byte_is_an_error_or_other_evidence() {
    // D1
    let text = text_of("az-snp-vtpm/evidence-v2.json");
    let good = AzSnpEvidence::from_json(&text).unwrap();
    let mut unseen = 0;
    for at in 0..text.trim_end().len() {
        assert!(AzSnpEvidence::from_json(&text[..at]).is_err(), "{at}");
        let mut bad = text.clone().into_bytes();
        bad[at] ^= 1;
        let Ok(bad) = String::from_utf8(bad) else { continue };
        unseen += usize::from(AzSnpEvidence::from_json(&bad).is_ok_and(|read| read == good));
    }
    assert_eq!(unseen, 0);
    let text = text_of("az-tdx-vtpm/evidence-v1.json");
    let good = AzTdxEvidence::from_json(&text).unwrap();
    for at in (0..text.trim_end().len()).step_by(3) {
        assert!(AzTdxEvidence::from_json(&text[..at]).is_err(), "{at}");
        let mut bad = text.clone().into_bytes();
        bad[at] ^= 1;
        let Ok(bad) = String::from_utf8(bad) else { continue };
        assert!(AzTdxEvidence::from_json(&bad).ok().as_ref() != Some(&good), "{at}");
    }
}

#[test]
fn a_changed_byte_of_a_binary_part_is_an_error_or_another_part() {
    // D1
    let hcl = vector("az-snp-vtpm/hcl-report.bin");
    for at in 0..hcl.len() {
        let mut bad = hcl.clone();
        bad[at] ^= 1;
        if let Ok(read) = HclReport::parse(&bad) {
            assert_eq!(read.as_bytes(), bad, "{at}");
        }
        if let Ok(read) = HclReport::parse(&hcl[..at]) {
            assert_eq!(read.as_bytes(), &hcl[..at], "{at}");
        }
    }
    let evidence = AzSnpEvidence::from_json(&text_of("az-snp-vtpm/evidence-v2.json")).unwrap();
    let message = evidence.quote.message();
    for at in 0..message.len() {
        let mut bad = message.to_vec();
        bad[at] ^= 1;
        if let Ok(read) = TpmQuote::parse(&bad, &[], [[0; 32]; PCRS]) {
            assert_eq!(read.message(), bad, "{at}");
        }
        assert!(TpmQuote::parse(&message[..at], &[], [[0; 32]; PCRS]).is_err(), "{at}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(
        text in ".{0,200}",
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        version: u32,
    ) {
        let _ = AzSnpEvidence::from_json(&text);
        let _ = AzTdxEvidence::from_json(&text);
        prop_assert!(HclReport::parse(&bytes).is_err());
        if let Ok(quote) = TpmQuote::parse(&bytes, &[], [[0; 32]; PCRS]) {
            prop_assert_eq!(quote.message(), bytes);
        }
        let known = text_of("az-snp-vtpm/evidence-v1.json");
        let other = known.replacen("\"version\": 1", &format!("\"version\": {version}"), 1);
        let _ = AzSnpEvidence::from_json(&other);
    }
}
