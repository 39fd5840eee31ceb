// SPDX-License-Identifier: Apache-2.0
//! Pods as Kubernetes users write them: what kubelet does for them arrives inside the containers.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use anyhow::ensure;
use casemate_e2e::demo::Stage;
use casemate_e2e::image;
use casemate_e2e::node::Node;
use casemate_e2e::pod;
use casemate_e2e::pod::Target;
use k8s_cri::v1::ContainerState;
use serde_json::Value;
use serde_json::json;

use crate::pods;

/// Init containers in their order, a sidecar beside them, volumes, a ConfigMap, the downward API,
/// `$(NAME)`, resources, users, hooks, probes, a restart, new content of volumes, and the stop.
pub(crate) async fn what_kubelet_does_for_a_pod(stage: &mut Stage) -> anyhow::Result<()> {
    pods::publish(stage, "kit", image::Recipe { env: &["PATH=/bin"], ..image::Recipe::default() })?;
    let text = fs::read_to_string(EVERYTHING).context("read the pod")?;
    // As in a file with more than one document.
    let (_, yaml) = pod::check(&format!("---\n# nothing here\n---\n{text}"))?;
    let pod = with_content(stage, &yaml)?;
    let mut running = stage.node.start_pod(&pod).await.context("start the pod")?;
    let limit = Duration::from_secs(40);
    let log =
        stage.node.wait_for_output(&running, "main", limit, |t| t.contains("ready\n")).await?;
    let uid = running.sandbox.metadata.as_ref().context("no metadata")?.uid.clone();
    for line in [
        "argument hello $(GREETING) $(UNKNOWN)",
        "A_NAME=everything",
        "A_NAMESPACE=shop",
        &format!("A_UID={uid}"),
        "A_LABEL=store",
        "A_NOTE=by hand",
        &format!("A_POD_IP={}", running.ip),
        "A_HOST_IP=10.88.0.1",
        "A_NODE=casemate-node",
        "A_ACCOUNT=runner",
        "A_CPU=500",
        "A_MEMORY=64",
        "A_REQUEST=16777216",
        "F_BOTH=hello store $(A_LABEL) $(UNKNOWN)",
        "host name store-0",
        "user 1000 2000 2000 3000",
        "order first second ",
        "memory.max 67108864",
        "level 3",
        // E4: no kernel code is loaded after the boot.
        "kernel closed 1 1",
    ] {
        ensure!(log.lines().any(|found| found == line), "{line:?} is missing in {log:?}");
    }
    ensure!(uid.len() == 36, "kubelet's uids have 36 characters: {uid}");
    // The second init container saw what the sidecar served.
    ensure!(stage.node.log(&running, "second")? == "first\n", "the sidecar did not serve");

    // New content on the node, for the guest to take or to refuse while the rest goes on.
    let volumes = stage.node.root().join("kubelet/pods").join(&uid).join("volumes");
    for (volume, name, content) in [
        ("kubernetes.io~configmap/conf", "level", "9\n"),
        ("kubernetes.io~downward-api/labels", "labels", "app=\"new\""),
    ] {
        let files = BTreeMap::from([(name.to_owned(), content.as_bytes().to_vec())]);
        pod::replace_content(&volumes.join(volume), &files).context(volume)?;
    }

    let main = pod.container("main").context("no container")?;
    let id = running.containers.get("main").context("no id")?.clone();
    let target = Target { container: main, id: &id, pod_ip: &running.ip };
    let probe = main.readiness_probe.as_ref().context("no probe")?;
    probe.until_success(&mut stage.node.cri, target).await.context("readiness probe")?;

    // The volume outlives the container: the second try succeeds.
    let id = running.containers.get("flaky").context("no id")?.clone();
    ensure!(stage.node.wait_for_exit(&id, limit).await? == 3, "flaky ended otherwise");
    // The last words are in kubelet's file when it hears of the end.
    let folder = stage.node.root().join("kubelet/pods").join(&uid).join("containers/flaky");
    let message = fs::read_to_string(folder.join("00000000")).context("the termination log")?;
    ensure!(message == "no luck\n", "the termination message is {message:?}");
    ensure!(stage.node.restart_if_due(&mut running, &pod, "flaky").await?, "not restarted");
    stage.node.wait_for_output(&running, "flaky", limit, |t| t == "again\n").await?;
    ensure!(stage.node.log_of(&running, "flaky", 0)? == "not yet\n", "the first log is gone");
    ensure!(!stage.node.restart_if_due(&mut running, &pod, "flaky").await?, "restarted again");

    // The host's side of the volumes stays empty: their content is in the guest.
    let volume = volumes.join("kubernetes.io~empty-dir/own");
    ensure!(fs::read_dir(&volume).context("the volume")?.next().is_none(), "the host has a file");

    // The downward API's new words are there; the ConfigMap's are not the policy's, so it is what it
    // was (B13).
    let limit = Duration::from_secs(60);
    let told = stage.node.wait_for_output(&running, "main", limit, |t| t.contains("new")).await?;
    ensure!(told.ends_with("labels app=\"new\" level 3\n"), "new content arrives as {told:?}");

    stage.node.stop_pod(&running, &pod).await?;
    let log = stage.node.log(&running, "main")?;
    ensure!(log.ends_with("file\npost-start\nstopped\n"), "hooks and stop wrote {log:?}");
    Ok(())
}

