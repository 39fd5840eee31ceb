// SPDX-License-Identifier: Apache-2.0
//! D17: the vendors' services are down, busy, or not the vendors'.

use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;

use anyhow::Context as _;
use anyhow::ensure;
use async_trait::async_trait;
use casemate_collateral::Anchors;
use casemate_collateral::Cache;
use casemate_collateral::Client;
use casemate_collateral::Endpoints;
use casemate_collateral::FetchError;
use casemate_collateral::REFRESH_AFTER;
use casemate_collateral::Request;
use casemate_collateral::Response;
use casemate_collateral::Transport;
use casemate_collateral::TransportError;
use casemate_evidence::snp::Evidence;
use casemate_evidence::snp::Product;
use casemate_evidence::snp::Report;
use casemate_tee_sim::mint::Minted;
use casemate_tee_sim::mint::Role;
use casemate_tee_sim::mint::snp::SnpFault;
use casemate_verifier as verifier;
use casemate_verifier::Root;

use super::mint;
use super::mint::AT;
use crate::Case;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Outcome;
use crate::Verdict;

pub(super) static D17: Case = Case {
    id: "D17",
    level: Level::P,
    attack: "certificate services that are down, busy, stale or lie",
    defence: Defence::Code(Guard {
        function: "casemate_collateral::check::check",
        sabotage: "Ok(None)",
    }),
    run: |_| Box::pin(lie()),
};

const DAY: u64 = 24 * 60 * 60;

/// Between the owner's machine and AMD: answers what it wants.
#[derive(Clone, Default)]
struct Proxy(Arc<Mutex<Answering>>);

#[derive(Default)]
struct Answering {
    minted: Option<Minted>,
    /// A status other than success, with its `Retry-After`.
    status: Option<(u16, Option<&'static str>)>,
    down: bool,
    asked: usize,
}

impl Proxy {
    fn set(&self, change: impl FnOnce(&mut Answering)) {
        change(&mut self.0.lock().unwrap());
    }

    fn asked(&self) -> usize {
        self.0.lock().unwrap().asked
    }

