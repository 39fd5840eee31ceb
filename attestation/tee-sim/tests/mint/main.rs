// SPDX-License-Identifier: Apache-2.0
//! Minted evidence, read and judged by the project's own parsers and verifier: good evidence is
//! affirmed, and each fault is found for its own reason.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

mod az_vtpm;
mod ours;
mod snp;
mod suite;
mod tdx;

use std::path::Path;
use std::sync::OnceLock;

use casemate_tee_sim::keys::Keys;
use casemate_tee_sim::mint::fault::{Fault, Need};
use casemate_verifier::{Status, Verdict};

/// 2026-06-01.
const AT: u64 = 1_780_272_000;

/// Keys of all tests: small ones, and kept for the next run.
fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("keys-of-seed-7");
        Keys::open(&folder, Some(7), 2048).unwrap()
    })
}

fn codes(verdict: &Verdict) -> Vec<String> {
    verdict.reasons().map(|line| line.code.to_string()).collect()
}

/// By what evidence is judged, beside the values that it must bind.
#[derive(Clone, Copy)]
enum By {
    /// The minted policy.
    Policy,
    /// What the verifier demands of any evidence.
    Default,
}

/// A fault that is accepted without a policy, and does not say that it is a matter of one.
fn missed_without_policy(fault: &Fault, verdict: &Result<Verdict, String>) -> Option<&'static str> {
    let found = verdict.as_ref().map_or(true, |verdict| verdict.status() == Status::Refused);
    (!found && !fault.needs.contains(&Need::Policy)).then_some(fault.name)
}

/// A fault that was not found, or for another reason, or not alone.
fn complaint(fault: &Fault, verdict: &Result<Verdict, String>) -> Option<String> {
    let Ok(verdict) = verdict else {
        // Unusable evidence: the parser refused it, which is right for faults of form alone.
        let form = fault.codes.iter().all(|code| FORM_CODES.contains(code));
        return (!form).then(|| format!("{}: unusable: {verdict:?}", fault.name));
    };
    let codes = codes(verdict);
    if verdict.status() != Status::Refused {
        return Some(format!("{}: MISSED", fault.name));
    }
    let named = codes.iter().all(|code| fault.codes.contains(&code.as_str()));
    let one =
        codes.iter().all(|code| Some(code) == codes.first()) || TWO_REASONS.contains(&fault.name);
    if named && one {
        return None;
    }
    Some(format!("{}: {codes:?} instead of {:?}", fault.name, fault.codes))
}

/// The authority of PCK certificates also signs a revocation list, so that its dates count twice; a
/// quoting enclave without a level leaves the platform without a status; a register that is not
/// quoted has no value for the initdata to be compared with.
const TWO_REASONS: [&str; 4] =
    ["ca-expired", "qe-no-level", "pcr-init-data-not-selected", "pcr-none-selected"];

/// Codes that faults have whose evidence a parser may refuse as a whole.
const FORM_CODES: [&str; 8] = [
    "reserved",
    "certificate",
    "event-log",
    "signature",
    "qe-binding",
    "qe-identity",
    "fmspc",
    "collateral-signature",
];

#[test]
fn what_is_minted_from_a_seed_is_the_same_again() {
    use casemate_tee_sim::mint::{az_vtpm, snp, tdx};
    let other = Keys::from_seed(b"other", 2048);
    let snp = |keys| {
        let options = snp::Options::new(snp::Product::Genoa, AT);
        let minted = options.mint(keys, &[]).unwrap();
        minted.files.into_iter().map(|file| file.bytes).collect::<Vec<_>>()
    };
    let tdx = |keys| {
        let minted = tdx::Options::new(tdx::Form::V4, AT).mint(keys, &[]).unwrap();
        minted.files.into_iter().map(|file| file.bytes).collect::<Vec<_>>()
    };
    let az = |keys| {
        let minted = az_vtpm::Options::snp(AT).mint(keys, &[]).unwrap();
        minted.files.into_iter().map(|file| file.bytes).collect::<Vec<_>>()
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("keys-of-seed-7");
    keys();
    let again = Keys::open(&folder, Some(7), 2048).unwrap();
    assert_eq!(snp(keys()), snp(&again));
    assert_eq!(tdx(keys()), tdx(&again));
    assert_eq!(az(keys()), az(&again));
    assert_ne!(tdx(keys()), tdx(&other));
    // Two seeds are not mixed up in one folder.
    assert!(Keys::open(&folder, Some(8), 2048).is_err());
}

#[test]
fn faults_have_names_of_their_own() {
    use casemate_tee_sim::mint::Tee;
    use casemate_tee_sim::mint::az_vtpm::AzFault;
    use casemate_tee_sim::mint::snp::SnpFault;
    use casemate_tee_sim::mint::tdx::TdxFault;
    fn check<'a>(faults: impl Iterator<Item = &'a Fault>) -> usize {
        let mut names = std::collections::BTreeSet::new();
        for fault in faults {
            assert!(names.insert(fault.name), "{} stands twice", fault.name);
            assert!(fault.text.ends_with(|letter: char| letter.is_alphanumeric()));
            for code in fault.codes {
                let known =
                    casemate_verifier::Code::ALL.iter().any(|known| known.as_str() == *code);
                assert!(known, "{code} of {}", fault.name);
            }
        }
        names.len()
    }
    assert!(check(SnpFault::ALL.iter().map(|fault| fault.fault())) > 80);
    assert!(check(TdxFault::ALL.iter().map(|fault| fault.fault())) > 80);
    for tee in [Tee::AzSnpVtpm, Tee::AzTdxVtpm] {
        assert!(check(AzFault::of(tee).iter().map(|fault| fault.fault())) > 70);
    }
}
