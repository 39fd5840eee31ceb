// SPDX-License-Identifier: Apache-2.0
//! `binary://`: a program that takes the output.
//!
//! Source: containerd, `runtime/v2/README.md`, section on logging. The program gets stdout on
//! descriptor 3 and stderr on 4, and closes 5 when it is ready; the URI's query becomes its
//! arguments, `CONTAINER_ID` and `CONTAINER_NAMESPACE` its environment.
#![allow(unsafe_code, reason = "places descriptors 3, 4 and 5 between fork and exec")]

use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::io::fcntl_dupfd_cloexec;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::process::Child;

use super::Owner;

/// A program and its arguments.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Command {
    program: PathBuf,
    arguments: Vec<String>,
}

/// A running logger.
pub(crate) struct Logger {
    child: Child,
}

impl Command {
    /// Reads what follows `binary://`: an absolute path and a query. Each key of the query is an
    /// argument, followed by its value if it has one.
    pub(super) fn parse(rest: &str) -> Option<Self> {
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let program = decode(path, Plus::Literal)?;
        if !program.starts_with('/') {
            return None;
        }
        let mut arguments = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            arguments.push(decode(key, Plus::Space)?);
            if !value.is_empty() {
                arguments.push(decode(value, Plus::Space)?);
            }
        }
        Some(Self { program: program.into(), arguments })
    }

    /// Starts the program and waits until it is ready.
    pub(super) async fn start(
        &self,
        owner: Owner<'_>,
    ) -> io::Result<(Logger, pipe::Sender, pipe::Sender)> {
        let (stdout, stdout_reader) = pipe::pipe()?;
        let (stderr, stderr_reader) = pipe::pipe()?;
        let (ready_writer, mut ready) = pipe::pipe()?;
        let descriptors = [
            above_targets(stdout_reader.into_blocking_fd()?)?,
            above_targets(stderr_reader.into_blocking_fd()?)?,
            above_targets(ready_writer.into_blocking_fd()?)?,
        ];
        let sources = descriptors.each_ref().map(AsRawFd::as_raw_fd);
        let mut command = tokio::process::Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .env("CONTAINER_ID", owner.id)
            .env("CONTAINER_NAMESPACE", owner.namespace)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // SAFETY: between fork and exec only `dup2` is called, which is async-signal-safe; it
        // allocates nothing. The sources are open in the parent until after the spawn.
        unsafe {
            command.pre_exec(move || {
                for (source, target) in sources.into_iter().zip(FIRST_DESCRIPTOR..) {
                    if libc::dup2(source, target) < 0 {
                        return Err(io::Error::last_os_error());
                    }
                }
                Ok(())
            });
        }
        let mut child = command.spawn()?;
        drop(descriptors);
        match tokio::time::timeout(READY_DEADLINE, ready.read(&mut [0])).await {
            Ok(result) => drop(result?),
            Err(_) => {
                child.kill().await?;
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the logger is not ready"));
            }
        }
        Ok((Logger { child }, stdout, stderr))
    }
}

impl Logger {
    /// Waits for the program's end after its pipes were closed, and ends it when it lingers.
    pub(super) async fn finish(mut self) {
        if tokio::time::timeout(END_DEADLINE, self.child.wait()).await.is_err() {
            tracing::warn!("a logger did not end with its streams and is killed");
            if let Err(error) = self.child.kill().await {
                tracing::warn!(%error, "failed to kill a logger");
            }
        }
    }
}

/// A copy of the descriptor above those that the child puts in place, so that none is overwritten.
fn above_targets(descriptor: OwnedFd) -> io::Result<OwnedFd> {
    Ok(fcntl_dupfd_cloexec(descriptor, FIRST_DESCRIPTOR.saturating_add(3))?)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Plus {
    Literal,
    Space,
}

/// Percent-decoding as in queries of URIs; none for text that is not well-formed.
fn decode(text: &str, plus: Plus) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            b'+' if plus == Plus::Space => b' ',
            0 => return None,
            other => other,
        });
    }
    String::from_utf8(out).ok().filter(|text| !text.contains('\0'))
}

const FIRST_DESCRIPTOR: i32 = 3;
const READY_DEADLINE: Duration = Duration::from_secs(10);
/// containerd's own shims give a logger as long.
const END_DEADLINE: Duration = Duration::from_secs(12);

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(rest: &str) -> Option<(String, Vec<String>)> {
        Command::parse(rest).map(|c| (c.program.to_str().unwrap().to_owned(), c.arguments))
    }

    #[test]
    fn arguments_come_from_the_query_in_its_order() {
        let (program, arguments) = parsed("/usr/bin/log%20it?-f=a+b&--flag&x=%3D%26").unwrap();
        assert_eq!(program, "/usr/bin/log it");
        assert_eq!(arguments, ["-f", "a b", "--flag", "x", "=&"]);
        assert_eq!(parsed("/bin/l"), Some(("/bin/l".to_owned(), vec![])));
        assert_eq!(parsed("/a+b").unwrap().0, "/a+b");
    }

    #[test]
    fn malformed_uris_are_refused() {
        for rest in ["", "log", "?a=b", "/l?x=%", "/l?x=%4", "/l?x=%zz", "/l?%00", "/l?x=%ff"] {
            assert_eq!(parsed(rest), None, "{rest}");
        }
    }
}
