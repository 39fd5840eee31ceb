// SPDX-License-Identifier: Apache-2.0
//! Why a launch failed.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use casemate_agent_api::Code;

use crate::config::{ConfigError, TeeKind};
use crate::qemu::MeasureError;
use crate::qmp::QmpError;

/// Why a VM could not be launched or reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The socket of the agent's port does not answer.
    #[error("failed to connect to the agent's port at {path:?}")]
    AgentSocket {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A value of the configuration is not allowed.
    #[error("the configuration of the VM is not valid")]
    Config(#[from] ConfigError),
    /// The VMM did not come up or did not answer in time.
    #[error("the VMM was not ready after {limit:?} while {step}")]
    Deadline {
        /// The limit.
        limit: Duration,
        /// What was waited for.
        step: &'static str,
    },
    /// The VMM ended during the launch.
    #[error("the VMM ended during the launch: {detail}")]
    Ended {
        /// What it wrote last, one line.
        detail: String,
    },
    /// A file of the guest image or the runtime folder cannot be used.
    #[error("failed to {action} {path:?}")]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The guest image is not one that can be launched with a measured boot.
    #[error("the guest image {path:?} cannot be launched: {reason}")]
    GuestImage {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The guest image cannot be launched so that its measurement means something (E1).
    #[error("a launch of the guest image is refused for {file:?}")]
    Measure {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<MeasureError>,
    },
    /// The software PSP refused the VM or broke the protocol.
    #[error("the software PSP refused the launch: {reason}")]
    Psp {
        /// Its answer, or what is wrong with it.
        reason: String,
    },
    /// The control connection failed.
    #[error("the control connection to the VMM failed")]
    Qmp(#[from] QmpError),
    /// The program could not be started.
    #[error("failed to start {program:?}")]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The TEE that the configuration demands is missing (E21).
    #[error("the required TEE {tee} is missing on this node: {reason}")]
    TeeMissing {
        /// The TEE.
        tee: TeeKind,
        /// What is missing.
        reason: String,
    },
}

impl Error {
    /// The stable code for the user.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Config(_) | Self::GuestImage { .. } | Self::Measure { .. } => Code::ConfigInvalid,
            Self::TeeMissing { .. } => Code::TeeMissing,
            Self::AgentSocket { .. } => Code::VmDied,
            Self::Deadline { .. }
            | Self::Ended { .. }
            | Self::File { .. }
            | Self::Psp { .. }
            | Self::Qmp(_)
            | Self::Spawn { .. } => Code::VmStart,
        }
    }
}
