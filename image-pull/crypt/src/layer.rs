// SPDX-License-Identifier: Apache-2.0
//! Encrypting a layer, and opening an encrypted one, as streams.

use std::collections::BTreeMap;
use std::io;
use std::io::Read;
use std::io::Write;

use aes::Aes256;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ctr::Ctr128BE;
use ctr::cipher::KeyIvInit as _;
use ctr::cipher::StreamCipher as _;
use ring::hmac;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::key::Kek;
use crate::key::Kid;
use crate::key::RandomError;
use crate::key::random;
use crate::oci::Digest;
use crate::oci::Hasher;
use crate::options::KEY_SIZE;
use crate::options::NONCE_SIZE;
use crate::options::OptionsError;
use crate::options::PrivateOptions;
use crate::options::PublicOptions;
use crate::packet::MAX_PACKET;
use crate::packet::Packet;
use crate::packet::PacketError;

/// How a layer is encrypted, from the annotations of its descriptor.
pub struct LayerEncryption {
    public: PublicOptions,
    first: Packet,
    others: Vec<Packet>,
}

impl LayerEncryption {
    /// Reads the annotations of an encrypted layer's descriptor.
    ///
    /// Only recipients of the key provider `attestation-agent` are read.
    ///
    /// # Errors
    ///
    /// [`LayerKeyError`] if public options or recipients are missing or malformed.
    pub fn from_annotations(annotations: &BTreeMap<String, String>) -> Result<Self, LayerKeyError> {
        let missing = |name| LayerKeyError::NoAnnotation { name };
        let options = annotations.get(PUBOPTS).ok_or(missing(PUBOPTS))?;
        let options = decode(options, PUBOPTS)?;
        let public =
            PublicOptions::parse(&options).map_err(|source| LayerKeyError::Options { source })?;
        let recipients = annotations.get(KEYS).ok_or(missing(KEYS))?;
        if recipients.split(',').count() > MAX_RECIPIENTS {
            return Err(LayerKeyError::Recipients);
        }
        let mut packets = recipients.split(',').map(|text| {
            let bytes = decode(text, KEYS)?;
            Packet::parse(&bytes).map_err(|source| LayerKeyError::Packet { source })
        });
        let first = packets.next().ok_or(missing(KEYS))??;
        Ok(Self { public, first, others: packets.collect::<Result<_, _>>()? })
    }

    /// The first recipient's key-encryption key.
    #[must_use]
    pub fn kid(&self) -> &Kid {
        &self.first.kid
    }

    /// The key-encryption keys of all recipients: one of them is enough.
    pub fn kids(&self) -> impl Iterator<Item = &Kid> {
        self.packets().map(|p| &p.kid)
    }

    /// Unwraps the layer's key with the key-encryption key of one recipient.
    ///
    /// # Errors
    ///
    /// [`LayerKeyError`] if no recipient's packet is authentic under `kek`, or what it wraps is no key.
    pub fn unwrap_key(&self, kek: &Kek) -> Result<LayerKey, LayerKeyError> {
        let mut last = PacketError::Unwrap;
        for packet in self.packets() {
            match packet.unwrap(kek) {
                Ok(options) => {
                    let private = PrivateOptions::parse(&options)
                        .map_err(|source| LayerKeyError::Options { source })?;
                    return Ok(LayerKey { private, hmac: self.public.hmac });
                }
                Err(error) => last = error,
            }
        }
        Err(LayerKeyError::Packet { source: last })
    }

