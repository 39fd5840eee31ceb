// SPDX-License-Identifier: Apache-2.0
//! Which broker to talk to, and the one CA that vouches for it.

use std::sync::Arc;

use casemate_agent_api::Code;
use reqwest::Url;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::http::Http;

/// A broker: an https URL and a CA.
#[derive(Clone)]
pub struct Endpoint {
    base: Url,
    http: Http,
}

impl Endpoint {
    /// Reads the broker's settings as the initdata holds them.
    ///
    /// # Errors
    ///
    /// [`EndpointError`] when the URL is not `https://host[:port]` or the PEM does not hold exactly
    /// one certificate.
    ///
    /// # Security
    ///
    /// `ca_pem` is the only root: the broker's certificate chains to it or the connection fails.
    pub fn new(url: &str, ca_pem: &str) -> Result<Self, EndpointError> {
        let base = parse_url(url)?;
        let tls = pinned(parse_ca(ca_pem)?)?;
        let http = Http::new(tls).map_err(|source| EndpointError::Client { source })?;
        Ok(Self { base, http })
    }

    /// The broker's URL, for messages.
    #[must_use]
    pub fn url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    pub(crate) fn http(&self) -> &Http {
        &self.http
    }

    /// URL of an endpoint; `path` begins with a slash and is clean.
    pub(crate) fn join(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(path);
        url
    }
}

/// The broker's settings are not usable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// Not a URL.
    #[error("the broker's URL is malformed")]
    Url,
    /// Another scheme than https.
    #[error("the broker's URL is not https")]
    NotHttps,
    /// The URL has a path, a query, a fragment or user information.
    #[error("the broker's URL has more than https://host[:port]")]
    UrlParts,
    /// The PEM text is malformed, empty or holds several certificates.
    #[error("the broker's CA is not exactly one certificate in PEM")]
    Ca,
    /// The certificate cannot be a root.
    #[error("the broker's CA cannot be used as a root")]
    CaUnusable {
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The HTTP client could not be made.
    #[error("failed to set up the HTTPS client")]
    Client {
        /// Why.
        #[source]
        source: reqwest::Error,
    },
}

impl EndpointError {
    /// The stable code: the initdata is wrong.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Client { .. } => Code::Internal,
            _ => Code::InitdataInvalid,
        }
    }
}

fn parse_url(url: &str) -> Result<Url, EndpointError> {
    let base = Url::parse(url).map_err(|_| EndpointError::Url)?;
    if base.scheme() != "https" {
        return Err(EndpointError::NotHttps);
    }
    if base.host_str().is_none_or(str::is_empty) {
        return Err(EndpointError::Url);
    }
    let bare = matches!(base.path(), "" | "/")
        && base.query().is_none()
        && base.fragment().is_none()
        && base.username().is_empty()
        && base.password().is_none();
    if bare { Ok(base) } else { Err(EndpointError::UrlParts) }
}

/// C12, D12, E15: whoever answers must have a certificate of this one CA, wherever names lead.
fn pinned(ca: CertificateDer<'static>) -> Result<rustls::ClientConfig, EndpointError> {
    let unusable = |source| EndpointError::CaUnusable { source };
    let mut roots = RootCertStore::empty();
    roots.add(ca).map_err(unusable)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(tls)
}

fn parse_ca(pem: &str) -> Result<CertificateDer<'static>, EndpointError> {
    let mut certificates = CertificateDer::pem_slice_iter(pem.as_bytes());
    let (Some(Ok(ca)), None) = (certificates.next(), certificates.next()) else {
        return Err(EndpointError::Ca);
    };
    Ok(ca)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ca() -> String {
        rcgen::generate_simple_self_signed(vec!["ca.example".to_owned()]).unwrap().cert.pem()
    }

    #[test]
    fn accepts_https_with_one_ca() {
        for (url, shown) in [
            ("https://broker.example", "https://broker.example"),
            ("https://broker.example/", "https://broker.example"),
            ("https://127.0.0.1:8443", "https://127.0.0.1:8443"),
        ] {
            let endpoint = Endpoint::new(url, &ca()).unwrap();
            assert_eq!(endpoint.url(), shown);
        }
        let endpoint = Endpoint::new("https://b.example:1", &ca()).unwrap();
        assert_eq!(endpoint.join("/kbs/v0/auth").as_str(), "https://b.example:1/kbs/v0/auth");
    }

    #[test]
    fn refuses_each_wrong_url() {
        let refuse = |url: &str| Endpoint::new(url, &ca()).err().unwrap();
        assert!(matches!(refuse("http://broker.example"), EndpointError::NotHttps));
        assert!(matches!(refuse("file:///etc"), EndpointError::NotHttps));
        assert!(matches!(refuse("broker.example"), EndpointError::Url));
        assert!(matches!(refuse("https://"), EndpointError::Url));
        assert!(matches!(refuse("https://b.example/kbs"), EndpointError::UrlParts));
        assert!(matches!(refuse("https://b.example/?x"), EndpointError::UrlParts));
        assert!(matches!(refuse("https://u:p@b.example"), EndpointError::UrlParts));
    }

    #[test]
    fn refuses_no_ca_two_cas_and_rubbish() {
        let refuse = |pem: &str| Endpoint::new("https://b.example", pem).err().unwrap();
        assert!(matches!(refuse(""), EndpointError::Ca));
        assert!(matches!(refuse(&format!("{}{}", ca(), ca())), EndpointError::Ca));
        let rubbish = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(refuse(rubbish), EndpointError::CaUnusable { .. }));
    }
}
