// SPDX-License-Identifier: Apache-2.0
//! The transport over HTTPS.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::HeaderMap;
use reqwest::header::HeaderName;
use reqwest::header::RETRY_AFTER;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::endpoint::header_name;
use crate::transport::MAX_HEADER_BYTES;
use crate::transport::Part;
use crate::transport::Request;
use crate::transport::Response;
use crate::transport::Transport;
use crate::transport::TransportError;

/// HTTPS with the public web's CAs, and further ones for services of one's own: no redirects, no
/// proxies of the environment.
///
/// # Security
///
/// TLS hides which chips are asked about. It adds no trust in the answers.
#[derive(Debug, Clone)]
pub struct Https(reqwest::Client);

impl Https {
    /// A transport; `cas` are certificates of further CAs, PEM, or empty.
    ///
    /// # Errors
    ///
    /// [`HttpsError`] when the certificates cannot be used or the client cannot be made.
    pub fn new(cas: &str) -> Result<Self, HttpsError> {
        let mut roots = RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        for ca in CertificateDer::pem_slice_iter(cas.as_bytes()) {
            let ca = ca.map_err(|_| HttpsError::Pem)?;
            roots.add(ca).map_err(|source| HttpsError::Ca { source })?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|source| HttpsError::Ca { source })?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // Plain http is for endpoints on loopback, which is where `Endpoint` allows it.
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .http1_only()
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .build()
            .map_err(|source| HttpsError::Client { source })?;
        Ok(Self(client))
    }
}

/// The transport cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpsError {
    /// Not PEM of certificates.
    #[error("the certificates of further CAs are malformed PEM")]
    Pem,
    /// A certificate cannot be a CA's.
    #[error("a certificate of a further CA cannot be used")]
    Ca {
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The HTTP client cannot be made.
    #[error("failed to set up the HTTPS client")]
    Client {
        /// Why.
        #[source]
        source: reqwest::Error,
    },
}

#[async_trait]
impl Transport for Https {
    async fn get(&self, request: &Request) -> Result<Response, TransportError> {
        // The URL is in every message already.
        let failed = |source: reqwest::Error| TransportError::NoAnswer {
            source: Box::new(source.without_url()),
        };
        let mut response = self.0.get(&request.url).send().await.map_err(failed)?;
        let status = response.status().as_u16();
        let retry_after = header(response.headers(), Some(RETRY_AFTER))?;
        let wanted = request.issuer_chain.and_then(header_name);
        let issuer_chain = header(response.headers(), wanted)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if chunk.len() > request.max_bytes.saturating_sub(body.len()) {
                return Err(TransportError::TooLarge { part: Part::Body, cap: request.max_bytes });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Response { status, retry_after, issuer_chain, body })
    }
}

/// A header's text, if it is there and is text.
fn header(headers: &HeaderMap, name: Option<HeaderName>) -> Result<Option<String>, TransportError> {
    let Some(value) = name.and_then(|name| headers.get(name)) else { return Ok(None) };
    if value.len() > MAX_HEADER_BYTES {
        return Err(TransportError::TooLarge { part: Part::Header, cap: MAX_HEADER_BYTES });
    }
    Ok(value.to_str().ok().map(str::to_owned))
}

const USER_AGENT: &str = concat!("casemate/", env!("CARGO_PKG_VERSION"));

/// A service that does not answer the TCP or TLS handshake in this time is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// For an answer as a whole; the largest has a megabyte.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
