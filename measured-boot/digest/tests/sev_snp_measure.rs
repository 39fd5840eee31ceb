// SPDX-License-Identifier: Apache-2.0
//! Differential test against `sev-snp-measure` 0.0.13, an independent implementation.
//!
//! | difference | why |
//! |---|---|
//! | no profile of ours but QEMU, EC2 and GCE on Milan | the tool knows no others |
//! | firmware in two files | the tool takes one, so the test joins them |

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]

mod fixtures;

use std::num::NonZeroU16;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use casemate_boot_formats::sev_hashes::KernelHashes;
use casemate_launch_digest::GuestFeatures;
use casemate_launch_digest::LaunchDigest;
use casemate_launch_digest::VcpuType;
use casemate_launch_digest::plan::Firmware;
use casemate_launch_digest::plan::SnpGuest;
use casemate_launch_digest::plan::SnpInputs;
use casemate_launch_digest::plan::SnpOutline;
use casemate_launch_digest::snp::GceHost;
use casemate_launch_digest::snp::VmmProfile;
use fixtures::synthetic::synthetic;
use proptest::prelude::*;

/// The other tool: named by the environment, or where `cargo xtask` installs it.
fn other_tool() -> Option<PathBuf> {
    let path = match std::env::var_os("CASEMATE_SEV_SNP_MEASURE") {
        Some(path) => PathBuf::from(path),
        None => fixtures::workspace().join("target/casemate/venv/bin/sev-snp-measure"),
    };
    if path.exists() {
        return Some(path);
    }
    fixtures::skip(&format!("{} is not installed", path.display()))
}

#[derive(Clone, Debug)]
struct Case {
    /// Kernel, initrd and command line, or a launch without hashes.
    boot: Option<(Vec<u8>, Vec<u8>, String)>,
    vcpus: NonZeroU16,
    vmm: VmmProfile,
    features: GuestFeatures,
}

impl Case {
    fn hashes(&self) -> Option<KernelHashes> {
        let (kernel, initrd, cmdline) = self.boot.as_ref()?;
        Some(KernelHashes::of(kernel, initrd, cmdline.as_bytes()).unwrap())
    }

    fn ours(&self, firmware: Firmware<'_>) -> LaunchDigest {
        let inputs = SnpInputs {
            firmware,
            hashes: self.hashes(),
            vmm: self.vmm,
            features: self.features,
            vcpus: self.vcpus,
            guest: SnpGuest::default(),
        };
        inputs.plan().unwrap().digest()
    }

    fn theirs(&self, tool: &Path, folder: &Path, precomputed: Option<&str>) -> String {
        let mut command = Command::new(tool);
        command.args(["--mode", "snp", "--ovmf", "firmware"]).current_dir(folder);
        if let Some((kernel, initrd, cmdline)) = &self.boot {
            std::fs::write(folder.join("kernel"), kernel).unwrap();
            std::fs::write(folder.join("initrd"), initrd).unwrap();
            command.args(["--kernel", "kernel", "--initrd", "initrd"]);
            command.arg(format!("--append={cmdline}"));
        }
        command.args(["--vcpus", &self.vcpus.to_string()]);
        command.args(["--guest-features", &format!("{:#x}", self.features.bits())]);
        match self.vmm {
            VmmProfile::Qemu(model) => {
                command.args(["--vmm-type", "QEMU", "--vcpu-type", model.name()])
            }
            VmmProfile::Ec2 => command.args(["--vmm-type", "ec2"]),
            VmmProfile::Gce(GceHost::Milan) => command.args(["--vmm-type", "gce"]),
            other => panic!("{other:?} is unknown to the tool"),
        };
        if let Some(digest) = precomputed {
            command.args(["--snp-ovmf-hash", digest]);
        }
        run(&mut command)
    }
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn case(cmdline: &str, vcpus: u16, vmm: VmmProfile, features: u64) -> Case {
    let kernel = (0..=250).cycle().take(70_001).collect();
    Case {
        boot: Some((kernel, b"initrd".to_vec(), cmdline.to_owned())),
        vcpus: NonZeroU16::new(vcpus).unwrap(),
        vmm,
        features: GuestFeatures::from_bits(features).unwrap(),
    }
}

#[test]
fn agrees_on_every_cpu_model_and_on_odd_inputs() {
    let Some(tool) = other_tool() else { return };
    let Some(image) = fixtures::amd_sev_firmware() else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("firmware"), &image).unwrap();

