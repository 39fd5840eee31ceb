// SPDX-License-Identifier: Apache-2.0
//! Calls that other agents have.

use anyhow::ensure;
use casemate_agent_api::Code;
use casemate_agent_api::class::CALLS;
use casemate_agent_api::class::Class;
use casemate_agent_api::class::NEVER;
use casemate_agent_api::proto;

use crate::Case;
use crate::Context;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Outcome;
use crate::Verdict;
use crate::shim::By;
use crate::shim::EvilShim;
use crate::shim::deadline;
use crate::shim::requests;
use crate::shim::status;

pub(super) const A18: Case = Case {
    id: "A18",
    level: Level::P,
    attack: "pause, hotplug, swap, iptables, clock, entropy, file copy; limits of zero",
    defence: Defence::Policy(Guard {
        function: "casemate_policy_monitor::guard::update::check_memory",
        sabotage: "Ok(())",
    }),
    run: |context| Box::pin(a18(context)),
};

async fn a18(context: Context) -> Verdict {
    let shim = EvilShim::running(&context).await?;
    let before = shim.fingerprint().await?;
    for call in NEVER {
        let answer = shim.raw(call, vec![]).await;
        ensure!(status(&answer) == Some(ttrpc::Code::UNIMPLEMENTED), "{call}: {answer:?}");
    }
    ensure!(shim.fingerprint().await? == before, "a call that is never carried out was");
    // The tables name every call of the service, and the service has no other.
    let calls = requests::calls();
    let classed: Vec<_> = CALLS.iter().map(|call| call.name).collect();
    ensure!(calls == classed, "calls without a class: {calls:?}");
    let never = CALLS.iter().any(|call| call.class == Class::Never);
    ensure!(!never, "a call exists only to be refused");

    let figures = |memory: Option<u64>, cpu: Option<u64>, pids: Option<u64>| proto::UpdateRequest {
        container_id: "c1".to_owned(),
        memory_limit: memory,
        cpu_millis: cpu,
        pids,
        ..Default::default()
    };
    for (what, request) in [
        ("a page of memory", figures(Some(4096), None, None)),
        ("all memory", figures(Some(u64::MAX / 2), None, None)),
        ("hardly any CPU", figures(None, Some(1), None)),
        ("one process", figures(None, None, Some(1))),
    ] {
        let call = shim.client.update(deadline(), &request);
        shim.deny(what, By::Either, Code::PolicyResources, call).await?;
    }
    let small = figures(Some(16 << 20), None, None);
    let call = shim.client.update(deadline(), &small);
    shim.deny("less memory than granted", By::Policy, Code::PolicyResources, call).await?;
    shim.client.update(deadline(), &requests::update("c1")).await?;
    Ok(Outcome::pass(format!("{} calls do not exist; limits stay in their ranges", NEVER.len())))
}
