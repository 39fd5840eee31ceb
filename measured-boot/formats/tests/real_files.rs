// SPDX-License-Identifier: Apache-2.0
//! The parsers on what Debian ships: AmdSev and TDX firmware, and a signed kernel.

#![allow(clippy::as_conversions, reason = "small numbers of known size")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]
#![allow(clippy::indexing_slicing, reason = "a test may panic")]

mod fixtures;

use casemate_boot_formats::bzimage::BzImage;
use casemate_boot_formats::bzimage::QemuBoot;
use casemate_boot_formats::ovmf::Ovmf;
use casemate_boot_formats::ovmf::OvmfError;
use casemate_boot_formats::ovmf::SectionKind;
use casemate_boot_formats::pe::PeImage;
use casemate_boot_formats::sev_hashes::KernelHashes;
use casemate_boot_formats::tdvf::Tdvf;
use casemate_boot_formats::tdvf::TdvfError;
use casemate_boot_formats::tdvf::TdvfKind;

/// Offset of the code in Debian's images: the variables stand before it.
const CODE: usize = 0x8_4000;

fn sections(ovmf: &Ovmf) -> Vec<(u64, u64, SectionKind)> {
    ovmf.sections().iter().map(|section| (section.gpa(), section.size(), section.kind())).collect()
}

#[test]
fn reads_the_amd_sev_firmware() {
    let Some(image) = fixtures::amd_sev_firmware() else { return };
    let ovmf = Ovmf::parse(&image).unwrap();
    assert_eq!(ovmf.image_address(), 0xffc0_0000);
    assert_eq!(ovmf.reset_eip(), Some(0x80_b004));
    assert_eq!(ovmf.hash_table_address(), Ok(0x81_0c00));
    assert_eq!(
        sections(&ovmf),
        [
            (0x80_0000, 0x9000, SectionKind::SecMem),
            (0x80_a000, 0x3000, SectionKind::SecMem),
            (0x80_d000, 0x1000, SectionKind::Secrets),
            (0x80_e000, 0x1000, SectionKind::Cpuid),
            (0x80_f000, 0x1000, SectionKind::SvsmCallingArea),
            (0x81_1000, 0x1_f000, SectionKind::SecMem),
            (0x81_0000, 0x1000, SectionKind::KernelHashes),
        ]
    );
}

#[test]
fn reads_the_sev_metadata_of_the_tdx_firmware() {
    let Some(image) = fixtures::tdx_firmware() else { return };
    let ovmf = Ovmf::parse(&image).unwrap();
    // Two of its sections have no pages.
    assert_eq!(
        sections(&ovmf),
        [
            (0x80_0000, 0x9000, SectionKind::SecMem),
            (0x80_a000, 0x3000, SectionKind::SecMem),
            (0x80_d000, 0x1000, SectionKind::Secrets),
            (0x80_e000, 0x1000, SectionKind::Cpuid),
            (0, 0, SectionKind::SvsmCallingArea),
            (0, 0, SectionKind::SecMem),
        ]
    );
    // E1: and its place for the hash table is none.
    assert_eq!(ovmf.hash_table_address(), Err(OvmfError::NoHashTable));
}

#[test]
fn reads_the_tdvf_sections_of_both() {
    let Some(vectors) = fixtures::vectors("tdx.json") else { return };
    let firmware = [
        ("ovmf-amdsev", fixtures::amd_sev_firmware()),
        ("ovmf-inteltdx", fixtures::tdx_firmware()),
    ];
    for (package, image) in firmware {
        let Some(image) = image else { return };
        let tdvf = Tdvf::parse(&image).unwrap();
        let vector = vectors["computed"]
            .as_array()
            .unwrap()
            .iter()
            .find(|vector| vector["firmware"].as_str().unwrap().contains(package))
            .unwrap();
        let expected = vector["sections"].as_array().unwrap();
        assert_eq!(tdvf.sections().len(), expected.len());
        for (section, expected) in tdvf.sections().iter().zip(expected) {
            let number = |key: &str| {
                let text = expected[key].as_str().unwrap().trim_start_matches("0x");
                u64::from_str_radix(text, 16).unwrap()
            };
            let kind = match section.kind() {
                TdvfKind::BootFirmware => "BFV",
                TdvfKind::Configuration => "CFV",
                TdvfKind::TdHob => "TD_HOB",
                TdvfKind::TempMem => "TempMem",
                other => panic!("{other:?}"),
            };
            assert_eq!(kind, expected["type"]);
            assert_eq!(section.gpa(), number("gpa"));
            assert_eq!(section.size(), number("mem_size"));
            assert_eq!(section.data().len() as u64, number("raw_size"));
            let start = number("data_offset") as usize;
            assert_eq!(section.data(), &image[start..start + section.data().len()]);
            assert_eq!(u64::from(section.is_measured()), expected["attributes"].as_u64().unwrap());
        }
        assert_eq!(tdvf.hob_address(), Some(0x80_9000));
    }
}

