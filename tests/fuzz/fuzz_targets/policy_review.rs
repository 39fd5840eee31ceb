// SPDX-License-Identifier: Apache-2.0
//! Documents that people are asked to trust, and lists of requests: whatever they hold, reading them
//! to people neither panics nor drives a terminal.

#![no_main]

use casemate_policy_monitor::Monitor;
use casemate_policy_review::Document;
use casemate_policy_review::Step;
use casemate_policy_review::diff;
use casemate_policy_review::explain;
use casemate_policy_review::lint;
use casemate_policy_review::simulate;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (document, requests) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let Ok(document) = Document::read(document) else { return };
    let mut text = explain(&document).to_string();
    for finding in lint(&document) {
        text.push_str(&finding.to_string());
    }
    assert!(diff(&document, &document).is_empty());
    let steps = std::str::from_utf8(requests).ok().and_then(|list| Step::read_list(list).ok());
    let mut monitor = Monitor::new(document.policy.clone()).expect("a policy that was read");
    for answer in simulate(&document, &mut monitor, &steps.unwrap_or_default()) {
        text.push_str(&format!("{:?}", answer.verdict));
    }
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
});
