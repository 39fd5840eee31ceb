// SPDX-License-Identifier: Apache-2.0
//! A stream as its user sees it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

use super::driver::Shared;
use super::session::Transfer;

/// One stream of a connection.
///
/// Shutting it down closes this direction only. Dropping it after that still delivers what was
/// written; dropping it before resets both directions. When the connection ends, what was received
/// can still be read; then reads and writes fail with `ConnectionReset`.
#[derive(Debug)]
pub struct MuxStream {
    shared: Arc<Shared>,
    id: u32,
}

impl MuxStream {
    pub(super) fn new(shared: Arc<Shared>, id: u32) -> Self {
        Self { shared, id }
    }

    /// Waits until the reader at the other end has taken all that was written.
    ///
    /// # Errors
    ///
    /// `ConnectionReset` when the stream was reset before.
    pub async fn delivered(&self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.shared.poll_delivered(self.id, cx)).await
    }

    /// Waits until the stream is reset, by the peer or by the end of the connection. Another task
    /// may read meanwhile, but not write.
    pub async fn broken(&self) {
        std::future::poll_fn(|cx| self.shared.poll_broken(self.id, cx)).await;
    }

    /// Gives up the stream and returns what the reader at the other end has not taken, so that it
    /// can be written to a later stream.
    #[must_use]
    pub fn into_unacknowledged(self) -> Vec<u8> {
        self.shared.take_unacknowledged(self.id)
    }
}

impl AsyncRead for MuxStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.shared.poll_read(self.id, cx, buf.initialize_unfilled()) {
            Transfer::Done(count) => {
                buf.advance(count);
                Poll::Ready(Ok(()))
            }
            Transfer::Eof => Poll::Ready(Ok(())),
            Transfer::Reset => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Transfer::Pending => Poll::Pending,
        }
    }
}

impl AsyncWrite for MuxStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.shared.poll_write(self.id, cx, buf) {
            Transfer::Done(count) => Poll::Ready(Ok(count)),
            Transfer::Eof => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Transfer::Reset => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Transfer::Pending => Poll::Pending,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The driver sends without being asked; `delivered` waits for the other end.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.close_write(self.id);
        Poll::Ready(Ok(()))
    }
}

impl Drop for MuxStream {
    fn drop(&mut self) {
        self.shared.detach(self.id);
    }
}
