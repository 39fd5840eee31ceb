// SPDX-License-Identifier: Apache-2.0
//! The container crate does not compile without the features that confine containers.
//!
//! libcontainer leaves out the system call filter or the device filter in silence when it is built
//! without them, so the crate must not build at all then.
#![expect(clippy::unwrap_used, reason = "a step of a test that fails, fails the test")]

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

#[test]
fn without_its_features_the_crate_does_not_compile() {
    let fails = |features: &str, missing: &str| {
        let (success, messages) = build_with(features);
        assert!(!success, "it compiles with {features}");
        assert!(messages.contains(missing), "fails for another reason:\n{messages}");
    };
    fails(r#""v2", "cgroupsv2_devices""#, "could not find `seccomp` in `libcontainer`");
    fails(r#""v2", "libseccomp""#, "could not find `devices` in `v2`");
}

/// Builds the crate in a copy of the workspace that differs in libcontainer's features. It shares
/// the target directory, so that little beside libcontainer is built.
fn build_with(features: &str) -> (bool, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let (before, rest) = manifest.split_once("members = [").unwrap();
    let (_, after) = rest.split_once(']').unwrap();
    let mut text = format!("{before}members = [{MEMBERS}]{after}");
    let line = text.lines().find(|l| l.starts_with("libcontainer = ")).unwrap().to_owned();
    let version = line.split("version = \"").nth(1).and_then(|v| v.split('"').next()).unwrap();
    let changed = format!(
        "libcontainer = {{ version = \"{version}\", default-features = false, features = [{features}] }}"
    );
    text = text.replace(&line, &changed);
    std::fs::write(copy.path().join("Cargo.toml"), text).unwrap();
    std::fs::copy(root.join("Cargo.lock"), copy.path().join("Cargo.lock")).unwrap();
    for folder in ["attestation", "docs", "guest-agent", "policy"] {
        std::os::unix::fs::symlink(root.join(folder), copy.path().join(folder)).unwrap();
    }
    let output = Command::new(env!("CARGO"))
        .args(["build", "--offline", "--quiet", "-p", "casemate-containers"])
        .current_dir(copy.path())
        .env("CARGO_TARGET_DIR", target(&root))
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

const MEMBERS: &str = r#""guest-agent/containers", "policy/model""#;
