// SPDX-License-Identifier: Apache-2.0
//! One attested session.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::time::SystemTime;

use casemate_agent_api::Code;
use casemate_kbs_protocol::AttestReply;
use casemate_kbs_protocol::AttestRequest;
use casemate_kbs_protocol::AuditHead;
use casemate_kbs_protocol::AuthRequest;
use casemate_kbs_protocol::Challenge;
use casemate_kbs_protocol::CompositeEvidence;
use casemate_kbs_protocol::InitData;
use casemate_kbs_protocol::InitDataFormat;
use casemate_kbs_protocol::Jwe;
use casemate_kbs_protocol::MAX_NONCE_BYTES;
use casemate_kbs_protocol::MAX_RESOURCE_BYTES;
use casemate_kbs_protocol::PREFIX;
use casemate_kbs_protocol::Problem;
use casemate_kbs_protocol::ProblemType;
use casemate_kbs_protocol::REPORT_DATA_BYTES;
use casemate_kbs_protocol::ResourceUri;
use casemate_kbs_protocol::RuntimeData;
use casemate_kbs_protocol::SESSION_COOKIE;
use casemate_kbs_protocol::Secret;
use casemate_kbs_protocol::Tee;
use casemate_kbs_protocol::TeeKeyPair;
use reqwest::StatusCode;
use reqwest::header::COOKIE;
use serde_json::value::RawValue;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::endpoint::Endpoint;
use crate::error::ClientError;
use crate::error::EvidenceError;
use crate::error::Operation;
use crate::error::printable;
use crate::http::Reply;
use crate::http::exchange;

/// Where evidence comes from: the guest's TEE device.
pub trait EvidenceSource: Send + Sync {
    /// Evidence JSON over `report_data`, in the form of CoCo; for SNP what
    /// `casemate_evidence::snp::Evidence::to_json` writes.
    fn evidence(
        &self,
        report_data: [u8; REPORT_DATA_BYTES],
    ) -> impl Future<Output = Result<serde_json::Value, EvidenceError>> + Send;

    /// The head of the guest's audit log as it is now, which each attestation carries to brokers that
    /// take it.
    fn audit_head(&self) -> Option<AuditHead> {
        None
    }
}

impl<F, Fut> EvidenceSource for F
where
    F: Fn([u8; REPORT_DATA_BYTES]) -> Fut + Send + Sync,
    Fut: Future<Output = Result<serde_json::Value, EvidenceError>> + Send,
{
    fn evidence(
        &self,
        report_data: [u8; REPORT_DATA_BYTES],
    ) -> impl Future<Output = Result<serde_json::Value, EvidenceError>> + Send {
        self(report_data)
    }
}

/// One session with one broker under one key: attest once, then fetch.
///
/// # Security
///
/// The key pair is made here and never leaves. Calls may run side by side; only one of them
/// attests at a time.
pub struct Session<E> {
    endpoint: Endpoint,
    tee: Tee,
    source: E,
    initdata: String,
    key: TeeKeyPair,
    token: Mutex<Option<Token>>,
    attested_at: OnceLock<SystemTime>,
    attested_head: std::sync::Mutex<Option<AuditHead>>,
}

impl<E: EvidenceSource> Session<E> {
    /// A session that is not attested yet; no network is used. `initdata` is the whole TOML text
    /// whose digest is the guest's HOST_DATA.
    ///
    /// # Errors
    ///
    /// [`ClientError::Key`] when the system gives no randomness.
    pub fn new(
        endpoint: &Endpoint,
        tee: Tee,
        source: E,
        initdata: String,
    ) -> Result<Self, ClientError> {
        let key = TeeKeyPair::generate().map_err(|_| ClientError::Key)?;
        Ok(Self {
            endpoint: endpoint.clone(),
            tee,
            source,
            initdata,
            key,
            token: Mutex::new(None),
            attested_at: OnceLock::new(),
            attested_head: std::sync::Mutex::new(None),
        })
    }

    /// Attests, unless the session is attested already.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; [`ClientError::is_transient`] tells whether trying again makes sense.
    pub async fn attest(&self) -> Result<(), ClientError> {
        self.token(None).await.map(drop)
    }

