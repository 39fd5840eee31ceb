// SPDX-License-Identifier: Apache-2.0
//! Lines for values of one shape.

use std::collections::BTreeSet;
use std::fmt::Display;

use crate::Rule;
use crate::Source;
use crate::verdict::Findings;
use crate::verdict::one_of;

/// A yes-or-no value, when it is demanded that it be `wanted`.
pub(super) fn flag(findings: &mut Findings, rule: &Rule, value: bool, wanted: Option<bool>) {
    let text = |flag: bool| if flag { "yes" } else { "no" };
    match wanted {
        Some(wanted) => {
            let reference = text(wanted).to_owned();
            findings.check(rule, text(value), reference, Source::Report, value == wanted);
        }
        None => findings.not_checked(rule, text(value), Source::Report),
    }
}

/// A value that must be one of a set, when there is a set.
pub(super) fn member<T: Ord>(
    findings: &mut Findings,
    rule: &Rule,
    value: &T,
    accepted: Option<&BTreeSet<T>>,
    text: impl Fn(&T) -> String,
) {
    match accepted {
        Some(accepted) => {
            let kept = accepted.contains(value);
            let reference = one_of(accepted, &text);
            findings.check(rule, text(value), reference, Source::Report, kept);
        }
        None => findings.not_checked(rule, text(value), Source::Report),
    }
}

/// A value that must not be below a floor, when there is one.
pub(super) fn floor<T: Display>(
    findings: &mut Findings,
    rule: &Rule,
    value: &T,
    floor: Option<&T>,
    is_at_least: impl Fn(&T, &T) -> bool,
) {
    match floor {
        Some(least) => {
            let kept = is_at_least(value, least);
            let reference = format!(">= {least}");
            findings.check(rule, value.to_string(), reference, Source::Report, kept);
        }
        None => findings.not_checked(rule, value.to_string(), Source::Report),
    }
}

/// Mitigations that must be there, when some are demanded.
pub(super) fn bits(findings: &mut Findings, rule: &Rule, value: Option<u64>, wanted: Option<u64>) {
    let text = value.map_or_else(|| "not reported".to_owned(), |bits| format!("{bits:#x}"));
    match wanted {
        Some(wanted) => {
            let kept = value.is_some_and(|bits| bits & wanted == wanted);
            findings.check(rule, text, format!("all of {wanted:#x}"), Source::Report, kept);
        }
        None => findings.not_checked(rule, text, Source::Report),
    }
}
