// SPDX-License-Identifier: Apache-2.0
//! Registries that redirect, downgrade or impersonate.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::OnceLock;

use anyhow::ensure;
use casemate_agent_api::Code;
use casemate_image_pull::Credentials;
use casemate_image_pull::NoKeys;
use casemate_image_pull::PullError;
use zeroize::Zeroizing;

use crate::Case;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Outcome;
use crate::Verdict;
use crate::images::Pulls;
use crate::images::at;
use crate::images::image;
use crate::images::refused;
use crate::images::registry::Ca;
use crate::images::registry::Registry;
use crate::images::registry::Reply;
use crate::images::registry::Seen;
use crate::images::top_layer;

/// The header of [`owner`]'s password.
const BASIC: &str = "Basic b3duZXI6c2VjcmV0";

fn owner(host: &str) -> Vec<Credentials> {
    vec![Credentials {
        registry: host.to_owned(),
        user: "owner".to_owned(),
        password: Zeroizing::new("secret".to_owned()),
        token_host: None,
    }]
}

/// Demands a token from `realm`, and gives one there for the right password.
fn guarded(seen: &Seen, realm: &str) -> Option<Reply> {
    if seen.path.starts_with("/token?") {
        let is_owner = seen.authorization.as_deref() == Some(BASIC);
        return Some(Reply::new(if is_owner { 200 } else { 401 }, r#"{"token":"t0ken"}"#));
    }
    let challenge = format!("Bearer realm=\"{realm}\",service=\"s\"");
    let demand = || Reply::new(401, "").header("WWW-Authenticate", challenge);
    (seen.authorization.as_deref() != Some("Bearer t0ken")).then(demand)
}

pub(super) const C11: Case = Case {
    id: "C11",
    level: Level::P,
    attack: "redirects to http or another host, a token service of the attacker's",
    defence: Defence::Code(Guard {
        function: "casemate_image_pull::tls::https_url",
        sabotage: "Ok((url, from.clone()))",
    }),
    run: |_| Box::pin(c11()),
};

async fn c11() -> Verdict {
    let honest = image();
    for target in ["http://127.0.0.1:9/x", "ftp://a/b", "https://user:pass@127.0.0.1:9/x"] {
        let handler = at(top_layer(&honest), move |_| Some(Reply::redirect(target)));
        let result = Pulls::new()?.try_image(&honest, handler).await;
        let error = refused(target, Code::ImageUnreachable, result)?;
        ensure!(matches!(error, PullError::Redirect { .. }), "{target}: {error}");
    }

    // The password stays with its registry.
    let mut pulls = Pulls::new()?;
    pulls.credentials = owner;
    let thief = Registry::start(&pulls.ca, BTreeMap::new(), |_| {
        Some(Reply::new(200, r#"{"token":"t0ken"}"#))
    })
    .await;
    let foreign = format!("https://{}/token", thief.host);
    let handler = move |seen: &Seen| guarded(seen, &foreign);
    let registry = Registry::start(&pulls.ca, honest.content(), handler).await;
    let pinned = [registry.host.as_str(), thief.host.as_str()];
    let result = pulls.pull_with(&registry, &pinned, honest.digest(), &NoKeys).await?;
    ensure!(result.is_err(), "a token of another host is used");
    ensure!(thief.seen("").is_empty(), "another host was asked with the password");

    // The token does not follow a redirect.
    let elsewhere = Registry::start(&pulls.ca, honest.content(), |_| None).await;
    let target = format!("https://{}{}", elsewhere.host, top_layer(&honest));
    let realm = Arc::new(OnceLock::<String>::new());
    let (shared, layer) = (Arc::clone(&realm), top_layer(&honest));
    let handler = move |seen: &Seen| {
        guarded(seen, shared.get().expect("set"))
            .or_else(|| (seen.path == layer).then(|| Reply::redirect(target.clone())))
    };
    let registry = Registry::start(&pulls.ca, honest.content(), handler).await;
    realm.set(format!("https://{}/token", registry.host)).expect("set once");
    let pinned = [registry.host.as_str(), elsewhere.host.as_str()];
    let result = pulls.pull_with(&registry, &pinned, honest.digest(), &NoKeys).await?;
    ensure!(result.is_ok(), "an honest redirect is not followed: {result:?}");
    let seen = elsewhere.seen("");
    ensure!(seen.len() == 1 && seen[0].authorization.is_none(), "the token went along: {seen:?}");
    Ok(Outcome::pass("https only; password and token stay with their registry"))
}

pub(super) const C12: Case = Case {
    id: "C12",
    level: Level::P,
    attack: "a man in the middle with a CA of the host's, or with one pinned for another registry",
    defence: Defence::Code(Guard {
        function: "casemate_image_pull::tls::Trust::client",
        sabotage: "self.pinned.values().next().map_or(&self.web, |(_, client)| client)",
    }),
    run: |_| Box::pin(c12()),
};

async fn c12() -> Verdict {
    let honest = image();
    let pulls = Pulls::new()?;
    let impostor = Registry::start(&Ca::new(), honest.content(), |_| None).await;
    let result = pulls.pull(&impostor, honest.digest()).await;
    refused("a CA of the host's", Code::ImageUntrusted, result)?;
    ensure!(impostor.seen("").is_empty(), "a request went to an impostor");

    let registry = Registry::start(&pulls.ca, honest.content(), |_| None).await;
    let pinned = ["registry.example"];
    let result = pulls.pull_with(&registry, &pinned, honest.digest(), &NoKeys).await;
    refused("the CA of another registry", Code::ImageUntrusted, result)?;
    ensure!(registry.seen("").is_empty(), "a request went to an impostor");
    Ok(Outcome::pass("one CA per registry, and nothing is sent before it is checked"))
}
