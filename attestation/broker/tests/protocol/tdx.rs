// SPDX-License-Identifier: Apache-2.0
//! TDs: quotes with collateral that the broker fetches, every reason for which that fails, and what
//! is asked of whom.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use casemate_agent_api::Code;
use casemate_broker::Clock as _;
use casemate_broker::RootChoice;
use casemate_broker::SystemClock;
use casemate_broker::TdRegister;
use casemate_kbs_client::ClientError;
use casemate_kbs_client::EvidenceError;
use casemate_kbs_client::EvidenceSource;
use casemate_kbs_client::Session;
use casemate_kbs_client::Tee;
use casemate_kbs_protocol::Secret;
use casemate_kbs_protocol::host_data;
use casemate_kbs_protocol::mr_config_id;
use casemate_tee_sim::keys::Keys;
use casemate_tee_sim::mint::Role;
use casemate_tee_sim::mint::tdx::Form;
use casemate_tee_sim::mint::tdx::Options;
use casemate_tee_sim::mint::tdx::TdxFault;
use casemate_verifier::Measurement;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;
use serde_json::Value;
use serde_json::json;

use crate::harness::INITDATA;
use crate::harness::KEY;
use crate::harness::KEY_VALUE;
use crate::harness::MEASUREMENT;
use crate::harness::Place;
use crate::harness::path;
use crate::harness::service::Service;

static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys::from_seed(b"broker", 2048));
/// One time for a whole run: certificates of one time are the same ones.
static NOW: LazyLock<u64> = LazyLock::new(|| SystemClock.now());

const RULES: &str = "[tdx]\nwhere = \"any-genuine-chip\"\nmr-config-id = \"initdata\"\n\
     mrtd = { reference = \"tdx_mrtd\" }\n";

/// A TD, and what its host may do to it.
#[derive(Clone)]
struct Td {
    initdata: String,
    change: fn(&mut Options),
    faults: &'static [TdxFault],
    with_log: bool,
}

impl Td {
    fn new() -> Self {
        Self { initdata: INITDATA.to_owned(), change: |_| {}, faults: &[], with_log: true }
    }

    fn faulty(faults: &'static [TdxFault]) -> Self {
        Self { faults, ..Self::new() }
    }

    fn options(&self) -> Options {
        let mut options = Options::new(Form::V5Td15, *NOW);
        options.mr_td = MEASUREMENT;
        options.mr_config_id = mr_config_id(&self.initdata).unwrap();
        options
    }

    fn value(&self, report_data: [u8; 64]) -> Value {
        let mut options = Options { report_data, ..self.options() };
        (self.change)(&mut options);
        let minted = options.mint(&KEYS, self.faults).unwrap();
        let encode = |role| minted.bytes(role).map(|bytes| STANDARD.encode(bytes));
        let log = if self.with_log { encode(Role::EventLog) } else { None };
        json!({ "quote": encode(Role::Quote), "cc_eventlog": log })
    }

    async fn fetch(&self, place: &Place) -> Result<Vec<u8>, ClientError> {
        let session =
            Session::new(&place.endpoint(), Tee::Tdx, self.clone(), self.initdata.clone()).unwrap();
        let secret = session.resource(&format!("kbs:///{KEY}").parse().unwrap()).await?;
        Ok(secret.expose().to_vec())
    }
}

impl EvidenceSource for Td {
    async fn evidence(&self, report_data: [u8; 64]) -> Result<Value, EvidenceError> {
        Ok(self.value(report_data))
    }
}

