// SPDX-License-Identifier: Apache-2.0
//! The figures of docs/specification.md, measured in one run.

mod decision;
mod generate;
mod measure;
mod verdict;

use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::ensure;

use crate::containerd::Release;
use crate::demo::Stage;
use crate::demo::built_in_images;
use crate::hostile_qemu::QEMU;
use crate::image;
use crate::node::Node;
use crate::pod::Pod;
use crate::world;
use crate::world::World;

/// Runs the benchmark inside a world and prints its figures.
///
/// # Errors
///
/// When something does not run.
pub async fn run(rounds: u32) -> anyhow::Result<()> {
    let mut stage = Stage::start(World::prepare()?, Release::V1_6, None).await?;
    for (name, recipe) in built_in_images() {
        let layout = image::make(&stage.world.root().join("images").join(name), &recipe)?;
        let encrypted = stage.owner.encrypt(&layout, name)?;
        stage.registry.push(&encrypted, &format!("demo/{name}"), "1")?;
    }
    let image_dir = stage.artifacts.guest_image("sim");
    stage.owner.accept(&stage.predict(&image_dir, 1)?)?;
    let prepared = stage.prepare(Path::new(crate::demo::BUILT_IN_POD), &[], "bench")?;
    let pod = Pod::read(&prepared.pod)?;
    let floor_initramfs = floor_initramfs(stage.world.root())?;

    let mut floors = Vec::new();
    let mut starts = Vec::new();
    let mut ready = Vec::new();
    let mut rss = (0, 0);
    for round in 1..=rounds {
        // Alternating, so that a slow moment of the machine meets both.
        let floor = raw_floor(&image_dir.join("kernel"), &floor_initramfs)?;
        let (start, agent_ready, shim, agent) = cold_start(&mut stage, &pod).await?;
        eprintln!(
            "round {round}: floor {} ms, pod start {} ms",
            floor.as_millis(),
            start.as_millis()
        );
        floors.push(floor);
        starts.push(start);
        ready.push(agent_ready);
        rss = (rss.0.max(shim), rss.1.max(agent));
    }
    let (floor, start) = (median(floors)?, median(starts)?);
    let ratio = start.as_secs_f64() / floor.as_secs_f64();
    println!("cold pod start to first output   {:>8} ms (median of {rounds})", start.as_millis());
    println!("raw floor                        {:>8} ms (median of {rounds})", floor.as_millis());
    println!("ratio                            {ratio:>8.2}    (target 2.5)");
    let ready = median(ready)?;
    let boot = ready.as_secs_f64() / floor.as_secs_f64();
    println!("VM start to agent ready ÷ floor  {boot:>8.2}    ({} ms)", ready.as_millis());
    println!("shim RSS                         {:>8.1} MiB (target 8)", mib(rss.0));
    println!("agent RSS                        {:>8.1} MiB (target 12)", mib(rss.1));
    for (kind, part, target) in [
        ("production", "initramfs", "(target 6)"),
        ("production", "kernel", ""),
        ("sim", "initramfs", ""),
    ] {
        let bytes = fs::metadata(stage.artifacts.guest_image(kind).join(part))
            .with_context(|| format!("size of {part}"))?
            .len();
        println!("{:<32} {:>8.2} MiB {target}", format!("{kind} {part}"), mib(bytes / 1024));
    }
    let mut measured = 0;
    for part in ["firmware.fd", "kernel", "initramfs", "cmdline.txt"] {
        let path = stage.artifacts.guest_image("production").join(part);
        measured += fs::metadata(path).with_context(|| format!("size of {part}"))?.len();
    }
    println!("{:<32} {:>8.2} MiB", "production, all that is measured", mib(measured / 1024));
    decision::run(&stage.artifacts)?;
    generate::run(&stage, rounds)?;
    verdict::run(&stage.artifacts)?;
    measure::run(&stage.artifacts, rounds)
}

