// SPDX-License-Identifier: Apache-2.0
//! `casemate check`: what a node can run, found out by looking.

use std::fs;
use std::path::Path;
use std::process::Command;

use casemate_agent_api::Code;
use serde_json::json;

use crate::args::CheckArgs;
use crate::args::Tee;
use crate::failure::Failure;
use crate::file;

/// Prints one line for each thing that pods need; fails if the required TEE is missing.
pub(crate) fn run(args: &CheckArgs) -> Result<(), Failure> {
    let findings = inspect(Path::new("/"), qemu_version(&args.qemu));
    let text = if args.json {
        let findings = findings.iter().map(|finding| {
            json!({"name": finding.name, "usable": finding.missing.is_none(), "missing": finding.missing})
        });
        format!("{}\n", json!({ "findings": findings.collect::<Vec<_>>() }))
    } else {
        findings.iter().fold(String::new(), |text, finding| match &finding.missing {
            None => format!("{text}usable   {}\n", finding.name),
            Some(missing) => format!("{text}missing  {}: {missing}\n", finding.name),
        })
    };
    file::write(None, &text)?;
    let Some(tee) = args.require else { return Ok(()) };
    let name = tee.finding();
    match findings.iter().find(|finding| finding.name == name).and_then(|f| f.missing.as_ref()) {
        None => Ok(()),
        Some(missing) => {
            let code = Code::TeeMissing;
            Err(Failure::new(code.as_str(), format_args!("{name}: {missing}"), code.next_step()))
        }
    }
}

/// One thing that pods may need.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    name: &'static str,
    /// What is missing; `None` if the thing can be used.
    missing: Option<String>,
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
    let snp = [
        parameter(
            root,
            "sys/module/kvm_amd/parameters/sev_snp",
            "SEV-SNP is off (kvm_amd.sev_snp)",
        ),
        exists(root, "dev/sev", "the processor's firmware has no device"),
        exists(root, "dev/kvm", "there is no KVM"),
        at_least(&qemu, SNP_QEMU),
    ];
    let tdx = [
        parameter(root, "sys/module/kvm_intel/parameters/tdx", "TDX is off (kvm_intel.tdx)"),
        exists(root, "dev/kvm", "there is no KVM"),
        at_least(&qemu, TDX_QEMU),
    ];
    let network = [exists(root, "dev/net/tun", "the kernel has no tap devices (module tun)")];
    let config = [exists(root, "etc/casemate/config.toml", "the shim has no configuration")];
    let finding = |name, needs: &[Option<String>]| Finding {
        name,
        missing: needs.iter().flatten().next().cloned(),
    };
    vec![
        finding("qemu", &[qemu.clone().err()]),
        finding("snp", &snp),
        finding("tdx", &tdx),
        finding("network", &network),
        finding("config", &config),
    ]
}

fn exists(root: &Path, path: &str, missing: &str) -> Option<String> {
    (!root.join(path).exists()).then(|| format!("{missing}: no /{path}"))
}

/// A switch of a kernel module; `Y` or `1` is on.
fn parameter(root: &Path, path: &str, missing: &str) -> Option<String> {
    let on = fs::read_to_string(root.join(path)).is_ok_and(|t| matches!(t.trim(), "Y" | "1"));
    (!on).then(|| missing.to_owned())
}

/// Major and minor version.
type Version = (u32, u32);

fn at_least(found: &Result<Version, String>, wanted: Version) -> Option<String> {
    match found {
        Ok(found) if *found >= wanted => None,
        Ok((major, minor)) => {
            Some(format!("QEMU {}.{} is needed, this is {major}.{minor}", wanted.0, wanted.1))
        }
        Err(missing) => Some(missing.clone()),
    }
}

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
        findings.iter().find(|f| f.name == name).unwrap().missing.as_deref()
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
