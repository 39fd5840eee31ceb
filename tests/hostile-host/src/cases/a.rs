// SPDX-License-Identifier: Apache-2.0
//! A: abuse of the agent API.

mod calls;
mod concurrency;
mod environment;
mod exec;
mod frames;
mod leaks;
mod order;
mod phase;
mod spec;
mod streams;
mod volumes;

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
    &spec::A10,
    &spec::A11,
    &spec::A12,
    &volumes::A13,
    &volumes::A14,
    &volumes::A15,
    &streams::A16,
    &streams::A17,
    &calls::A18,
    &order::A19,
    &order::A20,
    &order::A21,
    &order::A22,
    &concurrency::A23,
    &frames::A24,
    &frames::A25,
    &concurrency::A26,
    &leaks::A27,
    &leaks::A28,
];
