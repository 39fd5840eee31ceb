// SPDX-License-Identifier: Apache-2.0
//! The world that demo and end-to-end tests run in: namespaces of its own with a real registry, a
//! real containerd, the broker, the software TEE, and a small CRI client in kubelet's place.
//!
//! Nothing here ships. Everything that a world starts dies with its first process.

#![expect(
    clippy::indexing_slicing,
    reason = "on JSON values, where it gives null and never panics"
)]

pub mod artifacts;
pub mod attack;
pub mod bench;
pub mod containerd;
pub mod cri;
pub mod daemon;
pub mod demo;
pub mod hostile_qemu;
pub mod image;
pub mod keep;
pub mod kubelet;
pub mod node;
pub mod owner;
pub mod pki;
pub mod pod;
pub mod registry;
pub mod report;
pub mod world;
