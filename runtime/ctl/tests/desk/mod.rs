// SPDX-License-Identifier: Apache-2.0
//! What the tests of the tool share: a desk with a pod, a CA, a key and an image.

#![allow(dead_code, unreachable_pub, reason = "shared by several test binaries")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]
#![allow(clippy::allow_attributes, reason = "not every lint speaks up in every binary")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;

use ring::digest::SHA256;
use ring::digest::digest;
use serde_json::json;

pub fn casemate(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_casemate")).args(args).output().unwrap()
}

pub fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Expects exit code 1 and one line `<code>: …; next: …`.
pub fn failure(output: &Output, code: &str) -> String {
    fails(output, 1, code)
}

/// Expects exit code 2 and such a line: what was given cannot be used.
pub fn unusable(output: &Output, code: &str) -> String {
    fails(output, 2, code)
}

fn fails(output: &Output, exit: i32, code: &str) -> String {
    assert_eq!(output.status.code(), Some(exit));
    let line = String::from_utf8(output.stderr.clone()).unwrap();
    let last = line.lines().last().unwrap_or_default().to_owned();
    assert!(last.starts_with(&format!("{code}: ")) && last.contains("; next: "), "{line}");
    last
}

/// A folder with a pod, a CA, a key and an OCI layout.
pub struct Desk(tempfile::TempDir);

impl Desk {
    pub fn new() -> Self {
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

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// An image of one layer with users.
    pub fn layout(&self) {
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

    pub fn generate(&self, layout: &str, more: &[&str]) -> Output {
        let (pod, ca) = (self.text("pod.yaml"), self.text("ca.pem"));
        let layout = format!("registry.example/web:v1={}", self.text(layout));
        let mut args =
            vec!["policy", "generate", "-f", &pod, "--broker-url", "https://broker.example"];
        args.extend(["--broker-ca", &ca, "--image-layout", &layout]);
        args.extend(more);
        casemate(&args)
    }
}

pub const POD: &str = "\
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

/// A tar archive of plain files (POSIX.1 ustar).
pub fn tar(files: &[(&str, &str)]) -> Vec<u8> {
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