    fn client(&self, root: Root, folder: &Path) -> anyhow::Result<Client> {
        let anchors = Anchors::vendors()?.with_amd(Product::Genoa, root);
        Ok(Client::new(self.clone(), Endpoints::default(), anchors, Cache::open(folder)?))
    }
}

#[async_trait]
impl Transport for Proxy {
    async fn get(&self, request: &Request) -> Result<Response, TransportError> {
        let mut state = self.0.lock().unwrap();
        state.asked += 1;
        if state.down {
            return Err(TransportError::NoAnswer { source: "connection refused".into() });
        }
        if let Some((status, retry_after)) = state.status {
            let retry_after = retry_after.map(str::to_owned);
            return Ok(Response { status, retry_after, issuer_chain: None, body: Vec::new() });
        }
        let role = match request.url.as_str() {
            url if url.contains("/crl") => Role::Crl,
            url if url.contains("cert_chain") => Role::Chain,
            _ => Role::Vcek,
        };
        let body = state.minted.as_ref().and_then(|minted| minted.bytes(role));
        let (status, body) = body.map_or((404, Vec::new()), |body| (200, body.to_vec()));
        Ok(Response { status, retry_after: None, issuer_chain: None, body })
    }
}

/// The verdict on a report with what a client got for it, the list demanded.
fn judge(report: &Report, found: casemate_collateral::SnpCertificates) -> anyhow::Result<bool> {
    let minted = mint::snp(&[])?;
    let evidence = Evidence { report: report.clone(), certificates: found.entries };
    let demands = verifier::Requirements { require_crl: true, ..mint::snp_defaults(&minted)? };
    let (roots, expected) = ([mint::snp_root(&minted)?], mint::snp_expected(&minted)?);
    Ok(verifier::verify(&evidence, &roots, &expected, &demands, AT).accepted().is_some())
}

async fn lie() -> Verdict {
    let faults = mint::refuse_faults("D17")?;
    let good = mint::snp(&[])?;
    let report = mint::snp_evidence(&good)?.report;
    let root = || mint::snp_root(&good);

    // Nothing is kept yet and every answer is a lie: an error, and nothing is kept.
    let lies = [
        SnpFault::LeafForged,
        SnpFault::LeafExpired,
        SnpFault::LeafNotYetValid,
        SnpFault::HwidOther,
        SnpFault::TcbCertificateMicrocode,
        SnpFault::ProductCertificate,
        SnpFault::LeafTrailingByte,
    ];
    for lie in lies {
        let (proxy, folder) = (Proxy::default(), tempfile::tempdir()?);
        let minted = mint::snp(&[lie])?;
        proxy.set(|state| state.minted = Some(minted));
        let client = proxy.client(root()?, folder.path())?;
        let error = client.snp(&report, &[], None, AT).await.err();
        let error = error.with_context(|| format!("a lie is believed: {}", lie.fault().name))?;
        ensure!(matches!(error, FetchError::NotGenuine { .. }), "{}: {error}", lie.fault().name);
        proxy.set(|state| state.minted = Some(good.clone()));
        let client = proxy.client(root()?, folder.path())?;
        let found = client.snp(&report, &[], None, AT).await?;
        ensure!(judge(&report, found)?, "a lie was kept: {}", lie.fault().name);
    }
    for lie in [SnpFault::CrlForged, SnpFault::CrlExpired, SnpFault::CrlFromFuture] {
        let (proxy, folder) = (Proxy::default(), tempfile::tempdir()?);
        let minted = mint::snp(&[lie])?;
        proxy.set(|state| state.minted = Some(minted));
        let found = proxy.client(root()?, folder.path())?.snp(&report, &[], None, AT).await?;
        ensure!(!found.setbacks.is_empty(), "a list that lies is no setback");
        ensure!(!judge(&report, found)?, "accepted with a list that lies");
    }

    // Down: what is kept and valid goes on to count, and no longer than that.
    let (proxy, folder) = (Proxy::default(), tempfile::tempdir()?);
    proxy.set(|state| (state.minted, state.down) = (Some(good.clone()), true));
    let client = proxy.client(root()?, folder.path())?;
    let error = client.snp(&report, &[], None, AT).await.err().context("from nowhere")?;
    ensure!(error.code() == "collateral-unreachable", "{error}");
    proxy.set(|state| state.down = false);
    client.snp(&report, &[], None, AT).await?;
    proxy.set(|state| state.down = true);
    let later = AT + REFRESH_AFTER + 1;
    let found = client.snp(&report, &[], None, later).await?;
    ensure!(!found.setbacks.is_empty(), "a service that is down is not mentioned");
    ensure!(judge(&report, found)?, "what is kept and valid does not count");
    let found = client.snp(&report, &[], None, AT + 90 * DAY).await?;
    ensure!(found.entries.len() == 2, "a list past its date is used");

    // Busy: nobody asks again before the time that the service named.
    let (proxy, folder) = (Proxy::default(), tempfile::tempdir()?);
    proxy.set(|state| state.minted = Some(good.clone()));
    proxy.set(|state| state.status = Some((429, Some("120"))));
    for at in [AT, AT + 1, AT + 119] {
        let client = proxy.client(root()?, folder.path())?;
        let error = client.snp(&report, &[], None, at).await.err().context("from nowhere")?;
        ensure!(matches!(error, FetchError::Busy { .. }), "{error}");
    }
    ensure!(proxy.asked() == 1, "a busy service was asked {} times", proxy.asked());
    proxy.set(|state| state.status = None);
    let client = proxy.client(root()?, folder.path())?;
    ensure!(judge(&report, client.snp(&report, &[], None, AT + 120).await?)?);
    Ok(Outcome::pass(format!(
        "{} lies of a proxy and {faults} of Intel's collateral found out, none kept; what is valid \
         is used while a service is down or busy, and no longer",
        lies.len() + 3
    )))
}
