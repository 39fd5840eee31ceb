// SPDX-License-Identifier: Apache-2.0
//! A real registry with TLS on the world's bridge.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

use crate::artifacts::Artifacts;
use crate::daemon::Daemon;
use crate::pki::ServerPki;
use crate::world;
use crate::world::World;

/// A running registry.
#[derive(Debug)]
pub struct Registry {
    pki: ServerPki,
    _daemon: Daemon,
}

impl Registry {
    /// `host:port` of the world's registry.
    #[must_use]
    pub fn address() -> String {
        format!("{}:{PORT}", world::HOST_ADDRESS)
    }

    /// Starts it with an empty store.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start(world: &World, artifacts: &Artifacts) -> anyhow::Result<Self> {
        let dir = world.root().join("registry");
        let pki = ServerPki::create(&dir.join("pki"), world::HOST_ADDRESS)?;
        let config = dir.join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage:\n  filesystem: {{rootdirectory: {store}}}\n  \
             delete: {{enabled: true}}\nhttp:\n  addr: {address}\n  tls:\n    certificate: {certificate}\n    \
             key: {key}\n",
            store = dir.join("store").display(),
            address = Self::address(),
            certificate = pki.certificate.display(),
            key = pki.key.display(),
        );
        fs::write(&config, text).context("write the registry's configuration")?;
        let mut command = Command::new(artifacts.tool("docker-registry"));
        command.arg("serve").arg(&config);
        let daemon = Daemon::start("registry", command, &world.logs(), || {
            TcpStream::connect(Self::address()).is_ok()
        })?;
        Ok(Self { pki, _daemon: daemon })
    }

    /// The CA of the registry's certificate, PEM.
    #[must_use]
    pub fn ca(&self) -> &Path {
        &self.pki.ca
    }

    /// Copies the one image of an OCI layout to `repository:tag`.
    ///
    /// # Errors
    ///
    /// When skopeo fails.
    pub fn push(&self, layout: &Path, repository: &str, tag: &str) -> anyhow::Result<()> {
        let certificates = self.pki.ca.parent().context("directory of the CA")?.join("trust");
        fs::create_dir_all(&certificates).context("create skopeo's certificate directory")?;
        fs::copy(&self.pki.ca, certificates.join("ca.crt")).context("copy the CA")?;
        world::run(
            "skopeo",
            &[
                "--insecure-policy",
                "copy",
                "--quiet",
                "--preserve-digests",
                "--dest-cert-dir",
                &certificates.display().to_string(),
                &format!("oci:{}", layout.display()),
                &format!("docker://{}/{repository}:{tag}", Self::address()),
            ],
        )
        .map(drop)
    }
}

const PORT: u16 = 5000;
