// SPDX-License-Identifier: Apache-2.0
//! A descriptor of the kernel's under tokio: pipes, terminals, virtio ports.

#![allow(unsafe_code, reason = "tokio asks its callers to vouch for a descriptor that it polls")]

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use rustix::io::Errno;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::io::unix::AsyncFd;

/// A non-blocking descriptor that can be polled.
#[derive(Debug)]
pub(crate) struct AsyncDescriptor(AsyncFd<OwnedFd>);

impl AsyncDescriptor {
    /// Takes a descriptor that is non-blocking already.
    ///
    /// # Errors
    ///
    /// When the descriptor cannot be polled, as a regular file cannot.
    pub(crate) fn new(descriptor: OwnedFd) -> io::Result<Self> {
        // SAFETY: an OwnedFd is an open descriptor that only its drop closes; the AsyncFd owns it
        // and nothing here takes it out or replaces it.
        let polled = unsafe { AsyncFd::register(descriptor) };
        Ok(Self(polled?))
    }
}

impl AsyncRead for AsyncDescriptor {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            match rustix::io::read(self.0.get_ref(), buf.initialize_unfilled()) {
                Ok(count) => {
                    buf.advance(count);
                    return Poll::Ready(Ok(()));
                }
                // The other side of a terminal is closed.
                Err(Errno::IO) => return Poll::Ready(Ok(())),
                // Hung up since: tokio would call the descriptor ready for ever.
                Err(Errno::AGAIN) if guard.ready().is_read_closed() => return Poll::Ready(Ok(())),
                Err(Errno::AGAIN) => guard.clear_ready(),
                Err(Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }
}

impl AsyncWrite for AsyncDescriptor {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(cx))?;
            match rustix::io::write(self.0.get_ref(), buf) {
                Ok(count) => return Poll::Ready(Ok(count)),
                Err(Errno::AGAIN) if guard.ready().is_write_closed() => {
                    return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
                }
                Err(Errno::AGAIN) => guard.clear_ready(),
                Err(Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Dropping is what closes.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