/// From asking for the sandbox to the first container's first output; from the VM's start to the
/// agent's first word; shim and agent RSS in KiB.
async fn cold_start(
    stage: &mut Stage,
    pod: &Pod,
) -> anyhow::Result<(Duration, Duration, u64, u64)> {
    let begun = Instant::now();
    let mut running = stage.node.start_sandbox(pod).await.context("start the sandbox")?;
    let first = pod.spec.containers.first().context("no container")?.name.clone();
    stage.node.start_container(&mut running, pod, &first).await.context("start a container")?;
    let limit = Duration::from_secs(60);
    stage.node.wait_for_output(&running, &first, limit, |t| !t.is_empty()).await?;
    let elapsed = begun.elapsed();
    let status = Node::shim_status(&running)?;
    let shim = rss_kib(status["shim_pid"].as_u64().context("no shim_pid")?)?;
    let agent = status["agent_rss_kib"].as_u64().context("no agent_rss_kib")?;
    let mark = |name: &str| status["timeline_ms"][name].as_u64().context("no such mark");
    let ready = mark("agent_ready")?.saturating_sub(mark("vm_start")?);
    stage.node.cri.remove_pod(&running.id).await.context("remove the pod")?;
    Ok((elapsed, Duration::from_millis(ready), shim, agent))
}

/// The least that this machine needs to start a VM: the same QEMU and kernel, an init of one line.
fn raw_floor(kernel: &Path, initramfs: &Path) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let mut child = Command::new(QEMU)
        .args([
            "-accel",
            "tcg,thread=multi",
            "-machine",
            "q35",
            "-cpu",
            "EPYC-v4",
            "-smp",
            "1",
            "-m",
            "512",
        ])
        .args([
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-display",
            "none",
            "-serial",
            "stdio",
        ])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(initramfs)
        .args([
            "-append",
            "console=ttyS0 quiet panic=-1 tsc=reliable no_timer_check cryptomgr.notests",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("start QEMU")?;
    let out = child.stdout.take().context("QEMU's output")?;
    let mut elapsed = None;
    for line in BufReader::new(out).lines() {
        if line.context("read the console")?.contains(FLOOR_MARK) {
            elapsed = Some(begun.elapsed());
            break;
        }
    }
    child.kill().context("end QEMU")?;
    child.wait().context("wait for QEMU")?;
    elapsed.context("the floor's init printed nothing")
}

/// An initramfs with busybox and a script of one line.
fn floor_initramfs(root: &Path) -> anyhow::Result<PathBuf> {
    let dir = root.join("floor");
    fs::create_dir_all(&dir).context("create a directory")?;
    fs::copy("/bin/busybox", dir.join("busybox")).context("copy busybox")?;
    fs::write(dir.join("init"), format!("#!/busybox sh\necho {FLOOR_MARK}\n"))
        .context("write init")?;
    world::run("chmod", &["755", &dir.join("init").display().to_string()])?;
    let out = root.join("floor.cpio");
    let script = format!(
        "cd '{}' && printf 'busybox\\ninit\\n' | /bin/busybox cpio -o -H newc > '{}'",
        dir.display(),
        out.display()
    );
    world::run("sh", &["-c", &script])?;
    ensure!(
        out.metadata().context("the floor's initramfs")?.len() > 0,
        "the floor's initramfs is empty"
    );
    Ok(out)
}

fn rss_kib(pid: u64) -> anyhow::Result<u64> {
    let text =
        fs::read_to_string(format!("/proc/{pid}/status")).context("read a process' status")?;
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("no VmRSS")?;
    line.trim().trim_end_matches(" kB").trim().parse().context("VmRSS")
}

fn median(mut values: Vec<Duration>) -> anyhow::Result<Duration> {
    values.sort_unstable();
    values.get(values.len() / 2).copied().context("no rounds")
}

fn mib(kib: u64) -> f64 {
    f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0
}

const FLOOR_MARK: &str = "casemate-floor-reached";
