// SPDX-License-Identifier: Apache-2.0
//! The public and private options of an encrypted layer, as ocicrypt writes them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::oci::Digest;

/// Public options: in the clear, in the layer's annotations.
pub(crate) struct PublicOptions {
    /// HMAC-SHA256 of the ciphertext.
    pub(crate) hmac: [u8; HMAC_SIZE],
}

impl PublicOptions {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, OptionsError> {
        check_size(bytes)?;
        // The error of serde_json may quote what it read; public options are public.
        let wire: WirePublic =
            serde_json::from_slice(bytes).map_err(|source| OptionsError::Json { source })?;
        if wire.cipher != CIPHER {
            return Err(OptionsError::Cipher {
                text: wire.cipher.chars().take(MAX_SHOWN).collect(),
            });
        }
        // C9: a missing MAC must not mean "not checked".
        let hmac = wire.hmac.ok_or(OptionsError::Field { name: "hmac" })?;
        Ok(Self { hmac: decode_array(&hmac, "hmac")? })
    }

    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, OptionsError> {
        let wire = WirePublic {
            cipher: CIPHER.to_owned(),
            hmac: Some(BASE64.encode(self.hmac)),
            cipheroptions: Some(BTreeMap::new()),
        };
        serde_json::to_vec(&wire).map_err(|source| OptionsError::Json { source })
    }
}

/// Private options: what the annotation packet wraps.
pub(crate) struct PrivateOptions {
    /// Key of AES-256-CTR and of HMAC-SHA256.
    pub(crate) key: Zeroizing<[u8; KEY_SIZE]>,
    /// First counter block.
    pub(crate) nonce: [u8; NONCE_SIZE],
    /// Digest of the layer as it was before encryption.
    pub(crate) digest: Digest,
}

impl PrivateOptions {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, OptionsError> {
        check_size(bytes)?;
        // No source here: it might quote the key.
        let wire: WirePrivate<'_> =
            serde_json::from_slice(bytes).map_err(|_| OptionsError::Private)?;
        let nonce = wire.cipheroptions.nonce.ok_or(OptionsError::Field { name: "nonce" })?;
        Ok(Self {
            key: Zeroizing::new(decode_array(wire.symkey, "symkey")?),
            nonce: decode_array(nonce, "nonce")?,
            digest: wire.digest,
        })
    }

    pub(crate) fn to_bytes(&self) -> Result<Zeroizing<Vec<u8>>, OptionsError> {
        let key = Zeroizing::new(BASE64.encode(self.key.as_slice()));
        let nonce = BASE64.encode(self.nonce);
        let wire = WirePrivate {
            symkey: &key,
            digest: self.digest,
            cipheroptions: WireCipherOptions { nonce: Some(&nonce) },
        };
        // Room for everything at once: a growing buffer would leave copies of the key behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_OPTIONS));
        serde_json::to_writer(&mut *bytes, &wire).map_err(|_| OptionsError::Private)?;
        Ok(bytes)
    }
}

/// Why options are refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// Over the cap.
    #[error("encryption options have {size} bytes, more than {MAX_OPTIONS}")]
    Large {
        /// Their size in bytes.
        size: usize,
    },
    /// Public options are not the JSON of options.
    #[error("public encryption options are malformed")]
    Json {
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// Private options are not the JSON of options.
    #[error("private encryption options are malformed")]
    Private,
    /// Another cipher.
    #[error("unknown layer cipher {text:?}")]
    Cipher {
        /// Its name.
        text: String,
    },
    /// A field is missing or of the wrong size.
    #[error("encryption options have no well-formed {name}")]
    Field {
        /// The field.
        name: &'static str,
    },
}

/// The only cipher of ocicrypt.
const CIPHER: &str = "AES_256_CTR_HMAC_SHA256";
pub(crate) const HMAC_SIZE: usize = 32;
pub(crate) const KEY_SIZE: usize = 32;
pub(crate) const NONCE_SIZE: usize = 16;
/// Largest options in bytes; real ones have about 220.
pub(crate) const MAX_OPTIONS: usize = 4096;
/// How much of a foreign text is shown in an error, in characters.
const MAX_SHOWN: usize = 100;

