// SPDX-License-Identifier: Apache-2.0
use proptest::prelude::*;

use super::*;
use crate::ovmf::footer_of;

const SIZE: usize = 0x4000;
const BASE: u64 = FOUR_GIB - SIZE as u64;

/// One section as the table holds it.
#[derive(Clone, Copy, Debug)]
struct Entry {
    offset: u32,
    raw: u32,
    gpa: u64,
    size: u64,
    kind: u32,
    attributes: u32,
}

impl Entry {
    fn memory(gpa: u64, size: u64, kind: u32) -> Self {
        Self { offset: 0, raw: 0, gpa, size, kind, attributes: 0 }
    }

    fn bytes(self) -> Vec<u8> {
        [
            &self.offset.to_le_bytes()[..],
            &self.raw.to_le_bytes(),
            &self.gpa.to_le_bytes(),
            &self.size.to_le_bytes(),
            &self.kind.to_le_bytes(),
            &self.attributes.to_le_bytes(),
        ]
        .concat()
    }
}

const BFV: Entry =
    Entry { offset: 0x1000, raw: 0x3000, gpa: BASE + 0x1000, size: 0x3000, kind: 0, attributes: 1 };
const CFV: Entry =
    Entry { offset: 0, raw: 0x1000, gpa: BASE, size: 0x1000, kind: 1, attributes: 0 };

/// A small image whose layout is that of Debian's builds.
struct Image {
    version: u32,
    entries: Vec<Entry>,
}

impl Image {
    /// Distance of the descriptor from the end of the image; room for too many sections.
    const DESCRIPTOR: usize = 0x900 + 32 * MAX_SECTIONS;

    fn sample() -> Self {
        let entries = vec![
            BFV,
            CFV,
            Entry::memory(0x81_0000, 0x1_0000, 3),
            Entry::memory(0x80_b000, 0x2000, 3),
            Entry::memory(0x80_9000, 0x2000, 2),
        ];
        Self { version: 1, entries }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut image = vec![0x5a; SIZE];
        let mut descriptor = b"TDVF".to_vec();
        let count = self.entries.len() as u32;
        for word in [16 + 32 * count, self.version, count] {
            descriptor.extend(word.to_le_bytes());
        }
        for entry in &self.entries {
            descriptor.extend(entry.bytes());
        }
        let start = SIZE - Self::DESCRIPTOR;
        image[start..start + descriptor.len()].copy_from_slice(&descriptor);
        let offset = (Self::DESCRIPTOR as u32).to_le_bytes();
        let footer = footer_of(&[(TDX_METADATA, &offset)]);
        let end = SIZE - 32;
        image[end - footer.len()..end].copy_from_slice(&footer);
        image
    }

    fn refused(&self) -> TdvfError {
        Tdvf::parse(&self.bytes()).unwrap_err()
    }

    /// The sample with one more section.
    fn with(entry: Entry) -> TdvfError {
        let mut image = Self::sample();
        image.entries.push(entry);
        image.refused()
    }
}

#[test]
fn reads_all_sections() {
    let image = Image::sample().bytes();
    let tdvf = Tdvf::parse(&image).unwrap();
    let kinds: Vec<_> = tdvf.sections().iter().map(TdvfSection::kind).collect();
    assert_eq!(
        kinds,
        [
            TdvfKind::BootFirmware,
            TdvfKind::Configuration,
            TdvfKind::TempMem,
            TdvfKind::TempMem,
            TdvfKind::TdHob,
        ]
    );
    assert!(kinds.iter().all(|kind| kind.is_known_to_qemu()));
    let [bfv, cfv, memory, ..] = tdvf.sections() else { panic!("{tdvf:?}") };
    assert_eq!((bfv.gpa(), bfv.size(), bfv.data()), (0xffff_d000, 0x3000, &image[0x1000..]));
    assert_eq!((cfv.gpa(), cfv.data()), (0xffff_c000, &image[..0x1000]));
    assert_eq!((memory.gpa(), memory.size(), memory.data()), (0x81_0000, 0x1_0000, &[][..]));
    assert!(bfv.is_measured() && !cfv.is_measured() && !bfv.is_augmented());
    assert_eq!(tdvf.hob_address(), Some(0x80_9000));
}

#[test]
fn reads_the_kinds_of_other_firmware() {
    let mut image = Image::sample();
    image.entries.truncate(1);
    image.entries.push(Entry { attributes: 2, ..Entry::memory(0, 0x10_0000, 4) });
    image.entries.push(Entry { offset: 0, raw: 0x1000, ..Entry::memory(0x20_0000, 0x2000, 5) });
    for kind in 6..=8 {
        image.entries.push(Entry::memory(0x30_0000 + u64::from(kind) * 0x1000, 0x1000, kind));
    }
    let image = image.bytes();
    let tdvf = Tdvf::parse(&image).unwrap();
    assert_eq!(tdvf.hob_address(), None);
    let [_, perm, payload, ..] = tdvf.sections() else { panic!("{tdvf:?}") };
    assert!(perm.is_augmented() && !perm.is_measured() && !perm.kind().is_known_to_qemu());
    assert_eq!((payload.size(), payload.data().len()), (0x2000, 0x1000));
    let numbers: Vec<_> = tdvf.sections().iter().map(|section| section.kind().number()).collect();
    assert_eq!(numbers, [0, 4, 5, 6, 7, 8]);
}

