// SPDX-License-Identifier: Apache-2.0
//! What host and guest say to each other: the agent API and its multiplexed transport.
//!
//! This is the only crate that both sides link.

mod code;

pub use code::Code;
pub use code::UnknownCode;

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
