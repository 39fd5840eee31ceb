// SPDX-License-Identifier: Apache-2.0
//! The envelope of a resource: JWE, flattened JSON, `ECDH-ES+A256KW` with `A256GCM`
//! (RFC 7516 section 7.2.2, RFC 7518 sections 4.6 and 5.3, RFC 3394).

use aes_kw::KeyInit as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead;
use ring::digest;
use ring::rand::SecureRandom as _;
use ring::rand::SystemRandom;
use serde::Deserialize;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::Secret;
use crate::TeeKeyPair;
use crate::TeePublicKey;
use crate::jwk::ALGORITHM;
use crate::jwk::CURVE;
use crate::jwk::KEY_TYPE;

/// Largest resource that is sealed or opened, bytes.
pub const MAX_RESOURCE_BYTES: usize = 1 << 20;

/// A sealed resource as it stands in the body of a reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jwe {
    protected: String,
    encrypted_key: String,
    iv: String,
    ciphertext: String,
    tag: String,
}

impl Jwe {
    /// Seals `plaintext` to `recipient`.
    ///
    /// The protected header is compact and in the one order that every client re-serialises to:
    /// `{"alg":…,"enc":…,"epk":{"crv":…,"kty":…,"x":…,"y":…}}`.
    ///
    /// # Errors
    ///
    /// [`JweError`] when the plaintext is over [`MAX_RESOURCE_BYTES`] or the system gives no
    /// randomness.
    ///
    /// # Security
    ///
    /// Every call draws a new ephemeral key, content key and IV.
    pub fn seal(plaintext: &Secret, recipient: &TeePublicKey) -> Result<Self, JweError> {
        let random = SystemRandom::new();
        let ephemeral = TeeKeyPair::generate().map_err(|_| JweError::Randomness)?;
        let mut content_key = Zeroizing::new([0u8; KEY_BYTES]);
        random.fill(content_key.as_mut()).map_err(|_| JweError::Randomness)?;
        let mut iv = [0u8; aead::NONCE_LEN];
        random.fill(&mut iv).map_err(|_| JweError::Randomness)?;
        seal_with(plaintext, recipient, &ephemeral, &content_key, iv)
    }

    /// Opens the envelope with the session's key.
    ///
    /// # Errors
    ///
    /// [`JweError`] for a malformed member, another algorithm, or when key or content do not
    /// authenticate.
    ///
    /// # Security
    ///
    /// What is authenticated is the received text of `protected`. No part of the plaintext is
    /// returned before the whole has authenticated.
    pub fn open(&self, recipient: &TeeKeyPair) -> Result<Secret, JweError> {
        let header = self.header()?;
        let ephemeral = TeePublicKey::from_coordinates(&header.epk.x, &header.epk.y)
            .map_err(|_| JweError::Header)?;
        let wrapped: [u8; WRAPPED_KEY_BYTES] = decode(&self.encrypted_key, Member::EncryptedKey)?
            .try_into()
            .map_err(|_| JweError::Member { member: Member::EncryptedKey })?;
        let iv: [u8; aead::NONCE_LEN] = decode(&self.iv, Member::Iv)?
            .try_into()
            .map_err(|_| JweError::Member { member: Member::Iv })?;
        let tag = decode(&self.tag, Member::Tag)?;
        if tag.len() != TAG_BYTES {
            return Err(JweError::Member { member: Member::Tag });
        }
        if self.ciphertext.len() > MAX_CIPHERTEXT_CHARS {
            return Err(JweError::TooLarge);
        }
        let mut sealed = Zeroizing::new(decode(&self.ciphertext, Member::Ciphertext)?);
        sealed.extend_from_slice(&tag);

        let key_encryption_key = concat_kdf(&*recipient.agree(&ephemeral), ALGORITHM, b"", b"");
        let mut content_key = Zeroizing::new([0u8; KEY_BYTES]);
        aes_kw::KwAes256::new(&(*key_encryption_key).into())
            .unwrap_key(&wrapped, content_key.as_mut())
            .map_err(|_| JweError::Key)?;
        let plaintext_bytes = gcm(&content_key)?
            .open_in_place(
                aead::Nonce::assume_unique_for_key(iv),
                aead::Aad::from(self.protected.as_bytes()),
                sealed.as_mut_slice(),
            )
            .map_err(|_| JweError::Content)?
            .len();
        sealed.truncate(plaintext_bytes);
        Ok(Secret::from(sealed))
    }

    fn header(&self) -> Result<Header, JweError> {
        let json = decode(&self.protected, Member::Protected)?;
        let header: Header = serde_json::from_slice(&json).map_err(|_| JweError::Header)?;
        if header.alg != ALGORITHM
            || header.enc != CONTENT_ENCRYPTION
            || header.epk.crv != CURVE
            || header.epk.kty != KEY_TYPE
        {
            return Err(JweError::Header);
        }
        Ok(header)
    }
}

