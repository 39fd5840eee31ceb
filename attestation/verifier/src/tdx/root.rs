// SPDX-License-Identifier: Apache-2.0
//! Roots of trust for TDX: Intel's, and those of software TEEs that an owner configured.

use std::fmt;

use casemate_evidence::tdx::Certificate;
use casemate_evidence::tdx::CertificateError;
use ring::digest;

use super::signature::is_signed_by;

/// A root of trust for TDX: one self-signed certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    kind: RootKind,
    certificate: Certificate,
}

/// Whose root it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootKind {
    /// Intel's, the Intel SGX Root CA.
    Intel,
    /// The root of a software TEE, under a name that the owner gave it.
    ///
    /// # Security
    ///
    /// It proves nothing about hardware. It exists only where someone configured it, and each
    /// verdict under it says so.
    Simulated(String),
}

impl Root {
    /// Intel's root, whose certificate is part of this crate.
    ///
    /// # Errors
    ///
    /// [`RootError`] when that certificate cannot be read, which a test excludes.
    pub fn intel() -> Result<Self, RootError> {
        Self::read(RootKind::Intel, INTEL)
    }

    /// Intel's root from its certificate, PEM or DER, which must be the published one.
    ///
    /// # Errors
    ///
    /// [`RootError`] when the certificate is malformed or has another key than Intel's.
    pub fn intel_of(certificate: &[u8]) -> Result<Self, RootError> {
        let given = Self::read(RootKind::Intel, certificate)?;
        let published = Self::intel()?;
        if given.certificate.key() == published.certificate.key() {
            Ok(published)
        } else {
            Err(RootError::NotIntel)
        }
    }

    /// A simulated root from its certificate, PEM or DER.
    ///
    /// # Errors
    ///
    /// [`RootError`] when the certificate is malformed or not self-signed, its subject does not say
    /// "simulated", it has Intel's key, or the name is not `[a-z0-9][a-z0-9.-]*` of at most 64
    /// bytes.
    pub fn simulated(name: &str, certificate: &[u8]) -> Result<Self, RootError> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let first = name.bytes().next().is_some_and(plain);
        let rest = name.bytes().all(|b| plain(b) || b == b'-' || b == b'.');
        if !first || !rest || name.len() > MAX_NAME_BYTES {
            return Err(RootError::Name);
        }
        let root = Self::read(RootKind::Simulated(name.to_owned()), certificate)?;
        // D14: a genuine root is not to be taken for a simulated one, nor the other way round.
        if root.certificate.key() == Self::intel()?.certificate.key() {
            return Err(RootError::IsIntel);
        }
        let subject = root.certificate.subject();
        if !subject.windows(SIMULATED.len()).any(|part| part.eq_ignore_ascii_case(SIMULATED)) {
            return Err(RootError::Subject);
        }
        Ok(root)
    }

    /// Whose root it is.
    #[must_use]
    pub fn kind(&self) -> &RootKind {
        &self.kind
    }

    /// SHA-256 of the root's public key (`SubjectPublicKeyInfo`).
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut fingerprint = [0; 32];
        let digest = digest::digest(&digest::SHA256, self.certificate.spki());
        for (to, from) in fingerprint.iter_mut().zip(digest.as_ref()) {
            *to = *from;
        }
        fingerprint
    }

    /// The root's certificate.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    fn read(kind: RootKind, bytes: &[u8]) -> Result<Self, RootError> {
        let certificate =
            Certificate::parse(bytes).map_err(|source| RootError::Certificate { source })?;
        if !certificate.is_ca() || !is_signed_by(&certificate, &certificate) {
            return Err(RootError::SelfSignature);
        }
        Ok(Self { kind, certificate })
    }
}

impl fmt::Display for RootKind {
    /// `intel` or `simulated:NAME`, as verdicts, tokens and audit logs name it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Intel => f.write_str("intel"),
            Self::Simulated(name) => write!(f, "simulated:{name}"),
        }
    }
}

/// A certificate is no root for TDX.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootError {
    /// The certificate is malformed.
    #[error("failed to read the root's certificate")]
    Certificate {
        /// Why.
        #[source]
        source: CertificateError,
    },
    /// The root is no CA or its signature of itself is wrong.
    #[error("the root certificate is no CA or does not verify under its own key")]
    SelfSignature,
    /// The key is Intel's.
    #[error("the root is Intel's, which is built in")]
    IsIntel,
    /// The key is not Intel's.
    #[error("the root is not Intel's")]
    NotIntel,
    /// The subject does not say that it is simulated.
    #[error("the subject of a simulated root says \"simulated\"; this one does not")]
    Subject,
    /// The name has other characters.
    #[error(
        "the name of a root is lower-case letters, digits, dots and dashes, at most {MAX_NAME_BYTES}"
    )]
    Name,
}

/// Intel SGX Root CA, as Intel publishes it.
const INTEL: &[u8] = include_bytes!("../../data/intel-sgx-root-ca.der");
const SIMULATED: &[u8] = b"simulated";
const MAX_NAME_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intels_root_is_the_published_one() {
        let root = Root::intel().unwrap();
        assert_eq!(root.kind().to_string(), "intel");
        assert_eq!(root.certificate().common_name(), "Intel SGX Root CA");
        assert_eq!(hex::encode(root.fingerprint()), INTEL_FINGERPRINT);
        let path =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors/tdx/go-tdx-guest/");
        let published = std::fs::read(format!("{path}trusted_root.pem")).unwrap();
        assert_eq!(Certificate::parse(&published).unwrap(), *root.certificate());
        assert_eq!(Root::intel_of(&published).unwrap(), root);
        assert!(matches!(Root::intel_of(b"-----BEGIN"), Err(RootError::Certificate { .. })));
    }

    #[test]
    fn intels_root_is_no_simulated_one() {
        // D14
        assert!(matches!(Root::simulated("ci", INTEL), Err(RootError::IsIntel)));
        for name in ["", "CI", "-ci", "a b", &"a".repeat(65)] {
            assert!(matches!(Root::simulated(name, INTEL), Err(RootError::Name)), "{name}");
        }
        assert!(matches!(Root::simulated("ci", b"-----BEGIN"), Err(RootError::Certificate { .. })));
    }

    const INTEL_FINGERPRINT: &str =
        "a0af031289f5d5d4132f9186068a7fc13628633ba235777472e29b6b6c67a49e";
}
