// SPDX-License-Identifier: Apache-2.0
//! The containerd shim of Casemate: one process for each pod, which launches the pod's VM and
//! passes containerd's requests to the agent inside.
//!
//! containerd runs the program with `start`, which answers with the address of the pod's shim (and
//! spawns it for a sandbox), and with `delete`, which removes what a shim that died has left. The
//! shim itself serves containerd's Task service ([`service`]).
//!
//! # Trust
//!
//! The shim is part of the host, which the owner of the workload does not trust: it holds no
//! secret, and whatever it asks is judged by the agent. In the other direction the guest is hostile
//! to the host: what it answers is bounded, shown on one line, and never used as a path, an id or
//! an address (E19).
//!
//! # Invariants
//!
//! - No OCI spec leaves the shim: [`spec`] keeps of `config.json` only what the agent API has a
//!   field for. The rootfs that containerd prepared is neither mounted nor read.
//! - Events are decided by [`casemate_sandbox`] and published in its order.
//! - Everything on the host that belongs to a sandbox is listed in its state file, so that `delete`
//!   finds it after any crash.

pub mod audit;
pub mod cgroup;
pub mod config;
pub mod containerd;
pub mod error;
pub mod events;
pub mod guest;
pub mod outside;
pub mod pod;
pub mod projection;
pub mod resolv_conf;
pub mod resources;
pub mod runtime_options;
pub mod service;
pub mod spec;
pub mod state;
pub mod status;
pub mod stdio;
pub mod volumes;

mod actions;
mod logging;

pub use actions::main;
