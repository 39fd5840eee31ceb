// SPDX-License-Identifier: Apache-2.0
//! What a policy means, what changed in it, where it is weak, and what it answers: for people who
//! decide whether to trust one.
//!
//! The reader trusts this crate on a machine of their own and the document not at all: every text of
//! it is escaped before it is shown (E19). The crate does no I/O and judges nothing itself: verdicts
//! are those of the guest's own monitor.
//!
//! ```
//! use casemate_policy_review::{Document, explain, lint};
//!
//! let text = br#"
//! version = 1
//! [containers.web]
//! image = "registry.example/web@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
//! encryption = "required"
//! argv = ["/bin/web"]
//! cwd = "/"
//! user = { uid = 1000, gid = 1000 }
//! logs = "host-visible"
//! no_new_privileges = true
//! seccomp = "unconfined"
//! signals = [15]
//! "#;
//! let document = Document::read(text)?;
//! assert!(explain(&document).to_string().contains("The command: /bin/web"));
//! let finding = &lint(&document)[0];
//! assert_eq!((finding.id, finding.place.as_ref().unwrap().line), ("L005", 11));
//! # Ok::<(), casemate_policy_review::ReadError>(())
//! ```
//!
//! # Invariants
//!
//! - Every field of a policy has a sentence in [`explain()`]; two policies that differ have a
//!   difference in [`diff()`].
//! - Ids of [`lint()`] are never given to another rule.

mod diff;
mod document;
mod explain;
mod fact;
mod lint;
mod place;
mod simulate;
mod words;

pub use diff::Change;
pub use diff::Difference;
pub use diff::Direction;
pub use diff::diff;
pub use document::Carrier;
pub use document::Document;
pub use document::ReadError;
pub use explain::ContainerFacts;
pub use explain::Explanation;
pub use explain::explain;
pub use fact::Fact;
pub use fact::Lead;
pub use fact::Topic;
pub use fact::Weight;
pub use lint::Finding;
pub use lint::RULES;
pub use lint::Rule;
pub use lint::Severity;
pub use lint::lint;
pub use place::Place;
pub use place::Places;
pub use simulate::Answer;
pub use simulate::Event;
pub use simulate::Exited;
pub use simulate::Expectation;
pub use simulate::NoExample;
pub use simulate::Problem;
pub use simulate::Step;
pub use simulate::StepError;
pub use simulate::Verdict;
pub use simulate::example;
pub use simulate::simulate;
