// SPDX-License-Identifier: Apache-2.0
//! Pods that run: what a Kubernetes user expects of any runtime.

use std::fs;
use std::time::Duration;

use anyhow::Context;
use anyhow::ensure;
use casemate_e2e::demo::Stage;
use casemate_e2e::image;
use casemate_e2e::kubelet::RunningPod;
use casemate_e2e::node::Node;
use casemate_e2e::owner::Prepared;
use casemate_e2e::pod::Pod;
use casemate_e2e::registry::Registry;
use k8s_cri::v1::ContainerState;
use k8s_cri::v1::ContainerStatsRequest;
use nix::sys::signal::Signal;
use nix::sys::signal::kill;
use nix::unistd::Pid;

/// Output of both streams, exec as listed, exit codes, stats; inside: seccomp, capabilities, devices.
pub(crate) async fn exec_logs_exit_codes_and_stats(stage: &mut Stage) -> anyhow::Result<()> {
    publish(stage, "work", image::Recipe { env: &["PATH=/bin"], ..image::Recipe::default() })?;
    let script = "echo to stdout; echo to stderr >&2; grep -E 'Seccomp:|NoNewPrivs' /proc/self/status; \
                  mknod /tmp/n c 1 11 2>&1; unshare -U true 2>&1 && echo unshared; ls /dev; \
                  ls /dev/vport* /dev/sev-guest /dev/kmsg 2>/dev/null; echo ready; sleep 5; exit 7";
    let yaml = yaml(
        "work",
        "work",
        "{\"main\": [[\"/bin/echo\", \"from\", \"exec\"], [\"/bin/false\"]]}",
        script,
    );
    let (_, pod) = prepare(stage, "work", &yaml)?;
    let running = stage.node.start_pod(&pod).await.context("start the pod")?;
    let log = stage
        .node
        .wait_for_output(&running, "main", Duration::from_secs(40), |t| t.contains("ready\n"))
        .await?;
    let id = running.containers.get("main").context("container id")?.clone();
    let allowed = stage.node.cri.exec_sync(&id, &["/bin/echo", "from", "exec"]).await?;
    let failing = stage.node.cri.exec_sync(&id, &["/bin/false"]).await?;
    let request = ContainerStatsRequest { container_id: id.clone() };
    let stats = stage.node.cri.runtime().container_stats(request).await?.into_inner();
    let code = stage.node.wait_for_exit(&id, Duration::from_secs(30)).await?;
    stage.node.cri.remove_pod(&running.id).await?;
    for line in ["to stdout", "to stderr", "Seccomp:\t2", "Operation not permitted"] {
        ensure!(log.contains(line), "{line:?} is missing in {log:?}");
    }
    for word in ["unshared", "vport", "sev-guest", "kmsg"] {
        ensure!(!log.contains(word), "{word:?} is in {log:?}");
    }
    ensure!(
        allowed.stdout == b"from exec\n" && allowed.exit_code == 0,
        "exec answered {allowed:?}"
    );
    ensure!(failing.exit_code == 1, "/bin/false answered {failing:?}");
    let memory = stats.stats.and_then(|s| s.memory).and_then(|m| m.working_set_bytes);
    ensure!(memory.is_some_and(|m| m.value > 0), "no memory figure in the stats");
    ensure!(code == 7, "exit code {code}");
    Ok(())
}

/// containerd ends and starts again while a container writes: every line is in the log.
pub(crate) async fn containerd_restart_loses_no_output(stage: &mut Stage) -> anyhow::Result<()> {
    publish(stage, "lines", image::Recipe { env: &["PATH=/bin"], ..image::Recipe::default() })?;
    let script =
        "i=0; while [ $i -lt 60 ]; do echo line $i; i=$((i+1)); sleep 0.2; done; sleep 3600";
    let (_, pod) = prepare(stage, "lines", &yaml("lines", "lines", "{}", script))?;
    let running = stage.node.start_pod(&pod).await.context("start the pod")?;
    let limit = Duration::from_secs(40);
    stage.node.wait_for_output(&running, "main", limit, |t| t.contains("line 5\n")).await?;
    stage.node.restart_containerd().await?;
    let log =
        stage.node.wait_for_output(&running, "main", limit, |t| t.contains("line 59\n")).await?;
    let expected: String = (0..60).map(|i| format!("line {i}\n")).collect();
    let id = running.containers.get("main").context("container id")?.clone();
    let state = stage.node.cri.status(&id).await?.state();
    stage.node.cri.remove_pod(&running.id).await?;
    ensure!(log == expected, "output {log:?}");
    ensure!(state == ContainerState::ContainerRunning, "the container is {state:?}");
    Ok(())
}

