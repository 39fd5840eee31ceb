// SPDX-License-Identifier: Apache-2.0
//! Launch digests against figures that others computed: the shared vectors beside the workspace.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod fixtures;

use std::num::NonZeroU16;

use casemate_boot_formats::ovmf::SectionKind;
use casemate_boot_formats::sev_hashes::KernelHashes;
use casemate_launch_digest::GuestFeatures;
use casemate_launch_digest::LaunchDigest;
use casemate_launch_digest::Pages;
use casemate_launch_digest::SnpLaunch;
use casemate_launch_digest::VcpuType;
use casemate_launch_digest::fold_vcpus;
use casemate_launch_digest::measure_memory;
use casemate_launch_digest::plan::Firmware;
use casemate_launch_digest::plan::SnpGuest;
use casemate_launch_digest::plan::SnpInputs;
use casemate_launch_digest::plan::SnpOutline;
use casemate_launch_digest::snp::PageType;
use casemate_launch_digest::snp::Section;
use casemate_launch_digest::snp::SectionsError;
use casemate_launch_digest::snp::SevMetadata;
use casemate_launch_digest::snp::SnpStep;
use casemate_launch_digest::snp::VcpuState;
use casemate_launch_digest::snp::VmmProfile;
use serde_json::Value;

/// Numbers stand in the vectors as hexadecimal text.
fn number(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap().strip_prefix("0x").unwrap(), 16).unwrap()
}

fn count(value: &Value) -> NonZeroU16 {
    NonZeroU16::new(value.as_u64().unwrap().try_into().unwrap()).unwrap()
}

fn bytes<const N: usize>(value: &Value) -> [u8; N] {
    hex::decode(value.as_str().unwrap()).unwrap().try_into().unwrap()
}

fn vcpu_type(value: &Value) -> VcpuType {
    value.as_str().unwrap().parse().unwrap()
}

fn features(value: &Value) -> GuestFeatures {
    GuestFeatures::from_bits(number(value)).unwrap()
}

fn expected(row: &Value) -> &str {
    row["launch_digest"].as_str().unwrap()
}

fn rows<'a>(vectors: &'a Value, table: &str) -> &'a [Value] {
    let rows = vectors[table].as_array().unwrap();
    assert!(!rows.is_empty(), "no rows in {table}");
    rows
}

#[test]
fn vcpu_signatures() {
    let Some(vectors) = fixtures::vectors("snp.json") else { return };
    let signatures = vectors["vcpu_signatures"].as_object().unwrap();
    for (name, signature) in signatures {
        let model: VcpuType = name.parse().unwrap();
        assert_eq!(u64::from(model.signature()), number(signature), "{name}");
    }
    // Newer versions of the same models came later and are alike.
    for model in VcpuType::ALL {
        let family = model.name().rsplit_once("-v").map_or(model.name(), |(family, _)| family);
        assert_eq!(u64::from(model.signature()), number(&signatures[family]), "{model}");
    }
}

#[test]
fn page_folds() {
    let Some(vectors) = fixtures::vectors("snp.json") else { return };
    for row in rows(&vectors, "page_vectors") {
        let mut contents = vec![0; 3 * 4096];
        contents[..16].copy_from_slice(&b"LGTM".repeat(4));
        contents[3 * 4096 - 16..].copy_from_slice(&b"LGTM".repeat(4));
        let pages = match row["id"].as_str().unwrap() {
            "normal-3" => Pages::Normal(&contents),
            "zero-3" => Pages::Zero(3),
            other => panic!("unknown page vector {other}"),
        };
        let mut digest = LaunchDigest::new();
        digest.update(number(&row["gpa"]), pages).unwrap();
        assert_eq!(digest.to_string(), row["digest"].as_str().unwrap(), "{}", row["id"]);
    }
}

#[test]
fn firmware_digests() {
    let Some(vectors) = fixtures::vectors("snp.json") else { return };
    let Some(firmware) = fixtures::amd_sev_firmware() else { return };
    for row in rows(&vectors, "firmware_digests") {
        let mut digest = LaunchDigest::new();
        let size = u64::try_from(firmware.len()).unwrap();
        digest.update((1 << 32) - size, Pages::Normal(&firmware)).unwrap();
        assert_eq!(digest.to_string(), row["digest"].as_str().unwrap());
    }
}

