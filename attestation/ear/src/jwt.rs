// SPDX-License-Identifier: Apache-2.0
//! Tokens in the compact serialisation (RFC 7515, section 7.1), written and read.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use casemate_evidence::json;
use serde::Deserialize;
use serde::Serialize;

use crate::Appraisal;
use crate::Ear;
use crate::JwkSet;
use crate::KeyError;
use crate::PROFILE;
use crate::SigningKey;
use crate::jwk::Jwk;

/// The header of a token. No other member is written or accepted.
///
/// # Security
///
/// D21: `jku`, `x5u`, `x5c`, `crit`, `b64`, `zip` and `cty` would each let a token say how it is to
/// be read. As there is no member for them, a token that has one is refused.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    typ: String,
    alg: String,
    kid: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jwk: Option<Jwk>,
}

impl SigningKey {
    /// Signs claims.
    ///
    /// # Errors
    ///
    /// The platform gives no randomness.
    pub fn sign(&self, ear: &Ear) -> Result<String, KeyError> {
        let header = Header {
            typ: TYPE.to_owned(),
            alg: ALGORITHM.to_owned(),
            kid: self.id().to_owned(),
            jwk: Some(self.public().clone()),
        };
        let encode = |part: serde_json::Result<Vec<u8>>| {
            part.map(|bytes| URL_SAFE_NO_PAD.encode(bytes)).map_err(|_| KeyError::NoKey)
        };
        let signed = format!(
            "{}.{}",
            encode(serde_json::to_vec(&header))?,
            encode(serde_json::to_vec(ear))?
        );
        let signature =
            self.pair.sign(&self.random, signed.as_bytes()).map_err(|_| KeyError::Randomness)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// Reads tokens of one issuer for one audience.
#[derive(Debug, Clone)]
pub struct Reader {
    keys: JwkSet,
    issuer: String,
    audience: String,
}

impl Reader {
    /// A reader that believes `keys` and expects tokens from `issuer` for `audience`.
    #[must_use]
    pub fn new(keys: JwkSet, issuer: &str, audience: &str) -> Self {
        Self { keys, issuer: issuer.to_owned(), audience: audience.to_owned() }
    }

    /// The claims of a token, good at `now`, seconds since 1970.
    ///
    /// # Errors
    ///
    /// A [`TokenError`] per check. Nothing of a token's claims is looked at before its signature.
    ///
    /// # Security
    ///
    /// The status is not judged: ask [`Ear::is_affirming`] and compare root, nonce and key.
    pub fn read(&self, token: &str, now: u64) -> Result<Ear, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Form)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Form)?;
        // A JWE has five parts; a dot is no base64 either.
        let key = self.key(&decode(header)?)?;
        let (claims, signature) = (decode(claims)?, decode(signature)?);
        if !key.signed(signed.as_bytes(), &signature) {
            return Err(TokenError::Signature);
        }
        let ear: Ear = json::from_slice(&claims).map_err(|source| TokenError::Claims { source })?;
        self.check(&ear, now)?;
        Ok(ear)
    }

    /// D21: the header is compared, not obeyed.
    fn key(&self, header: &[u8]) -> Result<&Jwk, TokenError> {
        let header: Header =
            json::from_slice(header).map_err(|source| TokenError::Header { source })?;
        if header.typ != TYPE {
            return Err(TokenError::Type);
        }
        if header.alg != ALGORITHM {
            return Err(TokenError::Algorithm);
        }
        let key = self.keys.find(&header.kid).ok_or(TokenError::UnknownKey)?;
        match header.jwk {
            Some(brought) if !brought.is_same_key(key) => Err(TokenError::UnknownKey),
            _ => Ok(key),
        }
    }

    fn check(&self, ear: &Ear, now: u64) -> Result<(), TokenError> {
        if ear.profile != PROFILE {
            return Err(TokenError::Profile);
        }
        if ear.issuer != self.issuer {
            return Err(TokenError::Issuer);
        }
        if ear.audience != self.audience {
            return Err(TokenError::Audience);
        }
        // D8: neither after its end nor, with the clock set back, before its beginning.
        if now < ear.not_before || now < ear.issued_at {
            return Err(TokenError::NotYet);
        }
        if now >= ear.expires {
            return Err(TokenError::Expired);
        }
        if ear.expires.saturating_sub(ear.issued_at) > MAX_LIFE_SECONDS {
            return Err(TokenError::Lifetime);
        }
        if ear.submods.is_empty() || ear.submods.values().any(Appraisal::contradicts_itself) {
            return Err(TokenError::Status);
        }
        Ok(())
    }
}

/// Decodes base64url without padding; bits that no byte takes must be zero.
fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Form)
}

/// Why a token is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The token is over the cap.
    #[error("a token has at most {MAX_TOKEN_BYTES} bytes")]
    TooLong,
    /// The token is not three parts of base64url.
    #[error("the token is not three parts of base64url")]
    Form,
    /// The header is malformed or has a member that is not accepted.
    #[error("the token's header is malformed or has other members than typ, alg, kid and jwk")]
    Header {
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The type is another one.
    #[error("the token is no JWT")]
    Type,
    /// The algorithm is another one.
    #[error("the token is not signed with ES256")]
    Algorithm,
    /// The key is not one that the reader has.
    #[error("the token names a key that is not trusted")]
    UnknownKey,
    /// The signature does not verify.
    #[error("the token's signature does not verify")]
    Signature,
    /// The claims are malformed or lack one.
    #[error("the token's claims are malformed")]
    Claims {
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The layout is another one.
    #[error("the token has another profile")]
    Profile,
    /// Somebody else issued it.
    #[error("the token is of another issuer")]
    Issuer,
    /// It is for somebody else.
    #[error("the token is for another audience")]
    Audience,
    /// It is not good yet.
    #[error("the token is not valid yet")]
    NotYet,
    /// It is good no more.
    #[error("the token has expired")]
    Expired,
    /// It is good for too long.
    #[error("the token is valid for more than {MAX_LIFE_SECONDS} seconds")]
    Lifetime,
    /// There is no result, or its status is better than its vector.
    #[error("the token has no result, or one whose status is better than its vector")]
    Status,
}

const TYPE: &str = "JWT";
const ALGORITHM: &str = "ES256";

/// Longest token that is read, bytes.
pub const MAX_TOKEN_BYTES: usize = 64 << 10;

/// Longest life of a token that is read, seconds: a day.
const MAX_LIFE_SECONDS: u64 = 24 * 60 * 60;
