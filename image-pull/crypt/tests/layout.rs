// SPDX-License-Identifier: Apache-2.0
//! Encrypting images in layouts that other tools made, and read again.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]
#![allow(clippy::allow_attributes, reason = "not every lint speaks up in tests")]

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use casemate_image_crypt::Digest;
use casemate_image_crypt::EncryptLayoutError;
use casemate_image_crypt::Kek;
use casemate_image_crypt::Kid;
use casemate_image_crypt::LayerEncryption;
use casemate_image_crypt::encrypt_layout;
use casemate_image_crypt::oci::Layout;
use casemate_image_crypt::oci::LayoutError;
use serde_json::Value;
use serde_json::json;

fn kid() -> Kid {
    "kbs:///default/key/1".parse().unwrap()
}

fn write_blob(layout: &Path, bytes: &[u8]) -> Value {
    let digest = Digest::of(bytes);
    fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    fs::write(layout.join("blobs/sha256").join(digest.to_hex()), bytes).unwrap();
    json!({"digest": digest, "size": bytes.len()})
}

fn typed(mut descriptor: Value, kind: &str) -> Value {
    descriptor["mediaType"] = json!(kind);
    descriptor
}

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A layout with one image of two layers, by hand.
fn layout(root: &Path) -> Value {
    let config = json!({"architecture": "amd64", "os": "linux", "config": {"User": "7"},
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(b"one"), Digest::of(b"two")]}});
    let config = write_blob(root, config.to_string().as_bytes());
    let mut second = typed(write_blob(root, b"two"), LAYER);
    second["annotations"] = json!({"kept": "yes"});
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST,
        "config": typed(config, "application/vnd.oci.image.config.v1+json"),
        "layers": [typed(write_blob(root, b"one"), LAYER), second],
        "annotations": {"also": "kept"}});
    let mut entry = typed(write_blob(root, manifest.to_string().as_bytes()), MANIFEST);
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": "app"});
    write_index(root, &[entry.clone()]);
    fs::write(root.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    entry
}

fn write_index(root: &Path, entries: &[Value]) {
    let index = json!({"schemaVersion": 2, "manifests": entries});
    fs::write(root.join("index.json"), index.to_string()).unwrap();
}

#[test]
fn layers_are_encrypted_and_everything_else_stays() {
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    layout(&from);
    let kek = Kek::generate().unwrap();
    let made = encrypt_layout(&from, &to, None, &kid(), &kek).unwrap();
    assert_eq!((made.layers, made.name.as_deref()), (2, Some("app")));

    let (old, new) = (Layout::open(&from).unwrap(), Layout::open(&to).unwrap());
    let (before, after) = (old.image(Some("app")).unwrap(), new.image(Some("app")).unwrap());
    assert_eq!(after.descriptor.digest, made.digest);
    assert_eq!(after.config, before.config);
    assert_eq!(after.manifest.config().digest, before.manifest.config().digest);
    let json: Value = serde_json::from_slice(&after.manifest.to_bytes().unwrap()).unwrap();
    assert_eq!(json["annotations"], json!({"also": "kept"}));
    assert_eq!(json["layers"][1]["annotations"]["kept"], "yes");
    for ((layer, kind), expected) in after.manifest.layers().zip([b"one", b"two"]) {
        assert!(kind.encrypted);
        assert_eq!(layer.media_type, format!("{LAYER}+encrypted"));
        let ciphertext = new.read_blob(layer, 100).unwrap();
        assert_ne!(ciphertext, expected);
        let encryption = LayerEncryption::from_annotations(&layer.annotations).unwrap();
        let plain = encryption.unwrap_key(&kek).unwrap().open(ciphertext.as_slice(), |plain| {
            let mut bytes = Vec::new();
            plain.read_to_end(&mut bytes).map(|_| bytes)
        });
        assert_eq!(plain.unwrap(), expected);
    }
    let blobs = fs::read_dir(to.join("blobs/sha256")).unwrap().count();
    assert_eq!(blobs, 4, "configuration, manifest and two layers, and no clear one");

    let error = encrypt_layout(&to, &directory.path().join("again"), None, &kid(), &kek);
    assert!(matches!(error, Err(EncryptLayoutError::Encrypted { .. })));
}

