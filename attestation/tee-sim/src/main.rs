// SPDX-License-Identifier: Apache-2.0
//! Software PSP for development and tests: a simulated root of trust

fn main() {}
