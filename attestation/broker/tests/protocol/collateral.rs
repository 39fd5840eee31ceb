// SPDX-License-Identifier: Apache-2.0
//! Guests whose host gave no certificates, or not the right ones.

use std::sync::Arc;

use casemate_agent_api::Code;
use casemate_evidence::snp::CertificateKind;
use casemate_evidence::snp::TableEntry;
use casemate_tee_sim::authority;
use casemate_tee_sim::authority::ASK_SERIAL;
use casemate_tee_sim::authority::Authority;
use casemate_tee_sim::authority::Names;

use crate::harness::Guest;
use crate::harness::KEY;
use crate::harness::Place;
use crate::harness::service::Service;

const VCEK: &str = "?blSPL=10&teeSPL=00&snpSPL=25&ucodeSPL=84";

/// AMD's service, for the chips of `authority`.
fn kds(authority: &Authority) -> Service {
    let kds = Service::default();
    let chain = authority::pem("CERTIFICATE", &authority.ask) + &authority.ark_pem();
    kds.answer(VCEK, &authority.vcek);
    kds.answer("/cert_chain", chain.as_bytes());
    kds
}

async fn key(place: &Place, guest: &Guest) -> bool {
    let session = guest.session(&place.endpoint());
    session.resource(&format!("kbs:///{KEY}").parse().unwrap()).await.is_ok()
}

