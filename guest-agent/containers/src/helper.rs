// SPDX-License-Identifier: Apache-2.0
//! The helper process: the agent's own binary, run again for one create or one exec.
//!
//! libcontainer forks with a raw clone3, which in a process with threads leaves locks of the
//! allocator held forever in the child. A fresh process has one thread and no such lock.

mod executor;
mod operation;
pub(crate) mod protocol;

use std::process::ExitCode;

use rustix::fs::Mode;
use rustix::fs::OFlags;

pub(crate) use operation::CONFIG;

use protocol::Channel;
use protocol::Reply;

/// First argument of a helper process.
pub(crate) const ARGUMENT: &str = "--casemate-container-helper";

/// Runs this process as a helper, if it was started as one.
///
/// An agent calls this first in `main`, before it starts a thread or looks at anything else, and
/// returns the exit code if there is one.
///
/// # Security
///
/// PID 1 is never a helper, whatever the kernel command line gives it as arguments.
#[must_use]
pub fn helper_main() -> Option<ExitCode> {
    let asked = std::env::args_os().nth(1).is_some_and(|argument| argument == ARGUMENT);
    if !asked || rustix::process::getpid().is_init() {
        return None;
    }
    Some(match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("container helper: {error}");
            ExitCode::FAILURE
        }
    })
}

fn run() -> Result<(), protocol::ChannelError> {
    let channel = take_channel()?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let (request, descriptors) = channel.receive_request()?;
    match operation::run(request, descriptors) {
        Ok(done) => channel.send_reply(&Reply::Done { pid: done.pid }, done.terminal.as_ref())?,
        Err(error) => channel.send_reply(&Reply::Failed { message: chain(&error) }, None)?,
    }
    // Until the agent watches the new process it stays our child, ended or not, and its pid with it.
    channel.wait_closed()
}

/// Moves the channel away from standard input, and puts `/dev/null` there and on standard output,
/// so that a container inherits nothing by omission.
fn take_channel() -> Result<Channel, protocol::ChannelError> {
    let channel = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), FIRST_FREE)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(Channel::new(channel))
}

/// An error with its causes, in one bounded line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Many of libcontainer's errors repeat their source.
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_MESSAGE).collect()
}

/// The first descriptor after the standard three.
const FIRST_FREE: i32 = 3;

/// Longest error message, in characters.
const MAX_MESSAGE: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: String,
        source: Option<Box<Layer>>,
    }

    fn layers(texts: &[&str]) -> Option<Box<Layer>> {
        let (first, rest) = texts.split_first()?;
        Some(Box::new(Layer { text: (*first).to_owned(), source: layers(rest) }))
    }

    #[test]
    fn an_error_is_one_bounded_line_without_repetition() {
        let check = |texts: &[&str], expected: &str| {
            assert_eq!(chain(&layers(texts).unwrap()), expected);
        };
        check(&["a", "b"], "a: b");
        check(&["a: b", "b", "c"], "a: b: c");
        // E20: no line of its own, no escape sequence.
        check(&["a\nCASE ok\u{1b}[2J"], "a CASE ok [2J");
        assert_eq!(chain(&layers(&[&"x".repeat(10_000)]).unwrap()).len(), MAX_MESSAGE);
    }

    #[test]
    fn an_ordinary_start_is_no_helper() {
        assert_eq!(helper_main(), None);
    }
}
