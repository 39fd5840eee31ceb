// SPDX-License-Identifier: Apache-2.0
//! Launch digests against figures that others computed: the shared vectors beside the workspace.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod fixtures;

use std::num::NonZeroU16;

use casemate_boot_formats::sev_hashes::KernelHashes;
use casemate_launch_digest::GuestFeatures;
use casemate_launch_digest::LaunchDigest;
use casemate_launch_digest::Pages;
use casemate_launch_digest::SnpLaunch;
use casemate_launch_digest::VMSA_GPA;
use casemate_launch_digest::Vcpu;
use casemate_launch_digest::VcpuType;
use casemate_launch_digest::fold_vcpus;
use casemate_launch_digest::measure_memory;
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
    assert_eq!(signatures.len(), VcpuType::ALL.len());
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

/// Folds sections that another tool read from firmware which is not here.
fn fold_section(digest: &mut LaunchDigest, gpa: u64, size: u64, kind: u64, hash_page: &[u8; 4096]) {
    let pages = match kind {
        1 | 4 => Pages::Zero(size / 4096),
        2 => Pages::Secrets,
        3 => Pages::Cpuid,
        16 => Pages::Normal(hash_page),
        other => panic!("unknown section type {other}"),
    };
    digest.update(gpa, pages).unwrap();
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
    let hash_page = hashes.to_page(number(&row["hash_table_gpa"])).unwrap();
    let mut digest = LaunchDigest::from_bytes(bytes(&row["firmware_digest"]));
    for section in row["sections"].as_array().unwrap() {
        let kind = section[2].as_u64().unwrap();
        fold_section(&mut digest, number(&section[0]), number(&section[1]), kind, &hash_page);
    }
    let reset_eip = number(&row["ap_eip"]).try_into().unwrap();
    fold_vcpus(
        &mut digest,
        vcpu_type(&row["vcpu_type"]),
        features(&row["sev_features"]),
        reset_eip,
        count(&row["vcpus"]),
        |_| {},
    )
    .unwrap();
    assert_eq!(digest.to_string(), expected(row));
}

/// Another VMM: other register values, and the CPUID page measured last. Only the fold is ours.
#[test]
fn metadata_only_launches_of_ec2() {
    let Some(vectors) = fixtures::vectors("snp.json") else { return };
    let mut checked = 0;
    for row in rows(&vectors, "metadata_only").iter().filter(|row| row["vmm"] == "ec2") {
        let Some(file) = fixtures::vectors(row["file"].as_str().unwrap()) else { return };
        let mut digest = LaunchDigest::from_bytes(bytes(&file["OVMFHash"]));
        let (cpuid, others): (Vec<_>, Vec<_>) =
            rows(&file, "MetadataItems").iter().partition(|item| item["SectionTypeInt"] == 3);
        for item in others.into_iter().chain(cpuid) {
            let kind = item["SectionTypeInt"].as_u64().unwrap();
            let (gpa, size) = (number(&item["GPA"]), number(&item["Size"]));
            fold_section(&mut digest, gpa, size, kind, &[0; 4096]);
        }
        let reset_eip = number(&file["ResetEIP"]).try_into().unwrap();
        for eip in [Vcpu::RESET_VECTOR, reset_eip] {
            let vcpu = Vcpu { vcpu_type: VcpuType::ALL[0], features: GuestFeatures::SNP, eip };
            let mut vmsa = vcpu.vmsa();
            vmsa[0x310..0x318].fill(0); // rdx
            vmsa[0x408..0x40c].fill(0); // mxcsr
            vmsa[0x410..0x412].fill(0); // fcw
            vmsa[0x22] = 0x92; // ss
            vmsa[0x92] = 0x83; // tr
            if eip == Vcpu::RESET_VECTOR {
                vmsa[0x12] = 0x9a; // cs
            }
            digest.update(VMSA_GPA, Pages::Vmsa(&vmsa)).unwrap();
        }
        assert_eq!(digest.to_string(), expected(row), "{}", row["id"]);
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
        let hash_page = hashes.to_page(number(&trace["hash_table_gpa"])).unwrap();
        let features = features(&trace["sev_features"]);
        let vcpu_type = vcpu_type(&trace["vcpu_type"]);

        let mut steps = rows(trace, "steps").iter();
        let firmware_digest = bytes(&steps.next().unwrap()["ld"]);
        let mut digest = LaunchDigest::from_bytes(firmware_digest);
        for step in steps {
            let (gpa, size) = (number(&step["gpa"]), step["pages"].as_u64().unwrap() * 4096);
            let name = step["step"].as_str().unwrap();
            if let Some(kind) = name.strip_prefix("section type ") {
                fold_section(&mut digest, gpa, size, kind.parse().unwrap(), &hash_page);
            } else {
                let eip = match name {
                    "vmsa 0" => Vcpu::RESET_VECTOR,
                    _ => number(&trace["ap_eip"]).try_into().unwrap(),
                };
                let vmsa = Vcpu { vcpu_type, features, eip }.vmsa();
                check_nonzero_words(&vmsa, &step["nonzero"]);
                digest.update(gpa, Pages::Vmsa(&vmsa)).unwrap();
            }
            assert_eq!(digest.to_string(), step["ld"].as_str().unwrap(), "{name}");
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
