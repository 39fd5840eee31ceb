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
use casemate_evidence::snp::CertificateKind;
use casemate_evidence::snp::Evidence;
use casemate_kbs_protocol::AttestReply;
use casemate_kbs_protocol::AttestRequest;
use casemate_kbs_protocol::InitData;
use casemate_kbs_protocol::ProblemType;
use casemate_kbs_protocol::TeePublicKey;
use casemate_kbs_protocol::host_data;
use casemate_verifier::Expected;
use casemate_verifier::Guest as VerifiedGuest;
use casemate_verifier::Measurement;
use casemate_verifier::TrustVector;
use casemate_verifier::Verdict;
use casemate_verifier::verify;

use super::Broker;
use super::Peer;
use super::refusal::Refusal;
use super::session_cookie;
use super::set_cookie;
use crate::audit::Entry;
use crate::audit::Event;
use crate::audit::Outcome;
use crate::error::BrokerError;
use crate::requirements;
use crate::session::Guest;
use crate::session::Pending;
use crate::token::Attested;

pub(super) async fn attest(
    State(broker): State<Arc<Broker>>,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let now = broker.now();
    let id = session_cookie(&headers).ok_or_else(|| refuse("there is no session cookie"))?;
    // D8: taken before anything else is looked at, so that no attempt leaves it usable.
    let pending = broker.sessions().take(&id, now).map_err(|error| refuse(error.to_string()))?;
    let mut entry = Entry::new(Event::Attest, Outcome::Refused, peer, now);
    match judge(&broker, &pending, &body, now, &mut entry).await {
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
    root: String,
    measurement: Measurement,
    host_data: [u8; 32],
    chip_id: [u8; 64],
    key: TeePublicKey,
    report_data: [u8; 64],
    vector: TrustVector,
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
    let expected = Expected {
        report_data: Some(report_data),
        host_data: request.init_data.as_ref().map(digest).transpose()?,
    };
    let mut evidence = Evidence::from_json(request.tee_evidence.primary_evidence.get())
        .map_err(|error| refuse(error.to_string()))?;
    entry.measurement = Some(Measurement(*evidence.report.measurement()));
    entry.host_data = Some(hex::encode(evidence.report.host_data()));
    entry.report = Some(hex::encode(evidence.report.as_bytes()));
    if let Some(collateral) = &broker.collateral {
        collateral.complete(&mut evidence, &broker.store.roots().await?, now).await;
    }
    let signer = evidence.certificates.iter().find(|c| c.kind == CertificateKind::Vcek);
    entry.vcek = signer.map(|c| hex::encode(&c.data));
    let verdict = verdict(broker, evidence, expected, now).await?;
    entry.root = verdict.root().map(str::to_owned);
    entry.verdict = verdict.lines().to_vec();
    let Some(accepted) = verdict.accepted() else {
        return Err(explain(&verdict));
    };
    let VerifiedGuest::Snp { host_data, chip_id, .. } = accepted.guest else {
        return Err(refuse("the evidence is not of an SNP guest"));
    };
    // Only now is it the guest's word.
    entry.audit_head = request.runtime_data.audit_head;
    Ok(Passed {
        root: accepted.root.clone(),
        measurement: accepted.measurement,
        host_data,
        chip_id,
        key: request.runtime_data.tee_pubkey,
        report_data,
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

async fn verdict(
    broker: &Broker,
    evidence: Evidence,
    expected: Expected,
    now: u64,
) -> Result<Verdict, BrokerError> {
    let roots = broker.store.roots().await?;
    let references = broker.store.references().await?;
    let dir = broker.dir.clone();
    // Milliseconds of arithmetic and a small file: not on a thread that serves connections.
    tokio::task::spawn_blocking(move || {
        let rules = requirements::load(&dir, references, &evidence, now)?;
        Ok(verify(&evidence, &roots, &expected, &rules, now))
    })
    .await
    .map_err(|_| BrokerError::Task)?
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
            key: self.key,
            root: self.root,
            measurement: self.measurement,
            host_data: self.host_data,
            id: broker.signer.token_id()?,
        };
        let token = broker.signer.issue(&Attested {
            guest: &guest,
            nonce,
            report_data: &self.report_data,
            chip_id: &self.chip_id,
            vector: self.vector,
            now,
        })?;
        entry.outcome = Outcome::Accepted;
        entry.token = Some(guest.id.clone());
        let peer = entry.peer;
        broker.audit.record(entry).await?;
        tracing::info!(%peer, root = guest.root, measurement = %guest.measurement, "attested");
        broker.sessions().attested(session, guest, now);
        Ok(token)
    }
}

fn digest(init_data: &InitData) -> Result<[u8; 32], Refusal> {
    host_data(&init_data.body).map_err(|error| refuse(error.to_string()))
}

/// Names the broken rules. The values are in the audit log: a guest's host need not see them.
fn explain(verdict: &Verdict) -> Refusal {
    let broken: Vec<String> = verdict
        .reasons()
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
