// SPDX-License-Identifier: Apache-2.0
//! Policies for verdicts: what is read has no finding, and says the same of a report each time.

#![no_main]

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use casemate_evidence::snp::Evidence;
use casemate_evidence::snp::REPORT_BYTES;
use casemate_evidence::snp::Report;
use casemate_verifier::Measurement;
use casemate_verifier::Moment;
use casemate_verifier::Policy;
use casemate_verifier::advice;
use casemate_verifier::lint;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = Moment::parse(text);
    let Ok(policy) = Policy::parse(text) else { return };
    assert_eq!(Policy::parse(text).ok().as_ref(), Some(&policy));
    assert!(lint(&policy).is_empty());
    let _ = advice(&policy);
    let references = BTreeMap::from([("a".to_owned(), BTreeSet::from([Measurement([7; 48])]))]);
    let report = Report::parse(&report()).expect("a report of version 3");
    let evidence = Evidence { report, certificates: Vec::new() };
    for now in [0, NOW, u64::MAX] {
        // Nothing that a policy accepts is accepted whatever it measures.
        if let Ok(demands) = policy.snp(&evidence, &references, now) {
            assert!(demands.measurements.is_some());
            let listed = policy.snp_measurements(&references).expect("the same references");
            assert_eq!(demands.measurements, Some(listed));
        }
        if let Some(table) = &policy.snp {
            assert!(table.grace_until(&evidence, now).is_none_or(|until| now < until));
        }
    }
    if let Ok(demands) = policy.tdx(&references) {
        assert_eq!(demands, policy.tdx(&references).expect("the same references"));
    }
    let _ = policy.tdx_measurements(&references);
    let _ = policy.az_vtpm();
});

/// A report of a Genoa chip that says little else.
fn report() -> [u8; REPORT_BYTES] {
    let mut report = [0; REPORT_BYTES];
    report[0] = 3;
    report[0x08..0x10].copy_from_slice(&0x3_0000_u64.to_le_bytes());
    report[0x34] = 1;
    report[0x188..0x18b].copy_from_slice(&[0x19, 0x11, 1]);
    report
}

const NOW: u64 = 1_795_000_000;
