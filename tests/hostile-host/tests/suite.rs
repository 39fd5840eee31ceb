// SPDX-License-Identifier: Apache-2.0
//! The whole catalogue, in both modes, as an ordinary test.

use std::collections::BTreeSet;

use casemate_hostile_host::Defence;
use casemate_hostile_host::Mode;
use casemate_hostile_host::Runner;
use casemate_hostile_host::cases;

#[test]
fn every_case_is_as_expected() {
    let required = std::env::var_os("CASEMATE_REQUIRE").is_some_and(|value| value == "1");
    let mut failed = Vec::new();
    for case in cases::all() {
        for mode in Mode::ALL {
            let line = Runner::default().run(case, mode);
            match line.missing && !required {
                true => eprintln!("skipped: {} ({}): {}", case.id, mode.as_str(), line.outcome),
                false if line.outcome.is_failure() => {
                    failed.push(format!("{} ({}): {}", case.id, mode.as_str(), line.outcome));
                }
                false => {}
            }
        }
    }
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn the_catalogue_is_complete() {
    let expected: Vec<String> = [('A', 28), ('B', 14), ('C', 15), ('D', 23), ('E', 22)]
        .into_iter()
        .flat_map(|(group, count)| (1..=count).map(move |n| format!("{group}{n}")))
        .collect();
    assert_eq!(expected.len(), 102);
    let found: Vec<_> = cases::all().map(|case| case.id).collect();
    assert_eq!(found, expected);
}

#[test]
fn every_guard_is_told_apart() {
    for case in cases::all() {
        match case.defence {
            Defence::Code(guard) | Defence::Policy(guard) => {
                assert!(
                    guard.function.starts_with("casemate_")
                        || guard.function.starts_with("containerd_shim_"),
                    "{}",
                    case.id
                );
                assert!(!guard.sabotage.is_empty(), "{}", case.id);
            }
            Defence::Nothing => {}
        }
    }
    let ids: BTreeSet<_> = cases::all().map(|case| case.id).collect();
    assert_eq!(ids.len(), cases::all().count(), "a number stands twice");
}

#[test]
fn the_threat_model_tells_what_stops_each_case() {
    let document = include_str!("../../../docs/threat-model.md");
    let row = |start: &str| -> Vec<&str> {
        let line = document.lines().find(|line| line.starts_with(start)).unwrap();
        line.split('|').nth(2).unwrap().split_whitespace().collect()
    };
    let of = |is: fn(&Defence) -> bool| -> Vec<_> {
        cases::all().filter(|case| is(&case.defence)).map(|case| case.id).collect()
    };
    assert_eq!(row("| code"), of(|defence| matches!(defence, Defence::Code(_))));
    assert_eq!(row("| the policy:"), of(|defence| matches!(defence, Defence::Policy(_))));
    assert_eq!(row("| the attacked thing"), of(|defence| matches!(defence, Defence::Nothing)));
}

#[test]
fn nothing_is_granted_but_what_the_list_says() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(casemate_hostile_host::mutation_list::check()).unwrap();
}
