// SPDX-License-Identifier: Apache-2.0
//! Moves frames between the session's state and the carrier.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::hash::Hasher;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::End;
use super::MuxStream;
use super::OpenError;
use super::Role;
use super::StreamKind;
use super::frame::Decoder;
use super::frame::Frame;
use super::frame::HELLO;
use super::frame::Hello;
use super::frame::Item;
use super::frame::VERSION;
use super::session::Event;
use super::session::Session;
use super::session::Transfer;
use crate::code::Code;

/// Bytes of an earlier connection that are skipped in the search for the preface.
pub(super) const MAX_STALE: usize = 4 * 1024 * 1024;
/// How often a host repeats its preface until the guest answers.
const HELLO_EVERY: Duration = Duration::from_millis(200);
/// How long a peer that no longer reads is still listened to.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Bytes per read of the carrier.
const READ_SIZE: usize = 32 * 1024;
/// Bytes after which no further frame joins a write to the carrier.
const WRITE_SIZE: usize = 32 * 1024;

/// What the driver and the streams share. The lock is held for copies in memory only.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// The writer has something to do.
    work: Notify,
    /// The reader may go on.
    room: Notify,
    end: watch::Sender<Option<End>>,
}

#[derive(Debug)]
struct State {
    session: Session,
    wakers: BTreeMap<u32, Wakers>,
    /// A fatal frame is queued: the connection ends when it is sent.
    closing: bool,
}

#[derive(Debug, Default)]
struct Wakers {
    read: Option<Waker>,
    write: Option<Waker>,
}

impl Wakers {
    fn wake(self) {
        for waker in [self.read, self.write].into_iter().flatten() {
            waker.wake();
        }
    }
}

impl Shared {
    pub(super) fn new(role: Role) -> Self {
        let state = State { session: Session::new(role), wakers: BTreeMap::new(), closing: false };
        Self {
            state: Mutex::new(state),
            work: Notify::new(),
            room: Notify::new(),
            end: watch::Sender::new(None),
        }
    }

    pub(super) fn open(&self, kind: StreamKind) -> Result<u32, OpenError> {
        let id = self.lock().session.open(kind)?;
        self.work.notify_one();
        Ok(id)
    }

    pub(super) fn fatal(&self, code: Code, message: &str) {
        let mut state = self.lock();
        state.session.fatal(code, message);
        state.closing = true;
        drop(state);
        self.work.notify_one();
    }

    /// Ends the connection; the first reason stays.
    pub(super) fn end(&self, end: End) {
        let first = self.end.send_if_modified(|slot| {
            let first = slot.is_none();
            if first {
                *slot = Some(end);
            }
            first
        });
        if !first {
            return;
        }
        let mut state = self.lock();
        state.session.end();
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_values().for_each(Wakers::wake);
    }

    pub(super) async fn ended(&self) -> End {
        let mut end = self.end.subscribe();
        match end.wait_for(Option::is_some).await {
            Ok(end) => end.clone().unwrap_or(End::Closed),
            // The sender lives in `self`.
            Err(_) => End::Closed,
        }
    }

    pub(super) fn poll_read(&self, id: u32, cx: &mut Context<'_>, out: &mut [u8]) -> Transfer {
        let mut state = self.lock();
        let transfer = state.session.read(id, out);
        if transfer == Transfer::Pending {
            state.wakers.entry(id).or_default().read = Some(cx.waker().clone());
        }
        drop(state);
        if matches!(transfer, Transfer::Done(_)) {
            self.work.notify_one();
        }
        transfer
    }

    pub(super) fn poll_write(&self, id: u32, cx: &mut Context<'_>, bytes: &[u8]) -> Transfer {
        let mut state = self.lock();
        let transfer = state.session.write(id, bytes);
        if transfer == Transfer::Pending {
            state.wakers.entry(id).or_default().write = Some(cx.waker().clone());
        }
        drop(state);
        if matches!(transfer, Transfer::Done(_)) {
            self.work.notify_one();
        }
        transfer
    }

