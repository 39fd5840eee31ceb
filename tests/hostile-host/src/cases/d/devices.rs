// SPDX-License-Identifier: Apache-2.0
//! D22: evidence of devices beside the CPU's.

use anyhow::ensure;
use casemate_kbs_protocol::HashAlgorithm;
use casemate_kbs_protocol::report_data;
use serde_json::json;

use super::broker::Guest;
use super::broker::Owner;
use crate::Case;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Outcome;
use crate::Verdict;

pub(super) static D22: Case = Case {
    id: "D22",
    level: Level::P,
    attack: "puts the evidence of another machine's device beside the CPU's",
    defence: Defence::Code(Guard {
        function: "casemate_broker::api::attest::refuse_devices",
        sabotage: "Ok(())",
    }),
    run: |_| Box::pin(compose()),
};

async fn compose() -> Verdict {
    let owner = Owner::new().await?;
    let hand = owner.by_hand(Guest::honest())?;
    let device = r#"{"nvidia":{"evidence":"of another machine"}}"#;
    // Evidence of the CPU that says nothing of devices, and such that binds them.
    for bound in ["", device] {
        let (session, nonce) = hand.challenge().await?;
        let mut body = hand.attestation(&nonce, &hand.key, &hand.key)?;
        let data = report_data(&nonce, hand.key.public_key(), HashAlgorithm::Sha384, bound)?;
        body["tee-evidence"]["primary_evidence"] = hand.guest.evidence_over(data)?;
        body["tee-evidence"]["additional_evidence"] = json!(device);
        hand.post("attest", Some(&session), &body).await?.refused("AttestationError")?;
    }
    // What binds another device than the one that is shown.
    let one = report_data("n", hand.key.public_key(), HashAlgorithm::Sha384, device)?;
    let other = report_data("n", hand.key.public_key(), HashAlgorithm::Sha384, "{}")?;
    ensure!(one != other, "REPORT_DATA does not depend on the devices' evidence");
    Ok(Outcome::pass(
        "no device is judged, so evidence of one is refused and not ignored, whether the CPU's binds \
         it or not. A verifier of GPUs would bring more; the field that binds them is there",
    ))
}
