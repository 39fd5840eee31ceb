// SPDX-License-Identifier: Apache-2.0
//! What a demo reports, as `--json` prints it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

/// The demo's result.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// `sim`, `snp` or `tdx`.
    pub tee: String,
    /// The root that the evidence ended in, for example `simulated:demo`.
    pub root: String,
    /// The launch digest that the broker accepted, hex.
    pub launch_digest: String,
    /// The broker's verdict.
    pub verdict: String,
    /// What each container wrote.
    pub outputs: BTreeMap<String, String>,
    /// Milliseconds since the sandbox was asked for.
    pub timeline_ms: Timeline,
    /// The attacks and why each was refused.
    pub refused: Vec<Refused>,
    /// What the demo left behind outside of the build folder.
    pub leftovers: Vec<String>,
}

/// Milliseconds since the sandbox was asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    /// The VMM runs.
    pub vm_start: u64,
    /// The guest kernel runs.
    pub kernel: u64,
    /// The agent answers.
    pub agent_ready: u64,
    /// The broker has accepted the guest.
    pub attested: u64,
    /// The last image is pulled, decrypted and unpacked.
    pub pulled: u64,
    /// The first container has written something.
    pub first_output: u64,
}

/// An attack that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// `exec`, `command`, `cmdline-old-table`, `cmdline-new-table`, `initdata` or `tag`.
    pub attack: String,
    /// Stable error code.
    pub code: String,
    /// The refusal's words.
    pub reason: String,
}
