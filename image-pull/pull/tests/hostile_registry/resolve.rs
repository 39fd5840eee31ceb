// SPDX-License-Identifier: Apache-2.0
//! Manifest, configuration and accounts without the layers.

use casemate_image_pull::NoKeys;
use casemate_image_pull::PullError;
use casemate_image_pull::resolve_documents;
use serde_json::json;

use crate::archive::Archive;
use crate::bench::Bench;
use crate::bench::image;
use crate::registry::Image;
use crate::registry::Registry;

#[tokio::test]
async fn resolves_tags_and_accounts() {
    let bench = Bench::new();
    let registry = Registry::start(&bench.ca, image().content(), |_| None).await;
    let puller = bench.puller(&[&registry.host]);
    let reference = format!("{}/app:tag", registry.host).parse().unwrap();
    let resolved = puller.resolve(&reference).await.unwrap();
    assert_eq!(resolved.digest, image().digest());
    assert_eq!(resolved.config.user, "web");
    assert!(registry.seen("blobs").len() == 1, "only the configuration is fetched");
    let accounts = puller.accounts(&resolved, &NoKeys).await.unwrap();
    let user = accounts.user(&resolved.config.user).unwrap();
    assert_eq!((user.uid, user.gid, user.groups), (33, 33, vec![33, 4]));
}

#[tokio::test]
async fn accounts_come_from_the_topmost_layer() {
    let bench = Bench::new();
    let both = Archive::default().file("etc/passwd", "web:x:5:6::/:").file("etc/.wh.group", "");
    let image = image().layer(&both.finish());
    let registry = Registry::start(&bench.ca, image.content(), |_| None).await;
    let puller = bench.puller(&[&registry.host]);
    let reference = format!("{}/app:tag", registry.host).parse().unwrap();
    let resolved = puller.resolve(&reference).await.unwrap();
    let accounts = puller.accounts(&resolved, &NoKeys).await.unwrap();
    let user = accounts.user("web").unwrap();
    assert_eq!((user.uid, user.gid, user.groups), (5, 6, vec![6]));
    assert_eq!(registry.seen("blobs").len(), 2, "lower layers are not fetched");
}

/// Ten layers: the accounts lie in the one at `accounts`; of the others `step` says where they come
/// from.
fn ten_layers(accounts: usize, step: impl Fn(usize) -> String) -> Image {
    let mut image = Image::new();
    let mut history = Vec::new();
    for layer in 0..10 {
        let archive = Archive::default().file(&format!("srv/{layer}"), "x");
        let archive = if layer == accounts {
            archive.file("etc/passwd", "web:x:33:33::/:\n").file("etc/group", "web:x:33:\n")
        } else {
            archive
        };
        image = image.layer(&archive.finish());
        history.push(json!({"created_by": step(layer)}));
        history.push(json!({"created_by": "ENV A=b", "empty_layer": true}));
    }
    image.config["history"] = history.into();
    image
}

/// How many layers are fetched to find the image's users.
async fn layers_fetched(image: &Image) -> usize {
    let bench = Bench::new();
    let registry = Registry::start(&bench.ca, image.content(), |_| None).await;
    let puller = bench.puller(&[&registry.host]);
    let reference = format!("{}/app:tag", registry.host).parse().unwrap();
    let resolved = puller.resolve(&reference).await.unwrap();
    assert_eq!(registry.seen("blobs").len(), 1, "only the configuration is fetched");
    let accounts = puller.accounts(&resolved, &NoKeys).await.unwrap();
    assert_eq!(accounts.user("web").unwrap().uid, 33);
    registry.seen("blobs").len() - 1
}

#[tokio::test]
async fn users_are_sought_lazily() {
    let copy = |layer: usize| match layer {
        0 => "/bin/sh -c #(nop) ADD file:0123 in / ".to_owned(),
        _ => format!("COPY x /srv/{layer} # buildkit"),
    };
    let run = |_: usize| "RUN /bin/sh -c make # buildkit".to_owned();
    // The base has them and everything above was copied to /srv: one layer.
    assert_eq!(layers_fetched(&ten_layers(0, copy)).await, 1);
    // A layer that may hold anything is looked into, from the top, until both files are found.
    assert_eq!(layers_fetched(&ten_layers(9, run)).await, 1);
    assert_eq!(layers_fetched(&ten_layers(7, run)).await, 3);
    let mixed = |layer: usize| if layer == 4 { run(layer) } else { copy(layer) };
    assert_eq!(layers_fetched(&ten_layers(0, mixed)).await, 2);
}

#[tokio::test]
async fn kept_documents_give_the_same_image() {
    let bench = Bench::new();
    let registry = Registry::start(&bench.ca, image().content(), |_| None).await;
    let puller = bench.puller(&[&registry.host]);
    let reference = format!("{}/app:tag", registry.host).parse().unwrap();
    let resolved = puller.resolve(&reference).await.unwrap();
    let again = resolve_documents(resolved.digest, &resolved.documents).unwrap();
    assert_eq!(again.manifest_digest, resolved.manifest_digest);
    assert_eq!(again.config, resolved.config);
    let layers = puller.accounts(&again, &NoKeys).await;
    assert!(matches!(layers, Err(PullError::NoLayers)));

    for digest in resolved.documents.keys() {
        let mut missing = resolved.documents.clone();
        missing.remove(digest);
        let error = resolve_documents(resolved.digest, &missing).unwrap_err();
        assert!(matches!(error, PullError::NotKept { .. }));
        let mut changed = resolved.documents.clone();
        changed.insert(*digest, "{}".into());
        let error = resolve_documents(resolved.digest, &changed).unwrap_err();
        assert!(matches!(error, PullError::Digest { .. }));
    }
}
