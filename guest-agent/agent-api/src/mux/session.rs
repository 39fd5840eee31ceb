// SPDX-License-Identifier: Apache-2.0
//! The protocol's state, without I/O: frames come in, frames go out, streams are read and written.

use std::collections::BTreeMap;
use std::collections::VecDeque;

use super::MAX_STREAMS;
use super::OpenError;
use super::Role;
use super::StreamKind;
use super::WINDOW;
use super::frame::Frame;
use super::frame::MAX_PAYLOAD;
use crate::code::Code;

/// Control frames that may wait for the writer before reading stops (A25).
const MAX_CONTROL: usize = 256;
/// Bytes that a reader takes before the writer hears of it, while more wait to be read.
const CREDIT_STEP: usize = WINDOW / 4;
/// Buffer that an empty stream keeps.
const IDLE_BUFFER: usize = 1024;

/// The state of one connection after the preface.
#[derive(Debug)]
pub(crate) struct Session {
    role: Role,
    next_id: u32,
    streams: BTreeMap<u32, Stream>,
    control: VecDeque<Frame>,
    /// Streams that have something to send; each at most once, served in turn.
    turn: VecDeque<u32>,
    ended: bool,
}

/// A rule of the protocol that the peer broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A new stream's id is not above all earlier ones, or the guest opened a stream.
    #[error("stream id out of order")]
    StreamId,
    /// A frame names a stream that never was.
    #[error("unknown stream")]
    UnknownStream,
    /// More data than the window allows.
    #[error("window exceeded")]
    Window,
    /// More bytes acknowledged than were sent.
    #[error("acknowledged more than was sent")]
    Acknowledged,
    /// Data or a second close after a close.
    #[error("stream was closed")]
    Closed,
}

/// What a received frame means for the users of the streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    Nothing,
    Opened { stream: u32, kind: StreamKind },
    Readable { stream: u32 },
    Writable { stream: u32 },
    Reset { stream: u32 },
    Fatal { code: Code, message: String },
}

/// Outcome of reading or writing a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transfer {
    Done(usize),
    Pending,
    Eof,
    Reset,
}

#[derive(Debug, Default)]
struct Stream {
    /// Received and not yet read; with `taken`, at most [`WINDOW`].
    inbox: VecDeque<u8>,
    /// Read and not yet acknowledged.
    taken: usize,
    peer_closed: bool,
    /// Written and not yet acknowledged, at most [`WINDOW`].
    outbox: VecDeque<u8>,
    /// Bytes at the front of `outbox` that are sent.
    sent: usize,
    write_closed: bool,
    close_sent: bool,
    reset: bool,
    /// Nobody reads or writes any more; what was written is still delivered.
    detached: bool,
    /// In `Session::turn`.
    queued: bool,
}

impl Session {
    pub(crate) fn new(role: Role) -> Self {
        Self {
            role,
            next_id: 1,
            streams: BTreeMap::new(),
            control: VecDeque::new(),
            turn: VecDeque::new(),
            ended: false,
        }
    }

    pub(crate) fn role(&self) -> Role {
        self.role
    }

    /// Opens a stream towards the peer.
    pub(crate) fn open(&mut self, kind: StreamKind) -> Result<u32, OpenError> {
        if self.ended {
            return Err(OpenError::Ended);
        }
        if self.role == Role::Guest {
            return Err(OpenError::Guest);
        }
        if self.streams.len() >= MAX_STREAMS {
            return Err(OpenError::TooMany);
        }
        let id = self.next_id;
        self.next_id = id.checked_add(1).ok_or(OpenError::TooMany)?;
        self.streams.insert(id, Stream::default());
        self.control.push_back(Frame::Open { stream: id, kind });
        Ok(id)
    }

    /// Takes a frame of the peer.
    pub(crate) fn receive(&mut self, frame: Frame) -> Result<Event, Violation> {
        match frame {
            Frame::Open { stream, kind } => self.receive_open(stream, kind),
            Frame::Data { stream, bytes } => self.receive_data(stream, &bytes),
            Frame::Window { stream, bytes } => self.receive_window(stream, bytes),
            Frame::Close { stream } => self.receive_close(stream),
            Frame::Reset { stream } => self.receive_reset(stream),
            Frame::Fatal { code, message } => Ok(Event::Fatal { code, message }),
        }
    }

    /// The next frame to send: connection-wide ones first, then the streams in turn.
    pub(crate) fn next_frame(&mut self) -> Option<Frame> {
        if let Some(frame) = self.control.pop_front() {
            return Some(frame);
        }
        while let Some(id) = self.turn.pop_front() {
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            stream.queued = false;
            let Some(frame) = stream.next_frame(id) else { continue };
            if stream.has_frame() {
                stream.queued = true;
                self.turn.push_back(id);
            }
            self.forget_if_done(id);
            return Some(frame);
        }
        None
    }

    /// Whether so many control frames wait that nothing more should be read.
    pub(crate) fn is_choked(&self) -> bool {
        self.control.len() >= MAX_CONTROL
    }

