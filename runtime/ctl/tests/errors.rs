// SPDX-License-Identifier: Apache-2.0
//! The table of errors in the documentation is whole.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

use std::fs;

use casemate_agent_api::Code;

fn page() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors.md");
    fs::read_to_string(path).unwrap()
}

#[test]
fn every_code_has_its_row() {
    let page = page();
    for code in Code::ALL {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{code}` |")));
        let row = row.unwrap_or_else(|| panic!("docs/errors.md has no row for {code}"));
        let columns: Vec<_> = row.split(" | ").collect();
        assert!(columns.len() == 3 && columns[1].len() > 10, "{code}: no cause");
        assert_eq!(columns[2].trim_end_matches(" |"), code.next_step(), "{code}: next step");
    }
}

#[test]
fn every_reason_of_a_verdict_has_its_row() {
    let page = page();
    for code in casemate_verifier::Code::ALL {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{code}` |")));
        let row = row.unwrap_or_else(|| panic!("docs/errors.md has no row for {code}"));
        let columns: Vec<_> = row.split(" | ").collect();
        assert!(columns.len() == 3 && columns[1].len() > 10, "{code}: no reason");
        assert_eq!(columns[2].trim_end_matches(" |"), code.next_step(), "{code}: next step");
    }
}

#[test]
fn every_dotted_row_is_a_code() {
    let page = page();
    let codes = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    for (code, _) in
        codes.filter(|(code, rest)| code.contains('.') && rest.matches('|').count() == 3)
    {
        assert!(code.parse::<Code>().is_ok(), "{code} is no code");
    }
}
