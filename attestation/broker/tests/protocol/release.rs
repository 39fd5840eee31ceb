// SPDX-License-Identifier: Apache-2.0
//! Client and broker over loopback: attest, fetch, and every reason for which that fails.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::harness::Guest;
use crate::harness::INITDATA;
use crate::harness::KEY;
use crate::harness::KEY_VALUE;
use crate::harness::MEASUREMENT;
use crate::harness::Place;
use crate::harness::path;
use casemate_agent_api::Code;
use casemate_broker::RootChoice;
use casemate_kbs_client::ClientError;
use casemate_kbs_client::Endpoint;
use casemate_kbs_client::EndpointError;
use casemate_kbs_client::ResourceUri;
use casemate_kbs_protocol::Secret;
use casemate_kbs_protocol::host_data;
use casemate_tee_sim::authority::Authority;
use casemate_tee_sim::authority::Names;
use casemate_verifier::Measurement;

fn uri(path: &str) -> ResourceUri {
    format!("kbs:///{path}").parse().unwrap()
}

/// What a guest gets for the key, as a code or as the value.
async fn fetch(place: &Place, guest: &Guest) -> Result<Vec<u8>, ClientError> {
    let secret = guest.session(&place.endpoint()).resource(&uri(KEY)).await?;
    Ok(secret.expose().to_vec())
}

/// The claims that the last attestation in the audit log was refused for.
fn refused_claims(place: &Place) -> Vec<String> {
    let audit = place.audit();
    let last = audit.iter().rev().find(|entry| entry["event"] == "attest").unwrap();
    assert_eq!(last["outcome"], "refused");
    last["verdict"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|line| line["outcome"] == "refused")
        .map(|line| line["claim"].as_str().unwrap().to_owned())
        .collect()
}

/// Asserts that `guest` is refused at attestation for exactly these claims.
async fn assert_refused(guest: &Guest, claims: &[&str]) {
    let place = Place::ready(&guest.authority).await;
    let error = fetch(&place, guest).await.unwrap_err();
    assert_eq!(error.code(), Code::AttestRefused, "{error}");
    assert_eq!(refused_claims(&place), claims);
    for claim in claims {
        assert!(error.to_string().contains(claim), "{error}");
    }
    place.stop().await;
}

fn authority() -> Arc<Authority> {
    Arc::new(Authority::new())
}

#[tokio::test]
async fn an_attested_guest_gets_its_key() {
    let authority = authority();
    let place = Place::ready(&authority).await;
    assert_eq!(fetch(&place, &Guest::new(&authority)).await.unwrap(), KEY_VALUE);

    let audit = place.audit();
    let [attest, resource] = &audit[..] else { panic!("two entries: {audit:?}") };
    assert_eq!((&attest["event"], &attest["outcome"]), (&"attest".into(), &"accepted".into()));
    assert_eq!(attest["root"], "simulated:test");
    assert_eq!(attest["measurement"], "3e".repeat(48));
    assert_eq!(attest["host_data"], hex::encode(host_data(INITDATA).unwrap()));
    let lines = attest["verdict"].as_array().unwrap();
    assert!(lines.iter().any(|l| l["claim"] == "report.signature" && l["outcome"] == "ok"));
    assert!(lines.iter().all(|l| l["outcome"] != "refused"));
    assert_eq!(
        (&resource["event"], &resource["outcome"]),
        (&"resource".into(), &"released".into())
    );
    assert_eq!(resource["resource"], KEY);
    assert_eq!(resource["token"], attest["token"]);
    // No secret in the log, in any spelling.
    let log = std::fs::read_to_string(place.dir.join("audit.jsonl")).unwrap();
    assert!(!log.contains(std::str::from_utf8(KEY_VALUE).unwrap()));
    assert!(!log.contains(&hex::encode(KEY_VALUE)));
    place.stop().await;
}

