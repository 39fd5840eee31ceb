// SPDX-License-Identifier: Apache-2.0
//! The network: broken and slow connections, certificates, redirects.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use casemate_agent_api::Code;
use casemate_image_pull::NoKeys;
use casemate_image_pull::Progress;
use casemate_image_pull::PullError;
use casemate_image_pull::PullRequest;
use casemate_image_pull::Puller;
use casemate_image_pull::Settings;
use casemate_policy::Encryption;

use crate::bench::Bench;
use crate::bench::app;
use crate::bench::at;
use crate::bench::image;
use crate::bench::top_layer;
use crate::registry::Ca;
use crate::registry::Registry;
use crate::registry::Reply;
use crate::registry::gzip;
use crate::registry::manifest_path;

#[tokio::test]
async fn a_broken_connection_resumes() {
    let bench = Bench::new();
    let path = top_layer(&image());
    let size = gzip(&app()).len();
    let blob = gzip(&app());
    // Breaks off after every 100,000 bytes.
    let handler = at(path.clone(), move |seen| {
        let start = seen.range.as_deref().map_or(0, |r| r[6..r.len() - 1].parse().unwrap());
        let body = blob[start..].to_vec();
        let stop_at = Some(body.len().min(100_000));
        let reply = Reply { stop_at, ..Reply::new(if start == 0 { 200 } else { 206 }, body) };
        Some(reply.header("Content-Range", format!("bytes {start}-{}/{size}", size - 1)))
    });
    let registry = Registry::start(&bench.ca, image().content(), handler).await;
    bench.pull(&registry, image().digest()).await.unwrap();
    bench.check_content();
    let ranges: Vec<_> = registry.seen(&path).into_iter().map(|s| s.range).collect();
    let expected = [None, Some("bytes=100000-"), Some("bytes=200000-"), Some("bytes=300000-")];
    assert_eq!(ranges, expected.map(|r| r.map(str::to_owned)));
}

#[tokio::test]
async fn a_registry_without_ranges_is_read_again() {
    let bench = Bench::new();
    let blob = gzip(&app());
    let handler = at(top_layer(&image()), move |seen| {
        let stop_at = (seen.before == 0).then_some(150_000);
        Some(Reply { stop_at, ..Reply::new(200, blob.clone()) })
    });
    bench.try_image(&image(), handler).await.unwrap();
    bench.check_content();
}

#[tokio::test]
async fn a_wrong_range_is_refused() {
    let blob = gzip(&app());
    let handler = at(top_layer(&image()), move |seen| {
        if seen.before == 0 {
            return Some(Reply { stop_at: Some(1000), ..Reply::new(200, blob.clone()) });
        }
        Some(Reply::new(206, blob[999..].to_vec()).header("Content-Range", "bytes 999-9/10"))
    });
    let error = Bench::new().try_image(&image(), handler).await.unwrap_err();
    assert!(matches!(error, PullError::Digest { what: "layer", .. }), "{error}");
}

#[tokio::test]
async fn attempts_are_bounded() {
    let bench = Bench::new();
    let path = top_layer(&image());
    let blob = gzip(&app());
    let handler = at(path.clone(), move |_| {
        Some(Reply { stop_at: Some(0), ..Reply::new(200, blob.clone()) })
    });
    let registry = Registry::start(&bench.ca, image().content(), handler).await;
    let error = bench.pull(&registry, image().digest()).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(error.code(), Code::ImageUnreachable);
    assert_eq!(registry.seen(&path).len(), 4);
}

#[tokio::test]
async fn a_busy_registry_is_asked_again() {
    let bench = Bench::new();
    for path in [manifest_path(&image().digest().to_string()), top_layer(&image())] {
        let handler = at(path, |seen| match seen.before {
            0 => Some(Reply::new(503, "")),
            1 => Some(Reply::new(429, "")),
            _ => None,
        });
        bench.try_image(&image(), handler).await.unwrap();
        fs::remove_dir_all(bench.rootfs()).unwrap();
    }
}

// C13: slow and silent bodies.
#[tokio::test]
async fn slow_registries_are_left() {
    let blob = gzip(&app());
    let trickle = Reply { pause: Some(Duration::from_millis(50)), ..Reply::new(200, blob.clone()) };
    let silent = Reply { pause: Some(Duration::from_secs(60)), ..trickle.clone() };
    for reply in [trickle, silent] {
        let mut bench = Bench::new();
        bench.timeouts.layer = Duration::from_millis(1500);
        let handler = at(top_layer(&image()), move |_| Some(reply.clone()));
        let error = bench.try_image(&image(), handler).await.unwrap_err();
        assert!(matches!(error, PullError::Slow { .. }), "{error}");
    }
    let mut bench = Bench::new();
    bench.timeouts.document = Duration::from_millis(600);
    let body = vec![b' '; 100_000];
    let reply = Reply { pause: Some(Duration::from_millis(50)), ..Reply::new(200, body) };
    let path = manifest_path(&image().digest().to_string());
    let handler = at(path, move |_| Some(reply.clone()));
    let error = bench.try_image(&image(), handler).await.unwrap_err();
    assert!(matches!(error, PullError::Slow { .. }), "{error}");
}

