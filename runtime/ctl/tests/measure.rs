// SPDX-License-Identifier: Apache-2.0
//! `casemate measure` and `casemate idblock` as a script calls them, on the pinned firmware.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

fn casemate(args: &[&str]) -> Result<String, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_casemate")).args(args).output().unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap()),
        false => Err(String::from_utf8(output.stderr).unwrap()),
    }
}

/// The firmware that the set-up fetched; a printed reason if it did not.
fn firmware() -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../target/casemate/inputs/firmware/usr/share/ovmf/OVMF.amdsev.fd");
    if path.exists() {
        return Some(path.display().to_string());
    }
    assert!(std::env::var_os("CASEMATE_REQUIRE").is_none(), "needs {}", path.display());
    eprintln!("skipped: needs {}", path.display());
    None
}

/// An empty kernel and an empty initrd.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        fs::write(files.path("kernel"), "").unwrap();
        fs::write(files.path("initrd"), "").unwrap();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}

/// Digests on which sev-snp-measure 0.0.13 and the crate sev 8.0.0 agree, for Debian's
/// ovmf-amdsev 2026.08+ds-2.
const NO_KERNEL: &str = "d74bd3ea40b240c3228edc5177ce6193561ebff633dbd0be76d6c143b876d651\
                         02425c0e2e8a930857c48daa5eacda58";
const FOUR_GENOA: &str = "cddefe8c3416605d5ac29528986cda72d0711a2042d8ef482d61d7ff6c811e67\
                          2fa17fdc5d706dc247939476d277bcc7";
const WITH_CMDLINE: &str = "cfc7791ccd421f4cf5c1f2f1a5d1195a4a43cd7ca975b9ec9291c47ef1c4bcbf\
                            873364a5ac5215a80f184b4085a1acb6";

#[test]
fn snp_of_files_is_what_other_tools_say() {
    let Some(firmware) = firmware() else { return };
    let files = Files::new();
    let (kernel, initrd) = (files.text("kernel"), files.text("initrd"));
    let snp = ["measure", "snp", "--firmware", &firmware];
    let with_kernel = [&snp[..], &["--kernel", &kernel, "--initrd", &initrd]].concat();

    let plain = casemate(&[&snp[..], &["--vcpus", "1", "--vcpu-type", "EPYC-v4"]].concat());
    assert_eq!(plain.unwrap().trim(), NO_KERNEL);
    let genoa = [&with_kernel[..], &["--vcpu-type", "EPYC-Genoa"]].concat();
    let json = casemate(&[&genoa[..], &["--vcpus", "4", "--json"]].concat()).unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["launch_digest"], FOUR_GENOA);
    let append = ["--append", "console=ttyS0 loglevel=7", "--vcpu-type", "EPYC-v4"];
    let line = casemate(&[&with_kernel[..], &append, &["--vcpus", "2"]].concat()).unwrap();
    assert_eq!(line.trim(), WITH_CMDLINE);
    // A trailing blank is part of the command line.
    let append = ["--append", "console=ttyS0 loglevel=7 ", "--vcpu-type", "EPYC-v4"];
    let blank = casemate(&[&with_kernel[..], &append, &["--vcpus", "2"]].concat()).unwrap();
    assert_ne!(blank, line);

    // All counts in one call.
    let list = casemate(&[&genoa[..], &["--vcpus", "1..255", "--json"]].concat()).unwrap();
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 255);
    assert_eq!((&list[3]["vcpus"], &list[3]["launch_digest"]), (&4.into(), &FOUR_GENOA.into()));

    // The explanation ends with the digest and names every CPU.
    let steps = casemate(&[&genoa[..], &["--vcpus", "4", "--explain"]].concat()).unwrap();
    assert_eq!(steps.lines().last(), Some(FOUR_GENOA));
    assert_eq!(steps.matches("vCPU ").count(), 4);
    // Each page of the firmware is a step of its own.
    let pages = std::fs::metadata(&firmware).unwrap().len() / 4096;
    assert!(u64::try_from(steps.matches(" Normal ").count()).unwrap() >= pages);
}

#[test]
fn each_other_vmm_or_feature_gives_another_digest() {
    let Some(firmware) = firmware() else { return };
    let measure = |more: &[&str]| {
        let all = ["measure", "snp", "--firmware", &firmware, "--vcpus", "2", "--vcpu-type"];
        casemate(&[&all[..], &["EPYC-v4"], more].concat())
    };
    let digests = [
        measure(&[]),
        measure(&["--vmm", "ec2"]),
        measure(&["--vmm", "gce"]),
        measure(&["--vmm", "casemate"]),
        measure(&["--guest-features", "0x21"]),
    ];
    let distinct: std::collections::HashSet<_> = digests.iter().flatten().collect();
    assert_eq!(distinct.len(), digests.len());
    assert_eq!(measure(&["--guest-features", "1"]), digests[0]);
    assert!(measure(&["--vmm", "other"]).unwrap_err().starts_with("measure: "));
    for wrong in [["--guest-features", "0x20"], ["--initrd", &firmware], ["--append", "x"]] {
        assert!(measure(&wrong).unwrap_err().starts_with("usage: "), "{wrong:?}");
    }
}

