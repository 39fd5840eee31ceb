// SPDX-License-Identifier: Apache-2.0
//! Evidence JSON of the KBS protocol for `"tee": "tdx"`: a quote and the log of what was measured.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

use super::quote::MAX_QUOTE_BYTES;
use super::quote::Quote;
use super::quote::QuoteError;
use crate::event_log::EventLog;
use crate::event_log::EventLogError;
use crate::event_log::MAX_LOG_BYTES;

/// A quote and the event log that came with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The quote.
    pub quote: Quote,
    /// What the guest says was measured; `None` when it gave no log.
    pub event_log: Option<EventLog>,
}

impl Evidence {
    /// Evidence of a quote alone.
    #[must_use]
    pub fn of_quote(quote: Quote) -> Self {
        Self { quote, event_log: None }
    }

    /// Reads evidence JSON: `{"quote": base64, "cc_eventlog": null | base64}`.
    ///
    /// # Errors
    ///
    /// [`WireError`] when the JSON is malformed, has an unknown or duplicate member, or quote or
    /// log is malformed.
    pub fn from_json(json: &str) -> Result<Self, WireError> {
        let wire: WireEvidence =
            serde_json::from_str(json).map_err(|source| WireError::Json { source })?;
        let quote = decode(&wire.quote, MAX_QUOTE_BYTES)?;
        let quote = Quote::parse(&quote).map_err(|source| WireError::Quote { source })?;
        let event_log = match wire.cc_eventlog {
            Some(text) => {
                let bytes = decode(&text, MAX_LOG_BYTES)?;
                Some(EventLog::parse(&bytes).map_err(|source| WireError::EventLog { source })?)
            }
            None => None,
        };
        Ok(Self { quote, event_log })
    }

    /// Writes evidence JSON in the ecosystem's form.
    ///
    /// # Errors
    ///
    /// [`WireError::Json`] when it cannot be written, which no value of this type causes.
    pub fn to_json(&self) -> Result<Value, WireError> {
        let wire = WireEvidence {
            quote: STANDARD.encode(self.quote.as_bytes()),
            cc_eventlog: self.event_log.as_ref().map(|log| STANDARD.encode(log.as_bytes())),
        };
        serde_json::to_value(wire).map_err(|source| WireError::Json { source })
    }
}

/// Why JSON is no TDX evidence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// Malformed, or a member is unknown, missing or duplicate.
    #[error("the evidence is malformed JSON")]
    Json {
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A member is not base64, or too large.
    #[error("a member of the evidence is not base64 or too large")]
    Base64,
    /// The quote is malformed.
    #[error("the evidence holds a malformed quote")]
    Quote {
        /// Why.
        #[source]
        source: QuoteError,
    },
    /// The event log is malformed.
    #[error("the evidence holds a malformed event log")]
    EventLog {
        /// Why.
        #[source]
        source: EventLogError,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct WireEvidence {
    #[serde(default)]
    cc_eventlog: Option<String>,
    quote: String,
}

fn decode(text: &str, most: usize) -> Result<Vec<u8>, WireError> {
    // Four characters stand for three bytes.
    if text.len().div_euclid(4).saturating_mul(3) > most.saturating_add(3) {
        return Err(WireError::Base64);
    }
    STANDARD.decode(text).map_err(|_| WireError::Base64)
}

#[cfg(test)]
mod tests;
