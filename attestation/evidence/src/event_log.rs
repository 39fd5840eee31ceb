// SPDX-License-Identifier: Apache-2.0
//! Event logs: what a guest says was measured into its registers, in the order of the measurements.
//!
//! A log proves nothing by itself. Its digests, replayed, must give the registers that hardware
//! signed; and an event's text is worth something only where the digest is of that text. Which
//! kinds are, `casemate-verifier` knows.
//!
//! Two forms are read: TCG's crypto-agile form, as firmware leaves it in the CCEL table (TCG PC
//! Client Platform Firmware Profile, section 10; UEFI Specification, section 38.4), and the JSON of
//! dstack.

mod dstack;
mod kind;
mod tcg;

pub use kind::EventKind;

/// Largest log that is read, bytes.
pub const MAX_LOG_BYTES: usize = 4 << 20;

/// Most events in a log.
pub const MAX_EVENTS: usize = 16 << 10;

/// A well-formed event log. Says nothing about who made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLog {
    bytes: Vec<u8>,
    events: Vec<Event>,
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Where it went: 0 is MRTD, 1 to 4 are RTMR0 to RTMR3 (UEFI Specification, table 38.5).
    pub register: u32,
    /// What kind of event.
    pub kind: EventKind,
    /// One digest for each algorithm of the log.
    pub digests: Vec<EventDigest>,
    /// The event's own name, which only dstack's form has.
    pub name: Option<String>,
    /// What comes with the event. Whether the digest is of it depends on the kind.
    pub data: Vec<u8>,
}

/// A digest of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventDigest {
    /// The algorithm (TCG Algorithm Registry).
    pub algorithm: u16,
    /// The digest.
    pub bytes: Vec<u8>,
}

impl EventLog {
    /// Reads a log in TCG's form, with or without the unused rest of its table.
    ///
    /// # Errors
    ///
    /// [`EventLogError`] when it is malformed, too large, or something other than unused space
    /// follows the last event.
    pub fn parse(bytes: &[u8]) -> Result<Self, EventLogError> {
        if bytes.len() > MAX_LOG_BYTES {
            return Err(EventLogError::TooLarge);
        }
        Ok(Self { events: tcg::events(bytes)?, bytes: bytes.to_vec() })
    }

    /// Reads a log in dstack's form: a JSON list of events.
    ///
    /// # Errors
    ///
    /// [`EventLogError`] when it is malformed, too large, or has a register that is none.
    pub fn from_dstack_json(json: &str) -> Result<Self, EventLogError> {
        if json.len() > MAX_LOG_BYTES {
            return Err(EventLogError::TooLarge);
        }
        Ok(Self { events: dstack::events(json)?, bytes: json.as_bytes().to_vec() })
    }

    /// The log exactly as it came.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Every event in order, without the one that describes the log.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }
}

impl Event {
    /// The SHA-384 digest, which is the one that RTMRs are extended with.
    #[must_use]
    pub fn sha384(&self) -> Option<&[u8; 48]> {
        let digest = self.digests.iter().find(|digest| digest.algorithm == SHA384)?;
        digest.bytes.as_slice().try_into().ok()
    }
}

/// Why bytes are no event log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventLogError {
    /// Over [`MAX_LOG_BYTES`] or [`MAX_EVENTS`].
    #[error("an event log is larger than {MAX_LOG_BYTES} bytes or {MAX_EVENTS} events")]
    TooLarge,
    /// It ends inside an event.
    #[error("an event log is cut short at offset {offset:#x}")]
    Truncated {
        /// Offset of the field, bytes.
        offset: usize,
    },
    /// The first event does not describe the log.
    #[error("an event log does not begin with a Spec ID event of the crypto-agile form")]
    SpecId,
    /// The log's algorithms are none, too many, twice the same, or of another size than theirs.
    #[error("an event log names unusable digest algorithms")]
    Algorithms,
    /// An event has not one digest for each algorithm of the log.
    #[error("the event at offset {offset:#x} has not one digest for each algorithm")]
    Digests {
        /// Offset of the event, bytes.
        offset: usize,
    },
    /// Something other than unused space follows the last event.
    #[error("something other than unused space follows the log at offset {offset:#x}")]
    Trailing {
        /// Where the log ends, bytes.
        offset: usize,
    },
    /// Malformed JSON, or a member is unknown, missing or duplicate.
    #[error("the event log is malformed JSON")]
    Json {
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// An event of the JSON form has an impossible register, digest or payload.
    #[error("event {index} has an impossible {member}")]
    Member {
        /// Number of the event.
        index: usize,
        /// Which member.
        member: &'static str,
    },
}

/// TPM_ALG_SHA384.
const SHA384: u16 = 0x000C;

#[cfg(test)]
mod tests;
