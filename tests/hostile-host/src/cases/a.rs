// SPDX-License-Identifier: Apache-2.0
//! A: abuse of the agent API.

mod environment;
mod exec;
mod frames;
mod phase;

use crate::Case;

/// A1 to A28.
pub const CASES: &[&Case] = &[
    &phase::A1,
    &phase::A2,
    &phase::A3,
    &exec::A4,
    &exec::A5,
    &exec::A6,
    &environment::A7,
    &environment::A8,
    &environment::A9,
    &frames::A24,
    &frames::A25,
];
