// SPDX-License-Identifier: Apache-2.0
//! Memory of the VM: slots, private pages, who has which.

use std::collections::BTreeSet;

use casemate_launch::abi;
use casemate_launch::abi::CreateGuestMemfd;
use casemate_launch::abi::MemoryAttributes;
use casemate_launch::abi::PAGE_SIZE;
use casemate_launch::abi::UserMemoryRegion2;

use crate::Host;
use crate::Rule;

/// The memory of one VM.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Sizes of shared mappings, by address.
    mappings: Vec<(u64, u64)>,
    /// Sizes of guest_memfds, by descriptor.
    guest_memfds: Vec<(u32, u64)>,
    slots: Vec<UserMemoryRegion2>,
    /// Ranges of addresses and whether they are private; the last one counts.
    attributes: Vec<(u64, u64, bool)>,
    /// Frames that belong to the guest.
    taken: BTreeSet<u64>,
}

impl Memory {
    /// Maps shared memory at an address that nothing else has.
    pub(crate) fn map_shared(&mut self, size: u64) -> Result<u64, Rule> {
        if size == 0 || !size.is_multiple_of(PAGE_SIZE) {
            return Err(Rule::NotWholePages);
        }
        let last = self.mappings.last().map(|(start, size)| start.saturating_add(*size));
        let start = last.unwrap_or(0x7f00_0000_0000).saturating_add(PAGE_SIZE);
        self.mappings.push((start, size));
        Ok(start)
    }

    pub(crate) fn create_guest_memfd(&mut self, create: &CreateGuestMemfd) -> Result<u32, Rule> {
        if create.flags != 0 {
            return Err(Rule::UnknownFlags);
        }
        if create.size == 0 || !create.size.is_multiple_of(PAGE_SIZE) {
            return Err(Rule::NotWholePages);
        }
        if create.reserved != [0; 6] {
            return Err(Rule::ReservedField);
        }
        let descriptor = self.guest_memfds.last().map_or(40, |(last, _)| last.saturating_add(1));
        self.guest_memfds.push((descriptor, create.size));
        Ok(descriptor)
    }

    pub(crate) fn set_region(&mut self, region: &UserMemoryRegion2) -> Result<(), Rule> {
        if region.pad1 != 0 || region.pad2 != [0; 14] {
            return Err(Rule::ReservedField);
        }
        if region.flags & !abi::MEM_GUEST_MEMFD != 0 {
            return Err(Rule::UnknownFlags);
        }
        let words = [
            region.guest_phys_addr,
            region.memory_size,
            region.userspace_addr,
            region.guest_memfd_offset,
        ];
        if region.memory_size == 0 || words.iter().any(|word| !word.is_multiple_of(PAGE_SIZE)) {
            return Err(Rule::NotWholePages);
        }
        let end = region.guest_phys_addr.checked_add(region.memory_size);
        let end = end.ok_or(Rule::NotWholePages)?;
        let clashes = |slot: &UserMemoryRegion2| {
            slot.slot == region.slot
                || (slot.guest_phys_addr < end && region.guest_phys_addr < slot_end(slot))
        };
        if self.slots.iter().any(clashes) {
            return Err(Rule::SlotTaken);
        }
        if !self
            .mappings
            .iter()
            .any(|(start, size)| inside(region.userspace_addr, region.memory_size, *start, *size))
        {
            return Err(Rule::NotMapped);
        }
        let has_private = region.flags & abi::MEM_GUEST_MEMFD != 0;
        if has_private
            && !self.guest_memfds.iter().any(|(descriptor, size)| {
                *descriptor == region.guest_memfd
                    && inside(region.guest_memfd_offset, region.memory_size, 0, *size)
            })
        {
            return Err(Rule::WrongGuestMemfd);
        }
        self.slots.push(*region);
        Ok(())
    }

    pub(crate) fn set_attributes(
        &mut self,
        host: &Host,
        set: &MemoryAttributes,
    ) -> Result<(), Rule> {
        if set.flags != 0 {
            return Err(Rule::UnknownFlags);
        }
        if set.attributes & !host.memory_attributes != 0 {
            return Err(Rule::UnknownAttributes);
        }
        let whole = set.address.is_multiple_of(PAGE_SIZE) && set.size.is_multiple_of(PAGE_SIZE);
        let end = set.address.checked_add(set.size).filter(|_| set.size > 0 && whole);
        let end = end.ok_or(Rule::NotWholePages)?;
        let private = set.attributes & abi::MEMORY_ATTRIBUTE_PRIVATE != 0;
        self.attributes.push((set.address, end, private));
        Ok(())
    }

    /// Pages from this address to the end of its slot, if the slot has private memory.
    pub(crate) fn pages_in_slot(&self, gpa: u64) -> Result<u64, Rule> {
        let holds = |slot: &&UserMemoryRegion2| slot.guest_phys_addr <= gpa && gpa < slot_end(slot);
        let slot = self.slots.iter().find(holds).ok_or(Rule::NoPrivateSlot)?;
        if slot.flags & abi::MEM_GUEST_MEMFD == 0 {
            return Err(Rule::NoPrivateSlot);
        }
        Ok(slot_end(slot).saturating_sub(gpa) / PAGE_SIZE)
    }

    /// Gives one private page to the guest.
    pub(crate) fn take(&mut self, gpa: u64) -> Result<(), Rule> {
        let covers = |(start, end, _): &&(u64, u64, bool)| *start <= gpa && gpa < *end;
        let private = self.attributes.iter().rev().find(covers).is_some_and(|range| range.2);
        if !private {
            return Err(Rule::NotPrivate);
        }
        if self.taken.insert(gpa) { Ok(()) } else { Err(Rule::PageTwice) }
    }

    /// Takes a page back that the PSP did not accept.
    pub(crate) fn give_back(&mut self, gpa: u64) {
        self.taken.remove(&gpa);
    }
}

fn slot_end(slot: &UserMemoryRegion2) -> u64 {
    slot.guest_phys_addr.saturating_add(slot.memory_size)
}

fn inside(start: u64, length: u64, outer: u64, outer_length: u64) -> bool {
    let offset = start.checked_sub(outer);
    offset.and_then(|offset| offset.checked_add(length)).is_some_and(|end| end <= outer_length)
}
