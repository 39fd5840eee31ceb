// SPDX-License-Identifier: Apache-2.0
//! How a command fails: one line with a code, what happened and what to do next.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

use casemate_agent_api::Code;

/// A failed command.
#[derive(Debug)]
pub(crate) struct Failure {
    code: &'static str,
    message: String,
    next: String,
    exit: Option<u8>,
}

impl Failure {
    pub(crate) fn new(code: &'static str, message: impl fmt::Display, next: &str) -> Self {
        Self { code, message: message.to_string(), next: next.to_owned(), exit: None }
    }

    /// A failure with a code of the agent API and the whole chain of its causes.
    pub(crate) fn coded(code: Code, error: &dyn Error) -> Self {
        Self::new(code.as_str(), chain(error), code.next_step())
    }

    /// Ends the program with this code, unless it was said before with which; without a word, it is
    /// [`REFUSED`].
    pub(crate) fn exit(mut self, code: u8) -> Self {
        self.exit.get_or_insert(code);
        self
    }

    /// Something was judged and refused, rather than not understood.
    pub(crate) fn refused(self) -> Self {
        self.exit(REFUSED)
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.exit.unwrap_or(REFUSED))
    }

    /// Says another next step.
    pub(crate) fn then(mut self, next: &str) -> Self {
        next.clone_into(&mut self.next);
        self
    }

    /// Says in front what the failure happened to.
    pub(crate) fn about(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = format!("{}: {}; next: {}", self.code, self.message, self.next);
        Printable(&line).fmt(f)
    }
}

/// Exit code of what was judged and refused, and of commands that judge nothing.
pub(crate) const REFUSED: u8 = 1;
/// Exit code of input that cannot be used, so that there is no verdict; clap's too.
pub(crate) const UNUSABLE: u8 = 2;

/// A text for a terminal, on one line.
///
/// E19: what registries and files say is data and does not drive the terminal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printable<'a>(pub(crate) &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| {
            if c.is_control() { write!(f, "{}", c.escape_default()) } else { write!(f, "{c}") }
        })
    }
}

/// An error and its causes, on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some libraries repeat the cause in their own text.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_one_line_without_control_characters() {
        let failure = Failure::new("short", "a\nb\u{1b}[31m", "do it").about("image x");
        assert_eq!(failure.to_string(), "short: image x: a\\nb\\u{1b}[31m; next: do it");
    }

    #[test]
    fn a_verdict_keeps_its_exit_code() {
        let failure = || Failure::new("short", "long", "do it");
        assert_eq!(failure().exit_code(), ExitCode::from(1));
        assert_eq!(failure().exit(UNUSABLE).exit_code(), ExitCode::from(2));
        assert_eq!(failure().refused().exit(UNUSABLE).exit_code(), ExitCode::from(1));
    }
}
