// SPDX-License-Identifier: Apache-2.0
//! dstack's form: a JSON list with one object for each event. Registers are counted from RTMR0, and
//! events of the running system carry a name and a payload that their digest is of.

use serde::Deserialize;

use super::Event;
use super::EventDigest;
use super::EventKind;
use super::EventLogError;
use super::MAX_EVENTS;
use super::SHA384;
use crate::hex_text;

pub(super) fn events(json: &str) -> Result<Vec<Event>, EventLogError> {
    let wire: Vec<WireEvent> =
        serde_json::from_str(json).map_err(|source| EventLogError::Json { source })?;
    if wire.len() > MAX_EVENTS {
        return Err(EventLogError::TooLarge);
    }
    wire.into_iter().enumerate().map(|(index, event)| event.read(index)).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireEvent {
    imr: u32,
    event_type: u32,
    digest: String,
    event: String,
    event_payload: String,
}

impl WireEvent {
    fn read(self, index: usize) -> Result<Event, EventLogError> {
        let refuse = |member| EventLogError::Member { index, member };
        if self.imr >= RTMRS {
            return Err(refuse("imr"));
        }
        // Only the log's short form leaves digests out, of events that it can be computed for.
        let digests = if self.digest.is_empty() {
            Vec::new()
        } else {
            let bytes = hex_text::bytes(&self.digest).filter(|bytes| bytes.len() == SHA384_BYTES);
            vec![EventDigest { algorithm: SHA384, bytes: bytes.ok_or(refuse("digest"))? }]
        };
        Ok(Event {
            register: self.imr.saturating_add(1),
            kind: EventKind(self.event_type),
            digests,
            name: Some(self.event),
            data: hex_text::bytes(&self.event_payload).ok_or(refuse("event_payload"))?,
        })
    }
}

const RTMRS: u32 = 4;
const SHA384_BYTES: usize = 48;
