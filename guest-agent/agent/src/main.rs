// SPDX-License-Identifier: Apache-2.0
//! PID 1 of the confidential guest

fn main() {}
