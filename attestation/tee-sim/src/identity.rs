// SPDX-License-Identifier: Apache-2.0
//! The keys and certificates of one installation.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use casemate_attester::Report;
use casemate_evidence::snp::{CertificateKind, TableEntry};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use zeroize::Zeroizing;

use crate::certificates::{Role, Template};
use crate::keys::{Authority, Keys, KeysError, P384_SPKI_HEAD, RSA_BITS};
use crate::report::{Platform, SIGNED_LEN, with_signature};
use crate::x509::{CertificateError, Signer, to_pem};

/// What the service needs of an installation: the chip's key and the certificates.
pub struct Identity {
    platform: Platform,
    vcek: EcdsaKeyPair,
    certificates: Vec<TableEntry>,
    random: SystemRandom,
}

/// Why an installation cannot be made or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A file cannot be used.
    #[error("failed to {action} {path:?}")]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A key could not be made.
    #[error("failed to make the {key} key")]
    Generate {
        /// Which.
        key: &'static str,
    },
    /// A file does not hold what it should.
    #[error("{path:?} does not hold what an installation has there")]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// A certificate could not be made.
    #[error("failed to make a certificate")]
    Mint(#[from] CertificateError),
    /// The authorities' keys could not be made.
    #[error("failed to make the authorities' keys")]
    Keys(#[from] KeysError),
    /// The system gives no random numbers, or the key does not sign.
    #[error("failed to use the chip's key")]
    Sign,
}

/// No file of an installation is larger.
const FILE_MAX: u64 = 64 * 1024;
const CHIP_ID: &str = "chip-id";
const VCEK_KEY: &str = "vcek.key";
/// Certificate files by role.
const CERTIFICATES: [(&str, CertificateKind); 3] =
    [("ark", CertificateKind::Ark), ("ask", CertificateKind::Ask), ("vcek", CertificateKind::Vcek)];

impl Identity {
    /// Makes an installation in `folder`, or opens the one that is there.
    ///
    /// It writes the chip's key and id, `ark`, `ask` and `vcek` as `.der` and `.pem`, and
    /// `chain.pem` with ASK and ARK, the order of AMD's key distribution server. The authorities'
    /// keys are used once and forgotten.
    ///
    /// # Errors
    ///
    /// [`IdentityError`].
    pub fn init(folder: &Path) -> Result<Self, IdentityError> {
        // Written last: an installation with it is whole.
        if !folder.join(VCEK_KEY).exists() {
            make(folder)?;
        }
        Self::open(folder)
    }

    /// Opens an installation.
    ///
    /// # Errors
    ///
    /// [`IdentityError`].
    pub fn open(folder: &Path) -> Result<Self, IdentityError> {
        let mut certificates = Vec::new();
        for (name, kind) in CERTIFICATES {
            let der = read(&folder.join(name).with_extension("der"))?;
            certificates.push(TableEntry { kind, data: der.to_vec() });
        }
        let chip_file = folder.join(CHIP_ID);
        let chip_id = read(&chip_file)?
            .as_slice()
            .try_into()
            .map_err(|_| IdentityError::Malformed { path: chip_file })?;
        let key_file = folder.join(VCEK_KEY);
        let random = SystemRandom::new();
        let vcek =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &read(&key_file)?, &random)
                .map_err(|_| IdentityError::Malformed { path: key_file })?;
        Ok(Self { platform: Platform::genoa(chip_id), vcek, certificates, random })
    }

    /// The simulated chip.
    #[must_use]
    pub fn platform(&self) -> &Platform {
        &self.platform
    }

    /// The certificate table of an extended report.
    #[must_use]
    pub fn certificates(&self) -> &[TableEntry] {
        &self.certificates
    }

    /// The chain that a verifier is configured with: ASK and ARK, PEM.
    #[must_use]
    pub fn chain_pem(&self) -> String {
        let pem = |kind: CertificateKind| {
            let entry = self.certificates.iter().find(|entry| entry.kind == kind);
            to_pem(entry.map(|entry| entry.data.as_slice()).unwrap_or_default())
        };
        pem(CertificateKind::Ask) + &pem(CertificateKind::Ark)
    }

    /// Signs a report with the chip's key.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Sign`].
    pub fn sign(&self, report: &Report) -> Result<Report, IdentityError> {
        let signed = report.as_bytes().get(..SIGNED_LEN).ok_or(IdentityError::Sign)?;
        let signature = self.vcek.sign(&self.random, signed).map_err(|_| IdentityError::Sign)?;
        let signature: &[u8; 96] =
            signature.as_ref().try_into().map_err(|_| IdentityError::Sign)?;
        Ok(with_signature(report, signature))
    }

    /// Fresh random bytes.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Sign`].
    pub fn random<const N: usize>(&self) -> Result<[u8; N], IdentityError> {
        let mut bytes = [0; N];
        self.random.fill(&mut bytes).map_err(|_| IdentityError::Sign)?;
        Ok(bytes)
    }
}

