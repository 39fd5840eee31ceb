// SPDX-License-Identifier: Apache-2.0
//! The TD HOB: the list by which a TD's firmware learns what memory it has.
//!
//! The host writes it, MRTD does not cover it, and firmware measures it to RTMR 0. On a machine with
//! QEMU's memory map it is the list from which `casemate-launch-digest` predicts RTMR 0. Source: UEFI
//! Platform Initialization Specification 1.8, volume 3, section 5; Intel, TDX Virtual Firmware
//! Design Guide, section 4.2.

use casemate_launch_digest::plan::TdxPlan;
use zerocopy::Immutable;
use zerocopy::IntoBytes;

use crate::MemoryLayout;
use crate::RegionKind;

/// Writes the list: the pages that the plan adds are memory that is accepted already, all other
/// memory waits for the guest to accept it.
pub(crate) fn td_hob(plan: &TdxPlan<'_>, memory: &MemoryLayout) -> Vec<u8> {
    let mut resources = Vec::new();
    for region in memory.regions().iter().filter(|region| region.kind == RegionKind::Ram) {
        let mut added: Vec<_> = plan.sections().iter().map(|one| (one.gpa(), one.end())).collect();
        added.sort_unstable();
        let mut next = region.gpa;
        for (start, end) in added {
            let (start, end) = (start.max(next), end.min(region.end()));
            if start < end {
                resources.extend(Resource::new(RESOURCE_UNACCEPTED, next, start));
                resources.extend(Resource::new(RESOURCE_SYSTEM_MEMORY, start, end));
                next = end;
            }
        }
        resources.extend(Resource::new(RESOURCE_UNACCEPTED, next, region.end()));
    }

    let length = size_of::<Handoff>() + size_of::<Header>();
    let length = length.saturating_add(resources.len().saturating_mul(size_of::<Resource>()));
    let end = plan.hob_address().saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
    let mut list = Vec::with_capacity(length);
    list.extend_from_slice(Handoff::new(end).as_bytes());
    list.extend(resources.iter().flat_map(Resource::as_bytes));
    list.extend_from_slice(Header::new::<Header>(HOB_END_OF_LIST).as_bytes());
    list
}

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Header {
    hob_type: u16,
    length: u16,
    reserved: u32,
}

impl Header {
    fn new<T>(hob_type: u16) -> Self {
        Self { hob_type, length: u16::try_from(size_of::<T>()).unwrap_or(u16::MAX), reserved: 0 }
    }
}

/// `EFI_HOB_HANDOFF_INFO_TABLE`, the list's first entry.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Handoff {
    header: Header,
    version: u32,
    boot_mode: u32,
    /// Top and bottom of the memory and of its free part: firmware finds its own.
    memory: [u64; 4],
    end_of_list: u64,
}

impl Handoff {
    fn new(end_of_list: u64) -> Self {
        let header = Header::new::<Self>(HOB_HANDOFF);
        Self { header, version: HANDOFF_VERSION, boot_mode: 0, memory: [0; 4], end_of_list }
    }
}

/// `EFI_HOB_RESOURCE_DESCRIPTOR`.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Resource {
    header: Header,
    owner: [u8; 16],
    resource_type: u32,
    attributes: u32,
    start: u64,
    length: u64,
}

impl Resource {
    /// A resource, unless it is empty.
    fn new(resource_type: u32, start: u64, end: u64) -> Option<Self> {
        let length = end.checked_sub(start).filter(|length| *length > 0)?;
        Some(Self {
            header: Header::new::<Self>(HOB_RESOURCE_DESCRIPTOR),
            owner: [0; 16],
            resource_type,
            attributes: PRESENT | INITIALIZED | TESTED,
            start,
            length,
        })
    }
}

const HOB_HANDOFF: u16 = 1;
const HOB_RESOURCE_DESCRIPTOR: u16 = 3;
const HOB_END_OF_LIST: u16 = 0xffff;
const HANDOFF_VERSION: u32 = 9;
const RESOURCE_SYSTEM_MEMORY: u32 = 0;
const RESOURCE_UNACCEPTED: u32 = 7;
const PRESENT: u32 = 1;
const INITIALIZED: u32 = 2;
const TESTED: u32 = 4;

