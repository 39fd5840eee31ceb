// SPDX-License-Identifier: Apache-2.0
//! `POST /attest`: evidence in, token out.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::IntoResponse as _;
use axum::response::Response;
use casemate_collateral::FetchError;
use casemate_kbs_protocol::AttestReply;
use casemate_kbs_protocol::AttestRequest;
use casemate_kbs_protocol::InitData;
use casemate_kbs_protocol::ProblemType;
use casemate_kbs_protocol::Tee;
use casemate_kbs_protocol::TeePublicKey;
use casemate_verifier::Code;
use casemate_verifier::Line;
use casemate_verifier::Measurement;
use casemate_verifier::TrustVector;
use casemate_verifier::Verdict;
use serde_json::Map;
use serde_json::Value;
use tokio::time::timeout_at;

use super::Broker;
use super::Deadline;
use super::Peer;
use super::refusal::Refusal;
use super::session_cookie;
use super::set_cookie;
use crate::audit::Entry;
use crate::audit::Event;
use crate::audit::Outcome;
use crate::audit::timestamp;
use crate::error::BrokerError;
use crate::session::Guest;
use crate::session::Pending;
use crate::token::Attested;

mod snp;
mod tdx;

pub(super) async fn attest(
    State(broker): State<Arc<Broker>>,
    Extension(Peer(peer)): Extension<Peer>,
    Extension(Deadline(deadline)): Extension<Deadline>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let now = broker.now();
    let id = session_cookie(&headers).ok_or_else(|| refuse("there is no session cookie"))?;
    // D8: taken before anything else is looked at, so that no attempt leaves it usable.
    let pending = broker.sessions().take(&id, now).map_err(|error| refuse(error.to_string()))?;
    let mut entry = Entry::new(Event::Attest, Outcome::Refused, peer, now);
    let judged = timeout_at(deadline, judge(&broker, &pending, &body, now, &mut entry)).await;
    // Its entry in the audit log must not be lost with it.
    match judged.unwrap_or_else(|_| Err(Refusal::busy("the attestation took too long"))) {
        Ok(attested) => {
            let token = attested.finish(&broker, entry, &pending.nonce, &id, now).await?;
            let mut response = Json(AttestReply { token }).into_response();
            set_cookie(&mut response, &id, now);
            Ok(response)
        }
        Err(refusal) => {
            log_refusal(peer, &refusal);
            entry.reason = Some(refusal.text());
            broker.audit.record(entry).await?;
            Err(refusal)
        }
    }
}

/// A guest that passed, before the token is issued.
struct Passed {
    tee: Tee,
    root: String,
    root_keys: String,
    measurement: Measurement,
    host_data: [u8; 32],
    key: TeePublicKey,
    report_data: [u8; 64],
    claims: Map<String, Value>,
    vector: TrustVector,
}

/// What evidence is judged for.
struct Asked<'a> {
    evidence: &'a str,
    init_data: Option<&'a InitData>,
    report_data: [u8; 64],
    /// What the report data is a hash of.
    runtime_data: Value,
    now: u64,
}

/// A verdict, and what only this TEE's evidence says.
struct Judged {
    verdict: Verdict,
    /// Digest of the initdata, by which resources are granted.
    host_data: [u8; 32],
    claims: Map<String, Value>,
    /// When the grace is over without which the verdict would be another, seconds since 1970.
    grace: Option<u64>,
    /// What could not be had, and may be there at the next attempt.
    missing: Option<FetchError>,
}

