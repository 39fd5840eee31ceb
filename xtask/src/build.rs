// SPDX-License-Identifier: Apache-2.0
//! Builds programs and guest images, and runs what needs them.

use std::process::Command;
use std::process::ExitCode;

use anyhow::Context;

use crate::step;
use crate::step::Steps;
use crate::step::cargo;
use crate::step::show;

/// Programs of the host and the owner.
pub(crate) fn programs(steps: &Steps) -> anyhow::Result<()> {
    steps.step("build the programs of host and owner", || {
        let mut build = cargo();
        build.args(["build", "--locked", "--workspace", "--bins"]);
        show(build)
    })
}

/// The shim as it ships, for its size and memory.
pub(crate) fn release_shim(steps: &Steps) -> anyhow::Result<()> {
    steps.step("build the shim for release", || {
        let mut build = cargo();
        build.args(["build", "--locked", "--release", "-p", "containerd-shim-casemate-v2"]);
        show(build)
    })
}

/// The static guest programs and both guest images.
pub(crate) fn guest_images(steps: &Steps) -> anyhow::Result<()> {
    steps.step("build the guest's programs (static)", || {
        let mut build = cargo();
        build
            .args(["build", "--locked", "--release", "--target", GUEST_TARGET])
            .args(["-p", "casemate-agent", "-p", "casemate-tee-sim-device"])
            .env("RUSTFLAGS", guest_rustflags()?)
            .env("LIBSECCOMP_LINK_TYPE", "static")
            .env("LIBSECCOMP_LIB_PATH", "/usr/lib/x86_64-linux-gnu");
        show(build)
    })?;
    let guest = step::target().join(GUEST_TARGET).join("release");
    for kind in ["production", "sim"] {
        steps.step(&format!("build the guest image: {kind}"), || {
            let mut build = Command::new(step::target().join("debug/casemate"));
            build
                .args(["guest-image", "build", "--kind", kind])
                .arg("--agent")
                .arg(guest.join("casemate-agent"))
                .arg("--inputs")
                .arg(step::build_folder().join("inputs"))
                .arg("--out")
                .arg(step::build_folder().join("guest").join(kind));
            if kind == "sim" {
                build.arg("--sim-device").arg(guest.join("casemate-tee-sim-device"));
            }
            step::quiet(build).map(drop)
        })?;
    }
    Ok(())
}

/// Every test of the workspace.
pub(crate) fn tests(steps: &Steps) -> anyhow::Result<()> {
    let vectors = step::workspace().join("../shared/vectors");
    steps.step("run the tests", || {
        let mut test = cargo();
        // Nothing may skip: the set-up above has brought everything that a test can ask for.
        test.args(["test", "--locked", "--workspace", "--no-fail-fast"])
            .env("CASEMATE_REQUIRE", "1");
        if !vectors.is_dir() {
            anyhow::ensure!(std::env::var_os("CI").is_none(), "{} is missing", vectors.display());
            eprintln!(
                "skipped: {}: no evidence of genuine hardware in {}",
                NEED_VECTORS.join(", "),
                vectors.display()
            );
            test.args(NEED_VECTORS.iter().flat_map(|name| ["--exclude", name]));
        }
        show(test)
    })
}

/// Runs a command of the end-to-end program.
pub(crate) fn end_to_end(command: &str, options: &[String]) -> anyhow::Result<ExitCode> {
    let status = Command::new(step::target().join("debug/casemate-e2e"))
        .arg(command)
        .args(options)
        .envs((command == "bench").then_some(("CASEMATE_RELEASE_SHIM", "1")))
        .status()
        .context("start casemate-e2e")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Flags that make the guest's programs static and independent of the folder they are built in.
fn guest_rustflags() -> anyhow::Result<String> {
    let workspace = step::workspace();
    let home = std::env::var("CARGO_HOME")
        .or_else(|_| std::env::var("HOME").map(|home| format!("{home}/.cargo")))
        .context("neither CARGO_HOME nor HOME is set")?;
    // The last prefix that matches wins.
    Ok(format!(
        "-C target-feature=+crt-static --remap-path-prefix={}=/casemate \
         --remap-path-prefix={home}=/cargo --remap-path-prefix={}=/target",
        workspace.display(),
        step::target().display(),
    ))
}

/// Crates whose tests judge evidence and launches of genuine hardware.
const NEED_VECTORS: &[&str] = &[
    "casemate-broker",
    "casemate-evidence",
    "casemate-image-crypt",
    "casemate-launch-digest",
    "casemate-verifier",
];
const GUEST_TARGET: &str = "x86_64-unknown-linux-gnu";
