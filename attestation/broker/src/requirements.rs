// SPDX-License-Identifier: Apache-2.0
//! The owner's demands on every guest, `rules.toml`: a policy of the verifier's.

use std::collections::BTreeSet;
use std::path::Path;

use casemate_evidence::snp::Evidence;
use casemate_kbs_protocol::Tee;
use casemate_verifier::Finding;
use casemate_verifier::Measurement;
use casemate_verifier::Policy;
use casemate_verifier::PolicyError;
use casemate_verifier::ReferenceValues;
use casemate_verifier::Requirements;
use casemate_verifier::SNP_LAUNCH;
use casemate_verifier::advice;
use casemate_verifier::tdx;

use crate::error::BrokerError;
use crate::setup;
use crate::setup::RULES_FILE;

/// The owner's demands on SNP guests.
#[derive(Debug)]
pub(crate) struct SnpDemands {
    /// Those that hold now.
    pub(crate) now: Requirements,
    /// When a grace that counts now is over, seconds since 1970, and those that hold from then on.
    pub(crate) after: Option<(u64, Requirements)>,
}

/// Reads the demands of `dir` on what `evidence` is of, at `now`; `None` when SNP guests are not
/// accepted. The broker's own `measurements` are the set that the policy may refer to.
///
/// # Errors
///
/// [`BrokerError`] when the file is missing or malformed: a rule that cannot be read is not a rule
/// that does not exist.
pub(crate) fn snp(
    dir: &Path,
    measurements: BTreeSet<Measurement>,
    evidence: &Evidence,
    now: u64,
) -> Result<Option<SnpDemands>, BrokerError> {
    let references = ReferenceValues::from([(SNP_LAUNCH.to_owned(), measurements)]);
    let policy = policy(dir)?;
    let at = |time| usable(dir, policy.snp(evidence, &references, time));
    let Some(demands) = at(now)? else { return Ok(None) };
    let until = policy.snp.as_ref().and_then(|table| table.grace_until(evidence, now));
    let after = match until {
        Some(until) => at(until)?.map(|after| (until, after)),
        None => None,
    };
    Ok(Some(SnpDemands { now: demands, after }))
}

/// As [`snp`], on TDs, with the broker's own sets of references.
///
/// # Errors
///
/// As [`snp`].
pub(crate) fn tdx(
    dir: &Path,
    references: &ReferenceValues,
) -> Result<Option<tdx::Requirements>, BrokerError> {
    usable(dir, policy(dir)?.tdx(references))
}

/// Reads the demands of `dir` as for any guest, with the broker's sets of references. Gives what
/// they leave open, for the log.
///
/// # Errors
///
/// As [`snp`]: what would refuse every guest is better known before the first.
pub(crate) fn check(
    dir: &Path,
    measurements: BTreeSet<Measurement>,
    tdx_references: &ReferenceValues,
) -> Result<Vec<Finding>, BrokerError> {
    let policy = policy(dir)?;
    let references = ReferenceValues::from([(SNP_LAUNCH.to_owned(), measurements)]);
    usable(dir, policy.snp_measurements(&references))?;
    usable(dir, policy.tdx(tdx_references))?;
    Ok(advice(&policy))
}

/// Launch measurements that the demands of `dir` accept now, of one technology, with the broker's
/// sets of references of that one; `None` when its guests are not accepted.
///
/// # Errors
///
/// As [`snp`].
pub(crate) fn measurements(
    dir: &Path,
    tee: Tee,
    references: &ReferenceValues,
) -> Result<Option<BTreeSet<Measurement>>, BrokerError> {
    let policy = policy(dir)?;
    let found = match tee {
        Tee::Snp => policy.snp_measurements(references),
        Tee::Tdx => policy.tdx_measurements(references),
    };
    usable(dir, found)
}

fn usable<T>(dir: &Path, found: Result<T, PolicyError>) -> Result<Option<T>, BrokerError> {
    match found {
        Ok(requirements) => Ok(Some(requirements)),
        Err(PolicyError::NoTable { .. }) => Ok(None),
        Err(source) => {
            let path = dir.join(RULES_FILE);
            Err(BrokerError::Requirements { path, source: Box::new(source) })
        }
    }
}

fn policy(dir: &Path) -> Result<Policy, BrokerError> {
    let path = || dir.join(RULES_FILE);
    let text = String::from_utf8(setup::read(dir, RULES_FILE)?)
        .map_err(|_| BrokerError::RequirementValue { path: path(), problem: "is not UTF-8" })?;
    let policy = Policy::parse(&text)
        .map_err(|source| BrokerError::Requirements { path: path(), source: Box::new(source) })?;
    // It would name files that the broker does not read.
    if policy.reference_values.is_some() {
        let problem = "names a bundle of reference values: add them with `reference add`";
        return Err(BrokerError::RequirementValue { path: path(), problem });
    }
    Ok(policy)
}

#[cfg(test)]
mod tests {
    use casemate_evidence::snp::Report;

    use super::*;

