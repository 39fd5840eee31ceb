// SPDX-License-Identifier: Apache-2.0
//! Certificates that did not come with a report: hosts often give none. They are fetched from AMD's
//! service, or from who stands for it, only where the owner says so.

use std::fs;
use std::io;
use std::path::Path;

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
use casemate_evidence::snp::CertificateKind;
use casemate_evidence::snp::Evidence;
use casemate_evidence::snp::Product;
use casemate_verifier::Root;
use casemate_verifier::RootKind;
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
/// A guest's claim of a chip is not proven before its certificate is there: anybody who can attest
/// can make the broker ask for chips. Few requests are under way at once, the service's wish to be
/// left alone is kept, and a certificate that is kept is not asked for again.
pub(crate) struct Collateral {
    transport: Https,
    endpoints: Endpoints,
    cache: Cache,
    permits: Semaphore,
}

/// `collateral.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// AMD's service, or who stands for it.
    kds: String,
    /// CAs of that service beside the public web's, PEM.
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
        let kds = Endpoint::new(&file.kds).map_err(CollateralError::Endpoint)?;
        Ok(Self {
            transport: Https::new(&file.ca).map_err(CollateralError::Https)?,
            endpoints: Endpoints { kds, ..Endpoints::default() },
            cache: Cache::open(cache).map_err(CollateralError::Cache)?,
            permits: Semaphore::new(MAX_FETCHES),
        })
    }

    /// Adds the certificates that a report needs, if none of its signer came along. When they
    /// cannot be had, the evidence stays as it is, for the verdict to refuse.
    pub(crate) async fn complete(&self, evidence: &mut Evidence, roots: &[Root], now: u64) {
        let is_leaf = |kind| matches!(kind, CertificateKind::Vcek | CertificateKind::Vlek);
        if evidence.certificates.iter().any(|entry| is_leaf(entry.kind)) {
            return;
        }
        let Ok(permit) = self.permits.acquire().await else { return };
        let client = match anchors(roots) {
            Ok(anchors) => Client::new(
                self.transport.clone(),
                self.endpoints.clone(),
                anchors,
                self.cache.clone(),
            ),
            Err(error) => {
                tracing::error!(%error, "the vendors' roots are not usable");
                return;
            }
        };
        let found = client.snp(&evidence.report, &evidence.certificates, None, now).await;
        drop(permit);
        match found {
            Ok(found) => {
                found.setbacks.iter().for_each(log);
                evidence.certificates = found.entries;
            }
            Err(error) => log(&error),
        }
    }
}

/// The vendors' roots; a simulated one that the owner configured stands for the product lines of
/// which no root of AMD's is.
fn anchors(roots: &[Root]) -> Result<Anchors, AnchorsError> {
    let of = |product| {
        let amd = roots.iter().find(|root| *root.kind() == RootKind::Amd(product));
        let simulated = || roots.iter().find(|r| matches!(r.kind(), RootKind::Simulated(_)));
        Some((product, amd.or_else(simulated)?.clone()))
    };
    let configured = Product::ALL.into_iter().filter_map(of);
    Ok(configured.fold(Anchors::vendors()?, |all, (product, root)| all.with_amd(product, root)))
}

fn log(error: &FetchError) {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    tracing::warn!(code = error.code(), %error, cause, "a certificate or list could not be had");
}

/// Most requests to the service at once.
const MAX_FETCHES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_asked_unless_the_owner_says_so() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Collateral::open(dir.path()).unwrap().is_none());
        fs::write(dir.path().join(COLLATERAL_FILE), "kds = \"https://kds.example\"\n").unwrap();
        assert!(Collateral::open(dir.path()).unwrap().is_some());
    }

    #[test]
    fn settings_that_cannot_be_meant_are_an_error() {
        let dir = tempfile::tempdir().unwrap();
        for bad in [
            "",
            "kds = 1",
            "kds = \"http://kds.example\"",
            "kds = \"https://kds.example\"\nkdss = \"x\"",
            "kds = \"https://kds.example\"\nca = \"-----BEGIN CERTIFICATE-----\"",
        ] {
            fs::write(dir.path().join(COLLATERAL_FILE), bad).unwrap();
            let opened = Collateral::open(dir.path());
            assert!(matches!(opened, Err(BrokerError::Collateral { .. })), "{bad}");
        }
    }
}
