// SPDX-License-Identifier: Apache-2.0
//! Whom registries must be certified by.

use std::collections::BTreeMap;
use std::sync::Arc;

use casemate_policy::Registry;
use reqwest::Url;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::client::Timeouts;
use crate::error::PullError;
use crate::error::SetupError;
use crate::reference::registry_host;

/// A host and port that speak https.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Origin {
    host: String,
    port: u16,
}

impl Origin {
    /// The origin of an https URL.
    pub(crate) fn of(url: &Url) -> Option<Self> {
        let host = url.host_str()?.to_ascii_lowercase();
        (url.scheme() == "https").then_some(Self { host, port: url.port_or_known_default()? })
    }

    /// The origin of a registry in an image name.
    pub(crate) fn of_registry(host: &str) -> Option<Self> {
        let url = Url::parse(&format!("https://{host}/")).ok()?;
        let is_plain = url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && !has_user(&url);
        Self::of(&url).filter(|_| is_plain)
    }

    /// The host without its port.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.host)?;
        if self.port == HTTPS_PORT { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// Where registries are, and HTTP clients by whom they trust.
pub(crate) struct Trust {
    /// Where to connect, by registry.
    locations: BTreeMap<Origin, Origin>,
    /// Clients that trust one registry's CA, by location, with that CA.
    pinned: BTreeMap<Origin, (String, reqwest::Client)>,
    web: reqwest::Client,
}

impl Trust {
    /// # Security
    ///
    /// C12: where a registry has a CA of its own, the public web's are not trusted in its place.
    pub(crate) fn new(
        registries: &[Registry],
        timeouts: &Timeouts,
        resolver: Option<&Arc<dyn reqwest::dns::Resolve>>,
    ) -> Result<Self, SetupError> {
        let mut web = RootCertStore::empty();
        web.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        let web = client(web, timeouts, resolver)?;
        let mut found = Self { locations: BTreeMap::new(), pinned: BTreeMap::new(), web };
        for registry in registries {
            let bad_name = || SetupError::Registry { host: registry.host.clone() };
            let origin = Origin::of_registry(&registry.host).ok_or_else(bad_name)?;
            let location = registry.location.as_deref().unwrap_or(registry_host(&registry.host));
            let location = Origin::of_registry(location).ok_or_else(bad_name)?;
            if found.locations.insert(origin, location.clone()).is_some() {
                return Err(bad_name());
            }
            let pinned = (registry.ca.clone(), client(ca_store(registry)?, timeouts, resolver)?);
            // Several registries may have one mirror, but it has one CA.
            let other = found.pinned.insert(location, pinned);
            if other.is_some_and(|(ca, _)| ca != registry.ca) {
                return Err(bad_name());
            }
        }
        Ok(found)
    }

    /// Where the registry called `name` is.
    pub(crate) fn location(&self, name: &str) -> Option<Origin> {
        let known = Origin::of_registry(name).and_then(|o| self.locations.get(&o).cloned());
        known.or_else(|| Origin::of_registry(registry_host(name)))
    }

    /// The client for `origin`.
    pub(crate) fn client(&self, origin: &Origin) -> &reqwest::Client {
        self.pinned.get(origin).map_or(&self.web, |(_, client)| client)
    }
}

/// The URL that a redirect or a challenge names, if requests may go there (C11).
pub(crate) fn https_url(url: Url, from: &Origin) -> Result<(Url, Origin), PullError> {
    let refused = |reason| PullError::Redirect { host: from.to_string(), reason };
    if has_user(&url) {
        return Err(refused("its URL holds credentials"));
    }
    let origin = Origin::of(&url).ok_or_else(|| refused("it is not https"))?;
    Ok((url, origin))
}

/// Whether a failed request failed for the server's certificate.
pub(crate) fn is_untrusted(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<rustls::Error>() {
            return true;
        }
        // An I/O error hides the error that it was made of from the chain.
        let inside = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match inside {
            Some(inside) => Some(inside),
            None => error.source(),
        };
    }
    false
}

fn has_user(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

fn ca_store(registry: &Registry) -> Result<RootCertStore, SetupError> {
    let failed = |reason| SetupError::Ca { host: registry.host.clone(), reason };
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(registry.ca.as_bytes()) {
        let certificate = certificate.map_err(|_| failed("it is not PEM"))?;
        store.add(certificate).map_err(|_| failed("it holds no usable certificate"))?;
    }
    if store.is_empty() {
        return Err(failed("it holds no certificate"));
    }
    Ok(store)
}

fn client(
    roots: RootCertStore,
    timeouts: &Timeouts,
    resolver: Option<&Arc<dyn reqwest::dns::Resolve>>,
) -> Result<reqwest::Client, SetupError> {
    let tls =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|source| SetupError::Tls { source })?
            .with_root_certificates(roots)
            .with_no_client_auth();
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .https_only(true)
        // Redirects are followed by us, without credentials.
        .redirect(reqwest::redirect::Policy::none())
        // C12: no proxy from the environment.
        .no_proxy()
        .referer(false)
        .http1_only()
        .user_agent(USER_AGENT)
        .connect_timeout(timeouts.connect);
    if let Some(resolver) = resolver {
        builder = builder.dns_resolver(Arc::clone(resolver));
    }
    builder.build().map_err(|source| SetupError::Client { source })
}

const USER_AGENT: &str = concat!("casemate/", env!("CARGO_PKG_VERSION"));
const HTTPS_PORT: u16 = 443;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_compared_with_their_port() {
        let of = |text: &str| Origin::of(&Url::parse(text).unwrap());
        assert_eq!(of("https://Host.example/x"), Origin::of_registry("host.example"));
        assert_eq!(of("https://host.example:443"), Origin::of_registry("host.example"));
        assert_ne!(of("https://host.example:444"), Origin::of_registry("host.example"));
        assert_eq!(of("http://host.example"), None);
        for text in ["", "a/b", "user@host", "host?x", "host#x", "a b"] {
            assert_eq!(Origin::of_registry(text), None, "{text}");
        }
    }

