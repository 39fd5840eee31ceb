// SPDX-License-Identifier: Apache-2.0
//! Builds programs and guest images, and runs what needs them.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
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

/// Shim and tool as they ship, for their time and memory.
pub(crate) fn release_programs(steps: &Steps) -> anyhow::Result<()> {
    steps.step("build shim and tool for release", || {
        let mut build = cargo();
        build.args(["build", "--locked", "--release"]);
        build.args(["-p", "containerd-shim-casemate-v2", "-p", "casemate"]);
        show(build)
    })
}

/// Measures what a prediction costs; optimised, as it is about hashing.
pub(crate) fn digest_cost(steps: &Steps) -> anyhow::Result<()> {
    steps.step("build the example digest_cost for release", || {
        let mut build = cargo();
        build.args(["build", "--locked", "--release", "-p", "casemate-launch-digest"]);
        build.args(["--example", "digest_cost"]);
        show(build)
    })
}

/// Measures what a verdict costs; optimised, as it is about signatures.
pub(crate) fn verify_cost(steps: &Steps) -> anyhow::Result<()> {
    steps.step("build the examples verify_cost and tdx_verify_cost for release", || {
        let mut build = cargo();
        build.args(["build", "--locked", "--release", "-p", "casemate-verifier"]);
        build.args(["--example", "verify_cost", "--example", "tdx_verify_cost"]);
        show(build)
    })
}

/// Measures what a decision costs; optimised, as the guest's agent is.
pub(crate) fn decision_cost(steps: &Steps) -> anyhow::Result<()> {
    let what = "build the examples monitor_cost, decision_cost and hostile_clients for release";
    steps.step(what, || {
        let mut build = cargo();
        build.args(["build", "--locked", "--release", "-p", "casemate-policy-monitor"]);
        build.args(["-p", "casemate-rego-engine", "--features", "casemate-rego-engine/rego"]);
        build.args(["-p", "casemate-agent", "--example", "hostile_clients"]);
        build.args(["--example", "monitor_cost", "--example", "decision_cost"]);
        show(build)
    })
}

/// The static guest programs and both guest images.
pub(crate) fn guest_images(steps: &Steps) -> anyhow::Result<()> {
    steps.step("build the guest's programs (static)", || {
        guest_programs(&step::workspace(), &step::target())
    })?;
    for kind in ["production", "sim"] {
        steps.step(&format!("build the guest image: {kind}"), || {
            let out = step::build_folder().join("guest").join(kind);
            pack(kind, &step::workspace(), &step::target(), &out)
        })?;
    }
    Ok(())
}

/// Builds both guest images again from a copy of the sources in another folder, and compares.
pub(crate) fn guest_images_again(steps: &Steps) -> anyhow::Result<()> {
    steps.step("build the guest images again, elsewhere: the bytes must be equal", || {
        let elsewhere = tempfile::Builder::new()
            .prefix("casemate-elsewhere")
            .tempdir()
            .context("make a folder")?;
        let sources = elsewhere.path().join("sources");
        let target = elsewhere.path().join("products");
        copy_sources(&step::workspace(), &sources)?;
        guest_programs(&sources, &target)?;
        for kind in ["production", "sim"] {
            let here = step::build_folder().join("guest").join(kind);
            let there = elsewhere.path().join(kind);
            pack(kind, &sources, &target, &there)?;
            let mut diff = Command::new("diff");
            step::quiet({
                diff.arg("-r").arg(&here).arg(&there);
                diff
            })
            .with_context(|| format!("the guest image {kind} depends on where it is built"))?;
        }
        Ok(())
    })
}

/// The guest's programs, from the sources in one folder into a target directory.
fn guest_programs(sources: &Path, target: &Path) -> anyhow::Result<()> {
    let mut build = cargo();
    build
        .current_dir(sources)
        .env("CARGO_TARGET_DIR", target)
        .args(["build", "--locked", "--release", "--target", GUEST_TARGET])
        .args(["-p", "casemate-agent", "-p", "casemate-tee-sim-device"])
        .env("RUSTFLAGS", guest_rustflags(sources, target)?)
        .env("LIBSECCOMP_LINK_TYPE", "static")
        .env("LIBSECCOMP_LIB_PATH", "/usr/lib/x86_64-linux-gnu");
    show(build)
}

