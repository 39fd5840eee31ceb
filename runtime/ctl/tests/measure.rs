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

/// The error line of a call that was given something unusable: exit code 2.
fn unusable(args: &[&str], code: &str) -> String {
    exits(args, 2, code)
}

/// The error line of a call that judged and refused: exit code 1.
fn refused(args: &[&str], code: &str) -> String {
    exits(args, 1, code)
}

fn exits(args: &[&str], exit: i32, code: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_casemate")).args(args).output().unwrap();
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(exit), "{args:?}: {line}");
    assert!(line.starts_with(&format!("{code}: ")) && line.contains("; next: "), "{line}");
    assert!(output.stdout.is_empty());
    line
}

/// A kernel, an initrd and an empty file.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        fs::write(files.path("kernel"), "kernel").unwrap();
        fs::write(files.path("initrd"), "initrd").unwrap();
        fs::write(files.path("empty"), "").unwrap();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}

/// Digests by sev-snp-measure 0.0.13 for a kernel and an initrd of six bytes, and for Debian's
/// ovmf-amdsev 2026.08+ds-2.
const NO_KERNEL: &str = "d74bd3ea40b240c3228edc5177ce6193561ebff633dbd0be76d6c143b876d651\
                         02425c0e2e8a930857c48daa5eacda58";
const FOUR_GENOA: &str = "d6c32dba7aa64a46da02c9ddaf334747679547faa77cc931444db3bee2e2cb4d\
                          7d5e660c9f1bad7021d4bf0e6258a574";
const WITH_CMDLINE: &str = "1e960f96d7d10210c0cb9d0bde9db4ec6c72248395a93d9bd375cbc1ed7327a7\
                            83ad5ad93dff3f001240c4030c68412c";

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

    let part = casemate(&[&genoa[..], &["--vcpus", "2..4", "--json"]].concat()).unwrap();
    let part: Value = serde_json::from_str(&part).unwrap();
    assert_eq!(part.as_array().unwrap(), &list.as_array().unwrap()[1..4]);
    // No guest starts from nothing.
    let empty = files.text("empty");
    let one = ["--vcpus", "1", "--vcpu-type", "EPYC-v4"];
    for files in
        [["--kernel", &empty, "--initrd", &initrd], ["--kernel", &kernel, "--initrd", &empty]]
    {
        let line = unusable(&[&snp[..], &files, &one].concat(), "file");
        assert!(line.contains("is empty"), "{line}");
    }
    unusable(&[&["measure", "snp", "--firmware", &kernel], &one[..]].concat(), "measure");
    for wrong in ["+1", "01", "0", "256", "4..2", "1..256"] {
        let call = [&snp[..], &["--vcpu-type", "EPYC-v4", "--vcpus", wrong]].concat();
        unusable(&call, "usage");
    }

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

