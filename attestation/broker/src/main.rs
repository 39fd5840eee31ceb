// SPDX-License-Identifier: Apache-2.0
//! Key broker: verifies evidence, releases resources to attested guests

fn main() {}
