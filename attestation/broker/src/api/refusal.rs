// SPDX-License-Identifier: Apache-2.0
//! Error replies: the ecosystem's body and status, and one line with code and next step.

use axum::Json;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::IntoResponse;
use axum::response::Response;
use casemate_agent_api::Code;
use casemate_collateral::FetchError;
use casemate_kbs_protocol::Problem;
use casemate_kbs_protocol::ProblemType;

use crate::error::BrokerError;

/// A reply that refuses.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    status: StatusCode,
    kind: ProblemType,
    code: Code,
    detail: String,
}

impl Refusal {
    /// A refusal with the status that the ecosystem's servers give: 401 for all but a wrong path.
    pub(crate) fn new(kind: ProblemType, detail: impl Into<String>) -> Self {
        let (status, code) = match kind {
            ProblemType::InvalidRequestPath => (StatusCode::NOT_FOUND, Code::ResourceMissing),
            ProblemType::PluginInternalError => (StatusCode::UNAUTHORIZED, Code::ResourceMissing),
            ProblemType::PolicyDeny => (StatusCode::UNAUTHORIZED, Code::ResourceDenied),
            ProblemType::SerdeError => (StatusCode::UNAUTHORIZED, Code::RequestInvalid),
            _ => (StatusCode::UNAUTHORIZED, Code::AttestRefused),
        };
        Self { status, kind, code, detail: detail.into() }
    }

    /// Too much at once: an honest client comes again.
    pub(crate) fn busy(detail: &str) -> Self {
        Self {
            status: StatusCode::TOO_MANY_REQUESTS,
            kind: ProblemType::AttestationError,
            code: Code::BrokerBusy,
            detail: detail.to_owned(),
        }
    }

    /// A service has for now not given what a verdict needs: an honest client comes again.
    pub(crate) fn collateral(error: &FetchError) -> Self {
        let wait = match error {
            FetchError::Busy { .. } => "wants no requests for a time",
            _ => "gives no answer",
        };
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            kind: ProblemType::AttestationError,
            code: Code::BrokerBusy,
            detail: format!("collateral-busy: a service of certificates or collateral {wait}"),
        }
    }

    /// The line for the reply and the audit log.
    pub(crate) fn text(&self) -> String {
        format!("{}: {}; next: {}", self.code, self.detail, self.code.next_step())
    }
}

/// The broker itself failed. The cause goes to its log, not to the guest.
impl From<BrokerError> for Refusal {
    fn from(error: BrokerError) -> Self {
        let cause: &(dyn std::error::Error + 'static) = &error;
        tracing::error!(error = cause, "request failed");
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            kind: ProblemType::StorageBackendInitialization,
            code: Code::BrokerBusy,
            detail: "the broker failed to answer".to_owned(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let problem = Problem::new(self.kind, self.text());
        let mut response = (self.status, Json(problem)).into_response();
        let again = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];
        if again.contains(&self.status) {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY_SECONDS));
        }
        response
    }
}

const RETRY_SECONDS: &str = "10";