/// One guest image, from the programs of a target directory and the sources they were built from.
fn pack(kind: &str, sources: &Path, target: &Path, out: &Path) -> anyhow::Result<()> {
    let mut metadata = cargo();
    metadata.current_dir(sources).args(["metadata", "--locked", "--format-version", "1"]);
    metadata.args(["--filter-platform", GUEST_TARGET]);
    let crates = target.join("cargo-metadata.json");
    fs::write(&crates, step::quiet(metadata)?).context("write the list of crates")?;
    let guest = target.join(GUEST_TARGET).join("release");
    let mut build = Command::new(step::target().join("debug/casemate"));
    build
        .args(["guest-image", "build", "--kind", kind])
        .arg("--agent")
        .arg(guest.join("casemate-agent"))
        .arg("--inputs")
        .arg(step::build_folder().join("inputs"))
        .arg("--cargo-metadata")
        .arg(crates)
        .arg("--out")
        .arg(out);
    if step::own_lock().exists() {
        build.arg("--lock").arg(step::own_lock());
    }
    if kind == "sim" {
        build.arg("--sim-device").arg(guest.join("casemate-tee-sim-device"));
    }
    step::quiet(build).map(drop)
}

/// All files but products and history.
fn copy_sources(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to).with_context(|| format!("make {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry?;
        if ["target", ".git"].iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        let mut copy = Command::new("cp");
        copy.arg("--recursive").arg(entry.path()).arg(to);
        step::quiet(copy)?;
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
            .env("PATH", path_with_tools()?)
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
    })?;
    steps.step("run the tests of what is optional: Rego", || {
        let mut test = cargo();
        test.args([
            "test",
            "--locked",
            "--no-fail-fast",
            "--features",
            REGO_FEATURES.join(",").as_str(),
        ])
        .args(
            REGO_FEATURES
                .iter()
                .filter_map(|feature| feature.split_once('/'))
                .flat_map(|(name, _)| ["-p", name]),
        )
        .env("CASEMATE_REQUIRE", "1");
        show(test)?;
        let mut test = cargo();
        let features = "casemate/rego,casemate-broker/rego,casemate-agent/rego";
        test.args(["test", "--locked", "--features", features])
            .args(["-p", "casemate", "--test", "verify_rego"])
            .args(["-p", "casemate-broker", "--test", "protocol"])
            .args(["-p", "casemate-agent", "--test", "narrow"])
            .env("CASEMATE_REQUIRE", "1");
        show(test)
    })
}

/// No program has them by default.
const REGO_FEATURES: &[&str] =
    &["casemate-policy-rules/rego", "casemate-rego-engine/rego", "casemate-rego/rego"];

/// `PATH`, and behind it the programs that the set-up unpacked without installing them.
fn path_with_tools() -> anyhow::Result<OsString> {
    let tools = step::build_folder().join("tools/usr");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([tools.join("bin"), tools.join("sbin")]);
    std::env::join_paths(folders).context("PATH")
}

/// Runs a command of the end-to-end program.
pub(crate) fn end_to_end(command: &str, options: &[String]) -> anyhow::Result<ExitCode> {
    // Whatever ends this process tells the other to end and clean up.
    let status = Command::new("setpriv")
        .args(["--pdeathsig", "TERM"])
        .arg(step::target().join("debug/casemate-e2e"))
        .arg(command)
        .args(options)
        .envs((command == "bench").then_some(("CASEMATE_RELEASE_SHIM", "1")))
        .status()
        .context("start casemate-e2e")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Flags that make the guest's programs static and independent of the folder they are built in.
fn guest_rustflags(sources: &Path, target: &Path) -> anyhow::Result<String> {
    let home = std::env::var("CARGO_HOME")
        .or_else(|_| std::env::var("HOME").map(|home| format!("{home}/.cargo")))
        .context("neither CARGO_HOME nor HOME is set")?;
    // The last prefix that matches wins.
    Ok(format!(
        "-C target-feature=+crt-static --remap-path-prefix={}=/casemate \
         --remap-path-prefix={home}=/cargo --remap-path-prefix={}=/target",
        sources.display(),
        target.display(),
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
