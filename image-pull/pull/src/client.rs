// SPDX-License-Identifier: Apache-2.0
//! Requests to registries (OCI distribution specification 1.1).

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use reqwest::Response;
use reqwest::StatusCode;
use reqwest::Url;
use reqwest::header::ACCEPT;
use reqwest::header::AUTHORIZATION;
use reqwest::header::CONTENT_TYPE;
use reqwest::header::HeaderMap;
use reqwest::header::HeaderValue;
use reqwest::header::LOCATION;
use reqwest::header::WWW_AUTHENTICATE;
use zeroize::Zeroizing;

use crate::error::PullError;
use crate::error::SetupError;
use crate::login::Login;
use crate::puller::Settings;
use crate::reference::Reference;
use crate::reference::registry_host;
use crate::tls::Origin;
use crate::tls::Trust;
use crate::tls::https_url;
use crate::tls::is_untrusted;
use crate::token::Challenge;
use crate::token::parse_token;

/// Name and password for one registry.
pub struct Credentials {
    /// `host[:port]` as in image names.
    pub registry: String,
    /// User name.
    pub user: String,
    /// Password or access token.
    pub password: Zeroizing<String>,
    /// The host of the token service that may have the password too, if it is not the registry's
    /// own, for example `auth.docker.io`.
    pub token_host: Option<String>,
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Connecting, with TLS.
    pub connect: Duration,
    /// Silence while a response is awaited or read.
    pub idle: Duration,
    /// A manifest, configuration or token as a whole, with all attempts.
    pub document: Duration,
    /// A layer as a whole, with all attempts.
    pub layer: Duration,
    /// Pause before the first new attempt; it doubles each time.
    pub retry: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            idle: Duration::from_secs(30),
            document: Duration::from_secs(120),
            layer: Duration::from_secs(60 * 60),
            retry: Duration::from_millis(500),
        }
    }
}

/// Speaks to registries.
pub(crate) struct Client {
    trust: Trust,
    timeouts: Timeouts,
    credentials: Vec<(Origin, Credentials)>,
    /// Credentials that came later, by registry and repository.
    logins: Mutex<BTreeMap<(Origin, String), Arc<Credentials>>>,
    /// Tokens by registry and repository.
    tokens: Mutex<BTreeMap<(Origin, String), Zeroizing<String>>>,
}

/// A small response with its media type.
pub(crate) struct Document {
    pub(crate) bytes: Bytes,
    pub(crate) media_type: Option<String>,
}

/// What is asked of a repository.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) reference: &'a Reference,
    /// What follows the repository in the path: `manifests/<x>` or `blobs/<digest>`.
    pub(crate) path: &'a str,
    pub(crate) accept: Option<&'a str>,
    /// The first byte wanted.
    pub(crate) start: u64,
}

impl Client {
    pub(crate) fn new(settings: Settings) -> Result<Self, SetupError> {
        let Settings { registries, credentials, timeouts, resolver, .. } = settings;
        let mut by_origin = Vec::new();
        for entry in credentials {
            let origin = Origin::of_registry(&entry.registry)
                .ok_or_else(|| SetupError::Registry { host: entry.registry.clone() })?;
            by_origin.push((origin, entry));
        }
        Ok(Self {
            trust: Trust::new(&registries, &timeouts, resolver.as_ref())?,
            timeouts,
            credentials: by_origin,
            logins: Mutex::default(),
            tokens: Mutex::default(),
        })
    }

    pub(crate) fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// Where a reference's registry is, `host[:port]`.
    pub(crate) fn host(&self, reference: &Reference) -> String {
        let name = reference.registry();
        self.trust.location(name).map_or_else(|| name.to_owned(), |origin| origin.to_string())
    }

    /// Where a reference's registry is and what it has there.
    fn key(&self, reference: &Reference) -> Option<(Origin, String)> {
        let origin = self.trust.location(reference.registry())?;
        Some((origin, reference.repository().to_owned()))
    }

    /// Whether a reference's registry is at `host`.
    pub(crate) fn is_at(&self, reference: &Reference, host: &str) -> bool {
        let meant = Origin::of_registry(registry_host(host));
        meant.is_some() && meant == self.key(reference).map(|(origin, _)| origin)
    }

    /// Uses a login for this repository at its registry from now on, and nowhere else (C11).
    pub(crate) fn log_in(&self, reference: &Reference, login: Login, token_host: Option<String>) {
        let Some(key) = self.key(reference) else { return };
        let Login { user, password } = login;
        let registry = key.0.to_string();
        let credentials = Credentials { registry, user, password, token_host };
        let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        logins.insert(key, Arc::new(credentials));
    }

