// SPDX-License-Identifier: Apache-2.0
//! Where things are asked for, and how.

use casemate_evidence::snp::MAX_CERTIFICATE_BYTES;
use casemate_evidence::snp::MAX_CRL_BYTES as MAX_AMD_CRL_BYTES;
use casemate_evidence::tdx::MAX_CRL_BYTES as MAX_INTEL_CRL_BYTES;
use reqwest::Url;
use reqwest::header::HeaderName;

use crate::item::Item;
use crate::transport::Request;

/// The base of a service's URLs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(String);

impl Endpoint {
    /// Reads `https://host[:port][/path]`, or the same with http on a loopback address, where a
    /// cache runs beside its user.
    ///
    /// # Errors
    ///
    /// [`EndpointError`] for anything else.
    pub fn new(url: &str) -> Result<Self, EndpointError> {
        let parsed = Url::parse(url).map_err(|_| EndpointError::Url)?;
        match parsed.scheme() {
            "https" => {}
            "http" if is_loopback(&parsed) => {}
            _ => return Err(EndpointError::Scheme),
        }
        let bare = parsed.query().is_none()
            && parsed.fragment().is_none()
            && parsed.username().is_empty()
            && parsed.password().is_none();
        if parsed.host_str().is_none_or(str::is_empty) || !bare {
            return Err(EndpointError::Url);
        }
        Ok(Self(parsed.as_str().trim_end_matches('/').to_owned()))
    }

    /// The URL, without a slash at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn published(url: &str) -> Self {
        Self(url.to_owned())
    }
}

/// Text is no endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// Not a URL, or more than scheme, host, port and path.
    #[error("the endpoint is not https://host[:port][/path]")]
    Url,
    /// Neither https, nor http on a loopback address. A name is none: who resolves it is not known.
    #[error(
        "the endpoint is not https; http is for a cache on this machine alone, by its loopback \
         address: http://127.0.0.1:8081 or http://[::1]:8081, and no name such as localhost"
    )]
    Scheme,
}

/// All services. None of them is trusted; the vendors' own are the default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// AMD's key distribution service (57230, chapter 4).
    pub kds: Endpoint,
    /// Intel's collateral.
    pub intel: IntelService,
}

/// Who gives Intel's collateral.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IntelService {
    /// Intel's provisioning certification service, API version 4.
    Pcs {
        /// Documents and PCK lists.
        api: Endpoint,
        /// The root's list.
        certificates: Endpoint,
    },
    /// A caching service of a data centre (PCCS), which has the same paths.
    Pccs(Endpoint),
}

impl Default for Endpoints {
    fn default() -> Self {
        Self {
            kds: Endpoint::published("https://kdsintf.amd.com"),
            intel: IntelService::Pcs {
                api: Endpoint::published("https://api.trustedservices.intel.com"),
                certificates: Endpoint::published("https://certificates.trustedservices.intel.com"),
            },
        }
    }
}

impl Endpoints {
    /// Whom to ask for an item, and what.
    pub(crate) fn request(&self, item: &Item) -> (&Endpoint, Request) {
        let endpoint = self.of(item);
        let request = Request {
            url: format!("{}{}", endpoint.as_str(), self.path(item)),
            issuer_chain: issuer_chain(item),
            max_bytes: max_bytes(item),
        };
        (endpoint, request)
    }

    fn of(&self, item: &Item) -> &Endpoint {
        match (item, &self.intel) {
            (Item::Vcek { .. } | Item::AmdChain { .. } | Item::AmdCrl { .. }, _) => &self.kds,
            (Item::IntelRootCrl, IntelService::Pcs { certificates, .. }) => certificates,
            (_, IntelService::Pcs { api, .. }) => api,
            (_, IntelService::Pccs(pccs)) => pccs,
        }
    }

    fn path(&self, item: &Item) -> String {
        match item {
            Item::Vcek { product, chip, tcb } => {
                let fmc = tcb.fmc.map(|fmc| format!("fmcSPL={fmc:02}&")).unwrap_or_default();
                format!(
                    "/vcek/v1/{product}/{}?{fmc}blSPL={:02}&teeSPL={:02}&snpSPL={:02}&ucodeSPL={:02}",
                    hex::encode(chip.as_bytes()),
                    tcb.bootloader,
                    tcb.tee,
                    tcb.snp,
                    tcb.microcode
                )
            }
            Item::AmdChain { product, signs } => {
                format!("/{}/v1/{product}/cert_chain", signs.name())
            }
            Item::AmdCrl { product, signs } => format!("/{}/v1/{product}/crl", signs.name()),
            Item::TcbInfo { fmspc, update } => format!(
                "/tdx/certification/v4/tcb?fmspc={}&update={}",
                hex::encode(fmspc),
                update.name()
            ),
            Item::QeIdentity { update } => {
                format!("/tdx/certification/v4/qe/identity?update={}", update.name())
            }
            Item::PckCrl { ca } => {
                format!("/sgx/certification/v4/pckcrl?ca={}&encoding=der", ca.name())
            }
            Item::IntelRootCrl => match self.intel {
                IntelService::Pcs { .. } => "/IntelSGXRootCA.der".to_owned(),
                IntelService::Pccs(_) => "/sgx/certification/v4/rootcacrl".to_owned(),
            },
        }
    }
}