/// What `measure tdx` prints of a register that it cannot predict must end the search: what to give
/// and where it lies, and nothing else once that is given.
#[test]
fn tdx_tells_what_it_can_and_names_what_it_cannot() {
    let Some(firmware) = firmware() else { return };
    let tdx = |more: &[&str]| {
        let all = [&["measure", "tdx", "--firmware", &firmware, "--json"], more].concat();
        serde_json::from_str::<Value>(&casemate(&all).unwrap()).unwrap()
    };
    let json = tdx(&[]);
    assert_eq!(json["mrtd"].as_str().unwrap().len(), 96);
    assert_ne!(json["mrtd"], json["mrtd_two_pass"]);
    assert_eq!(json["rtmr"].as_array().unwrap().len(), 4);
    assert_eq!(json["rtmr"][3], "0".repeat(96));
    let reason = |json: &Value, register: &str| {
        let reason = json["not_shown"][register].as_str().unwrap().to_owned();
        assert!(reason.starts_with("not shown: "), "{reason}");
        reason
    };
    // Of this generation no option shows the first two, so none is asked for.
    for register in ["rtmr0", "rtmr1"] {
        let reason = reason(&json, register);
        assert!(!reason.contains("--memory") && !reason.contains("--kernel"), "{reason}");
        assert!(reason.contains("casemate verify tdx --quote FILE --event-log FILE"), "{reason}");
    }
    assert_eq!(tdx(&["--memory", "2048"])["not_shown"], json["not_shown"]);
    let rtmr2 = reason(&json, "rtmr2");
    assert!(rtmr2.contains("--kernel FILE --initrd FILE --append TEXT"), "{rtmr2}");

    let older = ["--generation", "before-202505"];
    let rtmr0 = reason(&tdx(&older), "rtmr0");
    assert!(rtmr0.contains("--memory MIB") && rtmr0.contains("--acpi LOADER"), "{rtmr0}");
    let memory = [&older[..], &["--memory", "2048"]].concat();
    let rtmr0 = reason(&tdx(&memory), "rtmr0");
    assert!(!rtmr0.contains("--memory") && rtmr0.contains("qemu_fw_cfg"), "{rtmr0}");
    let files = AcpiFiles::new();
    let [loader, rsdp, tables] = &files.paths;
    fn acpi<'a>(before: &[&'a str], [loader, rsdp, tables]: [&'a str; 3]) -> Vec<&'a str> {
        [before, &["--acpi", loader, rsdp, tables]].concat()
    }
    let json = tdx(&acpi(&memory, [loader, rsdp, tables]));
    assert_eq!(json["rtmr"][0].as_str().unwrap().len(), 96, "{json}");
    assert_eq!(json["not_shown"]["rtmr0"], Value::Null, "{json}");

    // Files that are not these three, whether or not they would be used; and too little RAM.
    let empty = Files::new();
    let empty = empty.text("empty");
    for wrong in [
        [&firmware, &firmware, &firmware].map(String::as_str),
        [&empty, &empty, &empty].map(String::as_str),
        [loader, tables, rsdp],
        [rsdp, loader, tables],
    ] {
        for more in [acpi(&memory, wrong), acpi(&[], wrong)] {
            let all = [&["measure", "tdx", "--firmware", &firmware], &more[..]].concat();
            let line = unusable(&all, "measure");
            assert!(line.contains("--acpi") && line.contains("qemu_fw_cfg"), "{line}");
        }
    }
    let line = unusable(&["measure", "tdx", "--firmware", &firmware, "--memory", "0"], "measure");
    assert!(line.contains("--memory 0") && line.contains("-m of QEMU"), "{line}");
    let kernel = ["measure", "tdx", "--firmware", &firmware, "--kernel", &empty];
    unusable(&kernel, "measure");
}

/// Keys in the firmware would be measured, and no vector shows how.
#[test]
fn firmware_with_keys_has_no_rtmr0() {
    let Some(firmware) = firmware() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = fs::read(&firmware).unwrap();
    // Behind the headers of volume and store, in the erased part.
    assert_eq!(bytes[0x64..0x68], [0xff; 4]);
    bytes[0x64] = 0xaa;
    let keyed = folder.path().join("firmware");
    fs::write(&keyed, bytes).unwrap();
    let keyed = keyed.display().to_string();
    let all = ["measure", "tdx", "--firmware", &keyed, "--generation", "before-202505"];
    let text = casemate(&all).unwrap();
    assert!(text.contains("enrolled secure boot keys"), "{text}");
    assert!(text.contains("guest-image build --tee tdx"), "{text}");
}

/// Three files as QEMU writes them: one table, and the table of tables.
struct AcpiFiles {
    paths: [String; 3],
    _folder: tempfile::TempDir,
}

