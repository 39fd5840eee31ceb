// SPDX-License-Identifier: Apache-2.0
//! Run-time measurement registers.

use std::fmt;

use casemate_boot_formats::pe::PeImage;

use crate::snp::sha384;

/// The digest of one event, as an event log holds it and a register takes it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventDigest(pub [u8; 48]);

impl EventDigest {
    /// SHA-384 of the measured bytes.
    #[must_use]
    pub fn of(data: &[u8]) -> Self {
        Self(sha384(&[data]))
    }
}

impl From<&PeImage<'_>> for EventDigest {
    /// The Authenticode digest of a kernel or another EFI application.
    fn from(image: &PeImage<'_>) -> Self {
        Self(image.sha384())
    }
}

/// A run-time measurement register (RTMR). It starts as zeros, and each event makes it SHA-384 of
/// the register and the event's digest.
///
/// Source: Intel, TDX Module Base Architecture Specification, TDG.MR.RTMR.EXTEND.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rtmr([u8; 48]);

impl Rtmr {
    /// A register before its first event.
    #[must_use]
    pub const fn new() -> Self {
        Self([0; 48])
    }

    /// Takes a register's value, for instance to continue it.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 48]) -> Self {
        Self(bytes)
    }

    /// The value as it stands in a TD report.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 48] {
        &self.0
    }

    /// Extends the register by one event.
    pub fn extend(&mut self, event: &EventDigest) {
        self.0 = sha384(&[&self.0, &event.0]);
    }

    /// The value after all events of a log, in order.
    #[must_use]
    pub fn replay<'e>(log: impl IntoIterator<Item = &'e EventDigest>) -> Self {
        let mut register = Self::new();
        log.into_iter().for_each(|event| register.extend(event));
        register
    }
}

impl Default for Rtmr {
    fn default() -> Self {
        Self::new()
    }
}

/// Writes 96 hexadecimal digits.
impl fmt::Display for EventDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for EventDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "EventDigest({self})")
    }
}

/// Writes 96 hexadecimal digits.
impl fmt::Display for Rtmr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Rtmr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Rtmr({self})")
    }
}
