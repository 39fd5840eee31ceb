// SPDX-License-Identifier: Apache-2.0
//! Azure's SNP guests: a TPM quote whose key the hardware's report binds. D2, D8, D9.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use casemate_evidence::az_vtpm::AzSnpEvidence;
use casemate_evidence::az_vtpm::AzTdxEvidence;
use casemate_evidence::az_vtpm::HclReport;
use casemate_evidence::az_vtpm::TpmQuote;
use casemate_evidence::snp::Product;
use casemate_verifier::Code;
use casemate_verifier::Measurement;
use casemate_verifier::Outcome;
use casemate_verifier::Requirements as Platform;
use casemate_verifier::Root;
use casemate_verifier::Status;
use casemate_verifier::Verdict;
use casemate_verifier::az_vtpm::Expected;
use casemate_verifier::az_vtpm::Requirements;
use casemate_verifier::az_vtpm::verify_snp;
use casemate_verifier::az_vtpm::verify_tdx;
use casemate_verifier::tdx;

/// 2026-06-01
const NOW: u64 = 1_780_272_000;

fn file(name: &str) -> Vec<u8> {
    let path = format!("{}/../../../shared/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("test vector {name} is missing: {error}"))
}

fn evidence(name: &str) -> AzSnpEvidence {
    AzSnpEvidence::from_json(&String::from_utf8(file(name)).unwrap()).unwrap()
}

fn newest() -> AzSnpEvidence {
    evidence("az-snp-vtpm/evidence-v2.json")
}

fn platform(evidence: &AzSnpEvidence) -> Platform {
    Platform {
        measurements: Some(BTreeSet::from([Measurement(*evidence.report.measurement())])),
        allow_products: BTreeSet::from([Product::Milan]),
        ..Platform::default()
    }
}

fn judge(evidence: &AzSnpEvidence, expected: &Expected, requirements: &Requirements) -> Verdict {
    let roots = Root::all_builtin().unwrap();
    verify_snp(evidence, &roots, expected, requirements, &platform(evidence), NOW)
}

/// The verdict on a changed quote or report, expecting the nonce of the evidence as it was.
fn reasons(change: impl FnOnce(&mut AzSnpEvidence)) -> Vec<(&'static str, Code)> {
    let mut evidence = newest();
    let expected = bound(&evidence);
    change(&mut evidence);
    let verdict = judge(&evidence, &expected, &Requirements::default());
    verdict.reasons().map(|line| (line.claim, line.code)).collect()
}

/// References for the customer's system: the values of registers 4 and 9.
fn system(evidence: &AzSnpEvidence) -> Requirements {
    registers(evidence, &[4, 9])
}

fn registers(evidence: &AzSnpEvidence, indices: &[usize]) -> Requirements {
    let value = |index: &usize| *evidence.quote.pcrs().get(*index).unwrap();
    Requirements { pcrs: indices.iter().map(|i| (*i, BTreeSet::from([value(i)]))).collect() }
}

fn bound(evidence: &AzSnpEvidence) -> Expected {
    Expected { nonce: Some(evidence.quote.nonce().to_vec()), init_data: None }
}

#[test]
fn genuine_evidence_of_every_version_is_affirmed() {
    for (name, root) in [
        ("az-snp-vtpm/evidence-v0.json", "amd:milan"),
        ("az-snp-vtpm/evidence-v1.json", "amd:milan"),
        ("az-snp-vtpm/evidence-v2.json", "amd:milan"),
        ("az-snp-vtpm/evidence-genoa.json", "amd:genoa"),
    ] {
        let evidence = evidence(name);
        let verdict = judge(&evidence, &bound(&evidence), &system(&evidence));
        let refused: Vec<_> = verdict.reasons().map(|line| line.claim).collect();
        assert_eq!(refused, [""; 0], "{name}");
        assert_eq!((verdict.status(), verdict.root()), (Status::Affirming, Some(root)), "{name}");
        let lines = verdict.lines();
        let outcome = |claim| lines.iter().find(|line| line.claim == claim).unwrap().outcome;
        assert_eq!(outcome("tpm.ak-binding"), Outcome::Ok);
        assert!(lines.iter().all(|line| line.claim != "report.data"));
    }
}

#[test]
fn milan_is_refused_by_default_here_too() {
    let evidence = newest();
    let mut platform = platform(&evidence);
    platform.allow_products.clear();
    let roots = Root::all_builtin().unwrap();
    let verdict =
        verify_snp(&evidence, &roots, &bound(&evidence), &Requirements::default(), &platform, NOW);
    let refused: Vec<_> = verdict.reasons().map(|line| line.code).collect();
    assert_eq!(refused, [Code::Product]);
}

#[test]
fn without_a_nonce_the_verdict_is_unbound() {
    let evidence = newest();
    let verdict = judge(&evidence, &Expected::default(), &system(&evidence));
    assert_eq!(verdict.status(), Status::Unbound);
}

#[test]
fn without_references_for_the_customers_system_the_verdict_is_unbound() {
    // The measurement is the paravisor's, which every customer has.
    let evidence = newest();
    let expected = Expected { init_data: None, ..bound(&evidence) };
    for (indices, status) in [
        (&[][..], Status::Unbound),
        (&[0, 7, 8], Status::Unbound),
        // Whatever was booted can have put anything into the others.
        (&[9, 11], Status::Unbound),
        (&[4], Status::Unbound),
        (&[4, 9], Status::Affirming),
        // Nothing was measured into 11.
        (&[4, 11], Status::Unbound),
        (&[0, 4, 7, 9, 11], Status::Affirming),
    ] {
        let verdict = judge(&evidence, &expected, &registers(&evidence, indices));
        assert_eq!(verdict.status(), status, "{indices:?}");
        assert_eq!(verdict.accepted().is_some(), status == Status::Affirming);
        let executables = verdict.vector().executables;
        assert_eq!(executables, if status == Status::Affirming { 3 } else { 33 }, "{indices:?}");
    }
}

#[test]
fn another_nonce_is_refused() {
    // D8
    let evidence = newest();
    let expected = Expected { nonce: Some(vec![1; 48]), init_data: None };
    let verdict = judge(&evidence, &expected, &Requirements::default());
    let refused: Vec<_> = verdict.reasons().map(|line| (line.claim, line.code)).collect();
    assert_eq!(refused, [("tpm.nonce", Code::Nonce), ("tpm.user-data", Code::Nonce)]);
    // The right nonce in the quote only: an older report of the same machine.
    let first = self::evidence("az-snp-vtpm/evidence-v0.json");
    let relabelled = AzSnpEvidence { version: 2, ..first };
    let verdict = judge(&relabelled, &bound(&relabelled), &Requirements::default());
    let refused: Vec<_> = verdict.reasons().map(|line| line.claim).collect();
    assert_eq!(refused, ["tpm.user-data"]);
    // A prefix of the nonce is not the nonce, and no nonce binds nothing.
    for nonce in [evidence.quote.nonce().get(..8).unwrap().to_vec(), Vec::new()] {
        let expected = Expected { nonce: Some(nonce), init_data: None };
        assert_eq!(judge(&evidence, &expected, &Requirements::default()).reasons().count(), 2);
    }
}

#[test]
fn another_tpms_key_is_refused() {
    // D9: a genuine report and a genuine quote, of two machines.
    let genoa = evidence("az-snp-vtpm/evidence-genoa.json");
    let refused = reasons(|evidence| evidence.quote = genoa.quote.clone());
    assert!(refused.contains(&("tpm.signature", Code::Signature)), "{refused:?}");
    // The paravisor's data of the other machine, with its key: the report does not bind it.
    let refused = reasons(|evidence| {
        evidence.hcl = genoa.hcl.clone();
        evidence.quote = genoa.quote.clone();
        evidence.version = 0;
    });
    assert!(refused.contains(&("tpm.ak-binding", Code::AkBinding)), "{refused:?}");
}

#[test]
fn changed_paravisor_data_is_refused() {
    // D1: one digit of the VM's id.
    let refused = reasons(|evidence| {
        let mut bytes = evidence.hcl.as_bytes().to_vec();
        let at = bytes.windows(8).position(|part| part == b"7DF7B373").unwrap();
        bytes.splice(at..at + 1, *b"8");
        evidence.hcl = HclReport::parse(&bytes).unwrap();
    });
    assert_eq!(refused, [("tpm.ak-binding", Code::AkBinding)]);
}

fn requote(
    evidence: &AzSnpEvidence,
    change: impl FnOnce(&mut Vec<u8>, &mut [[u8; 32]; 24]),
) -> TpmQuote {
    let (mut message, mut pcrs) = (evidence.quote.message().to_vec(), *evidence.quote.pcrs());
    change(&mut message, &mut pcrs);
    TpmQuote::parse(&message, evidence.quote.signature(), pcrs).unwrap()
}

#[test]
fn registers_that_do_not_give_the_digest_are_refused() {
    for index in [0, 8, 23] {
        let refused = reasons(|evidence| {
            evidence.quote = requote(evidence, |_, pcrs| {
                pcrs.get_mut(index).unwrap().fill(1);
            });
        });
        assert_eq!(refused, [("tpm.pcr-digest", Code::Pcr)]);
    }
}

#[test]
fn every_changed_bit_of_the_quote_is_refused() {
    // D1
    let good = newest();
    let expected = bound(&good);
    for at in 0..good.quote.message().len() {
        let mut message = good.quote.message().to_vec();
        *message.get_mut(at).unwrap() ^= 1 << (at % 8);
        let Ok(quote) = TpmQuote::parse(&message, good.quote.signature(), *good.quote.pcrs())
        else {
            continue;
        };
        let bad = AzSnpEvidence { quote, ..good.clone() };
        let verdict = judge(&bad, &expected, &Requirements::default());
        assert!(verdict.accepted().is_none(), "byte {at}");
    }
}

#[test]
fn demanded_registers_must_be_quoted_and_accepted() {
    let good = newest();
    let value = |index: usize| *good.quote.pcrs().get(index).unwrap();
    let demand = |index: usize, values: &[[u8; 32]]| Requirements {
        pcrs: BTreeMap::from([(index, values.iter().copied().collect())]),
    };
    let refused = |evidence: &AzSnpEvidence, requirements: &Requirements| {
        let verdict = judge(evidence, &bound(&good), requirements);
        verdict.reasons().map(|line| line.claim).collect::<Vec<_>>()
    };
    let nothing: [&str; 0] = [];
    assert_eq!(refused(&good, &demand(4, &[value(4), [1; 32]])), nothing);
    assert_eq!(refused(&good, &demand(4, &[[1; 32]])), ["tpm.pcr"]);
    assert_eq!(refused(&good, &demand(4, &[])), ["tpm.pcr"]);
    assert_eq!(refused(&good, &demand(24, &[[0; 32]])), ["tpm.pcr-selection", "tpm.pcr"]);
    // The quote speaks of fewer registers; the value beside it is as demanded.
    let fewer = AzSnpEvidence {
        quote: requote(&good, |message, _| {
            let at = message.windows(3).rposition(|part| part == [0xFF; 3]).unwrap();
            *message.get_mut(at).unwrap() = 0xEF;
        }),
        ..good.clone()
    };
    let claims = refused(&fewer, &demand(4, &[value(4)]));
    assert!(claims.contains(&"tpm.pcr-selection") && claims.contains(&"tpm.pcr"), "{claims:?}");
}

#[test]
fn initdata_is_what_register_8_was_extended_with() {
    let good = newest();
    let expected = Expected { init_data: Some([9; 32]), ..bound(&good) };
    let verdict = judge(&good, &expected, &Requirements::default());
    let refused: Vec<_> = verdict.reasons().map(|line| (line.claim, line.code)).collect();
    assert_eq!(refused, [("tpm.init-data", Code::HostData)]);
    let line = verdict.reasons().next().unwrap();
    // SHA-256 of 32 zeros and 32 nines.
    let wanted = "20a7d6f6e88f212bd7a6d6098a6dcc93b83def3ea1f696fd81e72bae0edcc3cd";
    assert_eq!(line.reference.as_deref(), Some(wanted));
}

#[test]
fn accepted_initdata_is_compared_with_register_8_and_not_with_the_report() {
    let good = newest();
    let mut pcrs = *good.quote.pcrs();
    // SHA-256 of 32 zeros and 32 nines.
    let extended = "20a7d6f6e88f212bd7a6d6098a6dcc93b83def3ea1f696fd81e72bae0edcc3cd";
    hex::decode_to_slice(extended, pcrs.get_mut(8).unwrap()).unwrap();
    let quote = TpmQuote::parse(good.quote.message(), good.quote.signature(), pcrs).unwrap();
    let nine = AzSnpEvidence { quote, ..good.clone() };
    let roots = Root::all_builtin().unwrap();
    let refused = |evidence: &AzSnpEvidence, digests: &[[u8; 32]], init_data: Option<[u8; 32]>| {
        let host_data = Some(digests.iter().copied().collect());
        let platform = Platform { host_data, ..platform(evidence) };
        let expected = Expected { init_data, ..bound(evidence) };
        let rules = Requirements::default();
        let verdict = verify_snp(evidence, &roots, &expected, &rules, &platform, NOW);
        let claims = verdict.reasons().map(|line| line.claim);
        // The register was changed after the TPM signed.
        claims.filter(|claim| *claim != "tpm.pcr-digest").collect::<Vec<_>>()
    };
    let nothing: [&str; 0] = [];
    assert_eq!(refused(&nine, &[[1; 32], [9; 32]], None), nothing);
    assert_eq!(refused(&nine, &[[9; 32]], Some([9; 32])), nothing);
    assert_eq!(refused(&nine, &[[1; 32]], None), ["tpm.init-data"]);
    assert_eq!(refused(&nine, &[[1; 32]], Some([9; 32])), ["tpm.init-data"]);
    assert_eq!(refused(&nine, &[[9; 32]], Some([1; 32])), ["tpm.init-data"]);
    assert_eq!(refused(&nine, &[], None), ["tpm.init-data"]);
    // What the report's own field holds does not count.
    let own = *good.report.host_data();
    assert_eq!(refused(&good, &[own], None), ["tpm.init-data"]);
}

#[test]
fn a_td_on_azure_is_bound_to_its_tpm() {
    // No collateral of its platform is among the vectors, which is a reason of its own.
    for name in ["az-tdx-vtpm/evidence-v0.json", "az-tdx-vtpm/evidence-v1.json"] {
        let text = String::from_utf8(file(name)).unwrap();
        let evidence = AzTdxEvidence::from_json(&text).unwrap();
        let platform = tdx::Requirements {
            measurements: Some(BTreeSet::from([Measurement(*evidence.td.quote.body().mr_td())])),
            ..tdx::Requirements::default()
        };
        let judge = |evidence: &AzTdxEvidence, nonce: &[u8]| {
            let roots = [tdx::Root::intel().unwrap()];
            let expected = Expected { nonce: Some(nonce.to_vec()), init_data: None };
            let rules = Requirements::default();
            verify_tdx(evidence, &roots, None, &expected, &rules, &platform, NOW)
        };
        let codes = |verdict: &Verdict| -> BTreeSet<Code> {
            verdict.reasons().map(|line| line.code).collect()
        };
        let verdict = judge(&evidence, b"challenge");
        let without_collateral = codes(&verdict);
        assert!(without_collateral.contains(&Code::CollateralMissing), "{name}");
        let tpm: Vec<_> =
            verdict.lines().iter().filter(|line| line.claim.starts_with("tpm.")).collect();
        assert!(tpm.iter().all(|line| line.outcome != Outcome::Refused), "{name} {tpm:?}");
        assert!(tpm.iter().any(|line| line.claim == "tpm.ak-binding"), "{name}");

        let mut more = without_collateral.clone();
        more.insert(Code::Nonce);
        assert_eq!(codes(&judge(&evidence, b"another")), more, "{name}");
        // MRCONFIGID of a policy is initdata, which is in register 8; only SHA-256 fits there.
        let claims = |id: [u8; 48]| {
            let ids = Some(BTreeSet::from([id]));
            let platform = tdx::Requirements { mr_config_ids: ids, ..platform.clone() };
            let roots = [tdx::Root::intel().unwrap()];
            let expected = Expected { nonce: Some(b"challenge".to_vec()), init_data: None };
            let rules = Requirements::default();
            let verdict = verify_tdx(&evidence, &roots, None, &expected, &rules, &platform, NOW);
            let lines = verdict.lines().iter();
            let line = lines.clone().find(|line| line.claim == "tpm.init-data").unwrap().clone();
            let field = lines.clone().find(|line| line.claim == "guest.mr-config-id").unwrap();
            assert_eq!(field.outcome, Outcome::NotChecked, "{name}");
            (line.outcome, line.reference.unwrap_or_default())
        };
        let mut padded = [0; 48];
        padded.iter_mut().take(32).for_each(|byte| *byte = 9);
        let wanted = "20a7d6f6e88f212bd7a6d6098a6dcc93b83def3ea1f696fd81e72bae0edcc3cd";
        assert_eq!(claims(padded), (Outcome::Refused, wanted.to_owned()), "{name}");
        assert_eq!(claims([9; 48]), (Outcome::Refused, String::new()), "{name}");
        // D9: the report of another machine.
        let other = newest();
        let mixed = AzTdxEvidence { hcl: other.hcl, quote: other.quote, ..evidence };
        assert!(codes(&judge(&mixed, b"challenge")).contains(&Code::AkBinding), "{name}");
    }
}
