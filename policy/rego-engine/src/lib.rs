// SPDX-License-Identifier: Apache-2.0
//! Evaluates Rego for whoever needs it: the attestation policies of the ecosystem and the owner's
//! extra rules in the initdata. Engine settings, deadline and memory cap stand here and nowhere else.
//!
//! Built with feature `rego` only.
//!
//! # Who trusts whom
//!
//! The owner of a program trusts the engine. The engine does not trust a program to end or to be
//! modest, nor its input to be small: [`Program::evaluate`] stops at [`MAX_TIME`], and a [`Cage`]
//! evaluates in a process of its own that the kernel ends at [`MAX_MEMORY_BYTES`] or
//! [`MAX_CPU_SECONDS`]. Whatever ends it so, whoever asked gets an error and lives on.
//!
//! # Example
//!
#![cfg_attr(feature = "rego", doc = "```")]
#![cfg_attr(not(feature = "rego"), doc = "```ignore")]
//! use casemate_rego_engine::Program;
//! use serde_json::json;
//!
//! let program = Program::parse("package p\nimport rego.v1\nallow if input.n > 3")?;
//! let allow = |n: u32| program.evaluate("data.p.allow", &json!({ "n": n }), &[]);
//! assert_eq!(allow(4)?, Some(json!(true)));
//! assert_eq!(allow(3)?, None);
//! # Ok::<(), casemate_rego_engine::EngineError>(())
//! ```
//!
//! # Invariants
//!
//! - A program has the language's own functions and those that the caller adds: it reaches no file,
//!   no network and no clock.
//! - An evaluation has a value, is undefined, or fails; it never blocks its caller for longer than
//!   [`MAX_TIME`] here or [`MAX_WAIT`] for a cage.

#![cfg(feature = "rego")]

mod cage;
mod confine;
mod program;

pub use cage::Cage;
pub use cage::CageError;
pub use cage::MAX_CPU_SECONDS;
pub use cage::MAX_MEMORY_BYTES;
pub use cage::MAX_WAIT;
pub use cage::Order;
pub use cage::Reaping;
pub use cage::child_main;
pub use confine::ConfineError;
pub use confine::confine;
pub use program::Body;
pub use program::EngineError;
pub use program::Function;
pub use program::MAX_TIME;
pub use program::Program;
