// SPDX-License-Identifier: Apache-2.0
//! Quotes of real machines with Intel's real collateral and the logs that came with them, each with
//! the verdict of the default requirements.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail the test"
)]

use casemate_evidence::collateral::Collateral;
use casemate_evidence::collateral::Parts;
use casemate_evidence::event_log::EventLog;
use casemate_evidence::tdx::Evidence;
use casemate_evidence::tdx::Quote;
use casemate_verifier::Measurement;
use casemate_verifier::Status;
use casemate_verifier::Verdict;
use casemate_verifier::tdx::CheckedCollateral;
use casemate_verifier::tdx::Expected;
use casemate_verifier::tdx::Requirements;
use casemate_verifier::tdx::Root;
use casemate_verifier::tdx::verify;
use casemate_verifier::tdx::verify_with;

mod tdx_vectors;

use tdx_vectors::member;
use tdx_vectors::quote;
use tdx_vectors::text;
use tdx_vectors::vector;

fn judge(name: &str, collateral: Option<&Collateral>, log: Option<&EventLog>, at: u64) -> Verdict {
    let evidence = Evidence::of_quote(Quote::parse(&quote(name)).unwrap());
    let (expected, requirements) = (Expected::default(), Requirements::default());
    let roots = [Root::intel().unwrap()];
    verify(&evidence, &roots, collateral, log, &expected, &requirements, at)
}

fn reasons(verdict: &Verdict) -> Vec<&str> {
    let mut codes: Vec<&str> = verdict.reasons().map(|line| line.code.as_str()).collect();
    codes.dedup();
    codes
}

fn value<'v>(verdict: &'v Verdict, claim: &str) -> &'v str {
    &verdict.lines().iter().find(|line| line.claim == claim).unwrap().value
}

/// 2025-06-25, 2025-09-10, 2026-02-25, 2026-11-23
const JUNE_2025: u64 = 1_750_809_600;
const SEPTEMBER_2025: u64 = 1_757_462_400;
const FEBRUARY_2026: u64 = 1_771_977_600;
const NOVEMBER_2026: u64 = 1_795_392_000;

const OF_JUNE_2025: &str = "tdx/dcap-qvl/tdx_quote_collateral.json";
const OF_SEPTEMBER_2025: &str = "tdx/dcap-qvl/near-quote_collateral.json";
const OF_FEBRUARY_2026: &str = "tdx/dcap-qvl/tdx_quote_outdated_collateral.json";

#[test]
fn quotes_with_their_collateral() {
    let cases: &[(&str, &str, u64, &[&str], &str)] = &[
        ("tdx/dcap-qvl/tdx_quote", OF_JUNE_2025, JUNE_2025, &[], "UpToDate"),
        (
            "tdx/dcap-qvl/tdx_quote",
            OF_JUNE_2025,
            NOVEMBER_2026,
            &["collateral-expired"],
            "UpToDate",
        ),
        (
            "tdx/dcap-qvl/tdx_quote",
            OF_JUNE_2025,
            1_700_000_000,
            &["expired", "collateral-expired"],
            "UpToDate",
        ),
        ("tdx/dcap-qvl/near-quote_hex.txt", OF_SEPTEMBER_2025, SEPTEMBER_2025, &[], "UpToDate"),
        (
            "tdx/dcap-qvl/near-quote_hex.txt",
            OF_SEPTEMBER_2025,
            NOVEMBER_2026,
            &["collateral-expired"],
            "UpToDate",
        ),
        (
            "tdx/dcap-qvl/quote-from-tappd.hex",
            OF_JUNE_2025,
            JUNE_2025,
            &["tcb-status"],
            "no TCB level is reached",
        ),
        (
            "tdx/dcap-qvl/tdx-quote.hex",
            OF_JUNE_2025,
            JUNE_2025,
            &["tcb-status"],
            "no TCB level is reached",
        ),
        (
            "tdx/dcap-qvl/tdx_quote_outdated",
            OF_FEBRUARY_2026,
            FEBRUARY_2026,
            &["tcb-status"],
            "no TCB level is reached",
        ),
        (
            "tdx/trustee/tdx_quote_5.dat",
            OF_FEBRUARY_2026,
            FEBRUARY_2026,
            &["tcb-status", "service-td"],
            "no TCB level is reached",
        ),
        // Collateral of another kind of platform.
        (
            "tdx/dcap-qvl/tdx_quote",
            OF_SEPTEMBER_2025,
            SEPTEMBER_2025,
            &["fmspc", "tcb-status"],
            "no TCB level is reached",
        ),
    ];
    for (name, collateral, at, expected, status) in cases {
        let collateral = Collateral::from_json(&text(collateral)).unwrap();
        let verdict = judge(name, Some(&collateral), None, *at);
        assert_eq!(reasons(&verdict), *expected, "{name}");
        assert_eq!(verdict.root(), Some("intel"), "{name}");
        assert_eq!(value(&verdict, "tcb.status"), *status, "{name}");
        // Nothing said what it should be: never more than unbound.
        let genuine = if expected.is_empty() { Status::Unbound } else { Status::Refused };
        assert_eq!(verdict.status(), genuine, "{name}");
    }
}

