// SPDX-License-Identifier: Apache-2.0
//! Verdicts on evidence of a root of the test's own: what no genuine vector shows.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::collections::BTreeSet;

use casemate_evidence::snp::CertificateKind;
use casemate_evidence::snp::Evidence;
use casemate_evidence::snp::Product;
use casemate_evidence::snp::TableEntry;
use casemate_tee_sim::authority;
use casemate_tee_sim::authority::Authority;
use casemate_tee_sim::authority::Names;
use casemate_verifier::Expected;
use casemate_verifier::Measurement;
use casemate_verifier::Policy;
use casemate_verifier::ReferenceValues;
use casemate_verifier::Requirements;
use casemate_verifier::Root;
use casemate_verifier::RootError;
use casemate_verifier::TcbRequirements;
use casemate_verifier::Verdict;
use casemate_verifier::verify;

const NOW: u64 = 1_780_272_000;
const DATA: [u8; 64] = [0xDA; 64];
const MEASUREMENT: [u8; 48] = [0x3E; 48];
const HOST_DATA: [u8; 32] = [0x40; 32];

fn report() -> Vec<u8> {
    authority::report(&DATA, &MEASUREMENT, &HOST_DATA)
}

fn signed(authority: &Authority, mut report: Vec<u8>) -> Evidence {
    authority.sign(&mut report);
    authority.evidence(&report)
}

fn judge(evidence: &Evidence, root: &Authority) -> Verdict {
    let roots = [Root::simulated("test", &root.ark_pem()).unwrap()];
    let expected = Expected { report_data: Some(DATA), host_data: Some(HOST_DATA) };
    let rules = Requirements {
        measurements: Some(BTreeSet::from([Measurement(MEASUREMENT)])),
        ..Requirements::default()
    };
    verify(evidence, &roots, &expected, &rules, NOW)
}

/// The refused claims of a report with some bytes changed before it is signed.
fn refusals_of(change: impl FnOnce(&mut [u8])) -> Vec<String> {
    let authority = Authority::new();
    let mut bytes = report();
    change(&mut bytes);
    let verdict = judge(&signed(&authority, bytes), &authority);
    claims(&verdict)
}

fn claims(verdict: &Verdict) -> Vec<String> {
    assert_eq!(verdict.accepted().is_none(), verdict.reasons().count() > 0);
    verdict.reasons().map(|line| line.claim.to_owned()).collect()
}

#[test]
fn minted_evidence_is_accepted_under_its_own_root() {
    let authority = Authority::new();
    let verdict = judge(&signed(&authority, report()), &authority);
    assert_eq!(claims(&verdict), [""; 0]);
    assert_eq!(verdict.accepted().unwrap().root, "simulated:test");
}

#[test]
fn minted_evidence_is_refused_by_every_other_root() {
    // D14: the production configuration has AMD's roots only.
    let authority = Authority::new();
    let evidence = signed(&authority, report());
    let other = Authority::with(&Names::default(), 1);
    let verdict = judge(&evidence, &other);
    assert_eq!(claims(&verdict), ["chain.root"]);
    assert_eq!(verdict.root(), None);

    let amd = Root::all_builtin().unwrap();
    let expected = Expected { report_data: Some(DATA), host_data: Some(HOST_DATA) };
    let rules = Requirements {
        measurements: Some(BTreeSet::from([Measurement(MEASUREMENT)])),
        ..Requirements::default()
    };
    assert_eq!(claims(&verify(&evidence, &amd, &expected, &rules, NOW)), ["chain.root"]);
}

#[test]
fn a_simulated_root_cannot_pass_as_amds() {
    // D14: neither by the name of its subject nor by the kind it is added as.
    let names = Names { ark_subject: "ARK-Genoa", ..Names::default() };
    let disguised = Authority::with(&names, 0);
    let added = Root::amd(Product::Genoa, &disguised.ark_pem());
    assert!(matches!(added, Err(RootError::NotAmd { .. })));
    let added = Root::simulated("test", &disguised.ark_pem());
    assert!(matches!(added, Err(RootError::Subject)));
    let plain = Authority::new();
    for name in ["", "Upper", "-x", "a b", "a/b", &"a".repeat(65)] {
        assert!(matches!(Root::simulated(name, &plain.ark_pem()), Err(RootError::Name)), "{name}");
    }
}