#[tokio::test]
async fn many_resources_cost_one_report() {
    let authority = authority();
    let place = Place::ready(&authority).await;
    let guest = Guest::new(&authority);
    let session = Arc::new(guest.session(&place.endpoint()));
    let fetches: Vec<_> = (0..8)
        .map(|_| {
            let session = Arc::clone(&session);
            tokio::spawn(async move { session.resource(&uri(KEY)).await.is_ok() })
        })
        .collect();
    for fetch in fetches {
        assert!(fetch.await.unwrap());
    }
    session.attest().await.unwrap();
    assert_eq!(guest.reports.load(Ordering::SeqCst), 1);
    place.stop().await;
}

#[tokio::test]
async fn an_expired_token_costs_one_more_report() {
    // D8
    let authority = authority();
    let place = Place::ready(&authority).await;
    let guest = Guest::new(&authority);
    let session = guest.session(&place.endpoint());
    session.resource(&uri(KEY)).await.unwrap();
    place.advance(301);
    assert_eq!(session.resource(&uri(KEY)).await.unwrap().expose(), KEY_VALUE);
    assert_eq!(guest.reports.load(Ordering::SeqCst), 2);
    place.stop().await;
}

#[tokio::test]
async fn a_denied_or_missing_resource_costs_no_report() {
    let authority = authority();
    let place = Place::ready(&authority).await;
    let guest = Guest::new(&authority);
    let session = guest.session(&place.endpoint());
    session.attest().await.unwrap();
    let secret = Secret::from(b"other".to_vec());
    place.store.put_resource(&path("other/key/1"), &secret).await.unwrap();

    // Stored, but allowed to nobody: deny by default.
    let error = session.resource(&uri("other/key/1")).await.err().unwrap();
    assert_eq!(error.code(), Code::ResourceDenied, "{error}");
    // Neither stored nor allowed: the answer is the same, and tells nothing.
    let absent = session.resource(&uri("other/key/2")).await.err().unwrap();
    assert_eq!(
        absent.to_string().replace("other/key/2", ""),
        error.to_string().replace("other/key/1", "")
    );
    // Allowed, but not stored.
    let initdata = host_data(INITDATA).unwrap();
    place.store.allow(&path("other/key/2"), &initdata).await.unwrap();
    let error = session.resource(&uri("other/key/2")).await.err().unwrap();
    assert_eq!(error.code(), Code::ResourceMissing, "{error}");

    assert_eq!(guest.reports.load(Ordering::SeqCst), 1);
    let denied = place.audit();
    assert_eq!(denied[1]["outcome"], "denied");
    assert!(denied[1]["reason"].as_str().unwrap().starts_with("resource.denied: "));
    assert!(denied[3]["reason"].as_str().unwrap().starts_with("resource.missing: "));
    place.stop().await;
}

#[tokio::test]
async fn the_measurement_alone_names_no_owner() {
    // Another tenant's guest: same image, same launch digest, its own initdata.
    let authority = authority();
    let place = Place::ready(&authority).await;
    let tenant = Guest { initdata: INITDATA.replace("x = 1", "x = 2"), ..Guest::new(&authority) };
    let error = fetch(&place, &tenant).await.unwrap_err();
    assert_eq!(error.code(), Code::ResourceDenied, "{error}");
    // It attested well; only the resource is not its own.
    assert_eq!(place.audit()[0]["outcome"], "accepted");
    place.stop().await;
}

#[tokio::test]
async fn an_unknown_measurement_is_refused() {
    let guest = Guest { measurement: [0x99; 48], ..Guest::new(&authority()) };
    assert_refused(&guest, &["guest.measurement"]).await;
}

#[tokio::test]
async fn initdata_that_is_not_host_data_is_refused() {
    // D15, D16: the host swapped the document after launch.
    let guest = Guest { host_data: Some([7; 32]), ..Guest::new(&authority()) };
    assert_refused(&guest, &["guest.host-data"]).await;
}

#[tokio::test]
async fn malformed_initdata_is_refused() {
    let guest = Guest { initdata: "rubbish".to_owned(), ..Guest::new(&authority()) };
    assert_refused(&guest, &[]).await;
}

