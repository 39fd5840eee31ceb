// SPDX-License-Identifier: Apache-2.0
//! Clients of containerd beside CRI, here its own `ctr`: they choose where the output goes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use anyhow::ensure;
use casemate_e2e::containerd::Containerd;
use casemate_e2e::daemon::Daemon;
use casemate_e2e::demo::Stage;
use casemate_e2e::image;
use casemate_e2e::kubelet::RunningPod;
use casemate_e2e::registry::Registry;

use crate::pods;

/// Two further containers of a CRI pod write their output straight into a file of the host
/// (`file://`) and into a program (`binary://`, stdout and stderr apart). `ctr events` shows what was
/// launched for the pod.
pub(crate) async fn ctr_logs_into_a_file_and_a_program(stage: &mut Stage) -> anyhow::Result<()> {
    pods::publish(
        stage,
        "filed",
        image::Recipe { env: &["PATH=/bin"], ..image::Recipe::default() },
    )?;
    let yaml = ["second", "third"].iter().fold(
        pods::yaml("filed", "filed", "{}", "echo up; sleep 3600"),
        |yaml, name| {
            let image = image_name();
            format!("{yaml}  - name: {name}\n    image: {image}\n    command: {COMMAND:?}\n")
        },
    );
    let (_, pod) = pods::prepare(stage, "filed", &yaml)?;
    let mut events =
        Daemon::start("events", ctr_command(stage, &["events"]), &stage.world.logs(), || true)?;
    let mut running = stage.node.start_sandbox(&pod).await?;
    stage.node.start_container(&mut running, &pod, "main").await?;
    events.stop()?;
    let done = match told(&events.log_end(), &running.id) {
        Ok(()) => both(stage, &running).await,
        Err(error) => Err(error),
    };
    stage.node.cri.remove_pod(&running.id).await?;
    done
}

/// E2, E13: an operator who watches the node sees that this pod takes no ACPI code of the host (it has
/// one vCPU) and is hidden from nobody (it runs under the software TEE).
fn told(events: &str, sandbox: &str) -> anyhow::Result<()> {
    let launched = events.lines().find(|line| line.contains("/casemate/launched"));
    let launched = launched.with_context(|| format!("no event of the launch in {events:?}"))?;
    for told in [sandbox, "launch_digest", "host_data"] {
        ensure!(launched.contains(told), "no {told} in {launched}");
    }
    for flag in ["acpi_from_host", "confidential"] {
        let (_, value) = launched.split_once(flag).with_context(|| format!("no {flag}"))?;
        let value = value.split(['}', ',']).next().unwrap_or_default();
        ensure!(value.contains("false"), "{flag} is not false in {launched}");
    }
    Ok(())
}

async fn both(stage: &Stage, running: &RunningPod) -> anyhow::Result<()> {
    let file = stage.world.root().join("second.log");
    run(stage, running, "second", &format!("file://{}", file.display()))?;
    let text = written(&file, 2).await;
    ensure!(text == "out\nerr\n" || text == "err\nout\n", "the file has {text:?}");

    let logger = stage.world.root().join("logger");
    let out = stage.world.root().join("third.log");
    // Its first argument is the file; descriptors 3 and 4 are the streams, closing 5 says "ready".
    let script = "#!/bin/sh\nexec 5>&-\n/bin/cat <&4 >\"$1.err\" &\n/bin/cat <&3 >\"$1\"\nwait\n";
    fs::write(&logger, script).context("write the logger")?;
    fs::set_permissions(&logger, fs::Permissions::from_mode(0o755))
        .context("make it executable")?;
    run(stage, running, "third", &format!("binary://{}?{}", logger.display(), out.display()))?;
    let text = written(&out, 1).await;
    ensure!(text == "out\n", "the program got {text:?} on stdout");
    let text = written(&out.with_extension("log.err"), 1).await;
    ensure!(text == "err\n", "the program got {text:?} on stderr");

    for name in ["second", "third"] {
        ctr(stage, &["task", "rm", "-f", name])?;
        ctr(stage, &["container", "rm", name])?;
    }
    Ok(())
}

/// Starts a container of the pod with its output at `uri`.
fn run(stage: &Stage, pod: &RunningPod, name: &str, uri: &str) -> anyhow::Result<()> {
    let image = image_name();
    let annotations = [
        "io.kubernetes.cri.container-type=container".to_owned(),
        format!("io.kubernetes.cri.sandbox-id={}", pod.id),
        format!("io.kubernetes.cri.container-name={name}"),
        format!("io.kubernetes.cri.image-name={image}"),
    ];
    let mut args = vec!["run", "-d", "--snapshotter", "casemate"];
    args.extend(["--runtime", "io.containerd.casemate.v2", "--env", "HOSTNAME=filed"]);
    args.extend(["--log-uri", uri]);
    args.extend(annotations.iter().flat_map(|text| ["--annotation", text]));
    args.extend([image.as_str(), name]);
    args.extend(COMMAND);
    ctr(stage, &args).map(drop)
}

/// The text of a file once it has so many lines, or has had its time.
async fn written(path: &Path, lines: usize) -> String {
    let mut text = String::new();
    for _ in 0..100 {
        text = fs::read_to_string(path).unwrap_or_default();
        if text.lines().count() == lines {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    text
}

/// Calls ctr in CRI's namespace.
fn ctr(stage: &Stage, args: &[&str]) -> anyhow::Result<String> {
    let mut command = ctr_command(stage, args);
    let output = command.output().context("start ctr")?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ctr {args:?} failed: {error}");
    String::from_utf8(output.stdout).context("ctr's output")
}

fn ctr_command(stage: &Stage, args: &[&str]) -> Command {
    let mut command = Command::new(stage.artifacts.tool("ctr"));
    command.arg("-a").arg(Containerd::socket()).args(["-n", "k8s.io"]).args(args);
    command
}

fn image_name() -> String {
    format!("{}/test/filed:1", Registry::address())
}

const COMMAND: [&str; 3] = ["/bin/sh", "-c", "echo out; echo err >&2; exec sleep 3600"];
