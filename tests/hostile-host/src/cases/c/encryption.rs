// SPDX-License-Identifier: Apache-2.0
//! Encrypted layers.

use anyhow::ensure;
use casemate_agent_api::Code;
use casemate_image_crypt::Digest;
use casemate_image_crypt::Kek;
use casemate_image_crypt::Kid;
use casemate_policy::Encryption;
use serde_json::json;

use crate::Case;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Outcome;
use crate::Verdict;
use crate::images::OneKey;
use crate::images::Pulls;
use crate::images::app;
use crate::images::base;
use crate::images::encrypted;
use crate::images::image;
use crate::images::refused;
use crate::images::registry::Image;
use crate::images::registry::Registry;

const KEY: [u8; 32] = [7; 32];

pub(super) const C9: Case = Case {
    id: "C9",
    level: Level::P,
    attack: "clear layers for encrypted ones, a mixture, flipped bits, no MAC, an attacker's key name",
    defence: Defence::Code(Guard {
        function: "casemate_image_pull::puller::check_encryption",
        sabotage: "Ok(())",
    }),
    run: |_| Box::pin(c9()),
};

async fn c9() -> Verdict {
    let pull = async |image: &Image, key: [u8; 32]| -> anyhow::Result<_> {
        let mut pulls = Pulls::new()?;
        pulls.encryption = Encryption::Required;
        let registry = Registry::start(&pulls.ca, image.content(), |_| None).await;
        pulls.pull_with(&registry, &[&registry.host], image.digest(), &OneKey(key)).await
    };
    ensure!(pull(&encrypted(KEY)?, KEY).await?.is_ok(), "an honest image does not come");

    refused("clear layers", Code::ImageNotEncrypted, pull(&image(), KEY).await)?;
    let kek = Kek::try_from(&KEY[..])?;
    let mixed = Image::new().encrypted_layer(&base(), &kek).layer(&app());
    refused("one clear layer", Code::ImageInvalid, pull(&mixed, KEY).await)?;
    refused("another key", Code::ImageDecrypt, pull(&encrypted(KEY)?, [8; 32]).await)?;

    // Whoever makes a manifest can make it agree with an altered layer; the MAC does not.
    let mut flipped = encrypted(KEY)?;
    let digest: Digest = flipped.layers[1]["digest"].as_str().expect("a digest").parse()?;
    let mut blob = flipped.blobs.remove(&digest).expect("a blob");
    blob[5] ^= 1;
    flipped.layers[1]["digest"] = json!(Digest::of(&blob));
    flipped.blobs.insert(Digest::of(&blob), blob);
    refused("a flipped bit", Code::ImageDecrypt, pull(&flipped, KEY).await)?;

    let mut swapped = encrypted(KEY)?;
    let annotations = swapped.layers[0]["annotations"].clone();
    swapped.layers[0]["annotations"] = swapped.layers[1]["annotations"].clone();
    swapped.layers[1]["annotations"] = annotations;
    // What comes out of the wrong key is no archive, and its MAC is another layer's.
    ensure!(pull(&swapped, KEY).await?.is_err(), "the key of another layer");

    let mut without_mac = encrypted(KEY)?;
    let name = "org.opencontainers.image.enc.pubopts";
    let removed = without_mac.layers[1]["annotations"].as_object_mut().and_then(|a| a.remove(name));
    ensure!(removed.is_some(), "there was no MAC");
    let result = pull(&without_mac, KEY).await;
    ensure!(result?.is_err(), "a layer without MAC");

    for name in ["kbs://evil.example/default/key/1", "https://evil.example/k", "kbs:///a/b/../c"] {
        ensure!(name.parse::<Kid>().is_err(), "{name} names a key");
    }
    Ok(Outcome::pass("six images and three key names refused"))
}