#[tokio::test]
async fn a_bad_signature_is_refused() {
    // D1
    let guest = Guest { after: |report| report[0x2A0] ^= 1, ..Guest::new(&authority()) };
    assert_refused(&guest, &["report.signature"]).await;
}

#[tokio::test]
async fn a_debug_guest_is_refused() {
    // D4
    let guest = Guest { before: |report| report[0x0A] |= 1 << 3, ..Guest::new(&authority()) };
    assert_refused(&guest, &["guest.debug"]).await;
}

#[tokio::test]
async fn a_report_with_other_data_is_refused() {
    // D9, D13: the report of an honest guest, relayed for somebody else's key or nonce.
    let guest = Guest { before: |report| report[0x50] ^= 1, ..Guest::new(&authority()) };
    assert_refused(&guest, &["report.data"]).await;
}

#[tokio::test]
async fn a_report_from_another_privilege_level_is_refused() {
    let guest = Guest { before: |report| report[0x30] = 2, ..Guest::new(&authority()) };
    assert_refused(&guest, &["guest.vmpl"]).await;
}

#[tokio::test]
async fn an_expired_chip_certificate_is_refused() {
    let names = Names { leaf_validity: ("200101000000Z", "210101000000Z"), ..Names::default() };
    let guest = Guest::new(&Arc::new(Authority::with(&names, 0)));
    assert_refused(&guest, &["chain.dates.leaf"]).await;
}

#[tokio::test]
async fn evidence_of_another_root_is_refused() {
    // D2, D14: simulated evidence of an installation that this broker does not know.
    let place = Place::ready(&Authority::new()).await;
    let stranger = Arc::new(Authority::with(&Names::default(), 1));
    let error = fetch(&place, &Guest::new(&stranger)).await.unwrap_err();
    assert_eq!(error.code(), Code::AttestRefused);
    assert_eq!(refused_claims(&place), ["chain.root"]);
    assert_eq!(place.audit()[0].get("root"), None);
    place.stop().await;
}

#[tokio::test]
async fn a_broker_with_amds_roots_refuses_simulated_evidence() {
    // D14: the production configuration.
    let authority = authority();
    let place = Place::ready(&authority).await;
    place.store.remove_root("test").await.unwrap();
    for (name, choice) in [("milan", 0), ("genoa", 1), ("turin", 2)] {
        let file = format!(
            "{}/../../../shared/vectors/snp/trustee/{name}_ask_ark_asvk.pem",
            env!("CARGO_MANIFEST_DIR")
        );
        let pem = std::fs::read_to_string(file).unwrap();
        place.store.add_root(name, RootChoice::ALL[choice], &pem).await.unwrap();
    }
    let error = fetch(&place, &Guest::new(&authority)).await.unwrap_err();
    assert_eq!(error.code(), Code::AttestRefused);
    assert_eq!(refused_claims(&place), ["chain.root"]);
    // Nor can a simulated root stand beside AMD's, or under AMD's name.
    let beside = place.store.add_root("test", RootChoice::Simulated, &authority.ark_pem()).await;
    assert_eq!(beside.unwrap_err().code(), Code::BrokerCommand);
    let disguise = place.store.add_root("x", RootChoice::ALL[1], &authority.ark_pem()).await;
    assert!(disguise.is_err());
    place.stop().await;
}

#[tokio::test]
async fn a_new_broker_refuses_everybody() {
    let authority = authority();
    let place = Place::empty().await;
    assert_eq!(
        fetch(&place, &Guest::new(&authority)).await.unwrap_err().code(),
        Code::AttestRefused
    );
    assert_eq!(refused_claims(&place), ["chain.root", "guest.measurement"]);
    place.trust(&authority).await;
    assert_eq!(
        fetch(&place, &Guest::new(&authority)).await.unwrap_err().code(),
        Code::AttestRefused
    );
    assert_eq!(refused_claims(&place), ["guest.measurement"]);
    place.stop().await;
}

