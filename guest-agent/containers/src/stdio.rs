// SPDX-License-Identifier: Apache-2.0
//! Pipes between the agent and a container's process.

use std::os::fd::OwnedFd;

use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::Uid;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;

use crate::request::Stdio;

/// Both sides of three standard streams.
#[derive(Debug)]
pub(crate) struct Pipes {
    /// stdin, stdout, stderr of the process.
    pub(crate) process: Vec<OwnedFd>,
    /// The agent's ends.
    pub(crate) agent: Stdio,
}

impl Pipes {
    /// Makes pipes for the streams that are wanted and opens `/dev/null` for the others. The pipes
    /// belong to user `uid`, so that the process may open them again as `/dev/stdout`.
    ///
    /// # Errors
    ///
    /// When descriptors run out.
    pub(crate) fn make(wanted: (bool, bool, bool), uid: u32) -> Result<Self, Errno> {
        let mut process = Vec::with_capacity(3);
        let mut stream = |wanted, agent_writes| {
            let (mine, its) = if wanted {
                let (mine, its) = pipe(agent_writes, uid)?;
                (Some(mine), its)
            } else {
                (None, null()?)
            };
            process.push(its);
            Ok::<_, Errno>(mine)
        };
        let agent = Stdio::Pipes {
            stdin: stream(wanted.0, true)?,
            stdout: stream(wanted.1, false)?,
            stderr: stream(wanted.2, false)?,
        };
        Ok(Self { process, agent })
    }
}

/// The agent's end, non-blocking, and the process's.
fn pipe(agent_writes: bool, uid: u32) -> Result<(OwnedFd, OwnedFd), Errno> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let (mine, its) = if agent_writes { (write, read) } else { (read, write) };
    nonblocking(&mine)?;
    rustix::fs::fchown(&its, Some(Uid::from_raw(uid)), None)?;
    Ok((mine, its))
}

/// Makes a descriptor of the agent's non-blocking.
pub(crate) fn nonblocking(descriptor: &OwnedFd) -> Result<(), Errno> {
    let flags = rustix::fs::fcntl_getfl(descriptor)?;
    rustix::fs::fcntl_setfl(descriptor, flags | OFlags::NONBLOCK)
}

fn null() -> Result<OwnedFd, Errno> {
    rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own_uid() -> u32 {
        rustix::process::getuid().as_raw()
    }

    #[test]
    fn wanted_streams_are_pipes_in_the_right_direction() {
        let pipes = Pipes::make((true, true, false), own_uid()).unwrap();
        let Stdio::Pipes { stdin: Some(stdin), stdout: Some(stdout), stderr: None } = pipes.agent
        else {
            panic!("wrong streams")
        };
        let mut byte = [0; 1];
        rustix::io::write(&stdin, b"i").unwrap();
        assert_eq!(rustix::io::read(&pipes.process[0], &mut byte), Ok(1));
        rustix::io::write(&pipes.process[1], b"o").unwrap();
        assert_eq!(rustix::io::read(&stdout, &mut byte), Ok(1));
        // Not wanted: swallowed.
        assert_eq!(rustix::io::write(&pipes.process[2], b"e"), Ok(1));
    }

    #[test]
    fn the_agent_never_blocks() {
        let pipes = Pipes::make((false, true, false), own_uid()).unwrap();
        let Stdio::Pipes { stdout: Some(stdout), .. } = pipes.agent else { panic!("no stdout") };
        assert_eq!(rustix::io::read(&stdout, &mut [0; 1]), Err(Errno::AGAIN));
    }
}
