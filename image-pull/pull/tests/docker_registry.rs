// SPDX-License-Identifier: Apache-2.0
//! Pulls from a real registry what skopeo pushed to it, plain and encrypted.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]
#![allow(clippy::as_conversions, reason = "small numbers, trait objects")]
#![allow(clippy::allow_attributes, reason = "not every lint speaks up in tests")]

#[path = "../../unpack/tests/archive/mod.rs"]
mod archive;
#[path = "hostile_registry/registry.rs"]
mod registry;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use archive::Archive;
use async_trait::async_trait;
use casemate_image_crypt::Kek;
use casemate_image_crypt::Kid;
use casemate_image_crypt::encrypt_layout;
use casemate_image_pull::KeySource;
use casemate_image_pull::KeyUnavailable;
use casemate_image_pull::NoKeys;
use casemate_image_pull::Progress;
use casemate_image_pull::PullRequest;
use casemate_image_pull::Puller;
use casemate_image_pull::Settings;
use casemate_image_pull::resolve_layout;
use casemate_policy::Encryption;
use registry::Ca;

/// Whether the programs are there; a test that needs them fails without where all must run.
fn has(programs: &[&str]) -> bool {
    let missing = programs.iter().find(|p| Command::new(p).arg("--version").output().is_err());
    if let Some(missing) = missing {
        assert!(std::env::var_os("CASEMATE_REQUIRE").is_none(), "needs {missing}");
        eprintln!("skipped: needs {missing}");
    }
    missing.is_none()
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
}

/// A registry process, ended when dropped.
struct Server {
    process: Child,
    host: String,
}

impl Server {
    fn start(directory: &Path, ca: &Ca) -> Self {
        let (certificate, key) = ca.issue();
        let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
        fs::write(path("server.pem"), certificate).unwrap();
        fs::write(path("server.key"), key).unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = free.local_addr().unwrap().to_string();
        drop(free);
        let config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
             http:\n  addr: {host}\n  tls:\n    certificate: {}\n    key: {}\n",
            path("store"),
            path("server.pem"),
            path("server.key")
        );
        fs::write(path("config.yml"), config).unwrap();
        let process = Command::new("docker-registry")
            .args(["serve", &path("config.yml")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { process, host };
        for _ in 0..200 {
            if std::net::TcpStream::connect(&server.host).is_ok() {
                return server;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("docker-registry does not listen");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct OneKey([u8; 32]);

#[async_trait]
impl KeySource for OneKey {
    async fn key(&self, _kid: &Kid) -> Result<Kek, KeyUnavailable> {
        Ok(Kek::try_from(self.0.as_slice()).unwrap())
    }
}

#[tokio::test]
async fn plain_and_encrypted_images_of_a_real_registry() {
    if !has(&["docker-registry", "skopeo", "umoci"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();

    // An image of two layers by umoci, and the same encrypted by us.
    let below = Archive::default().dir("./").dir("etc/").file("etc/passwd", "web:x:33:34::/:\n");
    let above = Archive::default().file("app", vec![7; 3_000_000]).file("etc/.wh.x", "");
    run("umoci", &["init", "--layout", &path("oci")]);
    let image = format!("{}:app", path("oci"));
    run("umoci", &["new", "--image", &image]);
    for layer in [below, above] {
        fs::write(path("layer.tar"), layer.finish()).unwrap();
        run("umoci", &["raw", "add-layer", "--image", &image, &path("layer.tar")]);
    }
    let arguments = ["--config.user", "web", "--architecture", "amd64", "--os", "linux"];
    run("umoci", &[&["config", "--image", &image][..], &arguments].concat());
    let kid: Kid = "kbs:///default/key/1".parse().unwrap();
    let kek = Kek::try_from([9; 32].as_slice()).unwrap();
    let (from, to) = (directory.path().join("oci"), directory.path().join("encrypted"));
    encrypt_layout(&from, &to, Some("app"), &kid, &kek).unwrap();

    let ca = Ca::new();
    let server = Server::start(directory.path(), &ca);
    fs::create_dir(path("certs")).unwrap();
    fs::write(path("certs/ca.crt"), &ca.pem).unwrap();
    for name in ["oci", "encrypted"] {
        let from = format!("oci:{}:app", path(name));
        let to = format!("docker://{}/{name}:latest", server.host);
        run("skopeo", &["copy", "--dest-cert-dir", &path("certs"), &from, &to]);
    }

    let registry =
        casemate_policy::Registry { host: server.host.clone(), location: None, ca: ca.pem.clone() };
    let puller =
        Puller::new(Settings { registries: vec![registry], ..Settings::default() }).unwrap();
    for (name, encryption, keys) in [
        ("oci", Encryption::Optional, &NoKeys as &dyn KeySource),
        ("encrypted", Encryption::Required, &OneKey([9; 32])),
    ] {
        let reference = format!("{}/{name}:latest", server.host).parse().unwrap();
        let resolved = puller.resolve(&reference).await.unwrap();
        let local = resolve_layout(&directory.path().join(name), Some("app")).unwrap();
        assert_eq!(resolved.digest, local.digest);
        for image in [&resolved, &local] {
            let accounts = puller.accounts(image, keys).await.unwrap();
            let user = accounts.user(&image.config.user).unwrap();
            assert_eq!((user.uid, user.gid), (33, 34));
        }
        let request = PullRequest {
            image: reference.pin(resolved.digest),
            encryption,
            destination: directory.path().join(format!("{name}-rootfs")),
        };
        let progress = Progress::default();
        let pulled = puller.pull(&request, keys, &progress).await.unwrap();
        assert_eq!(fs::read(pulled.rootfs.join("app")).unwrap(), vec![7; 3_000_000]);
        assert_eq!(fs::read(pulled.rootfs.join("etc/passwd")).unwrap(), b"web:x:33:34::/:\n");
        assert_eq!(progress.bytes(), progress.total_bytes());
    }
}