#[test]
fn a_root_that_did_not_sign_itself_is_no_root() {
    let good = Authority::new();
    let mut bad = Authority::new();
    let last = bad.ark.len() - 1;
    bad.ark[last] ^= 1;
    assert!(matches!(Root::simulated("x", &bad.ark_pem()), Err(RootError::SelfSignature)));
    let pem = good.ark_pem();
    assert!(matches!(Root::simulated("x", &pem.repeat(2)), Err(RootError::NotOneRoot)));
}

#[test]
fn another_key_with_the_same_names_is_refused() {
    // D2: names agree all the way up, signatures do not.
    let authority = Authority::new();
    let impostor = Authority::with(&Names::default(), 1);
    let mut evidence = signed(&impostor, report());
    assert_eq!(claims(&judge(&evidence, &authority)), ["chain.root"]);
    // The genuine ASK beside the impostor's leaf.
    evidence.certificates[0].data = authority.ask.clone();
    assert_eq!(claims(&judge(&evidence, &authority)), ["chain.root"]);
    // The genuine chain beside a report that another key signed.
    evidence.certificates[1].data = authority.vcek.clone();
    assert_eq!(claims(&judge(&evidence, &authority)), ["report.signature"]);
}

#[test]
fn an_intermediate_that_is_no_ca_is_refused() {
    let authority = Authority::with(&Names { ask_is_ca: false, ..Names::default() }, 0);
    assert_eq!(claims(&judge(&signed(&authority, report()), &authority)), ["chain.root"]);
}

#[test]
fn without_the_intermediate_there_is_no_chain() {
    let authority = Authority::new();
    let mut evidence = signed(&authority, report());
    evidence.certificates.remove(0);
    assert_eq!(claims(&judge(&evidence, &authority)), ["chain.root"]);
}

#[test]
fn an_expired_leaf_is_refused() {
    let names = Names { leaf_validity: ("200101000000Z", "250101000000Z"), ..Names::default() };
    let authority = Authority::with(&names, 0);
    assert_eq!(claims(&judge(&signed(&authority, report()), &authority)), ["chain.dates.leaf"]);
}

#[test]
fn each_rule_refuses_on_its_own() {
    // D4, and D3 by the certificate's TCB.
    let none: [&str; 0] = [];
    assert_eq!(refusals_of(|_| {}), none);
    assert_eq!(refusals_of(|r| r[0x30] = 1), ["guest.vmpl"]);
    assert_eq!(refusals_of(|r| r[0x0A] |= 1 << 3), ["guest.debug"]);
    assert_eq!(refusals_of(|r| r[0x0A] |= 1 << 2), ["guest.migration"]);
    assert_eq!(refusals_of(|r| r[0x0A] &= !(1 << 1)), ["guest.policy"]);
    assert_eq!(refusals_of(|r| r[0x0F] |= 1), ["guest.policy"]);
    assert_eq!(refusals_of(|r| r[0x34] = 2), ["report.signature"]);
    assert_eq!(refusals_of(|r| r[0x50] ^= 1), ["report.data"]);
    assert_eq!(refusals_of(|r| r[0x90] ^= 1), ["guest.measurement"]);
    assert_eq!(refusals_of(|r| r[0xC0] ^= 1), ["guest.host-data"]);
    assert_eq!(refusals_of(|r| r[0x180] -= 1), ["chain.tcb"]); // another bootloader level
    assert_eq!(refusals_of(|r| r[0x187] += 1), ["chain.tcb"]); // another microcode level
    assert_eq!(refusals_of(|r| r[0x1A0] ^= 1), ["chain.chip"]);
    assert_eq!(refusals_of(|r| r[0x1A0..0x1E0].fill(0)), ["chain.chip"]);
    assert_eq!(refusals_of(|r| r[0x189] = 0x01), ["chain.product"]); // a Milan CPU
    assert_eq!(refusals_of(|r| r[0x189] = 0x77), ["chain.product"]); // an unknown CPU
    assert_eq!(refusals_of(|r| r[0x48] = 1 << 2), ["report.key-info"]); // says VLEK
    assert_eq!(refusals_of(|r| r[0x48] = 7 << 2), ["report.key-info"]); // says unsigned
    assert_eq!(refusals_of(|r| r[0x48] = 3 << 2), ["report.key-info"]); // says nothing known
    assert_eq!(refusals_of(|r| r[0x48] = 1 << 1), ["report.chip-key"]); // says withheld
}

