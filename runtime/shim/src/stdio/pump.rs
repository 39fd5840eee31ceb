// SPDX-License-Identifier: Apache-2.0
//! Copies between the guest's streams and the host's.

use std::io;
use std::time::Duration;

use casemate_agent_api::mux::MuxStream;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;
use tokio::sync::watch;

use super::HostStdio;
use super::Sink;

/// How far the life of a process has come, for its streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Life {
    /// It may still read and write.
    Running,
    /// containerd closed its stdin: what is in the FIFO goes through, then comes the end.
    StdinClosed,
    /// It has ended; what it wrote before is still on its way.
    Exited,
    /// containerd has deleted it: nobody reads any more.
    Deleted,
}

/// The guest's ends of a process's streams.
pub struct Pumps {
    /// To the process.
    pub stdin: Option<MuxStream>,
    /// From the process.
    pub stdout: Option<MuxStream>,
    /// From the process.
    pub stderr: Option<MuxStream>,
}

/// Told of what happens on the streams.
pub trait Notices: Send + Sync {
    /// The first byte of stdout or stderr has come; once for each of them.
    fn first_output(&self) {}

    /// containerd has closed stdin, and the guest has taken all of it.
    fn stdin_delivered(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// How a process's input ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InputEnd {
    /// containerd closed it and the guest has all of it.
    Delivered,
    /// The process takes no more.
    Broken,
}

impl Pumps {
    /// Copies until the process has ended and all its output is delivered, or until it is deleted.
    pub async fn run(self, host: HostStdio, life: watch::Receiver<Life>, notices: impl Notices) {
        let notices = &notices;
        let first_output = || notices.first_output();
        let input = async {
            if let (Some(from), Some(to)) = (host.stdin, self.stdin)
                && copy_in(from, to, life.clone()).await == InputEnd::Delivered
            {
                notices.stdin_delivered().await;
            }
        };
        let out = copy_out(self.stdout, host.stdout, life.clone(), first_output);
        let err = copy_out(self.stderr, host.stderr, life.clone(), first_output);
        tokio::join!(input, out, err);
        if let Some(logger) = host.logger {
            logger.finish().await;
        }
    }
}

/// Copies a guest's output. The guest cannot make the shim hold more than one buffer of it.
async fn copy_out(
    from: Option<MuxStream>,
    to: Option<Sink>,
    mut life: watch::Receiver<Life>,
    first_output: impl Fn(),
) {
    let (Some(mut from), Some(mut to)) = (from, to) else { return };
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut silent = true;
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            // A grandchild may hold the stream open for ever.
            () = idle_after_exit(&mut life) => break,
        };
        // The end of the VM is an error here and the end of the output.
        let Some(output) = read.ok().and_then(|length| buffer.get(..length)) else { break };
        if output.is_empty() {
            break;
        }
        if std::mem::take(&mut silent) {
            first_output();
        }
        let mut life = life.clone();
        let written = tokio::select! {
            written = to.write_all(output) => written,
            _ = life.wait_for(|life| *life == Life::Deleted) => break,
        };
        if let Err(error) = written {
            tracing::warn!(%error, "output lost: the host's end of a stream fails");
            break;
        }
    }
    to.finish(life).await;
}

/// Copies the host's input until it is closed, the process ends or takes no more.
async fn copy_in(
    from: pipe::Receiver,
    mut to: MuxStream,
    mut life: watch::Receiver<Life>,
) -> InputEnd {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let now = *life.borrow_and_update();
        if now >= Life::Exited {
            return InputEnd::Broken;
        }
        match read_now(&from, now, &mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                let Some(input) = buffer.get(..length) else { return InputEnd::Broken };
                let written = tokio::select! {
                    written = to.write_all(input) => written,
                    _ = life.wait_for(|life| *life >= Life::Exited) => return InputEnd::Broken,
                };
                if written.is_err() {
                    return InputEnd::Broken;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // The FIFO is empty: if it is also closed, that is the end.
                if now == Life::StdinClosed {
                    break;
                }
                tokio::select! {
                    ready = from.readable() => if ready.is_err() { return InputEnd::Broken },
                    changed = life.changed() => if changed.is_err() { return InputEnd::Broken },
                }
            }
            Err(error) => {
                tracing::warn!(%error, "input lost: the host's end of a stream fails");
                return InputEnd::Broken;
            }
        }
    }
    // Closes this direction; the process reads the end of the file.
    match to.shutdown().await {
        Ok(()) if to.delivered().await.is_ok() => InputEnd::Delivered,
        _ => InputEnd::Broken,
    }
}

/// Reads what the FIFO holds at this moment.
fn read_now(from: &pipe::Receiver, life: Life, buffer: &mut [u8]) -> io::Result<usize> {
    match from.try_read(buffer) {
        // That may be old news: tokio asks the kernel only after a new event. Before the end of the
        // input is declared, the kernel itself is asked.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock && life == Life::StdinClosed => {
            Ok(rustix::io::read(from, buffer)?)
        }
        other => other,
    }
}

/// Ends when the process has ended and the stream was idle for a while, or when it is deleted.
async fn idle_after_exit(life: &mut watch::Receiver<Life>) {
    if life.wait_for(|life| *life >= Life::Exited).await.is_ok() {
        let deleted = life.wait_for(|life| *life == Life::Deleted);
        let _ = tokio::time::timeout(IDLE_AFTER_EXIT, deleted).await;
    }
}

impl Sink {
    async fn write_all(&mut self, output: &[u8]) -> io::Result<()> {
        match self {
            Self::Pipe(pipe) => pipe.write_all(output).await,
            Self::Other(other) => other.write_all(output).await,
        }
    }

    /// Closes the host's end once its reader has everything. A FIFO that nobody reads keeps its
    /// bytes only as long as somebody has it open, so it stays open until containerd is back and
    /// has read it, or has deleted the process.
    async fn finish(mut self, mut life: watch::Receiver<Life>) {
        match &mut self {
            Self::Other(other) => {
                if let Err(error) = other.shutdown().await {
                    tracing::warn!(%error, "output lost: the host's end of a stream fails");
                }
            }
            Self::Pipe(pipe) => {
                let mut pause = FIRST_PAUSE;
                while rustix::io::ioctl_fionread(&*pipe).is_ok_and(|unread| unread > 0) {
                    let deleted = life.wait_for(|life| *life == Life::Deleted);
                    if tokio::time::timeout(pause, deleted).await.is_ok() {
                        break;
                    }
                    pause = pause.saturating_mul(2).min(LAST_PAUSE);
                }
            }
        }
    }
}

const BUFFER_BYTES: usize = 16 * 1024;
/// How long the streams of an ended process may be silent before they are closed: somebody else
/// holds them then.
const IDLE_AFTER_EXIT: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LAST_PAUSE: Duration = Duration::from_millis(100);