#[test]
fn refuses_images_without_metadata() {
    let refused = |image: &[u8]| Tdvf::parse(image).unwrap_err();
    assert_eq!(refused(&[]), TdvfError::Table(OvmfError::NoTable));
    assert_eq!(refused(&[0; SIZE]), TdvfError::Table(OvmfError::NoTable));
    let large = vec![0; MAX_FIRMWARE_SIZE + 1];
    assert_eq!(refused(&large), TdvfError::Table(OvmfError::TooLarge));

    let with_footer = |entries: &[(Guid, &[u8])]| {
        let mut image = Image::sample().bytes();
        let footer = footer_of(entries);
        image[SIZE - 32 - footer.len()..SIZE - 32].copy_from_slice(&footer);
        refused(&image)
    };
    assert_eq!(with_footer(&[]), TdvfError::NoMetadata);
    let bad = TdvfError::Table(OvmfError::BadEntry { entry: "TDX metadata", length: 3 });
    assert_eq!(with_footer(&[(TDX_METADATA, &[0; 3])]), bad);
    let twice = TdvfError::Table(OvmfError::DuplicateEntry { entry: "TDX metadata" });
    assert_eq!(with_footer(&[(TDX_METADATA, &[0; 4]), (TDX_METADATA, &[0; 4])]), twice);
    // The descriptor at the very end, before the start, and where no magic stands.
    for offset in [0_u32, SIZE as u32 + 1, u32::MAX, 8, 0x1000] {
        assert_eq!(with_footer(&[(TDX_METADATA, &offset.to_le_bytes())]), TdvfError::BadMetadata);
    }
}

#[test]
fn refuses_bad_descriptors() {
    let version = Image { version: 2, ..Image::sample() };
    assert_eq!(version.refused(), TdvfError::UnknownVersion { version: 2 });
    let many = Image { entries: vec![CFV; MAX_SECTIONS + 1], ..Image::sample() };
    assert_eq!(many.refused(), TdvfError::TooManySections { count: 65 });
    let start = SIZE - Image::DESCRIPTOR;
    // Magic and length.
    for position in [start, start + 4] {
        for wrong in [-1_i8, 1, 32] {
            let mut image = Image::sample().bytes();
            image[position] = image[position].wrapping_add_signed(wrong);
            assert_eq!(Tdvf::parse(&image), Err(TdvfError::BadMetadata));
        }
    }
    // A table that would go on behind the image.
    let mut image = Image::sample().bytes();
    let footer = footer_of(&[(TDX_METADATA, &50_u32.to_le_bytes())]);
    image[SIZE - 32 - footer.len()..SIZE - 32].copy_from_slice(&footer);
    assert_eq!(Tdvf::parse(&image), Err(TdvfError::BadMetadata));
}

#[test]
fn refuses_each_bad_section() {
    let free = Entry::memory(0x10_0000, 0x1000, 3);
    let gpa = free.gpa;
    assert_eq!(
        Image::with(Entry { kind: 9, ..free }),
        TdvfError::UnknownSection { number: 9, gpa }
    );
    assert_eq!(
        Image::with(Entry { attributes: 4, ..free }),
        TdvfError::UnknownAttributes { attributes: 4, gpa }
    );
    for (gpa, size) in [
        (0x10_0001, 0x1000),
        (0x10_0000, 0x1001),
        (0x10_0000, 0),
        (0xffff_f000, 0x2000),
        (FOUR_GIB, 0x1000),
        (u64::MAX - 0xfff, 0x1000),
        (0x1000, u64::MAX - 0xfff),
    ] {
        assert_eq!(Image::with(Entry { gpa, size, ..free }), TdvfError::BadSection { gpa, size });
    }
    for (offset, raw) in [
        (0, 0x2000),
        (0, 0x800),
        (SIZE as u32, 0x1000),
        (SIZE as u32 + 1, 0),
        (SIZE as u32 - 0xfff, 0x1000),
        (u32::MAX, 0x1000),
    ] {
        let bad = TdvfError::BadData { gpa, offset, size: raw };
        assert_eq!(Image::with(Entry { offset, raw, kind: 5, ..free }), bad);
    }
    for kind in [0, 1] {
        assert_eq!(Image::with(Entry { kind, ..free }), TdvfError::NoData { gpa });
    }
    for kind in [2, 3, 4] {
        let with_data = Entry { raw: 0x1000, kind, ..free };
        assert_eq!(Image::with(with_data), TdvfError::UnexpectedData { gpa });
    }
    let late = TdvfError::MeasuredAugmentation { gpa };
    assert_eq!(Image::with(Entry { attributes: 3, kind: 4, ..free }), late);
    assert_eq!(Image::with(Entry { attributes: 2, kind: 5, raw: 0x1000, ..free }), late);
}