#[test]
fn reads_firmware_that_is_split_from_its_variables() {
    let Some(image) = fixtures::amd_sev_firmware() else { return };
    let (variables, code) = image.split_at(CODE);
    let (whole, split) = (Ovmf::parse(&image).unwrap(), Ovmf::parse(code).unwrap());
    assert_eq!(split.sections(), whole.sections());
    assert_eq!(split.image_address(), whole.image_address() + CODE as u64);
    // TDVF counts from the start of the variables.
    assert!(matches!(Tdvf::parse(code), Err(TdvfError::BadData { gpa: 0xffc8_4000, .. })));
    let joined = [variables, code].concat();
    assert_eq!(Tdvf::parse(&joined), Tdvf::parse(&image));
}

#[test]
fn every_truncation_of_real_firmware_is_refused() {
    for image in [fixtures::amd_sev_firmware(), fixtures::tdx_firmware()] {
        let Some(image) = image else { return };
        for cut in 1..=8192 {
            let shorter = &image[..image.len() - cut];
            assert!(Ovmf::parse(shorter).is_err(), "accepted without the last {cut}");
            assert!(Tdvf::parse(shorter).is_err(), "accepted without the last {cut}");
            // The end alone: the metadata's data is absent.
            assert!(Tdvf::parse(&image[image.len() - cut..]).is_err());
            let _ = Ovmf::parse(&image[image.len() - cut..]);
        }
    }
}

#[test]
fn every_mutated_byte_of_real_metadata_is_refused_or_read() {
    for image in [fixtures::amd_sev_firmware(), fixtures::tdx_firmware()] {
        let Some(mut image) = image else { return };
        let size = image.len();
        // Both metadata tables and the footer table.
        for position in size - 4096..size {
            for flip in [0x01, 0x10, 0x80, 0xff] {
                image[position] ^= flip;
                if let Ok(ovmf) = Ovmf::parse(&image) {
                    let end = |(gpa, size, _): &(u64, u64, SectionKind)| gpa + size;
                    assert!(sections(&ovmf).iter().all(|section| end(section) <= 1 << 32));
                }
                if let Ok(tdvf) = Tdvf::parse(&image) {
                    let fits = |size: u64, data: &[u8]| data.len() as u64 <= size;
                    assert!(tdvf.sections().iter().all(|s| fits(s.size(), s.data())));
                }
                image[position] ^= flip;
            }
        }
    }
}

#[test]
fn reads_the_signed_kernel() {
    let Some((release, file)) = fixtures::kernel() else { return };
    let kernel = BzImage::parse(&file).unwrap();
    assert_eq!(kernel.release(), Some(release.as_str()));
    assert!(kernel.can_be_above_4g());
    assert_eq!(kernel.max_command_line(), 2047);

    let pe = PeImage::parse(&file).unwrap();
    assert_eq!(kernel.trailer(), pe.certificates());
    // Debian signed this SHA-256: it stands in the signature.
    assert!(!pe.certificates().is_empty());
    assert!(pe.certificates().windows(32).any(|window| window == pe.sha256()));
}

#[test]
fn the_patched_kernel_is_another_one() {
    // E1: hashes over the header as QEMU patches it must not pass for those of the file.
    let Some((_, file)) = fixtures::kernel() else { return };
    let kernel = BzImage::parse(&file).unwrap();
    let patched = kernel.patched_by_qemu(&QemuBoot::q35(1 << 30, Some(4_000_000))).unwrap();
    let hash = |kernel: &[u8]| KernelHashes::of(kernel, b"initrd", b"quiet").unwrap().kernel;
    assert_ne!(hash(&patched), hash(&file));
    let authenticode = |file: &[u8]| PeImage::parse(file).unwrap().sha384();
    assert_ne!(authenticode(&patched), authenticode(&file));
    assert_eq!(BzImage::parse(&patched).unwrap().payload(), kernel.payload());
}

#[test]
fn truncations_and_mutations_of_the_kernels_headers_are_refused_or_seen() {
    let Some((_, mut file)) = fixtures::kernel() else { return };
    for cut in (1..file.len()).step_by(40_009).chain(1..2000) {
        assert!(PeImage::parse(&file[..file.len() - cut]).is_err(), "accepted without {cut}");
    }
    for length in (0..0x6000).step_by(3) {
        assert!(BzImage::parse(&file[..length]).is_err(), "accepted at {length}");
    }
    // Hashing the whole kernel each time would take too long: compare what is hashed.
    let hashed = |file: &[u8]| PeImage::parse(file).map(|pe| pe.hashed().map(<[u8]>::len).sum());
    let all: usize = hashed(&file).unwrap();
    for position in 0..0x400 {
        for flip in [0x01, 0x80, 0xff] {
            file[position] ^= flip;
            if let Ok(sum) = hashed(&file) {
                assert!(sum >= all, "byte {position:#x} hides {} bytes", all - sum);
            }
            let _ = BzImage::parse(&file);
            file[position] ^= flip;
        }
    }
}