#[tokio::test]
async fn a_mirror_is_asked_in_place_of_its_registry() {
    let bench = Bench::new();
    let mirror = Registry::start(&bench.ca, image().content(), |_| None).await;
    let puller = Puller::new(Settings {
        registries: vec![casemate_policy::Registry {
            host: "registry.example".to_owned(),
            location: Some(mirror.host.clone()),
            ca: bench.ca.pem.clone(),
        }],
        timeouts: bench.timeouts,
        ..Settings::default()
    })
    .unwrap();
    let request = PullRequest {
        image: format!("registry.example/app@{}", image().digest()).parse().unwrap(),
        encryption: Encryption::Optional,
        destination: bench.rootfs(),
    };
    puller.pull(&request, &NoKeys, &Progress::default()).await.unwrap();
    bench.check_content();
}

// C12: another CA than the pinned one; a CA of one registry is nothing to another.
#[tokio::test]
async fn only_the_pinned_ca_is_trusted() {
    let bench = Bench::new();
    let other = Registry::start(&Ca::new(), image().content(), |_| None).await;
    let error = bench.pull(&other, image().digest()).await.unwrap_err();
    assert!(matches!(error, PullError::Untrusted { .. }), "{error:?}");
    assert_eq!(error.code(), Code::ImageUntrusted);
    assert!(other.seen("").is_empty());

    let registry = Registry::start(&bench.ca, image().content(), |_| None).await;
    let request = PullRequest {
        image: format!("{}/app@{}", registry.host, image().digest()).parse().unwrap(),
        encryption: Encryption::Optional,
        destination: bench.rootfs(),
    };
    let puller = bench.puller(&["registry.example"]);
    let error = puller.pull(&request, &NoKeys, &Progress::default()).await.unwrap_err();
    assert!(matches!(error, PullError::Untrusted { .. }), "{error:?}");
}

#[tokio::test]
async fn an_absent_registry_is_unreachable() {
    let bench = Bench::new();
    let registry = Registry::start(&bench.ca, BTreeMap::new(), |_| None).await;
    let error = bench.pull(&registry, image().digest()).await.unwrap_err();
    assert!(matches!(error, PullError::Missing { .. }), "{error}");
    assert!(!error.is_transient());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    drop(listener);
    let request = PullRequest {
        image: format!("{host}/app@{}", image().digest()).parse().unwrap(),
        encryption: Encryption::Optional,
        destination: bench.rootfs(),
    };
    let error =
        bench.puller(&[&host]).pull(&request, &NoKeys, &Progress::default()).await.unwrap_err();
    assert!(matches!(error, PullError::Unreachable { .. }), "{error}");
    assert!(error.is_transient());
}

// C11: redirects lead to https only, and without credentials.
#[tokio::test]
async fn redirects_to_http_are_refused() {
    for target in ["http://127.0.0.1:9/x", "ftp://a/b", "https://user:pass@127.0.0.1:9/x", "//"] {
        let handler = at(top_layer(&image()), move |_| Some(Reply::redirect(target)));
        let error = Bench::new().try_image(&image(), handler).await.unwrap_err();
        assert!(matches!(error, PullError::Redirect { .. }), "{target}: {error}");
    }
    let handler = at(top_layer(&image()), |seen| Some(Reply::redirect(seen.path.clone())));
    let error = Bench::new().try_image(&image(), handler).await.unwrap_err();
    assert!(matches!(error, PullError::Redirect { reason: "there are too many", .. }), "{error}");
    let handler = at(top_layer(&image()), |_| Some(Reply::new(307, "")));
    let error = Bench::new().try_image(&image(), handler).await.unwrap_err();
    assert!(matches!(error, PullError::Redirect { .. }), "{error}");
}

#[tokio::test]
async fn a_dropped_pull_leaves_nothing() {
    let bench = Bench::new();
    let blob = gzip(&app());
    let reply = Reply { pause: Some(Duration::from_millis(100)), ..Reply::new(200, blob) };
    let handler = at(top_layer(&image()), move |_| Some(reply.clone()));
    let registry = Registry::start(&bench.ca, image().content(), handler).await;
    let pull = bench.pull(&registry, image().digest());
    let timeout = tokio::time::timeout(Duration::from_millis(500), pull).await;
    assert!(timeout.is_err());
    for _ in 0..100 {
        if fs::read_dir(bench.directory.path()).unwrap().count() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the unpacking thread did not end");
}

#[test]
fn pulls_can_be_spawned() {
    fn is_send<T: Send>(_: &T) {}
    let bench = Bench::new();
    let puller = bench.puller(&["registry.example"]);
    let request = PullRequest {
        image: format!("registry.example/app@{}", image().digest()).parse().unwrap(),
        encryption: Encryption::Optional,
        destination: bench.rootfs(),
    };
    let progress = Progress::default();
    is_send(&puller.pull(&request, &NoKeys, &progress));
}
