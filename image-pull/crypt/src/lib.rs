// SPDX-License-Identifier: Apache-2.0
//! Encrypted OCI image layers (ocicrypt), the image documents around them, and the owner's side:
//! [`encrypt_layout`].
//!
//! The owner encrypts the layers of an image under random keys and wraps each key with a
//! key-encryption key that the key broker gives to an attested guest only. The guest trusts the
//! key-encryption key and the image's pinned digest; registry, network and host are hostile.
//!
//! The formats are those of ocicrypt (`AES_256_CTR_HMAC_SHA256`) and of the attestation agent's
//! key provider, so that images made by either side can be read by the other.
//!
//! ```
//! use std::io::Read as _;
//!
//! use casemate_image_crypt::Digest;
//! use casemate_image_crypt::Kek;
//! use casemate_image_crypt::Kid;
//! use casemate_image_crypt::LayerEncryption;
//! use casemate_image_crypt::encrypt_layer;
//!
//! let kek = Kek::generate()?;
//! let kid: Kid = "kbs:///default/key/1".parse()?;
//!
//! // The owner: ciphertext beside annotations for the layer's descriptor.
//! let layer = b"a layer".as_slice();
//! let mut ciphertext = Vec::new();
//! let sealed = encrypt_layer(layer, &mut ciphertext, Digest::of(layer), &kid, &kek)?;
//!
//! // The guest: what the closure makes of the plaintext is given out only once it is authentic.
//! let encryption = LayerEncryption::from_annotations(&sealed.annotations)?;
//! assert_eq!(encryption.kid(), &kid);
//! let key = encryption.unwrap_key(&kek)?;
//! let plaintext = key.open(ciphertext.as_slice(), |unverified| {
//!     let mut bytes = Vec::new();
//!     unverified.read_to_end(&mut bytes).map(|_| bytes)
//! })?;
//! assert_eq!(plaintext, layer);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Invariants
//!
//! - Nothing made from decrypted bytes leaves [`LayerKey::open`] before their MAC and their digest
//!   were checked. AES-CTR lets anybody flip chosen bits, and ocicrypt puts the MAC at the end.
//! - Keys have no `Debug`, `Clone` or `Serialize`, and are wiped when dropped.
//! - A document is parsed from the same bytes that were hashed, and holds only SHA-256 digests.

mod key;
mod layer;
mod layout;
pub mod oci;
mod options;
mod packet;

pub use key::BadKek;
pub use key::BadKid;
pub use key::Kek;
pub use key::Kid;
pub use key::RandomError;
pub use layer::EncryptError;
pub use layer::EncryptedLayer;
pub use layer::LayerEncryption;
pub use layer::LayerKey;
pub use layer::LayerKeyError;
pub use layer::OpenError;
pub use layer::UnverifiedPlaintext;
pub use layer::encrypt_layer;
pub use layout::EncryptLayoutError;
pub use layout::EncryptedImage;
pub use layout::encrypt_layout;
pub use oci::Digest;
pub use options::OptionsError;
pub use packet::PacketError;
