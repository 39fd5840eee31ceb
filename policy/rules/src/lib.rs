// SPDX-License-Identifier: Apache-2.0
//! The host's requests as JSON documents, and the owner's extra rules over them: Rego that narrows
//! what the typed policy grants.
//!
//! # Who trusts whom
//!
//! The rules are the owner's and measured with the initdata, as the policy is. The requests are the
//! adversary's. Rules are asked after the monitor has granted a request, and only then; they cannot
//! grant anything.
//!
//! # How it goes
//!
//! [`monitor`] gives the agent its monitor, and with rules their [`Judge`]. A judge that does not say yes
//! (a denial, an undefined rule, an error, a deadline) has the pending change rolled back. The agent
//! asks it with [`consult`], outside of its lock on the monitor; [`Narrowed`] puts both into one monitor,
//! for tools. With feature `rego` the judge is [`Rules`]; without it the crate has the requests' shape
//! alone and refuses to start where rules are given.
//!
//! ```
//! use casemate_policy_rules::Request;
//!
//! let request: Request = serde_json::from_str(
//!     r#"{"Signal": {"process": {"container_id": "c1"}, "signal": 15}}"#,
//! )?;
//! assert_eq!(request.name(), "Signal");
//! // What no request has is an error and not passed over.
//! assert!(serde_json::from_str::<Request>(r#"{"Signal": {"sign": 15}}"#).is_err());
//! # Ok::<(), serde_json::Error>(())
//! ```
//!
//! # Invariants
//!
//! - Nothing is granted that the monitor within denies; a denial leaves the state as it was.
//! - No word of the rules reaches the host: a denial names the rule's code and the request (A28).

mod input;
mod narrowed;
mod request;
#[cfg(feature = "rego")]
mod rules;
mod setup;

pub use input::Input;
pub use narrowed::Judge;
pub use narrowed::Narrowed;
pub use narrowed::Refusal;
pub use narrowed::consult;
pub use narrowed::container_name;
pub use request::AskError;
pub use request::Asked;
pub use request::BadRequest;
pub use request::ContainerRef;
pub use request::File;
pub use request::PutVolume;
pub use request::Request;
pub use request::ResizePty;
pub use request::Route;
pub use request::SetNetwork;
pub use request::Signal;
#[cfg(feature = "rego")]
pub use rules::Rules;
pub use setup::SetupError;
pub use setup::child_main;
pub use setup::monitor;

/// Name of the rules' entry in the initdata's `[data]` table.
pub const ENTRY: &str = "policy.rego";