/// A caching service that has the collateral of the platform, with these faults in it.
fn pccs(faults: &[TdxFault]) -> Service {
    let minted = Td::new().options().mint(&KEYS, faults).unwrap();
    let file: Value = serde_json::from_slice(minted.bytes(Role::Collateral).unwrap()).unwrap();
    let text = |name: &str| file[name].as_str().unwrap().to_owned();
    let chain = |header: &str, name: &str| {
        format!("{header}: {}", utf8_percent_encode(&text(name), NON_ALPHANUMERIC))
    };
    let document = |member: &str, name: &str| {
        let signature = text(&format!("{name}_signature"));
        format!("{{\"{member}\":{},\"signature\":\"{signature}\"}}", text(name))
    };
    let service = Service::default();
    service.answer_with(
        "/tdx/certification/v4/tcb?",
        &chain("TCB-Info-Issuer-Chain", "tcb_info_issuer_chain"),
        document("tcbInfo", "tcb_info").as_bytes(),
    );
    service.answer_with(
        "/qe/identity?",
        &chain("SGX-Enclave-Identity-Issuer-Chain", "qe_identity_issuer_chain"),
        document("enclaveIdentity", "qe_identity").as_bytes(),
    );
    service.answer_with(
        "/pckcrl?",
        &chain("SGX-PCK-CRL-Issuer-Chain", "pck_crl_issuer_chain"),
        &hex::decode(text("pck_crl")).unwrap(),
    );
    service.answer("/rootcacrl", text("root_ca_crl").as_bytes());
    service
}

fn root_pem() -> String {
    let minted = Td::new().options().mint(&KEYS, &[]).unwrap();
    String::from_utf8(minted.bytes(Role::Root).unwrap().to_vec()).unwrap()
}

/// A broker that accepts the test's TDs and has a key for them.
async fn ready(service: &Service, rules: &str) -> Place {
    let place = Place::made(Some(&service.serve("pccs"))).await;
    std::fs::write(place.dir.join("rules.toml"), format!("{RULES}{rules}")).unwrap();
    place.store.add_root("test", RootChoice::SimulatedTdx, &root_pem()).await.unwrap();
    let store = &place.store;
    store.add_tdx_reference(TdRegister::MrTd, Measurement(MEASUREMENT)).await.unwrap();
    store.put_resource(&path(KEY), &Secret::from(KEY_VALUE.to_vec())).await.unwrap();
    store.allow(&path(KEY), &host_data(INITDATA).unwrap()).await.unwrap();
    place
}

fn last_attest(place: &Place) -> Value {
    place.audit().into_iter().rev().find(|entry| entry["event"] == "attest").unwrap()
}

fn refused_claims(place: &Place) -> Vec<String> {
    let last = last_attest(place);
    assert_eq!(last["outcome"], "refused");
    let lines = last["verdict"].as_array().into_iter().flatten();
    let refused = lines.filter(|line| line["outcome"] == "refused");
    let mut claims: Vec<_> =
        refused.map(|line| line["claim"].as_str().unwrap().to_owned()).collect();
    // Nobody is asked about the platform of a TD that is refused whatever it is.
    if claims.len() > 1 {
        claims.retain(|claim| claim != "collateral.given");
    }
    claims
}

/// Asserts that `td` is refused at attestation for exactly these claims.
async fn assert_refused(place: Place, td: &Td, claims: &[&str]) {
    let error = td.fetch(&place).await.unwrap_err();
    assert_eq!(error.code(), Code::AttestRefused, "{error}");
    assert_eq!(refused_claims(&place), claims, "{error}");
    for claim in claims.iter().take(3) {
        assert!(error.to_string().contains(claim), "{error}");
    }
    place.stop().await;
}

#[tokio::test]
async fn an_attested_td_gets_its_key() {
    let service = pccs(&[]);
    let place = ready(&service, "").await;
    assert_eq!(Td::new().fetch(&place).await.unwrap(), KEY_VALUE);
    assert_eq!(service.asked().len(), 4);
    let audit = place.audit();
    let [attest, resource] = &audit[..] else { panic!("two entries: {audit:?}") };
    assert_eq!(attest["outcome"], "accepted");
    assert_eq!(attest["root"], "simulated:test");
    assert_eq!(attest["measurement"], "3e".repeat(48));
    assert_eq!(attest["host_data"], hex::encode(mr_config_id(INITDATA).unwrap()));
    assert!(attest["quote"].as_str().unwrap().starts_with("0500"), "the quote is kept");
    assert!(attest.get("report").is_none());
    let lines = attest["verdict"].as_array().unwrap();
    let outcome =
        |claim: &str| lines.iter().find(|line| line["claim"] == claim).unwrap()["outcome"].clone();
    for claim in ["quote.signature", "tcb.status", "guest.mr-config-id", "event-log.rtmr0"] {
        assert_eq!(outcome(claim), "ok", "{claim}");
    }
    assert_eq!((&resource["outcome"], &resource["resource"]), (&"released".into(), &KEY.into()));
    // What was fetched is kept.
    assert_eq!(Td::new().fetch(&place).await.unwrap(), KEY_VALUE);
    assert!(service.asked().is_empty());
    place.stop().await;
}