#[test]
fn a_rollback_between_committed_and_reported_is_seen() {
    // D3: the reported TCB meets the floor, the committed one does not.
    let authority = Authority::new();
    let mut bytes = report();
    bytes[0x1E6] = 20;
    let evidence = signed(&authority, bytes);
    let roots = [Root::simulated("test", &authority.ark_pem()).unwrap()];
    let rules = Requirements {
        measurements: Some(BTreeSet::from([Measurement(MEASUREMENT)])),
        tcb: TcbRequirements {
            floor: Some(evidence.report.reported_tcb()),
            ..TcbRequirements::default()
        },
        ..Requirements::default()
    };
    let expected = Expected { report_data: Some(DATA), host_data: Some(HOST_DATA) };
    assert_eq!(claims(&verify(&evidence, &roots, &expected, &rules, NOW)), ["tcb.committed"]);
}

#[test]
fn a_leaf_without_every_level_is_refused() {
    let names = Names { tcb: [10, 0, 24, 84], ..Names::default() };
    let authority = Authority::with(&names, 0);
    assert_eq!(claims(&judge(&signed(&authority, report()), &authority)), ["chain.tcb"]);
}

#[test]
fn an_accepted_lease_passes() {
    let names = Names { provider: Some("cloud.example"), ..Names::default() };
    let authority = Authority::with(&names, 0);
    let mut bytes = report();
    bytes[0x48] = 1 << 2;
    bytes[0x1A0..0x1E0].fill(0);
    let mut evidence = signed(&authority, bytes);
    evidence.certificates[1].kind = CertificateKind::Vlek;
    assert_eq!(claims(&judge(&evidence, &authority)), ["chain.provider"]);

    let roots = [Root::simulated("test", &authority.ark_pem()).unwrap()];
    let rules = Requirements {
        measurements: Some(BTreeSet::from([Measurement(MEASUREMENT)])),
        vlek_providers: BTreeSet::from(["cloud.example".to_owned()]),
        ..Requirements::default()
    };
    let expected = Expected { report_data: Some(DATA), host_data: Some(HOST_DATA) };
    assert!(verify(&evidence, &roots, &expected, &rules, NOW).accepted().is_some());
}

#[test]
fn an_unsigned_report_is_refused() {
    let authority = Authority::new();
    let evidence = authority.evidence(&report());
    assert_eq!(claims(&judge(&evidence, &authority)), ["report.signature"]);
}

#[test]
fn a_certificate_beside_the_signers_does_not_choose_the_floor() {
    // D3: a report of version 2 names no CPU, so that the floor is that of the certificate.
    let authority = Authority::new();
    let mut bytes = report();
    bytes[0] = 2;
    bytes[0x188..0x18B].fill(0);
    let mut evidence = signed(&authority, bytes);
    let policy = Policy::parse(&format!(
        "[snp]\nwhere = \"any-genuine-chip\"\nhost-data = \"initdata\"\nmeasurement = \"{}\"\n\
         [snp.tcb.genoa]\nfloor = {{ snp = \">= 26\" }}\n[snp.tcb.milan]\nfloor = {{ snp = \">= 1\" }}\n",
        hex::encode(MEASUREMENT)
    ))
    .unwrap();
    let roots = [Root::simulated("test", &authority.ark_pem()).unwrap()];
    let expected = Expected { report_data: Some(DATA), host_data: Some(HOST_DATA) };
    let refused = |evidence: &Evidence| {
        let demands = policy.snp(evidence, &ReferenceValues::new(), NOW).unwrap();
        claims(&verify(evidence, &roots, &expected, &demands, NOW))
    };
    assert_eq!(refused(&evidence), ["tcb.reported", "tcb.committed"]);
    let names = Names { product: "Milan", provider: Some("CN=x"), ..Names::default() };
    let other = TableEntry { kind: CertificateKind::Vlek, data: Authority::with(&names, 1).vcek };
    evidence.certificates.insert(0, other);
    assert_eq!(refused(&evidence), ["tcb.reported", "tcb.committed"]);
}
