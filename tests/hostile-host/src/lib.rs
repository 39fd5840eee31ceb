// SPDX-License-Identifier: Apache-2.0
//! The hostile-host suite: 102 attacks of the host on a pod, by their number in the catalogue.
//!
//! Each [`Case`] carries out one attack through the interfaces that a hostile host has: the agent API
//! over the real multiplexer, a registry, a broker, a network, a disk, a launch. It passes when the
//! attack fails as the catalogue says, without a side effect. A case names the guard that stops it;
//! `cargo xtask hostile --sabotage` makes that guard say yes in a copy of the sources, and the case
//! must fail there, or it proves nothing.
//!
//! Every case runs twice: with the policy monitor, and with a double in its place that grants all
//! that is asked. What still holds is a defence in code; what does not is the policy's.
//!
//! ```
//! use casemate_hostile_host::{Mode, Runner, cases};
//!
//! let case = cases::find("A9").expect("the catalogue has it");
//! let line = Runner::default().run(case, Mode::Policy);
//! assert_eq!(line.outcome.result(), "pass", "{}", line.outcome);
//! ```
//!
//! # Invariants
//!
//! - A case stops what it started and leaves nothing behind; what it sends stays on loopback.
//! - What attacks a kernel attacks the one of a [`room`], never this machine's.
//! - A case that cannot run says what is missing; it never passes unseen.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic fails the case"
)]
#![allow(clippy::as_conversions, reason = "small numbers of a test, and trait objects")]

mod case;
pub mod cases;
mod context;
mod images;
mod mutation;
pub mod mutation_list;
mod report;
pub mod room;
mod runner;
mod shim;

pub use case::Case;
pub use case::Defence;
pub use case::Guard;
pub use case::Level;
pub use case::Missing;
pub use case::Mode;
pub use case::Outcome;
pub use case::Running;
pub use case::Verdict;
pub use context::Context;
pub use report::Line;
pub use report::list;
pub use report::table;
pub use runner::Runner;