    fn packets(&self) -> impl Iterator<Item = &Packet> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

/// The key of one layer, with what its plaintext must agree with.
pub struct LayerKey {
    private: PrivateOptions,
    hmac: [u8; 32],
}

impl LayerKey {
    /// Decrypts `ciphertext` and gives the plaintext to `consume`; what `consume` makes of it is
    /// returned once the whole ciphertext is authentic, and dropped otherwise.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: `consume`'s own error, a read error, or content that is not authentic.
    ///
    /// # Security
    ///
    /// C9: ocicrypt's MAC comes at the end of the stream, so `consume` sees bytes that anybody may
    /// have altered. Let it write into a quarantine only, and have its result own the quarantine,
    /// so that a failure here removes what was written.
    pub fn open<R, T, E>(
        self,
        mut ciphertext: R,
        consume: impl FnOnce(&mut UnverifiedPlaintext<'_>) -> Result<T, E>,
    ) -> Result<T, OpenError<E>>
    where
        R: Read,
        E: std::error::Error + 'static,
    {
        let mut plaintext = UnverifiedPlaintext {
            ciphertext: &mut ciphertext,
            cipher: cipher(&self.private.key, &self.private.nonce),
            mac: mac(&self.private.key),
            plain: Hasher::default(),
        };
        let made = consume(&mut plaintext).map_err(|source| OpenError::Consume { source })?;
        io::copy(&mut plaintext, &mut io::sink()).map_err(|source| OpenError::Read { source })?;
        let (mac, digest) = (plaintext.mac.sign(), plaintext.plain.finish());
        if !bool::from(mac.as_ref().ct_eq(&self.hmac)) {
            return Err(OpenError::Mac);
        }
        // C9: a key wrapped for another layer.
        if digest != self.private.digest {
            return Err(OpenError::Digest);
        }
        Ok(made)
    }
}

/// Decrypted bytes that are not known to be authentic.
pub struct UnverifiedPlaintext<'a> {
    ciphertext: &'a mut dyn Read,
    cipher: Cipher,
    mac: hmac::Context,
    plain: Hasher,
}

impl Read for UnverifiedPlaintext<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.ciphertext.read(buffer)?;
        let read = buffer.get_mut(..size).ok_or(io::ErrorKind::InvalidData)?;
        self.mac.update(read);
        self.cipher.try_apply_keystream(read).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.plain.update(read);
        Ok(size)
    }
}

/// Why the key of an encrypted layer is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerKeyError {
    /// An annotation is missing.
    #[error("encrypted layer has no annotation {name}")]
    NoAnnotation {
        /// The annotation.
        name: &'static str,
    },
    /// An annotation is not base64, or over its cap.
    #[error("annotation {name} of an encrypted layer is malformed")]
    BadAnnotation {
        /// The annotation.
        name: &'static str,
    },
    /// Too many recipients.
    #[error("encrypted layer has more than {MAX_RECIPIENTS} recipients")]
    Recipients,
    /// The options are refused.
    #[error("encryption options of the layer are refused")]
    Options {
        /// Why.
        #[source]
        source: OptionsError,
    },
    /// The wrapped key is refused.
    #[error("wrapped key of the layer is refused")]
    Packet {
        /// Why.
        #[source]
        source: PacketError,
    },
}

/// Why an encrypted layer does not open. `E` is the error of the one who consumes the plaintext.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError<E: std::error::Error + 'static> {
    /// The ciphertext cannot be read.
    #[error("failed to read the encrypted layer")]
    Read {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The consumer of the plaintext failed.
    #[error("failed to use the decrypted layer")]
    Consume {
        /// Why.
        #[source]
        source: E,
    },
    /// The MAC differs: the ciphertext was altered, or the key is another layer's.
    #[error("encrypted layer is not authentic")]
    Mac,
    /// The plaintext is not the one that the key was wrapped for.
    #[error("decrypted layer is not the one that its key is for")]
    Digest,
}

/// What [`encrypt_layer`] made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncryptedLayer {
    /// Digest of the ciphertext.
    pub digest: Digest,
    /// Size of the ciphertext in bytes.
    pub size: u64,
    /// Annotations for the layer's descriptor.
    pub annotations: BTreeMap<String, String>,
}

