// SPDX-License-Identifier: Apache-2.0
//! What host and guest say to each other: the agent API and its multiplexed transport.
//!
//! This is the only crate that both sides link. The guest trusts nothing that comes out of it
//! beyond its form: requests are the adversary's. The host trusts the guest no more: replies are
//! bounded, and their text is for people.
//!
//! [`mux`] carries many streams over one port, [`rpc`] puts the ttrpc client and server of
//! `proto/agent.proto` on one of them, [`request`] parses its messages into types that cannot hold
//! a bad state, [`class`] says who decides about each call and field, and [`ApiError`] is what a
//! refused call says.
//!
//! ```
//! use casemate_agent_api::request::CreateContainer;
//! use casemate_agent_api::{ApiError, Code, proto};
//!
//! let message = proto::CreateContainerRequest { id: "../escape".into(), ..Default::default() };
//! let error = ApiError::from(CreateContainer::try_from(message).unwrap_err());
//! assert_eq!(error.code(), Code::RequestInvalid);
//! // The code survives the way over ttrpc.
//! assert_eq!(ApiError::from_rpc(&error.to_rpc()), error);
//! ```
//!
//! # Invariants
//!
//! - Every length, count and id is checked against a named cap before memory is taken.
//! - A broken connection resets its streams and nothing else; what its reader had not taken can be
//!   sent again.
//! - No stream blocks another: each has a window of its own.
//! - Codes are stable: a code is added, never renamed.

pub mod class;
mod code;
pub mod mux;
pub mod request;
pub mod rpc;
mod status;

pub use code::Code;
pub use code::UnknownCode;
pub use status::ApiError;

pub use generated::agent as proto;
pub use generated::service;

#[allow(warnings, clippy::all, clippy::restriction, reason = "generated code")]
mod generated {
    /// Messages of `proto/agent.proto`.
    pub mod agent {
        include!(concat!(env!("OUT_DIR"), "/agent.rs"));
    }

    /// Client and service of `proto/agent.proto`.
    pub mod service {
        include!(concat!(env!("OUT_DIR"), "/agent_ttrpc.rs"));
    }
}
