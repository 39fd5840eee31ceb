// SPDX-License-Identifier: Apache-2.0
//! The casemate tool

fn main() {}
