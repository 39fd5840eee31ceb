// SPDX-License-Identifier: Apache-2.0
//! The /dev/sev-guest device of simulated guests

fn main() {}
