// SPDX-License-Identifier: Apache-2.0
//! Differential test against `sev-snp-measure`, an independent implementation.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod fixtures;

use std::num::NonZeroU16;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use casemate_boot_formats::sev_hashes::KernelHashes;
use casemate_launch_digest::GuestFeatures;
use casemate_launch_digest::SnpLaunch;
use casemate_launch_digest::VcpuType;

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

struct Case<'a> {
    kernel: &'a [u8],
    initrd: &'a [u8],
    cmdline: &'a str,
    vcpus: u16,
    vcpu_type: VcpuType,
    features: GuestFeatures,
}

impl Case<'_> {
    fn ours(&self, firmware: &[u8]) -> String {
        let cmdline = self.cmdline.as_bytes();
        let launch = SnpLaunch {
            firmware,
            hashes: Some(KernelHashes::of(self.kernel, self.initrd, cmdline).unwrap()),
            vcpu_type: self.vcpu_type,
            features: self.features,
        };
        launch.digest(NonZeroU16::new(self.vcpus).unwrap()).unwrap().to_string()
    }

    fn theirs(&self, tool: &Path, folder: &Path) -> String {
        std::fs::write(folder.join("kernel"), self.kernel).unwrap();
        std::fs::write(folder.join("initrd"), self.initrd).unwrap();
        let output = Command::new(tool)
            .args(["--mode", "snp", "--ovmf", "firmware"])
            .args(["--kernel", "kernel", "--initrd", "initrd", "--append", self.cmdline])
            .args(["--vcpus", &self.vcpus.to_string(), "--vcpu-type", self.vcpu_type.name()])
            .args(["--guest-features", &format!("{:#x}", self.features.bits())])
            .current_dir(folder)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

#[test]
fn agrees_on_every_cpu_model_and_on_odd_inputs() {
    let Some(tool) = other_tool() else { return };
    let Some(firmware) = fixtures::amd_sev_firmware() else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("firmware"), &firmware).unwrap();

    let kernel: Vec<u8> = (0..=250).cycle().take(70_001).collect();
    let plain = Case {
        kernel: &kernel,
        initrd: b"initrd",
        cmdline: "casemate.tee=snp quiet",
        vcpus: 1,
        vcpu_type: "EPYC-v4".parse().unwrap(),
        features: GuestFeatures::SNP,
    };
    let mut cases = vec![
        Case { kernel: b"", initrd: b"", cmdline: "", ..plain },
        Case { cmdline: " blanks  at both ends ", ..plain },
        Case { cmdline: "umlaut=\u{e4} quote=\"a b\"", vcpus: 3, ..plain },
        Case { features: GuestFeatures::SNP_DEBUG_SWAP, vcpus: 2, ..plain },
        Case { features: GuestFeatures::from_bits(0x2001).unwrap(), ..plain },
        Case { vcpus: 255, ..plain },
    ];
    for (vcpus, vcpu_type) in (1..).zip(VcpuType::ALL) {
        cases.push(Case { vcpus, vcpu_type: *vcpu_type, ..plain });
    }
    for case in cases {
        let name = format!("{:?} {} {}", case.cmdline, case.vcpus, case.vcpu_type);
        assert_eq!(case.ours(&firmware), case.theirs(&tool, folder.path()), "{name}");
    }
}
