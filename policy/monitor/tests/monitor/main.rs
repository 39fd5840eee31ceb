// SPDX-License-Identifier: Apache-2.0
//! The monitor from outside: each rule allowed, denied, and once for each reason.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

mod create;
mod inductive;
mod leaves;
mod lifecycle;
mod network;
mod pod;
mod roles;
mod support;
mod update;
mod volumes;
