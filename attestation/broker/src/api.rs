// SPDX-License-Identifier: Apache-2.0
//! The endpoints of the KBS protocol.

use std::net::IpAddr;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::extract::Request;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::http::header::COOKIE;
use axum::http::header::SET_COOKIE;
use axum::middleware::Next;
use axum::response::IntoResponse as _;
use axum::response::Response;
use axum::routing::get;
use axum::routing::post;
use casemate_kbs_protocol::PREFIX;
use casemate_kbs_protocol::ProblemType;
use casemate_kbs_protocol::SESSION_COOKIE;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::time::Instant;
use tokio::time::timeout_at;

use crate::appraiser::Appraiser;
use crate::audit::Audit;
use crate::clock::Clock;
use crate::collateral::Collateral;
use crate::error::BrokerError;
use crate::requirements;
use crate::session::SESSION_SECONDS;
use crate::session::Sessions;
use crate::setup;
use crate::store::Store;
use crate::token::Signer;

mod attest;
mod auth;
mod refusal;
mod resource;

use refusal::Refusal;

/// An open broker: its folder, its sessions and its keys.
pub struct Broker {
    dir: PathBuf,
    appraiser: Appraiser,
    store: Store,
    sessions: Mutex<Sessions>,
    signer: Signer,
    audit: Audit,
    collateral: Option<Collateral>,
    clock: Arc<dyn Clock>,
    request_time: Duration,
}

impl Broker {
    /// Opens the broker in `dir`.
    ///
    /// # Errors
    ///
    /// [`BrokerError`] when `dir` holds no broker or a file of it cannot be used.
    pub async fn open(dir: &Path, clock: Arc<dyn Clock>) -> Result<Self, BrokerError> {
        let store = Store::open(dir).await?;
        let token_key = zeroize::Zeroizing::new(setup::read(dir, setup::TOKEN_KEY_FILE)?);
        Ok(Self {
            dir: dir.to_owned(),
            appraiser: Appraiser::new(dir),
            store,
            sessions: Mutex::new(Sessions::default()),
            signer: Signer::new(&token_key)?,
            audit: Audit::open(&dir.join(setup::AUDIT_FILE))?,
            collateral: Collateral::open(dir)?,
            clock,
            request_time: REQUEST_TIMEOUT,
        })
    }

    /// Answers a request in this time or not at all, 30 s if nothing else is said.
    #[must_use]
    pub fn with_request_time(mut self, time: Duration) -> Self {
        self.request_time = time;
        self
    }

    /// Evaluates policies in Rego in children of `program`, the broker's own, for a process whose
    /// `main` does not call [`child_main`](crate::child_main).
    #[cfg(feature = "rego")]
    #[must_use]
    pub fn with_evaluator(mut self, program: PathBuf) -> Self {
        self.appraiser.set_program(program);
        self
    }

    /// Reads `rules.toml` as for a guest, and logs what it leaves open, so that its owner learns of
    /// a mistake before the first guest does.
    ///
    /// # Errors
    ///
    /// [`BrokerError`] when no guest could be judged by it.
    pub async fn check_rules(&self) -> Result<(), BrokerError> {
        let measurements = self.store.references().await?;
        let references = self.store.tdx_references().await?;
        for finding in requirements::check(&self.dir, measurements, &references)? {
            tracing::warn!("{}: {finding}", setup::RULES_FILE);
        }
        Ok(())
    }

    /// The database, for changes while the broker runs.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn tls_config(&self) -> Result<ServerConfig, BrokerError> {
        let pem = |name: &str| {
            let path = self.dir.join(name);
            move |source| BrokerError::Pem { path, source }
        };
        let certificates =
            CertificateDer::pem_slice_iter(&setup::read(&self.dir, setup::SERVER_FILE)?)
                .collect::<Result<Vec<_>, _>>()
                .map_err(pem(setup::SERVER_FILE))?;
        let key = zeroize::Zeroizing::new(setup::read(&self.dir, setup::SERVER_KEY_FILE)?);
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(pem(setup::SERVER_KEY_FILE))?;
        let unusable = |source| BrokerError::Tls { path: self.dir.clone(), source };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .map_err(unusable)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        // No method of `Sessions` leaves it half changed.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        self.clock.now()
    }
}

/// Who connected.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// The service for one connection.
pub(crate) fn router(broker: Arc<Broker>, peer: Peer) -> Router {
    Router::new()
        .route(&format!("{PREFIX}/auth"), post(auth::auth))
        .route(&format!("{PREFIX}/attest"), post(attest::attest))
        .route(&format!("{PREFIX}/resource/{{*path}}"), get(resource::resource))
        .route("/.well-known/jwks.json", get(keys))
        .route("/healthz", get(async || "ok"))
        .fallback(async || {
            Refusal::new(ProblemType::InvalidRequestPath, "there is no such endpoint")
                .into_response()
        })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&broker), deadline))
        .layer(axum::Extension(peer))
        .with_state(broker)
}

/// The key that signs tokens, for others who rely on them (RFC 7517, section 5).
async fn keys(State(broker): State<Arc<Broker>>) -> Response {
    ([(CONTENT_TYPE, "application/jwk-set+json")], broker.signer.jwks()).into_response()
}

/// When work must be over, so that there is time to record and answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(Instant);

async fn deadline(State(broker): State<Arc<Broker>>, mut request: Request, next: Next) -> Response {
    let (start, time) = (Instant::now(), broker.request_time);
    let margin = time.checked_div(TIME_TO_RECORD).unwrap_or_default();
    request.extensions_mut().insert(Deadline(start + time.saturating_sub(margin)));
    timeout_at(start + time, next.run(request))
        .await
        .unwrap_or_else(|_| Refusal::busy("the request took too long").into_response())
}

/// The session id in the request's cookies, if it has the form of one.
fn session_cookie(headers: &HeaderMap) -> Option<String> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(name, value)| (name == SESSION_COOKIE).then_some(value))
        .filter(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()))
        .map(str::to_owned)
}

/// Sets the session's cookie on a reply.
fn set_cookie(response: &mut Response, id: &str, now: u64) {
    let expires = Duration::from_secs(now.saturating_add(SESSION_SECONDS));
    let Some(expires) = std::time::UNIX_EPOCH.checked_add(expires) else { return };
    let expires = httpdate::fmt_http_date(expires);
    let cookie =
        format!("{SESSION_COOKIE}={id}; Expires={expires}; HttpOnly; Secure; SameSite=Strict");
    if let Ok(value) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(SET_COOKIE, value);
    }
}

/// A request, its body included, is answered in this time or not at all.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Which part of a request's time is kept for its audit entry.
const TIME_TO_RECORD: u32 = 15;

/// Largest body, bytes: evidence with certificates and initdata stay far below.
const MAX_BODY_BYTES: usize = 2 << 20;