    /// Reads from a stream into `out`.
    pub(crate) fn read(&mut self, id: u32, out: &mut [u8]) -> Transfer {
        let Some(stream) = self.streams.get_mut(&id) else { return Transfer::Reset };
        let room = out.len();
        let count = out.len().min(stream.inbox.len());
        let out = out.get_mut(..count).unwrap_or_default();
        if out.is_empty() {
            return match stream {
                _ if room == 0 => Transfer::Done(0),
                Stream { peer_closed: true, .. } => Transfer::Eof,
                Stream { reset: true, .. } => Transfer::Reset,
                _ => Transfer::Pending,
            };
        }
        copy_out(&stream.inbox, 0, out);
        stream.inbox.drain(..count);
        if stream.inbox.is_empty() {
            stream.inbox.shrink_to(IDLE_BUFFER);
        }
        stream.taken += count;
        self.queue(id);
        Transfer::Done(count)
    }

    /// Writes to a stream as much as its window takes.
    pub(crate) fn write(&mut self, id: u32, bytes: &[u8]) -> Transfer {
        let Some(stream) = self.streams.get_mut(&id) else { return Transfer::Reset };
        if stream.reset {
            return Transfer::Reset;
        }
        if stream.write_closed {
            return Transfer::Eof;
        }
        let count = bytes.len().min(WINDOW.saturating_sub(stream.outbox.len()));
        if count == 0 && !bytes.is_empty() {
            return Transfer::Pending;
        }
        stream.outbox.extend(bytes.get(..count).unwrap_or_default());
        self.queue(id);
        Transfer::Done(count)
    }

    /// Says that nothing more will be written to a stream.
    pub(crate) fn close_write(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.write_closed = true;
            self.queue(id);
        }
    }

    /// Whether all that was written has been taken by the peer's reader.
    pub(crate) fn acknowledged(&self, id: u32) -> Transfer {
        match self.streams.get(&id) {
            None => Transfer::Reset,
            Some(stream) if stream.outbox.is_empty() => Transfer::Done(0),
            Some(Stream { reset: true, .. }) => Transfer::Reset,
            Some(_) => Transfer::Pending,
        }
    }

    /// Whether nothing can be written any more because the peer or the connection has gone.
    pub(crate) fn is_reset(&self, id: u32) -> bool {
        self.streams.get(&id).is_none_or(|stream| stream.reset)
    }

    /// Takes what was written and not acknowledged out of a stream.
    pub(crate) fn take_unacknowledged(&mut self, id: u32) -> Vec<u8> {
        self.streams.get_mut(&id).map_or_else(Vec::new, |stream| {
            stream.sent = 0;
            stream.reset = true;
            stream.outbox.drain(..).collect()
        })
    }

    /// The stream's user is gone. A stream closed for writing still delivers; any other is reset.
    pub(crate) fn detach(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if stream.reset && !self.ended {
            // Either the peer knows, or `take_unacknowledged` gave the stream up.
            self.control.push_back(Frame::Reset { stream: id });
            self.streams.remove(&id);
        } else if self.ended {
            self.streams.remove(&id);
        } else if stream.write_closed {
            stream.detached = true;
            stream.taken += stream.inbox.len();
            stream.inbox = VecDeque::new();
            self.queue(id);
            self.forget_if_done(id);
        } else {
            // The acknowledgement must not be lost: the peer would send these bytes again.
            if let Some(bytes) = stream.take_credit() {
                self.control.push_back(Frame::Window { stream: id, bytes });
            }
            self.control.push_back(Frame::Reset { stream: id });
            self.streams.remove(&id);
        }
    }

    /// Queues the reason for the end of the connection.
    pub(crate) fn fatal(&mut self, code: Code, message: &str) {
        self.control.push_back(Frame::Fatal { code, message: message.to_owned() });
    }

    /// The connection has ended: what was received can still be read, nothing can be written.
    pub(crate) fn end(&mut self) -> Vec<u32> {
        self.ended = true;
        self.control.clear();
        self.turn.clear();
        self.streams.retain(|_, stream| !stream.detached);
        for stream in self.streams.values_mut() {
            stream.reset = true;
        }
        self.streams.keys().copied().collect()
    }

    fn receive_open(&mut self, id: u32, kind: StreamKind) -> Result<Event, Violation> {
        if self.role != Role::Guest || id < self.next_id {
            return Err(Violation::StreamId);
        }
        self.next_id = id.checked_add(1).ok_or(Violation::StreamId)?;
        if !self.has_room() {
            self.control.push_back(Frame::Reset { stream: id });
            return Ok(Event::Nothing);
        }
        self.streams.insert(id, Stream::default());
        Ok(Event::Opened { stream: id, kind })
    }

    /// A25: a peer takes so much and no more, however many streams it opens.
    fn has_room(&self) -> bool {
        self.streams.len() < MAX_STREAMS
    }

    fn receive_data(&mut self, id: u32, bytes: &[u8]) -> Result<Event, Violation> {
        let Some(stream) = self.known(id)? else { return Ok(Event::Nothing) };
        if stream.peer_closed {
            return Err(Violation::Closed);
        }
        if stream.inbox.len() + stream.taken + bytes.len() > WINDOW {
            return Err(Violation::Window);
        }
        if stream.detached || stream.reset {
            stream.taken += bytes.len();
            self.queue(id);
            return Ok(Event::Nothing);
        }
        stream.inbox.extend(bytes);
        Ok(Event::Readable { stream: id })
    }

    fn receive_window(&mut self, id: u32, bytes: u32) -> Result<Event, Violation> {
        let Some(stream) = self.known(id)? else { return Ok(Event::Nothing) };
        let count = usize::try_from(bytes).map_err(|_| Violation::Acknowledged)?;
        if stream.reset {
            return Ok(Event::Nothing);
        }
        if count == 0 || count > stream.sent {
            return Err(Violation::Acknowledged);
        }
        stream.outbox.drain(..count);
        stream.sent -= count;
        if stream.outbox.is_empty() {
            stream.outbox.shrink_to(IDLE_BUFFER);
        }
        self.forget_if_done(id);
        Ok(Event::Writable { stream: id })
    }

    fn receive_close(&mut self, id: u32) -> Result<Event, Violation> {
        let Some(stream) = self.known(id)? else { return Ok(Event::Nothing) };
        if stream.peer_closed {
            return Err(Violation::Closed);
        }
        stream.peer_closed = true;
        self.forget_if_done(id);
        Ok(Event::Readable { stream: id })
    }

    fn receive_reset(&mut self, id: u32) -> Result<Event, Violation> {
        let Some(stream) = self.known(id)? else { return Ok(Event::Nothing) };
        if stream.detached {
            self.streams.remove(&id);
            return Ok(Event::Nothing);
        }
        stream.reset = true;
        Ok(Event::Reset { stream: id })
    }

    /// The stream, or `None` when it once was.
    fn known(&mut self, id: u32) -> Result<Option<&mut Stream>, Violation> {
        if id >= self.next_id {
            return Err(Violation::UnknownStream);
        }
        Ok(self.streams.get_mut(&id))
    }

    fn queue(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if !stream.queued && !self.ended && stream.has_frame() {
            stream.queued = true;
            self.turn.push_back(id);
        }
    }

    fn forget_if_done(&mut self, id: u32) {
        if self.streams.get(&id).is_some_and(Stream::is_done) {
            self.streams.remove(&id);
        }
    }
}

