// SPDX-License-Identifier: Apache-2.0
//! Frames on the wire: their layout, their caps and a decoder that never trusts a length.
//!
//! All numbers are little-endian. A connection starts with one [`Hello`] in each direction; then
//! frames follow, each a 12-byte header and at most [`MAX_PAYLOAD`] bytes:
//!
//! | bytes | content |
//! |---|---|
//! | 0 | kind |
//! | 1 | zero |
//! | 2-3 | tag: the low 16 bits of the connection's epoch |
//! | 4-7 | stream id, 0 for frames of the whole connection |
//! | 8-11 | length of the payload |

use super::Role;
use super::StreamKind;
use crate::code::Code;
use crate::request::ContainerId;
use crate::request::ExecId;
use crate::request::ProcessId;

/// Most bytes of payload in one frame.
pub(crate) const MAX_PAYLOAD: usize = 32 * 1024;
/// Most bytes of text in a fatal frame.
pub(crate) const MAX_FATAL_TEXT: usize = 1024;
/// Bytes of a frame header.
pub(crate) const HEADER: usize = 12;
/// Bytes of a [`Hello`].
pub(crate) const HELLO: usize = 20;
/// First bytes of a [`Hello`]. The first of them is no frame kind.
pub(crate) const MAGIC: [u8; 8] = *b"CASEMUX\n";
/// Version of this wire format.
pub(crate) const VERSION: u16 = 1;

const KIND_OPEN: u8 = 1;
const KIND_DATA: u8 = 2;
const KIND_WINDOW: u8 = 3;
const KIND_CLOSE: u8 = 4;
const KIND_RESET: u8 = 5;
const KIND_FATAL: u8 = 6;

const STREAM_RPC: u8 = 1;
const STREAM_STDIN: u8 = 2;
const STREAM_STDOUT: u8 = 3;
const STREAM_STDERR: u8 = 4;

/// Opens a connection in one direction; the host picks the epoch and the guest repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) version: u16,
    pub(crate) role: Role,
    pub(crate) epoch: u64,
}

impl Hello {
    pub(crate) fn encode(self) -> [u8; HELLO] {
        let mut out = [0; HELLO];
        let fields = MAGIC
            .into_iter()
            .chain(self.version.to_le_bytes())
            .chain([self.role.wire(), 0])
            .chain(self.epoch.to_le_bytes());
        for (to, from) in out.iter_mut().zip(fields) {
            *to = from;
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8; HELLO]) -> Result<Self, Malformed> {
        let mut fields = Fields(bytes);
        if fields.take::<8>()? != MAGIC {
            return Err(Malformed::Magic);
        }
        let version = u16::from_le_bytes(fields.take()?);
        let [role, zero] = fields.take()?;
        if zero != 0 {
            return Err(Malformed::Reserved);
        }
        let role = Role::from_wire(role).ok_or(Malformed::Role)?;
        Ok(Self { version, role, epoch: u64::from_le_bytes(fields.take()?) })
    }

    /// The tag that every frame of this epoch carries.
    pub(crate) fn tag(self) -> u16 {
        let [a, b, ..] = self.epoch.to_le_bytes();
        u16::from_le_bytes([a, b])
    }
}

/// A frame, after the preface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    Open {
        stream: u32,
        kind: StreamKind,
    },
    Data {
        stream: u32,
        bytes: Vec<u8>,
    },
    /// The receiver took `bytes` bytes out of its buffer.
    Window {
        stream: u32,
        bytes: u32,
    },
    Close {
        stream: u32,
    },
    Reset {
        stream: u32,
    },
    Fatal {
        code: Code,
        message: String,
    },
}

impl Frame {
    /// Appends the frame's bytes to `out`.
    pub(crate) fn encode(&self, tag: u16, out: &mut Vec<u8>) {
        match self {
            Self::Open { stream, kind } => put(out, KIND_OPEN, tag, *stream, &encode_kind(kind)),
            Self::Data { stream, bytes } => put(out, KIND_DATA, tag, *stream, bytes),
            Self::Window { stream, bytes } => {
                put(out, KIND_WINDOW, tag, *stream, &bytes.to_le_bytes());
            }
            Self::Close { stream } => put(out, KIND_CLOSE, tag, *stream, &[]),
            Self::Reset { stream } => put(out, KIND_RESET, tag, *stream, &[]),
            Self::Fatal { code, message } => {
                let code = code.as_str().as_bytes();
                let mut text = Vec::with_capacity(1 + code.len() + message.len());
                // Codes are short words of ours; a longer one would be cut and not be understood.
                text.push(u8::try_from(code.len()).unwrap_or(u8::MAX));
                text.extend_from_slice(code);
                text.extend_from_slice(message.as_bytes());
                text.truncate(MAX_FATAL_TEXT);
                put(out, KIND_FATAL, tag, 0, &text);
            }
        }
    }

