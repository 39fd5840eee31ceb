// SPDX-License-Identifier: Apache-2.0
//! The whole suite against this project's own program, as a user runs it.
//!
//! Needs `casemate` beside this package's program, where a build of the workspace puts it, or
//! `CASEMATE_PROGRAM`. With `CASEMATE_REQUIRE=1` a missing one is a failure.

use std::path::{Path, PathBuf};
use std::time::Duration;

use casemate_tee_sim::mint::Tee;
use casemate_tee_sim::suite::{Outcome, Suite, Template, table};

use super::{AT, keys};

fn program() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_BIN_EXE_casemate-tee-sim")).with_file_name("casemate");
    let program = std::env::var_os("CASEMATE_PROGRAM").map_or(beside, PathBuf::from);
    if program.exists() {
        return Some(program);
    }
    assert!(std::env::var_os("CASEMATE_REQUIRE").is_none(), "needs {}", program.display());
    println!("skipped: needs {}", program.display());
    None
}

/// Good evidence is accepted, every fault is found, and for its own reason.
#[test]
fn our_verifier_finds_every_fault_for_its_own_reason() {
    let Some(program) = program() else { return };
    let folder = tempfile::tempdir().unwrap();
    let suite = Suite {
        keys: keys(),
        template: Template::parse(&format!("'{}' verify", program.display())).unwrap(),
        tees: Tee::ALL.to_vec(),
        at: AT,
        limit: Duration::from_secs(60),
        folder: folder.path().to_owned(),
    };
    let summary = suite.run().unwrap();
    let good = summary
        .cases
        .iter()
        .all(|case| case.outcome == Outcome::Ok && case.reason_agrees != Some(false));
    assert!(summary.passed && good, "{}", table(&summary));
}
