// SPDX-License-Identifier: Apache-2.0
//! Runs one case at a time, each in a thread and a tokio runtime of its own.

use std::thread;
use std::time::Duration;
use std::time::Instant;

use crate::Case;
use crate::Context;
use crate::Line;
use crate::Missing;
use crate::Mode;
use crate::Outcome;
use crate::Verdict;

/// How cases are run.
#[derive(Debug, Clone, Copy)]
pub struct Runner {
    /// Most time of one case in one mode.
    pub patience: Duration,
    /// Whether this process has a kernel and namespaces to itself: see [`crate::room`].
    pub in_room: bool,
}

impl Default for Runner {
    fn default() -> Self {
        Self { patience: Duration::from_secs(180), in_room: false }
    }
}

impl Runner {
    /// Runs a case. A panic, an error and a case that does not end are failures.
    #[must_use]
    pub fn run(&self, case: &'static Case, mode: Mode) -> Line {
        let begun = Instant::now();
        let Self { patience, in_room } = *self;
        let attack = thread::Builder::new().name(case.id.to_owned());
        let running = attack.spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()?;
            let verdict = runtime.block_on(async {
                let context = Context::new(mode);
                let context = if in_room { context.in_room() } else { context };
                let verdict = tokio::time::timeout(patience, (case.run)(context)).await;
                verdict.unwrap_or_else(|_| Err(anyhow::anyhow!("no end after {patience:?}")))
            });
            // What the case has left blocked is not waited for.
            runtime.shutdown_background();
            verdict
        });
        let verdict = match running.map(thread::JoinHandle::join) {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(panic)) => Err(anyhow::anyhow!("panicked: {}", words(&*panic))),
            Err(error) => Err(error.into()),
        };
        let (outcome, missing) = outcome(verdict);
        Line { case, mode, outcome, missing, took: begun.elapsed() }
    }
}

fn outcome(verdict: Verdict) -> (Outcome, bool) {
    match verdict {
        Ok(outcome) => (outcome, false),
        Err(error) => {
            (Outcome::Fail(format!("{error:#}")), error.downcast_ref::<Missing>().is_some())
        }
    }
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}
