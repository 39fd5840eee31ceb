// SPDX-License-Identifier: Apache-2.0
//! TCG's crypto-agile form: a Spec ID event in the older form, then events with one digest for each
//! algorithm that it names.

use super::Event;
use super::EventDigest;
use super::EventKind;
use super::EventLogError;
use super::MAX_EVENTS;

pub(super) fn events(bytes: &[u8]) -> Result<Vec<Event>, EventLogError> {
    let mut input = Input { bytes, at: 0 };
    let algorithms = Algorithms::read(&mut input)?;
    let mut events = Vec::new();
    while !input.is_at_end()? {
        if events.len() == MAX_EVENTS {
            return Err(EventLogError::TooLarge);
        }
        events.push(event(&mut input, &algorithms)?);
    }
    Ok(events)
}

fn event(input: &mut Input<'_>, algorithms: &Algorithms) -> Result<Event, EventLogError> {
    let offset = input.at;
    let (register, kind) = (input.u32()?, EventKind(input.u32()?));
    let count = input.u32()?;
    if usize::try_from(count).ok() != Some(algorithms.0.len()) {
        return Err(EventLogError::Digests { offset });
    }
    let mut digests: Vec<EventDigest> = Vec::with_capacity(algorithms.0.len());
    for _ in &algorithms.0 {
        let algorithm = input.u16()?;
        let size = algorithms.size(algorithm).ok_or(EventLogError::Digests { offset })?;
        if digests.iter().any(|digest| digest.algorithm == algorithm) {
            return Err(EventLogError::Digests { offset });
        }
        digests.push(EventDigest { algorithm, bytes: input.take(size)?.to_vec() });
    }
    let data = input.prefixed()?.to_vec();
    Ok(Event { register, kind, digests, name: None, data })
}

/// The digest algorithms of a log, each with its size.
struct Algorithms(Vec<(u16, usize)>);

impl Algorithms {
    /// Reads the first event (TCG_PCClientPCREvent with TCG_EfiSpecIdEvent).
    fn read(input: &mut Input<'_>) -> Result<Self, EventLogError> {
        let _register = input.u32()?;
        let kind = EventKind(input.u32()?);
        let sha1 = input.take(20)?;
        if kind != EventKind::NO_ACTION || sha1.iter().any(|byte| *byte != 0) {
            return Err(EventLogError::SpecId);
        }
        let data = input.prefixed()?;
        Self::from_spec_id(data).map_err(|error| match error {
            EventLogError::Truncated { .. } => EventLogError::SpecId,
            other => other,
        })
    }

    fn from_spec_id(data: &[u8]) -> Result<Self, EventLogError> {
        let mut input = Input { bytes: data, at: 0 };
        if input.take(SIGNATURE.len())? != SIGNATURE {
            return Err(EventLogError::SpecId);
        }
        // Platform class, version, errata and size of UINTN change nothing about the layout.
        let _ = input.take(8)?;
        let count = input.u32()?;
        if !(1..=MAX_ALGORITHMS).contains(&count) {
            return Err(EventLogError::Algorithms);
        }
        let mut algorithms = Self(Vec::new());
        for _ in 0..count {
            let (algorithm, size) = (input.u16()?, usize::from(input.u16()?));
            let fits = match known_size(algorithm) {
                Some(known) => size == known,
                None => (1..=MAX_DIGEST_BYTES).contains(&size),
            };
            if !fits || algorithms.size(algorithm).is_some() {
                return Err(EventLogError::Algorithms);
            }
            algorithms.0.push((algorithm, size));
        }
        let [vendor_bytes] = input.take(1)? else { return Err(EventLogError::SpecId) };
        let _ = input.take(usize::from(*vendor_bytes))?;
        if input.at == data.len() { Ok(algorithms) } else { Err(EventLogError::SpecId) }
    }

    fn size(&self, algorithm: u16) -> Option<usize> {
        self.0.iter().find_map(|(known, size)| (*known == algorithm).then_some(*size))
    }
}

/// Size of a digest (TCG Algorithm Registry), bytes.
fn known_size(algorithm: u16) -> Option<usize> {
    match algorithm {
        0x0004 => Some(20),          // SHA-1
        0x000B | 0x0012 => Some(32), // SHA-256, SM3
        0x000C => Some(48),          // SHA-384
        0x000D => Some(64),          // SHA-512
        _ => None,
    }
}

/// Reads forward and never beyond its bytes.
struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], EventLogError> {
        let end = self.at.checked_add(count);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or(EventLogError::Truncated { offset: self.at })?;
        self.at = self.at.saturating_add(count);
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], EventLogError> {
        let offset = self.at;
        self.take(N)?.try_into().map_err(|_| EventLogError::Truncated { offset })
    }

    fn u16(&mut self) -> Result<u16, EventLogError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, EventLogError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Bytes behind their length, 32 bits.
    fn prefixed(&mut self) -> Result<&'a [u8], EventLogError> {
        let offset = self.at;
        let count = self.u32()?;
        self.take(usize::try_from(count).map_err(|_| EventLogError::Truncated { offset })?)
    }

    /// Whether only unused space is left, which firmware fills with ones or with zeros.
    fn is_at_end(&self) -> Result<bool, EventLogError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let head = rest.get(..UNUSED_BYTES).unwrap_or(rest);
        let Some(first) = head.first().filter(|byte| [0x00, 0xFF].contains(*byte)) else {
            return Ok(rest.is_empty());
        };
        if head.iter().any(|byte| byte != first) {
            return Ok(false);
        }
        // D7: no event is hidden behind the end.
        if rest.iter().all(|byte| byte == first) {
            Ok(true)
        } else {
            Err(EventLogError::Trailing { offset: self.at })
        }
    }
}

/// Register and kind of an event: no event has only zeros or only ones there.
const UNUSED_BYTES: usize = 8;
const SIGNATURE: &[u8; 16] = b"Spec ID Event03\0";
/// Most algorithms of one log; TCG's registry has fewer that firmware uses.
const MAX_ALGORITHMS: u32 = 8;
const MAX_DIGEST_BYTES: usize = 64;
