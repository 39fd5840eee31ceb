// SPDX-License-Identifier: Apache-2.0
//! Set-up, demo, tests and benchmarks: `cargo xtask <command>`.

mod build;
mod hostile;
mod house;
mod setup;
mod step;

use std::process::ExitCode;

use anyhow::ensure;
use clap::Parser;
use clap::Subcommand;

use crate::step::Steps;

/// Set-up, demo, tests and benchmarks of Casemate.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Sets up, builds, and runs a pod from an encrypted image; then shows attacks being refused.
    Demo {
        /// Options of the demo: see `cargo xtask demo -- --help`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// Sets up, builds, lints and runs every test.
    Test,
    /// Sets up and builds all programs and guest images.
    Build,
    /// Installs and fetches what the others need.
    Setup,
    /// Builds the guest images in two folders and compares them, byte by byte.
    Reproduce,
    /// Formatting, lints and house rules, without the tests.
    Lint,
    /// Carries out every attack of the hostile-host catalogue, with and without the policy.
    Hostile(hostile::Options),
    /// Measures what docs/specification.md claims.
    Bench {
        /// Options of the benchmark.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    let wants_json = match &args.command {
        Command::Demo { options } => options.iter().any(|option| option == "--json"),
        _ => false,
    };
    match run(args.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            if wants_json {
                println!("{}", failure(&error));
            }
            ExitCode::FAILURE
        }
    }
}

/// The demo's last line when it did not come to the demo itself.
fn failure(error: &anyhow::Error) -> serde_json::Value {
    let message = format!("{error:#}").replace('\n', " ");
    let next = "read the messages above and run the command again";
    serde_json::json!({
        "error": {"code": "setup", "message": message, "next": next},
        "leftovers": [],
    })
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    let steps = Steps::begin();
    if !matches!(command, Command::Lint) {
        ensure!(
            nix::unistd::Uid::effective().is_root(),
            "run as root: VMs, namespaces and packages need it"
        );
    }
    match command {
        Command::Demo { options } => {
            setup::run(&steps, setup::Scope::Demo)?;
            build::programs(&steps)?;
            build::guest_images(&steps)?;
            build::end_to_end("demo", &options)
        }
        Command::Test => {
            setup::run(&steps, setup::Scope::Test)?;
            house::lint(&steps)?;
            build::programs(&steps)?;
            build::guest_images(&steps)?;
            build::guest_images_again(&steps)?;
            build::tests(&steps)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Build => {
            setup::run(&steps, setup::Scope::Demo)?;
            build::programs(&steps)?;
            build::guest_images(&steps)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Reproduce => {
            setup::run(&steps, setup::Scope::Demo)?;
            build::programs(&steps)?;
            build::guest_images(&steps)?;
            build::guest_images_again(&steps)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Setup => {
            setup::run(&steps, setup::Scope::Test)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Lint => {
            house::lint(&steps)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Hostile(options) => {
            if !options.is_quick() {
                setup::run(&steps, setup::Scope::Test)?;
                build::programs(&steps)?;
                build::guest_images(&steps)?;
            }
            hostile::run(&steps, &options)
        }
        Command::Bench { options } => {
            setup::run(&steps, setup::Scope::Test)?;
            build::programs(&steps)?;
            build::release_programs(&steps)?;
            build::digest_cost(&steps)?;
            build::verify_cost(&steps)?;
            build::decision_cost(&steps)?;
            build::guest_images(&steps)?;
            build::end_to_end("bench", &options)
        }
    }
}
