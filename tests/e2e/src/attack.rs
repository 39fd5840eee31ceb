// SPDX-License-Identifier: Apache-2.0
//! The attacks that the demo shows being refused. Each ends with an error when it is not.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use anyhow::bail;
use anyhow::ensure;
use casemate_agent_api::Code;
use casemate_boot_formats::initdata::Initdata;
use k8s_cri::v1::ContainerState;
use tonic::Status;

use crate::demo::ImageName;
use crate::demo::Stage;
use crate::hostile_qemu;
use crate::hostile_qemu::Tamper;
use crate::image;
use crate::kubelet::RunningPod;
use crate::pod::Pod;
use crate::report::Refused;

/// (a) Runs a command that the policy does not list, by `exec` (A5).
///
/// # Errors
///
/// When it is not refused. `None` when no container of the pod runs.
pub async fn exec(stage: &mut Stage, running: &RunningPod) -> anyhow::Result<Option<Refused>> {
    for id in running.containers.values() {
        let state = stage.node.cri.status(id).await.context("container status")?.state();
        if state == ContainerState::ContainerRunning {
            let command = ["/bin/sh", "-c", "cat /proc/1/environ"];
            let reply = stage.node.cri.exec_sync(id, &command).await;
            return refusal("exec", reply.map(drop), Code::PolicyExec).map(Some);
        }
    }
    Ok(None)
}

/// (b) Starts the pod with another command than the policy's (A6).
///
/// # Errors
///
/// When it is not refused.
pub async fn command(stage: &mut Stage, pod: &Pod) -> anyhow::Result<Refused> {
    let mut changed = pod.clone();
    let spec = &mut changed.spec;
    let mut all = spec.init_containers.iter_mut().chain(&mut spec.containers);
    let first = all.next().context("the pod has no container")?;
    first.command = vec!["/bin/sh".to_owned(), "-c".to_owned(), "env; : changed".to_owned()];
    first.args = Vec::new();
    let reply = start(stage, &changed).await;
    refusal("command", reply, Code::PolicyArgv)
}

/// (c) Changes the kernel's command line and leaves the measured table as it was (E1).
///
/// # Errors
///
/// When the guest comes up all the same.
pub async fn cmdline_old_table(
    stage: &mut Stage,
    pod: &Pod,
    honest_boot: Duration,
) -> anyhow::Result<Refused> {
    // Firmware that refuses hangs for good; an honest boot took a third of this.
    let patience = honest_boot.as_secs().saturating_mul(3).saturating_add(5);
    let qemu = stage.node.root().join("hostile-qemu-append");
    hostile_qemu::install(&qemu, &Tamper::CommandLine(EXTRA_WORD.to_owned()))?;
    stage.node.configure(|shim| {
        shim.qemu = qemu;
        shim.boot_seconds = patience;
    })?;
    let mut worked = Duration::ZERO;
    let reply = {
        let mut reply = std::pin::pin!(start(stage, pod));
        loop {
            tokio::select! {
                reply = &mut reply => break reply,
                () = tokio::time::sleep(SAMPLE) => worked = worked.max(qemu_time()),
            }
        }
    };
    stage.node.configure(|_| {})?;
    // A VM that never ran, or was held, proves nothing: this one worked for longer than an honest
    // guest needs, and no agent spoke.
    ensure!(
        worked > honest_boot,
        "the attack cmdline-old-table proves nothing: the VM worked for {} ms, an honest boot takes {} ms",
        worked.as_millis(),
        honest_boot.as_millis()
    );
    refusal("cmdline-old-table", reply, Code::VmBoot)
}