/// Collateral put together from one file and TCB information that the service gave at that time.
fn with_tcb_info(file: &str, tcb_info: &str, qe_identity: Option<&str>) -> Collateral {
    let file = text(file);
    let chain = member(&file, "tcb_info_issuer_chain");
    let own_identity = format!(
        "{{\"enclaveIdentity\":{},\"signature\":\"{}\"}}",
        member(&file, "qe_identity"),
        member(&file, "qe_identity_signature")
    );
    Collateral::from_parts(&Parts {
        tcb_info: &text(tcb_info),
        tcb_info_chain: chain.as_bytes(),
        qe_identity: &qe_identity.map_or(own_identity, text),
        qe_identity_chain: chain.as_bytes(),
        pck_crl: &hex::decode(member(&file, "pck_crl")).unwrap(),
        pck_crl_chain: member(&file, "pck_crl_issuer_chain").as_bytes(),
        root_crl: &hex::decode(member(&file, "root_ca_crl")).unwrap(),
    })
    .unwrap()
}

#[test]
fn quotes_with_the_services_answers() {
    // A TD that was updated while it ran; all is well.
    let collateral =
        with_tcb_info(OF_FEBRUARY_2026, "tdx/go-tdx-guest/sample_tcbinfo_response_v5", None);
    let name = "tdx/go-tdx-guest/quote_v5_sample.dat";
    let verdict = judge(name, Some(&collateral), None, FEBRUARY_2026);
    assert_eq!(reasons(&verdict), [""; 0]);
    assert_eq!(value(&verdict, "tcb.status"), "UpToDate");

    // An old platform; the lists of that autumn are not in the set.
    let collateral = with_tcb_info(
        OF_SEPTEMBER_2025,
        "tdx/trustee/tcbInfo.json",
        Some("tdx/trustee/enclaveIdentity.json"),
    );
    let name = "tdx/trustee/tdx_quote_6.dat";
    let november = 1_762_300_000;
    let verdict = judge(name, Some(&collateral), None, november);
    assert_eq!(reasons(&verdict), ["collateral-expired", "tcb-status"]);
    assert_eq!(value(&verdict, "tcb.status"), "OutOfDate");

    // A debug TD of 2023, on a platform that was up to date then. The certificate that signed
    // collateral then is not in the set, and the one of 2025 has the same key.
    let collateral = with_tcb_info(
        OF_JUNE_2025,
        "tdx/go-tdx-guest/sample_tcbInfo_response",
        Some("tdx/go-tdx-guest/sample_qeIdentity_response"),
    );
    let verdict = judge("tdx/trustee/tdx_quote_4.dat", Some(&collateral), None, 1_687_500_000);
    let codes = reasons(&verdict);
    assert!(codes.contains(&"debug"), "{codes:?}");
    assert_eq!(value(&verdict, "tcb.status"), "UpToDate");
    assert!(!codes.contains(&"tcb-status") && !codes.contains(&"fmspc"), "{codes:?}");
}

#[test]
fn quotes_without_collateral() {
    let missing = "collateral-missing";
    for (name, expected) in [
        ("tdx/dstack/quote-report.json", vec![missing]),
        ("tdx/dstack/tdx-lite-getquote.json", vec![missing]),
        ("tdx/go-tdx-guest/ccel/cos-113-tdx-quote.dat", vec![missing]),
        ("tdx/go-tdx-guest/tdx_prod_quote_SPR_E4.dat", vec![missing, "attributes"]),
        ("tdx/trustee/tdx_quote_4.dat", vec![missing, "debug"]),
        ("tdx/trustee/tdx_quote_5.dat", vec![missing, "service-td"]),
        ("tdx/trustee/tdx_quote_6.dat", vec![missing]),
        ("tdx/oak/tdx_oc_evidence.binarypb", vec![missing]),
        ("az-tdx-vtpm/td-quote.bin", vec![missing, "attributes"]),
    ] {
        let verdict = judge(name, None, None, JUNE_2025);
        // Certificates of later platforms are not valid yet at that time, or the other way round.
        let codes: Vec<&str> =
            reasons(&verdict).into_iter().filter(|code| *code != "expired").collect();
        assert_eq!(codes, expected, "{name}");
        assert_eq!(verdict.root(), Some("intel"), "{name}");
    }
    // A machine of before production: names as in production, another root key.
    let verdict = judge("tdx/cc-api/quote.bin", None, None, JUNE_2025);
    assert_eq!(reasons(&verdict), ["root"]);
    assert_eq!(verdict.root(), None);
}

