// SPDX-License-Identifier: Apache-2.0
//! A client of QEMU's control protocol (QMP), for the few commands that a launch needs.
//!
//! Source: QEMU, `docs/interop/qmp-spec.rst`. One JSON object a line; replies carry the id of their
//! command; events may stand between a command and its reply.
//!
//! # Security
//!
//! The peer is QEMU, which a hostile guest may have taken over (E19): lines and the queue of events
//! are bounded, and nothing that it says is used as a path.

mod message;

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

pub(crate) use message::one_line;
pub use message::{Message, MessageError};

/// Longest line in bytes; the list of 240 vCPUs takes about a third.
pub const MAX_LINE: usize = 256 * 1024;

/// Events that wait for [`Qmp::next_event`]; older ones are dropped first.
const MAX_EVENTS: usize = 64;

/// A connection to QEMU, one command at a time.
#[derive(Debug)]
pub struct Qmp {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    line: Vec<u8>,
    events: VecDeque<Event>,
    next_id: u64,
}

/// Something that QEMU tells unasked.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its name, for example `SHUTDOWN`.
    pub name: String,
    /// Its data.
    pub data: Value,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QmpError {
    /// QEMU refused the command.
    #[error("QEMU refused {command}: {description}")]
    Refused {
        /// The command.
        command: String,
        /// QEMU's words, cut to one line.
        description: String,
    },
    /// QEMU closed the connection.
    #[error("QEMU closed the control connection")]
    Closed,
    /// The connection failed.
    #[error("failed to talk to QEMU")]
    Io(#[from] io::Error),
    /// A line is over the cap.
    #[error("QEMU sent a line of more than {cap} bytes")]
    LineTooLong {
        /// The cap.
        cap: usize,
    },
    /// A line is not a message of the protocol.
    #[error("QEMU sent something that is not QMP")]
    Message(#[from] MessageError),
    /// A message came that cannot come here.
    #[error("QEMU broke the protocol: {what}")]
    Unexpected {
        /// What came.
        what: &'static str,
    },
}

impl Qmp {
    /// Connects to a socket and negotiates.
    ///
    /// # Errors
    ///
    /// [`QmpError`].
    pub async fn connect(path: &Path) -> Result<Self, QmpError> {
        Self::negotiate(UnixStream::connect(path).await?).await
    }

    /// Takes a connected socket: waits for the greeting and leaves negotiation mode.
    ///
    /// # Errors
    ///
    /// [`QmpError`].
    pub async fn negotiate(stream: UnixStream) -> Result<Self, QmpError> {
        let (reader, writer) = stream.into_split();
        let mut qmp = Self {
            reader: BufReader::new(reader),
            writer,
            line: Vec::new(),
            events: VecDeque::new(),
            next_id: 1,
        };
        match qmp.read().await? {
            Message::Greeting => {}
            _ => return Err(QmpError::Unexpected { what: "no greeting" }),
        }
        qmp.execute("qmp_capabilities", None).await?;
        Ok(qmp)
    }

    /// Runs a command and gives its return value.
    ///
    /// # Errors
    ///
    /// [`QmpError`].
    pub async fn execute(
        &mut self,
        command: &str,
        arguments: Option<Value>,
    ) -> Result<Value, QmpError> {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        let mut request = json!({ "execute": command, "id": id });
        if let (Some(arguments), Some(object)) = (arguments, request.as_object_mut()) {
            object.insert("arguments".to_owned(), arguments);
        }
        let mut line = request.to_string();
        line.push('\n');
        self.writer.write_all(line.as_bytes()).await?;
        loop {
            match self.read().await? {
                Message::Event(event) => self.keep(event),
                // The reply of an earlier command whose caller gave up.
                Message::Return { id: other, .. } | Message::Error { id: other, .. }
                    if other != Some(id) => {}
                Message::Return { value, .. } => return Ok(value),
                Message::Error { description, .. } => {
                    return Err(QmpError::Refused { command: command.to_owned(), description });
                }
                Message::Greeting => return Err(QmpError::Unexpected { what: "a greeting" }),
            }
        }
    }

    /// The next event. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// [`QmpError`].
    pub async fn next_event(&mut self) -> Result<Event, QmpError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            if let Message::Event(event) = self.read().await? {
                return Ok(event);
            }
        }
    }

    /// Whether the vCPUs stand still before their first instruction (`prelaunch`) or run.
    ///
    /// # Errors
    ///
    /// [`QmpError`].
    pub async fn status(&mut self) -> Result<String, QmpError> {
        let value = self.execute("query-status", None).await?;
        text(&value, "status")
    }

    /// Lets the vCPUs run.
    ///
    /// # Errors
    ///
    /// [`QmpError`].
    pub async fn cont(&mut self) -> Result<(), QmpError> {
        self.execute("cont", None).await.map(|_| ())
    }

    /// Ends QEMU.
    ///
    /// # Errors
    ///
    /// [`QmpError`].
    pub async fn quit(&mut self) -> Result<(), QmpError> {
        self.execute("quit", None).await.map(|_| ())
    }

    /// Object paths of the vCPUs in the order of their indices.
    ///
    /// # Errors
    ///
    /// [`QmpError`].
    pub async fn vcpu_paths(&mut self) -> Result<Vec<String>, QmpError> {
        let value = self.execute("query-cpus-fast", None).await?;
        let cpus = value.as_array().ok_or(QmpError::Unexpected { what: "no list of vCPUs" })?;
        let mut paths = Vec::with_capacity(cpus.len());
        for (index, cpu) in cpus.iter().enumerate() {
            if cpu.get("cpu-index").and_then(Value::as_u64) != u64::try_from(index).ok() {
                return Err(QmpError::Unexpected { what: "vCPUs out of order" });
            }
            paths.push(text(cpu, "qom-path")?);
        }
        Ok(paths)
    }

    /// A property of an object, as text.
    ///
    /// # Errors
    ///
    /// [`QmpError`].
    pub async fn property(&mut self, path: &str, property: &str) -> Result<String, QmpError> {
        let arguments = json!({ "path": path, "property": property });
        let value = self.execute("qom-get", Some(arguments)).await?;
        let text =
            value.as_str().ok_or(QmpError::Unexpected { what: "a property without text" })?;
        Ok(text.to_owned())
    }

    /// Writes `size` bytes of guest-physical memory from `address` on into a file.
    ///
    /// # Errors
    ///
    /// [`QmpError`].
    pub async fn save_memory(
        &mut self,
        address: u64,
        size: u64,
        file: &str,
    ) -> Result<(), QmpError> {
        let arguments = json!({ "val": address, "size": size, "filename": file });
        self.execute("pmemsave", Some(arguments)).await.map(|_| ())
    }

    fn keep(&mut self, event: Event) {
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// Reads one message; what was read of a line stays in `self` when the future is dropped.
    async fn read(&mut self) -> Result<Message, QmpError> {
        loop {
            let chunk = self.reader.fill_buf().await?;
            if chunk.is_empty() {
                return Err(QmpError::Closed);
            }
            let (taken, ended) = match chunk.iter().position(|byte| *byte == b'\n') {
                Some(end) => (end.saturating_add(1), true),
                None => (chunk.len(), false),
            };
            if self.line.len().saturating_add(taken) > MAX_LINE {
                return Err(QmpError::LineTooLong { cap: MAX_LINE });
            }
            self.line.extend(chunk.iter().take(taken));
            self.reader.consume(taken);
            if ended {
                let message = Message::parse(&self.line);
                self.line.clear();
                return Ok(message?);
            }
        }
    }
}

fn text(value: &Value, key: &str) -> Result<String, QmpError> {
    let text = value.get(key).and_then(Value::as_str);
    text.map(str::to_owned).ok_or(QmpError::Unexpected { what: "a reply without a field" })
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    const GREETING: &str = r#"{"QMP":{"version":{},"capabilities":[]}}"#;

    /// Plays QEMU: sends each reply when it has read a line.
    async fn served(replies: Vec<String>) -> Result<Qmp, QmpError> {
        let (ours, theirs) = UnixStream::pair().unwrap();
        tokio::spawn(async move {
            let (read, mut write) = theirs.into_split();
            let mut lines = BufReader::new(read).lines();
            write.write_all(format!("{GREETING}\r\n").as_bytes()).await.unwrap();
            let mut replies = std::iter::once(r#"{"return":{},"id":1}"#.to_owned()).chain(replies);
            while let Ok(Some(_)) = lines.next_line().await {
                let Some(reply) = replies.next() else { return };
                write.write_all(format!("{reply}\r\n").as_bytes()).await.unwrap();
            }
        });
        Qmp::negotiate(ours).await
    }

    #[tokio::test]
    async fn events_and_stale_replies_do_not_disturb() {
        let stale = r#"{"return":7,"id":1}"#;
        let event = r#"{"event":"STOP","timestamp":{}}"#;
        let reply = r#"{"return":{"status":"prelaunch"},"id":2}"#;
        let mut qmp = served(vec![format!("{stale}\r\n{event}\r\n{reply}")]).await.unwrap();
        assert_eq!(qmp.status().await.unwrap(), "prelaunch");
        assert_eq!(qmp.next_event().await.unwrap().name, "STOP");
    }

    #[tokio::test]
    async fn a_refusal_names_the_command() {
        let refusal = r#"{"error":{"class":"GenericError","desc":"no\nsuch"},"id":2}"#;
        let mut qmp = served(vec![refusal.to_owned()]).await.unwrap();
        let error = qmp.cont().await.unwrap_err();
        let QmpError::Refused { command, description } = error else { panic!("{error}") };
        assert_eq!((command.as_str(), description.as_str()), ("cont", "no such"));
    }

    #[tokio::test]
    async fn vcpus_out_of_order_are_refused() {
        let reply = r#"{"return":[{"cpu-index":1,"qom-path":"/a"}],"id":2}"#;
        let mut qmp = served(vec![reply.to_owned()]).await.unwrap();
        assert!(matches!(qmp.vcpu_paths().await, Err(QmpError::Unexpected { .. })));
    }

    #[tokio::test]
    async fn a_line_without_end_is_cut_off() {
        // E19: a VMM in the guest's hands must not fill the shim's memory.
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let writer = tokio::spawn(async move {
            let chunk = vec![b' '; 64 * 1024];
            while theirs.write_all(&chunk).await.is_ok() {}
        });
        let error = Qmp::negotiate(ours).await.unwrap_err();
        assert!(matches!(error, QmpError::LineTooLong { .. }));
        writer.await.unwrap();
    }

    #[tokio::test]
    async fn a_closed_connection_is_an_error() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(GREETING.as_bytes()).await.unwrap();
        theirs.shutdown().await.unwrap();
        let negotiated = Qmp::negotiate(ours).await;
        assert!(matches!(negotiated, Err(QmpError::Closed)));
        let mut rest = Vec::new();
        theirs.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty());
    }

    #[tokio::test]
    async fn a_flood_of_events_is_bounded() {
        let mut flood = r#"{"event":"X","timestamp":{}}"#.to_owned() + "\r\n";
        flood = flood.repeat(10 * MAX_EVENTS);
        flood += r#"{"return":{},"id":2}"#;
        let mut qmp = served(vec![flood]).await.unwrap();
        qmp.cont().await.unwrap();
        assert_eq!(qmp.events.len(), MAX_EVENTS);
    }
}
