// SPDX-License-Identifier: Apache-2.0
//! `casemate-tee-sim`: makes and runs a software PSP, and mints evidence.

mod command;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use casemate_tee_sim::identity::Identity;
use casemate_tee_sim::report::ReportVersion;
use casemate_tee_sim::service::Service;
use clap::{Parser, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use crate::command::mint::Mint;
use crate::command::suite::SuiteArguments;

/// A software PSP for development and tests. Its reports prove nothing to anybody who does not
/// configure its root by hand.
#[derive(Parser)]
#[command(name = "casemate-tee-sim")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes keys and certificates (ARK, ASK, VCEK) in a folder, unless they are there.
    Init {
        /// The folder.
        #[arg(long)]
        dir: PathBuf,
    },
    /// Prints the chain that a verifier is configured with: ASK and ARK, PEM.
    Chain {
        /// The folder.
        #[arg(long)]
        dir: PathBuf,
    },
    /// Serves launches and reports.
    Serve {
        /// The folder.
        #[arg(long)]
        dir: PathBuf,
        /// The control socket to listen on.
        #[arg(long)]
        socket: PathBuf,
        /// Version of the reports.
        #[arg(long, default_value = "3")]
        report_version: Version,
    },
    /// Writes evidence of any product, with its certificates and collateral; good, or faulty.
    Mint(Box<Mint>),
    /// Runs a verifier, given as a command, on good evidence and on every fault.
    Suite(Box<SuiteArguments>),
}

#[derive(Clone, Copy, ValueEnum)]
enum Version {
    #[value(name = "2")]
    V2,
    #[value(name = "3")]
    V3,
}

fn main() -> anyhow::Result<ExitCode> {
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false);
    log.init();
    match Arguments::parse().command {
        Command::Init { dir } => {
            Identity::init(&dir)?;
        }
        Command::Chain { dir } => {
            let chain = Identity::open(&dir)?.chain_pem();
            std::io::stdout().write_all(chain.as_bytes()).context("failed to print the chain")?;
        }
        Command::Serve { dir, socket, report_version } => {
            let version = match report_version {
                Version::V2 => ReportVersion::V2,
                Version::V3 => ReportVersion::V3,
            };
            // QEMU writes there and stands in another folder.
            let folder = dir.canonicalize().context("failed to find the folder")?;
            serve(Service::new(Identity::open(&dir)?, version, folder), &socket)?;
        }
        Command::Mint(mint) => mint.run()?,
        Command::Suite(suite) => {
            // 1 says something of the verifier, so a suite that could not run says 2.
            return Ok(suite.run().unwrap_or_else(|error| {
                tracing::error!("{error:#}");
                ExitCode::from(2)
            }));
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[tokio::main(flavor = "current_thread")]
async fn serve(service: Service, socket: &Path) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        served = service.serve(socket) => {
            served.with_context(|| format!("failed to serve {}", socket.display()))?;
        }
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    std::fs::remove_file(socket).with_context(|| format!("failed to remove {}", socket.display()))
}
