// SPDX-License-Identifier: Apache-2.0
//! Calls before their time, and another policy.

use anyhow::bail;
use anyhow::ensure;
use casemate_agent::boot_steps;
use casemate_agent_api::ApiError;
use casemate_agent_api::Code;
use casemate_agent_api::proto;
use casemate_attester::OwnReport;
use casemate_boot_formats::initdata::Algorithm;
use casemate_boot_formats::initdata::Initdata;

use crate::Case;
use crate::Context;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Outcome;
use crate::Verdict;
use crate::shim::EvilShim;
use crate::shim::deadline;
use crate::shim::requests;
use crate::shim::status;

const ADMIT: Guard = Guard { function: "casemate_agent::class::admit", sabotage: "Ok(())" };

pub(super) const A1: Case = Case {
    id: "A1",
    level: Level::P,
    attack: "each call before the guest is attested",
    defence: Defence::Code(ADMIT),
    run: |context| Box::pin(a1(context)),
};

async fn a1(context: Context) -> Verdict {
    let shim = EvilShim::bound(&context, requests::POLICY).await?;
    // The audit log is sealed to the owner, who may want to know of a guest that never was attested.
    let always = ["Hello", "AwaitReady", "Shutdown", "SetNetwork", "ReadAudit"];
    let before = shim.fingerprint().await?;
    let mut refused = 0;
    for call in requests::calls().iter().filter(|call| !always.contains(&call.as_str())) {
        match shim.raw(call, Vec::new()).await {
            Ok(_) => bail!("{call}: answered"),
            Err(error) => {
                let error = ApiError::from_rpc(&error);
                ensure!(error.code() == Code::RequestPhase, "{call}: {error}");
            }
        }
        refused += 1;
    }
    ensure!(refused >= 12, "only {refused} calls are known");
    ensure!(shim.fingerprint().await? == before, "something has changed");
    Ok(Outcome::pass(format!("{refused} calls refused, all but {}", always.join(", "))))
}

/// A guest configuration, for a document that is complete.
const CONFIG: &str = r#"
version = 1
[broker]
url = "https://broker.example:8443"
ca = """
-----BEGIN CERTIFICATE-----
MIIB
-----END CERTIFICATE-----
"""
"#;

pub(super) const A2: Case = Case {
    id: "A2",
    level: Level::P,
    attack: "another initdata than the one of the launch; a policy over the API",
    defence: Defence::Code(Guard {
        function: "casemate_agent::boot::self_check::compare",
        sabotage: "Ok(())",
    }),
    run: |context| Box::pin(a2(context)),
};

async fn a2(context: Context) -> Verdict {
    let document = |policy: &str| {
        Initdata::build(Algorithm::Sha256, [("policy.toml", policy), ("casemate.toml", CONFIG)])
    };
    let weaker = requests::POLICY.replace("[15]", "[9, 15]");
    let (launched, other) = (document(requests::POLICY)?, document(&weaker)?);
    // A report of version 2 that says nothing but HOST_DATA (SEV-SNP ABI, table 23).
    let mut report = [0; 1184];
    report[0] = 2;
    report[0x34] = 1;
    report[0xc0..0xe0].copy_from_slice(&launched.host_data());
    let report = OwnReport::Snp(casemate_attester::Report::from_bytes(report));
    if let Err(code) = boot_steps::self_check(&launched, &report) {
        bail!("the launched policy does not boot: {code}");
    }
    let refused = boot_steps::self_check(&other, &report);
    ensure!(refused == Err(Code::InitdataMismatch), "another policy: {refused:?}");
    // The API has no call for a policy, whatever the phase.
    for shim in [
        EvilShim::bound(&context, requests::POLICY).await?,
        EvilShim::attested(&context, requests::POLICY).await?,
    ] {
        let before = shim.fingerprint().await?;
        let answer = shim.raw("SetPolicy", weaker.clone().into_bytes()).await;
        ensure!(status(&answer) == Some(ttrpc::Code::UNIMPLEMENTED), "SetPolicy: {answer:?}");
        ensure!(shim.fingerprint().await? == before, "SetPolicy changed something");
    }
    Ok(Outcome::pass("the agent does not open its API, and no call changes the policy"))
}

pub(super) const A3: Case = Case {
    id: "A3",
    level: Level::P,
    attack: "two hosts race to set what may be set once",
    defence: Defence::Code(ADMIT),
    run: |context| Box::pin(a3(context)),
};

async fn a3(context: Context) -> Verdict {
    let shim = EvilShim::bound(&context, requests::POLICY).await?;
    let racers: Vec<_> = (0..32)
        .map(|_| {
            let client = shim.client.clone();
            tokio::spawn(async move { client.set_network(deadline(), &requests::network()).await })
        })
        .collect();
    let mut won = 0;
    for racer in racers {
        match racer.await? {
            Ok(_) => won += 1,
            Err(error) => {
                let error = ApiError::from_rpc(&error);
                ensure!(error.code() == Code::RequestPhase, "a loser is told {error}");
                // By the phase itself, before the monitor is asked.
                let by_phase = error.detail().starts_with("SetNetwork: ");
                ensure!(by_phase, "a loser came as far as the monitor: {error}");
            }
        }
    }
    ensure!(won == 1, "{won} of 32 won");
    let set = shim.world.effects().count("network");
    ensure!(set == 1, "the network was set {set} times");
    let request = proto::AwaitReadyRequest { timeout_ms: 5000, ..Default::default() };
    shim.client.await_ready(deadline(), &request).await?;
    shim.client.create_container(deadline(), &requests::web("c1")).await?;
    Ok(Outcome::pass("one of 32 wins, the others are refused, the guest serves on"))
}