    /// Fetches a document of at most `max` bytes.
    pub(crate) async fn document(
        &self,
        request: Request<'_>,
        what: &'static str,
        max: usize,
    ) -> Result<Document, PullError> {
        let host = self.host(request.reference);
        let attempts = async {
            let mut pause = self.timeouts.retry;
            for _ in 1..MAX_ATTEMPTS {
                match self.document_once(request, what, max).await {
                    Err(error) if error.is_transient() => tokio::time::sleep(pause).await,
                    result => return result,
                }
                pause = pause.saturating_mul(2);
            }
            self.document_once(request, what, max).await
        };
        within(self.timeouts.document, &host, attempts).await?
    }

    async fn document_once(
        &self,
        request: Request<'_>,
        what: &'static str,
        max: usize,
    ) -> Result<Document, PullError> {
        let host = self.host(request.reference);
        let response = self.get(request).await?;
        let media_type = response.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
        // Parameters are not part of the type.
        let media_type =
            media_type.map(|t| t.split(';').next().unwrap_or_default().trim().to_owned());
        let bytes = self.read_whole(response, &host, what, max).await?;
        Ok(Document { bytes, media_type })
    }

    /// Sends a request, meets a demand for authentication, and follows redirects without it.
    pub(crate) async fn get(&self, request: Request<'_>) -> Result<Response, PullError> {
        let reference = request.reference;
        let host = self.host(reference);
        let bad = || PullError::Redirect { host: host.clone(), reason: "its URL is malformed" };
        let url = format!("https://{host}/v2/{}/{}", reference.repository(), request.path);
        let url = Url::parse(&url).map_err(|_| bad())?;
        let origin = Origin::of(&url).ok_or_else(bad)?;
        let mut headers = HeaderMap::new();
        if let Some(accept) = request.accept.and_then(|a| HeaderValue::from_str(a).ok()) {
            headers.insert(ACCEPT, accept);
        }
        if request.start > 0 {
            let range = HeaderValue::from_str(&format!("bytes={}-", request.start));
            headers.insert(reqwest::header::RANGE, range.map_err(|_| bad())?);
        }

        let key = (origin.clone(), reference.repository().to_owned());
        let mut authorization = self.token(&key).map(|t| bearer(&t)).transpose()?;
        let mut response = self.send(&origin, &url, &headers, authorization.as_ref()).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            authorization = Some(self.authorize(&key, &response).await?);
            response = self.send(&origin, &url, &headers, authorization.as_ref()).await?;
        }
        let mut from = (url, origin);
        for _ in 0..MAX_REDIRECTS {
            if !is_redirect(response.status()) {
                return accept(response, &from.1, request.path);
            }
            let location = response.headers().get(LOCATION).and_then(|v| v.to_str().ok());
            let next = location.and_then(|l| from.0.join(l).ok()).ok_or_else(|| {
                PullError::Redirect { host: from.1.to_string(), reason: "it names no place" }
            })?;
            // C11: https only, and no credentials along the way.
            let (next, to) = https_url(next, &from.1)?;
            response = self.send(&to, &next, &headers, None).await?;
            from = (next, to);
        }
        Err(PullError::Redirect { host: from.1.to_string(), reason: "there are too many" })
    }

    /// What to send after a refusal: a new token, or name and password.
    async fn authorize(
        &self,
        key: &(Origin, String),
        refusal: &Response,
    ) -> Result<HeaderValue, PullError> {
        let (origin, repository) = key;
        let host = || origin.to_string();
        let denied = || PullError::Denied { host: host(), status: 401 };
        let unusable = |reason| PullError::Challenge { host: host(), reason };
        let challenge = refusal
            .headers()
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .find_map(Challenge::parse)
            .ok_or_else(|| unusable("it names no known scheme"))?;
        let login = self.logins.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned();
        let given = || self.credentials.iter().find(|(o, _)| o == origin).map(|(_, c)| c);
        let credentials = login.as_deref().or_else(given);
        let (realm, service) = match challenge {
            Challenge::Basic => return basic(credentials.ok_or_else(denied)?),
            Challenge::Bearer { realm, service } => (realm, service),
        };
        let mut url = Url::parse(&realm).map_err(|_| unusable("its realm is no URL"))?;
        {
            // We ask for what we need, whatever the registry says that we want.
            let mut query = url.query_pairs_mut();
            query.append_pair("scope", &format!("repository:{repository}:pull"));
            if let Some(service) = &service {
                query.append_pair("service", service);
            }
        }
        let (url, to) = https_url(url, origin)?;
        let authorization = match credentials {
            None => None,
            // C11: the password goes to the registry's own host, or where its owner allows it.
            Some(c) if to == *origin || c.token_host.as_deref() == Some(to.host()) => {
                Some(basic(c)?)
            }
            Some(_) => return Err(unusable("its token service is at another host")),
        };
        let response = self.send(&to, &url, &HeaderMap::new(), authorization.as_ref()).await?;
        let response = match response.status() {
            status if is_redirect(status) => return Err(unusable("its token service redirects")),
            _ => accept(response, &to, "token")?,
        };
        let body = self.read_whole(response, &to.to_string(), "token", MAX_TOKEN).await?;
        let token = parse_token(&body).ok_or_else(|| unusable("its token is malformed"))?;
        let header = bearer(&token)?;
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), token);
        Ok(header)
    }

    fn token(&self, key: &(Origin, String)) -> Option<Zeroizing<String>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    async fn send(
        &self,
        origin: &Origin,
        url: &Url,
        headers: &HeaderMap,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, PullError> {
        let client = self.trust.client(origin);
        let mut request = client.get(url.clone()).headers(headers.clone());
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let host = origin.to_string();
        // Connecting has a limit of its own inside this one.
        let limit = self.timeouts.connect.saturating_add(self.timeouts.idle);
        within(limit, &host, request.send()).await?.map_err(|e| self.failed(&host, e))
    }

    /// The next piece of a response's body; `None` at its end.
    pub(crate) async fn chunk(
        &self,
        response: &mut Response,
        host: &str,
    ) -> Result<Option<Bytes>, PullError> {
        let chunk = within(self.timeouts.idle, host, response.chunk()).await?;
        chunk.map_err(|e| self.failed(host, e))
    }

    async fn read_whole(
        &self,
        mut response: Response,
        host: &str,
        what: &'static str,
        max: usize,
    ) -> Result<Bytes, PullError> {
        let max_bytes = u64::try_from(max).unwrap_or(u64::MAX);
        let large = || PullError::Large { host: host.to_owned(), what, max: max_bytes };
        if response.content_length().is_some_and(|l| l > max_bytes) {
            return Err(large());
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk(&mut response, host).await? {
            if chunk.len() > max.saturating_sub(bytes.len()) {
                return Err(large());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.into())
    }

    fn failed(&self, host: &str, source: reqwest::Error) -> PullError {
        let host = host.to_owned();
        // The URL may hold the signature of a redirect.
        let source = source.without_url();
        if is_untrusted(&source) {
            PullError::Untrusted { host, source }
        } else if source.is_timeout() {
            PullError::Slow { host, limit: self.timeouts.connect }
        } else {
            PullError::Unreachable { host, source }
        }
    }
}

/// Waits for `work` no longer than `limit`.
pub(crate) async fn within<T>(
    limit: Duration,
    host: &str,
    work: impl Future<Output = T>,
) -> Result<T, PullError> {
    let slow = |_| PullError::Slow { host: host.to_owned(), limit };
    tokio::time::timeout(limit, work).await.map_err(slow)
}

/// Sorts responses by status.
fn accept(response: Response, origin: &Origin, path: &str) -> Result<Response, PullError> {
    let host = origin.to_string();
    match response.status() {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            Err(PullError::Denied { host, status: status.as_u16() })
        }
        StatusCode::NOT_FOUND | StatusCode::GONE => {
            Err(PullError::Missing { host, what: path.to_owned() })
        }
        status => Err(PullError::Status { host, status: status.as_u16() }),
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn bearer(token: &str) -> Result<HeaderValue, PullError> {
    secret_header(&Zeroizing::new(format!("Bearer {token}")))
}

fn basic(credentials: &Credentials) -> Result<HeaderValue, PullError> {
    let pair = Zeroizing::new(format!("{}:{}", credentials.user, credentials.password.as_str()));
    let encoded = Zeroizing::new(BASE64.encode(pair.as_bytes()));
    secret_header(&Zeroizing::new(format!("Basic {}", encoded.as_str())))
}

/// A header that is not shown in logs.
fn secret_header(text: &str) -> Result<HeaderValue, PullError> {
    let mut header = HeaderValue::from_str(text).map_err(|_| PullError::Challenge {
        host: "registry".to_owned(),
        reason: "the credentials are no header value",
    })?;
    header.set_sensitive(true);
    Ok(header)
}

/// Most attempts for one document, and for one layer without a byte of progress.
pub(crate) const MAX_ATTEMPTS: u32 = 4;
/// Most redirects of one request.
const MAX_REDIRECTS: usize = 5;
/// Largest response of a token service in bytes.
const MAX_TOKEN: usize = 64 << 10;
