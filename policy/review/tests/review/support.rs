// SPDX-License-Identifier: Apache-2.0
//! Documents, and golden files.

use std::path::Path;

use casemate_policy_review::Document;

pub(crate) const FULL: &str = include_str!("../data/full.toml");
pub(crate) const SMALL: &str = include_str!("../data/small.toml");

pub(crate) fn read(text: &str) -> Document {
    Document::read(text.as_bytes()).unwrap_or_else(|error| panic!("{error:?}\n{text}"))
}

/// The small policy with one text in another's place.
pub(crate) fn small_with(from: &str, to: &str) -> Document {
    assert!(SMALL.contains(from), "{from}");
    read(&SMALL.replacen(from, to, 1))
}

/// Compares with a file in tests/golden, or writes it if CASEMATE_BLESS is set.
pub(crate) fn expect(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("CASEMATE_BLESS").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(&path).unwrap_or_default(), "{name} differs");
}
