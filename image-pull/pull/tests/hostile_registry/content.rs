// SPDX-License-Identifier: Apache-2.0
//! Content: only what the pinned digest stands for is taken.

use std::collections::BTreeMap;

use casemate_agent_api::Code;
use casemate_image_crypt::Digest;
use casemate_image_pull::PullError;
use serde_json::json;

use crate::archive::Archive;
use crate::bench::Bench;
use crate::bench::app;
use crate::bench::at;
use crate::bench::base;
use crate::bench::image;
use crate::bench::top_layer;
use crate::registry::GZIP;
use crate::registry::INDEX;
use crate::registry::Image;
use crate::registry::MANIFEST;
use crate::registry::Registry;
use crate::registry::Reply;
use crate::registry::Seen;
use crate::registry::blob_path;
use crate::registry::gzip;
use crate::registry::manifest_path;

#[tokio::test]
async fn pulls_an_honest_image() {
    let bench = Bench::new();
    let pulled = bench.try_image(&image(), |_| None).await.unwrap();
    assert_eq!(pulled.manifest_digest, image().digest());
    assert_eq!(pulled.rootfs, bench.rootfs());
    assert_eq!(pulled.config.env, ["A=b"]);
    assert_eq!(pulled.config.entrypoint, ["/bin/app"]);
    bench.check_content();
}

#[tokio::test]
async fn documents_are_fetched_once() {
    // C3: what is fetched twice may differ.
    let bench = Bench::new();
    let registry = Registry::start(&bench.ca, image().content(), |_| None).await;
    bench.pull(&registry, image().digest()).await.unwrap();
    assert_eq!(registry.seen("").len(), 4);
    assert!(registry.seen("").iter().all(|s| s.before == 0));
}

#[tokio::test]
async fn pulls_other_compressions() {
    let zstd = ruzstd::encoding::compress_to_vec(
        app().as_slice(),
        ruzstd::encoding::CompressionLevel::Fastest,
    );
    let (zstd_type, plain_type) = (GZIP.replace("gzip", "zstd"), GZIP.replace("+gzip", ""));
    for (kind, blob) in [(zstd_type, zstd), (plain_type, app())] {
        let bench = Bench::new();
        let image = Image::new().layer(&base()).blob_layer(&kind, blob, Digest::of(&app()));
        bench.try_image(&image, |_| None).await.unwrap();
        bench.check_content();
    }
}

fn index_of(entries: &[(&str, Digest, usize)]) -> String {
    let entry = |(arch, digest, size): &(&str, Digest, usize)| {
        json!({"mediaType": MANIFEST, "digest": digest, "size": size,
            "platform": {"os": "linux", "architecture": arch}})
    };
    let manifests: Vec<_> = entries.iter().map(entry).collect();
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).to_string()
}

/// A registry's content with an index that leads to `image`.
fn with_index(image: &Image, index: &str) -> (BTreeMap<String, Reply>, Digest) {
    let digest = Digest::of(index.as_bytes());
    let mut content = image.content();
    let reply = Reply::new(200, index).header("Content-Type", INDEX);
    content.insert(manifest_path(&digest.to_string()), reply);
    (content, digest)
}

#[tokio::test]
async fn a_pinned_index_leads_to_linux_amd64() {
    let bench = Bench::new();
    let size = image().manifest().to_string().len();
    let other = Digest::of(b"arm64");
    let index = index_of(&[("arm64", other, 1), ("amd64", image().digest(), size)]);
    let (content, digest) = with_index(&image(), &index);
    let registry = Registry::start(&bench.ca, content, |_| None).await;
    let pulled = bench.pull(&registry, digest).await.unwrap();
    assert_eq!(pulled.manifest_digest, image().digest());
    bench.check_content();
}

