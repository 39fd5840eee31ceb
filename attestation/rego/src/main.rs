// SPDX-License-Identifier: Apache-2.0
//! The child that evaluates policies, as a program of its own: for tests and for callers that cannot
//! run themselves again.

use std::process::ExitCode;

fn main() -> ExitCode {
    casemate_rego_engine::child_main().unwrap_or_else(|| {
        eprintln!("this program is run by others, never by hand");
        ExitCode::FAILURE
    })
}
