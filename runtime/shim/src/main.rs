// SPDX-License-Identifier: Apache-2.0
//! `containerd-shim-casemate-v2`: what containerd runs for the runtime `io.containerd.casemate.v2`.

use std::process::ExitCode;

fn main() -> ExitCode {
    casemate_shim::main()
}