// C2: the index leads to what it says and nowhere else.
#[tokio::test]
async fn an_index_has_one_meaning() {
    let manifest = image().manifest().to_string();
    let pull = async |index: String, handler: fn(&Seen) -> Option<Reply>| {
        let bench = Bench::new();
        let (content, digest) = with_index(&image(), &index);
        let registry = Registry::start(&bench.ca, content, handler).await;
        bench.pull(&registry, digest).await.unwrap_err()
    };
    let none = index_of(&[("arm64", image().digest(), manifest.len())]);
    let error = pull(none, |_| None).await;
    assert!(matches!(error, PullError::Manifest { .. }), "{error}");
    let wrong_size = index_of(&[("amd64", image().digest(), manifest.len() - 1)]);
    let error = pull(wrong_size, |_| None).await;
    assert!(matches!(error, PullError::Digest { what: "manifest", .. }), "{error}");
    let good = index_of(&[("amd64", image().digest(), manifest.len())]);
    let error = pull(good.clone(), |seen| {
        let is_manifest = seen.path.ends_with(&image().digest().to_string());
        is_manifest
            .then(|| Reply::new(200, image().manifest().to_string().replace("amd64", "arm64")))
            .map(|r| Reply { body: [r.body, b" ".to_vec()].concat(), ..r })
    })
    .await;
    assert!(matches!(error, PullError::Digest { what: "manifest", .. }), "{error}");
    assert_eq!(error.code(), Code::ImageDigest);
    // An index that calls itself a manifest, and the other way round.
    let error = pull(good.replace(INDEX, MANIFEST), |_| None).await;
    assert!(matches!(error, PullError::Manifest { .. }), "{error}");
    assert_eq!(error.code(), Code::ImageInvalid);
    let nested = index_of(&[]);
    let entry = json!({"mediaType": INDEX, "digest": Digest::of(nested.as_bytes()),
        "size": nested.len(), "platform": {"os": "linux", "architecture": "amd64"}});
    let outer = json!({"schemaVersion": 2, "manifests": [entry]}).to_string();
    let error = pull(outer, |seen| {
        let nested = index_of(&[]);
        let is_nested = seen.path.ends_with(&Digest::of(nested.as_bytes()).to_string());
        is_nested.then(|| Reply::new(200, nested))
    })
    .await;
    assert!(matches!(error, PullError::Nested), "{error}");
}

// C2: the registry returns another manifest for the digest.
#[tokio::test]
async fn another_manifest_is_refused() {
    let other = Image::new().layer(&base());
    let manifest = other.manifest().to_string();
    let path = manifest_path(&image().digest().to_string());
    let handler = at(path, move |_| {
        let digest = image().digest().to_string();
        Some(Reply::new(200, manifest.clone()).header("Docker-Content-Digest", digest))
    });
    let error = Bench::new().try_image(&image(), handler).await.unwrap_err();
    assert!(matches!(error, PullError::Digest { what: "manifest", .. }), "{error}");
    assert_eq!(error.code(), Code::ImageDigest);
}

// C2: manifest and index in one document.
#[tokio::test]
async fn a_document_of_two_kinds_is_refused() {
    let mut manifest = image().manifest();
    manifest["manifests"] = json!([]);
    let manifest = manifest.to_string();
    let digest = Digest::of(manifest.as_bytes());
    let bench = Bench::new();
    let mut content = image().content();
    content.insert(manifest_path(&digest.to_string()), Reply::new(200, manifest));
    let registry = Registry::start(&bench.ca, content, |_| None).await;
    let error = bench.pull(&registry, digest).await.unwrap_err();
    assert!(matches!(error, PullError::Manifest { .. }), "{error}");
}

// C4: configuration swapped, of another size, for another platform, with other layers.
#[tokio::test]
async fn the_configuration_is_the_manifests() {
    let config = image().config_bytes();
    let path = blob_path(&Digest::of(&config));
    for body in [
        String::from_utf8(config.clone()).unwrap().replace("A=b", "A=c").into_bytes(),
        [&config[..], b" "].concat(),
        config[1..].to_vec(),
    ] {
        let handler = at(path.clone(), move |_| Some(Reply::new(200, body.clone())));
        let error = Bench::new().try_image(&image(), handler).await.unwrap_err();
        assert!(matches!(error, PullError::Digest { what: "configuration", .. }), "{error}");
    }
    let mut other = image();
    other.config["architecture"] = json!("arm64");
    let error = Bench::new().try_image(&other, |_| None).await.unwrap_err();
    assert!(matches!(error, PullError::Platform { .. }), "{error}");
    for count in [1, 3] {
        let mut other = image();
        other.diff_ids.resize(count, Digest::of(b"x").to_string());
        let error = Bench::new().try_image(&other, |_| None).await.unwrap_err();
        assert!(matches!(error, PullError::LayerCount { layers: 2, .. }), "{error}");
    }
}

