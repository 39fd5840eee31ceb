// SPDX-License-Identifier: Apache-2.0
//! Revocation lists. D2: an ASK revoked by a list; a list that is missing, expired or foreign.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::collections::BTreeSet;

use casemate_evidence::snp::CertificateKind;
use casemate_evidence::snp::Crl;
use casemate_evidence::snp::CrlError;
use casemate_evidence::snp::TableEntry;
use casemate_tee_sim::authority;
use casemate_tee_sim::authority::ASK_SERIAL;
use casemate_tee_sim::authority::Authority;
use casemate_tee_sim::authority::Names;
use casemate_verifier::Code;
use casemate_verifier::Expected;
use casemate_verifier::Measurement;
use casemate_verifier::Outcome;
use casemate_verifier::Requirements;
use casemate_verifier::Root;
use casemate_verifier::Verdict;
use casemate_verifier::verify;

const NOW: u64 = 1_780_272_000;
const CURRENT: (&str, &str) = ("260101000000Z", "270101000000Z");

fn judge(authority: &Authority, lists: &[Vec<u8>], required: bool) -> Verdict {
    let mut report = authority::report(&[1; 64], &[2; 48], &[3; 32]);
    authority.sign(&mut report);
    let mut evidence = authority.evidence(&report);
    let entry = |data: &Vec<u8>| TableEntry { kind: CertificateKind::Crl, data: data.clone() };
    evidence.certificates.extend(lists.iter().map(entry));
    let roots = [Root::simulated("test", &authority.ark_pem()).unwrap()];
    let expected = Expected { report_data: Some([1; 64]), host_data: None };
    let rules = Requirements {
        measurements: Some(BTreeSet::from([Measurement([2; 48])])),
        require_crl: required,
        ..Requirements::default()
    };
    verify(&evidence, &roots, &expected, &rules, NOW)
}

/// Why the only refused line is refused.
fn reason(verdict: &Verdict) -> &str {
    let mut reasons = verdict.reasons();
    let line = reasons.next().unwrap();
    assert_eq!((line.claim, line.code), ("chain.revocation", Code::Revoked));
    assert!(reasons.next().is_none());
    &line.value
}

#[test]
fn a_current_list_that_names_others_is_kept() {
    let authority = Authority::new();
    for revoked in [&[][..], &[ASK_SERIAL + 1, 77]] {
        let list = authority.crl(CURRENT, revoked);
        let verdict = judge(&authority, &[list], true);
        assert!(verdict.accepted().is_some(), "{:?}", verdict.reasons().collect::<Vec<_>>());
    }
}

#[test]
fn a_revoked_ask_is_refused() {
    let authority = Authority::new();
    let list = authority.crl(CURRENT, &[77, ASK_SERIAL]);
    assert_eq!(reason(&judge(&authority, &[list], false)), "SEV-simulated is revoked");
}

#[test]
fn no_list_is_refused_only_when_one_is_demanded() {
    let authority = Authority::new();
    assert_eq!(reason(&judge(&authority, &[], true)), "no list");
    let verdict = judge(&authority, &[], false);
    assert!(verdict.accepted().is_some());
    let line = verdict.lines().iter().find(|line| line.claim == "chain.revocation").unwrap();
    assert_eq!(line.outcome, Outcome::NotChecked);
}

#[test]
fn a_list_out_of_date_is_refused() {
    let authority = Authority::new();
    for dates in [("240101000000Z", "250101000000Z"), ("270101000000Z", "280101000000Z")] {
        let list = authority.crl(dates, &[]);
        assert!(reason(&judge(&authority, &[list], false)).starts_with("a list from 20"));
    }
}

#[test]
fn a_list_of_another_root_is_refused() {
    // Same names, other keys; also beside a good one.
    let (authority, other) = (Authority::new(), Authority::with(&Names::default(), 1));
    let foreign = other.crl(CURRENT, &[]);
    let good = authority.crl(CURRENT, &[]);
    for lists in [vec![foreign.clone()], vec![good, foreign]] {
        let verdict = judge(&authority, &lists, true);
        assert_eq!(reason(&verdict), "a list that the root did not sign");
    }
}

#[test]
fn every_changed_byte_of_a_list_is_refused() {
    // D1: the list keeps being read, and never says less than before.
    let authority = Authority::new();
    let list = authority.crl(CURRENT, &[ASK_SERIAL]);
    for at in 0..list.len() {
        let mut bad = list.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(judge(&authority, &[bad], false).accepted().is_none(), "byte {at}");
    }
}

#[test]
fn truncated_and_trailing_bytes_are_refused() {
    let list = Authority::new().crl(CURRENT, &[1, 2]);
    let crl = Crl::parse(&list).unwrap();
    assert_eq!(crl.der(), list);
    assert_eq!(crl.revoked().collect::<Vec<_>>(), [[1], [2]]);
    assert_eq!(crl.number(), Some(&[5][..]));
    assert_eq!((crl.this_update(), crl.next_update()), (1_767_225_600, 1_798_761_600));
    for end in 0..list.len() {
        assert!(Crl::parse(&list[..end]).is_err(), "{end}");
    }
    let mut long = list.clone();
    long.push(0);
    assert!(matches!(Crl::parse(&long), Err(CrlError::Malformed { .. })));
    let pem = authority::pem("X509 CRL", &list);
    assert_eq!(Crl::parse(pem.as_bytes()).unwrap(), crl);
    let wrong = authority::pem("CERTIFICATE", &list);
    assert!(matches!(Crl::parse(wrong.as_bytes()), Err(CrlError::Pem)));
}

#[test]
fn what_a_list_says_and_we_do_not_understand_is_refused() {
    // A partitioned, an indirect or a delta list would say less than it seems.
    let authority = Authority::new();
    for id in ["2.5.29.27", "2.5.29.28"] {
        for critical in [true, false] {
            let scoped = authority.crl_with(CURRENT, &[], &[(id, critical)]);
            assert!(matches!(Crl::parse(&scoped), Err(CrlError::Scope)), "{id} {critical}");
            let verdict = judge(&authority, &[scoped], true);
            assert!(reason(&verdict).contains("some of its issuer's certificates only"));
        }
    }
    let unknown = authority.crl_with(CURRENT, &[], &[("2.5.29.46", true)]);
    assert!(matches!(Crl::parse(&unknown), Err(CrlError::CriticalExtension)));
    let plain = authority.crl_with(CURRENT, &[], &[("2.5.29.35", false)]);
    assert!(Crl::parse(&plain).is_ok());
    let twice = authority.crl_with(CURRENT, &[], &[("2.5.29.35", false), ("2.5.29.35", false)]);
    assert!(matches!(Crl::parse(&twice), Err(CrlError::DuplicateExtension)));
}