/// The VMM is killed: sandbox and container are reported as ended, the pod can be removed.
pub(crate) async fn death_of_the_vm_ends_every_task(stage: &mut Stage) -> anyhow::Result<()> {
    publish(stage, "victim", image::Recipe { env: &["PATH=/bin"], ..image::Recipe::default() })?;
    let (_, pod) =
        prepare(stage, "victim", &yaml("victim", "victim", "{}", "echo up; sleep 3600"))?;
    let running = stage.node.start_pod(&pod).await.context("start the pod")?;
    let status = Node::shim_status(&running)?;
    let pid = status["vmm_pid"].as_i64().context("no vmm_pid")?;
    kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGKILL).context("kill the VMM")?;
    let id = running.containers.get("main").context("container id")?.clone();
    let code = stage.node.wait_for_exit(&id, Duration::from_secs(20)).await;
    stage.node.cri.remove_pod(&running.id).await?;
    ensure!(code? == 137, "the exit code is not that of a killed process");
    Ok(())
}

/// The tag moves in the registry after the node resolved it: the guest pulls what the policy pins (C1).
pub(crate) async fn moved_tag_without_the_host_knowing_runs_the_pinned_image(
    stage: &mut Stage,
) -> anyhow::Result<()> {
    let recipe = |message: &'static str| image::Recipe {
        files: if message == "pinned\n" {
            &[("/message", "pinned\n")]
        } else {
            &[("/message", "moved\n")]
        },
        env: &["PATH=/bin"],
        ..image::Recipe::default()
    };
    publish(stage, "moving", recipe("pinned\n"))?;
    let (_, pod) =
        prepare(stage, "moving", &yaml("moving", "moving", "{}", "cat /message; sleep 3600"))?;
    let mut running = stage.node.start_sandbox(&pod).await?;
    // The host pulls while the tag is still the policy's; then the tag moves.
    let image = &pod.spec.containers.first().context("no container")?.image;
    stage.node.cri.pull(image, &running.sandbox).await?;
    publish(stage, "moving", recipe("moved\n"))?;
    stage.node.create_and_start(&mut running, &pod, "main").await.context("start the container")?;
    let log = output(stage, &running).await;
    stage.node.cri.remove_pod(&running.id).await?;
    ensure!(log? == "pinned\n", "another image ran");
    Ok(())
}

/// An encrypted image with a named USER: containerd is content with the stub, the guest uses the policy's ids.
pub(crate) async fn user_by_name_from_an_encrypted_image(stage: &mut Stage) -> anyhow::Result<()> {
    let recipe = image::Recipe {
        files: &[("/etc/passwd", "app:x:1234:1234::/:/bin/sh\n"), ("/etc/group", "app:x:1234:\n")],
        env: &["PATH=/bin"],
        user: "app",
        ..image::Recipe::default()
    };
    publish(stage, "named", recipe)?;
    let (_, pod) = prepare(stage, "named", &yaml("named", "named", "{}", "id -u; sleep 3600"))?;
    let running = stage.node.start_pod(&pod).await.context("start the pod")?;
    let log = output(stage, &running).await;
    stage.node.cri.remove_pod(&running.id).await?;
    ensure!(log? == "1234\n", "another user");
    Ok(())
}

/// Makes, encrypts and pushes an image as `test/<name>:1`.
pub(crate) fn publish(stage: &Stage, name: &str, recipe: image::Recipe<'_>) -> anyhow::Result<()> {
    let layout = image::make(&stage.world.root().join("images").join(name), &recipe)?;
    let encrypted = stage.owner.encrypt(&layout, name)?;
    stage.registry.push(&encrypted, &format!("test/{name}"), "1")
}

/// Generates policy and initdata for a pod's YAML.
pub(crate) fn prepare(stage: &Stage, name: &str, yaml: &str) -> anyhow::Result<(Prepared, Pod)> {
    let path = stage.world.root().join(format!("{name}-pod.yaml"));
    fs::write(&path, yaml).context("write the pod")?;
    let prepared = stage.prepare(&path, &[], name)?;
    let pod = Pod::read(&prepared.pod)?;
    Ok((prepared, pod))
}

/// A pod with one container `main`.
pub(crate) fn yaml(name: &str, image: &str, exec: &str, script: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  annotations:\n    io.casemate.exec: '{exec}'\n\
         spec:\n  runtimeClassName: casemate\n  enableServiceLinks: false\n  \
         automountServiceAccountToken: false\n  restartPolicy: Never\n  containers:\n  - name: main\n    \
         image: {}/test/{image}:1\n    command: [\"/bin/sh\", \"-c\", {script:?}]\n",
        Registry::address()
    )
}

/// What the container `main` wrote, once it is a whole line.
pub(crate) async fn output(stage: &Stage, running: &RunningPod) -> anyhow::Result<String> {
    stage
        .node
        .wait_for_output(running, "main", Duration::from_secs(40), |t| t.ends_with('\n'))
        .await
}
