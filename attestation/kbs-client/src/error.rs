// SPDX-License-Identifier: Apache-2.0
//! Why an attestation or a resource failed.

use std::fmt;

use casemate_agent_api::Code;
use casemate_kbs_protocol::BindingError;
use casemate_kbs_protocol::JweError;
use casemate_kbs_protocol::ResourceUri;

/// What the client was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `POST /auth`
    Auth,
    /// `POST /attest`
    Attest,
    /// `GET /resource/…`
    Resource,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auth => "ask the broker for a challenge",
            Self::Attest => "present the evidence to the broker",
            Self::Resource => "fetch a resource from the broker",
        })
    }
}

/// Why an attestation or a resource failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No connection, no answer in time, or it broke off.
    #[error("failed to {operation}: no answer")]
    Unreachable {
        /// What was tried.
        operation: Operation,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// Who answered does not hold a certificate of the pinned CA for this name.
    #[error("failed to {operation}: its certificate is not of the CA in the initdata")]
    Untrusted {
        /// What was tried.
        operation: Operation,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The broker is overloaded or failed; trying again later may help.
    #[error("failed to {operation}: it answered {status}")]
    Busy {
        /// What was tried.
        operation: Operation,
        /// HTTP status.
        status: u16,
    },
    /// The TEE device gave no evidence.
    #[error("failed to get evidence from the TEE")]
    Evidence {
        /// Why.
        #[source]
        source: EvidenceError,
    },
    /// The broker does not accept the evidence.
    #[error("the broker refused the evidence: {detail}")]
    Refused {
        /// The broker's words, one short printable line.
        detail: String,
    },
    /// The broker accepts the evidence but not this request.
    #[error("the broker denied {uri}: {detail}")]
    Denied {
        /// Which resource.
        uri: ResourceUri,
        /// The broker's words.
        detail: String,
    },
    /// The resource does not exist.
    #[error("the broker has no {uri}: {detail}")]
    Missing {
        /// Which resource.
        uri: ResourceUri,
        /// The broker's words.
        detail: String,
    },
    /// The broker's answer is over its cap.
    #[error("failed to {operation}: the answer is larger than {cap} bytes")]
    ReplyTooLarge {
        /// What was tried.
        operation: Operation,
        /// The cap, bytes.
        cap: usize,
    },
    /// The broker's answer does not follow the protocol.
    #[error("failed to {operation}: {what}")]
    Protocol {
        /// What was tried.
        operation: Operation,
        /// What is wrong.
        what: &'static str,
    },
    /// The reply does not open with the session's key.
    #[error("failed to open {uri}")]
    Sealed {
        /// Which resource.
        uri: ResourceUri,
        /// Why.
        #[source]
        source: JweError,
    },
    /// Nonce and key could not be bound.
    #[error("failed to bind the session's key to the evidence")]
    Binding {
        /// Why.
        #[source]
        source: BindingError,
    },
    /// The system gave no randomness for the session's key.
    #[error("failed to make the session's key")]
    Key,
}

impl ClientError {
    /// The stable code that the host and the pod's owner see.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Busy { .. } => Code::BrokerBusy,
            Self::Unreachable { .. } | Self::ReplyTooLarge { .. } | Self::Protocol { .. } => {
                Code::BrokerUnreachable
            }
            Self::Untrusted { .. } => Code::BrokerUntrusted,
            Self::Evidence { source } => source.code,
            Self::Refused { .. } => Code::AttestRefused,
            Self::Denied { .. } => Code::ResourceDenied,
            Self::Missing { .. } => Code::ResourceMissing,
            // D13: sealed to another key, or altered: not the broker that was attested to.
            Self::Sealed { .. } => Code::BrokerUntrusted,
            Self::Binding { .. } | Self::Key => Code::Internal,
        }
    }

    /// Whether the same call may succeed later without a change of the pod.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Busy { .. })
    }
}

/// The TEE gave no evidence. Reads as what it was made of.
#[derive(Debug)]
pub struct EvidenceError {
    code: Code,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl fmt::Display for EvidenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl std::error::Error for EvidenceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.source()
    }
}

impl EvidenceError {
    /// No evidence because of `source`; `code` tells the pod's owner where to look.
    pub fn new(code: Code, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { code, source: source.into() }
    }
}

/// The broker's words as one short line: it is authentic, but its text ends up in messages that
/// the host prints.
pub(crate) fn printable(detail: &str) -> String {
    // A broker of this project writes code, text and next step; the error here has its own.
    let text = detail.split("; next: ").next().unwrap_or_default();
    let text = match text.split_once(": ") {
        Some((code, rest)) if code.parse::<Code>().is_ok() => rest,
        _ => text,
    };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_DETAIL_CHARS).collect()
}

/// Longest part of a broker's error text that is passed on, characters.
const MAX_DETAIL_CHARS: usize = 400;
