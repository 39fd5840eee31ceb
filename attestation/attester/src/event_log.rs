// SPDX-License-Identifier: Apache-2.0
//! The firmware's event log (CCEL), cut where its events end.
//!
//! Sources: ACPI 6.5, section 5.2.34 (CCEL); TCG PC Client Platform Firmware Profile 1.05, section 10
//! (event logging).

use std::fmt;
use std::io;
use std::path::Path;

use crate::files::Files;

/// Where the kernel shows the area that the ACPI table CCEL points to.
pub const EVENT_LOG: &str = "/sys/firmware/acpi/tables/data/CCEL";

/// Largest area, in bytes: firmware reserves 64 KiB to 1 MiB and uses some 20 KiB of it.
pub const MAX_EVENT_LOG_AREA: usize = 1024 * 1024;

/// Most bytes of events, so that evidence stays below the cap of brokers.
pub const MAX_EVENT_LOG: usize = 256 * 1024;

/// Events in the form in which the firmware wrote them, without the unused rest of their area.
///
/// # Security
///
/// Whether the events are true is the relying party's to say, by the registers. Here they are only
/// told from the rest: nothing of an event is changed or left out.
#[derive(Clone, PartialEq, Eq)]
pub struct EventLog(Vec<u8>);

impl EventLog {
    /// Cuts the log out of its area.
    ///
    /// # Errors
    ///
    /// [`EventLogError`]: the area does not hold a log of this form.
    pub fn from_area(mut area: Vec<u8>) -> Result<Self, EventLogError> {
        if area.len() > MAX_EVENT_LOG_AREA {
            return Err(EventLogError::AreaTooLarge);
        }
        let len = events_len(&area)?;
        if len > MAX_EVENT_LOG {
            return Err(EventLogError::TooLong { len });
        }
        area.truncate(len);
        Ok(Self(area))
    }

    /// The log of this guest; `None` if its firmware keeps none.
    pub(crate) fn read(files: &dyn Files, path: &Path) -> Result<Option<Self>, EventLogError> {
        match files.read(path, MAX_EVENT_LOG_AREA) {
            Ok(Some(area)) => Self::from_area(area).map(Some),
            Ok(None) => Err(EventLogError::AreaTooLarge),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(EventLogError::Read { source }),
        }
    }

    /// The events.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for EventLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLog").field("bytes", &self.0.len()).finish_non_exhaustive()
    }
}

/// Why there is no event log to show.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventLogError {
    /// The area cannot be read.
    #[error("failed to read the firmware's event log")]
    Read {
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The area is larger than any firmware reserves.
    #[error("the area of the firmware's event log has more than {MAX_EVENT_LOG_AREA} bytes")]
    AreaTooLarge,
    /// The first entry is not the one that states the digests' sizes.
    #[error("the firmware's event log does not begin with a usable Spec ID event")]
    NoSpecId,
    /// An event ends behind the area.
    #[error("the event at {offset} of the firmware's event log is cut short")]
    Truncated {
        /// Where it begins.
        offset: usize,
    },
    /// An event has no digest, or more than the log states algorithms.
    #[error("the event at {offset} of the firmware's event log has {count} digests")]
    DigestCount {
        /// Where it begins.
        offset: usize,
        /// How many.
        count: u32,
    },
    /// A digest is of an algorithm that the log does not state.
    #[error("the event at {offset} of the firmware's event log has a digest of unknown size")]
    Algorithm {
        /// Where it begins.
        offset: usize,
        /// TCG algorithm identifier.
        algorithm: u16,
    },
    /// More events than are sent.
    #[error("the firmware's event log has {len} bytes, over the cap of {MAX_EVENT_LOG}")]
    TooLong {
        /// How many.
        len: usize,
    },
}

/// How many bytes of the area are events.
fn events_len(area: &[u8]) -> Result<usize, EventLogError> {
    let mut rest = Reader { bytes: area };
    let algorithms = spec_id(&mut rest).ok_or(EventLogError::NoSpecId)?;
    loop {
        let offset = area.len().saturating_sub(rest.bytes.len());
        if is_unused(rest.bytes) {
            return Ok(offset);
        }
        let truncated = EventLogError::Truncated { offset };
        skip_event(&mut rest, offset, &algorithms)?.ok_or(truncated)?;
    }
}

/// Firmware fills the area with ff or 0 beforehand. No event is of register ff…, and none is of
/// register 0 (MRTD, which nobody extends), type 0 and without digests.
fn is_unused(rest: &[u8]) -> bool {
    let mark = |fill: u8, len: usize| rest.iter().take(len).all(|byte| *byte == fill);
    mark(0xff, 4) || mark(0, 12)
}

/// Skips one event behind the first; `None` if it is cut short.
fn skip_event(
    rest: &mut Reader<'_>,
    offset: usize,
    algorithms: &[(u16, u16)],
) -> Result<Option<()>, EventLogError> {
    let Some([_register, _kind, count]) = rest.numbers() else { return Ok(None) };
    if count == 0 || usize::try_from(count).map_or(true, |count| count > algorithms.len()) {
        return Err(EventLogError::DigestCount { offset, count });
    }
    for _ in 0..count {
        let Some(algorithm) = rest.u16() else { return Ok(None) };
        let known = algorithms.iter().find(|(known, _)| *known == algorithm);
        let Some((_, size)) = known else {
            return Err(EventLogError::Algorithm { offset, algorithm });
        };
        if rest.take(usize::from(*size)).is_none() {
            return Ok(None);
        }
    }
    let Some([size]) = rest.numbers() else { return Ok(None) };
    Ok(usize::try_from(size).ok().and_then(|size| rest.take(size)).map(drop))
}

/// Reads the first entry, TCG_PCClientPCREvent with TCG_EfiSpecIDEvent: algorithms and the sizes of
/// their digests.
fn spec_id(rest: &mut Reader<'_>) -> Option<Vec<(u16, u16)>> {
    let [_register, kind] = rest.numbers()?;
    let _sha1 = rest.take(20)?;
    let [size] = rest.numbers()?;
    let mut event = Reader { bytes: rest.take(usize::try_from(size).ok()?)? };
    if kind != EV_NO_ACTION || event.take(SIGNATURE.len())? != SIGNATURE {
        return None;
    }
    // platformClass, version, errata and size of integers.
    event.take(8)?;
    let [count] = event.numbers()?;
    if !(1..=MAX_ALGORITHMS).contains(&count) {
        return None;
    }
    (0..count).map(|_| Some((event.u16()?, event.u16()?))).collect()
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(len)?;
        self.bytes = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        let (bytes, rest) = self.bytes.split_first_chunk()?;
        self.bytes = rest;
        Some(u16::from_le_bytes(*bytes))
    }

    /// Some u32 in a row.
    fn numbers<const N: usize>(&mut self) -> Option<[u32; N]> {
        let mut numbers = [0; N];
        for number in &mut numbers {
            let (bytes, rest) = self.bytes.split_first_chunk()?;
            self.bytes = rest;
            *number = u32::from_le_bytes(*bytes);
        }
        Some(numbers)
    }
}

const EV_NO_ACTION: u32 = 3;
const SIGNATURE: &[u8] = b"Spec ID Event03\0";
/// Algorithms that a log may state; firmware knows five.
const MAX_ALGORITHMS: u32 = 16;

#[cfg(test)]
mod tests;