#[test]
fn tdx_tells_what_it_can_and_names_what_it_cannot() {
    let Some(firmware) = firmware() else { return };
    let json = casemate(&["measure", "tdx", "--firmware", &firmware, "--json"]).unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["mrtd"].as_str().unwrap().len(), 96);
    assert_ne!(json["mrtd"], json["mrtd_two_pass"]);
    assert_eq!(json["rtmr"].as_array().unwrap().len(), 4);
    assert_eq!(json["rtmr"][3], "0".repeat(96));
    for register in ["rtmr0", "rtmr1", "rtmr2"] {
        assert!(json["not_shown"][register].as_str().unwrap().starts_with("not shown: "));
    }
    let older = ["--memory", "2048", "--generation", "before-202505", "--json"];
    let all = [&["measure", "tdx", "--firmware", &firmware][..], &older];
    let json: Value = serde_json::from_str(&casemate(&all.concat()).unwrap()).unwrap();
    assert!(json["not_shown"]["rtmr0"].as_str().unwrap().contains("ACPI"), "{json}");
    let acpi = ["--acpi", &firmware, &firmware, &firmware];
    let json = casemate(&[all[0], &older, &acpi].concat()).unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["rtmr"][0].as_str().unwrap().len(), 96, "{json}");
}

// E21: a host without the TEE launches nothing in its place.
#[test]
fn a_trial_launch_tells_what_kvm_answered() {
    let Some(firmware) = firmware() else { return };
    for tee in ["snp", "tdx"] {
        let command = ["check", "--launch", tee, "--firmware", &firmware];
        let output = Command::new(env!("CARGO_BIN_EXE_casemate")).args(command).output().unwrap();
        let transcript = String::from_utf8(output.stdout).unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        if output.status.success() {
            assert_eq!(transcript.lines().last(), Some("launched"), "{transcript}");
        } else if Path::new("/dev/kvm").exists() {
            assert!(transcript.contains("\npredicted "), "{transcript}{error}");
            assert!(transcript.contains("KVM_CHECK_EXTENSION"), "{transcript}{error}");
            assert!(transcript.lines().last().unwrap().starts_with("not launched: "));
        } else {
            assert!(error.starts_with("tee.missing: /dev/kvm"), "{error}");
        }
    }
}

#[test]
fn an_id_block_binds_one_launch_digest() {
    let files = Files::new();
    for key in ["id.pem", "author.pem"] {
        let mut openssl = Command::new("openssl");
        openssl.args(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"]);
        assert!(openssl.arg("-out").arg(files.path(key)).status().unwrap().success());
    }
    let (block, auth) = (files.text("block"), files.text("auth"));
    let (id, author) = (files.text("id.pem"), files.text("author.pem"));
    let out = ["--block", &block, "--auth", &auth];
    let create = ["idblock", "create", "--launch-digest", NO_KERNEL, "--id-key", &id];
    let made = casemate(&[&create[..], &["--author-key", &author], &out].concat()).unwrap();
    assert!(made.contains(NO_KERNEL) && made.contains("author_key_digest"), "{made}");
    assert_eq!(fs::read(&block).unwrap().len(), 96);
    assert_eq!(fs::read(&auth).unwrap().len(), 4096);

    let verify = |more: &[&str]| casemate(&[&["idblock", "verify"], &out[..], more].concat());
    assert_eq!(verify(&["--launch-digest", NO_KERNEL]).unwrap(), made);
    let other = verify(&["--launch-digest", FOUR_GENOA]).unwrap_err();
    assert!(other.starts_with("id-block.digest: it binds"), "{other}");
    let key = made.lines().find_map(|line| line.strip_prefix("id_key_digest")).unwrap().trim();
    assert_eq!(verify(&["--id-key-digest", key, "--policy", "0x30000"]).unwrap(), made);
    let other = verify(&["--id-key-digest", NO_KERNEL]).unwrap_err();
    assert!(other.starts_with("id-block.key: it is signed by"), "{other}");
    assert!(verify(&["--policy", "0xb0000"]).unwrap_err().starts_with("id-block.policy: it binds"));
    assert!(made.contains("debugging forbidden, migration agent forbidden"), "{made}");
    // No output over a key or over the other output, by whatever path.
    let key_bytes = fs::read(&id).unwrap();
    std::os::unix::fs::symlink(&id, files.path("link")).unwrap();
    fs::hard_link(&author, files.path("hard")).unwrap();
    let (link, hard) = (files.text("link"), files.text("hard"));
    let around = format!("{}/./block", files.0.path().display());
    let with_author = [&create[..], &["--author-key", &author]].concat();
    for out in [[&id, &auth], [&block, &id], [&link, &auth], [&block, &hard], [&block, &around]] {
        let out = ["--block", out[0].as_str(), "--auth", out[1].as_str()];
        let error = casemate(&[&with_author[..], &out].concat()).unwrap_err();
        assert!(error.starts_with("id-block: "), "{error}");
    }
    assert_eq!(fs::read(&id).unwrap(), key_bytes);
    let pipe = files.text("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let error = casemate(&[&create[..], &["--block", &pipe, "--auth", &auth]].concat());
    assert!(error.unwrap_err().starts_with("file: "));
    // A host that may read the guest is no slip of the pen.
    let debug = [&create[..], &["--policy", "0xb0000"], &out].concat();
    let refused = casemate(&debug).unwrap_err();
    assert!(refused.starts_with("id-block.policy: "), "{refused}");
    let debug = casemate(&[&debug[..], &["--allow-debug"]].concat()).unwrap();
    assert!(debug.contains("debugging ALLOWED"), "{debug}");
    // One byte of the block.
    let mut bytes = fs::read(&block).unwrap();
    bytes[0] ^= 1;
    fs::write(&block, bytes).unwrap();
    assert!(verify(&[]).unwrap_err().starts_with("id-block.signature: "));
    // A policy that every PSP refuses, and a key that is none.
    let policy = casemate(&[&create[..], &["--policy", "0x10000"], &out].concat());
    assert!(policy.unwrap_err().starts_with("id-block: "));
    let no_key = files.text("kernel");
    let create = ["idblock", "create", "--launch-digest", NO_KERNEL, "--id-key", &no_key];
    assert!(casemate(&[&create[..], &out].concat()).unwrap_err().starts_with("key: "));
}
