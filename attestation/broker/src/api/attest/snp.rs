// SPDX-License-Identifier: Apache-2.0
//! Evidence of SNP guests.

use casemate_evidence::snp::CertificateKind;
use casemate_evidence::snp::Evidence;
use casemate_kbs_protocol::host_data;
use casemate_rego::snp_input;
use casemate_verifier::Expected;
use casemate_verifier::Measurement;
use casemate_verifier::ReferenceValues;
use casemate_verifier::SNP_LAUNCH;
use casemate_verifier::verify;
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
    let digest = asked.init_data.map(|init_data| host_data(&init_data.body)).transpose();
    let expected = Expected {
        report_data: Some(asked.report_data),
        host_data: digest.map_err(|error| refuse(error.to_string()))?,
    };
    let mut evidence =
        Evidence::from_json(asked.evidence).map_err(|error| refuse(error.to_string()))?;
    let (measurement, host_data) = (*evidence.report.measurement(), *evidence.report.host_data());
    entry.measurement = Some(Measurement(measurement));
    entry.host_data = Some(hex::encode(host_data));
    entry.report = Some(hex::encode(evidence.report.as_bytes()));
    let roots = broker.store.roots().await?.snp;
    if let Some(collateral) = &broker.collateral {
        // What is missing is a line of the verdict, and the cause is in the log.
        drop(collateral.complete(&mut evidence, &roots, asked.now).await);
    }
    let signer = evidence.certificates.iter().find(|c| c.kind == CertificateKind::Vcek);
    entry.vcek = signer.map(|c| hex::encode(&c.data));
    let chip_id = hex::encode(evidence.report.chip_id());
    let references = broker.store.references().await?;
    let (dir, now, appraiser) = (broker.dir.clone(), asked.now, broker.appraiser.clone());
    let runtime_data = asked.runtime_data.clone();
    // Milliseconds of arithmetic and a small file: not on a thread that serves connections.
    let verdict = tokio::task::spawn_blocking(move || {
        let own = ReferenceValues::from([(SNP_LAUNCH.to_owned(), references.clone())]);
        let rules = requirements::snp(&dir, references, &evidence, now)?;
        let verdict = rules.map(|rules| verify(&evidence, &roots, &expected, &rules, now));
        let narrow = |verdict| {
            appraiser.narrow(verdict, &own, |verdict| {
                snp_input(&evidence.report, verdict, &runtime_data, &Value::Null)
            })
        };
        verdict.map(narrow).transpose()
    });
    let verdict = verdict.await.map_err(|_| BrokerError::Task)??;
    let verdict = verdict.ok_or_else(|| refuse("the broker's rules accept no SNP guests"))?;
    let claims = Map::from_iter([("chip_id".to_owned(), chip_id.into())]);
    Ok(Judged { verdict, host_data, claims })
}
