// SPDX-License-Identifier: Apache-2.0
//! The edge to the network: one GET at a time.

use std::error::Error;
use std::fmt;

use async_trait::async_trait;

/// Gets what is behind a URL. Who answers is not trusted: every answer is checked.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Sends one GET and reads the whole answer, following no redirect.
    ///
    /// # Errors
    ///
    /// [`TransportError`] when there is no answer, or one over the request's cap.
    async fn get(&self, request: &Request) -> Result<Response, TransportError>;
}

/// What to get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// From where.
    pub url: String,
    /// The header of the answer that holds the signer's certificates, if there is one.
    pub issuer_chain: Option<&'static str>,
    /// Largest body that is read, bytes.
    pub max_bytes: usize,
}

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Header `Retry-After`.
    pub retry_after: Option<String>,
    /// The header that the request named, as it came.
    pub issuer_chain: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

/// Largest header that is read, bytes: two certificates, URL-encoded, have about 3,000.
pub const MAX_HEADER_BYTES: usize = 16 << 10;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// No connection, none in time, or it broke off.
    #[error("no answer")]
    NoAnswer {
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// No answer in the time that the caller has.
    #[error("no answer within {seconds} s")]
    Stalled {
        /// The time.
        seconds: u64,
    },
    /// The body is over the request's cap, or the header over [`MAX_HEADER_BYTES`].
    #[error("the answer's {part} has more than {cap} bytes")]
    TooLarge {
        /// Body or header.
        part: Part,
        /// The cap, bytes.
        cap: usize,
    },
}

/// A part of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The body.
    Body,
    /// A header.
    Header,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Body => "body",
            Self::Header => "header",
        })
    }
}
