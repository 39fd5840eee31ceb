// SPDX-License-Identifier: Apache-2.0
//! What makes a policy one that lets in guests of other people.

use std::collections::BTreeSet;
use std::fmt;

use super::Bound;
use super::Policy;
use super::Values;
use crate::Measurement;

/// Something that a policy lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// There is no table for any TEE.
    Empty,
    /// A table does not read the launch measurement.
    Measurement {
        /// The table.
        table: &'static str,
        /// The rule that is missing.
        rule: &'static str,
    },
    /// A table does not read the field that the initdata is bound by.
    Initdata {
        /// The table.
        table: &'static str,
        /// The rule that is missing.
        rule: &'static str,
    },
    /// A table names no place where guests may run.
    Where {
        /// The table.
        table: &'static str,
    },
    /// A set that must match is empty, so that nothing is accepted.
    EmptySet {
        /// The table.
        table: &'static str,
        /// The rule.
        rule: &'static str,
    },
    /// A table compares what firmware a TD was launched with, and not what that booted.
    System {
        /// The table.
        table: &'static str,
        /// The rule that is missing.
        rule: &'static str,
    },
    /// The source of reference values cannot be satisfied, or by nobody in particular.
    Threshold,
}

/// What a policy lacks; nothing for one that can be used.
#[must_use]
pub fn lint(policy: &Policy) -> Vec<Finding> {
    let mut findings = Vec::new();
    if policy.snp.is_none() && policy.tdx.is_none() {
        findings.push(Finding::Empty);
    }
    if let Some(snp) = &policy.snp {
        measurement(&mut findings, "snp", "measurement", snp.measurement.as_ref());
        initdata(&mut findings, "snp", "host-data", snp.host_data.as_ref());
        if snp.place.is_nowhere() {
            findings.push(Finding::Where { table: "snp" });
        }
    }
    if let Some(tdx) = &policy.tdx {
        measurement(&mut findings, "tdx", "mrtd", tdx.mrtd.as_ref());
        initdata(&mut findings, "tdx", "mr-config-id", tdx.mr_config_id.as_ref());
        if tdx.place.is_nowhere() {
            findings.push(Finding::Where { table: "tdx" });
        }
    }
    if let Some(tpm) = &policy.az_vtpm {
        let requirements = tpm.requirements();
        let (table, rule) = ("az-vtpm", "pcr");
        if requirements.pcrs.values().any(BTreeSet::is_empty) {
            findings.push(Finding::EmptySet { table, rule });
        }
        if !requirements.binds_system() {
            findings.push(Finding::Measurement { table, rule: SYSTEM });
        }
    }
    if let Some(source) = &policy.reference_values {
        let keys = source.keys.len();
        if source.threshold == 0
            || source.threshold > keys
            || source.signatures.len() < source.threshold
        {
            findings.push(Finding::Threshold);
        }
    }
    findings
}

/// What a policy that can be used leaves open: its owner should know, and may mean it.
///
/// MRTD is of the firmware alone. It measures kernel, command line and initial RAM disk into RTMR1
/// and RTMR2 (Intel TDX Virtual Firmware Design Guide, section 8); RTMR3 is extended by the system
/// that was booted, so that rules on its events bind no kernel.
#[must_use]
pub fn advice(policy: &Policy) -> Vec<Finding> {
    // Behind Azure's vTPM, the TPM's registers are what says which system was booted.
    let tdx = policy.tdx.as_ref().filter(|_| policy.az_vtpm.is_none());
    let rules = tdx.map(|tdx| [("rtmr1", tdx.rtmr1.is_none()), ("rtmr2", tdx.rtmr2.is_none())]);
    let missing = rules.into_iter().flatten().filter(|(_, is_missing)| *is_missing);
    missing.map(|(rule, _)| Finding::System { table: "tdx", rule }).collect()
}

/// What of a TPM's registers says what the customer's system is.
const SYSTEM: &str = "values other than zero of pcr.4 and one of pcr.9 and pcr.11";

fn measurement(
    findings: &mut Vec<Finding>,
    table: &'static str,
    rule: &'static str,
    values: Option<&Values<Measurement>>,
) {
    match values {
        None => findings.push(Finding::Measurement { table, rule }),
        Some(Values::Listed(set)) if set.is_empty() => {
            findings.push(Finding::EmptySet { table, rule });
        }
        Some(_) => {}
    }
}

fn initdata<const N: usize>(
    findings: &mut Vec<Finding>,
    table: &'static str,
    rule: &'static str,
    values: Option<&Bound<N>>,
) {
    match values {
        None => findings.push(Finding::Initdata { table, rule }),
        Some(Bound::Listed(set)) if set.is_empty() => {
            findings.push(Finding::EmptySet { table, rule });
        }
        Some(_) => {}
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it has no table for a TEE, so that nothing is accepted"),
            Self::Measurement { table, rule } => write!(
                f,
                "[{table}] has no {rule}: it would accept whatever image a host boots"
            ),
            Self::Initdata { table, rule } => write!(
                f,
                "[{table}] has no {rule}: every tenant boots the same image, and only the initdata \
                 says whose guest it is"
            ),
            Self::Where { table } => write!(
                f,
                "[{table}] has an empty where: name chips, platforms or providers, or \
                 \"any-genuine-chip\""
            ),
            Self::EmptySet { table, rule } => {
                write!(f, "{rule} of [{table}] is empty, so that nothing is accepted")
            }
            Self::System { table, rule } => write!(
                f,
                "[{table}] has no {rule}: MRTD is of the firmware alone, and a host that boots \
                 another kernel, command line or initial RAM disk with it is not noticed"
            ),
            Self::Threshold => f.write_str(
                "reference-values: threshold is from 1 to the number of keys, with as many signatures",
            ),
        }
    }
}