    pub(super) fn poll_delivered(&self, id: u32, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        match state.session.acknowledged(id) {
            Transfer::Done(_) | Transfer::Eof => Poll::Ready(Ok(())),
            Transfer::Reset => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Transfer::Pending => {
                state.wakers.entry(id).or_default().write = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    pub(super) fn poll_broken(&self, id: u32, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.session.is_reset(id) {
            return Poll::Ready(());
        }
        state.wakers.entry(id).or_default().write = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(super) fn close_write(&self, id: u32) {
        self.lock().session.close_write(id);
        self.work.notify_one();
    }

    pub(super) fn take_unacknowledged(&self, id: u32) -> Vec<u8> {
        self.lock().session.take_unacknowledged(id)
    }

    pub(super) fn detach(&self, id: u32) {
        let mut state = self.lock();
        state.session.detach(id);
        state.wakers.remove(&id);
        drop(state);
        self.work.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic of another holder leaves the state whole enough to end the connection.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Frames to write now; and whether the connection ends after them.
    fn batch(&self, tag: u16) -> (Vec<u8>, bool) {
        let mut out = Vec::new();
        let mut state = self.lock();
        while out.len() < WRITE_SIZE {
            let Some(frame) = state.session.next_frame() else { break };
            frame.encode(tag, &mut out);
        }
        let last = state.closing && out.len() < WRITE_SIZE;
        (out, last)
    }

    fn wake(&self, id: u32, reader: bool, writer: bool) {
        let mut found = Wakers::default();
        if let Some(wakers) = self.lock().wakers.get_mut(&id) {
            found.read = wakers.read.take_if(|_| reader);
            found.write = wakers.write.take_if(|_| writer);
        }
        found.wake();
    }
}

/// Ends the connection when the driver is dropped, so that no stream waits for ever.
struct EndOnDrop(Arc<Shared>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end(End::Closed);
    }
}

pub(super) async fn run<T>(
    io: T,
    shared: Arc<Shared>,
    accepted: mpsc::Sender<(StreamKind, MuxStream)>,
) -> End
where
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    let guard = EndOnDrop(Arc::clone(&shared));
    let role = shared.lock().session.role();
    let (mut reader, mut writer) = tokio::io::split(io);
    let end = tokio::select! {
        end = shared.ended() => end,
        end = converse(&mut reader, &mut writer, role, &shared, &accepted) => end,
    };
    shared.end(end);
    let end = shared.ended().await;
    drop(guard);
    end
}

async fn converse<R, W>(
    reader: &mut R,
    writer: &mut W,
    role: Role,
    shared: &Arc<Shared>,
    accepted: &mpsc::Sender<(StreamKind, MuxStream)>,
) -> End
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut decoder = Decoder::default();
    let hello = match role {
        Role::Host => greet(reader, writer, &mut decoder).await,
        Role::Guest => answer(reader, writer, &mut decoder).await,
    };
    let hello = match hello {
        Ok(hello) => hello,
        Err(end) => return end,
    };
    let receive = receive(reader, &mut decoder, hello, shared, accepted);
    tokio::pin!(receive);
    let failed = tokio::select! {
        end = &mut receive => return end,
        end = send(writer, hello.tag(), shared) => end,
    };
    if matches!(failed, End::Closed) {
        return failed;
    }
    // The peer no longer reads; what it said before, its reason above all, is still taken.
    tokio::time::timeout(LAST_WORDS, receive).await.unwrap_or(failed)
}

/// The host's side of the preface: repeats its own until the guest's answer to it comes.
async fn greet<R, W>(reader: &mut R, writer: &mut W, decoder: &mut Decoder) -> Result<Hello, End>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    // Keyed at random; enough to tell two connections apart.
    let epoch = RandomState::new().build_hasher().finish();
    let hello = Hello { version: VERSION, role: Role::Host, epoch };
    let repeat = async {
        let mut ticks = tokio::time::interval(HELLO_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(end) = write(writer, &hello.encode()).await {
                return end;
            }
        }
    };
    let theirs = tokio::select! {
        end = repeat => return Err(end),
        found = hunt(reader, decoder, |found| {
            found.role == Role::Guest && found.epoch == epoch
        }) => found?,
    };
    check_version(theirs)
}

/// The guest's side of the preface: waits for the host's and repeats its epoch.
async fn answer<R, W>(reader: &mut R, writer: &mut W, decoder: &mut Decoder) -> Result<Hello, End>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let theirs = hunt(reader, decoder, |found| found.role == Role::Host).await?;
    // A version that does not fit is answered too, so that the host can name the cause.
    let hello = Hello { version: VERSION, role: Role::Guest, epoch: theirs.epoch };
    write(writer, &hello.encode()).await?;
    check_version(theirs)
}

