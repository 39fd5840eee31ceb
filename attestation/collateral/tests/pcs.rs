// SPDX-License-Identifier: Apache-2.0
//! Intel's service: D17.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod fake;

use casemate_collateral::Anchors;
use casemate_collateral::CheckError;
use casemate_collateral::Endpoint;
use casemate_collateral::Endpoints;
use casemate_collateral::FetchError;
use casemate_collateral::IntelService;
use casemate_collateral::Item;
use casemate_collateral::Origin;
use casemate_collateral::PckCa;
use casemate_collateral::Platform;
use casemate_collateral::REFRESH_AFTER;
use casemate_collateral::Update;
use casemate_evidence::collateral::Collateral;
use casemate_evidence::tdx::Quote;
use fake::DAY;
use fake::Fake;
use fake::NOW;
use fake::intel::CA_SERIAL;
use fake::intel::Parts;
use fake::intel::Simulated;
use fake::intel::TCB_SERIAL;
use fake::kept;
use fake::ok;
use fake::refusal;

const EARLY: Update = Update::Early;
/// Within the validity of `tdx_quote_collateral.json`: 2025-07-01.
const JULY_2025: u64 = 1_751_328_000;
/// Within the validity of `tdx_quote_outdated_collateral.json`: 2026-03-01.
const MARCH_2026: u64 = 1_772_323_200;

/// What a proxy says, and whether that is how it is found out.
type Lie = (&'static str, Parts, fn(&CheckError) -> bool);

fn reason(error: &FetchError) -> &CheckError {
    match error {
        FetchError::NotGenuine { source, .. } | FetchError::Offered { source, .. } => source,
        other => panic!("{other:?}"),
    }
}

fn vector(name: &str) -> Vec<u8> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors/tdx/dcap-qvl/");
    std::fs::read(format!("{dir}{name}")).unwrap()
}

#[tokio::test]
async fn genuine_collateral_is_put_together_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    for (quote, file, now) in [
        ("tdx_quote", "tdx_quote_collateral.json", JULY_2025),
        ("tdx_quote_outdated", "tdx_quote_outdated_collateral.json", MARCH_2026),
    ] {
        let platform = Platform::of(&Quote::parse(&vector(quote)).unwrap()).unwrap();
        assert_eq!(platform.ca, PckCa::Platform);
        let (parts, json) = Parts::genuine(file);
        let service = Fake::default();
        parts.serve(&service);
        let client = service.client(Anchors::vendors().unwrap(), dir.path());
        let found = client.tdx(platform, EARLY, now).await.unwrap();
        let original = Collateral::from_json(&json).unwrap();
        assert_eq!(*found.collateral(), original);
        assert_eq!(Collateral::from_json(found.json()).unwrap(), original);
        assert_eq!(service.asked().len(), 4);
        client.tdx(platform, EARLY, now).await.unwrap();
        assert_eq!(service.asked(), [""; 0]);
    }
    // D17: back in time, with collateral that was good then. Its numbers have been passed.
    let (parts, _) = Parts::genuine("tdx_quote_collateral.json");
    let service = Fake::default();
    parts.serve(&service);
    let client = service.client(Anchors::vendors().unwrap(), dir.path());
    let identity = Item::QeIdentity { update: EARLY };
    let error = client.get(&identity, JULY_2025).await.unwrap_err();
    let text = reason(&error).to_string();
    assert_eq!(text, "it is older than one seen before: number 17, seen was number 18");
    // The two editions are apart: during a recovery the later one has the lower number.
    let standard = Item::QeIdentity { update: Update::Standard };
    assert!(client.get(&standard, JULY_2025).await.is_ok());
}

#[tokio::test]
async fn genuine_collateral_is_stale_at_another_time() {
    // D17: stale collateral
    let (parts, _) = Parts::genuine("tdx_quote_collateral.json");
    let (service, dir) = (Fake::default(), tempfile::tempdir().unwrap());
    parts.serve(&service);
    let client = service.client(Anchors::vendors().unwrap(), dir.path());
    let platform = Platform { fmspc: [0xB0, 0xC0, 0x6F, 0, 0, 0], ca: PckCa::Platform };
    for now in [JULY_2025 - 30 * DAY, NOW] {
        let identity = Item::QeIdentity { update: EARLY };
        let error = client.get(&identity, now).await.unwrap_err();
        assert!(matches!(reason(&error), CheckError::NotCurrent { .. }));
        let advice = error.next_step();
        assert!(advice.contains("clock") && advice.contains("stale"), "{advice}");
    }
    assert!(client.tdx(platform, EARLY, NOW).await.is_err());
    // The root's list was good for a year, and is the one thing that may be kept.
    assert!(kept(dir.path()).iter().all(|name| name == "intel-root-crl.json"));
}

