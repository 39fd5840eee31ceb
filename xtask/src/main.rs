// SPDX-License-Identifier: Apache-2.0
//! Set-up, demo, tests and benchmarks

fn main() {}
