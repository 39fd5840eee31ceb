// SPDX-License-Identifier: Apache-2.0
//! Pods that fail: within a bounded time, with the cause in the CRI error, and cleaned up.

use std::fs;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::ensure;
use casemate_agent_api::Code;
use casemate_e2e::attack;
use casemate_e2e::demo::Stage;
use casemate_e2e::image;
use casemate_e2e::owner;
use casemate_e2e::pod::Pod;
use k8s_cri::v1::ContainerState;
use k8s_cri::v1::PodSandboxState;
use k8s_cri::v1::PodSandboxStatusRequest;
use nix::sys::signal::Signal;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::kubernetes;
use crate::pods;

const PLAIN: image::Recipe<'_> = image::Recipe {
    files: &[("/failures", "x")],
    command: &[],
    env: &["PATH=/bin"],
    user: "",
    zeros_mib: 0,
};

/// No broker listens where the initdata says.
pub(crate) async fn broker_down(stage: &mut Stage) -> anyhow::Result<()> {
    pods::publish(stage, "fail", PLAIN)?;
    let (_, pod) = pods::prepare(stage, "nobroker", &pods::yaml("nobroker", "fail", "{}", "true"))?;
    stage.owner.stop_broker()?;
    let result = fails_with(stage, &pod, Code::BrokerUnreachable).await;
    stage.owner.start_broker(&stage.world)?;
    result
}

/// The broker knows the key but nobody granted it to this initdata.
pub(crate) async fn key_not_granted(stage: &mut Stage) -> anyhow::Result<()> {
    let path = stage.world.root().join("ungranted.yaml");
    fs::write(&path, pods::yaml("ungranted", "fail", "{}", "echo ungranted"))
        .context("write the pod")?;
    let prepared = stage.owner.generate(&path, &stage.registry, &[], "ungranted")?;
    fails_with(stage, &Pod::read(&prepared.pod)?, Code::ResourceDenied).await
}

/// A pod without initdata: no policy, nothing runs.
pub(crate) async fn no_initdata(stage: &mut Stage) -> anyhow::Result<()> {
    let pod = Pod::parse(&pods::yaml("bare", "fail", "{}", "true"))?;
    fails_with(stage, &pod, Code::InitdataMissing).await
}

/// The node is told to use SNP and has none: an error, never another kind of VM (E21).
pub(crate) async fn missing_tee(stage: &mut Stage) -> anyhow::Result<()> {
    let (_, pod) = pods::prepare(stage, "notee", &pods::yaml("notee", "fail", "{}", "true"))?;
    stage.node.configure(|shim| shim.tee = "snp".to_owned())?;
    let result = fails_with(stage, &pod, Code::TeeMissing).await;
    stage.node.configure(|_| {})?;
    result
}

/// The broker holds another key than the image was encrypted with (C9).
pub(crate) async fn wrong_key(stage: &mut Stage) -> anyhow::Result<()> {
    let (_, pod) = pods::prepare(stage, "wrongkey", &pods::yaml("wrongkey", "fail", "{}", "true"))?;
    let other = stage.world.root().join("other.key");
    fs::write(&other, [7_u8; 32]).context("write another key")?;
    stage.owner.broker(&["resource", "put", owner::IMAGE_KEY, &other.display().to_string()])?;
    let result = fails_with(stage, &pod, Code::ImageDecrypt).await;
    stage.owner.put_image_key()?;
    result
}

/// The image is larger than the guest's memory takes (C5).
pub(crate) async fn guest_full(stage: &mut Stage) -> anyhow::Result<()> {
    pods::publish(stage, "large", image::Recipe { zeros_mib: 600, ..PLAIN })?;
    let (_, pod) = pods::prepare(stage, "large", &pods::yaml("large", "large", "{}", "true"))?;
    fails_with(stage, &pod, Code::GuestFull).await
}

/// A guest that stands still is killed after the shim's deadline; the pod fails and leaves nothing (E19).
pub(crate) async fn silent_agent(stage: &mut Stage) -> anyhow::Result<()> {
    pods::publish(stage, "fail", PLAIN)?;
    let (_, pod) =
        pods::prepare(stage, "silent", &pods::yaml("silent", "fail", "{}", "sleep 3600"))?;
    stage.node.configure(|shim| shim.silence_seconds = 4)?;
    let started = stage.node.start_pod(&pod).await;
    stage.node.configure(|_| {})?;
    let running = started.context("start the pod")?;
    let id = running.containers.get("main").context("no id")?.clone();
    // Longer than the deadline: an agent that answers is not killed.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let before = stage.node.cri.status(&id).await?.state();
    ensure!(before == ContainerState::ContainerRunning, "the container is {before:?}");
    let vmm = Pid::from_raw(kubernetes::vmm_pid(&running)?);
    kill(vmm, Signal::SIGSTOP).context("freeze the guest")?;
    let frozen = Instant::now();
    let code = stage.node.wait_for_exit(&id, Duration::from_secs(30)).await?;
    let after = frozen.elapsed();
    let sandbox = sandbox_state(stage, &running.id).await?;
    stage.node.cri.remove_pod(&running.id).await?;
    ensure!(code == 137, "the container ended with {code}");
    ensure!(after >= Duration::from_secs(2), "killed after {after:?}, before the deadline");
    ensure!(sandbox == PodSandboxState::SandboxNotready, "the sandbox is {sandbox:?}");
    nothing_left(stage).await
}

/// The state of a sandbox, given a moment to be no longer ready.
async fn sandbox_state(stage: &mut Stage, id: &str) -> anyhow::Result<PodSandboxState> {
    let mut state = PodSandboxState::SandboxReady;
    for _ in 0..50 {
        let request = PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false };
        let reply = stage.node.cri.runtime().pod_sandbox_status(request).await?.into_inner();
        state = reply.status.context("no status")?.state();
        if state == PodSandboxState::SandboxNotready {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(state)
}

async fn fails_with(stage: &mut Stage, pod: &Pod, code: Code) -> anyhow::Result<()> {
    let begun = Instant::now();
    let reply = match stage.node.start_pod(pod).await {
        Ok(running) => stage.node.cri.remove_pod(&running.id).await,
        Err(status) => Err(status),
    };
    let refused = attack::refusal(&pod.metadata.name, reply, code)?;
    ensure!(refused.reason.contains("next: "), "no next step in {:?}", refused.reason);
    ensure!(begun.elapsed() < Duration::from_secs(120), "took {:?}", begun.elapsed());
    nothing_left(stage).await
}

/// The shim ends a moment after its last answer.
async fn nothing_left(stage: &Stage) -> anyhow::Result<()> {
    let mut leftovers = stage.node.leftovers()?;
    for _ in 0..50 {
        if leftovers.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        leftovers = stage.node.leftovers()?;
    }
    ensure!(leftovers.is_empty(), "left behind: {}", leftovers.join(", "));
    Ok(())
}
