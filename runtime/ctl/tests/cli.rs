// SPDX-License-Identifier: Apache-2.0
//! The tool as a person calls it: output, error lines and exit codes.

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
use std::process::Output;

use ring::digest::SHA256;
use ring::digest::digest;
use serde_json::Value;
use serde_json::json;

fn casemate(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_casemate")).args(args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Expects exit code 1 and one line `<code>: …; next: …`.
fn failure(output: &Output, code: &str) -> String {
    assert_eq!(output.status.code(), Some(1));
    let line = String::from_utf8(output.stderr.clone()).unwrap();
    let last = line.lines().last().unwrap_or_default().to_owned();
    assert!(last.starts_with(&format!("{code}: ")) && last.contains("; next: "), "{line}");
    last
}

/// Compares with a file in tests/golden, or writes it if CASEMATE_BLESS is set.
fn expect(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("CASEMATE_BLESS").is_some() {
        fs::write(&path, found).unwrap();
    }
    assert_eq!(found, fs::read_to_string(&path).unwrap_or_default(), "{name} differs");
}

/// A folder with a pod, a CA, a key and an OCI layout.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        fs::write(
            desk.path("ca.pem"),
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        )
        .unwrap();
        fs::write(desk.path("key"), [7; 32]).unwrap();
        fs::write(desk.path("pod.yaml"), POD).unwrap();
        desk.layout();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// An image of one layer with users.
    fn layout(&self) {
        let blobs = self.path("image/blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        let blob = |bytes: &[u8]| {
            let hex: String =
                digest(&SHA256, bytes).as_ref().iter().map(|b| format!("{b:02x}")).collect();
            fs::write(blobs.join(&hex), bytes).unwrap();
            (format!("sha256:{hex}"), bytes.len())
        };
        let layer = tar(&[
            ("etc/passwd", "root:x:0:0:root:/:/bin/sh\nweb:x:101:102::/:/bin/false\n"),
            ("etc/group", "root:x:0:\nweb:x:102:\nssl:x:110:web\n"),
        ]);
        let (layer_digest, layer_size) = blob(&layer);
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {
                "User": "web", "Env": ["PATH=/bin", "LANG=C"], "Entrypoint": ["/bin/web"],
                "Cmd": ["--port", "80"], "WorkingDir": "/srv", "StopSignal": "SIGQUIT"
            },
            "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
        });
        let (config_digest, config_size) = blob(config.to_string().as_bytes());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": config_digest, "size": config_size
            },
            "layers": [{
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": layer_digest, "size": layer_size
            }],
        });
        let (manifest_digest, manifest_size) = blob(manifest.to_string().as_bytes());
        let index = json!({
            "schemaVersion": 2,
            "manifests": [{
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": manifest_digest, "size": manifest_size
            }],
        });
        fs::write(self.path("image/index.json"), index.to_string()).unwrap();
        fs::write(self.path("image/oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    }

    fn generate(&self, layout: &str, more: &[&str]) -> Output {
        let (pod, ca) = (self.text("pod.yaml"), self.text("ca.pem"));
        let layout = format!("registry.example/web:v1={}", self.text(layout));
        let mut args =
            vec!["policy", "generate", "-f", &pod, "--broker-url", "https://broker.example"];
        args.extend(["--broker-ca", &ca, "--image-layout", &layout]);
        args.extend(more);
        casemate(&args)
    }
}

const POD: &str = "\
apiVersion: v1
kind: Pod
metadata:
  name: web # ours
spec:
  restartPolicy: Never
  containers:
  - name: web
    image: registry.example/web:v1
    args: [--port, \"8443\"]
";

#[test]
fn generates_a_policy_from_a_layout() {
    let desk = Desk::new();
    let (policy, initdata) = (desk.text("policy.toml"), desk.text("initdata.toml"));
    let output = desk.generate("image", &["--policy-out", &policy, "--initdata-out", &initdata]);
    let yaml = stdout(&output);
    expect("policy.toml", &fs::read_to_string(&policy).unwrap());
    expect("warnings.txt", &String::from_utf8(output.stderr.clone()).unwrap());
    assert!(yaml.contains("  name: web # ours\n"), "{yaml}");
    assert!(yaml.contains("    io.casemate.initdata: \"H4sI"), "{yaml}");

    // Deterministic.
    assert_eq!(stdout(&desk.generate("image", &[])), yaml);

    // The digest is that of the file's bytes.
    let measured = stdout(&casemate(&["measure", "initdata", &initdata]));
    let bytes = fs::read(&initdata).unwrap();
    let hex: String = digest(&SHA256, &bytes).as_ref().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(measured, format!("sha256 {hex}\n"));
}

#[test]
fn an_encrypted_image_is_demanded_encrypted() {
    let desk = Desk::new();
    let (key, source, dest) = (desk.text("key"), desk.text("image"), desk.text("sealed"));
    let args = ["image", "encrypt", "--key-file", &key, "--key-id", "kbs:///default/key/1"];
    let paths = ["--source", &source, "--dest", &dest];
    let digest = stdout(&casemate(&[&args[..], &paths[..]].concat()));
    assert!(digest.starts_with("sha256:") && digest.len() == 72, "{digest}");

    // The user's name stands in a layer that only the guest can read.
    let line = failure(&desk.generate("sealed", &[]), "pod");
    assert!(line.contains("\"web\" is a name"), "{line}");
    let pod = fs::read_to_string(desk.path("pod.yaml")).unwrap();
    fs::write(
        desk.path("pod.yaml"),
        format!("{pod}    securityContext: {{runAsUser: 101, runAsGroup: 102}}\n"),
    )
    .unwrap();
    let policy = desk.text("policy.toml");
    stdout(&desk.generate("sealed", &["--policy-out", &policy]));
    let policy = fs::read_to_string(&policy).unwrap();
    assert!(policy.contains("encryption = \"required\""), "{policy}");
    assert!(policy.contains(digest.trim()), "{policy}");
}

#[test]
fn every_failure_is_one_line_with_a_next_step() {
    let desk = Desk::new();
    let missing = desk.text("missing");
    failure(&casemate(&["measure", "initdata", &missing]), "file");
    failure(&casemate(&["measure", "initdata", &desk.text("pod.yaml")]), "initdata.invalid");
    let snp = ["measure", "snp", "--vcpus", "1", "--vcpu-type", "EPYC-v4", "--guest-image"];
    failure(&casemate(&[&snp[..], &[&missing]].concat()), "file");
    failure(&casemate(&["guest-image", "verify", &missing]), "guest-image");
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
    assert!(json["acpi"]["one_vcpu"].as_str().unwrap().contains("acpi=off"));
    assert!(json["acpi"]["several_vcpus"].as_str().unwrap().contains("BadAML"));
    let line = failure(
        &casemate(&["check", "--require", "tdx", "--qemu", "/nonexistent/qemu"]),
        "tee.missing",
    );
    assert!(line.contains("tdx: "), "{line}");
}

/// A tar archive of plain files (POSIX.1 ustar).
fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, text) in files {
        let mut header = [0_u8; 512];
        let mut put =
            |at: usize, field: &str| header[at..at + field.len()].copy_from_slice(field.as_bytes());
        put(0, name);
        put(100, "0000644\0");
        put(108, "0000000\0");
        put(116, "0000000\0");
        put(124, &format!("{:011o}\0", text.len()));
        put(136, "00000000000\0");
        put(148, "        ");
        put(156, "0");
        put(257, "ustar\x0000");
        let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend(header);
        archive.extend(text.as_bytes());
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}
