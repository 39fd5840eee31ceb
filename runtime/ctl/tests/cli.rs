// SPDX-License-Identifier: Apache-2.0
//! The tool as a person calls it: output, error lines and exit codes.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

mod desk;

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::desk::Desk;
use crate::desk::POD;
use crate::desk::casemate;
use crate::desk::failure;
use crate::desk::stdout;
use crate::desk::unusable;

#[test]
fn every_failure_is_one_line_with_a_next_step() {
    let desk = Desk::new();
    let missing = desk.text("missing");
    unusable(&casemate(&["measure", "initdata", &missing]), "file");
    unusable(&casemate(&["measure", "initdata", &desk.text("pod.yaml")]), "initdata.invalid");
    let snp = ["measure", "snp", "--vcpus", "1", "--vcpu-type", "EPYC-v4", "--guest-image"];
    unusable(&casemate(&[&snp[..], &[&missing]].concat()), "file");
    unusable(&casemate(&["guest-image", "verify", &missing]), "guest-image");
    unusable(&casemate(&["guest-image", "sbom", &missing]), "guest-image");
    unusable(&casemate(&["idblock", "verify", "--block", &missing]), "file");
    failure(&desk.generate("missing", &[]), "image.invalid");
    failure(&desk.generate("image", &["--image-layout", "other=x"]), "image-layout");
    failure(&desk.generate("image", &["--registry-mirror", "a.b=c.d"]), "config.invalid");
    failure(&desk.generate("image", &["--output", &desk.text("no/such/folder")]), "file");

    fs::write(desk.path("pod.yaml"), POD.replace("spec:\n", "spec:\n  hostNetwork: true\n"))
        .unwrap();
    let line = failure(&desk.generate("image", &[]), "pod");
    assert!(
        line.contains("spec.hostNetwork") && line.contains("next: remove hostNetwork"),
        "{line}"
    );

    fs::write(desk.path("key"), [7; 33]).unwrap();
    let (key, source, dest) = (desk.text("key"), desk.text("image"), desk.text("sealed"));
    let args = ["image", "encrypt", "--key-file", &key, "--key-id", "kbs:///default/key/1"];
    let paths = ["--source", &source, "--dest", &dest];
    failure(&casemate(&[&args[..], &paths[..]].concat()), "key");
    assert!(!Path::new(&dest).exists());
}

#[test]
fn wrong_calls_exit_with_two() {
    for args in [
        &["policy"][..],
        &["policy", "generate"],
        &["measure", "snp", "--vcpus", "0", "--vcpu-type", "EPYC-v4", "--guest-image", "x"],
        &["measure", "snp", "--vcpus", "1", "--vcpu-type", "i486", "--guest-image", "x"],
        &["image", "encrypt", "--key-id", "http://x"],
        &["guest-image", "build", "--kind", "sim", "--agent", "x", "--inputs", "x", "--out", "x"],
        &["fly"],
    ] {
        let output = casemate(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        let last = text.lines().last().unwrap_or_default();
        let is_in_form = last.starts_with("usage: ") && last.contains("; next: see casemate");
        assert!(is_in_form && last.ends_with(" --help"), "{args:?}: {text}");
    }
    for args in [&["--help"][..], &["policy", "--help"], &["--version"]] {
        let output = casemate(args);
        assert!(output.status.success() && output.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn env_names_versions_and_paths() {
    let json: Value = serde_json::from_str(&stdout(&casemate(&["env", "--json"]))).unwrap();
    assert_eq!(json["policy_version"], 1);
    assert_eq!(json["containerd_runtime"], "io.containerd.casemate.v2");
    assert!(stdout(&casemate(&["env"])).contains("io.casemate.initdata"));
}

#[test]
fn check_lists_what_the_node_has() {
    let missing_qemu = ["check", "--json", "--qemu", "/nonexistent/qemu"];
    let json: Value = serde_json::from_str(&stdout(&casemate(&missing_qemu))).unwrap();
    let findings = json["findings"].as_array().unwrap();
    assert_eq!(findings[0]["name"], "qemu");
    assert_eq!(findings[0]["usable"], false);
    assert!(findings.iter().all(|f| f["usable"] == true || f["fix"].is_string()), "{json}");
    // E2: which pods take ACPI code from the host.
    let acpi = &json["acpi_from_host"];
    assert_eq!(acpi["snp"], serde_json::json!({"one_vcpu": false, "several_vcpus": true}));
    assert_eq!(acpi["tdx"], serde_json::json!({"one_vcpu": true, "several_vcpus": true}));
    let text = stdout(&casemate(&["check", "--qemu", "/nonexistent/qemu"]));
    assert!(text.contains("SNP pods with one vCPU take no ACPI code"), "{text}");
    assert!(text.contains("and all TDX pods, run this host's ACPI code"), "{text}");
    let line = failure(
        &casemate(&["check", "--require", "tdx", "--qemu", "/nonexistent/qemu"]),
        "tee.missing",
    );
    assert!(line.contains("tdx: "), "{line}");
}
