// SPDX-License-Identifier: Apache-2.0
//! Judges evidence with programs of others: `sev-snp-measure`, and OpenSSL through Python.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use casemate_evidence::snp::CertificateKind;

use super::guest::{Evidence, workspace};

pub(crate) struct Judge {
    measure: PathBuf,
}

/// Name of the file with the command line for so many vCPUs.
pub(crate) fn cmdline(vcpus: u32) -> &'static str {
    if vcpus == 1 { "cmdline.txt" } else { "cmdline-smp.txt" }
}

impl Judge {
    pub(crate) fn find() -> Result<Self, String> {
        let measure = std::env::var_os("CASEMATE_SEV_SNP_MEASURE").map_or_else(
            || workspace().join("target/casemate/venv/bin/sev-snp-measure"),
            PathBuf::from,
        );
        let judge = Self { measure };
        if !judge.measure.exists() {
            return Err(format!("needs {}", judge.measure.display()));
        }
        let crypto = Command::new(judge.python()).args(["-c", "import cryptography"]).output();
        match crypto {
            Ok(output) if output.status.success() => Ok(judge),
            _ => Err(format!("needs cryptography in {}", judge.python().display())),
        }
    }

    fn python(&self) -> PathBuf {
        self.measure.with_file_name("python3")
    }

    /// The digest that the other tool predicts from the files.
    pub(crate) fn digest(&self, image: &Path, vcpus: u32) -> String {
        let output = Command::new(&self.measure)
            .args(["--mode", "snp", "--vcpu-type", "EPYC-v4", "--vmm-type", "QEMU"])
            .args(["--guest-features", "0x1", "--vcpus", &vcpus.to_string()])
            .args(["--append", &std::fs::read_to_string(image.join(cmdline(vcpus))).unwrap()])
            .arg("--ovmf")
            .arg(image.join("firmware.fd"))
            .arg("--kernel")
            .arg(image.join("kernel"))
            .arg("--initrd")
            .arg(image.join("initramfs"))
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Chain, report signature, and that chip id and TCB of report and VCEK agree.
    pub(crate) fn signatures(&self, folder: &Path, evidence: &Evidence) {
        std::fs::write(folder.join("report.bin"), &evidence.report).unwrap();
        for (name, kind) in [
            ("ark", CertificateKind::Ark),
            ("ask", CertificateKind::Ask),
            ("vcek", CertificateKind::Vcek),
        ] {
            let entry = evidence.table.iter().find(|entry| entry.kind == kind).unwrap();
            std::fs::write(folder.join(name).with_extension("der"), &entry.data).unwrap();
        }
        let good = self.run(folder);
        assert!(good.is_ok(), "{}", good.unwrap_err());
        // The judge can say no.
        let mut bad = evidence.report.clone();
        bad[0x90] ^= 1;
        std::fs::write(folder.join("report.bin"), &bad).unwrap();
        assert!(self.run(folder).unwrap_err().contains("InvalidSignature"));
    }

    fn run(&self, folder: &Path) -> Result<(), String> {
        let output = Command::new(self.python()).args(["-c", SCRIPT]).arg(folder).output().unwrap();
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

const SCRIPT: &str = r#"
import sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils
folder = sys.argv[1] + "/"
report = open(folder + "report.bin", "rb").read()
ark, ask, vcek = (x509.load_der_x509_certificate(open(folder + n + ".der", "rb").read()) for n in ("ark", "ask", "vcek"))
sha = hashes.SHA384()
for issuer, subject in ((ark, ark), (ark, ask), (ask, vcek)):
    assert issuer.subject == subject.issuer
    assert "simulated" in subject.subject.rfc4514_string()
    assert issuer.public_key().key_size == 4096
    assert issuer.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    issuer.public_key().verify(subject.signature, subject.tbs_certificate_bytes,
        padding.PSS(mgf=padding.MGF1(sha), salt_length=48), sha)
assert len(report) == 1184
r, s = (int.from_bytes(report[at:at + 72], "little") for at in (0x2a0, 0x2e8))
assert not any(report[0x330:])
vcek.public_key().verify(utils.encode_dss_signature(r, s), report[:0x2a0], ec.ECDSA(sha))
def extension(number):
    return vcek.extensions.get_extension_for_oid(x509.ObjectIdentifier("1.3.6.1.4.1.3704.1." + number)).value.value
assert extension("4") == report[0x1a0:0x1e0]
assert extension("2") == b"\x16\x05Genoa"
tcb = report[0x180:0x188]
for number, at in (("3.1", 0), ("3.2", 1), ("3.3", 6), ("3.8", 7)):
    assert extension(number) == bytes([2, 1, tcb[at]])
"#;
