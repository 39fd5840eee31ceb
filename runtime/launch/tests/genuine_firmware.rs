// SPDX-License-Identifier: Apache-2.0
//! Debian's firmware, launched on the model, has the digests that other people's tools computed for
//! it: `sev-snp-measure` and the `sev` crate (SNP), td-shim's tool (TDX).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::num::NonZeroU16;
use std::path::Path;
use std::process::Command;

use casemate_boot_formats::sev_hashes::KernelHashes;
use casemate_boot_formats::tdvf::Tdvf;
use casemate_kvm_model::Faults;
use casemate_kvm_model::Host;
use casemate_kvm_model::Model;
use casemate_launch::launch_snp;
use casemate_launch::launch_tdx;
use casemate_launch_digest::plan::Firmware;
use casemate_launch_digest::plan::SnpGuest;
use casemate_launch_digest::plan::SnpInputs;
use casemate_launch_digest::plan::TdParams;
use casemate_launch_digest::plan::TdxInputs;
use casemate_launch_digest::snp::GuestFeatures;
use casemate_launch_digest::snp::VmmProfile;
use serde_json::Value;
use support::machine;

fn skip<T>(reason: &str) -> Option<T> {
    let required = std::env::var_os("CASEMATE_REQUIRE").is_some_and(|value| value == "1");
    assert!(!required, "required test cannot run: {reason}");
    eprintln!("skipped: {reason}");
    None
}

fn vectors(name: &str) -> Option<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors/launch");
    match std::fs::read(folder.join(name)) {
        Ok(bytes) => Some(serde_json::from_slice(&bytes).unwrap()),
        Err(error) => skip(&format!("{name}: {error}")),
    }
}

fn firmware(package: &str, file: &str) -> Option<Vec<u8>> {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors/launch");
    let package = vectors.join("firmware").join(package);
    if !package.exists() {
        return skip(&format!("{} is absent", package.display()));
    }
    let folder = tempfile::tempdir().unwrap();
    match Command::new("dpkg-deb").arg("-x").arg(&package).arg(folder.path()).status() {
        Ok(status) => assert!(status.success()),
        Err(error) => return skip(&format!("dpkg-deb: {error}")),
    }
    Some(std::fs::read(folder.path().join("usr/share/ovmf").join(file)).unwrap())
}

#[test]
fn amd_sev_firmware_has_the_digests_of_other_tools() {
    let Some(vectors) = vectors("snp.json") else { return };
    let package = "ovmf-amdsev_2026.08+ds-2_all.deb";
    let Some(image) = firmware(package, "OVMF.amdsev.fd") else { return };
    let launches = vectors["launches"].as_array().unwrap().iter();
    let ours = launches.filter(|row| row["id"].as_str().unwrap().starts_with("debian-"));
    let mut rows = 0;
    for row in ours {
        let id = row["id"].as_str().unwrap();
        let hashes = row["append"].as_str().map(|append| {
            assert_eq!(
                (&row["kernel"], &row["initrd"]),
                (&"empty file".into(), &"empty file".into())
            );
            KernelHashes::of(b"", b"", append.as_bytes()).unwrap()
        });
        let features = row["sev_features"].as_str().unwrap();
        let features = u64::from_str_radix(features.trim_start_matches("0x"), 16).unwrap();
        let vcpus = u16::try_from(row["vcpus"].as_u64().unwrap()).unwrap();
        let inputs = SnpInputs {
            firmware: Firmware::parse(&image).unwrap(),
            hashes,
            vmm: VmmProfile::Qemu(row["vcpu_type"].as_str().unwrap().parse().unwrap()),
            features: GuestFeatures::from_bits(features).unwrap(),
            vcpus: NonZeroU16::new(vcpus).unwrap(),
            guest: SnpGuest::default(),
        };
        let plan = inputs.plan().unwrap();
        let mut model = Model::with_faults(Host::default(), Faults::seeded(vcpus.into()));
        launch_snp(&plan, &machine(), &mut model).unwrap();
        let digest = model.snp_guest().unwrap().digest;
        assert_eq!(hex(&digest), row["launch_digest"], "{id}");
        rows += 1;
    }
    assert_eq!(rows, 4);
}

#[test]
fn tdx_firmware_has_the_mrtd_of_other_tools() {
    let Some(vectors) = vectors("tdx.json") else { return };
    let package = "ovmf-inteltdx_2026.08+ds-2_all.deb";
    let Some(image) = firmware(package, "OVMF.inteltdx.ms.fd") else { return };
    let tdvf = Tdvf::parse(&image).unwrap();
    let inputs = TdxInputs { tdvf, params: TdParams::default(), vcpus: NonZeroU16::MIN };
    let plan = inputs.plan().unwrap();
    let mut model = Model::with_faults(Host::default(), Faults::seeded(1));
    launch_tdx(&plan, &machine(), &mut model).unwrap();
    let row = &vectors["computed"][0];
    assert!(row["firmware"].as_str().unwrap().contains("OVMF.inteltdx.ms.fd"));
    assert_eq!(hex(&model.tdx_guest().unwrap().mrtd), row["mrtd_single_pass"]);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
