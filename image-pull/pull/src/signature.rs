// SPDX-License-Identifier: Apache-2.0
//! Signatures of images, as cosign makes them with a key and stores them beside the image
//! (sigstore's "simple signing": cosign `SIGNATURE_SPEC.md`).
//!
//! A signature is a layer of the manifest tagged `sha256-<digest>.sig`: a JSON payload that names a
//! manifest's digest and a repository, and an ECDSA signature over these bytes in an annotation.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use casemate_image_crypt::Digest;
use casemate_image_crypt::oci::Descriptor;
use casemate_image_crypt::oci::MANIFEST_TYPES;
use casemate_image_crypt::oci::MAX_MANIFEST;
use ring::signature::ECDSA_P256_SHA256_ASN1;
use ring::signature::UnparsedPublicKey;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;

use crate::client::Request;
use crate::error::PullError;
use crate::puller::Puller;
use crate::reference::PinnedReference;
use crate::reference::Reference;
use crate::resolve::fetch;

/// A public key whose owner signs images: ECDSA on P-256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignerKey {
    /// The point, uncompressed (SEC 1, section 2.3.3).
    point: Vec<u8>,
}

impl SignerKey {
    /// Reads a key from PEM (`PUBLIC KEY`, RFC 5480), as `cosign generate-key-pair` writes it.
    ///
    /// # Errors
    ///
    /// [`BadSignerKey`] when it is no such key.
    pub fn from_pem(pem: &str) -> Result<Self, BadSignerKey> {
        let key = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes());
        let key = key.map_err(|_| BadSignerKey)?;
        let point = key.strip_prefix(P256_INFO).filter(|point| point.len() == POINT);
        Ok(Self { point: point.ok_or(BadSignerKey)?.to_vec() })
    }

    /// C6: whether the owner of this key signed these very bytes.
    fn has_signed(&self, payload: &[u8], signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.point);
        key.verify(payload, signature).is_ok()
    }
}

/// The text is no public key on P-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key is no ECDSA key on P-256 in PEM (PUBLIC KEY)")]
pub struct BadSignerKey;

impl Puller {
    /// Checks that the image carries a signature of `key` that names this manifest and this
    /// repository. No layer of the image is fetched.
    ///
    /// # Errors
    ///
    /// [`PullError::Signature`] if there is none, and what a fetch can fail with.
    ///
    /// # Security
    ///
    /// C6: a signature by another key, over another digest or for another repository counts as none.
    /// It says nothing of time: an older image with a good signature stays signed (C7), which is why
    /// policies pin digests all the same.
    pub async fn verify_signature(
        &self,
        image: &PinnedReference,
        key: &SignerKey,
    ) -> Result<(), PullError> {
        let digest = image.digest();
        let refused = |reason| PullError::Signature { digest, reason };
        let pinned = image.reference();
        let tag = format!("sha256-{}.sig", digest.to_hex());
        let name = format!("{}/{}:{tag}", pinned.registry(), pinned.repository());
        let reference: Reference = name.parse().map_err(|_| refused("its name is too long"))?;
        let accept = MANIFEST_TYPES.join(", ");
        let path = format!("manifests/{tag}");
        let request =
            Request { reference: &reference, path: &path, accept: Some(&accept), start: 0 };
        let manifest = match self.client.document(request, "signatures", MAX_MANIFEST).await {
            Ok(manifest) => manifest,
            // C6: stripped.
            Err(PullError::Missing { .. }) => return Err(refused("there is none")),
            Err(error) => return Err(error),
        };
        let manifest: Manifest = serde_json::from_slice(&manifest.bytes)
            .map_err(|_| refused("the list of signatures is malformed"))?;
        let mut reason = "there is none";
        for layer in manifest.layers.iter().filter(|l| l.media_type == PAYLOAD).take(MAX_TRIED) {
            let signature = layer.annotations.get(SIGNATURE);
            let Some(signature) = signature.and_then(|text| BASE64.decode(text).ok()) else {
                continue;
            };
            let path = format!("blobs/{}", layer.digest);
            let request = Request { reference: &reference, path: &path, accept: None, start: 0 };
            let payload =
                fetch(&self.client, request, layer, "signed payload", MAX_PAYLOAD).await?;
            if !key.has_signed(&payload, &signature) {
                reason = "none is of the key that the policy names";
                continue;
            }
            match check_payload(&payload, digest, pinned) {
                Ok(()) => return Ok(()),
                Err(why) => reason = why,
            }
        }
        Err(refused(reason))
    }
}

