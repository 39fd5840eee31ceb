// SPDX-License-Identifier: Apache-2.0
//! Keys of simulated vendors, all from one seed, so that what is minted is the same again.
//!
//! RSA keys are slow to make: a folder keeps them. Nobody may trust any of these keys.

mod curve;
mod stream;

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use ring::digest;
use rsa::pkcs1::{DecodeRsaPrivateKey, EncodeRsaPrivateKey};
use rsa::pkcs1v15;
use rsa::pkcs8::EncodePublicKey;
use rsa::pss::SigningKey as PssKey;
use rsa::rand_core::RngCore;
use rsa::sha2::{Sha256, Sha384};
use rsa::signature::{RandomizedSigner, SignatureEncoding, Signer as _};
use rsa::traits::PublicKeyParts;
use zeroize::Zeroizing;

pub use curve::{P256Key, P384Key};

pub(crate) use curve::P384_SPKI_HEAD;

use crate::x509::{CertificateError, Signer};
use stream::{Stream, derive};

/// Size of the authorities' keys in bits, as AMD's.
pub const RSA_BITS: usize = 4096;

/// Size of a TPM's attestation key in bits.
const TPM_BITS: usize = 2048;

/// The keys of one seed.
pub struct Keys {
    seed: Zeroizing<[u8; 32]>,
    bits: usize,
    folder: Option<PathBuf>,
    authorities: [OnceLock<RsaKey>; 4],
}

/// Which RSA key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority {
    /// AMD's root.
    Ark,
    /// Signs chips' keys.
    Ask,
    /// Signs leased keys.
    Asvk,
    /// Signs the quotes of a TPM; 2048 bits, as such keys have.
    Tpm,
}

/// An RSA key that signs with RSASSA-PSS, SHA-384 and 48 bytes of salt, or as TPMs do.
pub struct RsaKey {
    key: PssKey<Sha384>,
    spki: Vec<u8>,
    seed: Zeroizing<[u8; 32]>,
    /// Signatures by digest: a suite has the same certificates in most of its cases.
    made: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
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
    #[error("failed to make a key")]
    Generate,
    /// A file does not hold what it should.
    #[error("{path:?} does not hold what a folder of keys has there")]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The folder was made from another seed.
    #[error("{path:?} was made from another seed")]
    OtherSeed {
        /// The folder.
        path: PathBuf,
    },
}

impl Keys {
    /// Keys of `seed`, kept nowhere.
    #[must_use]
    pub fn from_seed(seed: &[u8], bits: usize) -> Self {
        Self {
            seed: Zeroizing::new(derive(seed, "seed")),
            bits,
            folder: None,
            authorities: Default::default(),
        }
    }

