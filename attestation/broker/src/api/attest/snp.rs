// SPDX-License-Identifier: Apache-2.0
//! Evidence of SNP guests.

use std::collections::BTreeSet;
use std::path::PathBuf;

use casemate_evidence::snp::CertificateKind;
use casemate_evidence::snp::Evidence;
use casemate_kbs_protocol::host_data;
use casemate_rego::snp_input;
use casemate_verifier::Expected;
use casemate_verifier::Measurement;
use casemate_verifier::ReferenceValues;
use casemate_verifier::Requirements;
use casemate_verifier::Root;
use casemate_verifier::SNP_LAUNCH;
use casemate_verifier::Verdict;
use casemate_verifier::verify;
use serde_json::Map;
use serde_json::Value;

use super::Asked;
use super::Judged;
use super::is_another_guest;
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
    let digest = asked.init_data.map(|init_data| host_data(&init_data.body)).transpose();
    let expected = Expected {
        report_data: Some(asked.report_data),
        host_data: digest.map_err(|error| refuse(error.to_string()))?,
    };
    let evidence =
        Evidence::from_json(asked.evidence).map_err(|error| refuse(error.to_string()))?;
    let (measurement, host_data) = (*evidence.report.measurement(), *evidence.report.host_data());
    entry.measurement = Some(Measurement(measurement));
    entry.host_data = Some(hex::encode(host_data));
    entry.report = Some(hex::encode(evidence.report.as_bytes()));
    let judge = Judge {
        evidence,
        roots: broker.store.roots().await?.snp,
        expected,
        references: broker.store.references().await?,
        dir: broker.dir.clone(),
        now: asked.now,
    };
    let none = || refuse("the broker's rules accept no SNP guests");
    let (mut judge, found) = judge.run().await?;
    let (mut verdict, mut grace) = found.ok_or_else(none)?;
    let mut missing = None;
    // Whoever is refused anyway is no reason to ask AMD's service about a chip.
    if let Some(collateral) = &broker.collateral
        && !is_another_guest(&verdict)
    {
        missing = collateral.complete(&mut judge.evidence, &judge.roots, asked.now).await.err();
        let again = judge.run().await?;
        (judge, (verdict, grace)) = (again.0, again.1.ok_or_else(none)?);
    }
    let Judge { evidence, references, .. } = judge;
    let signer = evidence.certificates.iter().find(|c| c.kind == CertificateKind::Vcek);
    entry.vcek = signer.map(|c| hex::encode(&c.data));
    let chip_id = hex::encode(evidence.report.chip_id());
    let (appraiser, runtime_data) = (broker.appraiser.clone(), asked.runtime_data.clone());
    let narrowed = tokio::task::spawn_blocking(move || {
        let own = ReferenceValues::from([(SNP_LAUNCH.to_owned(), references)]);
        appraiser.narrow(verdict, &own, |verdict| {
            snp_input(&evidence.report, verdict, &runtime_data, &Value::Null)
        })
    });
    let verdict = narrowed.await.map_err(|_| BrokerError::Task)??;
    let claims = Map::from_iter([("chip_id".to_owned(), chip_id.into())]);
    Ok(Judged { verdict, host_data, claims, grace, missing })
}

/// All that a verdict is made of.
struct Judge {
    evidence: Evidence,
    roots: Vec<Root>,
    expected: Expected,
    references: BTreeSet<Measurement>,
    dir: PathBuf,
    now: u64,
}

impl Judge {
    /// Milliseconds of arithmetic and a small file: not on a thread that serves connections. Beside
    /// the verdict, when a grace is over that it needs; `None` when the rules accept no SNP guests.
    async fn run(self) -> Result<(Self, Option<(Verdict, Option<u64>)>), BrokerError> {
        let verdict = tokio::task::spawn_blocking(move || {
            let Self { evidence, roots, expected, references, dir, now } = &self;
            let by = |rules: &Requirements| verify(evidence, roots, expected, rules, *now);
            let rules = requirements::snp(dir, references.clone(), evidence, *now)?;
            let found = rules.map(|rules| {
                let verdict = by(&rules.now);
                let passes = verdict.accepted().is_some();
                let needed = |after: &Requirements| passes && by(after).accepted().is_none();
                let grace = rules.after.filter(|(_, after)| needed(after)).map(|(until, _)| until);
                (verdict, grace)
            });
            Ok((self, found))
        });
        verdict.await.map_err(|_| BrokerError::Task)?
    }
}
