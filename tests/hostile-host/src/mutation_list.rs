// SPDX-License-Identifier: Apache-2.0
//! The leaves that a host may change in an allowed request, published with a reason for each; and
//! the test that there are no others.
//!
//! For every call that changes or shows something, the honest request of a test pod is changed in one
//! leaf at a time. All that is granted must be on the list, and all that is on the list must be
//! granted at least once.

use std::collections::BTreeMap;

use anyhow::Context as _;
use anyhow::ensure;
use casemate_agent_api::class::Class;
use casemate_agent_api::proto;
use protobuf::MessageDyn;

use crate::Context;
use crate::Mode;
use crate::mutation::mutants;
use crate::shim::EvilShim;
use crate::shim::deadline;
use crate::shim::requests;

/// A leaf of a request that the host may change.
#[derive(Debug, Clone, Copy)]
pub struct Free {
    /// The call.
    pub call: &'static str,
    /// The leaf's path in its request.
    pub leaf: &'static str,
    /// Why a change of it takes nothing from the owner.
    pub reason: &'static str,
}

/// Every leaf that the host may change.
pub const FREE: &[Free] = &[
    free("SetNetwork", "interfaces.mac", "only tells which device is meant"),
    free("SetNetwork", "interfaces.mtu", "within 576 to 65535; the network is the host's anyway"),
    free("SetNetwork", "interfaces.addresses", "within the policy's ranges"),
    free(
        "SetNetwork",
        "routes",
        "one left out or given twice: the pod reaches no more than before",
    ),
    free("SetNetwork", "dns_servers", "one left out or given twice: the pod asks nobody else"),
    free("SetNetwork", "dns_searches", "one left out or given twice: the pod searches no more"),
    free("SetNetwork", "dns_options", "timeouts and counts of the resolver; no address in them"),
    free("CreateContainer", "id", "the host's own name for it; never used twice"),
    free("CreateContainer", "env", "the order is not kept, and an optional hole may stay empty"),
    free("CreateContainer", "stdout", "the host declines to read what it may read"),
    free("CreateContainer", "stderr", "the host declines to read what it may read"),
    free(
        "CreateContainer",
        "mounts",
        "/etc/hosts and its like are the guest's own, asked for or not",
    ),
    free("CreateContainer", "mounts.readonly", "for /etc/hosts and its like it means nothing"),
    free("ExecProcess", "exec_id", "the host's own name for it"),
    free("ExecProcess", "cwd", "empty for the container's own, which is the only one"),
    free("ExecProcess", "env", "the order is not kept"),
    free("ExecProcess", "terminal", "the host declines a terminal that the policy grants"),
    free("ExecProcess", "stdin", "the host declines to write where it may"),
    free("ExecProcess", "terminal_width", "the size of the screen is the client's"),
    free("ExecProcess", "terminal_height", "the size of the screen is the client's"),
    free("ExecProcess", "stdout", "the host declines to read what it may read"),
    free("ExecProcess", "stderr", "the host reads what the policy's logs grant"),
    free("ResizePty", "width", "the size of the screen is the client's"),
    free("ResizePty", "height", "the size of the screen is the client's"),
    free("Signal", "all", "the same signal to every process of the same container"),
    free("Update", "memory_limit", "within the policy's range"),
    free("PutVolume", "files.name", "the volume is declared untrusted, with any content"),
    free("PutVolume", "files.content", "the volume is declared untrusted, with any content"),
    free("PutVolume", "files", "the volume is declared untrusted, with any content"),
    free("AwaitReady", "timeout_ms", "how long the host waits for the answer"),
];

const fn free(call: &'static str, leaf: &'static str, reason: &'static str) -> Free {
    Free { call, leaf, reason }
}

/// Whether a leaf is on the list.
#[must_use]
pub fn is_listed(call: &str, leaf: &str) -> bool {
    FREE.iter().any(|free| free.call == call && free.leaf == leaf)
}

/// Where a request is allowed.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Bound,
    Attested,
    Created,
    Running,
    Terminal,
    Ended,
}

/// An allowed request of the test pod.
struct Allowed {
    call: &'static str,
    stage: Stage,
    message: Box<dyn MessageDyn>,
}