    /// Keys of a folder, made with the first use. Without a seed a new folder gets a random one.
    ///
    /// # Errors
    ///
    /// [`KeysError`].
    pub fn open(folder: &Path, seed: Option<u64>, bits: usize) -> Result<Self, KeysError> {
        let path = folder.join("seed");
        let wanted = seed.map(|seed| derive(&seed.to_be_bytes(), "seed"));
        let seed = match fs::read(&path) {
            Ok(bytes) => Zeroizing::new(bytes)
                .as_slice()
                .try_into()
                .map_err(|_| KeysError::Malformed { path: path.clone() })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let seed = wanted.map_or_else(random, Ok)?;
                let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
                made.map_err(|source| KeysError::File {
                    action: "make",
                    path: folder.to_owned(),
                    source,
                })?;
                write(&path, &seed)?;
                seed
            }
            Err(source) => return Err(KeysError::File { action: "read", path, source }),
        };
        if wanted.is_some_and(|wanted| wanted != seed) {
            return Err(KeysError::OtherSeed { path: folder.to_owned() });
        }
        let seed = Zeroizing::new(seed);
        let folder = Some(folder.to_owned());
        Ok(Self { seed, bits, folder, authorities: Default::default() })
    }

    /// Keys of a seed by number, or of a random one, kept nowhere.
    ///
    /// # Errors
    ///
    /// [`KeysError::Generate`] without random numbers.
    pub fn passing(seed: Option<u64>, bits: usize) -> Result<Self, KeysError> {
        let seed = seed.map_or_else(random, |seed| Ok(derive(&seed.to_be_bytes(), "seed")))?;
        let seed = Zeroizing::new(seed);
        Ok(Self { seed, bits, folder: None, authorities: Default::default() })
    }

    /// The RSA key of an authority.
    ///
    /// # Errors
    ///
    /// [`KeysError`].
    pub fn rsa(&self, authority: Authority) -> Result<&RsaKey, KeysError> {
        let [ark, ask, asvk, tpm] = &self.authorities;
        let (place, name, bits) = match authority {
            Authority::Ark => (ark, "ark", self.bits),
            Authority::Ask => (ask, "ask", self.bits),
            Authority::Asvk => (asvk, "asvk", self.bits),
            Authority::Tpm => (tpm, "tpm", TPM_BITS),
        };
        if let Some(key) = place.get() {
            return Ok(key);
        }
        let key = self.load_rsa(name, bits)?;
        Ok(place.get_or_init(|| key))
    }

    /// The P-256 key of this name.
    ///
    /// # Errors
    ///
    /// [`KeysError::Generate`].
    pub fn p256(&self, name: &str) -> Result<P256Key, KeysError> {
        let mut stream = Stream::new(&self.seed, name);
        let key = p256::ecdsa::SigningKey::from_slice(&stream.take::<32>());
        key.map(P256Key).map_err(|_| KeysError::Generate)
    }

    /// The P-384 key of this name.
    ///
    /// # Errors
    ///
    /// [`KeysError::Generate`].
    pub fn p384(&self, name: &str) -> Result<P384Key, KeysError> {
        let mut stream = Stream::new(&self.seed, name);
        let key = p384::ecdsa::SigningKey::from_slice(&stream.take::<48>());
        key.map(P384Key).map_err(|_| KeysError::Generate)
    }

    /// Bytes of this name: ids, nonces.
    #[must_use]
    pub fn bytes<const N: usize>(&self, name: &str) -> [u8; N] {
        Stream::new(&self.seed, name).take()
    }

    fn load_rsa(&self, name: &str, bits: usize) -> Result<RsaKey, KeysError> {
        let file = self.folder.as_ref().map(|folder| folder.join(format!("{name}.key")));
        if let Some(path) = file.as_ref().filter(|path| path.exists()) {
            let bytes = fs::read(path).map(Zeroizing::new).map_err(|source| KeysError::File {
                action: "read",
                path: path.clone(),
                source,
            })?;
            let key = rsa::RsaPrivateKey::from_pkcs1_der(&bytes)
                .map_err(|_| KeysError::Malformed { path: path.clone() })?;
            return self.rsa_key(key, name);
        }
        let key = rsa::RsaPrivateKey::new(&mut Stream::new(&self.seed, name), bits)
            .map_err(|_| KeysError::Generate)?;
        if let Some(path) = file {
            let der = key.to_pkcs1_der().map_err(|_| KeysError::Generate)?;
            write(&path, der.as_bytes())?;
        }
        self.rsa_key(key, name)
    }

    fn rsa_key(&self, key: rsa::RsaPrivateKey, name: &str) -> Result<RsaKey, KeysError> {
        let spki = key.to_public_key().to_public_key_der().map_err(|_| KeysError::Generate)?;
        Ok(RsaKey {
            key: PssKey::new(key),
            spki: spki.into_vec(),
            seed: Zeroizing::new(derive(self.seed.as_slice(), name)),
            made: Mutex::default(),
        })
    }
}

impl RsaKey {
    /// `SubjectPublicKeyInfo` DER.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Modulus and exponent, big-endian.
    #[must_use]
    pub fn numbers(&self) -> (Vec<u8>, Vec<u8>) {
        let key: &rsa::RsaPrivateKey = self.key.as_ref();
        (key.n().to_bytes_be(), key.e().to_bytes_be())
    }

    /// A signature as a TPM makes them: RSASSA-PKCS1-v1_5 with SHA-256.
    ///
    /// # Errors
    ///
    /// [`CertificateError::Sign`].
    pub fn sign_as_tpm(&self, message: &[u8]) -> Result<Vec<u8>, CertificateError> {
        let key: &rsa::RsaPrivateKey = self.key.as_ref();
        let signature = pkcs1v15::SigningKey::<Sha256>::new(key.clone()).try_sign(message);
        signature.map(|signature| signature.to_vec()).map_err(|_| CertificateError::Sign)
    }
}

impl Signer for RsaKey {
    fn algorithm(&self) -> &'static [u8] {
        RSASSA_PSS_SHA384
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CertificateError> {
        let name = digest::digest(&digest::SHA256, message).as_ref().to_vec();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(signature) = made.get(&name) {
            return Ok(signature.clone());
        }
        let mut salt = Stream::new(&self.seed, &hex::encode(&name));
        let signature = self.key.try_sign_with_rng(&mut salt, message);
        let signature = signature.map_err(|_| CertificateError::Sign)?.to_vec();
        made.insert(name, signature.clone());
        Ok(signature)
    }
}

/// `rsassaPss` with SHA-384, MGF1 of the same and 48 bytes of salt, as in AMD's certificates
/// (RFC 4055, section 3.1).
const RSASSA_PSS_SHA384: &[u8] = &[
    0x30, 0x41, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, 0x30, 0x34, 0xa0,
    0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00,
    0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30,
    0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xa2, 0x03,
    0x02, 0x01, 0x30,
];

fn random() -> Result<[u8; 32], KeysError> {
    let mut seed = [0; 32];
    let filled = rsa::rand_core::OsRng.try_fill_bytes(&mut seed);
    filled.map(|()| seed).map_err(|_| KeysError::Generate)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), KeysError> {
    let open =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    open.and_then(|mut file| file.write_all(bytes)).map_err(|source| KeysError::File {
        action: "write",
        path: path.to_owned(),
        source,
    })
}