/// Encrypts the layer `plaintext`, whose digest is `plain_digest`, under a new random key, and wraps
/// that key with `kek`.
///
/// # Errors
///
/// [`EncryptError`] if reading or writing fails, or the plaintext has another digest. What was
/// written is then of no use.
pub fn encrypt_layer<R: Read, W: Write>(
    mut plaintext: R,
    mut ciphertext: W,
    plain_digest: Digest,
    kid: &Kid,
    kek: &Kek,
) -> Result<EncryptedLayer, EncryptError> {
    let key = random().map_err(|source| EncryptError::Random { source })?;
    let nonce = *random().map_err(|source| EncryptError::Random { source })?;
    let private = PrivateOptions { key, nonce, digest: plain_digest };
    let (mut cipher, mut mac) = (cipher(&private.key, &nonce), mac(&private.key));
    let (mut plain, mut encrypted) = (Hasher::default(), Hasher::default());
    let mut size = 0_u64;
    let mut buffer = Zeroizing::new(vec![0; BUFFER_SIZE]);
    loop {
        let read = match plaintext.read(&mut buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(EncryptError::Read { source }),
        };
        let Some(block) = buffer.get_mut(..read).filter(|b| !b.is_empty()) else { break };
        plain.update(block);
        cipher.try_apply_keystream(block).map_err(|_| EncryptError::Large)?;
        mac.update(block);
        encrypted.update(block);
        size = u64::try_from(read)
            .ok()
            .and_then(|read| size.checked_add(read))
            .ok_or(EncryptError::Large)?;
        ciphertext.write_all(block).map_err(|source| EncryptError::Write { source })?;
    }
    ciphertext.flush().map_err(|source| EncryptError::Write { source })?;
    if plain.finish() != plain_digest {
        return Err(EncryptError::Digest { expected: plain_digest });
    }
    let mut hmac = [0; 32];
    for (to, from) in hmac.iter_mut().zip(mac.sign().as_ref()) {
        *to = *from;
    }
    let options = |source| EncryptError::Options { source };
    let wrap = |source| EncryptError::Wrap { source };
    let public = PublicOptions { hmac }.to_bytes().map_err(options)?;
    let packet = Packet::wrap(&private.to_bytes().map_err(options)?, kid, kek).map_err(wrap)?;
    let annotations = BTreeMap::from([
        (PUBOPTS.to_owned(), BASE64.encode(public)),
        (KEYS.to_owned(), BASE64.encode(packet.to_bytes().map_err(wrap)?)),
    ]);
    Ok(EncryptedLayer { digest: encrypted.finish(), size, annotations })
}

/// Why a layer could not be encrypted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncryptError {
    /// The layer cannot be read.
    #[error("failed to read the layer")]
    Read {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The ciphertext cannot be written.
    #[error("failed to write the encrypted layer")]
    Write {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The layer is too large for its cipher.
    #[error("layer is too large to encrypt")]
    Large,
    /// The layer is not the one that its descriptor names.
    #[error("layer differs from its digest {expected}")]
    Digest {
        /// The digest that it should have.
        expected: Digest,
    },
    /// No random bytes.
    #[error("failed to make a layer key")]
    Random {
        /// Why.
        #[source]
        source: RandomError,
    },
    /// The options do not serialise.
    #[error("failed to write the encryption options")]
    Options {
        /// Why.
        #[source]
        source: OptionsError,
    },
    /// The layer key cannot be wrapped.
    #[error("failed to wrap the layer key")]
    Wrap {
        /// Why.
        #[source]
        source: PacketError,
    },
}

/// AES-256 in counter mode; the whole 16-byte block is one big-endian counter, as in Go's
/// `cipher.NewCTR`.
type Cipher = Ctr128BE<Aes256>;

fn cipher(key: &[u8; KEY_SIZE], nonce: &[u8; NONCE_SIZE]) -> Cipher {
    Cipher::new(key.into(), nonce.into())
}

/// The MAC over the ciphertext; ocicrypt uses the cipher's key.
fn mac(key: &[u8; KEY_SIZE]) -> hmac::Context {
    hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key))
}

fn decode(text: &str, name: &'static str) -> Result<Vec<u8>, LayerKeyError> {
    // Base64 has four characters for three bytes.
    if text.len() / 4 > MAX_PACKET / 3 {
        return Err(LayerKeyError::BadAnnotation { name });
    }
    BASE64.decode(text).map_err(|_| LayerKeyError::BadAnnotation { name })
}

/// Annotation with the public options.
const PUBOPTS: &str = "org.opencontainers.image.enc.pubopts";
/// Annotation with the wrapped keys for the attestation agent's key provider.
const KEYS: &str = "org.opencontainers.image.enc.keys.provider.attestation-agent";
/// What all annotations of an encrypted layer begin with.
pub(crate) const ENCRYPTION_PREFIX: &str = "org.opencontainers.image.enc.";
/// Most recipients of a layer.
const MAX_RECIPIENTS: usize = 16;
/// Unit of reading in bytes.
const BUFFER_SIZE: usize = 64 << 10;
