// SPDX-License-Identifier: Apache-2.0
//! The hostile-host suite, and the proof that its cases can fail.
//!
//! Sabotage works on a copy of the sources, in which each guard that a case names begins with "if
//! this case is being sabotaged, return success". One build serves all cases: the environment says
//! which guard is off. Copy and products have a folder of their own below the build folder; nothing
//! that ships is built from it, and the production tree is only read.

mod guard;
mod sabotage;

use std::path::Path;
use std::process::Command;
use std::process::ExitCode;

use anyhow::Context;
use anyhow::bail;
use clap::Args;
use serde_json::Value;

use crate::step;
use crate::step::Steps;

/// What to run, and how to show it.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// One JSON object per case and mode on stdout.
    #[arg(long)]
    json: bool,
    /// Only this case; may be given again.
    #[arg(long = "case")]
    cases: Vec<String>,
    /// Only this mode: policy or allow-all.
    #[arg(long)]
    mode: Option<String>,
    /// Names the cases and their guards, and runs none.
    #[arg(long)]
    list: bool,
    /// Changes each leaf of every allowed request once, and prints what the host may change and why.
    #[arg(long)]
    mutations: bool,
    /// Sabotages the guard of a case, or of each in turn with "all": the case must fail then.
    #[arg(long, conflicts_with_all = ["cases", "mode", "list"])]
    sabotage: Option<String>,
    /// Does not look whether programs and guest images are up to date, but for the suite itself.
    #[arg(long)]
    quick: bool,
}

impl Options {
    pub(crate) fn is_quick(&self) -> bool {
        self.quick
    }
}

/// Runs the suite, or sabotages it.
pub(crate) fn run(steps: &Steps, options: &Options) -> anyhow::Result<ExitCode> {
    steps.step("build the hostile-host suite", || {
        let mut build = step::cargo();
        build.args(["build", "--locked", "-p", PACKAGE]);
        step::show(build)
    })?;
    let program = step::target().join("debug").join(PACKAGE);
    if let Some(wanted) = &options.sabotage {
        return sabotage::run(steps, &program, wanted, options.json);
    }
    let mut suite = Command::new(program);
    suite.args(options.json.then_some("--json")).args(options.list.then_some("--list"));
    suite.args(options.mutations.then_some("--mutations"));
    suite.args(options.cases.iter().flat_map(|case| ["--case", case]));
    suite.args(options.mode.iter().flat_map(|mode| ["--mode", mode]));
    let status = suite.status().context("start the suite")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs a suite with `--json` and reads its lines. A case that fails makes it end with 1.
fn json_lines(program: &Path, arguments: &[&str], sabotaged: &str) -> anyhow::Result<Vec<Value>> {
    let mut suite = Command::new(program);
    suite.arg("--json").args(arguments).env_remove(SWITCH);
    if !sabotaged.is_empty() {
        suite.env(SWITCH, sabotaged);
    }
    let out = suite.output().with_context(|| format!("start {}", program.display()))?;
    let text = String::from_utf8_lossy(&out.stdout);
    let lines: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
    let lines = lines.with_context(|| format!("what the suite printed: {text}"))?;
    if lines.is_empty() {
        bail!("the suite ended ({}): {}", out.status, String::from_utf8_lossy(&out.stderr));
    }
    Ok(lines)
}

/// The suite's package and program.
const PACKAGE: &str = "casemate-hostile-host";
/// The environment variable that names the case whose guard is off.
const SWITCH: &str = "CASEMATE_SABOTAGE";