    fn decode(kind: u8, stream: u32, payload: &[u8]) -> Result<Self, Malformed> {
        if (stream == 0) != (kind == KIND_FATAL) {
            return Err(Malformed::Stream);
        }
        match kind {
            KIND_OPEN => Ok(Self::Open { stream, kind: decode_kind(payload)? }),
            KIND_DATA if payload.is_empty() => Err(Malformed::Length),
            KIND_DATA => Ok(Self::Data { stream, bytes: payload.to_vec() }),
            KIND_WINDOW => {
                let bytes = payload.try_into().map_err(|_| Malformed::Length)?;
                Ok(Self::Window { stream, bytes: u32::from_le_bytes(bytes) })
            }
            KIND_CLOSE if payload.is_empty() => Ok(Self::Close { stream }),
            KIND_RESET if payload.is_empty() => Ok(Self::Reset { stream }),
            KIND_CLOSE | KIND_RESET => Err(Malformed::Length),
            KIND_FATAL => decode_fatal(payload),
            _ => Err(Malformed::Kind),
        }
    }
}

/// Bytes that are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The preface does not start with the magic bytes.
    #[error("preface has another magic")]
    Magic,
    /// A byte that must be zero is not.
    #[error("reserved byte is not zero")]
    Reserved,
    /// The preface names no known role.
    #[error("preface has an unknown role")]
    Role,
    /// The frame carries the tag of another epoch.
    #[error("frame belongs to another epoch")]
    Tag,
    /// The frame's kind is unknown.
    #[error("frame has an unknown kind")]
    Kind,
    /// The frame's length is over the cap or wrong for its kind.
    #[error("frame has a wrong length")]
    Length,
    /// The frame's stream id is zero where it must not be, or the reverse.
    #[error("frame has a wrong stream id")]
    Stream,
    /// The kind of stream or an id in an open frame is not well-formed.
    #[error("open frame has a malformed header")]
    StreamKind,
    /// A fatal frame has an unknown code or is no text.
    #[error("fatal frame is malformed")]
    Fatal,
}

/// What a [`Decoder`] finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    /// A preface where a frame could stand: the peer repeats itself or started anew.
    Hello(Hello),
    Frame(Frame),
}

/// Cuts a byte stream into frames.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    buffer: Vec<u8>,
    /// Bytes at the front of `buffer` that are used up.
    start: usize,
}

impl Decoder {
    /// Adds bytes that were read. The caller drains [`Self::next`] between two reads, so that at
    /// most one unfinished frame is held.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start.min(self.buffer.len()));
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Looks for a preface, discarding all before it; returns it and how much was discarded.
    pub(crate) fn hunt(&mut self) -> (usize, Option<Result<Hello, Malformed>>) {
        let rest = self.rest();
        let Some(at) = rest.windows(MAGIC.len()).position(|w| w == MAGIC) else {
            // A magic may be cut in two by the read: its first bytes stay.
            let keep = MAGIC.len() - 1;
            let discard = rest.len().saturating_sub(keep);
            self.start += discard;
            return (discard, None);
        };
        self.start += at;
        let Some(bytes) = self.rest().first_chunk::<HELLO>() else {
            return (at, None);
        };
        let hello = Hello::decode(bytes);
        self.start += HELLO;
        (at, Some(hello))
    }

