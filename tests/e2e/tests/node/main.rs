// SPDX-License-Identifier: Apache-2.0
//! Whole nodes: real containerd, real registry, real VMs. Each scenario says what it shows.
//!
//! `cargo test -p casemate-e2e --test node -- [NAME…]` runs the scenarios whose names contain one of
//! the given texts. Needs root and what `cargo xtask setup` and `cargo xtask build` make.

#![expect(
    clippy::indexing_slicing,
    reason = "on JSON values, where it gives null and never panics"
)]

mod audit;
mod clients;
mod failures;
mod kubernetes;
mod lies;
mod pods;
mod snapshotter;
mod terminal;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use casemate_e2e::artifacts::Artifacts;
use casemate_e2e::containerd::Release;
use casemate_e2e::demo::Stage;
use casemate_e2e::world;
use casemate_e2e::world::World;

fn main() -> ExitCode {
    if std::env::args().any(|arg| arg == "--list") {
        return ExitCode::SUCCESS;
    }
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("node tests: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    if world::is_inside() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context("start the async runtime")?;
        return runtime.block_on(Box::pin(inside()));
    }
    if let Some(reason) = cannot_run() {
        anyhow::ensure!(std::env::var_os("CASEMATE_REQUIRE").is_none(), "cannot run: {reason}");
        println!("skipped: {reason}");
        return Ok(ExitCode::SUCCESS);
    }
    let artifacts = Artifacts::find()?;
    let mut failed = false;
    for group in ["containerd-1.6", "containerd-1.7"] {
        println!("\nrunning the scenarios on {group}");
        let root = artifacts.worlds().join(format!("test-{}-{group}", std::process::id()));
        let (code, leftovers) = world::run_inside(&root)?;
        for leftover in &leftovers {
            eprintln!("left behind: {leftover}");
        }
        if code == 0 && leftovers.is_empty() {
            std::fs::remove_dir_all(&root).context("remove the world's files")?;
        } else {
            eprintln!("the world's files are in {}", root.display());
            failed = true;
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What is missing for running these tests.
fn cannot_run() -> Option<&'static str> {
    let artifacts = match Artifacts::find() {
        Ok(artifacts) => artifacts,
        Err(_) => return Some("this program runs outside of cargo's target directory"),
    };
    if !artifacts.guest_image("sim").join("image.json").is_file() {
        return Some("there is no guest image: run `cargo xtask build`");
    }
    if !artifacts.tools().is_dir() {
        return Some("containerd and the registry are not fetched: run `cargo xtask setup`");
    }
    None
}

async fn inside() -> anyhow::Result<ExitCode> {
    let world = World::prepare()?;
    let release =
        if world.root().to_string_lossy().ends_with("1.7") { Release::V1_7 } else { Release::V1_6 };
    let mut stage = Stage::start(world, release, None).await?;
    stage.owner.accept(&stage.predict(&stage.artifacts.guest_image("sim"), 1)?)?;
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let mut tally = Tally::default();
    macro_rules! scenario {
        ($($module:ident::$name:ident),+ $(,)?) => {$(
            let name = concat!(stringify!($module), "::", stringify!($name));
            if wanted.is_empty() || wanted.iter().any(|w| name.contains(w.as_str())) {
                let begun = Instant::now();
                let result = Box::pin($module::$name(&mut stage)).await;
                tally.add(name, begun, result);
            }
        )+};
    }
    match release {
        Release::V1_6 => {
            scenario!(
                snapshotter::runc_pod_beside_ours,
                snapshotter::encrypted_then_its_plain_twin,
                snapshotter::plain_then_its_encrypted_twin,
                audit::the_owner_reads_what_the_host_asked,
                pods::exec_logs_exit_codes_and_stats,
                pods::containerd_restart_loses_no_output,
                pods::death_of_the_vm_ends_every_task,
                pods::moved_tag_without_the_host_knowing_runs_the_pinned_image,
                clients::ctr_logs_into_a_file_and_a_program,
                kubernetes::what_kubelet_does_for_a_pod,
                kubernetes::memory_limits_size_the_vm_and_kill,
                terminal::exec_with_a_terminal_is_resized,
                lies::about_the_digest_get_the_pinned_image,
                failures::silent_agent,
                failures::broker_down,
                failures::key_not_granted,
                failures::no_initdata,
                failures::missing_tee,
                failures::wrong_key,
                failures::guest_full,
            );
        }
        Release::V1_7 => {
            scenario!(
                snapshotter::runc_pod_beside_ours,
                snapshotter::image_already_there_by_overlayfs,
                pods::user_by_name_from_an_encrypted_image,
                kubernetes::memory_limits_size_the_vm_and_kill,
            );
        }
    }
    println!(
        "\ntest result: {}. {} passed; {} failed",
        tally.verdict(),
        tally.passed,
        tally.failed
    );
    Ok(if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[derive(Default)]
struct Tally {
    passed: u32,
    failed: u32,
}

impl Tally {
    fn add(&mut self, name: &str, begun: Instant, result: anyhow::Result<()>) {
        let seconds = begun.elapsed().as_secs_f64();
        match result {
            Ok(()) => {
                self.passed += 1;
                println!("test {name} ... ok ({seconds:.1} s)");
            }
            Err(error) => {
                self.failed += 1;
                println!("test {name} ... FAILED ({seconds:.1} s)\n    {error:#}");
            }
        }
    }

    fn verdict(&self) -> &'static str {
        if self.failed == 0 { "ok" } else { "FAILED" }
    }
}
