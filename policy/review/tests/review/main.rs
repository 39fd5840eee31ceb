// SPDX-License-Identifier: Apache-2.0
//! What readers of a policy get to see.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

mod diff;
mod document;
mod explain;
mod lint;
mod simulate;
mod support;
