// SPDX-License-Identifier: Apache-2.0
//! TLS certificates of the world's registry.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::CertifiedIssuer;
use rcgen::DnType;
use rcgen::IsCa;
use rcgen::KeyPair;

/// A CA and one server certificate, as files.
#[derive(Debug)]
pub struct ServerPki {
    /// The CA, PEM.
    pub ca: PathBuf,
    /// The server's certificate, PEM.
    pub certificate: PathBuf,
    /// The server's key, PEM.
    pub key: PathBuf,
}

impl ServerPki {
    /// Makes a CA and a certificate for `host` (name or address) in `dir`.
    ///
    /// # Errors
    ///
    /// When a key cannot be made or a file cannot be written.
    pub fn create(dir: &Path, host: &str) -> anyhow::Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let mut ca = CertificateParams::new(Vec::new())?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name.push(DnType::CommonName, "Casemate test registry CA");
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let mut leaf = CertificateParams::new(vec![host.to_owned()])?;
        leaf.distinguished_name.push(DnType::CommonName, host);
        let leaf = leaf.signed_by(&key, &ca)?;
        let pki = Self {
            // skopeo and containerd read every *.crt of a directory as a CA.
            ca: dir.join("ca.crt"),
            certificate: dir.join("server.pem"),
            key: dir.join("server-key.pem"),
        };
        fs::write(&pki.ca, ca.pem()).context("write the CA")?;
        fs::write(&pki.certificate, leaf.pem()).context("write the certificate")?;
        fs::write(&pki.key, key.serialize_pem()).context("write the key")?;
        Ok(pki)
    }
}
