// SPDX-License-Identifier: Apache-2.0
//! What it costs to predict a launch digest.

use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::ensure;

use super::median;
use crate::artifacts::Artifacts;

/// Prints the cost against pure hashing, the crate `sev` and `sev-snp-measure`.
pub(super) fn run(artifacts: &Artifacts, rounds: u32) -> anyhow::Result<()> {
    let image = artifacts.guest_image("production");
    let part = |name: &str| image.join(name);
    let mut cost = Command::new(artifacts.release_programs().join("examples/digest_cost"));
    cost.args([part("firmware.fd"), part("kernel"), part("initramfs")]);
    let output = cost.output().context("run digest_cost: cargo xtask bench builds it")?;
    ensure!(output.status.success(), "digest_cost failed");
    let json: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("parse digest_cost")?;
    for (key, what, target) in [
        ("one_over_floor", "launch digest ÷ pure hashing", "(target 1.2)"),
        ("all_over_one", "1..255 vCPUs ÷ one", "(target 1.05)"),
        ("sev_crate_over_one", "crate sev ÷ ours", ""),
    ] {
        let value = json.get(key).and_then(serde_json::Value::as_f64).context("a figure")?;
        println!("{what:<32} {value:>8.2}    {target}");
    }

    let theirs = |program: &Path| {
        let mut command = Command::new(program);
        command.args(["--mode", "snp", "--vcpus", "1", "--vcpu-type", "EPYC-v4"]);
        command.args(["--guest-features", "0x1", "--append", "quiet", "--ovmf"]);
        command.arg(part("firmware.fd")).arg("--kernel").arg(part("kernel"));
        command.arg("--initrd").arg(part("initramfs"));
        command
    };
    let ours = |program: &Path| {
        let mut command = Command::new(program);
        command.args(["measure", "snp", "--vcpus", "1", "--vcpu-type", "EPYC-v4"]);
        command.args(["--append", "quiet", "--firmware"]);
        command.arg(part("firmware.fd")).arg("--kernel").arg(part("kernel"));
        command.arg("--initrd").arg(part("initramfs"));
        command
    };
    let (casemate, oracle) = (artifacts.release_programs().join("casemate"), artifacts.oracle());
    let (mut our_times, mut their_times) = (Vec::new(), Vec::new());
    for _ in 0..rounds.max(3) {
        our_times.push(timed(ours(&casemate))?);
        their_times.push(timed(theirs(&oracle))?);
    }
    let (ours, theirs) = (median(our_times)?, median(their_times)?);
    let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
    println!(
        "sev-snp-measure ÷ casemate       {ratio:>8.2}    (target 5; whole processes, {} ÷ {} ms)",
        theirs.as_millis(),
        ours.as_millis()
    );
    Ok(())
}

fn timed(mut command: Command) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let status = command.stdout(Stdio::null()).status().context("start a program")?;
    ensure!(status.success(), "{command:?} failed");
    Ok(begun.elapsed())
}
