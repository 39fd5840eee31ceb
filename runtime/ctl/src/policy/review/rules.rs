// SPDX-License-Identifier: Apache-2.0
//! The owner's extra rules, as far as this build can evaluate them.

use casemate_policy_monitor::Monitor;
use casemate_policy_monitor::ReferenceMonitor;
use casemate_policy_review::Document;

use crate::failure::Failure;
use crate::failure::chain;

/// Whether rules are well-formed; `false` if this build cannot tell.
#[cfg(feature = "rego")]
pub(super) fn check(text: &str) -> Result<bool, Failure> {
    rules(text).map(|_| true)
}

/// Whether rules are well-formed; `false` if this build cannot tell.
#[cfg(not(feature = "rego"))]
#[expect(clippy::unnecessary_wraps, reason = "a build with rego refuses what is no Rego")]
pub(super) fn check(_: &str) -> Result<bool, Failure> {
    Ok(false)
}

/// The monitor that a guest would have for this document.
pub(super) fn monitor(
    document: &Document,
    without_rules: bool,
) -> Result<Box<dyn ReferenceMonitor>, Failure> {
    let monitor = Monitor::new(document.policy.clone())
        .map_err(|error| Failure::new("policy", chain(&error), "correct what the message names"))?;
    match document.rules.as_deref().filter(|_| !without_rules) {
        None => Ok(Box::new(monitor)),
        Some(text) => narrow(monitor, text),
    }
}

#[cfg(feature = "rego")]
fn narrow(monitor: Monitor, text: &str) -> Result<Box<dyn ReferenceMonitor>, Failure> {
    let rules = rules(text)?;
    Ok(Box::new(casemate_policy_rules::Narrowed::new(monitor, Box::new(rules))))
}

#[cfg(not(feature = "rego"))]
fn narrow(_: Monitor, _: &str) -> Result<Box<dyn ReferenceMonitor>, Failure> {
    Err(Failure::new(
        "rules",
        "the initdata has rules (policy.rego), and this program is built without what evaluates them",
        "build it with --features rego, or ask the typed policy alone with --without-rules",
    ))
}

#[cfg(feature = "rego")]
fn rules(text: &str) -> Result<casemate_policy_rules::Rules, Failure> {
    use casemate_rego_engine::Cage;
    use casemate_rego_engine::Reaping;

    casemate_policy_rules::Rules::new(text, Cage::this_program(Reaping::Here)).map_err(|error| {
        Failure::new("rules", format_args!("policy.rego: {}", chain(&error)), "correct the rules")
    })
}
