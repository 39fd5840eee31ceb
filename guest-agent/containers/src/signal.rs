// SPDX-License-Identifier: Apache-2.0
//! Signals by number: the real-time ones have no names in the safe wrappers.
#![allow(unsafe_code, reason = "kill(2) with any number and signal(2) have no safe wrapper")]

use rustix::io::Errno;
use rustix::process::Pid;

/// Highest signal number of Linux.
pub(crate) const MAX_SIGNAL: u32 = 64;

/// `SIGKILL`.
pub(crate) const KILL: u32 = 9;

/// Sends signal `number` to process `pid` alone.
///
/// # Errors
///
/// `EINVAL` for a number that is no signal, else what kill(2) says.
pub(crate) fn send(pid: Pid, number: u32) -> Result<(), Errno> {
    if number == 0 || number > MAX_SIGNAL {
        return Err(Errno::INVAL);
    }
    let number = i32::try_from(number).map_err(|_| Errno::INVAL)?;
    // SAFETY: kill(2) reads two integers and touches no memory of ours. The pid is positive, so
    // that neither a group nor everybody is meant.
    let result = unsafe { nix::libc::kill(pid.as_raw_nonzero().get(), number) };
    if result == 0 { Ok(()) } else { Err(last_error()) }
}

/// Gives `SIGPIPE` its default action back, which every program expects. Rust's start-up code
/// ignores it, and an ignored signal stays ignored across exec.
///
/// # Errors
///
/// What signal(2) says.
pub(crate) fn default_sigpipe() -> Result<(), nix::Error> {
    // SAFETY: no handler is installed, only the default action restored, in a process with one
    // thread.
    unsafe {
        nix::sys::signal::signal(nix::sys::signal::SIGPIPE, nix::sys::signal::SigHandler::SigDfl)
    }
    .map(|_| ())
}

fn last_error() -> Errno {
    std::io::Error::last_os_error().raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_numbers_that_are_no_signal() {
        // A17: signal 0, -1 as unsigned, and beyond the last.
        for number in [0, MAX_SIGNAL + 1, u32::MAX] {
            assert_eq!(send(rustix::process::getpid(), number), Err(Errno::INVAL), "{number}");
        }
    }
}
