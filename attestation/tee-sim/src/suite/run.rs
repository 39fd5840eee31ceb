// SPDX-License-Identifier: Apache-2.0
//! One run of a verifier.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::template::Template;
use super::{SuiteError, file_error, read_head};
use crate::mint::Minted;

/// What a verifier did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Its exit code; none when a signal ended it, or it took too long.
    pub exit: Option<i32>,
    /// Whether it took too long and was ended.
    pub timed_out: bool,
    /// What it called its verdict, if it printed JSON with one.
    pub verdict: Option<String>,
    /// The codes of its reasons, if it printed JSON with them.
    pub reasons: Vec<String>,
}

impl Answer {
    /// Whether it accepted: it ended in time with exit code 0.
    #[must_use]
    pub fn accepted(&self) -> bool {
        self.exit == Some(0) && !self.timed_out
    }
}

/// The form that `casemate verify --json` prints, as far as it matters here.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Printed {
    verdict: Option<String>,
    reasons: Vec<Reason>,
}

#[derive(Deserialize)]
struct Reason {
    code: String,
}

/// No verifier's output is read beyond this.
const OUTPUT_MAX: u64 = 1 << 20;
/// Between two looks whether the verifier has ended.
const PAUSE: Duration = Duration::from_millis(2);

pub(super) fn run(
    template: &Template,
    minted: &Minted,
    folder: &Path,
    limit: Duration,
) -> Result<Answer, SuiteError> {
    let stdout = folder.join("stdout");
    // Files, not pipes: a verifier that prints a lot does not wait for anybody.
    let file = |path: &Path| File::create(path).map_err(file_error(path));
    let mut child = Command::new(template.program())
        .args(template.arguments(minted, folder))
        .stdin(Stdio::null())
        .stdout(file(&stdout)?)
        .stderr(file(&folder.join("stderr"))?)
        .spawn()
        .map_err(|source| failed(template, source))?;
    let status = wait(&mut child, limit).map_err(|source| failed(template, source))?;
    let output = read_head(&stdout, OUTPUT_MAX)?;
    let printed: Printed = serde_json::from_slice(&output).unwrap_or_default();
    Ok(Answer {
        exit: status.and_then(|status| status.code()),
        timed_out: status.is_none(),
        verdict: printed.verdict,
        reasons: printed.reasons.into_iter().map(|reason| reason.code).collect(),
    })
}

/// None: it took too long and is no more.
fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() >= limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(PAUSE);
    }
}

fn failed(template: &Template, source: std::io::Error) -> SuiteError {
    SuiteError::Run { program: template.program().to_owned(), source }
}