    /// Attests once more, whether or not the token has expired: for the head of the audit log. The
    /// present token stays in use until there is a new one, and when there is none.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; the session is as it was.
    pub async fn refresh(&self) -> Result<(), ClientError> {
        let token = self.handshake().await?;
        *self.token.lock().await = Some(token);
        Ok(())
    }

    /// The head of the audit log that the broker accepted last, if it takes heads.
    pub fn attested_head(&self) -> Option<AuditHead> {
        *self.attested_head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The broker's time when it first accepted the evidence, if it told it (RFC 9110, 6.6.1).
    ///
    /// # Security
    ///
    /// E9: the owner's time, by TLS to the one CA of the initdata. It has come, so that a clock that
    /// shows an earlier one is wrong.
    pub fn attested_at(&self) -> Option<SystemTime> {
        self.attested_at.get().copied()
    }

    /// Fetches and opens a resource; attests first if that has not happened, and once more if the
    /// token has expired.
    ///
    /// # Errors
    ///
    /// [`ClientError`]. A denied or missing resource costs no further attestation.
    pub async fn resource(&self, uri: &ResourceUri) -> Result<Secret, ClientError> {
        let token = self.token(None).await?;
        let reply = self.get(uri, &token).await?;
        let reply = if reply.status != StatusCode::OK && is_stale(&reply) {
            let fresh = self.token(Some(&token)).await?;
            self.get(uri, &fresh).await?
        } else {
            reply
        };
        if reply.status != StatusCode::OK {
            return Err(resource_failure(uri, &reply));
        }
        let jwe: Jwe = serde_json::from_slice(&reply.body).map_err(|_| ClientError::Protocol {
            operation: Operation::Resource,
            what: "the answer is no sealed resource",
        })?;
        jwe.open(&self.key).map_err(|source| ClientError::Sealed { uri: uri.clone(), source })
    }

    /// The token; a new one when there is none or the present one is `stale`.
    async fn token(&self, stale: Option<&Token>) -> Result<Token, ClientError> {
        // Held across the handshake so that resources asked for side by side attest once.
        let mut held = self.token.lock().await;
        match &*held {
            Some(token) if stale != Some(token) => Ok(token.clone()),
            _ => {
                *held = None;
                let token = self.handshake().await?;
                *held = Some(token.clone());
                Ok(token)
            }
        }
    }

    async fn handshake(&self) -> Result<Token, ClientError> {
        let (challenge, cookie) = self.auth().await?;
        let hash = challenge.hash().map_err(|_| ClientError::Protocol {
            operation: Operation::Auth,
            what: "the broker selected an unknown hash function",
        })?;
        let audit_head = audit_head(&challenge, &self.source);
        let runtime_data = RuntimeData {
            nonce: challenge.nonce,
            tee_pubkey: self.key.public_key().clone(),
            audit_head,
        };
        let bound = runtime_data
            .report_data(hash, NO_DEVICES)
            .map_err(|source| ClientError::Binding { source })?;
        let evidence = self
            .source
            .evidence(bound)
            .await
            .and_then(|value| to_raw(&value))
            .map_err(|source| ClientError::Evidence { source })?;
        let request = AttestRequest {
            init_data: Some(InitData { format: InitDataFormat::Toml, body: self.initdata.clone() }),
            runtime_data,
            tee_evidence: CompositeEvidence {
                primary_evidence: evidence,
                additional_evidence: NO_DEVICES.to_owned(),
            },
        };
        let post = self
            .endpoint
            .http()
            .client()
            .post(self.endpoint.join(&format!("{PREFIX}/attest")))
            .header(COOKIE, format!("{SESSION_COOKIE}={cookie}"))
            .json(&request);
        let reply = exchange(post, Operation::Attest, MAX_HANDSHAKE_BYTES).await?;
        if reply.status != StatusCode::OK {
            return Err(handshake_failure(Operation::Attest, &reply));
        }
        let AttestReply { token } =
            serde_json::from_slice(&reply.body).map_err(|_| ClientError::Protocol {
                operation: Operation::Attest,
                what: "the answer holds no token",
            })?;
        if let Some(date) = reply.date {
            // Later times are not worth more: the clock that they would correct is set by then.
            self.attested_at.get_or_init(|| date);
        }
        *self.attested_head.lock().unwrap_or_else(PoisonError::into_inner) = audit_head;
        tracing::info!(broker = self.endpoint.url(), "attested");
        Ok(Token(Zeroizing::new(token)))
    }

    async fn auth(&self) -> Result<(Challenge, String), ClientError> {
        let malformed = |what| ClientError::Protocol { operation: Operation::Auth, what };
        let request = AuthRequest::new(self.tee);
        let request = match self.source.audit_head() {
            Some(_) => request.with_audit_head(),
            None => request,
        };
        let post = self
            .endpoint
            .http()
            .client()
            .post(self.endpoint.join(&format!("{PREFIX}/auth")))
            .json(&request);
        let reply = exchange(post, Operation::Auth, MAX_HANDSHAKE_BYTES).await?;
        if reply.status != StatusCode::OK {
            return Err(handshake_failure(Operation::Auth, &reply));
        }
        let challenge: Challenge = serde_json::from_slice(&reply.body)
            .map_err(|_| malformed("the answer is no challenge"))?;
        if challenge.nonce.is_empty() || challenge.nonce.len() > MAX_NONCE_BYTES {
            return Err(malformed("the nonce is empty or too long"));
        }
        let cookie = reply
            .cookies
            .iter()
            .find_map(|cookie| session_id(cookie))
            .ok_or_else(|| malformed("the answer sets no session cookie"))?;
        Ok((challenge, cookie))
    }

    async fn get(&self, uri: &ResourceUri, token: &Token) -> Result<Reply, ClientError> {
        let get = self
            .endpoint
            .http()
            .client()
            .get(self.endpoint.join(&format!("{PREFIX}/resource/{}", uri.path())))
            .bearer_auth(token.0.as_str());
        exchange(get, Operation::Resource, MAX_SEALED_BYTES).await
    }
}

/// The newest head, for a broker that takes one.
fn audit_head(challenge: &Challenge, source: &impl EvidenceSource) -> Option<AuditHead> {
    if challenge.takes_audit_head() { source.audit_head() } else { None }
}

/// A bearer token. Useless without the session's key, and still kept out of logs.
#[derive(Clone, PartialEq, Eq)]
struct Token(Zeroizing<String>);

fn to_raw(value: &serde_json::Value) -> Result<Box<RawValue>, EvidenceError> {
    serde_json::value::to_raw_value(value)
        .map_err(|source| EvidenceError::new(Code::Internal, source))
}

/// The session id of a `Set-Cookie` header, if it is that cookie and a plain value.
fn session_id(set_cookie: &str) -> Option<String> {
    let (name, value) = set_cookie.split(';').next()?.trim().split_once('=')?;
    let plain = (1..=MAX_COOKIE_BYTES).contains(&value.len())
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    (name == SESSION_COOKIE && plain).then(|| value.to_owned())
}

/// Whether a refusal means "attest again".
fn is_stale(reply: &Reply) -> bool {
    matches!(
        problem(reply).and_then(|p| p.kind()),
        Some(ProblemType::TokenNotFound | ProblemType::TokenVerifierError)
    )
}

fn problem(reply: &Reply) -> Option<Problem> {
    serde_json::from_slice(&reply.body).ok()
}

fn handshake_failure(operation: Operation, reply: &Reply) -> ClientError {
    if is_busy(reply.status) {
        return ClientError::Busy { operation, status: reply.status.as_u16() };
    }
    match problem(reply) {
        Some(problem) => ClientError::Refused { detail: printable(&problem.detail) },
        None => ClientError::Protocol { operation, what: "the refusal gives no reason" },
    }
}

/// All refusals have status 401 in the ecosystem: the type in the body names the cause.
fn resource_failure(uri: &ResourceUri, reply: &Reply) -> ClientError {
    let operation = Operation::Resource;
    if is_busy(reply.status) {
        return ClientError::Busy { operation, status: reply.status.as_u16() };
    }
    let Some(problem) = problem(reply) else {
        return ClientError::Protocol { operation, what: "the refusal gives no reason" };
    };
    let detail = printable(&problem.detail);
    match problem.kind() {
        Some(ProblemType::PolicyDeny) => ClientError::Denied { uri: uri.clone(), detail },
        Some(
            ProblemType::PluginInternalError
            | ProblemType::PluginNotFound
            | ProblemType::InvalidRequestPath,
        ) => ClientError::Missing { uri: uri.clone(), detail },
        Some(
            ProblemType::AttestationError
            | ProblemType::TokenNotFound
            | ProblemType::TokenVerifierError,
        ) => ClientError::Refused { detail },
        _ => ClientError::Protocol { operation, what: "the refusal has an unexpected type" },
    }
}

fn is_busy(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()
}

/// No device besides the CPU gives evidence.
const NO_DEVICES: &str = "";

/// Largest challenge or token reply, bytes.
const MAX_HANDSHAKE_BYTES: usize = 64 << 10;

/// Largest sealed resource: base64 of the largest resource, and the envelope.
const MAX_SEALED_BYTES: usize = MAX_RESOURCE_BYTES / 3 * 4 + (8 << 10);

/// Longest session id, bytes.
const MAX_COOKIE_BYTES: usize = 128;

#[cfg(test)]
mod tests {
    use casemate_kbs_protocol::BootId;