#[test]
fn refuses_sections_that_do_not_go_together() {
    assert_eq!(
        Image::with(Entry::memory(0x81_f000, 0x2000, 3)),
        TdvfError::Overlap { gpa: 0x81_f000 }
    );
    assert_eq!(Image::with(Entry::memory(0x10_0000, 0x1000, 2)), TdvfError::TwoHobs);
    let size = MAX_MEMORY;
    assert_eq!(
        Image::with(Entry::memory(0x1000_0000, size, 4)),
        TdvfError::TooLarge { total: size + 0x4000 + 0x1_0000 + 0x2000 + 0x2000 }
    );
}

#[test]
fn refuses_firmware_that_starts_unmeasured() {
    // E1: the host would choose the first instruction.
    let with_bfv = |bfv: Entry| {
        let mut image = Image::sample();
        image.entries[0] = bfv;
        image.refused()
    };
    assert_eq!(with_bfv(Entry { attributes: 0, ..BFV }), TdvfError::UnmeasuredReset);
    assert_eq!(with_bfv(Entry { size: 0x2000, raw: 0x2000, ..BFV }), TdvfError::UnmeasuredReset);
    // Measured zeros at the reset vector are not the firmware.
    assert_eq!(with_bfv(Entry { raw: 0x2000, ..BFV }), TdvfError::UnmeasuredReset);
    // Another kind does not count.
    assert_eq!(with_bfv(Entry { kind: 5, ..BFV }), TdvfError::UnmeasuredReset);
    let none = Image { entries: Vec::new(), ..Image::sample() };
    assert_eq!(none.refused(), TdvfError::UnmeasuredReset);
}

#[test]
fn every_mutated_byte_is_refused_or_seen() {
    let image = Image::sample().bytes();
    let parsed = Tdvf::parse(&image).unwrap();
    let descriptor = SIZE - Image::DESCRIPTOR;
    let used = descriptor..descriptor + 16 + 32 * parsed.sections().len();
    for position in used {
        for flip in [0x01, 0x02, 0x10, 0x80, 0xff] {
            let mut mutated = image.clone();
            mutated[position] ^= flip;
            if let Ok(read) = Tdvf::parse(&mutated) {
                let changed = read.sections().iter().zip(parsed.sections()).any(|(a, b)| {
                    (a.kind, a.gpa, a.size, a.data.len(), a.measured, a.augmented)
                        != (b.kind, b.gpa, b.size, b.data.len(), b.measured, b.augmented)
                        || a.data != b.data
                });
                // The offset of no data means nothing.
                let offset_of_nothing =
                    parsed.sections()[(position - descriptor - 16) / 32].data.is_empty()
                        && (position - descriptor - 16) % 32 < 4;
                assert!(changed || offset_of_nothing, "byte {position:#x} changed unnoticed");
                assert!(read.sections().iter().all(|section| section.end() <= FOUR_GIB));
            }
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    let image = Image::sample().bytes();
    for length in 0..image.len() {
        assert!(Tdvf::parse(&image[..length]).is_err(), "accepted at {length}");
        // Cut at the front, as split firmware is: the code alone has too little data.
        let tail = &image[image.len() - length..];
        assert!(Tdvf::parse(tail).is_err(), "accepted tail of {length}");
    }
}

proptest! {
    #[test]
    fn round_trips_sections(
        sections in proptest::collection::vec((1_u64..8, 3_u32..=8, any::<bool>()), 0..40),
    ) {
        let mut next = 0x10_0000;
        let mut entries = vec![BFV];
        for (pages, kind, measured) in sections {
            let size = pages * PAGE_SIZE;
            entries.push(Entry { attributes: measured.into(), ..Entry::memory(next, size, kind) });
            next += size;
        }
        let image = Image { version: 1, entries: entries.clone() }.bytes();
        let tdvf = Tdvf::parse(&image).unwrap();
        prop_assert_eq!(tdvf.sections().len(), entries.len());
        for (section, entry) in tdvf.sections().iter().zip(entries) {
            prop_assert_eq!(section.gpa(), entry.gpa);
            prop_assert_eq!(section.size(), entry.size);
            prop_assert_eq!(section.kind().number(), entry.kind);
            prop_assert_eq!(section.is_measured(), entry.attributes == 1);
        }
    }

    #[test]
    fn never_panics(noise in proptest::collection::vec(any::<u8>(), 0..256)) {
        let mut image = Image::sample().bytes();
        let start = SIZE - Image::DESCRIPTOR + 4;
        image[start..start + noise.len()].copy_from_slice(&noise);
        let _ = Tdvf::parse(&image);
        let _ = Tdvf::parse(&noise);
    }
}