#[test]
fn full_launches() {
    let Some(vectors) = fixtures::vectors("snp.json") else { return };
    let Some(firmware) = fixtures::amd_sev_firmware() else { return };
    for row in rows(&vectors, "launches") {
        let hashes = match row["kernel"].as_str() {
            None => None,
            Some("empty file") => {
                let cmdline = row["append"].as_str().unwrap();
                Some(KernelHashes::of(b"", b"", cmdline.as_bytes()).unwrap())
            }
            Some(other) => panic!("unknown kernel {other}"),
        };
        let vcpus = count(&row["vcpus"]);
        let launch = SnpLaunch {
            firmware: &firmware,
            hashes,
            vcpu_type: vcpu_type(&row["vcpu_type"]),
            features: features(&row["sev_features"]),
        };
        assert_eq!(launch.digest(vcpus).unwrap().to_string(), expected(row), "{}", row["id"]);

        // All counts in one call give the same.
        let digests = launch.digests(NonZeroU16::new(8).unwrap()).unwrap();
        assert_eq!(digests.len(), 8);
        assert_eq!(digests[usize::from(vcpus.get()) - 1].to_string(), expected(row));

        // And so does guest memory, which is what the software PSP sees.
        let page = hashes.map(|hashes| hashes.to_page(0x81_0c00).unwrap());
        let mut digest = measure_memory(&firmware, page.as_deref()).unwrap();
        fold_vcpus(&mut digest, launch.vcpu_type, launch.features, 0x80_b004, vcpus, |_| {})
            .unwrap();
        assert_eq!(digest.to_string(), expected(row));
    }
}

fn kind(number: u64) -> SectionKind {
    match number {
        1 => SectionKind::SecMem,
        2 => SectionKind::Secrets,
        3 => SectionKind::Cpuid,
        4 => SectionKind::SvsmCallingArea,
        16 => SectionKind::KernelHashes,
        other => panic!("unknown section type {other}"),
    }
}

#[test]
fn metadata_only_launch_of_qemu() {
    let Some(vectors) = fixtures::vectors("snp.json") else { return };
    let table = rows(&vectors, "metadata_only");
    let row = table.iter().find(|row| row["id"] == "dstack-synthetic").unwrap();
    let hashes = KernelHashes {
        kernel: bytes(&row["kernel_sha256"]),
        initrd: bytes(&row["initrd_sha256"]),
        ..KernelHashes::of(b"", b"", row["cmdline"].as_str().unwrap().as_bytes()).unwrap()
    };
    let section = |row: &Value| Section {
        gpa: number(&row[0]),
        size: number(&row[1]),
        kind: kind(row[2].as_u64().unwrap()),
    };
    let metadata = |table| {
        let sections = rows(row, "sections").iter().map(section).collect();
        SevMetadata::new(sections, Some(number(&row["ap_eip"]).try_into().unwrap()), Some(table))
    };
    // The vector's table lies a page behind its section. Firmware would not find it there, so we
    // refuse; tools that look at the offset inside the page alone measure it in the section.
    let gpa = number(&row["hash_table_gpa"]);
    assert_eq!(metadata(gpa), Err(SectionsError::HashTableOutside { gpa }));
    let metadata = metadata(gpa - 4096).unwrap();
    let outline = SnpOutline::new(
        LaunchDigest::from_bytes(bytes(&row["firmware_digest"])),
        &metadata,
        Some(&hashes),
        VmmProfile::Qemu(vcpu_type(&row["vcpu_type"])),
        features(&row["sev_features"]),
        count(&row["vcpus"]),
    )
    .unwrap();
    assert_eq!(outline.digest().to_string(), expected(row));
    let digests = outline.digests_by_vcpus();
    assert_eq!(digests.len(), 2);
    assert_eq!(digests[1], outline.digest());
}

#[test]
fn metadata_only_launches_of_ec2() {
    let Some(vectors) = fixtures::vectors("snp.json") else { return };
    let mut checked = 0;
    for row in rows(&vectors, "metadata_only").iter().filter(|row| row["vmm"] == "ec2") {
        let Some(file) = fixtures::vectors(row["file"].as_str().unwrap()) else { return };
        let section = |item: &Value| Section {
            gpa: number(&item["GPA"]),
            size: number(&item["Size"]),
            kind: kind(item["SectionTypeInt"].as_u64().unwrap()),
        };
        let metadata = SevMetadata::new(
            rows(&file, "MetadataItems").iter().map(section).collect(),
            Some(number(&file["ResetEIP"]).try_into().unwrap()),
            None,
        )
        .unwrap();
        let digest = |vmm| {
            SnpOutline::new(
                LaunchDigest::from_bytes(bytes(&file["OVMFHash"])),
                &metadata,
                None,
                vmm,
                GuestFeatures::SNP,
                count(&row["vcpus"]),
            )
            .unwrap()
            .digest()
            .to_string()
        };
        assert_eq!(digest(VmmProfile::Ec2WithoutRdx), expected(row), "{}", row["id"]);
        assert_ne!(digest(VmmProfile::Ec2), expected(row));
        checked += 1;
    }
    assert_eq!(checked, 2);
}

