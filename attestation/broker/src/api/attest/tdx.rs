// SPDX-License-Identifier: Apache-2.0
//! Evidence of TDs.

use casemate_evidence::collateral::Collateral;
use casemate_evidence::tdx::Evidence;
use casemate_evidence::tdx::TdBody;
use casemate_kbs_protocol::mr_config_id;
use casemate_rego::tdx_input;
use casemate_verifier::Code;
use casemate_verifier::Measurement;
use casemate_verifier::Verdict;
use casemate_verifier::tdx::Expected;
use casemate_verifier::tdx::Requirements;
use casemate_verifier::tdx::Root;
use casemate_verifier::tdx::verify;
use serde_json::Map;
use serde_json::Value;

use super::Asked;
use super::Judged;
use super::refuse;
use crate::api::Broker;
use crate::api::refusal::Refusal;
use crate::audit::Entry;
use crate::error::BrokerError;
use crate::requirements;

pub(super) async fn judge(
    broker: &Broker,
    asked: &Asked<'_>,
    entry: &mut Entry,
) -> Result<Judged, Refusal> {
    let digest = asked.init_data.map(|init_data| mr_config_id(&init_data.body)).transpose();
    let digest = digest.map_err(|error| refuse(error.to_string()))?;
    let evidence =
        Evidence::from_json(asked.evidence).map_err(|error| refuse(error.to_string()))?;
    let body = evidence.quote.body();
    let id = body.mr_config_id();
    entry.measurement = Some(Measurement(*body.mr_td()));
    entry.host_data = Some(hex::encode(id));
    let (host_data, claims) = (grant(id, digest.is_some())?, claims(body));
    let (references, dir) = (broker.store.tdx_references().await?, broker.dir.clone());
    let rules = tokio::task::spawn_blocking(move || {
        requirements::tdx(&dir, &references).map(|rules| (rules, references))
    });
    let (rules, references) = rules.await.map_err(|_| BrokerError::Task)??;
    let requirements = rules.ok_or_else(|| refuse("the broker's rules accept no TDs"))?;
    let judge = Judge {
        evidence,
        roots: broker.store.roots().await?.tdx,
        expected: Expected { report_data: Some(asked.report_data), mr_config_id: digest },
        requirements,
        now: asked.now,
    };
    let (mut judge, (mut verdict, mut grace)) = judge.run(None).await?;
    // Anybody can send a large quote: one that no configured root vouches for is not kept.
    let is_kept = verdict.root().is_some();
    entry.quote = is_kept.then(|| hex::encode(judge.evidence.quote.as_bytes()));
    let mut missing = None;
    if let Some(source) = &broker.collateral
        && lacks_collateral_alone(&verdict)
    {
        match source.of_quote(&judge.evidence.quote, &judge.roots, asked.now).await {
            Ok(None) => {}
            Ok(collateral) => (judge, (verdict, grace)) = judge.run(collateral).await?,
            Err(error) => missing = Some(error),
        }
    }
    let (appraiser, runtime_data) = (broker.appraiser.clone(), asked.runtime_data.clone());
    let narrowed = tokio::task::spawn_blocking(move || {
        appraiser.narrow(verdict, &references, |verdict| {
            tdx_input(&judge.evidence.quote, verdict, &runtime_data, &Value::Null)
        })
    });
    let verdict = narrowed.await.map_err(|_| BrokerError::Task)??;
    Ok(Judged { verdict, host_data, claims, grace, missing })
}

/// All that a verdict is made of, but collateral.
struct Judge {
    evidence: Evidence,
    roots: Vec<Root>,
    expected: Expected,
    requirements: Requirements,
    now: u64,
}

impl Judge {
    /// Milliseconds of arithmetic: not on a thread that serves connections. Beside the verdict, when
    /// a grace is over that it needs.
    async fn run(
        self,
        collateral: Option<Collateral>,
    ) -> Result<(Self, (Verdict, Option<u64>)), BrokerError> {
        let found = tokio::task::spawn_blocking(move || {
            let Self { evidence, roots, expected, requirements, now } = &self;
            let (collateral, log) = (collateral.as_ref(), evidence.event_log.as_ref());
            let by = |demands: &Requirements| {
                verify(evidence, roots, collateral, log, expected, demands, *now)
            };
            let verdict = by(requirements);
            let until = requirements.grace.as_ref().map(|grace| grace.until);
            let counts = until.filter(|until| now <= until && verdict.accepted().is_some());
            let needed = counts.filter(|_| {
                by(&Requirements { grace: None, ..requirements.clone() }).accepted().is_none()
            });
            // The first second at which it counts no more.
            let grace = needed.map(|until| until.saturating_add(1));
            (self, (verdict, grace))
        });
        found.await.map_err(|_| BrokerError::Task)
    }
}

/// Whether all that is wrong is that there is no collateral: anybody can send a quote, and with it
/// could make the broker ask for any platform. One that is forged, or that the rules refuse whatever
/// its platform is, is not asked about.
fn lacks_collateral_alone(verdict: &Verdict) -> bool {
    verdict.root().is_some() && verdict.reasons().all(|line| line.code == Code::CollateralMissing)
}

/// The digest by which resources are granted, the first 32 bytes of MRCONFIGID: a SHA-256, or a
/// longer digest cut as for HOST_DATA.
fn grant(id: &[u8; 48], is_compared: bool) -> Result<[u8; 32], Refusal> {
    match id.split_first_chunk() {
        Some((digest, rest)) if is_compared || rest.iter().all(|byte| *byte == 0) => Ok(*digest),
        // What stands behind a SHA-256 would not be looked at.
        _ => Err(refuse("the initdata must come along when its digest is longer than 32 bytes")),
    }
}

fn claims(body: &TdBody) -> Map<String, Value> {
    let mut claims =
        Map::from_iter([("mr_config_id".to_owned(), hex::encode(body.mr_config_id()).into())]);
    for (index, rtmr) in body.rtmrs().iter().enumerate() {
        claims.insert(format!("rtmr_{index}"), hex::encode(rtmr).into());
    }
    claims
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_go_by_the_whole_digest() {
        let mut id = [0; 48];
        id.iter_mut().take(32).for_each(|byte| *byte = 7);
        assert_eq!(grant(&id, false).unwrap(), [7; 32]);
        id[40] = 1;
        assert!(grant(&id, false).is_err());
        assert_eq!(grant(&id, true).unwrap(), [7; 32]);
    }
}
