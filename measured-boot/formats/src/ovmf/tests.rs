// SPDX-License-Identifier: Apache-2.0
use proptest::prelude::*;

use super::footer::FOOTER;
use super::footer::FOOTER_DISTANCE;
use super::*;

/// A small image with the same table as Debian's AmdSev build, made from parts.
struct Image {
    size: usize,
    metadata_version: u32,
    sections: Vec<[u32; 3]>,
    entries: Vec<(Guid, Vec<u8>)>,
}

impl Image {
    /// Distance of the SEV metadata from the end of the image.
    const METADATA_OFFSET: u32 = 2048;

    fn amd_sev() -> Self {
        let hash_table = [0x81_0c00_u32.to_le_bytes(), 0x400_u32.to_le_bytes()].concat();
        Self {
            size: 8192,
            metadata_version: 1,
            sections: vec![
                [0x80_0000, 0x9000, 1],
                [0x80_a000, 0x3000, 1],
                [0x80_d000, 0x1000, 2],
                [0x80_e000, 0x1000, 3],
                [0x80_f000, 0x1000, 4],
                [0x81_1000, 0xf000, 1],
                [0x81_0000, 0x1000, 0x10],
            ],
            entries: vec![
                (guid(1), vec![1, 2, 3]),
                (SEV_METADATA, Self::METADATA_OFFSET.to_le_bytes().to_vec()),
                (HASH_TABLE, hash_table),
                (RESET_BLOCK, 0x80_b004_u32.to_le_bytes().to_vec()),
            ],
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut image = vec![0xaa; self.size];
        let mut metadata = b"ASEV".to_vec();
        let size = 16 + 12 * self.sections.len() as u32;
        for word in [size, self.metadata_version, self.sections.len() as u32]
            .iter()
            .chain(self.sections.as_flattened())
        {
            metadata.extend(word.to_le_bytes());
        }
        let start = self.size - Self::METADATA_OFFSET as usize;
        image[start..start + metadata.len()].copy_from_slice(&metadata);

        let entries: Vec<_> =
            self.entries.iter().map(|(guid, data)| (*guid, data.as_slice())).collect();
        let table = footer_of(&entries);
        let end = self.size - FOOTER_DISTANCE;
        image[end - table.len()..end].copy_from_slice(&table);
        image
    }

    fn parse(&self) -> Result<Ovmf, OvmfError> {
        Ovmf::parse(&self.bytes())
    }

    fn with_sections(sections: &[[u32; 3]]) -> Result<Ovmf, OvmfError> {
        Self { sections: sections.to_vec(), ..Self::amd_sev() }.parse()
    }

    fn without(guid: Guid) -> Ovmf {
        let mut image = Self::amd_sev();
        image.entries.retain(|(known, _)| *known != guid);
        image.parse().unwrap()
    }

    fn with_entry(guid: Guid, data: &[u8]) -> Result<Ovmf, OvmfError> {
        let mut image = Self::amd_sev();
        image.entries.retain(|(known, _)| *known != guid);
        image.entries.push((guid, data.to_vec()));
        image.parse()
    }
}

#[test]
fn reads_all_entries() {
    let ovmf = Image::amd_sev().parse().unwrap();
    assert_eq!(ovmf.image_address(), 0xffff_e000);
    assert_eq!(ovmf.image_size(), 8192);
    assert_eq!(ovmf.reset_eip(), Some(0x80_b004));
    assert_eq!(ovmf.hash_table_address(), Ok(0x81_0c00));
    assert_eq!(ovmf.hash_page_address(), Ok(0x81_0000));
    let kinds: Vec<_> = ovmf.sections().iter().map(SevSection::kind).collect();
    assert_eq!(
        kinds,
        [
            SectionKind::SecMem,
            SectionKind::SecMem,
            SectionKind::Secrets,
            SectionKind::Cpuid,
            SectionKind::SvsmCallingArea,
            SectionKind::SecMem,
            SectionKind::KernelHashes,
        ]
    );
    assert_eq!((ovmf.sections()[1].gpa(), ovmf.sections()[1].size()), (0x80_a000, 0x3000));
}

#[test]
fn accepts_empty_sections_and_absent_entries() {
    // Debian's TDX build has SEV sections without pages.
    let ovmf = Image::with_sections(&[[0x80_0000, 0, 1], [0x80_0000, 0, 1]]).unwrap();
    assert!(ovmf.sections().iter().all(|section| section.size() == 0));
    assert_eq!(Image::without(RESET_BLOCK).reset_eip(), None);
    assert!(Image::without(SEV_METADATA).sections().is_empty());
}

#[test]
fn refuses_a_measured_boot_without_a_place_for_the_table() {
    // E1: such firmware would boot any kernel.
    let refused = Err(OvmfError::NoHashTable);
    assert_eq!(Image::without(HASH_TABLE).hash_table_address(), refused);
    assert_eq!(Image::without(SEV_METADATA).hash_table_address(), refused);
    let elsewhere = Image::with_sections(&[[0x82_0000, 0x1000, 0x10]]).unwrap();
    assert_eq!(elsewhere.hash_table_address(), refused);
    let not_measured = Image::with_sections(&[[0x81_0000, 0x1000, 1]]).unwrap();
    assert_eq!(not_measured.hash_table_address(), refused);
    let small = [0x81_0c00_u32.to_le_bytes(), 175_u32.to_le_bytes()].concat();
    assert_eq!(Image::with_entry(HASH_TABLE, &small).unwrap().hash_table_address(), refused);
    let crossing = [0x81_0c01_u32.to_le_bytes(), 0x400_u32.to_le_bytes()].concat();
    assert_eq!(Image::with_entry(HASH_TABLE, &crossing).unwrap().hash_table_address(), refused);
}

#[test]
fn refuses_what_is_no_image() {
    assert_eq!(Ovmf::parse(&[]), Err(OvmfError::NotWholePages { size: 0 }));
    assert_eq!(Ovmf::parse(&[0; 4097]), Err(OvmfError::NotWholePages { size: 4097 }));
    assert_eq!(Ovmf::parse(&[0; 4096]), Err(OvmfError::NoTable));
    assert_eq!(Ovmf::parse(&vec![0; MAX_FIRMWARE_SIZE + 1]), Err(OvmfError::TooLarge));
}

#[test]
fn refuses_bad_tables() {
    let entry = |guid, data: &[u8]| Image::with_entry(guid, data).unwrap_err();
    assert_eq!(
        entry(RESET_BLOCK, &[0; 3]),
        OvmfError::BadEntry { entry: "reset block", length: 3 }
    );
    assert_eq!(entry(HASH_TABLE, &[0; 9]), OvmfError::BadEntry { entry: "hash table", length: 9 });
    assert_eq!(entry(HASH_TABLE, &[0xff; 8]), OvmfError::BadHashTable);
    assert_eq!(
        entry(SEV_METADATA, &[0; 2]),
        OvmfError::BadEntry { entry: "SEV metadata", length: 2 }
    );
    assert_eq!(entry(SEV_METADATA, &[0xff; 4]), OvmfError::BadMetadata);
    assert_eq!(entry(SEV_METADATA, &[0; 4]), OvmfError::BadMetadata);

    let mut twice = Image::amd_sev();
    twice.entries.push((RESET_BLOCK, vec![0; 4]));
    assert_eq!(twice.parse(), Err(OvmfError::DuplicateEntry { entry: "reset block" }));

    let mut many = Image::amd_sev();
    many.entries = vec![(guid(1), Vec::new()); MAX_TABLE_ENTRIES + 1];
    assert_eq!(many.parse(), Err(OvmfError::TooManyEntries));

    // The table's own length, and that of its last entry: too small, too large, off by one.
    let end = 8192 - FOOTER_DISTANCE;
    for length_at in [end - 18, end - 36] {
        let good = Image::amd_sev().bytes();
        let length = u16::from_le_bytes([good[length_at], good[length_at + 1]]);
        for wrong in [0, 17, length - 1, length + 1, u16::MAX] {
            let mut image = good.clone();
            image[length_at..length_at + 2].copy_from_slice(&wrong.to_le_bytes());
            assert_eq!(Ovmf::parse(&image), Err(OvmfError::BadTable), "{length_at} {wrong}");
        }
    }
}

#[test]
fn refuses_bad_sections() {
    let refused = |sections: &[[u32; 3]]| Image::with_sections(sections).unwrap_err();
    assert_eq!(
        refused(&[[0x80_0000, 0x1000, 5]]),
        OvmfError::UnknownSection { number: 5, gpa: 0x80_0000 }
    );
    for (gpa, size, kind) in [
        (0x80_0001, 0x1000, 1),
        (0x80_0000, 0x1001, 1),
        (0x80_0000, 0x2000, 2),
        (0x80_0000, 0x2000, 3),
        (0x80_0000, 0x2000, 0x10),
        (0xffff_f000, 0x2000, 1),
    ] {
        let bad = OvmfError::BadSection { gpa: gpa.into(), size: size.into() };
        assert_eq!(refused(&[[gpa, size, kind]]), bad);
    }
    let overlap = [[0x80_0000, 0x3000, 1], [0x80_2000, 0x1000, 4]];
    assert_eq!(refused(&overlap), OvmfError::Overlap { gpa: 0x80_2000 });
    assert_eq!(refused(&[[0xffff_d000, 0x2000, 1]]), OvmfError::Overlap { gpa: 0xffff_d000 });
    let many = vec![[0x80_0000, 0, 1]; MAX_SECTIONS + 1];
    assert_eq!(refused(&many), OvmfError::SectionsTooLarge);
    assert_eq!(refused(&[[0, 0x100_1000, 1]]), OvmfError::SectionsTooLarge);

    let version = Image { metadata_version: 2, ..Image::amd_sev() };
    assert_eq!(version.parse(), Err(OvmfError::UnknownMetadataVersion { version: 2 }));
    // The metadata's own length.
    let mut image = Image::amd_sev().bytes();
    image[8192 - Image::METADATA_OFFSET as usize + 4] += 1;
    assert_eq!(Ovmf::parse(&image), Err(OvmfError::BadMetadata));
}

#[test]
fn every_mutated_byte_of_the_metadata_is_refused_or_read() {
    let good = Image::amd_sev();
    let parsed = good.parse().unwrap();
    let image = good.bytes();
    for position in image.len() - Image::METADATA_OFFSET as usize..image.len() {
        for flip in [0x01, 0x10, 0x80, 0xff] {
            let mut mutated = image.clone();
            mutated[position] ^= flip;
            // Never a panic; what is accepted stays within bounds.
            if let Ok(ovmf) = Ovmf::parse(&mutated) {
                assert_eq!(ovmf.image_size(), parsed.image_size());
                assert!(ovmf.sections().iter().all(|section| section.end() <= FOUR_GIB));
            }
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    let image = Image::amd_sev().bytes();
    for length in 0..image.len() {
        assert!(Ovmf::parse(&image[..length]).is_err(), "accepted at {length}");
        // Cut at the front: the table is whole, but the metadata may lie outside.
        let tail = &image[image.len() - length..];
        if length != 4096 {
            assert!(Ovmf::parse(tail).is_err(), "accepted tail of {length}");
        }
    }
}

proptest! {
    #[test]
    fn round_trips_sections(
        sizes in proptest::collection::vec((0_u32..4, proptest::sample::select(vec![1_u32, 4])), 0..20),
    ) {
        let mut next = 0x10_0000;
        let sections: Vec<_> = sizes
            .into_iter()
            .map(|(pages, kind)| {
                let section = [next, pages * 4096, kind];
                next += pages * 4096;
                section
            })
            .collect();
        let ovmf = Image::with_sections(&sections).unwrap();
        let read: Vec<_> = ovmf.sections().iter().map(|section| (section.gpa(), section.size())).collect();
        let expected: Vec<_> =
            sections.iter().map(|[gpa, size, _]| (u64::from(*gpa), u64::from(*size))).collect();
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn never_panics(tail in proptest::collection::vec(any::<u8>(), 0..512)) {
        let mut image = vec![0; 4096];
        let start = image.len() - tail.len();
        image[start..].copy_from_slice(&tail);
        let _ = Ovmf::parse(&image);
        image[4096 - 48..4096 - 32].copy_from_slice(&FOOTER);
        let _ = Ovmf::parse(&image);
    }
}
