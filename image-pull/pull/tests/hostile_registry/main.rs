// SPDX-License-Identifier: Apache-2.0
//! Pulls from registries that are honest, and from ones that are not.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]
#![allow(clippy::as_conversions, reason = "small numbers")]
#![allow(clippy::allow_attributes, reason = "not every lint speaks up in tests")]
#![allow(unreachable_pub, reason = "shared by the modules of a test")]

#[path = "../../../unpack/tests/archive/mod.rs"]
mod archive;

mod access;
mod bench;
mod content;
mod encrypted;
mod network;
mod registry;
mod resolve;
