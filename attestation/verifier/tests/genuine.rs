// SPDX-License-Identifier: Apache-2.0
//! Verdicts on real evidence under AMD's real roots.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

use std::collections::BTreeSet;

use casemate_evidence::snp::CertificateKind;
use casemate_evidence::snp::Evidence;
use casemate_evidence::snp::Product;
use casemate_evidence::snp::Report;
use casemate_evidence::snp::TableEntry;
use casemate_evidence::snp::TcbVersion;
use casemate_verifier::Expected;
use casemate_verifier::Guest;
use casemate_verifier::Measurement;
use casemate_verifier::Outcome;
use casemate_verifier::PlatformRequirements;
use casemate_verifier::Requirements;
use casemate_verifier::Root;
use casemate_verifier::RootError;
use casemate_verifier::TcbRequirements;
use casemate_verifier::Verdict;
use casemate_verifier::verify;

/// 2026-06-01, inside the validity of every VCEK used here.
const NOW: u64 = 1_780_272_000;

fn vector(name: &str) -> Vec<u8> {
    let path = format!("{}/../../../shared/vectors/snp/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("test vector {name} is missing: {error}"))
}

fn bundle(product: &str) -> String {
    String::from_utf8(vector(&format!("trustee/{product}_ask_ark_asvk.pem"))).unwrap()
}

fn roots() -> Vec<Root> {
    Root::all_builtin().unwrap()
}

fn evidence(report: &str, kind: CertificateKind, leaf: &str) -> Evidence {
    Evidence {
        report: Report::parse(&vector(report)).unwrap(),
        certificates: vec![TableEntry { kind, data: vector(leaf) }],
    }
}

fn vcek(report: &str, leaf: &str) -> Evidence {
    evidence(report, CertificateKind::Vcek, leaf)
}

fn genoa() -> Evidence {
    vcek("oak/derived-genoa_oc.report.bin", "oak/derived-genoa_oc.vcek.der")
}

fn expecting(report: &Report) -> Expected {
    Expected { report_data: Some(*report.report_data()), host_data: Some(*report.host_data()) }
}

/// The demands of an owner of old machines, who knows what this report should say.
fn requiring(report: &Report) -> Requirements {
    Requirements {
        measurements: Some(BTreeSet::from([Measurement(*report.measurement())])),
        allow_products: BTreeSet::from([Product::Milan]),
        platform: PlatformRequirements {
            require_alias_check: false,
            ..PlatformRequirements::default()
        },
        ..Requirements::default()
    }
}

/// The verdict when all that can differ from place to place is as it should be.
fn judge(evidence: &Evidence) -> Verdict {
    let report = &evidence.report;
    verify(evidence, &roots(), &expecting(report), &requiring(report), NOW)
}

fn refused(verdict: &Verdict) -> Vec<&str> {
    assert!(verdict.accepted().is_none());
    verdict.reasons().map(|line| line.claim).collect()
}

#[test]
fn genuine_evidence_of_every_product_is_accepted() {
    for (report, leaf, root) in [
        (
            "oak/derived-milan_oc_release.report.bin",
            "oak/derived-milan_oc_release.vcek.der",
            "amd:milan",
        ),
        ("oak/derived-cb.report.bin", "oak/derived-cb.vcek.der", "amd:milan"),
        ("oak/derived-genoa_oc.report.bin", "oak/derived-genoa_oc.vcek.der", "amd:genoa"),
        ("oak/derived-turin_oc.report.bin", "oak/derived-turin_oc.vcek.der", "amd:turin"),
        ("trustee/e2e-evidence.report.bin", "trustee/e2e-evidence.vcek.der", "amd:genoa"),
        ("trustee/test-report.bin", "trustee/test-vcek.der", "amd:milan"),
    ] {
        let evidence = vcek(report, leaf);
        let verdict = judge(&evidence);
        let accepted =
            verdict.accepted().unwrap_or_else(|| panic!("{report}: {:?}", refused(&verdict)));
        assert_eq!(accepted.root, root);
        assert_eq!(&accepted.measurement.0, evidence.report.measurement());
        assert!(matches!(
            &accepted.guest,
            Guest::Snp { host_data, chip_id, .. }
                if host_data == evidence.report.host_data() && chip_id == evidence.report.chip_id()
        ));
        assert_eq!(verdict.root(), Some(root));
    }
}

#[test]
fn the_ecosystems_evidence_file_is_accepted() {
    let json = String::from_utf8(vector("trustee/e2e-evidence.json")).unwrap();
    let evidence = Evidence::from_json(&json).unwrap();
    assert_eq!(judge(&evidence).accepted().unwrap().root, "amd:genoa");
}

#[test]
fn host_data_of_a_measured_policy_is_checked() {
    // The policy beside the report hashes to its HOST_DATA.
    let mut evidence = vcek("aci-sidecar/snp_report.bin", "trustee/test-vcek.der");
    let pem = String::from_utf8(vector("aci-sidecar/uvm_host_amd_certificate.pem")).unwrap();
    let first = pem.split_inclusive("-----END CERTIFICATE-----").next().unwrap();
    evidence.certificates[0].data = first.as_bytes().to_vec();
    assert!(judge(&evidence).accepted().is_some());
    let mut expected = expecting(&evidence.report);
    expected.host_data = Some([0; 32]);
    let verdict = verify(&evidence, &roots(), &expected, &requiring(&evidence.report), NOW);
    assert_eq!(refused(&verdict), ["guest.host-data"]);
}

#[test]
fn every_flipped_bit_of_a_genuine_report_is_refused() {
    // D1
    let good = genoa();
    let (roots, expected, rules) = (roots(), expecting(&good.report), requiring(&good.report));
    let bytes = good.report.as_bytes().to_vec();
    for at in 0..bytes.len() {
        for bit in [at % 8, (at + 3) % 8, (at + 6) % 8] {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << bit;
            let Ok(report) = Report::parse(&bad) else { continue };
            let evidence = Evidence { report, certificates: good.certificates.clone() };
            let verdict = verify(&evidence, &roots, &expected, &rules, NOW);
            assert!(verdict.accepted().is_none(), "byte {at:#x} bit {bit}");
        }
    }
}

#[test]
fn a_flipped_byte_of_the_certificate_is_refused() {
    // D2
    let good = genoa();
    let (roots, expected, rules) = (roots(), expecting(&good.report), requiring(&good.report));
    for at in 0..good.certificates[0].data.len() {
        let mut bad = good.clone();
        bad.certificates[0].data[at] ^= 0x10;
        let verdict = verify(&bad, &roots, &expected, &rules, NOW);
        assert!(verdict.accepted().is_none(), "byte {at}");
    }
}

#[test]
fn another_chips_certificate_is_refused() {
    // D2: VCEKs whose chip id was altered no longer carry AMD's signature.
    for altered in ["trustee/test-vcek-invalid-new.der", "trustee/test-vcek-invalid-legacy.der"] {
        let verdict = judge(&vcek("trustee/test-report.bin", altered));
        assert_eq!(refused(&verdict), ["chain.root"], "{altered}");
    }
    // A genuine VCEK of the same product, chip and TCB apart.
    let verdict = judge(&vcek("oak/derived-cb.report.bin", "trustee/test-vcek.der"));
    let refused = refused(&verdict);
    for claim in ["chain.tcb", "chain.chip", "report.signature"] {
        assert!(refused.contains(&claim), "{claim}: {refused:?}");
    }
}

#[test]
fn a_certificate_of_another_product_is_refused() {
    // D5
    let verdict = judge(&vcek("oak/derived-genoa_oc.report.bin", "trustee/test-vcek.der"));
    assert!(refused(&verdict).contains(&"chain.product"));
}

#[test]
fn a_product_without_its_root_is_refused() {
    // D2
    let evidence = genoa();
    for roots in [Vec::new(), roots().into_iter().take(1).collect()] {
        let report = &evidence.report;
        let verdict = verify(&evidence, &roots, &expecting(report), &requiring(report), NOW);
        assert_eq!(refused(&verdict), ["chain.root"]);
        assert_eq!(verdict.root(), None);
    }
}

#[test]
fn dates_are_checked_against_the_given_time() {
    // D2: the leaf's seven years are over; also: the clock set back before it was issued.
    let evidence = genoa();
    let report = &evidence.report;
    for (now, claims) in [
        (2_500_000_000, vec!["chain.dates.ark", "chain.dates.ask", "chain.dates.leaf"]),
        (2_000_000_000, vec!["chain.dates.leaf"]),
        (1_667_300_000, vec!["chain.dates.leaf"]),
        (0, vec!["chain.dates.ark", "chain.dates.ask", "chain.dates.leaf"]),
    ] {
        let verdict = verify(&evidence, &roots(), &expecting(report), &requiring(report), now);
        assert_eq!(refused(&verdict), claims, "{now}");
    }
}

#[test]
fn a_debug_guest_is_refused() {
    // D4: a genuine signature does not make a debuggable guest confidential.
    let evidence = vcek("go-sev-guest/attestation.bin", "go-sev-guest/vcek.testcer");
    assert_eq!(refused(&judge(&evidence)), ["guest.debug"]);
}

#[test]
fn a_leased_key_is_refused_for_three_reasons() {
    // D2, D4: VMPL 1, an expired VLEK, a provider that nobody accepted.
    let evidence =
        evidence("trustee/test-vlek-report.bin", CertificateKind::Vlek, "trustee/test-vlek.der");
    let verdict = judge(&evidence);
    assert_eq!(refused(&verdict), ["chain.dates.leaf", "chain.provider", "guest.vmpl"]);
    assert_eq!(verdict.root(), Some("amd:milan"));

    let report = &evidence.report;
    let mut rules = requiring(report);
    rules.vlek_providers = BTreeSet::from(["CN=cc-us-east-2.amazonaws.com".to_owned()]);
    let in_2025 = 1_750_000_000;
    let verdict = verify(&evidence, &roots(), &expecting(report), &rules, in_2025);
    assert_eq!(refused(&verdict), ["guest.vmpl"]);
}

#[test]
fn key_info_and_certificate_kind_must_agree() {
    // The host labels a VCEK as the VLEK.
    let relabelled = evidence(
        "oak/derived-genoa_oc.report.bin",
        CertificateKind::Vlek,
        "oak/derived-genoa_oc.vcek.der",
    );
    assert_eq!(refused(&judge(&relabelled)), ["chain.root"]);
    let swapped = vcek("oak/derived-genoa_oc.report.bin", "trustee/test-vlek.der");
    assert_eq!(refused(&judge(&swapped)), ["chain.root"]);
    // A VLEK beside a report that a VCEK signed.
    let other =
        evidence("oak/derived-genoa_oc.report.bin", CertificateKind::Vlek, "trustee/test-vlek.der");
    assert!(refused(&judge(&other)).contains(&"report.key-info"));
}

#[test]
fn no_certificate_or_two_are_refused() {
    let mut evidence = genoa();
    evidence.certificates.push(evidence.certificates[0].clone());
    assert_eq!(refused(&judge(&evidence)), ["chain.root"]);
    evidence.certificates.clear();
    assert_eq!(refused(&judge(&evidence)), ["chain.root"]);
}

#[test]
fn the_tcb_floor_applies_to_reported_and_committed() {
    // D3
    let evidence = genoa();
    let report = &evidence.report;
    let with_floor = |floor| {
        let rules = Requirements {
            tcb: TcbRequirements { floor: Some(floor), ..TcbRequirements::default() },
            ..requiring(report)
        };
        verify(&evidence, &roots(), &expecting(report), &rules, NOW)
    };
    let running = report.reported_tcb();
    assert!(with_floor(running).accepted().is_some());
    let above = TcbVersion { microcode: running.microcode + 1, ..running };
    assert_eq!(refused(&with_floor(above)), ["tcb.reported", "tcb.committed"]);

    // A real platform whose reported TCB is behind its committed one.
    let vlek = Report::parse(&vector("trustee/test-vlek-report.bin")).unwrap();
    assert!(vlek.committed_tcb().is_at_least(&vlek.reported_tcb()));
    assert!(!vlek.reported_tcb().is_at_least(&vlek.committed_tcb()));
}

#[test]
fn another_nonce_or_key_is_refused() {
    // D8, D13: both end up in report_data.
    let evidence = genoa();
    let mut expected = expecting(&evidence.report);
    expected.report_data = expected.report_data.map(|mut data| {
        data[0] ^= 1;
        data
    });
    let verdict = verify(&evidence, &roots(), &expected, &requiring(&evidence.report), NOW);
    assert_eq!(refused(&verdict), ["report.data"]);
}

#[test]
fn what_is_not_checked_says_so() {
    let evidence = genoa();
    let report = &evidence.report;
    let expected = Expected { host_data: None, ..expecting(report) };
    let verdict = verify(&evidence, &roots(), &expected, &requiring(report), NOW);
    assert!(verdict.accepted().is_some());
    let not_checked: Vec<_> = verdict
        .lines()
        .iter()
        .filter(|line| line.outcome == Outcome::NotChecked)
        .map(|line| line.claim)
        .collect();
    let expected = [
        "chain.revocation",
        "guest.smt",
        "guest.single-socket",
        "guest.cxl",
        "guest.aes-256-xts",
        "guest.rapl",
        "guest.ciphertext-hiding",
        "guest.page-swap",
        "guest.abi",
        "guest.svn",
        "guest.family-id",
        "guest.image-id",
        "guest.id-key",
        "guest.author-key",
        "platform.alias-check",
        "platform.ciphertext-hiding",
        "platform.smt",
        "platform.rapl",
        "platform.tsme",
        "platform.ecc",
        "platform.launch-mitigations",
        "platform.current-mitigations",
        "platform.chip",
        "platform.chip-denied",
        "tcb.reported",
        "tcb.committed",
        "tcb.launch",
        "tcb.current",
        "guest.host-data",
    ];
    assert_eq!(not_checked, expected);
}

#[test]
fn amds_roots_are_pinned_by_key() {
    assert!(matches!(
        Root::amd(Product::Milan, &bundle("genoa")),
        Err(RootError::NotAmd { product: Product::Milan })
    ));
    assert!(matches!(Root::simulated("mine", &bundle("genoa")), Err(RootError::IsAmd)));
    assert!(matches!(Root::amd(Product::Milan, ""), Err(RootError::NotOneRoot)));
    assert!(matches!(
        Root::amd(Product::Milan, &format!("{}{}", bundle("milan"), bundle("genoa"))),
        Err(RootError::NotOneRoot)
    ));
    let ask_of_another = format!(
        "{}{}",
        String::from_utf8(vector("virtee-sev/builtin-milan-ark.pem")).unwrap(),
        String::from_utf8(vector("virtee-sev/builtin-genoa-ask.pem")).unwrap()
    );
    assert!(matches!(
        Root::amd(Product::Milan, &ask_of_another),
        Err(RootError::Intermediate { .. })
    ));
    assert!(matches!(Root::amd(Product::Milan, "x"), Err(RootError::Certificate { .. })));
}