#[tokio::test]
async fn a_data_centres_service_gives_lists_in_digits() {
    let (parts, json) = Parts::genuine("tdx_quote_collateral.json");
    let (service, dir) = (Fake::default(), tempfile::tempdir().unwrap());
    parts.serve(&service);
    let chain = Some(parts.pck_crl_issuer_chain.as_str());
    service.answer("/pckcrl?", ok(parts.pck_crl.as_bytes(), chain));
    service.serve("/rootcacrl", parts.root_ca_crl.as_bytes());
    let pccs = IntelService::Pccs(Endpoint::new("https://pccs.example:8081").unwrap());
    let endpoints = Endpoints { intel: pccs, ..Endpoints::default() };
    let client = service.client_at(endpoints, Anchors::vendors().unwrap(), dir.path());
    let platform = Platform::of(&Quote::parse(&vector("tdx_quote")).unwrap()).unwrap();
    let found = client.tdx(platform, EARLY, JULY_2025).await.unwrap();
    assert_eq!(*found.collateral(), Collateral::from_json(&json).unwrap());
    let asked = service.asked();
    assert!(asked.iter().all(|url| url.starts_with("https://pccs.example:8081/")), "{asked:?}");
}

#[tokio::test]
async fn a_simulated_platform_has_its_own_root() {
    let simulated = Simulated::new();
    let (service, dir) = (Fake::default(), tempfile::tempdir().unwrap());
    simulated.parts.serve(&service);
    let platform = simulated.platform();
    let client = service.client(simulated.anchors(), dir.path());
    assert!(client.tdx(platform, EARLY, NOW).await.unwrap().setbacks.is_empty());
    // D14: and is nothing to who trusts Intel.
    let dir = tempfile::tempdir().unwrap();
    let client = service.client(Anchors::vendors().unwrap(), dir.path());
    let error = client.tdx(platform, EARLY, NOW).await.unwrap_err();
    assert!(matches!(reason(&error), CheckError::NotVouched));
    assert_eq!(kept(dir.path()), [""; 0]);
}

