// SPDX-License-Identifier: Apache-2.0
//! The contract between the shim and a VMM.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::UnixStream;

use crate::config::VmConfig;
use crate::error::Error;

/// Starts VMs.
#[async_trait]
pub trait Vmm: Send + Sync {
    /// Starts the VM and returns once the guest's first instruction may run.
    ///
    /// On an error nothing is left behind but files in the runtime folder. Dropping the future
    /// kills what was started.
    ///
    /// # Errors
    ///
    /// [`Error`]; its [`code`](Error::code) goes to the user.
    ///
    /// # Security
    ///
    /// The TEE of the configuration is used or the launch fails (E21).
    async fn launch(&self, config: &VmConfig) -> Result<Box<dyn Vm>, Error>;
}

/// A running VM. Dropping it kills the VMM.
#[async_trait]
pub trait Vm: Send + Sync {
    /// Process id of the VMM, the pid of every task in the pod.
    fn pid(&self) -> u32;

    /// The launch digest as the software PSP folded it, to show to the user; `None` on hardware.
    fn launch_digest(&self) -> Option<LaunchDigest>;

    /// Opens a connection to the port `casemate.agent`. The VMM serves one at a time: a later one
    /// waits until the earlier is closed. The guest may not listen yet.
    ///
    /// # Errors
    ///
    /// [`Error::AgentSocket`].
    async fn connect_agent(&self) -> Result<UnixStream, Error>;

    /// Waits for the end of the VM; any number of callers, also after the end.
    async fn wait(&self) -> Exit;

    /// Ends the VM at once. Idempotent; [`Vm::wait`] tells when it is gone.
    fn kill(&self);

    /// Asks the VMM to end, and kills it when it has not after `deadline`.
    async fn quit(&self, deadline: Duration) -> Exit;
}

/// SNP launch digest, 48 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LaunchDigest(pub [u8; 48]);

/// How a VM ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exit {
    /// [`Vm::kill`], [`Vm::quit`] or the drop of the handle ended it.
    Requested,
    /// The guest turned itself off.
    GuestShutdown,
    /// The guest asked for a reset: its kernel panicked, as it does when the agent ends. A guest
    /// without ACPI has no other way to end. VMs are never rebooted.
    GuestReset,
    /// The VMM failed or somebody killed it.
    VmmFailed {
        /// Exit status or signal, and the end of what the VMM wrote, one line.
        detail: String,
    },
}

impl fmt::Display for LaunchDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for LaunchDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requested => f.write_str("the VM was ended on request"),
            Self::GuestShutdown => f.write_str("the guest turned itself off"),
            Self::GuestReset => {
                f.write_str("the guest reset itself: its agent ended or its kernel panicked")
            }
            Self::VmmFailed { detail } => write!(f, "the VMM ended: {detail}"),
        }
    }
}
