// SPDX-License-Identifier: Apache-2.0
//! Layers on their way from the registry to the unpacking thread.

use std::io;
use std::io::Read;

use bytes::Bytes;
use casemate_image_crypt::oci::Descriptor;
use casemate_image_crypt::oci::Hasher;
use reqwest::Response;
use reqwest::StatusCode;
use reqwest::header::CONTENT_RANGE;
use tokio::sync::mpsc;

use crate::client::Client;
use crate::client::MAX_ATTEMPTS;
use crate::client::Request;
use crate::client::within;
use crate::error::PullError;
use crate::progress::Progress;
use crate::reference::Reference;

/// The reading end of a layer that is being fetched.
pub(crate) struct BlobReader {
    pieces: mpsc::Receiver<Result<Bytes, PullError>>,
    piece: Bytes,
}

/// Makes the two ends of a layer's way; what lies between them is bounded.
pub(crate) fn channel() -> (mpsc::Sender<Result<Bytes, PullError>>, BlobReader) {
    let (sender, pieces) = mpsc::channel(PIECES);
    (sender, BlobReader { pieces, piece: Bytes::new() })
}

impl Read for BlobReader {
    /// Blocks: to be called outside of the async runtime.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(Ok(piece)) => self.piece = piece,
                // The typed error comes out again in `verified`.
                Some(Err(error)) => return Err(io::Error::other(error)),
                None => return Ok(0),
            }
        }
        let size = buffer.len().min(self.piece.len());
        let piece = self.piece.split_to(size);
        buffer.get_mut(..size).ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(&piece);
        Ok(size)
    }
}

/// Gives the blob in `input` to `consume`; what `consume` makes of it is returned once size and
/// digest agree with `descriptor`.
///
/// An altered blob is mostly noticed first by who decompresses it. So after a failure the rest is
/// read too: whoever altered the blob is named rather than the image.
pub(crate) fn verified<R: Read, T>(
    input: R,
    descriptor: &Descriptor,
    consume: impl FnOnce(&mut dyn Read) -> Result<T, PullError>,
) -> Result<T, PullError> {
    let differs = || PullError::Digest { what: "layer", expected: descriptor.digest };
    let mut blob =
        Verified { input, hasher: Hasher::default(), left: descriptor.size, failure: None };
    let result = consume(&mut blob);
    if let Err(error) = &result
        && error.code() == casemate_agent_api::Code::GuestFull
        && blob.failure.is_none()
    {
        return result;
    }
    if blob.failure.is_none() && io::copy(&mut blob, &mut io::sink()).is_err() {
        // The reason is in `failure`.
        blob.failure.get_or_insert_with(differs);
    }
    if let Some(failure) = blob.failure {
        return Err(failure);
    }
    if blob.left != 0 || blob.hasher.finish() != descriptor.digest {
        return Err(differs());
    }
    result
}

struct Verified<R> {
    input: R,
    hasher: Hasher,
    /// Bytes still to come.
    left: u64,
    failure: Option<PullError>,
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.failure.is_some() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        match self.input.read(buffer) {
            Ok(size) => {
                self.hasher.update(buffer.get(..size).unwrap_or_default());
                let read = u64::try_from(size).unwrap_or(u64::MAX);
                // More than announced: nobody needs to look at it.
                self.left = self.left.checked_sub(read).ok_or(io::ErrorKind::InvalidData)?;
                Ok(size)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                if let Ok(failure) = error.downcast::<PullError>() {
                    self.failure = Some(failure);
                }
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
    }
}

/// Fetches a layer into `sender`, again from where it broke off. An error goes there too.
pub(crate) async fn fetch(
    client: &Client,
    reference: &Reference,
    descriptor: &Descriptor,
    progress: &Progress,
    sender: mpsc::Sender<Result<Bytes, PullError>>,
) {
    let host = client.host(reference);
    let pieces = Pieces { client, reference, descriptor, progress, sender: &sender, received: 0 };
    // C13: an endless trickle ends, too.
    let result = within(client.timeouts().layer, &host, pieces.send_all()).await;
    if let Err(error) | Ok(Err(error)) = result {
        // If nobody listens any more, nobody needs the error.
        let _ = sender.send(Err(error)).await;
    }
}

/// A layer being fetched.
struct Pieces<'a> {
    client: &'a Client,
    reference: &'a Reference,
    descriptor: &'a Descriptor,
    progress: &'a Progress,
    sender: &'a mpsc::Sender<Result<Bytes, PullError>>,
    received: u64,
}