fn issuer_chain(item: &Item) -> Option<&'static str> {
    match item {
        Item::TcbInfo { .. } => Some("TCB-Info-Issuer-Chain"),
        Item::QeIdentity { .. } => Some("SGX-Enclave-Identity-Issuer-Chain"),
        Item::PckCrl { .. } => Some("SGX-PCK-CRL-Issuer-Chain"),
        _ => None,
    }
}

/// A name of ours, which is always well-formed, as the HTTP client wants it.
pub(crate) fn header_name(name: &'static str) -> Option<HeaderName> {
    HeaderName::from_bytes(name.as_bytes()).ok()
}

/// Caps of answers, bytes. Lists may come as hexadecimal digits.
pub(crate) fn max_bytes(item: &Item) -> usize {
    match item {
        Item::Vcek { .. } => MAX_CERTIFICATE_BYTES,
        Item::AmdChain { .. } => MAX_AMD_CHAIN_BYTES,
        Item::AmdCrl { .. } => MAX_AMD_CRL_BYTES.saturating_mul(2),
        Item::TcbInfo { .. } | Item::QeIdentity { .. } => MAX_DOCUMENT_BYTES,
        Item::PckCrl { .. } | Item::IntelRootCrl => MAX_INTEL_CRL_BYTES.saturating_mul(2),
    }
}

/// Two certificates with RSA-4096 keys have about 4,700 bytes of PEM.
const MAX_AMD_CHAIN_BYTES: usize = 32 << 10;
/// Intel's documents have up to some ten thousand bytes.
const MAX_DOCUMENT_BYTES: usize = 1 << 20;

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(endpoints: &Endpoints, name: &str) -> String {
        endpoints.request(&name.parse().unwrap()).1.url
    }

    #[test]
    fn vendors_are_asked_as_they_specify() {
        let vendors = Endpoints::default();
        let chip = "ab".repeat(64);
        for (name, asked) in [
            (
                format!("vcek-genoa-{chip}-10.0.25.84"),
                format!(
                    "https://kdsintf.amd.com/vcek/v1/Genoa/{chip}?blSPL=10&teeSPL=00&snpSPL=25&ucodeSPL=84"
                ),
            ),
            (
                "vcek-turin-abababababababab-1.2.3.4.175".to_owned(),
                "https://kdsintf.amd.com/vcek/v1/Turin/abababababababab?fmcSPL=01&blSPL=02&teeSPL=03&snpSPL=04&ucodeSPL=175".to_owned(),
            ),
        ] {
            assert_eq!(url(&vendors, &name), asked);
        }
        for (name, asked) in [
            ("amd-chain-milan-vlek", "https://kdsintf.amd.com/vlek/v1/Milan/cert_chain"),
            ("amd-crl-genoa-vcek", "https://kdsintf.amd.com/vcek/v1/Genoa/crl"),
            (
                "tcb-info-90c06f000000-early",
                "https://api.trustedservices.intel.com/tdx/certification/v4/tcb?fmspc=90c06f000000&update=early",
            ),
            (
                "qe-identity-standard",
                "https://api.trustedservices.intel.com/tdx/certification/v4/qe/identity?update=standard",
            ),
            (
                "pck-crl-platform",
                "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca=platform&encoding=der",
            ),
            ("intel-root-crl", "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"),
        ] {
            assert_eq!(url(&vendors, name), asked);
        }
    }

    #[test]
    fn a_data_centres_service_has_the_same_paths_and_the_roots_list() {
        let pccs = Endpoint::new("https://pccs.example:8081/").unwrap();
        let endpoints = Endpoints { intel: IntelService::Pccs(pccs), ..Endpoints::default() };
        let pck = "https://pccs.example:8081/sgx/certification/v4/pckcrl?ca=processor&encoding=der";
        assert_eq!(url(&endpoints, "pck-crl-processor"), pck);
        let root = "https://pccs.example:8081/sgx/certification/v4/rootcacrl";
        assert_eq!(url(&endpoints, "intel-root-crl"), root);
    }

    #[test]
    fn endpoints_are_https_or_on_loopback() {
        let read = |url: &str| Endpoint::new(url).map(|endpoint| endpoint.as_str().to_owned());
        for (url, base) in [
            ("https://Host.example/", "https://host.example"),
            ("https://host.example:8081/cache/", "https://host.example:8081/cache"),
            ("http://127.0.0.1:8081", "http://127.0.0.1:8081"),
            ("http://[::1]:8081", "http://[::1]:8081"),
        ] {
            assert_eq!(read(url).as_deref(), Ok(base));
        }
        for url in ["http://host.example", "http://10.0.0.1", "http://localhost", "ftp://127.0.0.1"]
        {
            assert_eq!(read(url), Err(EndpointError::Scheme), "{url}");
        }
        for url in
            ["", "host", "https://", "https://u@h", "https://u:p@h", "https://h/?q", "https://h/#f"]
        {
            assert_eq!(read(url), Err(EndpointError::Url), "{url}");
        }
    }
}
