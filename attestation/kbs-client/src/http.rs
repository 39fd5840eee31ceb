// SPDX-License-Identifier: Apache-2.0
//! One HTTPS exchange with deadlines and size caps.

use std::error::Error;
use std::io;
use std::time::Duration;
use std::time::SystemTime;

use reqwest::RequestBuilder;
use reqwest::Response;
use reqwest::StatusCode;
use reqwest::redirect;
use zeroize::Zeroizing;

use crate::error::ClientError;
use crate::error::Operation;

/// The HTTPS client: one pinned root, no redirects, no proxies.
#[derive(Clone)]
pub(crate) struct Http(reqwest::Client);

/// A reply, read whole.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) cookies: Vec<String>,
    /// When the broker says that it answered.
    pub(crate) date: Option<SystemTime>,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

impl Http {
    pub(crate) fn new(tls: rustls::ClientConfig) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(true)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .referer(false)
            // A static binary has no NSS; without this names would not resolve in the guest.
            .hickory_dns(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .build()?;
        Ok(Self(client))
    }

    pub(crate) fn client(&self) -> &reqwest::Client {
        &self.0
    }
}

/// Sends `request` and reads at most `cap` bytes of the reply's body.
pub(crate) async fn exchange(
    request: RequestBuilder,
    operation: Operation,
    cap: usize,
) -> Result<Reply, ClientError> {
    let response = request.send().await.map_err(|source| classify(source, operation))?;
    let status = response.status();
    let cookies = response
        .headers()
        .get_all(reqwest::header::SET_COOKIE)
        .iter()
        .take(MAX_COOKIES)
        .filter_map(|value| value.to_str().ok().map(str::to_owned))
        .collect();
    let date = response.headers().get(reqwest::header::DATE);
    let date = date.and_then(|value| httpdate::parse_http_date(value.to_str().ok()?).ok());
    let body = read_capped(response, operation, cap).await?;
    Ok(Reply { status, cookies, date, body })
}

async fn read_capped(
    mut response: Response,
    operation: Operation,
    cap: usize,
) -> Result<Zeroizing<Vec<u8>>, ClientError> {
    let mut body = Zeroizing::new(Vec::new());
    while let Some(chunk) = response.chunk().await.map_err(|source| classify(source, operation))? {
        if body.len().saturating_add(chunk.len()) > cap {
            return Err(ClientError::ReplyTooLarge { operation, cap });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Tells an untrusted broker from one that cannot be reached.
fn classify(error: reqwest::Error, operation: Operation) -> ClientError {
    // The URL is in every message already, and a path may name a resource.
    let error = error.without_url();
    if find_tls_refusal(&error) {
        ClientError::Untrusted { operation, source: error }
    } else {
        ClientError::Unreachable { operation, source: error }
    }
}

/// Whether the cause of `error` is that the broker's certificate, or its lack of one, was refused.
fn find_tls_refusal(error: &reqwest::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(current) = cause {
        if let Some(tls) = current.downcast_ref::<rustls::Error>() {
            return is_refusal(tls);
        }
        // An I/O error gives its content's cause as its own: the content itself must be asked for.
        cause = match current.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(content) => Some(content),
            None => current.source(),
        };
    }
    false
}

fn is_refusal(error: &rustls::Error) -> bool {
    matches!(
        error,
        rustls::Error::InvalidCertificate(_)
            | rustls::Error::NoCertificatesPresented
            | rustls::Error::InvalidMessage(_)
            | rustls::Error::PeerMisbehaved(_)
    )
}

/// A broker that does not answer the TCP or TLS handshake in this time is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Attestation may make the broker ask others for certificates; the ecosystem's clients wait 60 s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Most `Set-Cookie` headers that are looked at.
const MAX_COOKIES: usize = 8;
