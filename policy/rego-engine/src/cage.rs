// SPDX-License-Identifier: Apache-2.0
//! One evaluation in a process of its own.
//!
//! The deadline of the interpreter stops endless work, not a string that doubles: only the kernel can
//! cap memory. And a process that manages a pod must survive whatever an interpreter does with hostile
//! input, a stack overflow for instance.

use std::ffi::OsStr;
use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Child;
use std::process::ChildStdout;
use std::process::Command;
use std::process::ExitCode;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::event::poll;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

use crate::Program;
use crate::confine;

/// Evaluates in child processes.
#[derive(Debug, Clone)]
pub struct Cage {
    program: PathBuf,
    reaping: Reaping,
}

/// Who collects a child that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaping {
    /// The cage.
    Here,
    /// Somebody else in this process, who collects every child of it (PID 1 does).
    Elsewhere,
}

/// What is to be evaluated.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Text of the program.
    pub program: String,
    /// The rule, `data.<package>.<name>`; absent = the program is only parsed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The input.
    #[serde(default)]
    pub input: Value,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Reply {
    Value(Value),
    Undefined,
    Failed(String),
}

impl Cage {
    /// Runs children of a program whose `main` calls [`child_main`] first.
    #[must_use]
    pub fn new(program: PathBuf, reaping: Reaping) -> Self {
        Self { program, reaping }
    }

    /// Runs this program again; its `main` calls [`child_main`] first.
    #[must_use]
    pub fn this_program(reaping: Reaping) -> Self {
        Self::new(PathBuf::from("/proc/self/exe"), reaping)
    }

    /// The value of the order's rule; `None` where it is undefined.
    ///
    /// # Errors
    ///
    /// The child cannot be run, fails, hits a cap, or has not answered after [`MAX_WAIT`].
    pub fn evaluate(&self, order: &Order) -> Result<Option<Value>, CageError> {
        let order = serde_json::to_vec(order).map_err(|source| CageError::Order { source })?;
        let mut child = self.spawn()?;
        let answer = converse(&mut child, &order);
        self.leave(child);
        let reply = serde_json::from_slice(&answer?).map_err(|_| CageError::Died)?;
        match reply {
            Reply::Value(value) => Ok(Some(value)),
            Reply::Undefined => Ok(None),
            Reply::Failed(message) => Err(CageError::Failed { message }),
        }
    }

    fn spawn(&self) -> Result<Child, CageError> {
        let mut command = Command::new(&self.program);
        command.arg(ARGUMENT).env_clear().current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().map_err(|source| CageError::Spawn { source })
    }

    /// Its pipes are closed: a child that still lives ends when it writes, or at its processor time.
    fn leave(&self, mut child: Child) {
        drop(child.stdin.take());
        drop(child.stdout.take());
        if self.reaping == Reaping::Here {
            // Not here and now: the caller does not wait for one that computes on.
            std::thread::spawn(move || child.wait());
        }
    }
}

/// Sends the order and reads the answer to its end.
fn converse(child: &mut Child, order: &[u8]) -> Result<Vec<u8>, CageError> {
    let begin = Instant::now();
    let (Some(mut stdin), Some(mut stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(CageError::Died);
    };
    // The child reads to the end before it does anything else, so this does not block for long.
    stdin.write_all(order).map_err(|_| CageError::Died)?;
    drop(stdin);
    let mut answer = Vec::new();
    loop {
        wait_readable(&stdout, begin)?;
        let mut chunk = [0; 4096];
        match stdout.read(&mut chunk) {
            Ok(0) => return Ok(answer),
            Ok(size) => answer.extend(chunk.iter().take(size)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(CageError::Died),
        }
        if answer.len() > MAX_ANSWER_BYTES {
            return Err(CageError::Answer);
        }
    }
}

fn wait_readable(stdout: &ChildStdout, begin: Instant) -> Result<(), CageError> {
    loop {
        let left = MAX_WAIT.checked_sub(begin.elapsed()).ok_or(CageError::Slow)?;
        let left = Timespec::try_from(left).map_err(|_| CageError::Slow)?;
        match poll(&mut [PollFd::new(stdout, PollFlags::IN)], Some(&left)) {
            Ok(0) => return Err(CageError::Slow),
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return Err(CageError::Died),
        }
    }
}

/// Runs this process as the child of a cage, if it was started as one.
///
/// A program that uses [`Cage::this_program`] calls this first in `main`, before it starts a thread,
/// and returns the exit code if there is one.
///
/// # Security
///
/// PID 1 is never such a child, whatever the kernel command line gives it as arguments.
#[must_use]
pub fn child_main() -> Option<ExitCode> {
    let asked = std::env::args_os().nth(1).is_some_and(|a| a == OsStr::new(ARGUMENT));
    if !asked || rustix::process::getpid().is_init() {
        return None;
    }
    Some(if answer().is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn answer() -> Option<()> {
    confine(MAX_MEMORY_BYTES, MAX_CPU_SECONDS).ok()?;
    let mut order = Vec::new();
    io::stdin().lock().take(MAX_ORDER_BYTES).read_to_end(&mut order).ok()?;
    let order: Order = serde_json::from_slice(&order).ok()?;
    let reply = serde_json::to_vec(&obey(&order)).ok()?;
    io::stdout().write_all(&reply).ok()
}

fn obey(order: &Order) -> Reply {
    let found = Program::parse(&order.program).and_then(|program| match &order.rule {
        Some(rule) => program.evaluate(rule, &order.input, &[]),
        None => Ok(None),
    });
    match found {
        Ok(Some(value)) => Reply::Value(value),
        Ok(None) => Reply::Undefined,
        Err(error) => Reply::Failed(error.to_string()),
    }
}

/// A caged evaluation gives nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CageError {
    /// The answer is over its cap.
    #[error("the value has more than {MAX_ANSWER_BYTES} bytes")]
    Answer,
    /// The process ended without an answer: it hit a cap, or could not be talked to.
    #[error("the evaluation ended without a value: it needs too much memory or time")]
    Died,
    /// The program is none, or its evaluation fails.
    #[error("{message}")]
    Failed {
        /// What the engine says.
        message: String,
    },
    /// The order is none that JSON has.
    #[error("the input is no JSON")]
    Order {
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// No answer came in time.
    #[error("the evaluation took longer than {MAX_WAIT:?}")]
    Slow,
    /// There is no child.
    #[error("failed to start a process for the evaluation")]
    Spawn {
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// First argument of a child.
const ARGUMENT: &str = "--casemate-rego-child";

/// Address space of a child.
pub const MAX_MEMORY_BYTES: u64 = 64 << 20;
/// Processor time of a child.
pub const MAX_CPU_SECONDS: u64 = 2;
/// How long a caller waits for a child: its deadline, and time to start on a machine that is slow.
pub const MAX_WAIT: Duration = Duration::from_secs(3);
/// Largest order, bytes: a program and the largest request of the agent's API as JSON.
const MAX_ORDER_BYTES: u64 = 32 << 20;
/// Largest answer, bytes.
const MAX_ANSWER_BYTES: usize = 1 << 20;