#[tokio::test]
async fn each_fault_of_a_quote_is_refused_for_its_own_reason() {
    // D1, D2, D6, D8, D15, D20
    use TdxFault::*;
    let cases: [(&'static [TdxFault], &str); 14] = [
        (&[PckExpired], "chain.dates.pck"),
        (&[QuoteSignatureFlipped], "quote.signature"),
        (&[QeBindingOtherKey], "quote.qe-binding"),
        (&[Debug], "guest.debug"),
        (&[SeptVe], "guest.sept-ve-disable"),
        (&[Migratable], "guest.migration"),
        (&[SeamAttributes], "module.attributes"),
        (&[ServiceTd], "guest.service-td"),
        (&[MrOwner], "guest.mr-owner"),
        (&[MrConfigId], "guest.mr-config-id"),
        (&[MrConfigIdZero], "guest.mr-config-id"),
        (&[ReportData], "report.data"),
        (&[Measurement], "guest.measurement"),
        (&[Rtmr2], "event-log.rtmr2"),
    ];
    for (faults, claim) in cases {
        let service = pccs(&[]);
        let place = ready(&service, "").await;
        let error = Td::faulty(faults).fetch(&place).await.unwrap_err();
        assert_eq!(error.code(), Code::AttestRefused, "{error}");
        assert_eq!(refused_claims(&place), [claim], "{error}");
        assert!(error.to_string().contains(claim), "{error}");
        assert!(!error.to_string().contains("collateral"), "{error}");
        assert!(service.asked().is_empty(), "{faults:?}");
        place.stop().await;
    }
}

#[tokio::test]
async fn collateral_that_says_no_is_believed_and_none_is_refused() {
    // D2, D6, D17
    use TdxFault::*;
    for (fault, claims) in [
        (StatusOutOfDate, &["tcb.status"][..]),
        (StatusRevoked, &["tcb.status"]),
        (TcbInfoPceId, &["platform.pce-id"]),
        (PckRevoked, &["chain.revocation.pck"]),
        // These never leave the client that fetches them.
        (CaRevoked, &["collateral.given"]),
        (TcbInfoOtherKey, &["collateral.given"]),
        (TcbInfoExpired, &["collateral.given"]),
        (PckCrlScoped, &["collateral.given"]),
    ] {
        let place = ready(&pccs(&[fault]), "").await;
        assert_refused(place, &Td::new(), claims).await;
    }
    // A service without an answer, and an owner who names no service.
    let silent = Service::default();
    assert_refused(ready(&silent, "").await, &Td::new(), &["collateral.given"]).await;
    let place = Place::made(Some("kds = \"https://kds.example\"\n")).await;
    std::fs::write(place.dir.join("rules.toml"), RULES).unwrap();
    place.store.add_root("test", RootChoice::SimulatedTdx, &root_pem()).await.unwrap();
    let mrtd = casemate_verifier::Measurement(MEASUREMENT);
    place.store.add_tdx_reference(TdRegister::MrTd, mrtd).await.unwrap();
    assert_refused(place, &Td::new(), &["collateral.given"]).await;
}

#[tokio::test]
async fn nobody_is_asked_about_platforms_of_forged_quotes() {
    use TdxFault::*;
    for fault in [&[PckForged][..], &[CaForged], &[QuoteOtherKey], &[QeOtherKey]] {
        let service = pccs(&[]);
        let place = ready(&service, "").await;
        assert!(Td::faulty(fault).fetch(&place).await.is_err());
        assert!(service.asked().is_empty(), "{fault:?}");
        // Nor does a quote that no root vouches for fill the log.
        let is_kept = last_attest(&place).get("quote").is_some();
        assert_eq!(is_kept, [&[QuoteOtherKey][..], &[QeOtherKey]].contains(&fault), "{fault:?}");
        place.stop().await;
    }
    let service = pccs(&[]);
    let place = ready(&service, "").await;
    place.store.remove_root("test").await.unwrap();
    assert_refused(place, &Td::new(), &["chain.root"]).await;
    assert!(service.asked().is_empty());
}

#[tokio::test]
async fn who_passes_by_a_grace_alone_is_recorded() {
    // D18
    let service = pccs(&[TdxFault::StatusOutOfDate]);
    let grace =
        |until: &str| format!("grace = {{ until = {until}, tcb-status = [\"OutOfDate\"] }}\n");
    let place = ready(&service, &grace("2100-01-01T00:00:00Z")).await;
    assert_eq!(Td::new().fetch(&place).await.unwrap(), KEY_VALUE);
    assert_eq!(last_attest(&place)["grace_until"], "2100-01-01T00:00:00Z");
    place.stop().await;
    let over = ready(&service, &grace("2020-01-01T00:00:00Z")).await;
    assert_refused(over, &Td::new(), &["tcb.status"]).await;
    let place = ready(&pccs(&[]), &grace("2100-01-01T00:00:00Z")).await;
    assert_eq!(Td::new().fetch(&place).await.unwrap(), KEY_VALUE);
    assert!(last_attest(&place).get("grace_until").is_none());
    place.stop().await;
}

#[tokio::test]
async fn rules_and_registers_of_the_owner_are_applied() {
    let service = pccs(&[]);
    let log = "require-event-log = true\n";
    let without_log = Td { with_log: false, ..Td::new() };
    let place = ready(&service, "").await;
    assert!(without_log.fetch(&place).await.is_ok());
    place.stop().await;
    assert_refused(ready(&service, log).await, &without_log, &["event-log.events"]).await;

    // RTMRs by reference: an empty set accepts nothing, the right value does.
    let rules = "rtmr1 = { reference = \"tdx_rtmr1\" }\n";
    let place = ready(&service, rules).await;
    assert!(Td::new().fetch(&place).await.is_err());
    assert_eq!(refused_claims(&place), ["guest.rtmr1"]);
    let lines = last_attest(&place)["verdict"].clone();
    let line = lines.as_array().unwrap().iter().find(|line| line["claim"] == "guest.rtmr1");
    let value = line.unwrap()["value"].as_str().unwrap().parse().unwrap();
    place.store.add_tdx_reference(TdRegister::Rtmr2, value).await.unwrap();
    assert!(Td::new().fetch(&place).await.is_err());
    place.store.add_tdx_reference(TdRegister::Rtmr1, value).await.unwrap();
    assert_eq!(Td::new().fetch(&place).await.unwrap(), KEY_VALUE);
    place.stop().await;

    let evaluation = "tcb-evaluation-number = \">= 99\"\n";
    let claims = ["tcb.evaluation-number"];
    assert_refused(ready(&service, evaluation).await, &Td::new(), &claims).await;
    let elsewhere = RULES
        .replace("\"any-genuine-chip\"", "{ platforms = [\"00000000000000000000000000000000\"] }");
    let place = ready(&service, "").await;
    std::fs::write(place.dir.join("rules.toml"), elsewhere).unwrap();
    assert_refused(place, &Td::new(), &["platform.id"]).await;
}

#[tokio::test]
async fn without_a_table_for_it_a_technology_is_not_accepted() {
    let place = ready(&pccs(&[]), "").await;
    let table = "[snp]\nwhere = \"any-genuine-chip\"\nhost-data = \"initdata\"\n\
                 measurement = { reference = \"snp_launch_measurement\" }\n";
    std::fs::write(place.dir.join("rules.toml"), table).unwrap();
    let error = Td::new().fetch(&place).await.unwrap_err();
    assert_eq!(error.code(), Code::AttestRefused);
    assert!(error.to_string().contains("the broker's rules accept no TDs"), "{error}");
    place.stop().await;
}

#[tokio::test]
async fn a_tds_references_are_not_those_of_snp_guests() {
    let place = ready(&pccs(&[]), "").await;
    let mrtd = Measurement(MEASUREMENT);
    place.store.remove_tdx_reference(TdRegister::MrTd, mrtd).await.unwrap();
    place.store.add_reference(mrtd).await.unwrap();
    assert_refused(place, &Td::new(), &["guest.measurement"]).await;
}

#[tokio::test]
async fn what_was_true_at_attestation_is_asked_again() {
    let place = ready(&pccs(&[]), "").await;
    let session = |td: Td| {
        let initdata = td.initdata.clone();
        Session::new(&place.endpoint(), Tee::Tdx, td, initdata).unwrap()
    };
    let uri = format!("kbs:///{KEY}").parse().unwrap();
    let attested = session(Td::new());
    attested.attest().await.unwrap();
    let mrtd = Measurement(MEASUREMENT);
    place.store.remove_tdx_reference(TdRegister::MrTd, mrtd).await.unwrap();
    let error = attested.resource(&uri).await.err().unwrap();
    assert_eq!(error.code(), Code::ResourceDenied, "{error}");
    place.store.add_tdx_reference(TdRegister::MrTd, mrtd).await.unwrap();
    assert!(attested.resource(&uri).await.is_ok());
    place.store.remove_root("test").await.unwrap();
    let error = attested.resource(&uri).await.err().unwrap();
    assert_eq!(error.code(), Code::ResourceDenied, "{error}");
    place.stop().await;
}

#[tokio::test]
async fn another_tenants_td_gets_no_key() {
    // The same image and measurement, its own initdata; also with a longer digest.
    let place = ready(&pccs(&[]), "").await;
    for initdata in [INITDATA.replace("x = 1", "x = 2"), INITDATA.replace("sha256", "sha384")] {
        let tenant = Td { initdata: initdata.clone(), ..Td::new() };
        let error = tenant.fetch(&place).await.unwrap_err();
        assert_eq!(error.code(), Code::ResourceDenied, "{error}");
        assert_eq!(last_attest(&place)["outcome"], "accepted");
        // Granted by the same digest as an SNP guest's.
        place.store.allow(&path(KEY), &host_data(&initdata).unwrap()).await.unwrap();
        assert_eq!(tenant.fetch(&place).await.unwrap(), KEY_VALUE);
    }
    place.stop().await;
}

#[tokio::test]
async fn evidence_of_the_other_technology_is_malformed() {
    let place = ready(&pccs(&[]), "").await;
    let td = Td::new();
    let session =
        Session::new(&place.endpoint(), Tee::Snp, td.clone(), td.initdata.clone()).unwrap();
    let error = session.attest().await.unwrap_err();
    assert_eq!(error.code(), Code::AttestRefused);
    assert!(error.to_string().contains("malformed JSON"), "{error}");
    place.stop().await;
}

#[tokio::test]
async fn genuine_and_simulated_roots_need_a_broker_each() {
    // D14
    let place = ready(&pccs(&[]), "").await;
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../shared/vectors/tdx/go-tdx-guest/trusted_root.pem"
    );
    let intel = std::fs::read_to_string(file).unwrap();
    let store = &place.store;
    assert!(store.add_root("intel", RootChoice::Intel, &intel).await.is_err());
    store.remove_root("test").await.unwrap();
    let added = store.add_root("intel", RootChoice::Intel, &intel).await.unwrap();
    assert_eq!(added.kind, "intel");
    assert!(store.add_root("test", RootChoice::SimulatedTdx, &root_pem()).await.is_err());
    assert!(store.add_root("other", RootChoice::Intel, &root_pem()).await.is_err());
    let error = Td::new().fetch(&place).await.unwrap_err();
    assert_eq!(error.code(), Code::AttestRefused);
    assert_eq!(refused_claims(&place), ["chain.root"]);
    place.stop().await;
}