/// What was signed must be about this image; only bytes with a good signature come here.
fn check_payload(payload: &[u8], digest: Digest, image: &Reference) -> Result<(), &'static str> {
    let payload: Payload =
        serde_json::from_slice(payload).map_err(|_| "what was signed is malformed")?;
    let critical = payload.critical;
    if critical.kind != KIND {
        return Err("what was signed is no image");
    }
    if critical.image.digest != digest {
        return Err("the signature is for another image");
    }
    // A name may stand for Docker Hub in several ways.
    let named: Reference =
        critical.identity.name.parse().map_err(|_| "what was signed names no repository")?;
    if named.registry() != image.registry() || named.repository() != image.repository() {
        return Err("the signature is for another repository");
    }
    Ok(())
}

/// A manifest of signatures: its layers are no layers of an image.
#[derive(Deserialize)]
struct Manifest {
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    identity: Identity,
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Identity {
    #[serde(rename = "docker-reference")]
    name: String,
}

#[derive(Deserialize)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: Digest,
}

const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const KIND: &str = "cosign container image signature";
/// Largest payload in bytes; honest ones have some 250.
const MAX_PAYLOAD: usize = 16 << 10;
/// Signatures that are looked at: each costs a request.
const MAX_TRIED: usize = 8;
/// What precedes the point of a P-256 key: algorithm ecPublicKey, curve secp256r1 (RFC 5480).
const P256_INFO: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// Bytes of an uncompressed point on P-256.
const POINT: usize = 65;

#[cfg(test)]
mod tests {
    use super::*;

    fn image(name: &str) -> Reference {
        name.parse().unwrap()
    }

    fn payload(name: &str, digest: Digest, kind: &str) -> String {
        format!(
            r#"{{"critical":{{"identity":{{"docker-reference":"{name}"}},"image":{{"docker-manifest-digest":"{digest}"}},"type":"{kind}"}},"optional":null}}"#
        )
    }

    #[test]
    fn a_payload_is_about_one_image_of_one_repository() {
        // C6: a signature for another repository, another digest, another thing.
        let digest = Digest::of(b"image");
        let good = image("registry.example/app");
        let check = |text: String| check_payload(text.as_bytes(), digest, &good);
        assert_eq!(check(payload("registry.example/app", digest, KIND)), Ok(()));
        assert!(check(payload("registry.example/other", digest, KIND)).is_err());
        assert!(check(payload("other.example/app", digest, KIND)).is_err());
        assert!(check(payload("registry.example/app", Digest::of(b"x"), KIND)).is_err());
        assert!(check(payload("registry.example/app", digest, "attestation")).is_err());
        assert!(check(payload("", digest, KIND)).is_err());
        assert!(check("{}".to_owned()).is_err());
        let hub = image("nginx");
        let text = payload("index.docker.io/library/nginx", digest, KIND);
        assert_eq!(check_payload(text.as_bytes(), digest, &hub), Ok(()));
    }

    #[test]
    fn keys_are_on_p256_and_nothing_else() {
        let pem = rcgen::KeyPair::generate().unwrap().public_key_pem();
        assert_eq!(SignerKey::from_pem(&pem).unwrap().point.len(), POINT);
        let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().public_key_pem();
        for text in [other.as_str(), "", "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n"] {
            assert_eq!(SignerKey::from_pem(text), Err(BadSignerKey));
        }
    }
}
