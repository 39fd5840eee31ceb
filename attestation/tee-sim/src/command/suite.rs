// SPDX-License-Identifier: Apache-2.0
//! `suite`: runs a verifier on every case.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use casemate_tee_sim::mint::Tee;
use casemate_tee_sim::suite::{self, Template};
use clap::{Args, ValueEnum};

use super::Source;

/// Runs a verifier on good evidence and on every fault, and prints what it found and missed.
///
/// Exit code 0 when it accepted all good evidence and no other, 1 when it did not, 2 when the suite
/// could not run.
#[derive(Args)]
pub(crate) struct SuiteArguments {
    /// The verifier: a program and its arguments, with placeholders such as {report}. Without any
    /// placeholder, arguments as of `casemate verify` are appended.
    #[arg(long, value_name = "CMD", value_parser = Template::parse)]
    against: Template,
    /// Only this technology; all that the command takes, if absent.
    #[arg(long, value_enum)]
    tee: Option<TeeName>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    /// Keeps the cases in this folder, each with the verifier's output.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Seconds that a case may take.
    #[arg(long, default_value_t = 10)]
    timeout: u64,
    #[command(flatten)]
    source: Source,
}

#[derive(Clone, Copy, ValueEnum)]
enum TeeName {
    Snp,
    Tdx,
    AzSnpVtpm,
    AzTdxVtpm,
}

impl SuiteArguments {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let asked = match self.tee {
            Some(TeeName::Snp) => vec![Tee::Snp],
            Some(TeeName::Tdx) => vec![Tee::Tdx],
            Some(TeeName::AzSnpVtpm) => vec![Tee::AzSnpVtpm],
            Some(TeeName::AzTdxVtpm) => vec![Tee::AzTdxVtpm],
            None => Tee::ALL.to_vec(),
        };
        let tees: Vec<Tee> = asked.into_iter().filter(|tee| self.against.takes(*tee)).collect();
        if tees.is_empty() {
            bail!("the command takes none of {{report}}, {{quote}} and {{evidence}}");
        }
        let temporary = tempfile::tempdir().context("failed to make a temporary folder")?;
        let keys = self.source.keys()?;
        let suite = suite::Suite {
            keys: &keys,
            template: self.against.clone(),
            tees,
            at: self.source.at()?,
            limit: Duration::from_secs(self.timeout),
            folder: self.keep.clone().unwrap_or_else(|| temporary.path().to_owned()),
        };
        let summary = suite.run()?;
        let text = if self.json {
            serde_json::to_string_pretty(&summary)? + "\n"
        } else {
            suite::table(&summary)
        };
        std::io::stdout().write_all(text.as_bytes()).context("failed to print")?;
        Ok(if summary.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
