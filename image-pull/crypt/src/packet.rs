// SPDX-License-Identifier: Apache-2.0
//! Annotation packets: a layer's private options, wrapped for the attestation agent's key provider.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::aead;
use serde::Deserialize;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::key::BadKid;
use crate::key::Kek;
use crate::key::Kid;
use crate::key::RandomError;
use crate::key::random;
use crate::options::MAX_OPTIONS;

/// Data wrapped with a key-encryption key under AES-256-GCM.
///
/// Read are version 1 (`kid`, `wrapped_data`, `iv`, `wrap_type`) and version 2 (with `version`,
/// `provider` and two maps); version 2 is written.
#[derive(Clone)]
pub(crate) struct Packet {
    pub(crate) kid: Kid,
    iv: [u8; aead::NONCE_LEN],
    wrapped: Vec<u8>,
}

impl Packet {
    /// Wraps `data` with a fresh nonce.
    pub(crate) fn wrap(data: &[u8], kid: &Kid, kek: &Kek) -> Result<Self, PacketError> {
        let iv = *random().map_err(|source| PacketError::Random { source })?;
        // The plaintext is overwritten by the ciphertext; the room for the tag is there from the
        // start, so that nothing is left behind by a move.
        let mut wrapped = Vec::with_capacity(data.len().saturating_add(TAG_SIZE));
        wrapped.extend_from_slice(data);
        let nonce = aead::Nonce::assume_unique_for_key(iv);
        aead_key(kek)?
            .seal_in_place_append_tag(nonce, aead::Aad::empty(), &mut wrapped)
            .map_err(|_| PacketError::Unwrap)?;
        Ok(Self { kid: kid.clone(), iv, wrapped })
    }