    use super::*;

    #[test]
    fn reads_the_session_cookie_and_nothing_else() {
        let id = "0123456789abcdef0123456789abcdef";
        assert_eq!(
            session_id(&format!("kbs-session-id={id}; Expires=Thu, 01 Jan 2026 00:00:00 GMT")),
            Some(id.to_owned())
        );
        assert_eq!(session_id(&format!("other={id}")), None);
        assert_eq!(session_id("kbs-session-id="), None);
        assert_eq!(session_id("kbs-session-id=a b"), None);
        assert_eq!(session_id("kbs-session-id"), None);
        assert_eq!(session_id(&format!("kbs-session-id={}", "a".repeat(129))), None);
    }

    #[test]
    fn a_head_goes_only_to_a_broker_that_takes_it() {
        struct Guest;
        const HEAD: AuditHead =
            AuditHead { boot: BootId::new([0; 16]), sequence: 1, hash: [2; 32] };
        impl EvidenceSource for Guest {
            async fn evidence(&self, _: [u8; 64]) -> Result<serde_json::Value, EvidenceError> {
                Ok(serde_json::Value::Null)
            }
            fn audit_head(&self) -> Option<AuditHead> {
                Some(HEAD)
            }
        }
        // Other brokers of the ecosystem compute `report_data` from the members that they know.
        let other = Challenge::new("A".into(), None);
        assert_eq!(audit_head(&other, &Guest), None);
        assert_eq!(audit_head(&other.with_audit_head(), &Guest), Some(HEAD));
    }

