// SPDX-License-Identifier: Apache-2.0
//! The demo's last line when it fails: what went wrong, and all that was known by then.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use casemate_e2e::artifacts::Artifacts;
use casemate_e2e::image;
use serde_json::Value;

fn demo(args: &[&str]) -> (bool, Value) {
    let demo = Command::new(env!("CARGO_BIN_EXE_casemate-e2e"))
        .args(["demo", "--json"])
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A failed demo keeps its files for a person to read.
    let files = Artifacts::find().unwrap().worlds().join(format!("demo-{}", demo.id()));
    let out = demo.wait_with_output().unwrap();
    if files.exists() {
        fs::remove_dir_all(files).unwrap();
    }
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let line = text
        .lines()
        .last()
        .unwrap_or_else(|| panic!("no output; stderr: {}", String::from_utf8_lossy(&out.stderr)));
    (out.status.success(), serde_json::from_str(line).unwrap())
}

fn pod(dir: &Path, more: &str) -> String {
    let path = dir.join("pod.yaml");
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: failing}}\nspec:\n  restartPolicy: Never\n{more}  \
         containers:\n  - {{name: main, image: acme/kit:2, command: [/bin/true]}}\n"
    );
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn folder(name: &str) -> std::path::PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&dir).unwrap();
    dir
}

// Neither root nor any tool: nothing is started.
#[test]
fn a_pod_that_cannot_run_is_refused_before_anything_starts() {
    let dir = folder("refused");
    let volumes = "  volumes: [{name: v, secret: {secretName: s}}]\n  initContainers:\n  \
                   - {name: i, image: acme/kit:2, volumeMounts: [{name: v, mountPath: /v}]}\n";
    let (success, line) = demo(&["--pod", &pod(&dir, volumes)]);
    assert!(!success);
    assert_eq!(line["error"]["code"], "pod");
    let message = line["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("spec.initContainers[0].volumeMounts[0]: "), "{message}");
    assert!(!line["error"]["next"].as_str().unwrap().is_empty());
    assert_eq!(line["leftovers"], Value::Array(Vec::new()));

    let (success, line) = demo(&["--nonsense"]);
    assert!(!success);
    assert!(line["error"]["message"].as_str().unwrap().contains("--nonsense"), "{line}");

    let (success, line) = demo(&["--pod", &pod(&dir, "")]);
    assert!(!success);
    let message = line["error"]["message"].as_str().unwrap();
    assert_eq!(message, "container main: no image for acme/kit:2");
}

#[test]
fn a_pod_that_fails_is_told_with_what_is_known_and_leaves_nothing() {
    if let Some(reason) = missing() {
        assert!(std::env::var_os("CASEMATE_REQUIRE").is_none(), "cannot run: {reason}");
        eprintln!("skipped: {reason}");
        return;
    }
    let dir = folder("failing");
    let recipe = image::Recipe { env: &["PATH=/bin"], ..image::Recipe::default() };
    let layout = image::make(&dir, &recipe).unwrap();
    let init = "  initContainers:\n  - {name: first, image: acme/kit:2, command: [/bin/sh, -c, \
                \"echo no luck; exit 9\"]}\n";
    let image = format!("acme/kit:2={}", layout.display());
    let (success, line) = demo(&["--pod", &pod(&dir, init), "--image", &image]);
    assert!(!success);
    let message = line["error"]["message"].as_str().unwrap();
    assert!(message.contains("container first: ended with code 9"), "{line}");
    assert!(message.contains("no luck"), "{line}");
    assert_eq!(
        (line["tee"].as_str(), line["leftovers"].as_array().map(Vec::len)),
        (Some("sim"), Some(0))
    );
    assert!(line.get("launch_digest").is_none(), "{line}");
    fs::remove_dir_all(&dir).unwrap();
}

fn missing() -> Option<&'static str> {
    if !nix::unistd::geteuid().is_root() {
        return Some("root is needed for namespaces and VMs");
    }
    let artifacts = Artifacts::find().unwrap();
    if !artifacts.guest_image("sim").join("image.json").is_file() || !artifacts.tools().is_dir() {
        return Some("run `cargo xtask build`");
    }
    None
}
