// SPDX-License-Identifier: Apache-2.0
//! The list of memory resources that QEMU hands to a TD's firmware (TD HOB).
//!
//! OVMF measures it to RTMR 0, so RTMR 0 depends on the size of the RAM. Sources: UEFI Platform
//! Initialization Specification, volume 3 (hand-off blocks); QEMU, `hw/i386/tdvf-hob.c`. Hardware
//! logs of guests with 2 and 64 GiB cover it.

use crate::plan::TdxPlan;
use crate::plan::TdxSectionKind;

/// Largest accepted size of RAM in bytes: 16 TiB.
const MAX_RAM: u64 = 1 << 44;

/// Writes the list for a guest with so much RAM (bytes, whole pages) on QEMU's machine q35.
///
/// # Errors
///
/// A size of RAM that is not whole pages, too small for the firmware's sections or too large.
pub fn memory_hob(plan: &TdxPlan<'_>, ram: u64) -> Result<Vec<u8>, HobError> {
    if !ram.is_multiple_of(4096) || ram > MAX_RAM {
        return Err(HobError::BadRamSize { ram });
    }
    let low_end = if ram >= SPLIT_AT { LOW_RAM_WHEN_SPLIT } else { ram };
    let mut accepted: Vec<(u64, u64)> = plan
        .sections()
        .iter()
        .filter(|section| {
            matches!(section.kind(), TdxSectionKind::Hob | TdxSectionKind::TempMemory)
        })
        .map(|section| (section.gpa(), section.end()))
        .collect();
    accepted.sort_unstable();
    if accepted.last().is_some_and(|(_, end)| *end > low_end) {
        return Err(HobError::SectionOutsideRam { ram });
    }

    let mut resources = Vec::new();
    let mut next = 0_u64;
    for (start, end) in accepted {
        if start > next {
            resources.push((UNACCEPTED_MEMORY, next, start));
        }
        resources.push((SYSTEM_MEMORY, start, end));
        next = end;
    }
    if low_end > next {
        resources.push((UNACCEPTED_MEMORY, next, low_end));
    }
    if ram > low_end {
        let high_end = FOUR_GIB.saturating_add(ram.saturating_sub(low_end));
        resources.push((UNACCEPTED_MEMORY, FOUR_GIB, high_end));
    }

    let length = HANDOFF_SIZE
        .saturating_add(RESOURCE_SIZE.saturating_mul(u64::try_from(resources.len()).unwrap_or(0)));
    let end_of_list = plan.hob_address().saturating_add(length).saturating_add(END_SIZE);
    let mut hob = handoff(end_of_list);
    for (kind, start, end) in resources {
        put_resource(&mut hob, kind, start, end.saturating_sub(start));
    }
    Ok(hob)
}

/// Why there is no list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HobError {
    /// Not whole pages, or more than 16 TiB.
    #[error("a guest cannot have {ram} bytes of RAM")]
    BadRamSize {
        /// Size in bytes.
        ram: u64,
    },
    /// The firmware's sections lie outside the RAM.
    #[error("{ram} bytes of RAM do not hold the firmware's sections")]
    SectionOutsideRam {
        /// Size in bytes.
        ram: u64,
    },
}

/// The block at the head of the list: type 1, 56 bytes, version 9, and zeros but for the list's end.
fn handoff(end_of_list: u64) -> Vec<u8> {
    let mut block = vec![1, 0, 56, 0, 0, 0, 0, 0];
    block.extend_from_slice(&9_u32.to_le_bytes());
    block.extend_from_slice(&[0; 36]);
    block.extend_from_slice(&end_of_list.to_le_bytes());
    block
}

/// A resource: type 3, 48 bytes, no owner; present, initialised and tested.
fn put_resource(hob: &mut Vec<u8>, kind: u32, start: u64, length: u64) {
    hob.extend_from_slice(&[3, 0, 48, 0, 0, 0, 0, 0]);
    hob.extend_from_slice(&[0; 16]);
    hob.extend_from_slice(&kind.to_le_bytes());
    hob.extend_from_slice(&7_u32.to_le_bytes());
    hob.extend_from_slice(&start.to_le_bytes());
    hob.extend_from_slice(&length.to_le_bytes());
}

const SYSTEM_MEMORY: u32 = 0;
const UNACCEPTED_MEMORY: u32 = 7;
const HANDOFF_SIZE: u64 = 56;
const RESOURCE_SIZE: u64 = 48;
const END_SIZE: u64 = 8;
/// q35 leaves a hole below 4 GiB when it has so much RAM, and then keeps 2 GiB below the hole.
const SPLIT_AT: u64 = 0xb000_0000;
const LOW_RAM_WHEN_SPLIT: u64 = 0x8000_0000;
const FOUR_GIB: u64 = 1 << 32;