#[tokio::test]
async fn changes_take_effect_on_sessions_that_are_attested() {
    let authority = authority();
    let place = Place::ready(&authority).await;
    let session = Guest::new(&authority).session(&place.endpoint());
    session.resource(&uri(KEY)).await.unwrap();
    let denied = async || session.resource(&uri(KEY)).await.err().unwrap().code();
    let initdata = host_data(INITDATA).unwrap();

    place.store.deny(&path(KEY), &initdata).await.unwrap();
    assert_eq!(denied().await, Code::ResourceDenied);
    place.store.allow(&path(KEY), &initdata).await.unwrap();
    session.resource(&uri(KEY)).await.unwrap();

    place.store.remove_reference(Measurement(MEASUREMENT)).await.unwrap();
    assert_eq!(denied().await, Code::ResourceDenied);
    place.store.add_reference(Measurement(MEASUREMENT)).await.unwrap();
    session.resource(&uri(KEY)).await.unwrap();

    place.store.remove_root("test").await.unwrap();
    assert_eq!(denied().await, Code::ResourceDenied);
    // D14: another root of the same name is another root.
    let name = Names { ark_subject: "ARK-simulated-2", ..Names::default() };
    place.trust(&Authority::with(&name, 1)).await;
    assert_eq!(denied().await, Code::ResourceDenied);
    place.store.remove_root("test").await.unwrap();
    place.trust(&authority).await;
    session.resource(&uri(KEY)).await.unwrap();

    let value = Secret::from(b"new value".to_vec());
    place.store.put_resource(&path(KEY), &value).await.unwrap();
    assert_eq!(session.resource(&uri(KEY)).await.unwrap().expose(), b"new value");
    place.store.remove_resource(&path(KEY)).await.unwrap();
    assert_eq!(denied().await, Code::ResourceDenied);
    place.stop().await;
}

#[tokio::test]
async fn rules_apply_to_the_next_attestation_and_fail_closed() {
    let authority = authority();
    let place = Place::ready(&authority).await;
    let rules = place.dir.join("rules.toml");
    let template = std::fs::read_to_string(&rules).unwrap();
    let floor = "[snp.tcb.genoa]\nfloor = { bootloader = \">= 10\", snp = \">= 26\" }\n";
    std::fs::write(&rules, format!("{template}{floor}")).unwrap();
    let guest = Guest::new(&authority);
    assert_eq!(fetch(&place, &guest).await.unwrap_err().code(), Code::AttestRefused);
    assert_eq!(refused_claims(&place), ["tcb.reported", "tcb.committed"]); // D3
    std::fs::write(&rules, "[snp]\nwhere = \"somewhere\"\n").unwrap();
    let error = fetch(&place, &guest).await.unwrap_err();
    assert_eq!(error.code(), Code::BrokerBusy, "{error}");
    std::fs::write(&rules, template).unwrap();
    fetch(&place, &guest).await.unwrap();
    place.stop().await;
}

#[tokio::test]
async fn who_passes_by_a_grace_alone_is_recorded() {
    // D18
    let authority = authority();
    let place = Place::ready(&authority).await;
    let rules = place.dir.join("rules.toml");
    let template = std::fs::read_to_string(&rules).unwrap();
    let floors = |graced: &str| {
        let floors = format!(
            "[snp.tcb.genoa]\nfloor = {{ snp = \">= 26\" }}\n\
             grace = {{ until = 2100-01-01T00:00:00Z, floor = {{ snp = \">= {graced}\" }} }}\n"
        );
        std::fs::write(&rules, format!("{template}{floors}")).unwrap();
    };
    let guest = Guest::new(&authority);
    floors("25");
    fetch(&place, &guest).await.unwrap();
    let attest = |place: &Place| {
        place.audit().into_iter().rev().find(|entry| entry["event"] == "attest").unwrap()
    };
    assert_eq!(attest(&place)["grace_until"], "2100-01-01T00:00:00Z");
    // One that is refused has none, nor has one that passes anyway.
    floors("27");
    assert_eq!(fetch(&place, &guest).await.unwrap_err().code(), Code::AttestRefused);
    assert!(attest(&place).get("grace_until").is_none());
    std::fs::write(
        &rules,
        format!(
            "{template}[snp.tcb.genoa]\nfloor = {{ snp = \">= 25\" }}\n\
        grace = {{ until = 2100-01-01T00:00:00Z, floor = {{ snp = \">= 24\" }} }}\n"
        ),
    )
    .unwrap();
    fetch(&place, &guest).await.unwrap();
    assert_eq!(attest(&place)["outcome"], "accepted");
    assert!(attest(&place).get("grace_until").is_none());
    place.stop().await;
}

