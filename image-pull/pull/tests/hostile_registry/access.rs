// SPDX-License-Identifier: Apache-2.0
//! Access: tokens and passwords, and where they go.

use std::collections::BTreeMap;
use std::fs;

use casemate_agent_api::Code;
use casemate_image_pull::Credentials;
use casemate_image_pull::NoKeys;
use casemate_image_pull::PullError;
use zeroize::Zeroizing;

use crate::bench::Bench;
use crate::bench::image;
use crate::bench::top_layer;
use crate::registry::Registry;
use crate::registry::Reply;
use crate::registry::Seen;

fn test_credentials(host: &str) -> Vec<Credentials> {
    vec![Credentials {
        registry: host.to_owned(),
        user: "owner".to_owned(),
        password: Zeroizing::new("secret".to_owned()),
        token_host: None,
    }]
}

/// `owner:secret`.
const BASIC: &str = "Basic b3duZXI6c2VjcmV0";

/// Demands a token from `realm`.
fn demand(realm: &str) -> Reply {
    let challenge =
        format!("Bearer realm=\"{realm}\",service=\"s\",scope=\"repository:other:push\"");
    Reply::new(401, "").header("WWW-Authenticate", challenge)
}

/// Wants a token for everything; its own host gives it for the right password.
fn guarded(seen: &Seen, realm: &str) -> Option<Reply> {
    if seen.path.starts_with("/token?") {
        let is_owner = seen.authorization.as_deref() == Some(BASIC);
        return Some(Reply::new(if is_owner { 200 } else { 401 }, r#"{"token":"t0ken"}"#));
    }
    (seen.authorization.as_deref() != Some("Bearer t0ken")).then(|| demand(realm))
}

#[tokio::test]
async fn tokens_are_got_and_reused() {
    let mut bench = Bench::new();
    bench.credentials = test_credentials;
    let realm = std::sync::Arc::new(std::sync::OnceLock::<String>::new());
    let shared = std::sync::Arc::clone(&realm);
    let handler = move |seen: &Seen| guarded(seen, shared.get().unwrap());
    let registry = Registry::start(&bench.ca, image().content(), handler).await;
    realm.set(format!("https://{}/token", registry.host)).unwrap();
    bench.pull(&registry, image().digest()).await.unwrap();
    bench.check_content();
    let tokens = registry.seen("/token");
    assert_eq!(tokens.len(), 1);
    // What we need, not what the registry says that we want.
    assert_eq!(tokens[0].path, "/token?scope=repository%3Aapp%3Apull&service=s");
}

#[tokio::test]
async fn wrong_credentials_are_denied() {
    let mut bench = Bench::new();
    let realm = std::sync::Arc::new(std::sync::OnceLock::<String>::new());
    let shared = std::sync::Arc::clone(&realm);
    let handler = move |seen: &Seen| guarded(seen, shared.get().unwrap());
    let registry = Registry::start(&bench.ca, image().content(), handler).await;
    realm.set(format!("https://{}/token", registry.host)).unwrap();
    let error = bench.pull(&registry, image().digest()).await.unwrap_err();
    assert!(matches!(error, PullError::Denied { status: 401, .. }), "{error}");
    assert_eq!(error.code(), Code::ImageDenied);
    bench.credentials = |host| {
        let mut credentials = test_credentials(host);
        credentials[0].password = Zeroizing::new("wrong".to_owned());
        credentials
    };
    let error = bench.pull(&registry, image().digest()).await.unwrap_err();
    assert!(matches!(error, PullError::Denied { status: 401, .. }), "{error}");
}

#[tokio::test]
async fn basic_authentication() {
    let mut bench = Bench::new();
    let handler = |seen: &Seen| {
        let is_owner = seen.authorization.as_deref() == Some(BASIC);
        let refusal = Reply::new(401, "").header("WWW-Authenticate", "Basic realm=\"x\"");
        (!is_owner).then_some(refusal)
    };
    let registry = Registry::start(&bench.ca, image().content(), handler).await;
    let error = bench.pull(&registry, image().digest()).await.unwrap_err();
    assert!(matches!(error, PullError::Denied { .. }), "{error}");
    bench.credentials = test_credentials;
    bench.pull(&registry, image().digest()).await.unwrap();
}

// C11: a token service on another host does not get the password, and http gets nothing.
#[tokio::test]
async fn credentials_stay_with_their_registry() {
    let mut bench = Bench::new();
    bench.credentials = test_credentials;
    let thief = Registry::start(&bench.ca, BTreeMap::new(), |_| {
        Some(Reply::new(200, r#"{"token":"t0ken"}"#))
    })
    .await;
    let foreign = format!("https://{}/token", thief.host);
    for realm in [foreign, "http://127.0.0.1:9/token".to_owned(), "nonsense".to_owned()] {
        let handler = move |seen: &Seen| guarded(seen, &realm);
        let registry = Registry::start(&bench.ca, image().content(), handler).await;
        let error = bench
            .pull_with(&registry, &[&thief.host], image().digest(), &NoKeys)
            .await
            .unwrap_err();
        let is_refused = matches!(error, PullError::Challenge { .. } | PullError::Redirect { .. });
        assert!(is_refused, "{error}");
    }
    assert!(thief.seen("").is_empty());
    // Without a password to lose, a token of another host is used: but only where it belongs.
    bench.credentials = |_| vec![];
    let realm = format!("https://{}/token", thief.host);
    let handler = move |seen: &Seen| guarded(seen, &realm);
    let registry = Registry::start(&bench.ca, image().content(), handler).await;
    bench.pull_with(&registry, &[&thief.host], image().digest(), &NoKeys).await.unwrap();
    assert_eq!(thief.seen("").len(), 1);
    assert_eq!(thief.seen("")[0].authorization, None);
}

// C11: the token does not follow a redirect.
#[tokio::test]
async fn tokens_do_not_follow_redirects() {
    let mut bench = Bench::new();
    bench.credentials = test_credentials;
    let cdn = Registry::start(&bench.ca, image().content(), |_| None).await;
    let target = format!("https://{}{}", cdn.host, top_layer(&image()));
    let realm = std::sync::Arc::new(std::sync::OnceLock::<String>::new());
    let shared = std::sync::Arc::clone(&realm);
    let handler = move |seen: &Seen| {
        guarded(seen, shared.get().unwrap())
            .or_else(|| (seen.path == top_layer(&image())).then(|| Reply::redirect(target.clone())))
    };
    let registry = Registry::start(&bench.ca, image().content(), handler).await;
    realm.set(format!("https://{}/token", registry.host)).unwrap();
    bench.pull_with(&registry, &[&cdn.host], image().digest(), &NoKeys).await.unwrap();
    bench.check_content();
    assert_eq!(cdn.seen("").len(), 1);
    assert_eq!(cdn.seen("")[0].authorization, None);
    // The place that it leads to must be trusted, too.
    fs::remove_dir_all(bench.rootfs()).unwrap();
    let error = bench.pull(&registry, image().digest()).await.unwrap_err();
    assert!(matches!(error, PullError::Untrusted { .. }), "{error:?}");
}

// C11: a redirecting token service could pass the password on.
#[tokio::test]
async fn token_services_do_not_redirect() {
    let mut bench = Bench::new();
    bench.credentials = test_credentials;
    let realm = std::sync::Arc::new(std::sync::OnceLock::<String>::new());
    let shared = std::sync::Arc::clone(&realm);
    let handler = move |seen: &Seen| {
        let is_token = seen.path.starts_with("/token?");
        is_token
            .then(|| Reply::redirect("/elsewhere"))
            .or_else(|| guarded(seen, shared.get().unwrap()))
    };
    let registry = Registry::start(&bench.ca, image().content(), handler).await;
    realm.set(format!("https://{}/token", registry.host)).unwrap();
    let error = bench.pull(&registry, image().digest()).await.unwrap_err();
    assert!(matches!(error, PullError::Challenge { .. }), "{error}");
}

/// The login that a guest has from its broker.
fn login() -> casemate_image_pull::Login {
    let password = Zeroizing::new("secret".to_owned());
    casemate_image_pull::Login { user: "owner".to_owned(), password }
}

// C11: a login goes to the registry that it was given for, for that repository, and along no redirect.
#[tokio::test]
async fn a_login_is_for_one_repository_of_one_registry() {
    let bench = Bench::new();
    let guarded = |seen: &Seen| {
        let is_owner = seen.authorization.as_deref() == Some(BASIC);
        let refusal = Reply::new(401, "").header("WWW-Authenticate", "Basic realm=\"x\"");
        (!is_owner).then_some(refusal)
    };
    let cdn = Registry::start(&bench.ca, image().content(), |_| None).await;
    let target = format!("https://{}{}", cdn.host, top_layer(&image()));
    let handler = move |seen: &Seen| {
        guarded(seen)
            .or_else(|| (seen.path == top_layer(&image())).then(|| Reply::redirect(target.clone())))
    };
    let registry = Registry::start(&bench.ca, image().content(), handler).await;
    let other = Registry::start(&bench.ca, image().content(), guarded).await;
    let puller = bench.puller(&[&registry.host, &cdn.host, &other.host]);
    let at = |host: &str, repository: &str| {
        format!("{host}/{repository}@{}", image().digest()).parse().unwrap()
    };
    let here = at(&registry.host, "app");
    assert!(puller.is_at(&here, &registry.host) && !puller.is_at(&here, &other.host));
    puller.log_in(&here, login(), None);
    let pull = async |image| {
        let destination = bench.rootfs();
        let request =
            casemate_image_pull::PullRequest { image, encryption: bench.encryption, destination };
        puller.pull(&request, &NoKeys, &casemate_image_pull::Progress::default()).await
    };
    pull(here).await.unwrap();
    bench.check_content();
    assert_eq!(cdn.seen("").len(), 1);
    assert_eq!(cdn.seen("")[0].authorization, None);
    for elsewhere in [at(&other.host, "app"), at(&registry.host, "secret")] {
        let error = pull(elsewhere).await.unwrap_err();
        assert!(matches!(error, PullError::Denied { status: 401, .. }), "{error}");
    }
    assert!(other.seen("").iter().all(|seen| seen.authorization.is_none()));
    let foreign = registry.seen("/v2/secret/");
    assert!(!foreign.is_empty() && foreign.iter().all(|seen| seen.authorization.is_none()));
}