    fn reply(status: u16, kind: ProblemType) -> Reply {
        let problem = Problem::new(kind, "why\nnot".into());
        Reply {
            status: StatusCode::from_u16(status).unwrap(),
            cookies: Vec::new(),
            date: None,
            body: Zeroizing::new(serde_json::to_vec(&problem).unwrap()),
        }
    }

    #[test]
    fn the_type_in_the_body_tells_the_cause() {
        use casemate_agent_api::Code;
        let uri: ResourceUri = "kbs:///a/b/c".parse().unwrap();
        for (status, kind, code) in [
            (401, ProblemType::PolicyDeny, Code::ResourceDenied),
            (403, ProblemType::PolicyDeny, Code::ResourceDenied),
            (401, ProblemType::PluginInternalError, Code::ResourceMissing),
            (404, ProblemType::PluginNotFound, Code::ResourceMissing),
            (401, ProblemType::AttestationError, Code::AttestRefused),
            (401, ProblemType::TokenVerifierError, Code::AttestRefused),
            (429, ProblemType::PolicyDeny, Code::BrokerBusy),
            (503, ProblemType::PolicyDeny, Code::BrokerBusy),
            (401, ProblemType::RvpsError, Code::BrokerUnreachable),
        ] {
            let error = resource_failure(&uri, &reply(status, kind));
            assert_eq!(error.code(), code, "{status} {kind}");
        }
        assert!(is_stale(&reply(401, ProblemType::TokenNotFound)));
        assert!(is_stale(&reply(401, ProblemType::TokenVerifierError)));
        assert!(!is_stale(&reply(401, ProblemType::PolicyDeny)));
    }

    #[test]
    fn a_brokers_words_stay_on_one_short_line() {
        let error =
            handshake_failure(Operation::Attest, &reply(401, ProblemType::AttestationError));
        assert_eq!(error.to_string(), "the broker refused the evidence: why not");
        assert_eq!(printable(&"x".repeat(5000)).len(), 400);
    }
}
