// SPDX-License-Identifier: Apache-2.0
//! The policy format: what it holds, what it refuses, and that its text says the same again.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

mod form;
mod full;
mod page;
mod rules;
mod schema;
