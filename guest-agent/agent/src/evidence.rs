// SPDX-License-Identifier: Apache-2.0
//! Evidence of the guest's TEE, as the broker reads it.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use casemate_agent_api::Code;
use casemate_attester::Error as SourceError;
use casemate_attester::Evidence;
use casemate_attester::ReportData;
use casemate_attester::SnpEvidence;
use casemate_attester::Source;
use casemate_attester::SourceKind;
use casemate_attester::TdxEvidence;
use casemate_attester::TsmError;
use casemate_evidence::snp::Evidence as SnpWire;
use casemate_evidence::snp::Report;
use casemate_evidence::snp::ReportError;
use casemate_evidence::snp::WireError;
use casemate_kbs_client::EvidenceError;
use casemate_kbs_client::EvidenceSource;
use casemate_kbs_protocol::Tee;
use serde_json::Value;
use serde_json::json;

/// Evidence from the one source that the guest was started with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TeeEvidence {
    source: SourceKind,
}

impl From<SourceKind> for TeeEvidence {
    fn from(source: SourceKind) -> Self {
        Self { source }
    }
}

impl TeeEvidence {
    /// The kind of TEE, for the broker.
    pub(crate) fn tee(self) -> Tee {
        match self.source {
            SourceKind::SevGuest | SourceKind::SevTsm => Tee::Snp,
            SourceKind::Tdx => Tee::Tdx,
        }
    }

    fn failure(self, error: FetchError) -> EvidenceError {
        EvidenceError::new(error.code(self.source), error)
    }
}

impl EvidenceSource for TeeEvidence {
    async fn evidence(&self, report_data: [u8; 64]) -> Result<Value, EvidenceError> {
        let (this, source) = (*self, self.source);
        let mut attempt = 1;
        loop {
            // The device waits for a busy host, and a quote service takes a second.
            let fetched = tokio::task::spawn_blocking(move || fetch(source, report_data));
            match fetched.await.map_err(|error| EvidenceError::new(Code::Internal, error))? {
                Err(FetchError::Source(error)) if error.is_retryable() && attempt < ATTEMPTS => {
                    tracing::warn!(%error, "no evidence; trying again");
                }
                result => return result.map_err(|error| this.failure(error)),
            }
            attempt += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Gets evidence and writes it in the form of CoCo. Blocks.
fn fetch(source: SourceKind, report_data: [u8; 64]) -> Result<Value, FetchError> {
    match Source::open(source)?.evidence(&ReportData(report_data))? {
        Evidence::Snp(evidence) => snp_json(&evidence),
        Evidence::Tdx(evidence) => Ok(tdx_json(&evidence)),
    }
}

fn snp_json(raw: &SnpEvidence) -> Result<Value, FetchError> {
    let certificates = raw.certificates.clone();
    let evidence = SnpWire { report: Report::parse(raw.report.as_bytes())?, certificates };
    Ok(evidence.to_json()?)
}

/// CoCo's members: the quote, and the event log with the mark at its end, if there is one.
fn tdx_json(raw: &TdxEvidence) -> Value {
    let log =
        raw.event_log.as_ref().map(|log| STANDARD.encode([log.as_bytes(), EVENT_LOG_END].concat()));
    json!({ "cc_eventlog": log, "quote": STANDARD.encode(raw.quote.as_bytes()) })
}

/// Why the TEE gave no evidence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum FetchError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("the report is malformed")]
    Report(#[from] ReportError),
    #[error("the evidence cannot be written")]
    Wire(#[from] WireError),
}

impl FetchError {
    /// A TDX guest has its own report, or it would not have come this far: what fails here is the
    /// service on the host that makes quotes of it.
    fn code(&self, source: SourceKind) -> Code {
        match (source, self) {
            (
                SourceKind::Tdx,
                Self::Source(
                    SourceError::Quote(_)
                    | SourceError::Tsm(TsmError::Empty | TsmError::Read { attribute: "outblob", .. }),
                ),
            ) => Code::TeeQuote,
            _ => Code::TeeReport,
        }
    }
}

/// How often a source is asked that may answer later, and the pause between.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// Behind the last event, as CoCo's attestation agent writes it.
const EVENT_LOG_END: &[u8] = &[0xff; 8];

#[cfg(test)]
mod tests;
