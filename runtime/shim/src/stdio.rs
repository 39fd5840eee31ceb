// SPDX-License-Identifier: Apache-2.0
//! The host's ends of a process's streams: FIFOs of containerd, `binary://` loggers, `file://`.
//!
//! FIFOs are held open for reading and writing at once: containerd may go away and come back
//! without a process noticing, and what it has not read stays in the FIFO, then in the stream's
//! window, then with the process, which waits.

mod file;
mod logger;
mod pump;

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::pin::Pin;

use tokio::io::AsyncWrite;
use tokio::net::unix::pipe;
use tokio::sync::watch;

use crate::error::ShimError;

pub use pump::Life;
pub use pump::Notices;
pub use pump::Pumps;

/// Which streams a process has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Streams {
    /// Whether it has a terminal; stdout is the terminal's output then.
    pub terminal: bool,
    /// Whether it reads.
    pub stdin: bool,
    /// Whether it writes.
    pub stdout: bool,
    /// Whether it has a second output.
    pub stderr: bool,
}

/// The streams as containerd names them; empty ones do not exist.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uris {
    /// Whether the process has a terminal.
    pub terminal: bool,
    /// Path of a FIFO.
    pub stdin: String,
    /// Path of a FIFO or file, or a `file://` or `binary://` URI.
    pub stdout: String,
    /// The same; ignored with a terminal and with a URI on stdout, which then takes both.
    pub stderr: String,
}

/// A stream's end on the host that takes output.
pub(crate) enum Sink {
    /// A FIFO of containerd, or the pipe to a logger: the reader must get all before it is closed.
    Pipe(pipe::Sender),
    /// Something that keeps what it is given.
    Other(Pin<Box<dyn AsyncWrite + Send>>),
}

/// The open streams of a process.
pub struct HostStdio {
    pub(crate) stdin: Option<pipe::Receiver>,
    pub(crate) stdout: Option<Sink>,
    pub(crate) stderr: Option<Sink>,
    pub(crate) logger: Option<logger::Logger>,
}

/// Whose streams these are, for a logger's environment.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// The container, or the exec.
    pub id: &'a str,
    /// containerd namespace.
    pub namespace: &'a str,
}

impl Uris {
    /// Which streams the process has by these names.
    #[must_use]
    pub fn streams(&self) -> Streams {
        let both = matches!(Target::parse(&self.stdout), Ok(Target::File(_) | Target::Binary(_)));
        Streams {
            terminal: self.terminal,
            stdin: !self.stdin.is_empty(),
            stdout: !self.stdout.is_empty(),
            stderr: !self.terminal && (both || !self.stderr.is_empty()),
        }
    }

    /// Opens the host's ends.
    ///
    /// # Errors
    ///
    /// [`ShimError::Stdio`] naming the stream.
    pub async fn open(&self, owner: Owner<'_>) -> Result<HostStdio, ShimError> {
        let failed = |stream, uri: &str| {
            let uri = uri.to_owned();
            move |source| ShimError::Stdio { stream, uri, source }
        };
        let streams = self.streams();
        let stdin = match self.stdin.as_str() {
            "" => None,
            path => Some(open_stdin(Path::new(path)).map_err(failed("stdin", path))?),
        };
        let mut stdio = HostStdio { stdin, stdout: None, stderr: None, logger: None };
        let stdout = Target::parse(&self.stdout).map_err(failed("stdout", &self.stdout))?;
        match stdout {
            Target::None => {}
            Target::Path(path) => {
                stdio.stdout =
                    Some(open_path(&path).await.map_err(failed("stdout", &self.stdout))?);
            }
            Target::File(path) => {
                let (out, err) = file::open(&path).await.map_err(failed("stdout", &self.stdout))?;
                stdio.stdout = Some(Sink::Other(Box::pin(out)));
                stdio.stderr = streams.stderr.then(|| Sink::Other(Box::pin(err)));
                return Ok(stdio);
            }
            Target::Binary(command) => {
                let (logger, out, err) =
                    command.start(owner).await.map_err(failed("stdout", &self.stdout))?;
                stdio.stdout = Some(Sink::Pipe(out));
                stdio.stderr = streams.stderr.then_some(Sink::Pipe(err));
                stdio.logger = Some(logger);
                return Ok(stdio);
            }
        }
        if streams.stderr {
            let path = PathBuf::from(&self.stderr);
            stdio.stderr = Some(open_path(&path).await.map_err(failed("stderr", &self.stderr))?);
        }
        Ok(stdio)
    }
}

impl HostStdio {
    /// A process whose streams nobody wants.
    #[must_use]
    pub fn none() -> Self {
        Self { stdin: None, stdout: None, stderr: None, logger: None }
    }
}

/// Where output goes.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    None,
    /// A FIFO, or a file that exists.
    Path(PathBuf),
    /// A file that is made when it does not exist.
    File(PathBuf),
    /// A program.
    Binary(logger::Command),
}

impl Target {
    /// Reads what containerd names; the schemes are those of its own shims.
    fn parse(uri: &str) -> io::Result<Self> {
        let invalid = |reason| io::Error::new(io::ErrorKind::InvalidInput, reason);
        match uri.split_once("://") {
            None if uri.is_empty() => Ok(Self::None),
            None => Ok(Self::Path(uri.into())),
            Some(("file", path)) if path.starts_with('/') => Ok(Self::File(path.into())),
            Some(("binary", rest)) => logger::Command::parse(rest)
                .map(Self::Binary)
                .ok_or_else(|| invalid("malformed binary URI")),
            Some(_) => Err(invalid("unknown kind of stream")),
        }
    }
}

fn open_stdin(path: &Path) -> io::Result<pipe::Receiver> {
    pipe::OpenOptions::new().read_write(true).open_receiver(path)
}

async fn open_path(path: &Path) -> io::Result<Sink> {
    use std::os::unix::fs::FileTypeExt;
    if tokio::fs::metadata(path).await?.file_type().is_fifo() {
        return Ok(Sink::Pipe(pipe::OpenOptions::new().read_write(true).open_sender(path)?));
    }
    let file = tokio::fs::OpenOptions::new().append(true).open(path).await?;
    Ok(Sink::Other(Box::pin(file)))
}

/// A channel on which the pumps of a process learn how far its life has come.
#[must_use]
pub fn life() -> (watch::Sender<Life>, watch::Receiver<Life>) {
    watch::channel(Life::Running)
}

#[cfg(test)]
mod tests;
