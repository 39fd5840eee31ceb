// SPDX-License-Identifier: Apache-2.0
//! What a launch needs beside its plan: memory and CPUID of the machine. The host chooses them, and
//! neither enters the measurement.

use crate::abi::CpuidEntry;
use crate::abi::PAGE_SIZE;

/// Largest accepted number of memory regions.
pub const MAX_REGIONS: usize = 32;

/// First guest-physical address beyond those that x86 can have.
pub const ADDRESS_LIMIT: u64 = 1 << 52;

/// The machine around a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Its memory.
    pub memory: MemoryLayout,
    /// Its CPUID table, the same on every virtual CPU, as `KVM_SET_CPUID2` takes it.
    pub cpuid: Vec<CpuidEntry>,
}

/// Guest memory: regions of whole pages that do not overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryLayout(Vec<MemoryRegion>);

impl MemoryLayout {
    /// Takes regions in any order.
    ///
    /// # Errors
    ///
    /// None or too many regions, or regions that are empty, not whole pages, beyond
    /// [`ADDRESS_LIMIT`] or on top of each other: see [`MemoryLayoutError`].
    pub fn new(mut regions: Vec<MemoryRegion>) -> Result<Self, MemoryLayoutError> {
        if regions.is_empty() || regions.len() > MAX_REGIONS {
            return Err(MemoryLayoutError::Count { regions: regions.len() });
        }
        regions.sort_unstable_by_key(|region| region.gpa);
        let mut free_from = 0;
        for region in &regions {
            let MemoryRegion { gpa, size, .. } = *region;
            let whole = gpa.is_multiple_of(PAGE_SIZE) && size.is_multiple_of(PAGE_SIZE);
            let end = gpa.checked_add(size).filter(|end| *end <= ADDRESS_LIMIT);
            let (true, true, Some(end)) = (size > 0, whole, end) else {
                return Err(MemoryLayoutError::OutOfBounds { gpa, size });
            };
            if gpa < free_from {
                return Err(MemoryLayoutError::Overlap { gpa });
            }
            free_from = end;
        }
        Ok(Self(regions))
    }

    /// The regions by ascending address.
    #[must_use]
    pub fn regions(&self) -> &[MemoryRegion] {
        &self.0
    }

    /// Whether all of `gpa..end` is memory; regions may touch inside of it.
    #[must_use]
    pub fn covers(&self, gpa: u64, end: u64) -> bool {
        let mut reached = gpa;
        for region in &self.0 {
            if region.gpa <= reached && reached < region.end() {
                reached = region.end();
            }
        }
        gpa < end && end <= reached
    }
}

/// One region of guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRegion {
    /// Guest-physical address, that of a page.
    pub gpa: u64,
    /// Size in bytes, whole pages.
    pub size: u64,
    /// What it is for.
    pub kind: RegionKind,
}

impl MemoryRegion {
    /// Guest-physical address behind the region.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.gpa.saturating_add(self.size)
    }
}

/// What a region is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionKind {
    /// Memory that the guest is told about.
    Ram,
    /// The firmware image below 4 GiB.
    Firmware,
}

/// Why regions are no memory layout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryLayoutError {
    /// None, or more than [`MAX_REGIONS`].
    #[error("{regions} memory regions, expected 1 to {MAX_REGIONS}")]
    Count {
        /// Their number.
        regions: usize,
    },
    /// Not whole pages inside the address space.
    #[error("the memory region at {gpa:#x} with {size:#x} bytes is out of bounds")]
    OutOfBounds {
        /// Guest-physical address of the region.
        gpa: u64,
        /// Size in bytes.
        size: u64,
    },
    /// It begins inside the region before it.
    #[error("the memory region at {gpa:#x} overlaps another one")]
    Overlap {
        /// Guest-physical address of the region.
        gpa: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ram(gpa: u64, size: u64) -> MemoryRegion {
        MemoryRegion { gpa, size, kind: RegionKind::Ram }
    }

    #[test]
    fn takes_regions_in_any_order_and_joins_neighbours() {
        let layout = MemoryLayout::new(vec![ram(0x3000, 0x1000), ram(0, 0x3000)]).unwrap();
        assert!(layout.covers(0x2000, 0x4000));
        assert!(!layout.covers(0x2000, 0x5000));
        assert!(!layout.covers(0x4000, 0x5000));
        assert!(!layout.covers(0x1000, 0x1000));
    }

    #[test]
    fn refuses_each_kind_of_bad_layout() {
        let many = (0..=32).map(|index| ram(index * 0x1000, 0x1000)).collect();
        for (regions, expected) in [
            (vec![], MemoryLayoutError::Count { regions: 0 }),
            (many, MemoryLayoutError::Count { regions: 33 }),
            (vec![ram(0, 0)], MemoryLayoutError::OutOfBounds { gpa: 0, size: 0 }),
            (vec![ram(1, 0x1000)], MemoryLayoutError::OutOfBounds { gpa: 1, size: 0x1000 }),
            (vec![ram(0, 0x1001)], MemoryLayoutError::OutOfBounds { gpa: 0, size: 0x1001 }),
            (
                vec![ram(ADDRESS_LIMIT, 0x1000)],
                MemoryLayoutError::OutOfBounds { gpa: ADDRESS_LIMIT, size: 0x1000 },
            ),
            (vec![ram(0, 0x2000), ram(0x1000, 0x1000)], MemoryLayoutError::Overlap { gpa: 0x1000 }),
        ] {
            assert_eq!(MemoryLayout::new(regions), Err(expected));
        }
    }
}
