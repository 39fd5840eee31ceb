// SPDX-License-Identifier: Apache-2.0
//! `POST /auth`: opens a session with a fresh nonce.

use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::IntoResponse as _;
use axum::response::Response;
use casemate_evidence::json;
use casemate_kbs_protocol::AuthRequest;
use casemate_kbs_protocol::Challenge;
use casemate_kbs_protocol::ProblemType;
use casemate_kbs_protocol::Tee;
use casemate_kbs_protocol::is_supported_version;

use super::Broker;
use super::Peer;
use super::refusal::Refusal;
use super::set_cookie;
use crate::session::SessionError;

pub(super) async fn auth(
    State(broker): State<Arc<Broker>>,
    Extension(Peer(peer)): Extension<Peer>,
    body: Bytes,
) -> Result<Response, Refusal> {
    if body.len() > MAX_AUTH_BYTES {
        return Err(Refusal::new(ProblemType::SerdeError, "the request is too large"));
    }
    let request: AuthRequest = json::from_slice(&body)
        .map_err(|_| Refusal::new(ProblemType::SerdeError, "the request is malformed"))?;
    let refuse = |why| Err(Refusal::new(ProblemType::AttestationError, why));
    if !is_supported_version(&request.version) {
        return refuse("the broker speaks KBS protocol 0.4");
    }
    let Some(tee) = Tee::from_name(&request.tee) else {
        return refuse("the broker verifies evidence of snp and tdx only");
    };
    let Ok(hash) = request.choose_hash() else {
        return refuse("none of the client's hash functions is sha256, sha384 or sha512");
    };
    let now = broker.now();
    let opened = broker.sessions().open(peer, hash.unwrap_or_default(), tee, now);
    let (id, nonce) = opened.map_err(|error| match error {
        SessionError::Full => Refusal::busy("too many handshakes are in progress"),
        other => Refusal::new(ProblemType::AttestationError, other.to_string()),
    })?;
    let challenge = Challenge::new(nonce, hash);
    let challenge = if request.has_audit_head() { challenge.with_audit_head() } else { challenge };
    let mut response = Json(challenge).into_response();
    set_cookie(&mut response, &id, now);
    Ok(response)
}

/// Largest request, bytes: it is open to anybody and holds three short members.
const MAX_AUTH_BYTES: usize = 4 << 10;