impl Pieces<'_> {
    async fn send_all(mut self) -> Result<(), PullError> {
        let mut attempts = 0;
        let mut pause = self.client.timeouts().retry;
        loop {
            let before = self.received;
            let error = match self.send_rest().await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            attempts = if self.received > before { 1 } else { attempts + 1 };
            if !error.is_transient() || attempts >= MAX_ATTEMPTS {
                return Err(error);
            }
            if attempts == 1 {
                pause = self.client.timeouts().retry;
            }
            tracing::debug!(layer = %self.descriptor.digest, received = self.received, "resuming");
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2);
        }
    }

    /// Fetches what is missing, over one connection.
    async fn send_rest(&mut self) -> Result<(), PullError> {
        let size = self.descriptor.size;
        if self.received == size {
            return Ok(());
        }
        let path = format!("blobs/{}", self.descriptor.digest);
        let reference = self.reference;
        let request = Request { reference, path: &path, accept: None, start: self.received };
        let mut response = self.client.get(request).await?;
        let mut skip = self.start_of(&response)?;
        let host = self.client.host(reference);
        while self.received < size {
            let Some(mut piece) = self.client.chunk(&mut response, &host).await? else {
                let received = self.received;
                return Err(PullError::BrokeOff { host, received, size });
            };
            let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
            if skip >= length {
                skip -= length;
                continue;
            }
            let _ = piece.split_to(usize::try_from(std::mem::take(&mut skip)).unwrap_or_default());
            self.send(piece).await?;
        }
        // C13: more than the manifest says.
        match self.client.chunk(&mut response, &host).await {
            Ok(Some(_)) => Err(self.differs()),
            // All that was asked for is here, however the connection ends.
            Ok(None) | Err(_) => Ok(()),
        }
    }

    /// How many bytes of the response were received already.
    fn start_of(&self, response: &Response) -> Result<u64, PullError> {
        let expected = self.descriptor.size;
        if response.status() == StatusCode::PARTIAL_CONTENT {
            let range = response.headers().get(CONTENT_RANGE).and_then(|v| v.to_str().ok());
            let start = range.and_then(parse_range_start);
            return if start == Some(self.received) { Ok(0) } else { Err(self.differs()) };
        }
        // C13: a wrong Content-Length.
        if response.content_length().is_some_and(|l| l != expected) {
            return Err(self.differs());
        }
        Ok(self.received)
    }

    async fn send(&mut self, piece: Bytes) -> Result<(), PullError> {
        let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        self.received = self.received.saturating_add(length);
        if self.received > self.descriptor.size {
            return Err(self.differs());
        }
        self.progress.add_bytes(length);
        self.sender.send(Ok(piece)).await.map_err(|_| PullError::Thread)
    }

    fn differs(&self) -> PullError {
        PullError::Digest { what: "layer", expected: self.descriptor.digest }
    }
}

/// The first byte of `bytes <first>-<last>/<size>`.
fn parse_range_start(header: &str) -> Option<u64> {
    let (first, _) = header.strip_prefix("bytes ")?.split_once('-')?;
    first.bytes().all(|b| b.is_ascii_digit()).then_some(first)?.parse().ok()
}

/// Most pieces on their way; one has at most about 400 KiB.
const PIECES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        assert_eq!(parse_range_start("bytes 5-9/10"), Some(5));
        for text in ["", "bytes */10", "bytes -5", "5-9/10", "bytes +5-9/10"] {
            assert_eq!(parse_range_start(text), None, "{text}");
        }
    }
}
