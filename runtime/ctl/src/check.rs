// SPDX-License-Identifier: Apache-2.0
//! `casemate check`: what a node can run, found out by looking.

mod launch;

use std::fs;
use std::path::Path;
use std::process::Command;

use casemate_agent_api::Code;
use serde_json::json;

use crate::args::CheckArgs;
use crate::args::Tee;
use crate::failure::Failure;
use crate::file;

/// Prints one line for each thing that pods need, or launches a guest for trial; fails if the required TEE is missing.
pub(crate) fn run(args: &CheckArgs) -> Result<(), Failure> {
    if let (Some(tee), Some(firmware)) = (args.launch, &args.firmware) {
        return launch::run(tee, firmware);
    }
    let findings = inspect(Path::new("/"), qemu_version(&args.qemu));
    let text = if args.json { in_json(&findings) } else { in_words(&findings) };
    file::write(None, &text)?;
    let Some(tee) = args.require else { return Ok(()) };
    let name = tee.finding();
    match findings.iter().find(|finding| finding.name == name).and_then(|f| f.missing.as_ref()) {
        None => Ok(()),
        Some(Missing { what, .. }) => {
            let code = Code::TeeMissing;
            Err(Failure::new(code.as_str(), format_args!("{name}: {what}"), code.next_step()))
        }
    }
}

fn in_words(findings: &[Finding]) -> String {
    let lines = findings.iter().map(|finding| match &finding.missing {
        None => format!("usable   {}\n", finding.name),
        Some(Missing { what, fix }) => format!("missing  {}: {what}; {fix}\n", finding.name),
    });
    format!("{}{}\n", lines.collect::<String>(), ACPI_IN_WORDS)
}

fn in_json(findings: &[Finding]) -> String {
    let findings = findings.iter().map(|finding| {
        let missing = finding.missing.as_ref();
        json!({
            "name": finding.name,
            "usable": missing.is_none(),
            "missing": missing.map(|missing| &missing.what),
            "fix": missing.map(|missing| missing.fix),
        })
    });
    let object = json!({
        "findings": findings.collect::<Vec<_>>(),
        "acpi_from_host": {
            "snp": { "one_vcpu": false, "several_vcpus": true },
            "tdx": { "one_vcpu": true, "several_vcpus": true },
        },
    });
    format!("{object}\n")
}

/// Which guests take ACPI code from this host (BadAML): `casemate_vmm::Tee::takes_acpi_from_host`.
const ACPI_IN_WORDS: &str = "\
ACPI     SNP pods with one vCPU take no ACPI code from this host (measured acpi=off)
ACPI     SNP pods with several vCPUs, and all TDX pods, run this host's ACPI code: see the threat model, BadAML";

/// One thing that pods may need.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    name: &'static str,
    /// What is missing; `None` if the thing can be used.
    missing: Option<Missing>,
}

/// The first step that is missing, and how to take it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Missing {
    what: String,
    fix: &'static str,
}

impl Tee {
    fn finding(self) -> &'static str {
        match self {
            Self::Snp => "snp",
            Self::Tdx => "tdx",
        }
    }
}

/// Looks below `root`, which is `/` but for tests.
fn inspect(root: &Path, qemu: Result<Version, String>) -> Vec<Finding> {
    let kvm =
        || exists(root, "dev/kvm", "there is no KVM", TURN_ON).or_else(|| has_virtualisation(root));
    let snp = [
        parameter(
            root,
            "sys/module/kvm_amd/parameters/sev_snp",
            "SEV-SNP is off (kvm_amd.sev_snp)",
            "turn on SMEE, SEV-SNP and IOMMU in the BIOS and boot Linux 6.11 or newer with kvm_amd.sev_snp=1",
        ),
        exists(
            root,
            "dev/sev",
            "the processor's firmware has no device",
            "load the module ccp and update the SEV firmware",
        ),
        kvm(),
        at_least(&qemu, SNP_QEMU),
    ];
    let tdx = [
        parameter(
            root,
            "sys/module/kvm_intel/parameters/tdx",
            "TDX is off (kvm_intel.tdx)",
            "turn on TDX in the BIOS and boot Linux 6.16 or newer with kvm_intel.tdx=1",
        ),
        kvm(),
        at_least(&qemu, TDX_QEMU),
    ];
    let network =
        [exists(root, "dev/net/tun", "the kernel has no tap devices", "load the module tun")];
    let config = [exists(
        root,
        "etc/casemate/config.toml",
        "the shim has no configuration",
        "write it: docs/how-to/install-on-a-node.md",
    )];
    let finding = |name, needs: &[Option<Missing>]| Finding {
        name,
        missing: needs.iter().flatten().next().cloned(),
    };
    let no_qemu = qemu.clone().err().map(|what| Missing { what, fix: INSTALL_QEMU });
    vec![
        finding("qemu", &[no_qemu]),
        finding("kvm", &[kvm()]),
        finding("snp", &snp),
        finding("tdx", &tdx),
        finding("network", &network),
        finding("config", &config),
    ]
}