impl Stream {
    fn has_frame(&self) -> bool {
        self.credit_due() || self.data_due() || self.close_due()
    }

    fn next_frame(&mut self, id: u32) -> Option<Frame> {
        if self.credit_due() {
            return self.take_credit().map(|bytes| Frame::Window { stream: id, bytes });
        }
        if self.data_due() {
            let end = self.outbox.len().min(self.sent + MAX_PAYLOAD);
            let mut bytes = vec![0; end.saturating_sub(self.sent)];
            copy_out(&self.outbox, self.sent, &mut bytes);
            self.sent = end;
            return Some(Frame::Data { stream: id, bytes });
        }
        if self.close_due() {
            self.close_sent = true;
            return Some(Frame::Close { stream: id });
        }
        None
    }

    fn credit_due(&self) -> bool {
        // After the peer's close nobody waits for the window, but for the acknowledgement.
        self.taken >= CREDIT_STEP || (self.taken > 0 && self.inbox.is_empty())
    }

    fn data_due(&self) -> bool {
        !self.reset && self.sent < self.outbox.len()
    }

    fn close_due(&self) -> bool {
        !self.reset && self.write_closed && !self.close_sent && self.sent == self.outbox.len()
    }

    fn take_credit(&mut self) -> Option<u32> {
        let bytes = u32::try_from(std::mem::take(&mut self.taken)).ok()?;
        (bytes > 0).then_some(bytes)
    }

    /// Nobody here uses it and neither side has anything left to say.
    fn is_done(&self) -> bool {
        self.detached
            && self.peer_closed
            && self.close_sent
            && self.outbox.is_empty()
            && self.taken == 0
    }
}

/// Copies what stands from `start` on in `from`, as much as `to` takes.
fn copy_out(from: &VecDeque<u8>, start: usize, to: &mut [u8]) {
    let (front, back) = from.as_slices();
    let skipped = start.min(front.len());
    let front = front.get(skipped..).unwrap_or_default();
    let back = back.get(start - skipped..).unwrap_or_default();
    let cut = front.len().min(to.len());
    let (first, second) = to.split_at_mut(cut);
    first.copy_from_slice(front.get(..cut).unwrap_or_default());
    let cut = back.len().min(second.len());
    if let (Some(second), Some(back)) = (second.get_mut(..cut), back.get(..cut)) {
        second.copy_from_slice(back);
    }
}

#[cfg(test)]
mod tests;
