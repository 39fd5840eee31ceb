// SPDX-License-Identifier: Apache-2.0
//! What the host says of a process: arguments, environment, streams, signals.

use super::ExecId;
use super::Problem;
use super::ProcessId;
use super::RequestError;
use super::admit;
use super::text;
use crate::proto;

/// Most arguments of a process.
pub(crate) const MAX_ARGS: usize = 1024;
/// Most bytes of one argument (`MAX_ARG_STRLEN` of Linux).
pub(crate) const MAX_ARG: usize = 128 * 1024;
/// Most environment variables of a process.
pub(crate) const MAX_ENV: usize = 2048;
/// Most bytes of one `NAME=value`.
pub(crate) const MAX_ENV_ENTRY: usize = 128 * 1024;
/// Most columns or rows of a terminal.
pub(crate) const MAX_TERMINAL: u32 = 4096;
/// Highest signal number of Linux.
pub(crate) const MAX_SIGNAL: u32 = 64;

/// One environment variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvEntry {
    name: String,
    value: String,
}

impl EnvEntry {
    /// Name: not empty, without `=` and NUL.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Value: without NUL.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }
}

/// Which streams a process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stdio {
    /// Size of the terminal, if the process has one. Then stderr is not set: the terminal's output
    /// is stdout.
    pub terminal: Option<TerminalSize>,
    /// The host writes to stdin.
    pub stdin: bool,
    /// The host reads stdout.
    pub stdout: bool,
    /// The host reads stderr.
    pub stderr: bool,
}

/// Size of a terminal in characters; 0 = not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TerminalSize {
    width: u16,
    height: u16,
}

impl TerminalSize {
    /// Columns.
    #[must_use]
    pub const fn width(self) -> u16 {
        self.width
    }

    /// Rows.
    #[must_use]
    pub const fn height(self) -> u16 {
        self.height
    }

    fn parse(width: u32, height: u32) -> Result<Self, RequestError> {
        let one = |field, value: u32| {
            let too_large = Problem::TooLarge { max: u64::from(MAX_TERMINAL) };
            u16::try_from(value)
                .ok()
                .filter(|v| u32::from(*v) <= MAX_TERMINAL)
                .ok_or_else(|| RequestError::new(field, too_large))
        };
        Ok(Self { width: one("width", width)?, height: one("height", height)? })
    }
}

/// A command to run in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    /// Which process it becomes.
    pub process: ProcessId,
    /// Arguments; at least one.
    pub argv: Vec<String>,
    /// Environment as the host gives it, in its order.
    pub env: Vec<EnvEntry>,
    /// Absolute working directory; empty = the container's.
    pub cwd: Option<String>,
    /// Its streams.
    pub stdio: Stdio,
}

impl TryFrom<proto::ExecProcessRequest> for Exec {
    type Error = RequestError;

    fn try_from(message: proto::ExecProcessRequest) -> Result<Self, Self::Error> {
        admit("exec", &message)?;
        let container = super::ContainerId::parse(&message.container_id)?;
        let exec = ExecId::parse(&message.exec_id)?;
        let cwd = if message.cwd.is_empty() { None } else { Some(message.cwd) };
        if let Some(cwd) = &cwd {
            text::absolute_path("cwd", cwd)?;
        }
        let stdio = Streams {
            terminal: message.terminal,
            stdin: message.stdin,
            stdout: message.stdout,
            stderr: message.stderr,
            width: message.terminal_width,
            height: message.terminal_height,
        };
        Ok(Self {
            process: ProcessId::new(container, Some(exec)),
            argv: parse_argv(message.argv)?,
            env: parse_env(message.env)?,
            cwd,
            stdio: stdio.parse()?,
        })
    }
}

/// A signal for a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// The process.
    pub process: ProcessId,
    /// Number of the signal, 1 to 64.
    pub number: u32,
    /// Who gets it.
    pub target: Target,
}

/// Who gets a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The process alone.
    Process,
    /// Every process of the container.
    All,
}

impl TryFrom<proto::SignalRequest> for Signal {
    type Error = RequestError;

    fn try_from(message: proto::SignalRequest) -> Result<Self, Self::Error> {
        admit("signal", &message)?;
        let process = required("process", message.process)?.try_into()?;
        // A17: no signal 0, none that Linux does not have.
        if !(1..=MAX_SIGNAL).contains(&message.signal) {
            return Err(RequestError::new("signal", Problem::UnknownValue));
        }
        let target = if message.all { Target::All } else { Target::Process };
        Ok(Self { process, number: message.signal, target })
    }
}

/// A new size for a process's terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResizePty {
    /// The process.
    pub process: ProcessId,
    /// The size.
    pub size: TerminalSize,
}

impl TryFrom<proto::ResizePtyRequest> for ResizePty {
    type Error = RequestError;

    fn try_from(message: proto::ResizePtyRequest) -> Result<Self, Self::Error> {
        admit("resize", &message)?;
        let process = required("process", message.process)?.try_into()?;
        Ok(Self { process, size: TerminalSize::parse(message.width, message.height)? })
    }
}

/// The stream fields that create and exec share.
pub(super) struct Streams {
    pub(super) terminal: bool,
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
    pub(super) width: u32,
    pub(super) height: u32,
}

impl Streams {
    pub(super) fn parse(self) -> Result<Stdio, RequestError> {
        let terminal = match self {
            Self { terminal: true, stderr: true, .. } => {
                return Err(RequestError::new("stderr", Problem::Contradiction));
            }
            Self { terminal: true, width, height, .. } => Some(TerminalSize::parse(width, height)?),
            Self { width: 0, height: 0, .. } => None,
            _ => return Err(RequestError::new("terminal_width", Problem::Contradiction)),
        };
        Ok(Stdio { terminal, stdin: self.stdin, stdout: self.stdout, stderr: self.stderr })
    }
}

pub(super) fn parse_argv(argv: Vec<String>) -> Result<Vec<String>, RequestError> {
    text::within("argv", argv.len(), MAX_ARGS)?;
    if argv.first().is_none_or(String::is_empty) {
        return Err(RequestError::new("argv", Problem::Missing));
    }
    for arg in &argv {
        text::no_nul("argv", arg, MAX_ARG)?;
    }
    Ok(argv)
}

pub(super) fn parse_env(env: Vec<String>) -> Result<Vec<EnvEntry>, RequestError> {
    text::within("env", env.len(), MAX_ENV)?;
    env.into_iter()
        .map(|entry| {
            text::no_nul("env", &entry, MAX_ENV_ENTRY)?;
            match entry.split_once('=') {
                Some((name, value)) if !name.is_empty() => {
                    Ok(EnvEntry { name: name.to_owned(), value: value.to_owned() })
                }
                // A7: an entry without `=` or without a name.
                _ => Err(RequestError::new("env", Problem::Form)),
            }
        })
        .collect()
}

fn required<M>(field: &'static str, message: protobuf::MessageField<M>) -> Result<M, RequestError> {
    message.into_option().ok_or(RequestError::new(field, Problem::Missing))
}
