// SPDX-License-Identifier: Apache-2.0
//! PID 1 of the confidential guest, and the helpers that it runs again as.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything else: a helper must have one thread and nothing set up.
    if let Some(code) = casemate_containers::helper_main() {
        return code;
    }
    if let Some(code) = casemate_policy_rules::child_main() {
        return code;
    }
    casemate_agent::run()
}