fn check_version(theirs: Hello) -> Result<Hello, End> {
    match theirs.version {
        VERSION => Ok(theirs),
        theirs => Err(End::Version { theirs }),
    }
}

/// Reads until a wanted preface comes; all else is of an earlier connection.
async fn hunt<R>(
    reader: &mut R,
    decoder: &mut Decoder,
    wanted: impl Fn(&Hello) -> bool,
) -> Result<Hello, End>
where
    R: AsyncRead + Unpin,
{
    let mut stale = 0usize;
    let mut buffer = vec![0; READ_SIZE];
    loop {
        let (discarded, found) = decoder.hunt();
        stale = stale.saturating_add(discarded);
        match found {
            Some(Ok(hello)) if wanted(&hello) => return Ok(hello),
            Some(_) => stale = stale.saturating_add(HELLO),
            None => {
                let count = read(reader, &mut buffer).await?;
                decoder.push(buffer.get(..count).unwrap_or_default());
            }
        }
        if stale > MAX_STALE {
            return Err(End::NoPreface);
        }
    }
}

/// Takes frames from the carrier until the connection ends.
async fn receive<R>(
    reader: &mut R,
    decoder: &mut Decoder,
    hello: Hello,
    shared: &Arc<Shared>,
    accepted: &mpsc::Sender<(StreamKind, MuxStream)>,
) -> End
where
    R: AsyncRead + Unpin,
{
    let mut buffer = vec![0; READ_SIZE];
    loop {
        loop {
            match decoder.next(hello.tag()) {
                Err(reason) => return End::Malformed { reason },
                Ok(None) => break,
                // The host repeats itself until it has read the answer.
                Ok(Some(Item::Hello(again))) if again.epoch == hello.epoch => {}
                Ok(Some(Item::Hello(_))) => return End::PeerRestarted,
                Ok(Some(Item::Frame(frame))) => {
                    if let Err(end) = take(frame, shared, accepted) {
                        return end;
                    }
                }
            }
        }
        // A25: a peer that asks and never reads the answers is not read from either.
        while shared.lock().session.is_choked() {
            shared.room.notified().await;
        }
        match read(reader, &mut buffer).await {
            Ok(count) => decoder.push(buffer.get(..count).unwrap_or_default()),
            Err(end) => return end,
        }
    }
}

fn take(
    frame: Frame,
    shared: &Arc<Shared>,
    accepted: &mpsc::Sender<(StreamKind, MuxStream)>,
) -> Result<(), End> {
    let event = shared.lock().session.receive(frame);
    match event.map_err(|reason| End::Violation { reason })? {
        Event::Nothing => {}
        Event::Opened { stream, kind } => {
            let stream = MuxStream::new(Arc::clone(shared), stream);
            // A stream that is not accepted is dropped, which resets it.
            drop(accepted.try_send((kind, stream)));
        }
        Event::Readable { stream } => shared.wake(stream, true, false),
        Event::Writable { stream } => shared.wake(stream, false, true),
        Event::Reset { stream } => shared.wake(stream, true, true),
        Event::Fatal { code, message } => return Err(End::Fatal { code, message }),
    }
    // Discarded data is acknowledged, refused streams are reset.
    shared.work.notify_one();
    Ok(())
}

/// Sends what the session has to send until the connection ends.
async fn send<W>(writer: &mut W, tag: u16, shared: &Shared) -> End
where
    W: AsyncWrite + Unpin,
{
    loop {
        let (bytes, last) = shared.batch(tag);
        if !bytes.is_empty() {
            if let Err(end) = write(writer, &bytes).await {
                return end;
            }
            shared.room.notify_one();
        }
        if last {
            return End::Closed;
        }
        if bytes.is_empty() {
            shared.work.notified().await;
        }
    }
}

async fn read<R>(reader: &mut R, buffer: &mut [u8]) -> Result<usize, End>
where
    R: AsyncRead + Unpin,
{
    match reader.read(buffer).await {
        Ok(0) => Err(End::Eof),
        Ok(count) => Ok(count),
        Err(e) => Err(End::Io { kind: e.kind() }),
    }
}

async fn write<W>(writer: &mut W, bytes: &[u8]) -> Result<(), End>
where
    W: AsyncWrite + Unpin,
{
    let written = async {
        writer.write_all(bytes).await?;
        writer.flush().await
    };
    written.await.map_err(|e| End::Io { kind: e.kind() })
}
