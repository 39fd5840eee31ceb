// SPDX-License-Identifier: Apache-2.0
//! `casemate guest-image verify` as a person calls it, on a built guest image.

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

/// A copy of the production image in the build folder, if there is one.
fn image() -> Option<tempfile::TempDir> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(target, PathBuf::from);
    let built = target.join("casemate/guest/production");
    let Ok(files) = fs::read_dir(&built) else {
        let required = std::env::var_os("CASEMATE_REQUIRE").is_some_and(|value| value == "1");
        assert!(!required, "no guest image in {}", built.display());
        eprintln!("skipped: no guest image in {}", built.display());
        return None;
    };
    let copy = tempfile::tempdir().unwrap();
    for file in files.map(Result::unwrap) {
        fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    Some(copy)
}

fn casemate(args: &[&str]) -> Result<String, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_casemate")).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

fn exit_code(args: &[&str]) -> Option<i32> {
    Command::new(env!("CARGO_BIN_EXE_casemate")).args(args).output().unwrap().status.code()
}

fn key(folder: &Path, name: &str) -> (String, String) {
    let [private, public] = ["pem", "pub.pem"].map(|end| folder.join(name).with_extension(end));
    let run = |command: &mut Command| assert!(command.status().unwrap().success());
    let curve = ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out"];
    run(Command::new("openssl").args(curve).arg(&private));
    run(Command::new("openssl")
        .args(["pkey", "-pubout", "-in"])
        .arg(&private)
        .arg("-out")
        .arg(&public));
    (private.display().to_string(), public.display().to_string())
}

#[test]
fn verify_judges_the_id_blocks_and_the_signature() {
    let Some(folder) = image() else { return };
    let keys = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let dir = folder.path().display().to_string();
    let verify = |more: &[&str]| casemate(&[&["guest-image", "verify", &dir], more].concat());

    let (private, public) = key(keys.path(), "release");
    let unsigned = verify(&["--key", &public]).unwrap_err();
    assert!(unsigned.starts_with("guest-image.unsigned: "), "{unsigned}");
    fs::write(path("reference-values.sig"), b"no signature").unwrap();
    let wrong = verify(&["--key", &public]).unwrap_err();
    assert!(wrong.starts_with("guest-image.signature: "), "{wrong}");
    let all = ["guest-image", "verify", &dir, "--key"];
    assert_eq!(exit_code(&[&all[..], &[&public]].concat()), Some(1));
    // A key that is none judges nothing.
    let no_key = verify(&["--key", &path("image.json")]).unwrap_err();
    assert!(no_key.starts_with("key: "), "{no_key}");
    assert_eq!(exit_code(&[&all[..], &[&path("image.json")]].concat()), Some(2));
    let malformed = verify(&[]).unwrap_err();
    assert!(malformed.starts_with("guest-image.signature: "), "{malformed}");
    let signed = Command::new("openssl")
        .args(["dgst", "-sha384", "-sign", &private, "-out", &path("reference-values.sig")])
        .arg(path("reference-values.json"))
        .status()
        .unwrap();
    assert!(signed.success());
    assert!(verify(&[]).unwrap().contains("signature not checked: give --key"));
    assert!(verify(&["--key", &public]).unwrap().contains("signed by this key"));

    let values = fs::read(path("reference-values.json")).unwrap();
    let values: serde_json::Value = serde_json::from_slice(&values).unwrap();
    let digest = |vcpus: usize| values["snp"][0]["launch_digests"][vcpus - 1].as_str().unwrap();
    let create = |vcpus: usize, digest: &str, policy: &str| {
        let (block, auth) =
            (path(&format!("id-block-{vcpus}.bin")), path(&format!("id-auth-{vcpus}.bin")));
        let what = ["idblock", "create", "--launch-digest", digest, "--policy", policy];
        let how = ["--id-key", private.as_str(), "--block", &block, "--auth", &auth];
        casemate(&[&what[..], &how].concat()).unwrap()
    };
    let made = create(1, digest(1), "0x30000");
    let id_key = made.lines().find_map(|line| line.strip_prefix("id_key_digest")).unwrap().trim();
    let text = verify(&["--id-key-digest", id_key]).unwrap();
    let line = text.lines().last().unwrap();
    assert!(line.starts_with("id-block-1.bin binds EPYC "), "{text}");
    assert!(line.ends_with(&format!(", policy 0x30000, by key {id_key}")), "{text}");

    let fails = |code: &str, more: &[&str]| {
        let error = verify(more).unwrap_err();
        assert!(error.starts_with(&format!("{code}: ")) && error.contains("; next: "), "{error}");
    };
    fails("id-block.policy", &["--policy", "0x20000"]);
    create(1, digest(2), "0x30000");
    fails("id-block.digest", &[]);
    assert_eq!(exit_code(&["guest-image", "verify", &dir]), Some(1));
    // A file that is no ID block is not judged.
    let block = fs::read(path("id-block-1.bin")).unwrap();
    fs::write(path("id-block-1.bin"), "").unwrap();
    assert_eq!(exit_code(&["guest-image", "verify", &dir]), Some(2));
    fs::write(path("id-block-1.bin"), block).unwrap();
    fs::remove_file(path("id-auth-1.bin")).unwrap();
    fails("id-block.missing", &[]);
    fs::remove_file(path("id-block-1.bin")).unwrap();
    fs::write(path("cmdline.txt"), "init=/bin/sh").unwrap();
    fails("guest-image", &[]);
    assert_eq!(exit_code(&["guest-image", "verify", &dir]), Some(1));
}
