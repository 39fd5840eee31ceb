// SPDX-License-Identifier: Apache-2.0
//! Signing an ID block.

use ring::rand::SecureRandom;
use ring::signature::ECDSA_P384_SHA384_FIXED_SIGNING;
use ring::signature::EcdsaKeyPair;
use ring::signature::KeyPair;
use zeroize::Zeroizing;

use super::IdAuth;
use super::IdBlock;
use super::Identity;
use super::PublicKey;
use super::Signature;
use super::auth::Author;

/// Largest accepted PKCS#8 file, PEM or DER, in bytes.
pub const MAX_KEY_FILE: usize = 16 * 1024;

/// A private key on P-384 that signs ID blocks or ID keys.
///
/// # Security
///
/// The key's bytes are wiped when it is dropped, and there is no way to print them. The form that
/// ring makes of them exists during a signature only.
pub struct SigningKey {
    pkcs8: Zeroizing<Vec<u8>>,
    public: PublicKey,
}

impl SigningKey {
    /// Reads a key file: PKCS#8 with its public key inside, as PEM (`BEGIN PRIVATE KEY`) or DER.
    ///
    /// `random` is what the platform offers; ring checks the pair with it.
    ///
    /// # Errors
    ///
    /// A file that holds no such key: see [`SigningKeyError`].
    pub fn from_pkcs8(file: &[u8], random: &dyn SecureRandom) -> Result<Self, SigningKeyError> {
        if file.len() > MAX_KEY_FILE {
            return Err(SigningKeyError::TooLarge { size: file.len() });
        }
        let pkcs8 = if file.starts_with(b"-----BEGIN") {
            let (label, der) =
                pem_rfc7468::decode_vec(file).map_err(|_| SigningKeyError::MalformedPem)?;
            let der = Zeroizing::new(der);
            if label != "PRIVATE KEY" {
                return Err(SigningKeyError::OtherPem);
            }
            der
        } else {
            Zeroizing::new(file.to_vec())
        };
        let pair = key_pair(&pkcs8, random)?;
        let public = PublicKey::from_point(pair.public_key().as_ref());
        Ok(Self { pkcs8, public: public.ok_or(SigningKeyError::NoP384Key)? })
    }

    /// The public key.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(
        &self,
        message: &[u8],
        random: &dyn SecureRandom,
    ) -> Result<Signature, SigningKeyError> {
        let pair = key_pair(&self.pkcs8, random)?;
        let signature = pair.sign(random, message).map_err(|_| SigningKeyError::NoRandomness)?;
        Signature::from_fixed(signature.as_ref()).ok_or(SigningKeyError::NoP384Key)
    }
}

impl IdBlock {
    /// Signs this block with the ID key, and the ID key with the author key if there is one.
    ///
    /// Signatures are random, so each call gives another authentication of the same meaning.
    ///
    /// # Errors
    ///
    /// [`SigningKeyError::NoRandomness`].
    pub fn sign(
        self,
        id_key: &SigningKey,
        author_key: Option<&SigningKey>,
        random: &dyn SecureRandom,
    ) -> Result<Identity, SigningKeyError> {
        let signature = id_key.sign(&self.to_bytes(), random)?;
        let author = match author_key {
            None => None,
            Some(author) => Some(Author {
                signature: author.sign(&id_key.public.to_bytes(), random)?,
                key: author.public,
            }),
        };
        Ok(Identity::signed(self, IdAuth::from_parts(signature, id_key.public, author)))
    }
}

/// Why a key cannot sign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SigningKeyError {
    /// The file is larger than [`MAX_KEY_FILE`].
    #[error("the key file has {size} bytes, more than {MAX_KEY_FILE}")]
    TooLarge {
        /// Size in bytes.
        size: usize,
    },
    /// The file starts like PEM and is none.
    #[error("the key file is malformed PEM")]
    MalformedPem,
    /// PEM of something else than an unencrypted PKCS#8 key.
    #[error(
        "the key file is not PKCS#8 (BEGIN PRIVATE KEY); convert it with openssl pkcs8 -topk8 -nocrypt"
    )]
    OtherPem,
    /// PKCS#8 of another kind of key, or a malformed one.
    #[error("the key file holds no private key on P-384 with its public key")]
    NoP384Key,
    /// The platform gave no randomness.
    #[error("failed to get randomness for a signature")]
    NoRandomness,
}

fn key_pair(pkcs8: &[u8], random: &dyn SecureRandom) -> Result<EcdsaKeyPair, SigningKeyError> {
    EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, pkcs8, random)
        .map_err(|_| SigningKeyError::NoP384Key)
}