#[test]
fn logs_that_came_with_their_quotes() {
    let ccel = |name: &str| EventLog::parse(&vector(name)).unwrap();
    let dstack =
        |name: &str| EventLog::from_dstack_json(&member(&text(name), "event_log")).unwrap();
    for (name, log, broken) in [
        (
            "tdx/go-tdx-guest/ccel/cos-113-tdx-quote.dat",
            ccel("tdx/go-tdx-guest/ccel/ccel_data.dat"),
            vec![],
        ),
        ("tdx/cc-api/quote.bin", ccel("tdx/cc-api/ccel_data.bin"), vec!["event-log.rtmr2"]),
        ("tdx/dstack/quote-report.json", dstack("tdx/dstack/quote-report.json"), vec![]),
        ("tdx/dstack/tdx-lite-getquote.json", dstack("tdx/dstack/tdx-lite-getquote.json"), vec![]),
    ] {
        let verdict = judge(name, None, Some(&log), JUNE_2025);
        let claims: Vec<&str> = verdict
            .reasons()
            .map(|line| line.claim)
            .filter(|claim| claim.starts_with("event-log"))
            .collect();
        assert_eq!(claims, broken, "{name}: {}", value(&verdict, "event-log.events"));
    }
    // A log of another machine.
    let foreign = ccel("eventlog/trustee/CCEL_data_grub");
    let name = "tdx/go-tdx-guest/ccel/cos-113-tdx-quote.dat";
    let codes = judge(name, None, Some(&foreign), JUNE_2025);
    assert!(reasons(&codes).contains(&"rtmr"));
}

#[test]
fn logs_replay_to_the_registers_of_the_index() {
    for (name, registers) in [
        (
            "eventlog/trustee/CCEL_AAEL_alibabacloud",
            ["b796e1c1", "3b0b9061", "35f28013", "5e4ecd49"],
        ),
        ("eventlog/trustee/CCEL_data", ["2dc71230", "0fa3be56", "00000000", "00000000"]),
        ("eventlog/trustee/CCEL_data_gcp", ["33009807", "204d49f7", "00000000", "00000000"]),
        ("eventlog/trustee/CCEL_data_grub", ["cec0a104", "6c289e0c", "08919d01", "00000000"]),
        ("eventlog/trustee/CCEL_data_grub_gke", ["bc994513", "c17cb288", "334aeba2", "00000000"]),
        ("eventlog/trustee/CCEL_data_ovmf", ["8566f998", "775b9f6b", "94eaf7a7", "00000000"]),
    ] {
        let log = EventLog::parse(&vector(name)).unwrap();
        let verdict = judge("tdx/dcap-qvl/tdx_quote", None, Some(&log), JUNE_2025);
        for (index, expected) in registers.iter().enumerate() {
            let claim = format!("event-log.rtmr{index}");
            let line = verdict.lines().iter().find(|line| line.claim == claim).unwrap();
            let replayed = line.reference.as_ref().unwrap();
            assert!(replayed.starts_with(expected), "{name} {claim} {replayed}");
        }
        // Every digest is of what the table of kinds says.
        let problem = value(&verdict, "event-log.events");
        assert!(problem.contains("is covered"), "{name}: {problem}");
    }
    // Another hash altogether.
    let log = EventLog::parse(&vector("eventlog/trustee/CCEL_data_csv")).unwrap();
    let verdict = judge("tdx/dcap-qvl/tdx_quote", None, Some(&log), JUNE_2025);
    assert!(reasons(&verdict).contains(&"event-log"));
}

#[test]
fn a_changed_byte_of_a_real_quote_is_never_affirmed() {
    // D1: every byte, the certificates included.
    let bytes = quote("tdx/dcap-qvl/tdx_quote");
    let parsed = Quote::parse(&bytes).unwrap();
    let body = parsed.body();
    let expected = Expected { report_data: Some(*body.report_data()), mr_config_id: None };
    let requirements = Requirements {
        measurements: Some([Measurement(*body.mr_td())].into()),
        ..Requirements::default()
    };
    let collateral = Collateral::from_json(&text(OF_JUNE_2025)).unwrap();
    let checked = CheckedCollateral::new(collateral, Root::intel().unwrap());
    let judge = |bytes: &[u8]| {
        let evidence = Evidence::of_quote(Quote::parse(bytes).ok()?);
        Some(verify_with(&evidence, &checked, None, &expected, &requirements, JUNE_2025).status())
    };
    assert_eq!(judge(&bytes), Some(Status::Affirming));
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 0x01;
        assert_ne!(judge(&bad), Some(Status::Affirming), "byte {at:#x}");
    }
}