#[tokio::test]
async fn measurements_that_rules_list_count_for_attestation_and_release_alike() {
    let authority = authority();
    let place = Place::ready(&authority).await;
    let rules = place.dir.join("rules.toml");
    let template = std::fs::read_to_string(&rules).unwrap();
    let listed = |digits: &str| {
        let text = template
            .replace("{ reference = \"snp_launch_measurement\" }", &format!("[\"{digits}\"]"));
        assert_ne!(text, template);
        std::fs::write(&rules, text).unwrap();
    };
    // In the rules and no reference value; then the other way round.
    let guest = Guest { measurement: [9; 48], ..Guest::new(&authority) };
    listed(&"09".repeat(48));
    let session = guest.session(&place.endpoint());
    session.resource(&uri(KEY)).await.unwrap();
    let other = Guest::new(&authority);
    assert_eq!(fetch(&place, &other).await.unwrap_err().code(), Code::AttestRefused);
    listed(&"08".repeat(48));
    let error = session.resource(&uri(KEY)).await.err().unwrap();
    assert_eq!(error.code(), Code::ResourceDenied, "{error}");
    place.stop().await;
}

#[tokio::test]
async fn a_broker_of_another_ca_is_not_trusted() {
    // D15, C12: who answers has a certificate, but not of the CA in the initdata.
    let authority = authority();
    let place = Place::ready(&authority).await;
    let other = Place::empty().await;
    let endpoint = Endpoint::new(&place.url(""), &other.ca()).unwrap();
    let guest = Guest::new(&authority);
    let error = guest.session(&endpoint).resource(&uri(KEY)).await.err().unwrap();
    assert_eq!(error.code(), Code::BrokerUntrusted, "{error}");
    assert!(!error.is_transient());
    assert_eq!(guest.reports.load(Ordering::SeqCst), 0);
    other.stop().await;
    place.stop().await;
}

#[tokio::test]
async fn a_broker_of_another_name_is_not_trusted() {
    let place = Place::empty().await;
    let url = format!("https://127.0.0.2:{}", place.address.port());
    // The broker listens on 127.0.0.1 alone; a forwarder puts it on another address.
    let Ok(listener) = tokio::net::TcpListener::bind(("127.0.0.2", place.address.port())).await
    else {
        panic!("127.0.0.2 is loopback");
    };
    let target = place.address;
    let forwarder = tokio::spawn(async move {
        let (mut inside, _) = listener.accept().await.unwrap();
        let mut outside = tokio::net::TcpStream::connect(target).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
    });
    let endpoint = Endpoint::new(&url, &place.ca()).unwrap();
    let error = Guest::new(&authority()).session(&endpoint).attest().await.unwrap_err();
    assert_eq!(error.code(), Code::BrokerUntrusted, "{error}");
    forwarder.abort();
    place.stop().await;
}

#[tokio::test]
async fn http_is_refused_before_anything_is_sent() {
    let place = Place::empty().await;
    let refused = Endpoint::new(&format!("http://{}", place.address), &place.ca());
    assert!(matches!(refused, Err(EndpointError::NotHttps)));
    place.stop().await;
}

#[tokio::test]
async fn a_broker_that_is_down_is_unreachable() {
    let place = Place::empty().await;
    let endpoint = place.endpoint();
    place.stop().await;
    let error = Guest::new(&authority()).session(&endpoint).attest().await.unwrap_err();
    assert_eq!(error.code(), Code::BrokerUnreachable, "{error}");
    assert!(error.is_transient());
}