#[test]
fn traces_step_by_step() {
    let Some(vectors) = fixtures::vectors("snp-trace.json") else { return };
    for trace in rows(&vectors, "traces") {
        let cmdline = trace["append"].as_str().unwrap();
        let hashes = KernelHashes::of(b"", b"", cmdline.as_bytes()).unwrap();
        assert_eq!(hex::encode(hashes.to_table()), trace["hash_table"].as_str().unwrap());
        let features = features(&trace["sev_features"]);
        let vmm = VmmProfile::Qemu(vcpu_type(&trace["vcpu_type"]));
        let vcpus = count(&trace["vcpus"]);

        // The firmware of the first trace is not at hand: its digest and sections are listed.
        let listed = rows(trace, "steps");
        let section = |step: &Value| {
            let number_text = step["step"].as_str()?.strip_prefix("section type ")?;
            let (gpa, size) = (number(&step["gpa"]), step["pages"].as_u64()? * 4096);
            Some(Section { gpa, size, kind: kind(number_text.parse().ok()?) })
        };
        let metadata = SevMetadata::new(
            listed.iter().filter_map(section).collect(),
            Some(number(&trace["ap_eip"]).try_into().unwrap()),
            Some(number(&trace["hash_table_gpa"])),
        )
        .unwrap();
        let firmware = LaunchDigest::from_bytes(bytes(&listed[0]["ld"]));
        let outline =
            SnpOutline::new(firmware, &metadata, Some(&hashes), vmm, features, vcpus).unwrap();
        check_steps(outline.steps(), &listed[1..], trace);

        if trace["firmware"].as_str().unwrap().contains("Debian") {
            let Some(image) = fixtures::amd_sev_firmware() else { return };
            let firmware = Firmware::parse(&image).unwrap();
            assert_eq!(firmware.digest().to_string(), listed[0]["ld"].as_str().unwrap());
            let inputs = SnpInputs {
                firmware,
                hashes: Some(hashes),
                vmm,
                features,
                vcpus,
                guest: SnpGuest::default(),
            };
            check_steps(inputs.plan().unwrap().steps(), listed, trace);
        }
    }
}

fn check_steps(steps: impl Iterator<Item = SnpStep>, listed: &[Value], trace: &Value) {
    let steps: Vec<_> = steps.collect();
    assert_eq!(steps.len(), listed.len());
    for (step, listed) in steps.iter().zip(listed) {
        let name = listed["step"].as_str().unwrap();
        assert_eq!(step.gpa, number(&listed["gpa"]), "{name}");
        assert_eq!(step.count, listed["pages"].as_u64().unwrap(), "{name}");
        assert_eq!(u64::from(step.page_type.number()), listed["type"].as_u64().unwrap(), "{name}");
        assert_eq!(step.digest.to_string(), listed["ld"].as_str().unwrap(), "{name}");
        let contents = step.contents.map(hex::encode);
        if let Some(vcpu) = step.vcpu {
            assert_eq!(name, format!("vmsa {vcpu}"));
            assert_eq!(contents.as_deref(), listed["page_sha384"].as_str());
            let eip = match vcpu {
                0 => VcpuState::RESET_VECTOR,
                _ => number(&trace["ap_eip"]).try_into().unwrap(),
            };
            let vmm = VmmProfile::Qemu(vcpu_type(&trace["vcpu_type"]));
            let state = vmm.vcpu_state(features(&trace["sev_features"]), eip);
            check_nonzero_words(&state.to_page(), &listed["nonzero"]);
        } else if name == "section type 16" {
            assert_eq!(contents.as_deref(), trace["hash_page_sha384"].as_str());
        } else if step.page_type != PageType::Normal {
            assert_eq!(contents, None);
        }
    }
}

/// Each 8-byte word of the page that is not zero is listed, and no other.
fn check_nonzero_words(page: &[u8; 4096], listed: &Value) {
    let mut found = serde_json::Map::new();
    for (index, word) in page.as_chunks::<8>().0.iter().enumerate() {
        if *word != [0; 8] {
            found.insert(format!("{:#x}", index * 8), hex::encode(word).into());
        }
    }
    assert_eq!(Value::Object(found), *listed);
}

#[test]
fn firmware_of_other_kinds() {
    // Debian's TDX build holds SEV sections without pages and no place for a hash table: it parses,
    // but nothing may pretend that it checks a kernel.
    let Some(firmware) = fixtures::tdx_firmware() else { return };
    let launch = SnpLaunch {
        firmware: &firmware,
        hashes: None,
        vcpu_type: VcpuType::ALL[0],
        features: GuestFeatures::SNP,
    };
    launch.digest(NonZeroU16::MIN).unwrap();
    let measured = SnpLaunch { hashes: KernelHashes::of(b"", b"", b"").ok(), ..launch };
    assert!(measured.digest(NonZeroU16::MIN).is_err());
    assert!(measure_memory(&firmware, Some(&[0; 4096])).is_err());
}
