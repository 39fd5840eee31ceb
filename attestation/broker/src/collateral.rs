// SPDX-License-Identifier: Apache-2.0
//! What does not come with evidence: certificates of AMD's, which hosts often do not give, and
//! Intel's collateral, which no quote holds. They are fetched from the vendors' services, or from who
//! stands for them, only where the owner says so.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use casemate_collateral::Anchors;
use casemate_collateral::AnchorsError;
use casemate_collateral::Cache;
use casemate_collateral::CacheError;
use casemate_collateral::Client;
use casemate_collateral::Endpoint;
use casemate_collateral::EndpointError;
use casemate_collateral::Endpoints;
use casemate_collateral::FetchError;
use casemate_collateral::Https;
use casemate_collateral::HttpsError;
use casemate_collateral::IntelService;
use casemate_collateral::Platform;
use casemate_collateral::Update;
use casemate_evidence::collateral::Collateral as IntelCollateral;
use casemate_evidence::snp::CertificateKind;
use casemate_evidence::snp::Evidence;
use casemate_evidence::snp::Product;
use casemate_evidence::snp::TableEntry;
use casemate_evidence::tdx::Certificate;
use casemate_evidence::tdx::Quote;
use casemate_verifier::Chain;
use casemate_verifier::Root;
use casemate_verifier::RootKind;
use casemate_verifier::tdx;
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::error::BrokerError;

/// Where to fetch from; without this file nobody is asked.
pub(crate) const COLLATERAL_FILE: &str = "collateral.toml";
/// What was fetched.
const CACHE_DIR: &str = "collateral";

/// Fetches what is missing.
///
/// # Security
///
/// Evidence comes through a host, which may keep back or exchange what is not signed with the
/// report. A guest's claim of a chip is not proven before its certificate is there: anybody who can
/// attest can make the broker ask for chips. Few requests are under way at once, the service's wish to be
/// left alone is kept, and a certificate that is kept is not asked for again. For a quote, which
/// holds its certificates, callers look at its signatures before they ask.
pub(crate) struct Collateral {
    transport: Https,
    kds: Option<Endpoint>,
    intel: Option<IntelService>,
    cache: Cache,
    permits: Semaphore,
}

/// `collateral.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// AMD's service, or who stands for it.
    kds: Option<String>,
    /// A caching service (PCCS) for Intel's collateral.
    pccs: Option<String>,
    /// Intel's own service in its place.
    #[serde(default)]
    pcs: bool,
    /// CAs of these services beside the public web's, PEM.
    #[serde(default)]
    ca: String,
}

