// SPDX-License-Identifier: Apache-2.0
//! Every SNP vector: its structure, who signed it, and what the default policy says to it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail the test"
)]

use std::collections::BTreeSet;

use casemate_evidence::snp::Certificate;
use casemate_evidence::snp::CertificateKind;
use casemate_evidence::snp::Evidence;
use casemate_evidence::snp::REPORT_BYTES;
use casemate_evidence::snp::Report;
use casemate_evidence::snp::ReportError;
use casemate_evidence::snp::TableEntry;
use casemate_verifier::Chain;
use casemate_verifier::Expected;
use casemate_verifier::Measurement;
use casemate_verifier::Outcome;
use casemate_verifier::Requirements;
use casemate_verifier::Root;
use casemate_verifier::Status;
use casemate_verifier::Verdict;
use casemate_verifier::verify;

/// 2026-06-01, inside the validity of every VCEK used here.
const NOW: u64 = 1_780_272_000;

/// What the default policy refuses on machines of before the alias check.
const OLD_MILAN: &[&str] = &["chain.product-allowed", "platform.alias-check"];
const MILAN: &[&str] = &["chain.product-allowed"];

struct Vector {
    report: &'static str,
    /// Where the report begins in the file.
    at: usize,
    /// The signer's certificate; `None` where the vectors have none.
    leaf: Option<&'static str>,
    root: Option<&'static str>,
    /// Claims that the default policy refuses when measurement, HOST_DATA and report_data are the
    /// expected ones.
    refused: &'static [&'static str],
}

const fn signed(
    report: &'static str,
    leaf: &'static str,
    root: &'static str,
    refused: &'static [&'static str],
) -> Vector {
    Vector { report, at: 0, leaf: Some(leaf), root: Some(root), refused }
}

const fn without_certificate(report: &'static str, at: usize) -> Vector {
    Vector { report, at, leaf: None, root: None, refused: &["chain.root", "platform.alias-check"] }
}

const VECTORS: &[Vector] = &[
    signed(
        "snp/oak/derived-milan_oc_release.report.bin",
        "snp/oak/derived-milan_oc_release.vcek.der",
        "amd:milan",
        MILAN,
    ),
    signed("snp/oak/derived-cb.report.bin", "snp/oak/derived-cb.vcek.der", "amd:milan", MILAN),
    signed(
        "snp/oak/derived-genoa_oc.report.bin",
        "snp/oak/derived-genoa_oc.vcek.der",
        "amd:genoa",
        &[],
    ),
    signed(
        "snp/oak/derived-turin_oc.report.bin",
        "snp/oak/derived-turin_oc.vcek.der",
        "amd:turin",
        &[],
    ),
    signed(
        "snp/trustee/e2e-evidence.report.bin",
        "snp/trustee/e2e-evidence.vcek.der",
        "amd:genoa",
        &[],
    ),
    signed("snp/trustee/test-report.bin", "snp/trustee/test-vcek.der", "amd:milan", OLD_MILAN),
    signed(
        "snp/aci-sidecar/snp_report.bin",
        "snp/aci-sidecar/uvm_host_amd_certificate.pem",
        "amd:milan",
        OLD_MILAN,
    ),
    signed(
        "snp/virtee-sev/report_milan.hex",
        "snp/virtee-sev/vcek_milan.der",
        "amd:milan",
        OLD_MILAN,
    ),
    // D4: a valid signature over a guest that its host may debug.
    signed(
        "snp/go-sev-guest/attestation.bin",
        "snp/go-sev-guest/vcek.testcer",
        "amd:milan",
        &["chain.product-allowed", "guest.debug", "platform.alias-check"],
    ),
    // D2, D4: expired, leased by nobody who is accepted, and asked for at VMPL 1.
    signed(
        "snp/trustee/test-vlek-report.bin",
        "snp/trustee/test-vlek.der",
        "amd:milan",
        &["chain.dates.leaf", "chain.product-allowed", "chain.provider", "guest.vmpl"],
    ),
    // D2: certificates of another chip, altered, which no key of AMD signed.
    Vector {
        report: "snp/trustee/test-report.bin",
        at: 0,
        leaf: Some("snp/trustee/test-vcek-invalid-new.der"),
        root: None,
        refused: &["chain.root", "platform.alias-check"],
    },
    Vector {
        report: "snp/trustee/test-report.bin",
        at: 0,
        leaf: Some("snp/trustee/test-vcek-invalid-legacy.der"),
        root: None,
        refused: &["chain.root", "platform.alias-check"],
    },
    without_certificate("snp/lit-sev-snp-utils/guest_report.bin", 0),
    without_certificate("snp/lit-sev-snp-utils/snp_report_msg_resp.bin", 32),
    without_certificate("az-snp-vtpm/hcl-report.bin", 32),
    Vector {
        report: "az-snp-vtpm/hcl-report.bin",
        at: 32,
        leaf: Some("az-snp-vtpm/vcek.pem"),
        root: Some("amd:milan"),
        refused: OLD_MILAN,
    },
    without_certificate("azure-cvm-tooling/hcl-report-snp.bin", 32),
    // D2: the certificates beside it are of another chip.
    Vector {
        report: "azure-cvm-tooling/hcl-report-snp.bin",
        at: 32,
        leaf: Some("azure-cvm-tooling/certs.pem"),
        root: Some("amd:milan"),
        refused: &[
            "chain.product-allowed",
            "chain.chip",
            "report.signature",
            "platform.alias-check",
        ],
    },
    Vector {
        report: "snp/oak/milan_rk_release_evidence.binarypb",
        at: 8,
        leaf: None,
        root: None,
        refused: &["chain.root"],
    },
];

