// SPDX-License-Identifier: Apache-2.0
//! `casemate-e2e`: the demo's program. `cargo xtask demo` sets everything up and runs it.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use casemate_e2e::artifacts::Artifacts;
use casemate_e2e::demo;
use casemate_e2e::hostile_qemu;
use casemate_e2e::report::Failure;
use casemate_e2e::report::Report;
use casemate_e2e::world;
use clap::Parser;
use clap::Subcommand;

/// The demo of Casemate.
#[derive(Debug, Parser)]
#[command(name = "casemate-e2e")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a pod from encrypted images in an attested VM, then shows attacks being refused.
    Demo {
        /// Prints one JSON object as the last line.
        #[arg(long)]
        json: bool,
        /// A pod's YAML in place of the built-in one.
        #[arg(long)]
        pod: Option<PathBuf>,
        /// NAME=OCI_LAYOUT_DIR: encrypts this image and serves it under the name that the YAML uses.
        #[arg(long = "image", value_name = "NAME=DIR", value_parser = name_and_dir)]
        images: Vec<(String, PathBuf)>,
        /// Leaves report, certificates, initdata and measured files in this directory.
        #[arg(long)]
        keep: Option<PathBuf>,
    },
    /// Measures the figures of docs/specification.md.
    Bench {
        /// How often each figure is measured; the median counts.
        #[arg(long, default_value_t = 5)]
        rounds: u32,
    },
    /// A hostile host in QEMU's place.
    #[command(hide = true)]
    HostileQemu {
        what: String,
        value: String,
        #[arg(last = true)]
        args: Vec<String>,
    },
}

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return refuse_arguments(&error),
    };
    match run(args.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Says what is wrong with the arguments, in JSON too if that was asked for.
fn refuse_arguments(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    if std::env::args().any(|arg| arg == "--json") {
        let text = error.to_string();
        let line = text.lines().next().unwrap_or_default();
        let failure = Failure::of(&anyhow::anyhow!("{line}; next: see --help"));
        if let Ok(line) = (Report { error: Some(failure), ..Report::default() }).to_line() {
            println!("{line}");
        }
    }
    ExitCode::from(2)
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::HostileQemu { what, value, args } => {
            hostile_qemu::become_qemu(&what, &value, args)?;
            Ok(ExitCode::FAILURE)
        }
        Command::Bench { rounds } => bench(rounds),
        Command::Demo { json, pod, images, keep } => {
            let options = demo::Options { pod, images, keep };
            if world::is_inside() { demo_inside(options) } else { demo_outside(options, json) }
        }
    }
}

fn demo_outside(options: demo::Options, json: bool) -> anyhow::Result<ExitCode> {
    let report = run_demo(options).unwrap_or_else(|error| {
        eprintln!("demo: {error:#}");
        Report { error: Some(Failure::of(&error)), ..Report::default() }
    });
    for leftover in &report.leftovers {
        eprintln!("left behind: {leftover}");
    }
    if json {
        println!("{}", report.to_line().context("write the report")?);
    }
    let is_good = report.error.is_none() && report.leftovers.is_empty();
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Checks, then runs the demo in a world of its own. A failure in there is in the report.
fn run_demo(options: demo::Options) -> anyhow::Result<Report> {
    demo::check(&options.absolute()?)?;
    let root = Artifacts::find()?.worlds().join(format!("demo-{}", std::process::id()));
    let (code, leftovers) = world::run_inside(&root)?;
    let mut report: Report = match fs::read_to_string(root.join(REPORT)) {
        Ok(text) => serde_json::from_str(&text).context("parse the report")?,
        Err(_) => Report::default(),
    };
    report.leftovers.extend(leftovers);
    if code != 0 && report.error.is_none() {
        report.error = Some(Failure::of(&anyhow::anyhow!("the demo was ended (exit code {code})")));
    }
    if report.error.is_some() {
        eprintln!("demo: failed; its files are in {}", root.display());
    } else {
        fs::remove_dir_all(&root).context("remove the world's files")?;
    }
    Ok(report)
}

async fn terminated() {
    use tokio::signal::unix::SignalKind;
    match tokio::signal::unix::signal(SignalKind::terminate()) {
        Ok(mut signal) => drop(signal.recv().await),
        Err(_) => std::future::pending().await,
    }
}

fn bench(rounds: u32) -> anyhow::Result<ExitCode> {
    if world::is_inside() {
        runtime()?.block_on(Box::pin(casemate_e2e::bench::run(rounds)))?;
        return Ok(ExitCode::SUCCESS);
    }
    let root = Artifacts::find()?.worlds().join(format!("bench-{}", std::process::id()));
    let (code, _) = world::run_inside(&root)?;
    fs::remove_dir_all(&root).context("remove the world's files")?;
    Ok(if code == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn demo_inside(options: demo::Options) -> anyhow::Result<ExitCode> {
    let root = casemate_e2e::world::inside_root().context("not inside a world")?;
    world::unblock_signals()?;
    let options = options.absolute()?;
    let mut report = Report::default();
    let done = runtime()?.block_on(async {
        tokio::select! {
            done = Box::pin(demo::run(&options, &mut report)) => done,
            // The first process of a PID namespace must catch signals to be ended by them.
            _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
            _ = terminated() => Err(anyhow::anyhow!("terminated")),
        }
    });
    if let Err(error) = &done {
        eprintln!("demo: {error:#}");
        report.error = Some(Failure::of(error));
    }
    fs::create_dir_all(&root).context("create the world's directory")?;
    fs::write(root.join(REPORT), serde_json::to_vec(&report).context("write the report")?)
        .context("write the report")?;
    Ok(if done.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the async runtime")
}

fn name_and_dir(text: &str) -> Result<(String, PathBuf), String> {
    let (name, dir) = text.rsplit_once('=').ok_or("expected NAME=OCI_LAYOUT_DIR")?;
    Ok((name.to_owned(), PathBuf::from(dir)))
}

const REPORT: &str = "report.json";