fn allowed() -> Vec<Allowed> {
    let request = |call, stage, message: Box<dyn MessageDyn>| Allowed { call, stage, message };
    let init = || Box::new(requests::process("c1", ""));
    let c1 = || Box::new(requests::container("c1"));
    let await_ready = proto::AwaitReadyRequest { timeout_ms: 5, ..Default::default() };
    vec![
        request("SetNetwork", Stage::Bound, Box::new(requests::network())),
        request("AwaitReady", Stage::Attested, Box::new(await_ready)),
        request("CreateContainer", Stage::Attested, Box::new(requests::web("c1"))),
        request(
            "PutVolume",
            Stage::Attested,
            Box::new(requests::put("conf", "app.conf", requests::CONF)),
        ),
        request("PutVolume", Stage::Attested, Box::new(requests::put("info", "labels", b"a=b"))),
        request("Start", Stage::Created, init()),
        request("ExecProcess", Stage::Running, Box::new(requests::probe("e1"))),
        request("ExecProcess", Stage::Running, Box::new(requests::shell("e1"))),
        request("ResizePty", Stage::Terminal, Box::new(requests::resize("e1"))),
        request("Signal", Stage::Running, Box::new(requests::signal("c1", 15))),
        request("State", Stage::Running, init()),
        request("CloseStdin", Stage::Running, init()),
        request("Stats", Stage::Running, c1()),
        request("Pids", Stage::Running, c1()),
        request("Update", Stage::Running, Box::new(requests::update("c1"))),
        request("Wait", Stage::Ended, init()),
        request("TerminationMessage", Stage::Ended, c1()),
        request("Delete", Stage::Ended, init()),
    ]
}

async fn guest(stage: Stage) -> anyhow::Result<EvilShim> {
    let context = Context::new(Mode::Policy);
    let shim = match stage {
        Stage::Bound => EvilShim::bound(&context, requests::POLICY).await?,
        _ => EvilShim::attested(&context, requests::POLICY).await?,
    };
    let web = requests::web("c1");
    match stage {
        Stage::Bound | Stage::Attested => {}
        Stage::Created => {
            shim.client.create_container(deadline(), &web).await?;
        }
        Stage::Running | Stage::Terminal | Stage::Ended => shim.run(&web).await?,
    }
    if let Stage::Terminal = stage {
        shim.client.exec_process(deadline(), &requests::shell("e1")).await?;
        shim.client.start(deadline(), &requests::process("c1", "e1")).await?;
    }
    if let Stage::Ended = stage {
        shim.world.exit("c1", 0);
        shim.client.wait(deadline(), &requests::process("c1", "")).await?;
    }
    Ok(shim)
}

/// What the host was granted beyond the honest requests: changes by call and leaf.
///
/// # Errors
///
/// When an honest request is refused, or a refused one has a side effect.
pub async fn granted() -> anyhow::Result<BTreeMap<(&'static str, String), Vec<String>>> {
    let mut granted: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for Allowed { call, stage, message } in allowed() {
        let honest = guest(stage).await?;
        let answer = honest.raw(call, message.write_to_bytes_dyn()?).await;
        answer.with_context(|| format!("{call} of an honest host"))?;
        for mutant in mutants(&*message) {
            let shim = guest(stage).await?;
            let before = shim.fingerprint().await?;
            let answer = shim.raw(call, mutant.message.write_to_bytes_dyn()?).await;
            match answer {
                Ok(_) => granted.entry((call, mutant.leaf)).or_default().push(mutant.change),
                Err(_) => {
                    let after = shim.fingerprint().await?;
                    let what = format!("{call} {}: {}", mutant.leaf, mutant.change);
                    ensure!(before == after, "{what}: refused, with a side effect");
                }
            }
        }
    }
    Ok(granted)
}

/// Compares what is granted with the list, both ways, and the list with the classes of the API.
///
/// # Errors
///
/// What is granted and not listed, listed and not granted, or listed and of class "policy".
pub async fn check() -> anyhow::Result<()> {
    let granted = granted().await?;
    let unlisted: Vec<_> = granted
        .iter()
        .filter(|((call, leaf), _)| !is_listed(call, leaf))
        .map(|((call, leaf), changes)| format!("{call} {leaf}: {changes:?}"))
        .collect();
    ensure!(unlisted.is_empty(), "granted and not on the list:\n{}", unlisted.join("\n"));
    let unused: Vec<_> = FREE
        .iter()
        .filter(|free| !granted.contains_key(&(free.call, free.leaf.to_owned())))
        .map(|free| format!("{} {}", free.call, free.leaf))
        .collect();
    ensure!(unused.is_empty(), "on the list and never granted: {}", unused.join(", "));
    for free in FREE {
        let class = casemate_agent_api::class::call(free.call).and_then(|c| c.leaf(free.leaf));
        ensure!(class != Some(Class::Never), "{} {} is never granted", free.call, free.leaf);
    }
    Ok(())
}