/// The pod with a ConfigMap, whose content the policy holds, and with labels as a volume, whose content
/// it leaves to the host.
fn with_content(stage: &Stage, yaml: &str) -> anyhow::Result<pod::Pod> {
    let mut pod: Value = serde_saphyr::from_str(yaml).context("the pod's YAML")?;
    let mut push = |way: &str, value: Value| {
        let list = pod.pointer_mut(way).and_then(Value::as_array_mut);
        list.map(|list| list.push(value)).with_context(|| format!("no {way}"))
    };
    push("/spec/volumes", json!({"name": "conf", "configMap": {"name": "settings"}}))?;
    let labels = json!({"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}});
    push("/spec/volumes", json!({"name": "labels", "downwardAPI": {"items": [labels]}}))?;
    for name in ["conf", "labels"] {
        let mount = json!({"name": name, "mountPath": format!("/{name}"), "readOnly": true});
        push("/spec/containers/0/volumeMounts", mount)?;
    }
    let script = pod.pointer_mut("/spec/containers/0/args/0").context("no script")?;
    let text = script.as_str().context("the script")?;
    let text = text.replace("echo ready", "echo \"level $(cat /conf/level)\"; echo ready");
    *script = text.replace("while true", &format!("{AWAIT_NEW}\nwhile true")).into();

    let path = stage.world.root().join("everything-pod.yaml");
    let pod = serde_saphyr::to_string(&pod).context("write the pod's YAML")?;
    fs::write(&path, format!("{pod}\n---\n{SETTINGS}")).context("write the pod")?;
    let prepared = stage.prepare(&path, &[], "everything")?;
    let text = fs::read_to_string(&prepared.pod).context("read the pod with its initdata")?;
    let (pod, _) = text.split_once("\n---\n").context("the ConfigMap is gone")?;
    let mut pod = pod::Pod::parse(pod)?;
    let data = BTreeMap::from([("level".to_owned(), "3\n".to_owned())]);
    let settings = pod::ConfigMap { data, ..pod::ConfigMap::default() };
    pod.config_maps.insert("settings".to_owned(), settings);
    Ok(pod)
}

const SETTINGS: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\n  \
                        namespace: shop\ndata:\n  level: \"3\\n\"\n";
/// Waits in the container for new labels, and then says what it sees.
const AWAIT_NEW: &str = "until grep -q new /labels/labels; do sleep 1; done\n\
                         echo \"labels $(cat /labels/labels) level $(cat /conf/level)\"";

/// A container over its memory limit is killed alone, and CRI says why. The VM has the size of the
/// sandbox, in the sandbox's cgroup.
pub(crate) async fn memory_limits_size_the_vm_and_kill(stage: &mut Stage) -> anyhow::Result<()> {
    pods::publish(
        stage,
        "greedy",
        image::Recipe { env: &["PATH=/bin"], ..image::Recipe::default() },
    )?;
    let yaml = pods::yaml("greedy", "greedy", "{}", "grep MemTotal /proc/meminfo; sleep 3600");
    let image = yaml.split("image: ").nth(1).and_then(|t| t.lines().next()).context("image")?;
    let yaml = format!(
        "{yaml}    resources: {{limits: {{memory: 64Mi}}}}\n  - name: greedy\n    image: {image}\n    \
         command: [\"/bin/sh\", \"-c\", \"dd if=/dev/zero of=/dev/null bs=128M count=1; echo went on\"]\n    \
         resources: {{limits: {{memory: 32Mi}}}}\n"
    );
    let (_, pod) = pods::prepare(stage, "greedy", &yaml)?;
    let running = stage.node.start_pod(&pod).await.context("start the pod")?;
    let limit = Duration::from_secs(30);
    let log = stage.node.wait_for_output(&running, "main", limit, |t| t.ends_with("kB\n")).await?;

    let vmm = vmm_pid(&running)?;
    let cgroup = fs::read_to_string(format!("/proc/{vmm}/cgroup")).context("the VMM's cgroup")?;
    let parent = &running.sandbox.linux.as_ref().context("no linux")?.cgroup_parent;
    let expected = format!("{parent}/{}", running.id);
    for controller in ["memory", "cpu"] {
        let mut lines = cgroup.lines().map(|line| line.splitn(3, ':').collect::<Vec<_>>());
        let line = lines.find(|line| match line.get(1) {
            // cgroup v2 has one line without names.
            Some(names) => {
                names.is_empty() && cgroup.lines().count() == 1
                    || names.split(',').any(|name| name == controller)
            }
            None => false,
        });
        let path = line.and_then(|line| line.get(2).copied()).unwrap_or_default();
        ensure!(path == expected, "the VMM's {controller} cgroup is {path:?}, not {expected:?}");
    }

    // 512 MiB for the guest and the images, and the limits' sum.
    let words = fs::read(format!("/proc/{vmm}/cmdline")).context("the VMM's command line")?;
    let words = String::from_utf8_lossy(&words).into_owned();
    ensure!(words.contains("608M") || words.contains("\x00608\x00"), "no 608 MiB in {words:?}");
    let total: u64 = log.split_whitespace().nth(1).context("MemTotal")?.parse()?;
    ensure!((512 << 10..608 << 10).contains(&total), "the guest has {total} KiB");

    let id = running.containers.get("greedy").context("no id")?.clone();
    let code = stage.node.wait_for_exit(&id, limit).await?;
    let mut reason = String::new();
    for _ in 0..50 {
        reason = stage.node.cri.status(&id).await?.reason;
        if reason == "OOMKilled" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let id = running.containers.get("main").context("no id")?.clone();
    let neighbour = stage.node.cri.status(&id).await?.state();
    let log = stage.node.log(&running, "greedy")?;
    stage.node.cri.remove_pod(&running.id).await?;
    // E22: the shell around the killed command is gone too.
    ensure!(!log.contains("went on"), "half of the container went on: {log:?}");
    ensure!(code == 137 && reason == "OOMKilled", "exit code {code}, reason {reason:?}");
    ensure!(neighbour == ContainerState::ContainerRunning, "the neighbour is {neighbour:?}");
    Ok(())
}

/// The file of the pod with everything.
const EVERYTHING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/pods/everything.yaml");

/// The process id of a pod's VMM.
pub(crate) fn vmm_pid(running: &casemate_e2e::kubelet::RunningPod) -> anyhow::Result<i32> {
    let status = Node::shim_status(running)?;
    let pid = status["vmm_pid"].as_i64().context("no vmm_pid")?;
    ensure!(Path::new("/proc").join(pid.to_string()).exists(), "the VMM is gone");
    Ok(i32::try_from(pid)?)
}