    fn registry(host: &str, ca: &str) -> Registry {
        Registry { host: host.into(), location: None, ca: ca.into() }
    }

    fn ca() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        rcgen::CertificateParams::new(vec![]).unwrap().self_signed(&key).unwrap().pem()
    }

    fn trust(registries: &[Registry]) -> Result<Trust, SetupError> {
        Trust::new(registries, &Timeouts::default(), None)
    }

    #[test]
    fn a_registry_has_one_entry_and_a_ca() {
        let ca = ca();
        assert!(trust(&[registry("a.example", &ca), registry("a.example:5000", &ca)]).is_ok());
        let twice = [registry("a.example", &ca), registry("A.example:443", &ca)];
        assert!(matches!(trust(&twice), Err(SetupError::Registry { .. })));
        for bad in ["", "nonsense", &ca.replace("CERTIFICATE", "PRIVATE KEY")] {
            let found = trust(&[registry("a.example", bad)]);
            assert!(matches!(found, Err(SetupError::Ca { .. })), "{bad}");
        }
    }

    #[test]
    fn a_mirror_stands_for_its_registries() {
        let (one, other) = (ca(), ca());
        let mirror = |host: &str, ca: &str| Registry {
            location: Some("mirror.example:5000".into()),
            ..registry(host, ca)
        };
        let found = trust(&[mirror("docker.io", &one), mirror("a.example", &one)]).unwrap();
        for name in ["docker.io", "a.example"] {
            assert_eq!(found.location(name), Origin::of_registry("mirror.example:5000"));
        }
        assert_eq!(found.location("b.example"), Origin::of_registry("b.example"));
        let found = trust(&[registry("docker.io", &one)]).unwrap();
        let location = found.location("docker.io").unwrap();
        assert_eq!(location, Origin::of_registry("registry-1.docker.io").unwrap());
        assert!(found.pinned.contains_key(&location));
        let found = trust(&[mirror("docker.io", &one), mirror("a.example", &other)]);
        assert!(matches!(found, Err(SetupError::Registry { .. })));
    }
}