#[test]
fn failures_leave_nothing() {
    let kek = Kek::generate().unwrap();
    let check = |prepare: fn(&Path)| {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        layout(&from);
        prepare(&from);
        let error = encrypt_layout(&from, &to, None, &kid(), &kek).unwrap_err();
        assert!(!to.exists(), "{error}");
        error
    };
    // A layer that is not its digest's is not worth encrypting.
    let error = check(|from| {
        fs::write(from.join("blobs/sha256").join(Digest::of(b"two").to_hex()), b"owt").unwrap();
    });
    assert!(matches!(error, EncryptLayoutError::Layer { .. }), "{error}");
    let error = check(|from| fs::remove_file(from.join("oci-layout")).unwrap());
    assert!(matches!(error, EncryptLayoutError::Layout { .. }), "{error}");
    let error = check(|from| {
        fs::write(from.join("oci-layout"), r#"{"imageLayoutVersion":"2.0.0"}"#).unwrap();
    });
    let is_version =
        matches!(error, EncryptLayoutError::Layout { source: LayoutError::Version { .. } });
    assert!(is_version, "{error}");
    let error = check(|from| {
        let entry = layout(from);
        write_index(from, &[entry.clone(), entry]);
    });
    let is_choice =
        matches!(error, EncryptLayoutError::Layout { source: LayoutError::Choice { .. } });
    assert!(is_choice, "{error}");

    let directory = tempfile::tempdir().unwrap();
    let from = directory.path().join("from");
    layout(&from);
    let error = encrypt_layout(&from, &from, None, &kid(), &kek).unwrap_err();
    assert!(matches!(error, EncryptLayoutError::Write { .. }), "{error}");
    assert!(from.join("index.json").exists(), "an existing directory is left alone");
}

#[test]
fn blobs_are_compared_with_their_digests() {
    let directory = tempfile::tempdir().unwrap();
    let entry = layout(directory.path());
    let open = || Layout::open(directory.path()).and_then(|l| l.image(None));
    assert!(open().is_ok());
    let digest: Digest = entry["digest"].as_str().unwrap().parse().unwrap();
    let path = directory.path().join("blobs/sha256").join(digest.to_hex());
    let bytes = fs::read(&path).unwrap();
    for changed in [[&bytes[..], b" "].concat(), [b" ", &bytes[1..]].concat(), vec![]] {
        fs::write(&path, changed).unwrap();
        assert!(matches!(open(), Err(LayoutError::Differs { .. })));
    }
}

#[test]
fn an_index_in_a_layout_leads_to_linux_amd64() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let mut entry = layout(root);
    entry["platform"] = json!({"os": "linux", "architecture": "amd64"});
    let mut other = entry.clone();
    other["platform"]["architecture"] = json!("arm64");
    write_index(root, &[other.clone(), entry.clone()]);
    assert!(Layout::open(root).unwrap().image(None).is_ok());
    const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    let nest = |entries: &[Value]| {
        let index = json!({"schemaVersion": 2, "manifests": entries});
        typed(write_blob(root, index.to_string().as_bytes()), INDEX)
    };
    let mut nested = nest(&[other, entry]);
    write_index(root, &[nested.clone()]);
    assert!(Layout::open(root).unwrap().image(None).is_ok());
    nested["platform"] = json!({"os": "linux", "architecture": "amd64"});
    write_index(root, &[nest(&[nested])]);
    let found = Layout::open(root).unwrap().image(None);
    assert!(matches!(found, Err(LayoutError::Nested)));
}

/// Whether the programs are there; a test that needs them fails without where all must run.
fn has(programs: &[&str]) -> bool {
    let missing = programs.iter().find(|p| Command::new(p).arg("--version").output().is_err());
    if let Some(missing) = missing {
        assert!(std::env::var_os("CASEMATE_REQUIRE").is_none(), "needs {missing}");
        eprintln!("skipped: needs {missing}");
    }
    missing.is_none()
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn layouts_of_umoci_are_read_and_ours_by_skopeo() {
    if !has(&["umoci", "skopeo", "tar"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    fs::create_dir(path("tree")).unwrap();
    fs::write(path("tree/file"), "content").unwrap();
    run("tar", &["-C", &path("tree"), "-cf", &path("layer.tar"), "."]);
    run("umoci", &["init", "--layout", &path("oci")]);
    let image = format!("{}:app", path("oci"));
    run("umoci", &["new", "--image", &image]);
    run("umoci", &["raw", "add-layer", "--image", &image, &path("layer.tar")]);
    run("umoci", &["config", "--image", &image, "--config.user", "7", "--architecture", "amd64"]);

    let (from, to) = (directory.path().join("oci"), directory.path().join("encrypted"));
    let kek = Kek::generate().unwrap();
    let made = encrypt_layout(&from, &to, Some("app"), &kid(), &kek).unwrap();
    let encrypted = format!("oci:{}:app", path("encrypted"));
    let found: Value = serde_json::from_str(&run("skopeo", &["inspect", &encrypted])).unwrap();
    assert_eq!(found["Digest"], json!(made.digest));
    assert_eq!(found["Layers"].as_array().unwrap().len(), 1);
    let raw = run("skopeo", &["inspect", "--raw", &encrypted]);
    assert!(raw.contains("tar+gzip+encrypted"), "{raw}");
    // skopeo copies every blob and so compares every digest.
    run("skopeo", &["copy", &encrypted, &format!("oci:{}:app", path("copied"))]);
    let stat = run("umoci", &["stat", "--json", "--image", &format!("{}:app", path("copied"))]);
    assert!(stat.contains("history"), "{stat}");
}