    let qemu = VmmProfile::Qemu("EPYC-v4".parse().unwrap());
    let empty = Some((vec![], vec![], String::new()));
    let mut cases = vec![
        Case { boot: empty, ..case("", 1, qemu, 1) },
        Case { boot: None, ..case("", 2, qemu, 1) },
        case(" blanks  at both ends ", 1, qemu, 1),
        case("umlaut=\u{e4} quote=\"a b\"", 3, qemu, 1),
        case("quiet", 2, qemu, 0x21),
        case("quiet", 1, qemu, 0x2001),
        case("quiet", 255, qemu, 1),
        case("quiet", 3, VmmProfile::Ec2, 1),
        case("quiet", 3, VmmProfile::Gce(GceHost::Milan), 1),
    ];
    for (vcpus, vcpu_type) in (1..).zip(known_models()) {
        cases.push(case("casemate.tee=snp quiet", vcpus, VmmProfile::Qemu(vcpu_type), 1));
    }
    for case in cases {
        let ours = case.ours(Firmware::parse(&image).unwrap()).to_string();
        assert_eq!(ours, case.theirs(&tool, folder.path(), None), "{case:?}");
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let bytes = || proptest::collection::vec(any::<u8>(), 1..200);
    let cmdline = "[ -~\u{e4}\u{20ac}]{0,60}";
    let boot = proptest::option::weighted(0.8, (bytes(), bytes(), cmdline));
    let model = proptest::sample::select(known_models());
    let vmm = prop_oneof![
        model.prop_map(VmmProfile::Qemu),
        Just(VmmProfile::Ec2),
        Just(VmmProfile::Gce(GceHost::Milan)),
    ];
    (boot, 1_u16..12, vmm, any::<u64>()).prop_map(|(boot, vcpus, vmm, features)| Case {
        boot,
        vcpus: NonZeroU16::new(vcpus).unwrap(),
        vmm,
        features: GuestFeatures::from_bits(features | 1).unwrap(),
    })
}

#[test]
fn agrees_on_random_firmware_and_inputs() {
    let Some(tool) = other_tool() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut config = ProptestConfig::with_cases(16);
    config.failure_persistence = None;
    proptest!(config, |(synthetic in synthetic(), case in cases(), split in 0_usize..3)| {
        let code = synthetic.image();
        let vars = vec![0x5a; split * 4096];
        std::fs::write(folder.path().join("firmware"), [vars.clone(), code.clone()].concat()).unwrap();
        let firmware = Firmware::split(&vars, &code).unwrap();
        let ours = case.ours(firmware.clone());
        prop_assert_eq!(ours.to_string(), case.theirs(&tool, folder.path(), None));

        // The firmware's own digest, and a launch that knows nothing else of the image.
        let mut command = Command::new(&tool);
        command.args(["--mode", "snp:ovmf-hash", "--ovmf", "firmware"]).current_dir(folder.path());
        let digest = run(&mut command);
        prop_assert_eq!(firmware.digest().to_string(), digest.clone());
        let outline = SnpOutline::new(
            firmware.digest(),
            firmware.metadata(),
            case.hashes().as_ref(),
            case.vmm,
            case.features,
            case.vcpus,
        )
        .unwrap();
        prop_assert_eq!(outline.digest(), ours);
        let theirs = case.theirs(&tool, folder.path(), Some(&digest));
        prop_assert_eq!(outline.digest().to_string(), theirs);
    });
}

/// The models of version 0.0.13; the newer versions of each are like the older ones.
fn known_models() -> Vec<VcpuType> {
    const NEWER: [&str; 9] = [
        "EPYC-v5",
        "EPYC-Rome-v4",
        "EPYC-Rome-v5",
        "EPYC-Milan-v3",
        "EPYC-Milan-v4",
        "EPYC-Genoa-v2",
        "EPYC-Genoa-v3",
        "EPYC-Turin-v1",
        "EPYC-Turin-v2",
    ];
    VcpuType::ALL.iter().filter(|model| !NEWER.contains(&model.name())).copied().collect()
}
