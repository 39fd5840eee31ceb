// SPDX-License-Identifier: Apache-2.0
//! Where key-encryption keys come from.

use std::collections::BTreeMap;

use async_trait::async_trait;
use casemate_agent_api::Code;
use casemate_image_crypt::Kek;
use casemate_image_crypt::Kid;
use casemate_image_crypt::LayerEncryption;
use casemate_image_crypt::LayerKey;
use casemate_image_crypt::oci::Descriptor;

use crate::error::PullError;
use crate::resolve::ResolvedImage;

/// Gives key-encryption keys by name: in the guest the attested session with the key broker, at the
/// owner's a key file.
#[async_trait]
pub trait KeySource: Send + Sync {
    /// The key called `kid`.
    ///
    /// # Errors
    ///
    /// [`KeyUnavailable`] if it cannot be had.
    async fn key(&self, kid: &Kid) -> Result<Kek, KeyUnavailable>;
}

/// A source without keys, for images that are not encrypted.
#[derive(Debug, Clone, Copy)]
pub struct NoKeys;

#[async_trait]
impl KeySource for NoKeys {
    async fn key(&self, kid: &Kid) -> Result<Kek, KeyUnavailable> {
        let reason = "no key was given".to_owned();
        Err(KeyUnavailable { kid: kid.clone(), code: Code::ResourceMissing, reason })
    }
}

/// A key-encryption key cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("key {kid} is unavailable: {reason}")]
pub struct KeyUnavailable {
    /// The key's name.
    pub kid: Kid,
    /// What the source's failure is called, for example [`Code::ResourceDenied`].
    pub code: Code,
    /// Why, one line without a secret.
    pub reason: String,
}

/// The keys of an image's layers, lowest first; `None` for a layer that is not encrypted.
pub(crate) struct LayerKeys(Vec<Option<LayerKey>>);

impl LayerKeys {
    /// Gets every key before the first layer is fetched, each key-encryption key once.
    pub(crate) async fn get(
        image: &ResolvedImage,
        source: &dyn KeySource,
    ) -> Result<Self, PullError> {
        let mut known = BTreeMap::new();
        let mut keys = Vec::new();
        for (layer, kind) in image.manifest.layers() {
            let key =
                if kind.encrypted { Some(unwrap(layer, source, &mut known).await?) } else { None };
            keys.push(key);
        }
        Ok(Self(keys))
    }

    pub(crate) fn into_keys(self) -> Vec<Option<LayerKey>> {
        self.0
    }
}

/// The key of one layer, through the first recipient whose key-encryption key can be had.
async fn unwrap(
    layer: &Descriptor,
    source: &dyn KeySource,
    known: &mut BTreeMap<Kid, Kek>,
) -> Result<LayerKey, PullError> {
    let digest = layer.digest;
    let refused = |source| PullError::LayerKey { digest, source };
    let encryption = LayerEncryption::from_annotations(&layer.annotations).map_err(refused)?;
    let mut unavailable = None;
    for kid in encryption.kids() {
        if !known.contains_key(kid) {
            match source.key(kid).await {
                Ok(kek) => known.insert(kid.clone(), kek),
                Err(error) => {
                    unavailable.get_or_insert(error);
                    continue;
                }
            };
        }
        if let Some(kek) = known.get(kid) {
            return encryption.unwrap_key(kek).map_err(refused);
        }
    }
    let source = unavailable.unwrap_or_else(|| KeyUnavailable {
        kid: encryption.kid().clone(),
        code: Code::ResourceMissing,
        reason: "no recipient's key is known".to_owned(),
    });
    Err(PullError::Key { digest, source })
}
