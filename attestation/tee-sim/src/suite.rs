// SPDX-License-Identifier: Apache-2.0
//! Runs every good and every faulty case against a verifier that is given as a command.
//!
//! A verifier that accepts a faulty case, or refuses a good one, fails. One that refuses a faulty
//! case for another reason than the fault's is shown, and does not fail: only it knows its reasons.

mod cases;
mod run;
mod table;
mod template;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

pub use cases::{Case, cases};
pub use run::Answer;
pub use table::table;
pub use template::{Template, TemplateError};

use crate::keys::Keys;
use crate::mint::fault::Need;
use crate::mint::{MintError, Tee};

/// A run of a verifier over the cases.
pub struct Suite<'a> {
    /// Keys of everything that is minted.
    pub keys: &'a Keys,
    /// The verifier.
    pub template: Template,
    /// Which evidence it is given.
    pub tees: Vec<Tee>,
    /// Time of the verification, seconds since 1970.
    pub at: u64,
    /// How long one case may take.
    pub limit: Duration,
    /// Where the cases are written.
    pub folder: PathBuf,
}

/// Why a suite did not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SuiteError {
    /// A case could not be minted.
    #[error("failed to mint the case {name}")]
    Mint {
        /// Which.
        name: &'static str,
        /// Why.
        #[source]
        source: MintError,
    },
    /// The verifier could not be started.
    #[error("failed to run {program:?}")]
    Run {
        /// The program.
        program: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file of a case could not be made or read.
    #[error("failed to use {path:?}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// What came of one case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CaseResult {
    /// Which technology.
    pub tee: Tee,
    /// Name of the case.
    pub name: &'static str,
    /// What is wrong with the evidence, or good about it.
    pub text: &'static str,
    /// Id of the attack; empty for a good case.
    pub attack: &'static str,
    /// Whether a verifier should accept it.
    pub good: bool,
    /// Reasons of which it should give one.
    pub codes: &'static [&'static str],
    /// What the verifier did; nothing when it was not asked.
    pub answer: Option<Answer>,
    /// What that means.
    pub outcome: Outcome,
    /// Whether the reason is the fault's, where the verifier gave reasons.
    pub reason_agrees: Option<bool>,
}

/// What a verifier's answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "need")]
pub enum Outcome {
    /// Accepted good evidence, or refused faulty evidence.
    Ok,
    /// Accepted faulty evidence.
    Missed,
    /// Refused good evidence.
    GoodRefused,
    /// Not asked: the command does not give the verifier what it needs to find the fault.
    NotTested(Need),
}

/// What came of all cases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Each case.
    pub cases: Vec<CaseResult>,
    /// Technologies whose plain good evidence was refused: its refusals mean nothing.
    pub baseline_refused: Vec<Tee>,
    /// Whether no faulty case was accepted and no good one refused.
    pub passed: bool,
}

impl Suite<'_> {
    /// Mints each case and runs the verifier on it.
    ///
    /// # Errors
    ///
    /// [`SuiteError`] when the suite itself cannot go on; a verifier's failure is a result.
    pub fn run(&self) -> Result<Summary, SuiteError> {
        let mut results = Vec::new();
        for tee in &self.tees {
            for case in cases(*tee) {
                results.push(self.run_case(&case)?);
            }
        }
        let refused = |tee: &&Tee| {
            let baseline = results.iter().find(|result| result.tee == **tee);
            baseline.is_some_and(|result| result.outcome == Outcome::GoodRefused)
        };
        let failed =
            |result: &CaseResult| matches!(result.outcome, Outcome::Missed | Outcome::GoodRefused);
        Ok(Summary {
            baseline_refused: self.tees.iter().filter(refused).copied().collect(),
            passed: !results.iter().any(failed),
            cases: results,
        })
    }

    fn run_case(&self, case: &Case) -> Result<CaseResult, SuiteError> {
        let lacking = case.needs().iter().copied().find(|need| !self.template.gives(*need));
        let mut result = CaseResult {
            tee: case.tee(),
            name: case.name(),
            text: case.text(),
            attack: case.attack(),
            good: case.is_good(),
            codes: case.codes(),
            answer: None,
            outcome: Outcome::Ok,
            reason_agrees: None,
        };
        if let Some(need) = lacking {
            result.outcome = Outcome::NotTested(need);
            return Ok(result);
        }
        let minted = case
            .mint(self.keys, self.at)
            .and_then(|minted| {
                let folder = self.case_folder(case);
                minted.write(&folder, case.fault().as_slice()).map(|()| minted)
            })
            .map_err(|source| SuiteError::Mint { name: case.name(), source })?;
        let folder = self.case_folder(case);
        let answer = run::run(&self.template, &minted, &folder, self.limit)?;
        result.outcome = match (case.is_good(), answer.accepted()) {
            (true, true) | (false, false) => Outcome::Ok,
            (true, false) => Outcome::GoodRefused,
            (false, true) => Outcome::Missed,
        };
        if !case.is_good() && !answer.accepted() && !answer.reasons.is_empty() {
            let codes = case.codes();
            let named = answer.reasons.iter().any(|code| codes.contains(&code.as_str()));
            result.reason_agrees = Some(codes.is_empty() || named);
        }
        result.answer = Some(answer);
        Ok(result)
    }

    fn case_folder(&self, case: &Case) -> PathBuf {
        self.folder.join(case.tee().name()).join(case.name())
    }
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> SuiteError + use<> {
    let path = path.to_owned();
    move |source| SuiteError::File { path, source }
}

fn read_head(path: &Path, most: u64) -> Result<Vec<u8>, SuiteError> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(file_error(path))?;
    file.take(most).read_to_end(&mut bytes).map_err(file_error(path))?;
    Ok(bytes)
}
