// SPDX-License-Identifier: Apache-2.0
//! An event log of the firmware, and what its digests replay to.
//!
//! Source: TCG PC Client Platform Firmware Profile, section 10; registers are numbered as in the
//! UEFI Specification, section 38.4.1: 1 is RTMR0.

use ring::digest::{Context, SHA384, digest};

use crate::mint::MintError;

/// A log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EventLog {
    pub(super) events: Vec<Event>,
    /// Bytes behind the last event.
    pub(super) rest: Vec<u8>,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) register: u32,
    pub(super) kind: u32,
    /// How many digests the event claims to have; it has one.
    pub(super) count: u32,
    pub(super) digest: [u8; 48],
    pub(super) data: Vec<u8>,
}

impl EventLog {
    /// What a firmware and a boot loader measure: events whose digest is of their text, and one
    /// whose digest is of something that is not in the log.
    pub(super) fn good() -> Self {
        let events = vec![
            Event::of_text(1, VARIABLE_DRIVER_CONFIG, &variable("SecureBoot", &[0])),
            Event::of_text(1, SEPARATOR, &[0; 4]),
            Event::of_text(2, EFI_ACTION, b"Calling EFI Application from Boot Option"),
            Event::of_text(2, SEPARATOR, &[0; 4]),
            // The digest is of the kernel's image.
            Event::of_other(3, IPL, b"/boot/vmlinuz\0", b"simulated kernel"),
            Event::of_text(2, EFI_ACTION, b"Exit Boot Services Invocation"),
            Event::of_text(2, EFI_ACTION, b"Exit Boot Services Returned with Success"),
        ];
        Self { events, rest: vec![0xff; 64] }
    }

    /// RTMR0 to RTMR3 after all events.
    pub(super) fn replay(&self) -> [[u8; 48]; 4] {
        let mut rtmrs = [[0; 48]; 4];
        for event in &self.events {
            let register = usize::try_from(event.register).unwrap_or_default();
            let Some(rtmr) = register.checked_sub(1).and_then(|index| rtmrs.get_mut(index)) else {
                continue;
            };
            let mut context = Context::new(&SHA384);
            context.update(rtmr);
            context.update(&event.digest);
            copy(rtmr, context.finish().as_ref());
        }
        rtmrs
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, MintError> {
        let mut bytes = Vec::new();
        spec_id(&mut bytes);
        for event in &self.events {
            for number in [event.register, event.kind, event.count] {
                bytes.extend(number.to_le_bytes());
            }
            bytes.extend(SHA384_ID.to_le_bytes());
            bytes.extend(event.digest);
            let length = u32::try_from(event.data.len());
            let length = length.map_err(|_| MintError::TooLong { what: "an event" })?;
            bytes.extend(length.to_le_bytes());
            bytes.extend(&event.data);
        }
        bytes.extend(&self.rest);
        Ok(bytes)
    }
}

impl Event {
    /// An event whose digest is of its text.
    pub(super) fn of_text(register: u32, kind: u32, data: &[u8]) -> Self {
        Self::of_other(register, kind, data, data)
    }

    fn of_other(register: u32, kind: u32, data: &[u8], measured: &[u8]) -> Self {
        let mut sha384 = [0; 48];
        copy(&mut sha384, digest(&SHA384, measured).as_ref());
        Self { register, kind, count: 1, digest: sha384, data: data.to_vec() }
    }
}

/// The event that names the log's form and algorithms, in the older form of events.
fn spec_id(bytes: &mut Vec<u8>) {
    let mut data = b"Spec ID Event03\0".to_vec();
    data.extend([0, 0, 0, 0]); // platform class: client
    data.extend([0, 2, 0, 2]); // version 2.0, errata 0, UINTN of 64 bits
    data.extend(1_u32.to_le_bytes());
    data.extend(SHA384_ID.to_le_bytes());
    data.extend(48_u16.to_le_bytes());
    data.push(0); // no vendor information
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend(NO_ACTION.to_le_bytes());
    bytes.extend([0; 20]);
    bytes.extend(u32::try_from(data.len()).unwrap_or_default().to_le_bytes());
    bytes.extend(data);
}

/// UEFI_VARIABLE_DATA of a global variable.
fn variable(name: &str, data: &[u8]) -> Vec<u8> {
    let units: Vec<u16> = name.encode_utf16().collect();
    let mut bytes = GLOBAL_VARIABLE.to_vec();
    for length in [units.len(), data.len()] {
        bytes.extend(u64::try_from(length).unwrap_or_default().to_le_bytes());
    }
    bytes.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
    bytes.extend(data);
    bytes
}

fn copy(to: &mut [u8; 48], from: &[u8]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
}

pub(super) const EFI_ACTION: u32 = 0x8000_0007;
const VARIABLE_DRIVER_CONFIG: u32 = 0x8000_0001;
const NO_ACTION: u32 = 3;
const SEPARATOR: u32 = 4;
const IPL: u32 = 13;
const SHA384_ID: u16 = 0x000c;
/// EFI_GLOBAL_VARIABLE, 8be4df61-93ca-11d2-aa0d-00e098032b8c.
const GLOBAL_VARIABLE: [u8; 16] = [
    0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c,
];
