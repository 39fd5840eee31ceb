// SPDX-License-Identifier: Apache-2.0
//! What can go wrong.

use std::io;
use std::path::PathBuf;

/// Why a pod's network cannot be joined to the VM.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// The namespace's file cannot be opened.
    #[error("failed to open the network namespace {}: {source}", path.display())]
    OpenNamespace {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The thread cannot enter the namespace.
    #[error("failed to enter the network namespace {}: {source}", path.display())]
    EnterNamespace {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// No thread for the namespace, or it ended before its time.
    #[error("failed to run a thread in the network namespace: {source}")]
    Thread {
        /// What the kernel said.
        source: io::Error,
    },
    /// No netlink socket in the namespace.
    #[error("failed to open a netlink socket: {source}")]
    Socket {
        /// What the kernel said.
        source: io::Error,
    },
    /// A netlink request failed.
    #[error("failed to {step}: {source}")]
    Netlink {
        /// What was tried.
        step: &'static str,
        /// What the kernel said.
        source: rtnetlink::Error,
    },
    /// A tap device cannot be made.
    #[error("failed to create the tap device {name}: {source}")]
    Tap {
        /// Its name.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The tap was made and is not to be seen.
    #[error("the tap device {name} is not in the namespace")]
    TapVanished {
        /// Its name.
        name: String,
    },
    /// The namespace has no interface with an address.
    #[error("the network namespace has no interface with an address")]
    NoInterface,
    /// The namespace has more interfaces than a VM gets.
    #[error("the network namespace has more than {limit} interfaces")]
    TooManyInterfaces {
        /// The limit.
        limit: usize,
    },
    /// The namespace has more routes than the guest takes.
    #[error("the network namespace has more than {limit} routes")]
    TooManyRoutes {
        /// The limit.
        limit: usize,
    },
    /// An interface has no MAC address of 6 bytes.
    #[error("the interface {name} is not an ethernet device")]
    NotEthernet {
        /// Its name.
        name: String,
    },
    /// A route with several next hops, which the guest cannot be told.
    #[error("routes with several next hops are not supported")]
    MultipathRoute,
}
