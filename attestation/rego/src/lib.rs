// SPDX-License-Identifier: Apache-2.0
//! Runs attestation policies written in Rego for the attestation service of Confidential
//! Containers: same input, same `query_reference_value`, same `trust_claims`. Built with feature
//! `rego` only.
//!
//! # Who trusts whom
//!
//! The owner of the policy trusts the verifier that made the input: a policy sees claims, not
//! signatures. A policy is not trusted to end or to be modest: the engine caps its time, and the
//! program `casemate-rego` evaluates with a cap on the memory of its process.
//!
//! # Security
//!
//! A policy only adds to a verdict. [`snp_input`] takes no evidence whose verdict is refused, so that
//! no policy can affirm what the verifier refuses.
//!
//! # Example
//!
//! ```
//! # #[cfg(feature = "rego")] {
//! use std::collections::BTreeMap;
//! use casemate_rego::Policy;
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
//! let claims = Policy::parse(text)?.evaluate(&input, &references)?;
//! assert_eq!((claims.executables, claims.configuration), (3, 2));
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(feature = "rego")]
mod engine;
mod input;

#[cfg(feature = "rego")]
pub use engine::Policy;
#[cfg(feature = "rego")]
pub use engine::RegoError;
pub use input::InputError;
pub use input::snp_input;
pub use input::tdx_input;