    /// Unwraps the data.
    pub(crate) fn unwrap(&self, kek: &Kek) -> Result<Zeroizing<Vec<u8>>, PacketError> {
        let mut data = Zeroizing::new(self.wrapped.clone());
        let nonce = aead::Nonce::assume_unique_for_key(self.iv);
        let size = aead_key(kek)?
            .open_in_place(nonce, aead::Aad::empty(), &mut data)
            .map_err(|_| PacketError::Unwrap)?
            .len();
        data.truncate(size);
        Ok(data)
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, PacketError> {
        if bytes.len() > MAX_PACKET {
            return Err(PacketError::Large { size: bytes.len() });
        }
        let wire: Wire =
            serde_json::from_slice(bytes).map_err(|source| PacketError::Json { source })?;
        if wire.version.as_deref().is_some_and(|v| v != VERSION) {
            return Err(PacketError::Field { name: "version" });
        }
        if wire.provider.as_deref().is_some_and(|p| p != PROVIDER) {
            return Err(PacketError::Field { name: "provider" });
        }
        // A256CTR exists too and authenticates nothing.
        if wire.wrap_type.as_deref() != Some(WRAP_TYPE) {
            return Err(PacketError::Field { name: "wrap_type" });
        }
        let iv = decode(&wire.iv.unwrap_or_default(), "iv")?;
        let wrapped = decode(&wire.wrapped_data, "wrapped_data")?;
        if wrapped.len() < TAG_SIZE || wrapped.len() > MAX_OPTIONS {
            return Err(PacketError::Field { name: "wrapped_data" });
        }
        Ok(Self {
            kid: wire.kid.parse().map_err(|source| PacketError::Kid { source })?,
            iv: iv.try_into().map_err(|_| PacketError::Field { name: "iv" })?,
            wrapped,
        })
    }

    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, PacketError> {
        let wire = Wire {
            version: Some(VERSION.to_owned()),
            provider: Some(PROVIDER.to_owned()),
            kid: self.kid.as_str().to_owned(),
            wrapped_data: BASE64.encode(&self.wrapped),
            iv: Some(BASE64.encode(self.iv)),
            wrap_type: Some(WRAP_TYPE.to_owned()),
            provider_settings: Some(serde_json::Map::new()),
            annotations: Some(serde_json::Map::new()),
        };
        serde_json::to_vec(&wire).map_err(|source| PacketError::Json { source })
    }
}

/// Why an annotation packet is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// Over the cap.
    #[error("key annotation has {size} bytes, more than {MAX_PACKET}")]
    Large {
        /// Its size in bytes.
        size: usize,
    },
    /// Not the JSON of a packet.
    #[error("key annotation is malformed")]
    Json {
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// A field is missing or holds nothing that can be used.
    #[error("key annotation has no usable {name}")]
    Field {
        /// The field.
        name: &'static str,
    },
    /// The key's name is malformed.
    #[error("key annotation names no key")]
    Kid {
        /// What is wrong.
        #[source]
        source: BadKid,
    },
    /// The key-encryption key does not fit, or the wrapped key was altered.
    #[error("layer key does not unwrap: wrong key-encryption key, or altered")]
    Unwrap,
    /// No random bytes.
    #[error("failed to make a nonce")]
    Random {
        /// Why.
        #[source]
        source: RandomError,
    },
}

/// The one version of the second form of packets.
const VERSION: &str = "0.1.0";
/// The provider of keys that are fetched and used in the guest; others are cloud services.
const PROVIDER: &str = "kbs";
const WRAP_TYPE: &str = "A256GCM";
/// Size of an AES-GCM tag in bytes.
const TAG_SIZE: usize = 16;
/// Largest packet in bytes; real ones have about 400.
pub(crate) const MAX_PACKET: usize = 16 << 10;

#[derive(Serialize, Deserialize)]
struct Wire {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    kid: String,
    wrapped_data: String,
    iv: Option<String>,
    wrap_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    provider_settings: Option<serde_json::Map<String, serde_json::Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    annotations: Option<serde_json::Map<String, serde_json::Value>>,
}

fn aead_key(kek: &Kek) -> Result<aead::LessSafeKey, PacketError> {
    aead::UnboundKey::new(&aead::AES_256_GCM, kek.expose())
        .map(aead::LessSafeKey::new)
        .map_err(|_| PacketError::Unwrap)
}

fn decode(text: &str, name: &'static str) -> Result<Vec<u8>, PacketError> {
    BASE64.decode(text).map_err(|_| PacketError::Field { name })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kek(byte: u8) -> Kek {
        Kek::try_from([byte; 32].as_slice()).unwrap()
    }

    fn packet() -> Packet {
        Packet::wrap(b"secret", &"kbs:///default/key/1".parse().unwrap(), &kek(1)).unwrap()
    }

    #[test]
    fn round_trip() {
        let found = Packet::parse(&packet().to_bytes().unwrap()).unwrap();
        assert_eq!(found.unwrap(&kek(1)).unwrap().as_slice(), b"secret");
        assert!(matches!(found.unwrap(&kek(2)), Err(PacketError::Unwrap)));
    }

    #[test]
    fn version_2_has_all_its_fields() {
        let json: serde_json::Value =
            serde_json::from_slice(&packet().to_bytes().unwrap()).unwrap();
        assert_eq!(json["version"], "0.1.0");
        assert_eq!(json["provider"], "kbs");
        assert_eq!(json["wrap_type"], "A256GCM");
        assert_eq!(json["provider_settings"], serde_json::json!({}));
        assert_eq!(json["annotations"], serde_json::json!({}));
    }

    #[test]
    fn refuses_other_packets() {
        let text = String::from_utf8(packet().to_bytes().unwrap()).unwrap();
        let fails = |from: &str, to: &str| {
            let changed = text.replace(from, to);
            assert_ne!(changed, text, "{from}");
            Packet::parse(changed.as_bytes()).err().unwrap()
        };
        for (from, to, field) in [
            ("0.1.0", "0.2.0", "version"),
            (r#""provider":"kbs""#, r#""provider":"aliyun""#, "provider"),
            ("A256GCM", "A256CTR", "wrap_type"),
            (r#""wrap_type":"A256GCM""#, r#""wrap_type":null"#, "wrap_type"),
            (r#""iv":"#, r#""iw":"#, "iv"),
            (r#""wrapped_data":""#, r#""wrapped_data":"*"#, "wrapped_data"),
        ] {
            let found = fails(from, to);
            assert!(
                matches!(found, PacketError::Field { name } if name == field),
                "{from}: {found}"
            );
        }
        // C9: the key of an attacker's broker.
        let found = fails("kbs:///default", "kbs://evil.example/default");
        assert!(matches!(found, PacketError::Kid { .. }));
        let large = Packet::parse(&vec![b' '; MAX_PACKET + 1]);
        assert!(matches!(large, Err(PacketError::Large { .. })));
    }

    #[test]
    fn every_changed_bit_of_the_wrapped_data_is_noticed() {
        for at in 0..packet().wrapped.len() {
            let mut changed = packet();
            changed.wrapped[at] ^= 1;
            assert!(matches!(changed.unwrap(&kek(1)), Err(PacketError::Unwrap)));
        }
        let mut changed = packet();
        changed.iv[0] ^= 1;
        assert!(matches!(changed.unwrap(&kek(1)), Err(PacketError::Unwrap)));
    }
}