/// The settings of `collateral.toml` are not usable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollateralError {
    /// Not the members that there are.
    #[error("the file is malformed")]
    Toml(#[source] toml::de::Error),
    /// `kds` is no endpoint.
    #[error("kds is not usable")]
    Endpoint(#[source] EndpointError),
    /// `pccs` is no endpoint.
    #[error("pccs is not usable")]
    Pccs(#[source] EndpointError),
    /// No service, or both of Intel's.
    #[error("give kds, or one of pccs and `pcs = true`, or both kinds")]
    Services,
    /// `ca` is not usable.
    #[error("ca is not usable")]
    Https(#[source] HttpsError),
    /// The folder of what was fetched is not usable.
    #[error("the folder of what was fetched is not usable")]
    Cache(#[source] CacheError),
}

impl Collateral {
    /// Reads the settings in `dir`; `None` when there are none.
    pub(crate) fn open(dir: &Path) -> Result<Option<Self>, BrokerError> {
        let path = dir.join(COLLATERAL_FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(BrokerError::file("read", path)(error)),
        };
        let opened = Self::from_settings(&text, &dir.join(CACHE_DIR));
        opened.map(Some).map_err(|source| BrokerError::Collateral { path, source })
    }

    fn from_settings(text: &str, cache: &Path) -> Result<Self, CollateralError> {
        let file: File = toml::from_str(text).map_err(CollateralError::Toml)?;
        let endpoint = |url: Option<String>| url.map(|url| Endpoint::new(&url)).transpose();
        let kds = endpoint(file.kds).map_err(CollateralError::Endpoint)?;
        let pccs = endpoint(file.pccs).map_err(CollateralError::Pccs)?;
        let intel = match (pccs, file.pcs) {
            (Some(_), true) => return Err(CollateralError::Services),
            (Some(pccs), false) => Some(IntelService::Pccs(pccs)),
            (None, true) => Some(Endpoints::default().intel),
            (None, false) => None,
        };
        if kds.is_none() && intel.is_none() {
            return Err(CollateralError::Services);
        }
        Ok(Self {
            transport: Https::new(&file.ca).map_err(CollateralError::Https)?,
            kds,
            intel,
            cache: Cache::open(cache).map_err(CollateralError::Cache)?,
            permits: Semaphore::new(MAX_FETCHES),
        })
    }

    /// Makes the certificates of evidence those that its report needs: what its host gave as far as
    /// it belongs to the report, else kept ones, else AMD's service's; and the root's revocation
    /// list, which a host may keep back or give an old one of, from cache or service first.
    ///
    /// When no certificate of the signer can be had, what the host gave stays, for the verdict to
    /// refuse. The error says that something is missing that may be there at the next attempt.
    pub(crate) async fn complete(
        &self,
        evidence: &mut Evidence,
        roots: &[Root],
        now: u64,
    ) -> Result<(), FetchError> {
        let Some(kds) = self.kds.clone() else { return Ok(()) };
        let Ok(permit) = self.permits.acquire().await else { return Ok(()) };
        let endpoints = Endpoints { kds, ..Endpoints::default() };
        let key = evidence.report.signing_key();
        let offered = Chain::find(&evidence.certificates, key, roots).ok();
        let product = offered.as_ref().and_then(Chain::product);
        let ends_in = |root: &&Root| {
            offered.as_ref().is_some_and(|chain| {
                let [ark, ..] = chain.certificates();
                root.kind() == chain.root() && root.certificates().iter().any(|c| c == ark.der())
            })
        };
        let anchors = anchors(roots, roots.iter().find(ends_in));
        let Some(client) = self.client(endpoints, anchors) else { return Ok(()) };
        let found = client.snp(&evidence.report, &evidence.certificates, product, now).await;
        drop(permit);
        let is_list = |entry: &TableEntry| entry.kind == CertificateKind::Crl;
        match found {
            Ok(found) => {
                found.setbacks.iter().for_each(log);
                evidence.certificates = found.entries;
                let has_list = evidence.certificates.iter().any(is_list);
                let missing = found.setbacks.into_iter().find(FetchError::is_transient);
                missing.filter(|_| !has_list).map_or(Ok(()), Err)
            }
            Err(error) => {
                log(&error);
                // D17: nobody compared them with the newest that was seen.
                evidence.certificates.retain(|entry| !is_list(entry));
                if error.is_transient() { Err(error) } else { Ok(()) }
            }
        }
    }

    /// Intel's collateral of the platform that a quote names, under the one of `roots` that its
    /// chain ends in. `None` when it cannot be had, for the verdict to refuse; an error when it may
    /// be there at the next attempt.
    pub(crate) async fn of_quote(
        &self,
        quote: &Quote,
        roots: &[tdx::Root],
        now: u64,
    ) -> Result<Option<IntelCollateral>, FetchError> {
        let Some((client, platform)) = self.intel_client(quote, roots) else { return Ok(None) };
        let Ok(permit) = self.permits.acquire().await else { return Ok(None) };
        let found = client.tdx(platform, Update::Early, now).await;
        drop(permit);
        match found {
            Ok(found) => {
                found.setbacks.iter().for_each(log);
                Ok(Some(found.collateral().clone()))
            }
            Err(error) => {
                log(&error);
                if error.is_transient() { Err(error) } else { Ok(None) }
            }
        }
    }

    fn intel_client(&self, quote: &Quote, roots: &[tdx::Root]) -> Option<(Client, Platform)> {
        let intel = self.intel.clone()?;
        let platform = Platform::of(quote).ok()?;
        let chain = Certificate::parse_chain(quote.pck_chain()).ok()?;
        let ends_in = |root: &&tdx::Root| {
            let certificate = root.certificate();
            chain.iter().any(|one| one.key() == certificate.key())
                || chain.iter().any(|one| one.issuer() == certificate.subject())
        };
        let root = roots.iter().find(ends_in)?.clone();
        let endpoints = Endpoints { intel, ..Endpoints::default() };
        let anchors = Anchors::vendors().map(|anchors| anchors.with_intel(root));
        Some((self.client(endpoints, anchors)?, platform))
    }

    fn client(
        &self,
        endpoints: Endpoints,
        anchors: Result<Anchors, AnchorsError>,
    ) -> Option<Client> {
        let unusable = |error| tracing::error!(%error, "the vendors' roots are not usable");
        let anchors = anchors.map_err(unusable).ok()?;
        let client = Client::new(self.transport.clone(), endpoints, anchors, self.cache.clone());
        Some(client.with_patience(PATIENCE))
    }
}

/// The vendors' roots; a simulated one that the owner configured stands for the product lines of
/// which no root of AMD's is. The root that evidence was found to end in stands for all of them.
fn anchors(roots: &[Root], found: Option<&Root>) -> Result<Anchors, AnchorsError> {
    let of = |product| {
        let amd = roots.iter().find(|root| *root.kind() == RootKind::Amd(product));
        let simulated = || roots.iter().find(|r| matches!(r.kind(), RootKind::Simulated(_)));
        Some((product, found.or(amd).or_else(simulated)?.clone()))
    };
    let configured = Product::ALL.into_iter().filter_map(of);
    Ok(configured.fold(Anchors::vendors()?, |all, (product, root)| all.with_amd(product, root)))
}

fn log(error: &FetchError) {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    tracing::warn!(code = error.code(), %error, cause, "a certificate or list could not be had");
}

/// How long a service's answer is waited for. Intel has two services, so that both together stay
/// below the time of a request.
const PATIENCE: Duration = Duration::from_secs(10);

/// Most requests to the service at once.
const MAX_FETCHES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_asked_unless_the_owner_says_so() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Collateral::open(dir.path()).unwrap().is_none());
        for (settings, kds, intel) in [
            ("kds = \"https://kds.example\"\n", true, false),
            ("pccs = \"https://pccs.example:8081\"\n", false, true),
            ("pcs = true\n", false, true),
            ("kds = \"https://kds.example\"\npcs = true\n", true, true),
        ] {
            fs::write(dir.path().join(COLLATERAL_FILE), settings).unwrap();
            let opened = Collateral::open(dir.path()).unwrap().unwrap();
            assert_eq!((opened.kds.is_some(), opened.intel.is_some()), (kds, intel), "{settings}");
        }
    }

    #[test]
    fn settings_that_cannot_be_meant_are_an_error() {
        let dir = tempfile::tempdir().unwrap();
        for bad in [
            "",
            "kds = 1",
            "kds = \"http://kds.example\"",
            "pccs = \"http://pccs.example\"",
            "pcs = false",
            "pcs = true\npccs = \"https://pccs.example\"",
            "pcs = \"https://pcs.example\"",
            "kds = \"https://kds.example\"\nkdss = \"x\"",
            "kds = \"https://kds.example\"\nca = \"-----BEGIN CERTIFICATE-----\"",
        ] {
            fs::write(dir.path().join(COLLATERAL_FILE), bad).unwrap();
            let opened = Collateral::open(dir.path());
            assert!(matches!(opened, Err(BrokerError::Collateral { .. })), "{bad}");
        }
    }
}
