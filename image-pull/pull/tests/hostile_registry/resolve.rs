// SPDX-License-Identifier: Apache-2.0
//! Manifest, configuration and accounts without the layers.

use casemate_image_pull::NoKeys;

use crate::archive::Archive;
use crate::bench::Bench;
use crate::bench::image;
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
