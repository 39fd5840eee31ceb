// SPDX-License-Identifier: Apache-2.0
//! Runs attestation policies written in Rego for the attestation service of Confidential
//! Containers: same input, same `query_reference_value`, same `trust_claims`. Built with feature
//! `rego` only.
//!
//! # Who trusts whom
//!
//! The owner of the policy trusts the verifier that made the input: a policy sees claims, not
//! signatures. A policy is not trusted to end or to be modest: it is evaluated in a process of its
//! own with caps on time and memory.
//!
//! # Security
//!
//! A policy only narrows a verdict (`casemate_verifier::Verdict::appraised`). [`snp_input`] takes no
//! evidence whose verdict is refused: no policy is asked about it.
//!
//! # Example
//!
//! ```no_run
//! # #[cfg(feature = "rego")] {
//! use std::collections::BTreeMap;
//! use casemate_rego::Cage;
//! use casemate_rego::Policy;
//! use casemate_rego::Reaping;
//!
//! let text = r#"
//! package policy
//! import rego.v1
//! default executables := 33
//! executables := 3 if { input.snp.measurement in query_reference_value("snp_launch_measurement") }
//! default configuration := 36
//! configuration := 2 if { input.init_data in query_reference_value("init_data") }
//! trust_claims := {"executables": executables, "hardware": 2, "configuration": configuration}
//! "#;
//! let references = BTreeMap::from([
//!     ("snp_launch_measurement".to_owned(), serde_json::json!(["ab"])),
//!     ("init_data".to_owned(), serde_json::json!(["cd"])),
//! ]);
//! let input = serde_json::json!({"snp": {"measurement": "ab"}, "init_data": "cd"});
//! // Runs this program again, whose `main` calls `casemate_rego::child_main` first.
//! let policy = Policy::parse(text, Cage::this_program(Reaping::Here))?;
//! let claims = policy.evaluate(&input, &references)?;
//! assert_eq!((claims.executables, claims.configuration), (3, 2));
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(feature = "rego")]
mod engine;
mod input;

#[cfg(feature = "rego")]
pub use casemate_rego_engine::Cage;
#[cfg(feature = "rego")]
pub use casemate_rego_engine::Reaping;
#[cfg(feature = "rego")]
pub use casemate_rego_engine::child_main;
#[cfg(feature = "rego")]
pub use engine::Policy;
#[cfg(feature = "rego")]
pub use engine::RegoError;
pub use input::InputError;
pub use input::snp_input;
pub use input::tdx_input;