async fn judge(
    broker: &Broker,
    pending: &Pending,
    body: &[u8],
    now: u64,
    entry: &mut Entry,
) -> Result<Passed, Refusal> {
    let request: AttestRequest = serde_json::from_slice(body)
        .map_err(|_| Refusal::new(ProblemType::SerdeError, "the request is malformed"))?;
    if request.runtime_data.nonce != pending.nonce {
        return Err(refuse("the nonce is not the one of this session"));
    }
    refuse_devices(&request)?;
    // The nonce in it is the session's, see above.
    let report_data = request
        .runtime_data
        .report_data(pending.hash, "")
        .map_err(|error| refuse(error.to_string()))?;
    let asked = Asked {
        evidence: request.tee_evidence.primary_evidence.get(),
        init_data: request.init_data.as_ref(),
        report_data,
        runtime_data: serde_json::to_value(&request.runtime_data)
            .map_err(|error| refuse(error.to_string()))?,
        now,
    };
    let Judged { verdict, host_data, claims, grace, missing } = match pending.tee {
        Tee::Snp => snp::judge(broker, &asked, entry).await?,
        Tee::Tdx => tdx::judge(broker, &asked, entry).await?,
    };
    entry.root = verdict.root().map(str::to_owned);
    entry.verdict = verdict.lines().to_vec();
    let Some(accepted) = verdict.accepted() else {
        return Err(match missing {
            Some(error) if is_for_want_of_collateral(&verdict) => Refusal::collateral(&error),
            _ => explain(&verdict),
        });
    };
    let root_keys = broker.store.roots().await?.keys_of(&accepted.root);
    let root_keys = root_keys.ok_or_else(|| refuse("the root is no longer configured"))?;
    // D18: an owner should know who will be refused once it is over.
    entry.grace_until = grace.map(timestamp);
    // Only now is it the guest's word.
    entry.audit_head = request.runtime_data.audit_head;
    Ok(Passed {
        tee: pending.tee,
        root: accepted.root.clone(),
        root_keys,
        measurement: accepted.measurement,
        host_data,
        key: request.runtime_data.tee_pubkey,
        report_data,
        claims,
        vector: verdict.vector(),
    })
}

/// D22: evidence that would not be looked at is refused, not ignored.
fn refuse_devices(request: &AttestRequest) -> Result<(), Refusal> {
    if request.tee_evidence.additional_evidence.is_empty() {
        Ok(())
    } else {
        Err(refuse("evidence of devices is not supported"))
    }
}

impl Passed {
    /// Writes the audit entry, then makes the session usable.
    async fn finish(
        self,
        broker: &Broker,
        mut entry: Entry,
        nonce: &str,
        session: &str,
        now: u64,
    ) -> Result<String, BrokerError> {
        let guest = Guest {
            tee: self.tee,
            key: self.key,
            root: self.root,
            root_keys: self.root_keys,
            measurement: self.measurement,
            host_data: self.host_data,
            id: broker.signer.token_id()?,
        };
        let token = broker.signer.issue(&Attested {
            guest: &guest,
            nonce,
            report_data: &self.report_data,
            claims: self.claims,
            vector: self.vector,
            now,
        })?;
        entry.outcome = Outcome::Accepted;
        entry.token = Some(guest.id.clone());
        let (peer, grace) = (entry.peer, entry.grace_until.clone());
        broker.audit.record(entry).await?;
        tracing::info!(%peer, root = guest.root, measurement = %guest.measurement, "attested");
        if let Some(until) = grace {
            tracing::warn!(%peer, until, "the guest's platform is behind and passes by a grace alone");
        }
        broker.sessions().attested(session, guest, now);
        Ok(token)
    }
}

/// Whether evidence is of another guest, or for another session, than is accepted: no certificate
/// or list changes that.
fn is_another_guest(verdict: &Verdict) -> bool {
    let bound = [Code::ReportData, Code::Measurement, Code::HostData];
    verdict.reasons().any(|line| bound.contains(&line.code))
}

/// Whether all that is wrong is what missing certificates, lists or collateral make wrong.
fn is_for_want_of_collateral(verdict: &Verdict) -> bool {
    let curable = [
        Code::Root,
        Code::Certificate,
        Code::Expired,
        Code::Revoked,
        Code::Hwid,
        Code::CollateralMissing,
    ];
    verdict.reasons().all(|line| curable.contains(&line.code))
}

/// Names the broken rules. The values are in the audit log: a guest's host need not see them.
fn explain(verdict: &Verdict) -> Refusal {
    // Collateral that nobody asked for, since the rest is refused whatever it says, is no reason.
    let is_asked_for = |line: &&Line| line.code != Code::CollateralMissing;
    let alone = !verdict.reasons().any(|line| is_asked_for(&line));
    let broken: Vec<String> = verdict
        .reasons()
        .filter(|line| alone || is_asked_for(line))
        .take(MAX_EXPLAINED)
        .map(|line| format!("{} (not true: {})", line.claim, line.rule))
        .collect();
    refuse(broken.join(", "))
}

fn refuse(why: impl Into<String>) -> Refusal {
    Refusal::new(ProblemType::AttestationError, why)
}

fn log_refusal(peer: IpAddr, refusal: &Refusal) {
    tracing::info!(%peer, reason = refusal.text(), "attestation refused");
}

/// Most broken rules in one message.
const MAX_EXPLAINED: usize = 3;