fn make(folder: &Path) -> Result<(), IdentityError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|source| {
        IdentityError::File { action: "make", path: folder.to_owned(), source }
    })?;
    let random = SystemRandom::new();
    let mut chip_id = [0; 64];
    random.fill(&mut chip_id).map_err(|_| IdentityError::Generate { key: "chip id" })?;
    let platform = Platform::genoa(chip_id);
    let keys = Keys::passing(None, RSA_BITS)?;
    let (ark, ask) = (keys.rsa(Authority::Ark)?, keys.rsa(Authority::Ask)?);
    let generate = |_| IdentityError::Generate { key: "VCEK" };
    let vcek_pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &random)
        .map_err(generate)?;
    let vcek =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, vcek_pkcs8.as_ref(), &random)
            .map_err(|_| IdentityError::Generate { key: "VCEK" })?;
    let vcek_spki = [P384_SPKI_HEAD, vcek.public_key().as_ref()].concat();
    let now = SystemTime::now();
    let mint = |role, spki: &[u8], issuer: &dyn Signer| {
        Template { role, spki, platform: &platform, now }.mint(issuer)
    };
    let ark_der = mint(Role::Ark, ark.spki(), ark)?;
    let ask_der = mint(Role::Ask, ask.spki(), ark)?;
    let vcek_der = mint(Role::Vcek, &vcek_spki, ask)?;
    let chain = to_pem(&ask_der) + &to_pem(&ark_der);
    for ((name, _), der) in CERTIFICATES.into_iter().zip([ark_der, ask_der, vcek_der]) {
        write(&folder.join(name).with_extension("der"), &der)?;
        write(&folder.join(name).with_extension("pem"), to_pem(&der).as_bytes())?;
    }
    write(&folder.join("chain.pem"), chain.as_bytes())?;
    write(&folder.join(CHIP_ID), &chip_id)?;
    write(&folder.join(VCEK_KEY), vcek_pkcs8.as_ref())
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
    let failed = |source| IdentityError::File { action: "read", path: path.to_owned(), source };
    let file = fs::File::open(path).map_err(failed)?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(FILE_MAX).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), IdentityError> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(|source| IdentityError::File { action: "write", path: path.to_owned(), source })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::OnceLock;

    use super::*;

    /// One installation for all tests of the crate: RSA keys take seconds.
    pub(crate) fn shared() -> &'static (tempfile::TempDir, Identity) {
        static SHARED: OnceLock<(tempfile::TempDir, Identity)> = OnceLock::new();
        SHARED.get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            let identity = Identity::init(&folder.path().join("psp")).unwrap();
            (folder, identity)
        })
    }

    #[test]
    fn an_installation_is_made_once_and_private() {
        use std::os::unix::fs::PermissionsExt;
        let (folder, identity) = shared();
        let folder = folder.path().join("psp");
        let again = Identity::init(&folder).unwrap();
        assert_eq!(again.certificates(), identity.certificates());
        assert_eq!(again.platform(), identity.platform());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&folder.join(VCEK_KEY)), 0o600);
        assert_eq!(fs::read_to_string(folder.join("chain.pem")).unwrap(), identity.chain_pem());
    }

    #[test]
    fn a_broken_installation_is_refused() {
        let (folder, _) = shared();
        let copy = tempfile::tempdir().unwrap();
        for file in fs::read_dir(folder.path().join("psp")).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
        assert!(Identity::open(copy.path()).is_ok());
        fs::write(copy.path().join(CHIP_ID), [1; 63]).unwrap();
        let refused = Identity::open(copy.path());
        assert!(matches!(refused.err(), Some(IdentityError::Malformed { .. })));
        fs::remove_file(copy.path().join("ask.der")).unwrap();
        let refused = Identity::open(copy.path());
        assert!(matches!(refused.err(), Some(IdentityError::File { .. })));
    }
}