/// Demands that the root's revocation list is there.
fn require_list(place: &Place) {
    let path = place.dir.join("rules.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let demanded = text.replace("# require-crl = true", "require-crl = true");
    assert_ne!(text, demanded);
    std::fs::write(path, demanded).unwrap();
}

fn list(data: Vec<u8>) -> TableEntry {
    TableEntry { kind: CertificateKind::Crl, data }
}

/// Evidence as its host gives it, with further entries.
fn with(authority: &Arc<Authority>, more: &[TableEntry]) -> Guest {
    Guest { more: more.to_vec(), ..Guest::new(authority) }
}

const DATES: (&str, &str) = ("260101000000Z", "491231235959Z");

fn guest(authority: &Arc<Authority>) -> Guest {
    Guest { without_certificates: true, ..Guest::new(authority) }
}

#[tokio::test]
async fn a_certificate_is_fetched_once_where_the_owner_says_so() {
    let authority = Arc::new(Authority::new());
    let kds = kds(&authority);
    let settings = kds.serve("kds");
    let asks_nobody = Place::ready(&authority).await;
    assert!(!key(&asks_nobody, &guest(&authority)).await);
    assert!(kds.asked().is_empty());
    asks_nobody.stop().await;

    let place = Place::ready_with(&authority, &settings).await;
    assert!(key(&place, &guest(&authority)).await);
    let asked = kds.asked();
    assert!(asked.iter().any(|path| path.ends_with(VCEK)), "{asked:?}");
    // D17: with the service gone, the kept one will do.
    kds.forget();
    assert!(key(&place, &guest(&authority)).await);
    assert!(!kds.asked().iter().any(|path| path.ends_with(VCEK)));
    // Who brings a certificate costs no request for one; a revocation list is looked for.
    assert!(key(&place, &Guest::new(&authority)).await);
    assert!(kds.asked().iter().all(|path| path.ends_with("/crl")));
    place.stop().await;
}

#[tokio::test]
async fn a_service_that_lies_opens_nothing() {
    // D17
    let authority = Arc::new(Authority::new());
    let kds = kds(&authority);
    let place = Place::ready_with(&authority, &kds.serve("kds")).await;
    let other_chip = Names { chip: vec![7; 64], ..Names::default() };
    let lower_tcb = Names { tcb: [10, 0, 24, 84], ..Names::default() };
    for lie in [
        Authority::with(&other_chip, 0),
        Authority::with(&lower_tcb, 0),
        Authority::with(&Names::default(), 1),
    ] {
        kds.answer(VCEK, &lie.vcek);
        assert!(!key(&place, &guest(&authority)).await);
    }
    kds.answer(VCEK, &authority.vcek);
    assert!(key(&place, &guest(&authority)).await);
    place.stop().await;
}

#[tokio::test]
async fn a_host_cannot_hide_a_revocation() {
    // D2, D17
    let authority = Arc::new(Authority::new());
    let kds = kds(&authority);
    let place = Place::ready_with(&authority, &kds.serve("kds")).await;
    let old = list(authority.crl_numbered(5, DATES));
    // Without a service there is nothing to compare with, and the list of the host counts.
    assert!(key(&place, &with(&authority, &[])).await);
    assert!(key(&place, &with(&authority, std::slice::from_ref(&old))).await);

    kds.answer("/crl", &authority.crl_revoking(6, DATES, &[ASK_SERIAL]));
    let hosts = [
        guest(&authority),
        with(&authority, &[]),
        with(&authority, std::slice::from_ref(&old)),
        Guest { more: vec![old.clone()], ..guest(&authority) },
    ];
    for host in &hosts {
        assert!(!key(&place, host).await, "{:?}", host.more);
    }
    // Nor once the service is gone: the kept list is valid.
    kds.forget();
    for host in &hosts {
        assert!(!key(&place, host).await, "{:?}", host.more);
    }
    place.stop().await;
}

#[tokio::test]
async fn a_list_below_one_seen_is_no_list() {
    // D17
    let authority = Arc::new(Authority::new());
    let kds = kds(&authority);
    let place = Place::ready_with(&authority, &kds.serve("kds")).await;
    require_list(&place);
    let old = list(authority.crl_numbered(5, DATES));
    kds.answer("/crl", &authority.crl_numbered(6, DATES));
    // Honest hosts that give certificates and no list, as most do.
    assert!(key(&place, &with(&authority, &[])).await);
    assert!(key(&place, &with(&authority, std::slice::from_ref(&old))).await);
    // What was kept is lost, and the service with it; that 6 was seen is not forgotten.
    kds.forget();
    let kept = std::fs::read_dir(place.dir.join("collateral")).unwrap();
    for file in kept.map(|entry| entry.unwrap().path()) {
        if file.file_name().unwrap() != "state" && file.is_file() {
            std::fs::remove_file(file).unwrap();
        }
    }
    assert!(!key(&place, &with(&authority, &[old])).await);
    assert!(!key(&place, &with(&authority, &[])).await);
    let newer = list(authority.crl_numbered(7, DATES));
    assert!(key(&place, &with(&authority, &[newer])).await);
    place.stop().await;
}

#[tokio::test]
async fn the_root_that_evidence_ends_in_is_whose_list_counts() {
    // D2: of several simulated roots, another than the first
    let names = Names { ark_subject: "ARK-simulated-second", ..Names::default() };
    let first = Arc::new(Authority::with(&names, 1));
    let authority = Arc::new(Authority::new());
    let kds = kds(&authority);
    let place = Place::made(Some(&kds.serve("kds"))).await;
    let pem = first.ark_pem();
    let kind = casemate_broker::RootChoice::Simulated;
    place.store.add_root("another", kind, &pem).await.unwrap();
    let place = place.opened(&authority).await;
    assert!(key(&place, &with(&authority, &[])).await);
    kds.answer("/crl", &authority.crl_revoking(6, DATES, &[ASK_SERIAL]));
    assert!(!key(&place, &with(&authority, &[])).await);
    place.stop().await;
}

#[tokio::test]
async fn a_wrong_certificate_of_the_hosts_is_left_out() {
    let authority = Arc::new(Authority::new());
    let kds = kds(&authority);
    let place = Place::ready_with(&authority, &kds.serve("kds")).await;
    let other = Authority::with(&Names { chip: vec![7; 64], ..Names::default() }, 0);
    for (kind, data) in [
        (CertificateKind::Vcek, other.vcek.clone()),
        (CertificateKind::Vlek, b"junk".to_vec()),
        (CertificateKind::Vcek, b"junk".to_vec()),
    ] {
        let host = Guest { more: vec![TableEntry { kind, data }], ..guest(&authority) };
        assert!(key(&place, &host).await, "{kind}");
    }
    place.stop().await;
}

#[tokio::test]
async fn a_service_that_fails_for_a_moment_is_told_as_such() {
    // D17
    let authority = Arc::new(Authority::new());
    let kds = kds(&authority);
    let place = Place::ready_with(&authority, &kds.serve("kds")).await;
    kds.fail(true);
    let fetch = async |guest: &Guest| {
        let session = guest.session(&place.endpoint());
        session.resource(&format!("kbs:///{KEY}").parse().unwrap()).await.map(drop)
    };
    let error = fetch(&guest(&authority)).await.unwrap_err();
    assert!(error.is_transient() && error.code() == Code::BrokerBusy, "{error}");
    let last = place.audit().pop().unwrap();
    assert!(last["reason"].as_str().unwrap().contains("collateral-busy: "), "{last}");
    // A list that must be there, and is not for now.
    require_list(&place);
    assert!(fetch(&with(&authority, &[])).await.unwrap_err().is_transient());
    // What no service cures is refused as ever.
    let debug = Guest { before: |report| report[0x0A] |= 8, ..guest(&authority) };
    assert_eq!(fetch(&debug).await.unwrap_err().code(), Code::AttestRefused);
    kds.fail(false);
    kds.answer("/crl", &authority.crl_numbered(6, DATES));
    fetch(&guest(&authority)).await.unwrap();
    place.stop().await;
}

#[tokio::test]
async fn nobody_is_asked_about_a_guest_that_is_another_anyway() {
    let authority = Arc::new(Authority::new());
    let kds = kds(&authority);
    let place = Place::ready_with(&authority, &kds.serve("kds")).await;
    for other in [
        Guest { measurement: [1; 48], ..guest(&authority) },
        Guest { host_data: Some([2; 32]), ..guest(&authority) },
        Guest { before: |report| report[0x50] ^= 1, ..guest(&authority) },
    ] {
        assert!(!key(&place, &other).await);
        assert!(kds.asked().is_empty());
    }
    place.stop().await;
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_recorded() {
    // D17: a service that takes connections and says nothing
    let authority = Arc::new(Authority::new());
    let kds = kds(&authority);
    kds.stall();
    let time = std::time::Duration::from_millis(1500);
    let short = |broker: casemate_broker::Broker| broker.with_request_time(time);
    let place = Place::made_with(Some(&kds.serve("kds")), short).await.opened(&authority).await;
    assert!(!key(&place, &guest(&authority)).await);
    let last = place.audit().pop().unwrap();
    assert_eq!((&last["event"], &last["outcome"]), (&"attest".into(), &"refused".into()));
    assert!(last["reason"].as_str().unwrap().contains("took too long"), "{last}");
    assert!(last["report"].is_string());
    place.stop().await;
}