/// A KVM that is emulated in software has a device and runs no Linux guest.
fn has_virtualisation(root: &Path) -> Option<Missing> {
    let text = fs::read_to_string(root.join("proc/cpuinfo")).unwrap_or_default();
    let mut flags = text.lines().filter(|line| line.starts_with("flags"));
    let found = flags.any(|line| line.split(' ').any(|flag| matches!(flag, "svm" | "vmx")));
    let what = "the processor offers no virtualisation: no svm or vmx in /proc/cpuinfo".to_owned();
    (!found).then_some(Missing { what, fix: TURN_ON })
}

const TURN_ON: &str = "turn virtualisation on in the BIOS, or nested virtualisation in the VM";

fn exists(root: &Path, path: &str, missing: &str, fix: &'static str) -> Option<Missing> {
    let missing = || Missing { what: format!("{missing}: no /{path}"), fix };
    (!root.join(path).exists()).then(missing)
}

/// A switch of a kernel module; `Y` or `1` is on.
fn parameter(root: &Path, path: &str, missing: &str, fix: &'static str) -> Option<Missing> {
    let on = fs::read_to_string(root.join(path)).is_ok_and(|t| matches!(t.trim(), "Y" | "1"));
    (!on).then(|| Missing { what: missing.to_owned(), fix })
}

/// Major and minor version.
type Version = (u32, u32);

fn at_least(found: &Result<Version, String>, wanted: Version) -> Option<Missing> {
    let what = match found {
        Ok(found) if *found >= wanted => return None,
        Ok((major, minor)) => {
            format!("QEMU {}.{} is needed, this is {major}.{minor}", wanted.0, wanted.1)
        }
        Err(missing) => missing.clone(),
    };
    Some(Missing { what, fix: INSTALL_QEMU })
}

const INSTALL_QEMU: &str = "install a newer QEMU or name it with --qemu";

fn qemu_version(program: &Path) -> Result<Version, String> {
    let output = Command::new(program)
        .arg("--version")
        .output()
        .map_err(|error| format!("{} cannot be run: {error}", program.display()))?;
    parse_version(&String::from_utf8_lossy(&output.stdout))
        .ok_or_else(|| format!("{} does not say its version", program.display()))
}

/// `QEMU emulator version 10.0.2 (…)`
fn parse_version(text: &str) -> Option<Version> {
    let (_, rest) = text.split_once("version ")?;
    let mut numbers = rest.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// First QEMU with SNP guests.
const SNP_QEMU: Version = (9, 1);
/// First QEMU with TDX guests.
const TDX_QEMU: Version = (10, 1);

#[cfg(test)]
mod tests {
    use super::*;

    fn missing<'a>(findings: &'a [Finding], name: &str) -> Option<&'a str> {
        let finding = findings.iter().find(|f| f.name == name).unwrap();
        finding.missing.as_ref().map(|missing| missing.what.as_str())
    }

    fn put(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    // E21: a node without the TEE says so
    #[test]
    fn names_the_first_thing_that_is_missing() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let snp = |version| {
            missing(&inspect(root, Ok(version)), "snp")
                .map(|t| t.split(':').next().unwrap().to_owned())
        };
        assert_eq!(snp((10, 0)).unwrap(), "SEV-SNP is off (kvm_amd.sev_snp)");
        put(root, "sys/module/kvm_amd/parameters/sev_snp", "N\n");
        assert_eq!(snp((10, 0)).unwrap(), "SEV-SNP is off (kvm_amd.sev_snp)");
        put(root, "sys/module/kvm_amd/parameters/sev_snp", "Y\n");
        assert_eq!(snp((10, 0)).unwrap(), "the processor's firmware has no device");
        put(root, "dev/sev", "");
        put(root, "dev/kvm", "");
        assert!(snp((9, 1)).unwrap().starts_with("the processor offers no virtualisation"));
        put(root, "proc/cpuinfo", "flags\t\t: fpu svm sse\n");
        assert_eq!(snp((9, 0)).unwrap(), "QEMU 9.1 is needed, this is 9.0");
        assert_eq!(snp((9, 1)), None);
        let none = inspect(root, Err("no QEMU".to_owned()));
        assert_eq!(missing(&none, "snp"), Some("no QEMU"));
        assert_eq!(missing(&none, "qemu"), Some("no QEMU"));
        assert!(missing(&none, "tdx").is_some());
        assert!(missing(&none, "network").is_some());
    }

    #[test]
    fn reads_versions() {
        assert_eq!(parse_version("QEMU emulator version 10.0.2 (Debian 1:10)\n"), Some((10, 0)));
        assert_eq!(parse_version("QEMU emulator version 9.1"), Some((9, 1)));
        for text in ["", "version ", "version x.y", "QEMU 9.1"] {
            assert_eq!(parse_version(text), None, "{text}");
        }
    }
}
