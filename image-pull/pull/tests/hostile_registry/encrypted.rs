// SPDX-License-Identifier: Apache-2.0
//! Encrypted images.

use casemate_agent_api::Code;
use casemate_image_crypt::Digest;
use casemate_image_crypt::Kek;
use casemate_image_pull::KeySource;
use casemate_image_pull::NoKeys;
use casemate_image_pull::PullError;
use casemate_image_pull::PulledImage;
use casemate_policy::Encryption;
use serde_json::json;

use crate::bench::Bench;
use crate::bench::OneKey;
use crate::bench::app;
use crate::bench::base;
use crate::bench::image;
use crate::registry::Image;
use crate::registry::Registry;

fn kek() -> Kek {
    Kek::try_from([7; 32].as_slice()).unwrap()
}

fn encrypted() -> Image {
    Image::new().encrypted_layer(&base(), &kek()).encrypted_layer(&app(), &kek())
}

async fn pull_encrypted(
    image: &Image,
    keys: &dyn KeySource,
) -> (Bench, Result<PulledImage, PullError>) {
    let mut bench = Bench::new();
    bench.encryption = Encryption::Required;
    let registry = Registry::start(&bench.ca, image.content(), |_| None).await;
    let result = bench.pull_with(&registry, &[], image.digest(), keys).await;
    drop(registry);
    (bench, result)
}

#[tokio::test]
async fn pulls_an_encrypted_image() {
    let (bench, result) = pull_encrypted(&encrypted(), &OneKey([7; 32])).await;
    result.unwrap();
    bench.check_content();
}

// C9: wrong key, no key, another key's name.
#[tokio::test]
async fn keys_must_fit() {
    let error = pull_encrypted(&encrypted(), &OneKey([8; 32])).await.1.unwrap_err();
    assert!(matches!(error, PullError::LayerKey { .. }), "{error}");
    assert_eq!(error.code(), Code::ImageDecrypt);
    let error = pull_encrypted(&encrypted(), &NoKeys).await.1.unwrap_err();
    assert!(matches!(error, PullError::Key { .. }), "{error}");
    assert_eq!(error.code(), Code::ResourceMissing);
}

// C9: clear layers where the policy wants encrypted ones, and a mixture of both.
#[tokio::test]
async fn clear_layers_are_refused() {
    let error = pull_encrypted(&image(), &OneKey([7; 32])).await.1.unwrap_err();
    assert!(matches!(error, PullError::NotEncrypted), "{error}");
    assert_eq!(error.code(), Code::ImageNotEncrypted);
    let mixed = Image::new().encrypted_layer(&base(), &kek()).layer(&app());
    let error = pull_encrypted(&mixed, &OneKey([7; 32])).await.1.unwrap_err();
    assert!(matches!(error, PullError::Mixed { .. }), "{error}");
    let error = Bench::new().try_image(&mixed, |_| None).await.unwrap_err();
    assert!(matches!(error, PullError::Mixed { .. }), "{error}");
}

// C9: bits of the ciphertext flipped, MAC missing, keys of two layers swapped. The manifest is
// made to agree, as its author could.
#[tokio::test]
async fn encrypted_layers_are_authentic() {
    let keys = OneKey([7; 32]);
    let mut flipped = encrypted();
    let digest: Digest = flipped.layers[1]["digest"].as_str().unwrap().parse().unwrap();
    let mut blob = flipped.blobs.remove(&digest).unwrap();
    // In the time field of the gzip header: nobody but the MAC notices.
    blob[5] ^= 1;
    flipped.layers[1]["digest"] = json!(Digest::of(&blob));
    flipped.blobs.insert(Digest::of(&blob), blob);
    let error = pull_encrypted(&flipped, &keys).await.1.unwrap_err();
    assert!(matches!(error, PullError::Decrypt { .. }), "{error}");
    assert_eq!(error.code(), Code::ImageDecrypt);

    let mut swapped = encrypted();
    let annotations = swapped.layers[0]["annotations"].clone();
    swapped.layers[0]["annotations"] = swapped.layers[1]["annotations"].clone();
    swapped.layers[1]["annotations"] = annotations;
    assert!(pull_encrypted(&swapped, &keys).await.1.is_err());

    for annotation in ["enc.pubopts", "enc.keys.provider.attestation-agent"] {
        let mut missing = encrypted();
        let name = format!("org.opencontainers.image.{annotation}");
        missing.layers[1]["annotations"].as_object_mut().unwrap().remove(&name).unwrap();
        let error = pull_encrypted(&missing, &keys).await.1.unwrap_err();
        assert!(matches!(error, PullError::LayerKey { .. }), "{annotation}: {error}");
    }
}
