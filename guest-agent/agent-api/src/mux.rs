// SPDX-License-Identifier: Apache-2.0
//! Many byte streams over one: the transport between shim and guest agent.
//!
//! The carrier is anything that reads and writes bytes in order: a virtio-serial port, the unix
//! socket that the VMM puts behind it, later a vsock connection. Every stream has its own window,
//! so that a container whose output nobody reads blocks neither the RPC nor another container.
//!
//! The host opens all streams; the guest accepts them. What was written counts as acknowledged
//! when the reader at the other end has taken it, so a writer whose connection broke knows what
//! to send again ([`MuxStream::into_unacknowledged`]).
//!
//! # Security
//!
//! Both ends treat the other as hostile: every length, id and window is checked before memory is
//! taken, and a violation ends the connection and nothing else. The epoch in the preface keeps
//! bytes of an earlier connection out of a later one; it is no secret and proves nothing.

mod driver;
mod frame;
mod session;
mod stream;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;

use crate::code::Code;
use crate::request::ProcessId;
use driver::Shared;

pub use frame::Malformed;
pub use session::Violation;
pub use stream::MuxStream;

/// Most bytes under way in one direction of one stream: written and not yet taken by the reader.
pub const WINDOW: usize = 64 * 1024;
/// Most streams of one connection at a time.
pub const MAX_STREAMS: usize = 512;
/// Streams that the peer opened and [`Incoming::accept`] has not yet returned; more are reset.
const MAX_UNACCEPTED: usize = 64;

/// Which end of the connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The shim: picks the epoch and opens the streams.
    Host,
    /// The agent: answers.
    Guest,
}

impl Role {
    const fn wire(self) -> u8 {
        match self {
            Self::Host => 1,
            Self::Guest => 2,
        }
    }

    const fn from_wire(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Host),
            2 => Some(Self::Guest),
            _ => None,
        }
    }
}

/// What a stream carries.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StreamKind {
    /// ttrpc of the agent API.
    Rpc,
    /// The process's standard input: host writes, guest reads.
    Stdin(ProcessId),
    /// The process's standard output, or its terminal: guest writes, host reads.
    Stdout(ProcessId),
    /// The process's standard error: guest writes, host reads.
    Stderr(ProcessId),
}

/// Starts the protocol on `io`.
///
/// The future drives the connection and must be polled (usually by `tokio::spawn`); it ends with
/// the reason. Dropping it resets all streams. Streams may be opened at once: they start to flow
/// when the peer has answered the preface. A host repeats its preface until the guest answers,
/// however long the guest takes to boot; deadlines are the caller's.
///
/// ```
/// use casemate_agent_api::mux::{self, Role, StreamKind};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let (host_io, guest_io) = tokio::io::duplex(4096);
/// let (host, _, host_driver) = mux::connect(host_io, Role::Host);
/// let (_guest, mut incoming, guest_driver) = mux::connect(guest_io, Role::Guest);
/// tokio::spawn(host_driver);
/// tokio::spawn(guest_driver);
///
/// let mut stream = host.open(StreamKind::Rpc)?;
/// stream.write_all(b"hello").await?;
/// stream.shutdown().await?;
///
/// let (kind, mut accepted) = incoming.accept().await.ok_or("closed")?;
/// let mut text = String::new();
/// accepted.read_to_string(&mut text).await?;
/// assert_eq!((kind, text.as_str()), (StreamKind::Rpc, "hello"));
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn connect<T>(
    io: T,
    role: Role,
) -> (Handle, Incoming, impl Future<Output = End> + Send + use<T>)
where
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    let (accepted, incoming) = mpsc::channel(MAX_UNACCEPTED);
    let shared = Arc::new(Shared::new(role));
    let driver = driver::run(io, Arc::clone(&shared), accepted);
    (Handle { shared }, Incoming { streams: incoming }, driver)
}

/// Opens streams on a connection. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    /// Opens a stream. It never waits; a peer that does not want the stream resets it.
    ///
    /// # Errors
    ///
    /// [`OpenError`] when the connection has ended, carries [`MAX_STREAMS`] already, or when this
    /// end is the guest.
    pub fn open(&self, kind: StreamKind) -> Result<MuxStream, OpenError> {
        let id = self.shared.open(kind)?;
        Ok(MuxStream::new(Arc::clone(&self.shared), id))
    }

    /// Tells the peer why there will be nothing more and ends the connection once that is sent.
    ///
    /// The guest says so why it refuses to boot. `message` is cut after about 1000 bytes.
    pub fn fatal(&self, code: Code, message: &str) {
        self.shared.fatal(code, message);
    }

    /// Ends the connection from this side; all its streams are reset.
    pub fn close(&self) {
        self.shared.end(End::Closed);
    }

    /// Waits until the connection has ended and says why.
    pub async fn ended(&self) -> End {
        self.shared.ended().await
    }
}

/// The streams that the peer opens.
#[derive(Debug)]
pub struct Incoming {
    streams: mpsc::Receiver<(StreamKind, MuxStream)>,
}

impl Incoming {
    /// The next stream, or `None` when the connection has ended.
    pub async fn accept(&mut self) -> Option<(StreamKind, MuxStream)> {
        self.streams.recv().await
    }
}

/// Why a connection has ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum End {
    /// This side ended it.
    #[error("connection closed here")]
    Closed,
    /// The peer is gone.
    #[error("peer closed the connection")]
    Eof,
    /// The peer sent the preface of a new connection in the middle of this one.
    #[error("peer started a new connection")]
    PeerRestarted,
    /// The peer gave its reason. From a guest, it refuses to serve.
    #[error("{code}: {message}")]
    Fatal {
        /// Stable code.
        code: Code,
        /// One line for a person. Hostile text: show it, do nothing else with it.
        message: String,
    },
    /// The peer speaks another version of the transport.
    #[error("peer speaks version {theirs} of the transport, not {ours}", ours = frame::VERSION)]
    Version {
        /// The peer's version.
        theirs: u16,
    },
    /// No preface came within the bytes that may be left from an earlier connection.
    #[error("no preface in the first {limit} bytes", limit = driver::MAX_STALE)]
    NoPreface,
    /// The peer sent bytes that are no frame.
    #[error("malformed frame: {reason}")]
    Malformed {
        /// What is wrong.
        reason: Malformed,
    },
    /// The peer broke a rule of the protocol.
    #[error("protocol violation: {reason}")]
    Violation {
        /// The rule.
        reason: Violation,
    },
    /// Reading or writing the carrier failed.
    #[error("carrier failed: {kind}")]
    Io {
        /// The kind of the failure.
        kind: std::io::ErrorKind,
    },
}

/// A stream cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The connection has ended.
    #[error("connection has ended")]
    Ended,
    /// The connection carries as many streams as it may.
    #[error("more than {MAX_STREAMS} streams")]
    TooMany,
    /// Only the host opens streams.
    #[error("the guest opens no streams")]
    Guest,
}