#[tokio::test]
async fn a_proxy_that_lies_is_found_out_and_nothing_is_kept() {
    // D17
    let simulated = Simulated::new();
    let (service, dir) = (Fake::default(), tempfile::tempdir().unwrap());
    let client = service.client(simulated.anchors(), dir.path());
    let item = Item::TcbInfo { fmspc: simulated.platform().fmspc, update: EARLY };
    let parts = &simulated.parts;
    let better = parts.tcb_info.replacen("OutOfDate", "UpToDate", 1);
    let unsigned = Parts { tcb_info: better, ..parts.clone() };
    let lies: [Lie; 6] = [
        ("a better status", unsigned, |e| matches!(e, CheckError::NotVouched)),
        (
            "another platform",
            simulated.with_tcb_info(|text| text.replace("90C06F", "80C06F")),
            |e| matches!(e, CheckError::OtherPlatform { .. }),
        ),
        (
            "another chain",
            Parts { tcb_info_issuer_chain: parts.pck_crl_issuer_chain.clone(), ..parts.clone() },
            |e| matches!(e, CheckError::NotVouched),
        ),
        ("no chain", Parts { tcb_info_issuer_chain: String::new(), ..parts.clone() }, |e| {
            matches!(e, CheckError::IntelCertificate { .. })
        }),
        ("half of it", Parts { tcb_info: "{".to_owned(), ..parts.clone() }, |e| {
            matches!(e, CheckError::IntelDocument { .. })
        }),
        (
            "a member twice",
            simulated.with_tcb_info(|text| text.replacen('{', r#"{"id":"TDX","#, 1)),
            |e| matches!(e, CheckError::IntelDocument { .. }),
        ),
    ];
    for (what, lie, is_named) in lies {
        lie.serve(&service);
        let error = client.get(&item, NOW).await.unwrap_err();
        assert!(matches!(error, FetchError::NotGenuine { .. }), "{what}: {error:?}");
        assert!(is_named(reason(&error)), "{what}: {error:?}");
        assert_eq!(kept(dir.path()), [""; 0], "{what}");
    }
    // A list of another CA.
    parts.serve(&service);
    let error = client.get(&Item::PckCrl { ca: PckCa::Processor }, NOW).await.unwrap_err();
    assert!(matches!(reason(&error), CheckError::OtherCa { .. }));
    // The PCK list in place of the root's.
    service.serve("/IntelSGXRootCA.der", &hex::decode(&parts.pck_crl).unwrap());
    let error = client.get(&Item::IntelRootCrl, NOW).await.unwrap_err();
    assert!(matches!(reason(&error), CheckError::NotVouched));
    assert_eq!(kept(dir.path()), [""; 0]);
}

#[tokio::test]
async fn lower_numbers_are_refused_and_the_kept_ones_used() {
    // D17: rollback within the validity of both.
    let simulated = Simulated::new();
    let (service, dir) = (Fake::default(), tempfile::tempdir().unwrap());
    let number = |text: &str, number: u32| {
        let member = r#""tcbEvaluationDataNumber":"#;
        let (head, tail) = text.split_once(member).unwrap();
        let rest = tail.trim_start_matches(|c: char| c.is_ascii_digit());
        format!("{head}{member}{number}{rest}")
    };
    let fmspc = simulated.platform().fmspc;
    let later = NOW + REFRESH_AFTER + 1;
    for item in [Item::TcbInfo { fmspc, update: EARLY }, Item::QeIdentity { update: EARLY }] {
        let serve = |n| {
            let parts = match item {
                Item::QeIdentity { .. } => simulated.with_qe_identity(|text| number(text, n)),
                _ => simulated.with_tcb_info(|text| number(text, n)),
            };
            parts.serve(&service);
        };
        let client = service.client(simulated.anchors(), dir.path());
        serve(1001);
        let new = client.get(&item, NOW).await.unwrap();
        serve(1000);
        let found = client.get(&item, later).await.unwrap();
        assert_eq!((found.origin, &found.answer), (Origin::Cache, &new.answer));
        assert!(matches!(reason(&found.setback.unwrap()), CheckError::RolledBack { .. }));
        serve(1002);
        let found = client.get(&item, later).await.unwrap();
        assert_eq!(found.origin, Origin::Service);
    }
    let client = service.client(simulated.anchors(), dir.path());
    for (given, good) in [(200, true), (199, false), (201, true)] {
        service.serve("/IntelSGXRootCA.der", &simulated.root_crl(given, &[]));
        std::fs::remove_file(dir.path().join("intel-root-crl.json")).ok();
        assert_eq!(client.get(&Item::IntelRootCrl, NOW).await.is_ok(), good, "{given}");
    }
}

#[tokio::test]
async fn collateral_of_a_revoked_key_is_refused() {
    let simulated = Simulated::new();
    for (serial, part) in [(TCB_SERIAL, "TCB information"), (CA_SERIAL, "PCK list")] {
        let (service, dir) = (Fake::default(), tempfile::tempdir().unwrap());
        simulated.parts.serve(&service);
        service.serve("/IntelSGXRootCA.der", &simulated.root_crl(200, &[serial]));
        let client = service.client(simulated.anchors(), dir.path());
        let error = client.tdx(simulated.platform(), EARLY, NOW).await.unwrap_err();
        assert!(matches!(error, FetchError::Offered { item, .. } if item == part), "{error:?}");
        assert!(matches!(reason(&error), CheckError::Revoked { .. }));
    }
}

#[tokio::test]
async fn one_busy_service_does_not_stop_the_other() {
    // D17: waits are per endpoint.
    let simulated = Simulated::new();
    let (service, dir) = (Fake::default(), tempfile::tempdir().unwrap());
    simulated.parts.serve(&service);
    let client = service.client(simulated.anchors(), dir.path());
    let platform = simulated.platform();
    client.tdx(platform, EARLY, NOW).await.unwrap();
    service.answer("/tdx/", refusal(429, Some("600")));
    service.asked();
    let later = NOW + REFRESH_AFTER + 1;
    let found = client.tdx(platform, EARLY, later).await.unwrap();
    let busy = |error: &FetchError| matches!(error, FetchError::Busy { .. });
    // The root's list has a host of its own, the PCK list came before the refusal.
    assert_eq!(found.setbacks.iter().filter(|error| busy(error)).count(), 2);
    assert_eq!(service.asked().len(), 3);
    // Without a valid one it is an error, with the time.
    let expired = NOW + 26 * DAY;
    service.set_down(true);
    let error = client.tdx(platform, EARLY, expired).await.unwrap_err();
    assert!(matches!(error, FetchError::Unreachable { .. }));
}