// C4: the layer is the manifest's but not the configuration's.
#[tokio::test]
async fn wrong_diff_ids_are_refused() {
    let mut other = image();
    other.diff_ids.swap(0, 1);
    let error = Bench::new().try_image(&other, |_| None).await.unwrap_err();
    assert!(matches!(error, PullError::Unpack { .. }), "{error}");
    assert_eq!(error.code(), Code::ImageDigest);
}

#[tokio::test]
async fn altered_layers_are_refused() {
    let blob = gzip(&app());
    let size = blob.len();
    let mut flipped = blob.clone();
    flipped[size / 2] ^= 1;
    // An image that unpacks well but is another one; made as long as the right one.
    let other = gzip(&Archive::default().file("bin/app", "evil").finish());
    let other = [other, vec![0; size]].concat()[..size].to_vec();
    for body in [flipped, other] {
        let handler = at(top_layer(&image()), move |_| Some(Reply::new(200, body.clone())));
        let error = Bench::new().try_image(&image(), handler).await.unwrap_err();
        assert!(matches!(error, PullError::Digest { what: "layer", .. }), "{error}");
    }
}

// C13: wrong Content-Length, too much, too little.
#[tokio::test]
async fn layers_have_the_size_of_the_manifest() {
    let blob = gzip(&app());
    let path = top_layer(&image());
    let longer = [&blob[..], b"x"].concat();
    let shorter = blob[..blob.len() - 1].to_vec();
    let lying = Reply { length: Some(blob.len() * 2), ..Reply::new(200, longer.clone()) };
    for reply in [Reply::new(200, longer), Reply::new(200, shorter), lying] {
        let handler = at(path.clone(), move |_| Some(reply.clone()));
        let error = Bench::new().try_image(&image(), handler).await.unwrap_err();
        assert!(matches!(error, PullError::Digest { what: "layer", .. }), "{error}");
    }
}

// C13: documents without end.
#[tokio::test]
async fn documents_have_caps() {
    let path = manifest_path(&image().digest().to_string());
    let huge = vec![b' '; (4 << 20) + 1];
    let announced = Reply { length: Some(1 << 40), ..Reply::new(200, "") };
    for reply in [Reply::new(200, huge), announced] {
        let handler = at(path.clone(), move |_| Some(reply.clone()));
        let error = Bench::new().try_image(&image(), handler).await.unwrap_err();
        assert!(matches!(error, PullError::Large { what: "manifest", .. }), "{error}");
    }
}

// C5: decompression bombs.
#[tokio::test]
async fn bombs_are_refused() {
    let mut bench = Bench::new();
    bench.limits.bytes = 1 << 20;
    let bomb = Archive::default().file("zeros", vec![0; 64 << 20]).finish();
    let error = bench.try_image(&Image::new().layer(&bomb), |_| None).await.unwrap_err();
    assert!(matches!(error, PullError::Unpack { .. }), "{error}");
    assert_eq!(error.code(), Code::GuestFull);
    // A layer that is too large before it is unpacked is not even fetched.
    let mut image = image();
    image.layers[0]["size"] = json!(u64::MAX);
    let registry = Registry::start(&bench.ca, image.content(), |_| None).await;
    let error = bench.pull(&registry, image.digest()).await.unwrap_err();
    assert!(matches!(error, PullError::Layers { size: u64::MAX, .. }), "{error}");
    assert_eq!(registry.seen("blobs").len(), 1);
}