impl AcpiFiles {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let table = |signature: &[u8]| [signature, &[40, 0, 0, 0], &[0; 32]].concat();
        let tables = [table(b"DSDT"), table(b"RSDT")].concat();
        let rsdp = b"RSD PTR \0BOCHS \0\x28\0\0\0".to_vec();
        let name = |name: &str| format!("{name:\0<56}").into_bytes();
        let [r, t] = ["etc/acpi/rsdp", "etc/acpi/tables"].map(name);
        let command = |code: u32, fields: &[&[u8]]| {
            let mut entry = code.to_le_bytes().to_vec();
            entry.extend(fields.concat());
            entry.resize(128, 0);
            entry
        };
        let words = |numbers: [u32; 3]| numbers.map(u32::to_le_bytes).concat();
        let loader = [
            command(1, &[&r, &16_u32.to_le_bytes(), &[2]]),
            command(1, &[&t, &64_u32.to_le_bytes(), &[1]]),
            command(3, &[&t, &words([9, 0, 40])]),
            command(3, &[&t, &words([49, 40, 40])]),
            command(2, &[&r, &t, &16_u32.to_le_bytes(), &[4]]),
            command(3, &[&r, &words([8, 0, 20])]),
        ];
        let paths = [("loader", loader.concat()), ("rsdp", rsdp), ("tables", tables)];
        let paths = paths.map(|(name, bytes)| {
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            path.display().to_string()
        });
        Self { paths, _folder: folder }
    }
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
    let all = ["idblock", "verify", "--launch-digest", FOUR_GENOA];
    let other = refused(&[&all[..], &out].concat(), "id-block.digest");
    assert!(other.starts_with("id-block.digest: it binds"), "{other}");
    let key = made.lines().find_map(|line| line.strip_prefix("id_key_digest")).unwrap().trim();
    assert_eq!(verify(&["--id-key-digest", key, "--policy", "0x30000"]).unwrap(), made);
    let other = verify(&["--id-key-digest", NO_KERNEL]).unwrap_err();
    assert!(other.starts_with("id-block.key: it is signed by"), "{other}");
    assert!(verify(&["--policy", "0xb0000"]).unwrap_err().starts_with("id-block.policy: it binds"));
    assert!(made.contains("debugging forbidden, migration agent forbidden"), "{made}");
    let author_key =
        made.lines().find_map(|line| line.strip_prefix("author_key_digest")).unwrap().trim();
    assert_eq!(verify(&["--author-key-digest", author_key]).unwrap(), made);
    let other = verify(&["--author-key-digest", key]).unwrap_err();
    assert!(other.starts_with("id-block.key: the author of its key is"), "{other}");
    let json: Value = serde_json::from_str(&verify(&["--json"]).unwrap()).unwrap();
    assert_eq!((&json["launch_digest"], &json["policy"]), (&NO_KERNEL.into(), &"0x30000".into()));
    assert_eq!(
        (&json["id_key_digest"], &json["author_key_digest"]),
        (&key.into(), &author_key.into())
    );
    assert_eq!(json["policy_allows"]["debug"], false);
    // Without an author, none is said and none is found.
    let alone = [&files.text("block-2"), &files.text("auth-2")];
    let alone = ["--block", alone[0].as_str(), "--auth", alone[1].as_str()];
    let json = casemate(&[&create[..], &alone, &["--json"]].concat()).unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["author_key_digest"], Value::Null);
    let wanted = ["idblock", "verify", "--author-key-digest", author_key];
    refused(&[&wanted[..], &alone].concat(), "id-block.key");
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
    refused(&debug, "id-block.policy");
    let debug = casemate(&[&debug[..], &["--allow-debug"]].concat()).unwrap();
    assert!(debug.contains("debugging ALLOWED"), "{debug}");
    // One byte of the block.
    let mut bytes = fs::read(&block).unwrap();
    bytes[0] ^= 1;
    fs::write(&block, bytes).unwrap();
    refused(&[&["idblock", "verify"], &out[..]].concat(), "id-block.signature");
    // No block at all is not judged.
    fs::write(&block, [0; 95]).unwrap();
    unusable(&[&["idblock", "verify"], &out[..]].concat(), "id-block");
    // A policy that every PSP refuses, and a key that is none.
    let policy = casemate(&[&create[..], &["--policy", "0x10000"], &out].concat());
    assert!(policy.unwrap_err().starts_with("id-block: "));
    let no_key = files.text("kernel");
    let create = ["idblock", "create", "--launch-digest", NO_KERNEL, "--id-key", &no_key];
    assert!(casemate(&[&create[..], &out].concat()).unwrap_err().starts_with("key: "));
}
