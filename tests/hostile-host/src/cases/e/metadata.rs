// SPDX-License-Identifier: Apache-2.0
//! E16, E20: what leaves the guest beside its network: figures, logs, and records of requests.

use std::time::Duration;

use anyhow::ensure;
use casemate_agent_api::Code;
use casemate_agent_api::mux::StreamKind;
use casemate_agent_api::proto;
use casemate_agent_api::request::ContainerId;
use casemate_agent_api::request::ProcessId;
use protobuf::Message as _;
use tokio::io::AsyncReadExt as _;

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

pub(super) static E16: Case = Case {
    id: "E16",
    level: Level::P,
    attack: "watches sizes and times: logs, usage figures, process ids, last words",
    defence: Defence::Policy(Guard {
        function: "casemate_policy_monitor::guard::visibility::check_metrics",
        sabotage: "Ok(())",
    }),
    run: |context| Box::pin(watch(context)),
};

async fn watch(context: Context) -> Verdict {
    let shim = EvilShim::attested(&context, requests::POLICY).await?;
    shim.run(&requests::silent("s1")).await?;
    let of = || proto::ContainerRef { container_id: "s1".into(), ..Default::default() };
    let (figures, ids) = (of(), of());
    let call = shim.client.stats(deadline(), &figures);
    shim.deny("usage figures", By::Policy, Code::PolicyMetrics, call).await?;
    let call = shim.client.pids(deadline(), &ids);
    shim.deny("process ids", By::Policy, Code::PolicyMetrics, call).await?;
    // Its output: no byte, whatever the host asked for at its creation.
    let process = ProcessId::new(ContainerId::parse("s1")?, None);
    for kind in [StreamKind::Stdout(process.clone()), StreamKind::Stderr(process)] {
        let Ok(mut stream) = shim.host.open(kind) else { continue };
        let mut bytes = [0; 1];
        let read = tokio::time::timeout(Duration::from_millis(300), stream.read(&mut bytes)).await;
        if context.has_policy() {
            ensure!(!matches!(read, Ok(Ok(1..))), "a silent container's output reaches the host");
        }
    }
    coarse_figures(&context).await?;
    let answers = compare_sizes(&context).await?;
    Ok(Outcome::pass(format!(
        "without a grant in the policy no figure, id or byte of output leaves; with it figures come \
         in coarse steps; the sizes of {answers} answers do not depend on what the policy holds. What \
         remains is the host's by \
         nature and documented, and not padded: traffic, sizes of image layers, times and \
         exit codes"
    )))
}

/// Where figures are granted they come in steps: a page or a microsecond more is not to be seen.
async fn coarse_figures(context: &Context) -> anyhow::Result<()> {
    let shim = EvilShim::running(context).await?;
    let mut seen = Vec::new();
    for _ in 0..20 {
        seen.push(shim.client.stats(deadline(), &requests::container("c1")).await?);
    }
    let first = &seen[0];
    ensure!(seen.iter().all(|figures| figures == first), "figures tell each page: {seen:?}");
    ensure!(first.memory_usage == 8 << 20, "{} bytes of memory", first.memory_usage);
    ensure!(first.cpu_usage_usec == 130_000, "{} µs", first.cpu_usage_usec);
    Ok(())
}

/// The sizes of all answers to the same requests, of pods that differ in what the host is not told.
async fn compare_sizes(context: &Context) -> anyhow::Result<usize> {
    let mut sizes = Vec::new();
    for length in [1, 900] {
        let policy = requests::POLICY.replace(requests::CANARY, &"s".repeat(length));
        let shim = EvilShim::attested(context, &policy).await?;
        let mut of_pod = Vec::new();
        for call in requests::calls() {
            if ["Shutdown", "NextEvent", "AwaitReady", "Wait", "Hello"].contains(&call.as_str()) {
                continue;
            }
            let guess = requests::web("c1").write_to_bytes()?;
            for payload in [vec![], b"\x0a\x02c1".to_vec(), guess] {
                let size = match shim.raw(&call, payload).await {
                    Ok(bytes) => bytes.len(),
                    Err(error) => error.to_string().len(),
                };
                of_pod.push((call.clone(), size));
            }
        }
        sizes.push(of_pod);
    }
    // With the double some of it is granted; then there are containers to tell about.
    ensure!(!context.has_policy() || sizes[0] == sizes[1], "sizes differ: {sizes:?}");
    Ok(sizes[0].len())
}