    /// The next frame or repeated preface, if all of it is there.
    pub(crate) fn next(&mut self, tag: u16) -> Result<Option<Item>, Malformed> {
        let rest = self.rest();
        if rest.first() == MAGIC.first() {
            let Some(bytes) = rest.first_chunk::<HELLO>() else {
                return Ok(None);
            };
            let hello = Hello::decode(bytes)?;
            self.start += HELLO;
            return Ok(Some(Item::Hello(hello)));
        }
        let Some((header, after)) = rest.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let mut fields = Fields(header);
        let [kind, zero] = fields.take()?;
        if zero != 0 {
            return Err(Malformed::Reserved);
        }
        if u16::from_le_bytes(fields.take()?) != tag {
            return Err(Malformed::Tag);
        }
        let stream = u32::from_le_bytes(fields.take()?);
        let length = payload_length(fields.take()?)?;
        let Some((payload, _)) = after.split_at_checked(length) else {
            return Ok(None);
        };
        let frame = Frame::decode(kind, stream, payload)?;
        self.start += HEADER + length;
        Ok(Some(Item::Frame(frame)))
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }
}

/// A24, A15: the length is judged before a byte of the payload is awaited.
fn payload_length(field: [u8; 4]) -> Result<usize, Malformed> {
    let length = usize::try_from(u32::from_le_bytes(field)).ok();
    length.filter(|length| *length <= MAX_PAYLOAD).ok_or(Malformed::Length)
}

/// Takes fixed fields off the front of a byte slice.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed::Length)?;
        self.0 = rest;
        Ok(*field)
    }
}

fn put(out: &mut Vec<u8>, kind: u8, tag: u16, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&[kind, 0]);
    out.extend_from_slice(&tag.to_le_bytes());
    out.extend_from_slice(&stream.to_le_bytes());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(payload);
}

fn encode_kind(kind: &StreamKind) -> Vec<u8> {
    let (byte, process) = match kind {
        StreamKind::Rpc => (STREAM_RPC, None),
        StreamKind::Stdin(p) => (STREAM_STDIN, Some(p)),
        StreamKind::Stdout(p) => (STREAM_STDOUT, Some(p)),
        StreamKind::Stderr(p) => (STREAM_STDERR, Some(p)),
    };
    let mut out = vec![byte];
    if let Some(process) = process {
        let exec = process.exec().map_or("", ExecId::as_str);
        for id in [process.container().as_str(), exec] {
            // Ids have at most 128 bytes.
            out.push(u8::try_from(id.len()).unwrap_or(u8::MAX));
            out.extend_from_slice(id.as_bytes());
        }
    }
    out
}

fn decode_kind(payload: &[u8]) -> Result<StreamKind, Malformed> {
    let (kind, rest) = payload.split_first().ok_or(Malformed::StreamKind)?;
    if *kind == STREAM_RPC {
        return if rest.is_empty() { Ok(StreamKind::Rpc) } else { Err(Malformed::StreamKind) };
    }
    let (container, rest) = take_text(rest)?;
    let (exec, rest) = take_text(rest)?;
    if !rest.is_empty() {
        return Err(Malformed::StreamKind);
    }
    let container = ContainerId::parse(container).map_err(|_| Malformed::StreamKind)?;
    let exec = match exec {
        "" => None,
        exec => Some(ExecId::parse(exec).map_err(|_| Malformed::StreamKind)?),
    };
    let process = ProcessId::new(container, exec);
    match *kind {
        STREAM_STDIN => Ok(StreamKind::Stdin(process)),
        STREAM_STDOUT => Ok(StreamKind::Stdout(process)),
        STREAM_STDERR => Ok(StreamKind::Stderr(process)),
        _ => Err(Malformed::StreamKind),
    }
}

/// A text with its length in one byte before it.
fn take_text(bytes: &[u8]) -> Result<(&str, &[u8]), Malformed> {
    let (length, rest) = bytes.split_first().ok_or(Malformed::StreamKind)?;
    let (text, rest) = rest.split_at_checked(usize::from(*length)).ok_or(Malformed::StreamKind)?;
    Ok((std::str::from_utf8(text).map_err(|_| Malformed::StreamKind)?, rest))
}

fn decode_fatal(payload: &[u8]) -> Result<Frame, Malformed> {
    if payload.len() > MAX_FATAL_TEXT {
        return Err(Malformed::Length);
    }
    let (code, message) = take_text(payload).map_err(|_| Malformed::Fatal)?;
    let code = code.parse().map_err(|_| Malformed::Fatal)?;
    // The sender may have cut a character in two.
    let message = String::from_utf8_lossy(message).into_owned();
    Ok(Frame::Fatal { code, message })
}

#[cfg(test)]
mod tests;