    fn read(text: &str) -> Result<Requirements, BrokerError> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(RULES_FILE), text).unwrap();
        let references = BTreeSet::from([Measurement([1; 48])]);
        Ok(snp(dir.path(), references, &evidence(), 0)?.unwrap().now)
    }

    fn evidence() -> Evidence {
        let mut bytes = [0; 1184];
        bytes[0] = 2;
        bytes[0x0A] = 3;
        bytes[0x34] = 1;
        Evidence { report: Report::parse(&bytes).unwrap(), certificates: Vec::new() }
    }

    #[test]
    fn a_new_brokers_rules_demand_the_defaults_and_its_reference_values() {
        let expected = Requirements {
            measurements: Some(BTreeSet::from([Measurement([1; 48])])),
            ..Requirements::default()
        };
        assert_eq!(read(setup::RULES_TEMPLATE).unwrap(), expected);
        // What the template shows as a comment can be used.
        let shown: String = setup::RULES_TEMPLATE
            .lines()
            .filter_map(|line| {
                line.strip_prefix("# ").filter(|line| line.contains(" = ") || line.starts_with('['))
            })
            .map(|line| format!("{line}\n"))
            .collect();
        let active: String = setup::RULES_TEMPLATE
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| format!("{line}\n"))
            .collect();
        assert!(shown.contains("[snp.tcb.genoa]"));
        let rules = read(&format!("{active}{shown}")).unwrap();
        assert!(rules.guest.forbid_smt && rules.require_crl);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(RULES_FILE), format!("{active}{shown}")).unwrap();
        let mrtd = BTreeSet::from([Measurement([2; 48])]);
        let names = ["tdx_mrtd", "tdx_rtmr1", "tdx_rtmr2"];
        let references = ReferenceValues::from(names.map(|name| (name.to_owned(), mrtd.clone())));
        let rules = tdx(dir.path(), &references).unwrap().unwrap();
        assert_eq!(rules.rtmrs, [None, Some(mrtd.clone()), Some(mrtd.clone()), None]);
        assert_eq!(rules.measurements, Some(mrtd));
    }

    #[test]
    fn a_technology_without_a_table_is_not_accepted() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(RULES_FILE), setup::RULES_TEMPLATE).unwrap();
        assert!(tdx(dir.path(), &ReferenceValues::new()).unwrap().is_none());
        let only = "[tdx]\nwhere = \"any-genuine-chip\"\nmr-config-id = \"initdata\"\nmrtd = { reference = \"tdx_mrtd\" }\n";
        std::fs::write(dir.path().join(RULES_FILE), only).unwrap();
        assert!(snp(dir.path(), BTreeSet::new(), &evidence(), 0).unwrap().is_none());
        // A set that is not there is an error, and no rule that does not exist.
        let found = tdx(dir.path(), &ReferenceValues::new());
        assert!(matches!(found, Err(BrokerError::Requirements { .. })));
    }

    #[test]
    fn what_would_refuse_every_guest_is_known_before_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let sets = ReferenceValues::from([("tdx_mrtd".to_owned(), BTreeSet::new())]);
        let find = |text: &str| {
            std::fs::write(dir.path().join(RULES_FILE), text).unwrap();
            check(dir.path(), BTreeSet::new(), &sets)
        };
        assert_eq!(find(setup::RULES_TEMPLATE).unwrap(), []);
        let tdx = "[tdx]\nwhere = \"any-genuine-chip\"\nmr-config-id = \"initdata\"\nmrtd = { reference = \"tdx_mrtd\" }\n";
        let missing = find(tdx).unwrap();
        assert_eq!(missing.len(), 2, "{missing:?}");
        let register = "01".repeat(48);
        let one = find(&format!("{tdx}rtmr1 = [\"{register}\"]\n")).unwrap();
        assert_eq!(one, [Finding::System { table: "tdx", rule: "rtmr2" }]);
        let both = format!("{tdx}rtmr1 = [\"{register}\"]\nrtmr2 = [\"{register}\"]\n");
        assert_eq!(find(&both).unwrap(), []);
        // What is measured into RTMR3 is the word of whatever was booted.
        assert_eq!(find(&format!("{tdx}runtime-events = [\"x\"]\n")).unwrap().len(), 2);
        for bad in [
            "",
            "[snp",
            &setup::RULES_TEMPLATE.replace("snp_launch_measurement", "other"),
            &tdx.replace("tdx_mrtd", "other"),
        ] {
            assert!(find(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_an_error_and_no_missing_rule() {
        for bad in ["", "forbid_smt = true", "[snp]\n", "[snp]\nwhere = \"any-genuine-chip\"\n"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        let bundle = "[reference-values]\nbundle = \"b\"\nsignatures = [\"s\"]\nkeys = [\"k\"]\nthreshold = 1\n";
        let found = read(&format!("{}{bundle}", setup::RULES_TEMPLATE));
        assert!(matches!(found, Err(BrokerError::RequirementValue { .. })));
        let empty = tempfile::tempdir().unwrap();
        assert!(matches!(
            snp(empty.path(), BTreeSet::new(), &evidence(), 0),
            Err(BrokerError::File { action: "read", .. })
        ));
    }
}