/// Why a resource could not be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JweError {
    /// The protected header is malformed or asks for another algorithm.
    #[error("the header of the sealed resource is not ECDH-ES+A256KW with A256GCM on P-256")]
    Header,
    /// A member is not base64url or has a wrong size.
    #[error("member {member} of the sealed resource is malformed")]
    Member {
        /// Which one.
        member: Member,
    },
    /// The resource is over [`MAX_RESOURCE_BYTES`].
    #[error("the resource is larger than {MAX_RESOURCE_BYTES} bytes")]
    TooLarge,
    /// The content key does not unwrap: the resource is sealed to another key.
    #[error("the resource is sealed to another key")]
    Key,
    /// Header or content do not authenticate.
    #[error("the sealed resource was altered")]
    Content,
    /// The system gave no randomness.
    #[error("failed to draw random numbers")]
    Randomness,
}

/// A member of the flattened JSON form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Member {
    /// `protected`
    Protected,
    /// `encrypted_key`
    EncryptedKey,
    /// `iv`
    Iv,
    /// `ciphertext`
    Ciphertext,
    /// `tag`
    Tag,
}

impl std::fmt::Display for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Protected => "protected",
            Self::EncryptedKey => "encrypted_key",
            Self::Iv => "iv",
            Self::Ciphertext => "ciphertext",
            Self::Tag => "tag",
        })
    }
}

/// The protected header. The order of the members is the order on the wire.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    enc: String,
    epk: EphemeralKey,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EphemeralKey {
    crv: String,
    kty: String,
    x: String,
    y: String,
}

fn seal_with(
    plaintext: &Secret,
    recipient: &TeePublicKey,
    ephemeral: &TeeKeyPair,
    content_key: &[u8; KEY_BYTES],
    iv: [u8; aead::NONCE_LEN],
) -> Result<Jwe, JweError> {
    if plaintext.expose().len() > MAX_RESOURCE_BYTES {
        return Err(JweError::TooLarge);
    }
    let (x, y) = ephemeral.public_key().coordinates();
    let header = Header {
        alg: ALGORITHM.into(),
        enc: CONTENT_ENCRYPTION.into(),
        epk: EphemeralKey { crv: CURVE.into(), kty: KEY_TYPE.into(), x, y },
    };
    let header = serde_json::to_vec(&header).map_err(|_| JweError::Header)?;
    let protected = URL_SAFE_NO_PAD.encode(header);

    let key_encryption_key = concat_kdf(&*ephemeral.agree(recipient), ALGORITHM, b"", b"");
    let mut wrapped = [0u8; WRAPPED_KEY_BYTES];
    aes_kw::KwAes256::new(&(*key_encryption_key).into())
        .wrap_key(content_key, &mut wrapped)
        .map_err(|_| JweError::Key)?;

    let mut ciphertext = Zeroizing::new(plaintext.expose().to_vec());
    let tag = gcm(content_key)?
        .seal_in_place_separate_tag(
            aead::Nonce::assume_unique_for_key(iv),
            aead::Aad::from(protected.as_bytes()),
            ciphertext.as_mut_slice(),
        )
        .map_err(|_| JweError::Content)?;
    Ok(Jwe {
        protected,
        encrypted_key: URL_SAFE_NO_PAD.encode(wrapped),
        iv: URL_SAFE_NO_PAD.encode(iv),
        ciphertext: URL_SAFE_NO_PAD.encode(&*ciphertext),
        tag: URL_SAFE_NO_PAD.encode(tag),
    })
}

/// Concat KDF with SHA-256, one round, 256 bits out (RFC 7518 section 4.6.2, SP 800-56A 5.8.1).
fn concat_kdf(
    shared_secret: &[u8],
    algorithm: &str,
    party_u: &[u8],
    party_v: &[u8],
) -> Zeroizing<[u8; KEY_BYTES]> {
    Zeroizing::new(kdf_round(shared_secret, algorithm, party_u, party_v, KEY_BITS))
}

fn kdf_round(
    shared_secret: &[u8],
    algorithm: &str,
    party_u: &[u8],
    party_v: &[u8],
    key_bits: u32,
) -> [u8; KEY_BYTES] {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(&1u32.to_be_bytes());
    hash.update(shared_secret);
    for field in [algorithm.as_bytes(), party_u, party_v] {
        // The fields are constants of a few bytes.
        hash.update(&u32::try_from(field.len()).unwrap_or(u32::MAX).to_be_bytes());
        hash.update(field);
    }
    hash.update(&key_bits.to_be_bytes());
    let mut key = [0; KEY_BYTES];
    for (place, byte) in key.iter_mut().zip(hash.finish().as_ref()) {
        *place = *byte;
    }
    key
}

fn gcm(key: &[u8; KEY_BYTES]) -> Result<aead::LessSafeKey, JweError> {
    let key = aead::UnboundKey::new(&aead::AES_256_GCM, key).map_err(|_| JweError::Key)?;
    Ok(aead::LessSafeKey::new(key))
}

fn decode(text: &str, member: Member) -> Result<Vec<u8>, JweError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| JweError::Member { member })
}

const CONTENT_ENCRYPTION: &str = "A256GCM";
const KEY_BYTES: usize = 32;
const KEY_BITS: u32 = 256;
const WRAPPED_KEY_BYTES: usize = 40;
const TAG_BYTES: usize = 16;

/// Longest `ciphertext` member: base64url of [`MAX_RESOURCE_BYTES`].
const MAX_CIPHERTEXT_CHARS: usize = MAX_RESOURCE_BYTES.div_ceil(3) * 4;

#[cfg(test)]
mod tests;