/// Processor time of the busiest QEMU in this world.
fn qemu_time() -> Duration {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let stat = entries.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    let times = stat.filter_map(|stat| {
        let (head, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_whitespace().skip(11);
        let ticks = |field: Option<&str>| field?.parse::<u64>().ok();
        let sum = ticks(fields.next())?.saturating_add(ticks(fields.next())?);
        // USER_HZ is 100 on every architecture that runs this.
        head.contains("(qemu-system").then(|| Duration::from_millis(sum.saturating_mul(10)))
    });
    times.max().unwrap_or_default()
}

/// How often a VM under attack is looked at.
const SAMPLE: Duration = Duration::from_millis(200);

/// (c) Changes the kernel's command line and the measured table with it (E1): it boots, and its digest
/// gives it away.
///
/// # Errors
///
/// When the broker accepts it.
pub async fn cmdline_new_table(
    stage: &mut Stage,
    pod: &Pod,
    honest: &str,
) -> anyhow::Result<Refused> {
    let changed = stage.node.root().join("changed-guest-image");
    hostile_qemu::changed_guest_image(&stage.artifacts.guest_image("sim"), &changed, EXTRA_WORD)?;
    stage.node.configure(|shim| shim.guest_image.clone_from(&changed))?;
    let reply = start(stage, pod).await;
    stage.node.configure(|_| {})?;
    let refused = refusal("cmdline-new-table", reply, Code::AttestRefused)?;
    let last = stage.owner.audit()?.pop().context("the broker saw nobody")?;
    let seen = last["measurement"].as_str().unwrap_or_default();
    ensure!(seen != honest, "the changed guest has the honest digest");
    ensure!(
        seen == stage.predict(&changed, pod.vcpus())?,
        "the broker saw another digest than the changed image's"
    );
    Ok(refused)
}

/// (d) Gives the guest other initdata than the launch was bound to (D15, D16).
///
/// # Errors
///
/// When the guest goes on.
pub async fn initdata(stage: &mut Stage, pod: &Pod) -> anyhow::Result<Refused> {
    let qemu = stage.node.root().join("hostile-qemu-initdata");
    let other = other_initdata(stage, pod)?;
    hostile_qemu::install(&qemu, &Tamper::Initdata(other))?;
    stage.node.configure(|shim| shim.qemu = qemu)?;
    let reply = start(stage, pod).await;
    stage.node.configure(|_| {})?;
    refusal("initdata", reply, Code::InitdataMismatch)
}

/// (e) Pushes another image under the tag that the pod names (C1).
///
/// # Errors
///
/// When it is not refused.
pub async fn tag(stage: &mut Stage, pod: &Pod) -> anyhow::Result<Refused> {
    let first = pod.all_containers().next().context("the pod has no container")?;
    let name = ImageName::parse(&first.image);
    let recipe = image::Recipe {
        files: &[("/message", "This is another image.\n")],
        command: &["/bin/true"],
        env: &["PATH=/bin"],
        ..image::Recipe::default()
    };
    let layout = image::make(&stage.world.root().join("images/other"), &recipe)?;
    let encrypted = stage.owner.encrypt(&layout, "other")?;
    stage.registry.push(&encrypted, &name.repository, &name.tag)?;
    let reply = start(stage, pod).await;
    refusal("tag", reply, Code::PolicyImage)
}

async fn start(stage: &mut Stage, pod: &Pod) -> Result<(), Status> {
    let running = stage.node.start_pod(pod).await?;
    // Not refused: the caller will say so.
    stage.node.cri.remove_pod(&running.id).await
}

/// Checks that `reply` is a refusal with this code.
///
/// # Errors
///
/// When it is a success or another refusal.
pub fn refusal(attack: &str, reply: Result<(), Status>, expected: Code) -> anyhow::Result<Refused> {
    let Err(status) = reply else { bail!("the attack {attack} was not refused") };
    let message = status.message();
    let needle = format!("{expected}: ");
    let Some(start) = message.find(&needle) else {
        bail!("the attack {attack} was refused without {expected}: {message}");
    };
    let reason = message.get(start.saturating_add(needle.len())..).unwrap_or_default();
    // containerd appends the name of the gRPC status.
    let reason = reason.rsplit_once(": ").map_or(reason, |(text, status)| {
        if GRPC_STATUSES.contains(&status) { text } else { reason }
    });
    Ok(Refused {
        attack: attack.to_owned(),
        code: expected.to_string(),
        reason: reason.trim().to_owned(),
    })
}

/// A well-formed initdata device of another document: the pod's own with one byte more.
fn other_initdata(stage: &Stage, pod: &Pod) -> anyhow::Result<PathBuf> {
    let annotation = pod.metadata.annotations.get("io.casemate.initdata").context("no initdata")?;
    let honest = Initdata::from_annotation(annotation).context("decode the pod's initdata")?;
    let text = format!("{}\n# swapped\n", honest.as_str());
    let other = Initdata::parse(text.as_bytes()).context("parse the other initdata")?;
    let device = other.to_device_image().context("encode a device")?;
    let path = stage.node.root().join("other-initdata.img");
    fs::write(&path, device).context("write the other initdata")?;
    Ok(path)
}

const GRPC_STATUSES: &[&str] =
    &["unknown", "permission denied", "failed precondition", "unavailable", "invalid argument"];
/// Harmless in itself: any change must be noticed.
const EXTRA_WORD: &str = "casemate.extra=1";