fn file(name: &str) -> Vec<u8> {
    let path = format!("{}/../../../shared/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("test vector {name} is missing: {error}"))
}

fn report(vector: &Vector) -> Report {
    let mut bytes = file(vector.report);
    if vector.report.ends_with(".hex") {
        bytes = hex::decode(bytes.trim_ascii()).unwrap();
    }
    Report::parse(&bytes[vector.at..vector.at + REPORT_BYTES]).unwrap()
}

fn evidence(vector: &Vector) -> Evidence {
    let certificates =
        vector.leaf.map_or_else(Vec::new, |leaf| Certificate::read_all(&file(leaf)).unwrap());
    Evidence { report: report(vector), certificates }
}

/// The default policy's verdict when what runs, and for whom, is as expected.
fn judge(evidence: &Evidence) -> Verdict {
    let report = &evidence.report;
    let expected =
        Expected { report_data: Some(*report.report_data()), host_data: Some(*report.host_data()) };
    let requirements = Requirements {
        measurements: Some(BTreeSet::from([Measurement(*report.measurement())])),
        ..Requirements::default()
    };
    verify(evidence, &Root::all_builtin().unwrap(), &expected, &requirements, NOW)
}

#[test]
fn the_default_policy_on_every_vector() {
    for vector in VECTORS {
        let verdict = judge(&evidence(vector));
        let refused: Vec<&str> = verdict.reasons().map(|line| line.claim).collect();
        assert_eq!(refused, vector.refused, "{}", vector.report);
        assert_eq!(verdict.root(), vector.root, "{}", vector.report);
        let status = if vector.refused.is_empty() { Status::Affirming } else { Status::Refused };
        assert_eq!(verdict.status(), status, "{}", vector.report);
        assert_eq!(verdict.accepted().is_some(), status == Status::Affirming);
    }
}

#[test]
fn every_signature_of_a_genuine_vector_verifies() {
    let other_chip = |vector: &&Vector| vector.refused.contains(&"chain.chip");
    let genuine = VECTORS.iter().filter(|vector| vector.root.is_some() && !other_chip(vector));
    for vector in genuine {
        let verdict = judge(&evidence(vector));
        for claim in ["chain.root", "chain.product", "chain.tcb", "report.signature"] {
            let line = verdict.lines().iter().find(|line| line.claim == claim).unwrap();
            assert_eq!(line.outcome, Outcome::Ok, "{} {line:?}", vector.report);
        }
        assert!(evidence(vector).report.reserved().is_empty(), "{}", vector.report);
    }
}

#[test]
fn without_references_genuine_evidence_is_unbound() {
    let evidence = evidence(&VECTORS[2]);
    let roots = Root::all_builtin().unwrap();
    let nothing = (Expected::default(), Requirements::default());
    let verdict = verify(&evidence, &roots, &nothing.0, &nothing.1, NOW);
    assert_eq!(verdict.status(), Status::Unbound);
    assert!(verdict.accepted().is_none());
    assert_eq!(verdict.reasons().count(), 0);
    assert_eq!(verdict.vector().executables, 33);
    assert_eq!(verdict.vector().hardware, 2);
}

#[test]
fn the_trust_vector_follows_the_lines() {
    let affirming = judge(&evidence(&VECTORS[2])).vector();
    let claims = affirming.claims().map(|(_, value)| value);
    assert_eq!(claims, [2, 2, 3, 0, 2, 2, 0, 0]);
    let debug = judge(&evidence(&VECTORS[8])).vector();
    assert_eq!((debug.runtime_opaque, debug.hardware, debug.executables), (96, 97, 3));
    let foreign = judge(&evidence(&VECTORS[10])).vector();
    assert_eq!(foreign.hardware, 97);
}

#[test]
fn damaged_reports_are_refused_by_their_length() {
    for (name, actual) in [
        ("snp/lit-sev-snp-utils/guest_report_bad_sig.bin", 1185),
        ("snp/lit-sev-snp-utils/guest_report_corrupt.bin", 793),
    ] {
        assert_eq!(Report::parse(&file(name)).err(), Some(ReportError::Size { actual }), "{name}");
    }
}

#[test]
fn every_certificate_chains_to_its_vendors_root() {
    let roots = Root::all_builtin().unwrap();
    for (name, root) in [
        ("snp/virtee-sev/vcek_turin.der", "amd:turin"),
        ("snp/virtee-sev/vcek_milan.der", "amd:milan"),
        ("snp/trustee/test-vcek.der", "amd:milan"),
        ("snp/trustee/test-vlek.der", "amd:milan"),
        ("snp/trustee/e2e-evidence.vcek.der", "amd:genoa"),
        ("snp/go-sev-guest/vcek.testcer", "amd:milan"),
        ("az-snp-vtpm/vcek-genoa.pem", "amd:genoa"),
        ("az-snp-vtpm/vcek.pem", "amd:milan"),
    ] {
        let certificates = Certificate::read_all(&file(name)).unwrap();
        let key = match certificates[0].kind {
            CertificateKind::Vlek => casemate_evidence::snp::SigningKey::Vlek,
            _ => casemate_evidence::snp::SigningKey::Vcek,
        };
        let chain = Chain::find(&certificates, key, &roots).unwrap();
        assert_eq!(chain.root().to_string(), root, "{name}");
    }
}

#[test]
fn every_vendor_bundle_is_the_built_in_root_of_its_product() {
    let built_in: Vec<Vec<u8>> =
        Root::all_builtin().unwrap().iter().flat_map(Root::certificates).collect();
    for name in [
        "snp/go-sev-guest/ask_ark_genoa.pem",
        "snp/go-sev-guest/ask_ark_genoa_vlek.pem",
        "snp/go-sev-guest/ask_ark_milan.pem",
        "snp/go-sev-guest/ask_ark_milan_vlek.pem",
        "snp/go-sev-guest/ask_ark_turin_vcek.pem",
        "snp/go-sev-guest/ask_ark_turin_vlek.pem",
        "snp/go-sev-guest/milan.testcer",
        "snp/go-sev-guest/milanvlek.testcer",
        "snp/trustee/genoa_ask_ark_asvk.pem",
        "snp/trustee/milan_ask_ark_asvk.pem",
        "snp/trustee/turin_ask_ark_asvk.pem",
        "snp/virtee-sev/builtin-genoa-ark.pem",
        "snp/virtee-sev/builtin-genoa-ask.pem",
        "snp/virtee-sev/builtin-milan-ark.pem",
        "snp/virtee-sev/builtin-milan-ask.pem",
        "snp/virtee-sev/builtin-turin-ark.pem",
        "snp/virtee-sev/builtin-turin-ask.pem",
        "snp/virtee-sev/cert_chain_milan",
        "snp/virtee-sev/cert_chain_turin",
    ] {
        for TableEntry { kind, data } in Certificate::read_all(&file(name)).unwrap() {
            assert!(matches!(kind, CertificateKind::Ark | CertificateKind::Ask), "{name}");
            assert!(built_in.contains(&data), "{name}");
        }
    }
}