#[derive(Serialize, Deserialize)]
struct WirePublic {
    cipher: String,
    hmac: Option<String>,
    // ocicrypt for Go reads a map here and may write null.
    cipheroptions: Option<BTreeMap<String, String>>,
}

#[derive(Serialize, Deserialize)]
struct WirePrivate<'a> {
    symkey: &'a str,
    digest: Digest,
    #[serde(borrow)]
    cipheroptions: WireCipherOptions<'a>,
}

#[derive(Serialize, Deserialize)]
struct WireCipherOptions<'a> {
    nonce: Option<&'a str>,
}

fn check_size(bytes: &[u8]) -> Result<(), OptionsError> {
    if bytes.len() > MAX_OPTIONS {
        return Err(OptionsError::Large { size: bytes.len() });
    }
    Ok(())
}

/// Decodes base64 of exactly `N` bytes, without a copy elsewhere.
fn decode_array<const N: usize>(text: &str, name: &'static str) -> Result<[u8; N], OptionsError> {
    let bad = || OptionsError::Field { name };
    let bytes = Zeroizing::new(BASE64.decode(text).map_err(|_| bad())?);
    bytes.as_slice().try_into().map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public() -> String {
        format!(
            r#"{{"cipher":"{CIPHER}","hmac":"{}","cipheroptions":{{}}}}"#,
            BASE64.encode([1; 32])
        )
    }

    fn private() -> String {
        format!(
            r#"{{"symkey":"{}","digest":"{}","cipheroptions":{{"nonce":"{}"}}}}"#,
            BASE64.encode([2; 32]),
            Digest::of(b"x"),
            BASE64.encode([3; 16])
        )
    }

    #[test]
    fn options_round_trip_byte_for_byte() {
        let found = PublicOptions::parse(public().as_bytes()).unwrap();
        assert_eq!(found.to_bytes().unwrap(), public().as_bytes());
        let found = PrivateOptions::parse(private().as_bytes()).unwrap();
        assert_eq!(found.to_bytes().unwrap().as_slice(), private().as_bytes());
    }

    #[test]
    fn public_options_name_cipher_and_mac() {
        let fails = |text: &str| PublicOptions::parse(text.as_bytes()).err().unwrap();
        let other = public().replace(CIPHER, "AES_256_CTR");
        assert!(matches!(fails(&other), OptionsError::Cipher { .. }));
        // C9: HMAC missing, empty, short.
        let mac = BASE64.encode([1; 32]);
        let none = public().replace(&format!(r#""hmac":"{mac}","#), "");
        for text in [none, public().replace(&mac, ""), public().replace(&mac, "AAAA")] {
            assert!(matches!(fails(&text), OptionsError::Field { name: "hmac" }), "{text}");
        }
        let null = public().replace("{}", "null");
        assert!(PublicOptions::parse(null.as_bytes()).is_ok());
    }

    #[test]
    fn private_options_are_complete() {
        let fails = |text: &str| PrivateOptions::parse(text.as_bytes()).err().unwrap();
        let short = private().replace(&BASE64.encode([2; 32]), &BASE64.encode([2; 16]));
        assert!(matches!(fails(&short), OptionsError::Field { name: "symkey" }));
        let none = private().replace("nonce", "other");
        assert!(matches!(fails(&none), OptionsError::Field { name: "nonce" }));
        let long = private().replace(&BASE64.encode([3; 16]), &BASE64.encode([3; 17]));
        assert!(matches!(fails(&long), OptionsError::Field { name: "nonce" }));
        assert!(matches!(fails("{}"), OptionsError::Private));
        assert!(matches!(fails(&" ".repeat(MAX_OPTIONS + 1)), OptionsError::Large { .. }));
    }

    #[test]
    fn survives_every_changed_byte_and_every_truncation() {
        for at in 0..private().len() {
            assert!(PrivateOptions::parse(&private().as_bytes()[..at]).is_err());
            let mut bytes = private().into_bytes();
            bytes[at] ^= 0x11;
            let _ = PrivateOptions::parse(&bytes);
        }
    }
}
