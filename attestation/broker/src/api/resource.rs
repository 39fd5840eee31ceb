// SPDX-License-Identifier: Apache-2.0
//! `GET /resource/<repository>/<type>/<tag>`: a resource, sealed to the attested key.

use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::Uri;
use axum::http::header::AUTHORIZATION;
use axum::response::IntoResponse as _;
use axum::response::Response;
use casemate_kbs_protocol::Jwe;
use casemate_kbs_protocol::PREFIX;
use casemate_kbs_protocol::ProblemType;
use casemate_kbs_protocol::ResourcePath;
use casemate_kbs_protocol::Secret;
use casemate_kbs_protocol::Tee;
use casemate_verifier::ReferenceValues;
use casemate_verifier::SNP_LAUNCH;

use super::Broker;
use super::Peer;
use super::refusal::Refusal;
use super::session_cookie;
use crate::audit::Entry;
use crate::audit::Event;
use crate::audit::Outcome;
use crate::error::BrokerError;
use crate::requirements;
use crate::session::Guest;

pub(super) async fn resource(
    State(broker): State<Arc<Broker>>,
    Extension(Peer(peer)): Extension<Peer>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let now = broker.now();
    // Not audited without a valid token: anybody could fill the log.
    let guest = guest(&broker, &headers, now)?;
    let path = parse_path(&uri)?;
    let mut entry = Entry::new(Event::Resource, Outcome::Denied, peer, now);
    entry.root = Some(guest.root.clone());
    entry.measurement = Some(guest.measurement);
    entry.host_data = Some(hex::encode(guest.host_data));
    entry.token = Some(guest.id.clone());
    entry.resource = Some(path.to_string());
    match release(&broker, &guest, &path).await {
        Ok(secret) => {
            let jwe = Jwe::seal(&secret, &guest.key)
                .map_err(|error| Refusal::new(ProblemType::JweError, error.to_string()))?;
            entry.outcome = Outcome::Released;
            broker.audit.record(entry).await?;
            Ok(Json(jwe).into_response())
        }
        Err(refusal) => {
            entry.reason = Some(refusal.text());
            broker.audit.record(entry).await?;
            Err(refusal)
        }
    }
}

/// Who asks: by bearer token if there is one, else by the session's cookie.
fn guest(broker: &Broker, headers: &HeaderMap, now: u64) -> Result<Guest, Refusal> {
    if let Some(authorization) = headers.get(AUTHORIZATION) {
        return authorization
            .to_str()
            .ok()
            .and_then(|value| value.strip_prefix("Bearer "))
            .ok_or_else(|| token_error("the authorization is no bearer token"))
            .and_then(|token| {
                broker.signer.read(token, now).map_err(|error| token_error(error.to_string()))
            });
    }
    let id = session_cookie(headers)
        .ok_or_else(|| Refusal::new(ProblemType::TokenNotFound, "there is no token or session"))?;
    broker
        .sessions()
        .guest(&id, now)
        .map_err(|error| Refusal::new(ProblemType::TokenNotFound, error.to_string()))
}

/// The path as it stands in the request line: percent escapes are not decoded, so that a resource
/// has one name only.
fn parse_path(uri: &Uri) -> Result<ResourcePath, Refusal> {
    let wrong = |why: String| Refusal::new(ProblemType::InvalidRequestPath, why);
    if uri.query().is_some() {
        return Err(wrong("a resource takes no query".to_owned()));
    }
    uri.path()
        .strip_prefix(PREFIX)
        .and_then(|path| path.strip_prefix("/resource/"))
        .ok_or_else(|| wrong("there is no such endpoint".to_owned()))?
        .parse()
        .map_err(|error: casemate_kbs_protocol::ResourcePathError| wrong(error.to_string()))
}

/// Deny by default. What was true at attestation is asked again: the owner may have changed it.
async fn release(broker: &Broker, guest: &Guest, path: &ResourcePath) -> Result<Secret, Refusal> {
    let deny = |why: &str| Refusal::new(ProblemType::PolicyDeny, why);
    let store = &broker.store;
    if store.roots().await?.keys_of(&guest.root).as_ref() != Some(&guest.root_keys) {
        return Err(deny("the guest's root is no longer configured"));
    }
    let references = match guest.tee {
        Tee::Snp => ReferenceValues::from([(SNP_LAUNCH.to_owned(), store.references().await?)]),
        Tee::Tdx => store.tdx_references().await?,
    };
    // The same rule by which the guest was attested.
    let (dir, tee) = (broker.dir.clone(), guest.tee);
    let read = move || requirements::measurements(&dir, tee, &references);
    let accepted = tokio::task::spawn_blocking(read).await.map_err(|_| BrokerError::Task)??;
    let accepted = accepted.is_some_and(|set| set.contains(&guest.measurement));
    if !accepted {
        return Err(deny("the guest's launch digest is no longer a reference value"));
    }
    // Before the resource is looked for: who may not have it does not learn whether it exists.
    if !store.is_allowed(path, &guest.host_data).await? {
        return Err(deny("the resource is not allowed to this initdata"));
    }
    store.resource(path).await?.ok_or_else(|| {
        Refusal::new(ProblemType::PluginInternalError, "the resource does not exist")
    })
}

fn token_error(why: impl Into<String>) -> Refusal {
    Refusal::new(ProblemType::TokenVerifierError, why)
}
