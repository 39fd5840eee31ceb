// SPDX-License-Identifier: Apache-2.0
//! containerd shim v2 of Casemate

fn main() {}