const _: () = assert!(size_of::<Handoff>() == 56 && size_of::<Resource>() == 48);

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use casemate_launch_digest::plan::TdParams;
    use casemate_launch_digest::plan::TdxSection;
    use casemate_launch_digest::plan::TdxSectionKind;
    use casemate_launch_digest::tdx::memory_hob;

    use super::*;
    use crate::MemoryRegion;

    fn plan() -> TdxPlan<'static> {
        let section = |kind, gpa, size| TdxSection::new(kind, gpa, size, (&[]).into(), false);
        let sections = vec![
            section(TdxSectionKind::TempMemory, 0x81_0000, 0x1000).unwrap(),
            section(TdxSectionKind::Hob, 0x80_9000, 0x2000).unwrap(),
            section(TdxSectionKind::BootFirmware, 0xffff_f000, 0x1000).unwrap(),
        ];
        TdxPlan::new(sections, TdParams::default(), NonZeroU16::MIN).unwrap()
    }

    fn list(regions: &[(u64, u64)]) -> Vec<u8> {
        let region = |&(gpa, size): &(u64, u64)| MemoryRegion { gpa, size, kind: RegionKind::Ram };
        let mut regions: Vec<_> = regions.iter().map(region).collect();
        regions.push(MemoryRegion {
            gpa: 0xffc0_0000,
            size: 0x40_0000,
            kind: RegionKind::Firmware,
        });
        td_hob(&plan(), &MemoryLayout::new(regions).unwrap())
    }

    fn resources(list: &[u8]) -> Vec<(u32, u64, u64)> {
        let word = |at: usize| u64::from_le_bytes(list[at..at + 8].try_into().unwrap());
        (56..list.len() - 8)
            .step_by(48)
            .map(|at| {
                assert_eq!(list[at..at + 4], [3, 0, 48, 0]);
                (list[at + 24].into(), word(at + 32), word(at + 40))
            })
            .collect()
    }

    #[test]
    fn splits_memory_around_the_pages_of_the_plan() {
        let list = list(&[(0, 0x8000_0000), (1 << 32, 0x1000)]);
        assert_eq!(
            resources(&list),
            [
                (7, 0, 0x80_9000),
                (0, 0x80_9000, 0x2000),
                (7, 0x80_b000, 0x5000),
                (0, 0x81_0000, 0x1000),
                (7, 0x81_1000, 0x7f7e_f000),
                (7, 1 << 32, 0x1000),
            ]
        );
    }

    #[test]
    fn frames_the_list() {
        let list = list(&[(0x80_9000, 0x2000)]);
        assert_eq!(resources(&list), [(0, 0x80_9000, 0x2000)]);
        assert_eq!(list[..12], [1, 0, 56, 0, 0, 0, 0, 0, 9, 0, 0, 0]);
        let end = 0x80_9000 + u64::try_from(list.len()).unwrap();
        assert_eq!(list[48..56], end.to_le_bytes());
        assert_eq!(list[list.len() - 8..], [0xff, 0xff, 8, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn is_what_rtmr_0_is_predicted_from() {
        const MIB: u64 = 1 << 20;
        for (ram, regions) in [
            (512 * MIB, vec![(0, 512 * MIB)]),
            (2048 * MIB, vec![(0, 2048 * MIB)]),
            (4096 * MIB, vec![(0, 2048 * MIB), (4096 * MIB, 2048 * MIB)]),
            (65536 * MIB, vec![(0, 2048 * MIB), (4096 * MIB, 63488 * MIB)]),
        ] {
            // Firmware measures the list without its end.
            let list = list(&regions);
            let measured = &list[..list.len() - 8];
            assert_eq!(measured, memory_hob(&plan(), ram).unwrap(), "{ram:#x}");
        }
    }
}
