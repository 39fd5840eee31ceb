// SPDX-License-Identifier: Apache-2.0
//! Watches the bytes of a stream of calls for what reaches no method: unknown calls and services,
//! malformed requests, and frames that no client of this API sends.
//!
//! The bytes go on to ttrpc unchanged, which answers unknown calls and malformed requests itself. At
//! a frame that breaks the protocol the stream ends.

use std::collections::HashMap;
use std::collections::HashSet;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use ttrpc::Request;
use ttrpc::asynchronous::Service;
use ttrpc::proto::Codec;
use ttrpc::proto::MESSAGE_HEADER_LENGTH;
use ttrpc::proto::MESSAGE_TYPE_REQUEST;

use super::Call;
use super::Outcome;
use super::Witness;
use crate::code::Code;
use crate::request::MAX_REQUEST;
use crate::status::ApiError;

/// Most bytes of a frame: a request of the largest size, and what ttrpc adds to it.
pub const MAX_FRAME: u32 = 2 * 1024 * 1024;

/// The calls that exist, by service.
#[derive(Debug, Default)]
pub(super) struct Methods(HashMap<String, HashSet<String>>);

impl Methods {
    pub(super) fn of(services: &HashMap<String, Service>) -> Self {
        let methods = |service: &Service| {
            service.methods.keys().chain(service.streams.keys()).cloned().collect()
        };
        Self(services.iter().map(|(name, service)| (name.clone(), methods(service))).collect())
    }

    /// The name under which a request that no method sees is told; `None` when one sees it.
    fn unknown(&self, request: &Request) -> Option<String> {
        match self.0.get(&request.service) {
            Some(methods) if methods.contains(&request.method) => None,
            Some(_) => Some(shortened(&request.method)),
            None => Some(format!("{}/{}", shortened(&request.service), shortened(&request.method))),
        }
    }
}

/// A stream whose frames are watched.
pub(super) struct Watched<S> {
    inner: S,
    frames: Frames,
}

impl<S> Watched<S> {
    pub(super) fn new(inner: S, methods: Arc<Methods>, witness: Arc<dyn Witness>) -> Self {
        let frames = Frames { methods, witness, state: State::new() };
        Self { inner, frames }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        let fresh = buf.filled().get(before..).unwrap_or_default();
        Poll::Ready(
            this.frames
                .feed(fresh)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string())),
        )
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

/// Follows the frames of one direction.
struct Frames {
    methods: Arc<Methods>,
    witness: Arc<dyn Witness>,
    state: State,
}

enum State {
    /// Bytes of a header that have come.
    Header(Vec<u8>),
    /// Bytes of a payload that have come, and how many it has.
    Payload(Vec<u8>, usize),
    /// After a frame that broke the protocol.
    Broken,
}

impl State {
    fn new() -> Self {
        Self::Header(Vec::with_capacity(MESSAGE_HEADER_LENGTH))
    }
}

impl Frames {
    fn feed(&mut self, mut bytes: &[u8]) -> Result<(), FrameError> {
        while !bytes.is_empty() {
            match &mut self.state {
                State::Broken => return Err(FrameError::Before),
                State::Header(header) => {
                    take(&mut bytes, header, MESSAGE_HEADER_LENGTH);
                    if let Ok(whole) = <[u8; MESSAGE_HEADER_LENGTH]>::try_from(header.as_slice()) {
                        let length = check(&whole).inspect_err(|error| {
                            tell(&*self.witness, String::new(), error);
                        });
                        match length {
                            Ok(length) => self.state = State::Payload(Vec::new(), length),
                            Err(error) => {
                                self.state = State::Broken;
                                return Err(error);
                            }
                        }
                        self.finish();
                    }
                }
                State::Payload(payload, length) => {
                    take(&mut bytes, payload, *length);
                    self.finish();
                }
            }
        }
        Ok(())
    }

    /// Looks at the payload if it is whole.
    fn finish(&mut self) {
        let State::Payload(payload, length) = &self.state else { return };
        if payload.len() < *length {
            return;
        }
        match <Request as Codec>::decode(payload) {
            Err(_) => tell(&*self.witness, String::new(), FrameError::NoRequest),
            Ok(request) => {
                if let Some(name) = self.methods.unknown(&request) {
                    tell(&*self.witness, name, FrameError::UnknownCall);
                }
            }
        }
        self.state = State::new();
    }
}

/// Moves bytes until `to` has `length` of them.
fn take(from: &mut &[u8], to: &mut Vec<u8>, length: usize) {
    let wanted = length.saturating_sub(to.len()).min(from.len());
    let (taken, rest) = from.split_at_checked(wanted).unwrap_or((*from, &[]));
    to.extend_from_slice(taken);
    *from = rest;
}

/// A24: the length of the payload, if the header is one of a request.
fn check(header: &[u8; MESSAGE_HEADER_LENGTH]) -> Result<usize, FrameError> {
    let [l0, l1, l2, l3, _, _, _, stream, kind, _] = *header;
    let length = u32::from_be_bytes([l0, l1, l2, l3]);
    if kind != MESSAGE_TYPE_REQUEST {
        return Err(FrameError::Kind);
    }
    if stream % 2 != 1 {
        return Err(FrameError::Stream);
    }
    if length > MAX_FRAME {
        return Err(FrameError::TooLong);
    }
    usize::try_from(length).map_err(|_| FrameError::TooLong)
}

fn tell(witness: &dyn Witness, name: String, error: impl std::fmt::Display) {
    let name = if name.is_empty() { "?".to_owned() } else { name };
    let error = ApiError::new(Code::RequestInvalid, format_args!("request: {error}"));
    witness.witness(Call { name, names: Vec::new(), outcome: Outcome::Refused(error) });
}

fn shortened(name: &str) -> String {
    name.chars().take(MAX_NAME_CHARS).collect()
}

/// What is wrong with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum FrameError {
    #[error("a frame that is no request")]
    Kind,
    #[error("a stream number that is not a client's")]
    Stream,
    #[error("over the cap of {MAX_FRAME}")]
    TooLong,
    #[error("malformed")]
    NoRequest,
    #[error("there is no such call")]
    UnknownCall,
    #[error("the stream has ended")]
    Before,
}

/// Characters of a name that are kept.
const MAX_NAME_CHARS: usize = 64;

const _: () = assert!(MAX_REQUEST < 2 * 1024 * 1024);

#[cfg(test)]
mod tests;
