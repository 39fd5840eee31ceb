// SPDX-License-Identifier: Apache-2.0
//! Keys of simulated vendors, all from one seed, so that what is minted is the same again.
//!
//! RSA keys are slow to make: a folder keeps them. Nobody may trust any of these keys.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use p384::ecdsa::signature::Signer as _;
use ring::{digest, hmac};
use rsa::pkcs1::{DecodeRsaPrivateKey, EncodeRsaPrivateKey};
use rsa::pkcs8::EncodePublicKey;
use rsa::pss::SigningKey as PssKey;
use rsa::rand_core::{CryptoRng, Error, RngCore};
use rsa::sha2::Sha384;
use rsa::signature::{RandomizedSigner, SignatureEncoding};
use zeroize::Zeroizing;

use crate::x509::{CertificateError, Signer};

/// Size of the authorities' keys in bits, as AMD's.
pub const RSA_BITS: usize = 4096;

/// The keys of one seed.
pub struct Keys {
    seed: Zeroizing<[u8; 32]>,
    bits: usize,
    folder: Option<PathBuf>,
    authorities: [OnceLock<RsaKey>; 3],
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
}

/// An RSA key that signs with RSASSA-PSS, SHA-384 and 48 bytes of salt.
pub struct RsaKey {
    key: PssKey<Sha384>,
    spki: Vec<u8>,
    seed: Zeroizing<[u8; 32]>,
    /// Signatures by digest: a suite has the same certificates in most of its cases.
    made: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
}

/// A P-256 key that signs with SHA-256.
pub struct P256Key(p256::ecdsa::SigningKey);

/// A P-384 key that signs with SHA-384.
pub struct P384Key(p384::ecdsa::SigningKey);

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
        let [ark, ask, asvk] = &self.authorities;
        let (place, name) = match authority {
            Authority::Ark => (ark, "ark"),
            Authority::Ask => (ask, "ask"),
            Authority::Asvk => (asvk, "asvk"),
        };
        if let Some(key) = place.get() {
            return Ok(key);
        }
        let key = self.load_rsa(name)?;
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

    fn load_rsa(&self, name: &str) -> Result<RsaKey, KeysError> {
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
        let key = rsa::RsaPrivateKey::new(&mut Stream::new(&self.seed, name), self.bits)
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

impl P256Key {
    /// `SubjectPublicKeyInfo` DER.
    #[must_use]
    pub fn spki(&self) -> Vec<u8> {
        [P256_SPKI_HEAD, &self.point()].concat()
    }

    /// The public key, uncompressed: 0x04, x, y.
    #[must_use]
    pub fn point(&self) -> Vec<u8> {
        self.0.verifying_key().to_sec1_point(false).as_bytes().to_vec()
    }

    /// Signs; r and s, 32 bytes big-endian each.
    #[must_use]
    pub fn sign_fixed(&self, message: &[u8]) -> [u8; 64] {
        let signature: p256::ecdsa::Signature = self.0.sign(message);
        signature.to_bytes().into()
    }
}

impl Signer for P256Key {
    fn algorithm(&self) -> &'static [u8] {
        ECDSA_SHA256
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CertificateError> {
        let signature: p256::ecdsa::Signature = self.0.sign(message);
        Ok(signature.to_der().as_bytes().to_vec())
    }
}

impl P384Key {
    /// `SubjectPublicKeyInfo` DER.
    #[must_use]
    pub fn spki(&self) -> Vec<u8> {
        let point = self.0.verifying_key().to_sec1_point(false);
        [P384_SPKI_HEAD, point.as_bytes()].concat()
    }

    /// Signs; r and s, 48 bytes big-endian each.
    #[must_use]
    pub fn sign_fixed(&self, message: &[u8]) -> [u8; 96] {
        let signature: p384::ecdsa::Signature = self.0.sign(message);
        signature.to_bytes().into()
    }
}

/// `SubjectPublicKeyInfo` of a P-384 point up to the point (RFC 5480).
pub(crate) const P384_SPKI_HEAD: &[u8] = &[
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b,
    0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
];

/// The same of a P-256 point.
const P256_SPKI_HEAD: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// `ecdsa-with-SHA256` (RFC 5758).
const ECDSA_SHA256: &[u8] =
    &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

/// `rsassaPss` with SHA-384, MGF1 of the same and 48 bytes of salt, as in AMD's certificates
/// (RFC 4055, section 3.1).
const RSASSA_PSS_SHA384: &[u8] = &[
    0x30, 0x41, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, 0x30, 0x34, 0xa0,
    0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00,
    0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30,
    0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xa2, 0x03,
    0x02, 0x01, 0x30,
];

/// Random-looking bytes of a seed and a name: HMAC-SHA-256 of a counter.
struct Stream {
    key: hmac::Key,
    counter: u64,
    rest: Vec<u8>,
}

impl Stream {
    fn new(seed: &[u8; 32], name: &str) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &derive(seed, name));
        Self { key, counter: 0, rest: Vec::new() }
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill_bytes(&mut bytes);
        bytes
    }
}

impl RngCore for Stream {
    fn next_u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn next_u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    fn fill_bytes(&mut self, places: &mut [u8]) {
        for place in places {
            if self.rest.is_empty() {
                self.rest = hmac::sign(&self.key, &self.counter.to_be_bytes()).as_ref().to_vec();
                self.counter = self.counter.wrapping_add(1);
            }
            *place = self.rest.pop().unwrap_or_default();
        }
    }

    fn try_fill_bytes(&mut self, places: &mut [u8]) -> Result<(), Error> {
        self.fill_bytes(places);
        Ok(())
    }
}

impl CryptoRng for Stream {}

fn derive(seed: &[u8], name: &str) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, seed);
    let mut derived = [0; 32];
    let tag = hmac::sign(&key, name.as_bytes());
    derived.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
    derived
}

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
