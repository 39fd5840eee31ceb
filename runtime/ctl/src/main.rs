// SPDX-License-Identifier: Apache-2.0
//! The `casemate` tool: what the owner of a workload and the operator of a node call by hand.
//!
//! The owner trusts it on a machine of their own: it writes policies, encrypts images, predicts
//! launch digests and judges evidence. On a node it only looks.

mod args;
mod audit;
mod check;
mod collateral;
mod env;
mod failure;
mod file;
mod guest_image;
mod id_block;
mod image;
mod measure;
mod policy;
mod usage;
mod verify;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Args;
use crate::args::Command;
use crate::args::GuestImageCommand;
use crate::args::IdBlockCommand;
use crate::args::ImageCommand;
use crate::args::MeasureCommand;
use crate::args::PolicyCommand;
use crate::failure::Failure;
use crate::failure::UNUSABLE;

fn main() -> ExitCode {
    // The child that evaluates rules has one thread and nothing set up.
    if let Some(code) = casemate_policy_rules::child_main() {
        return code;
    }
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return usage::answer(&error),
    };
    run(args.command).unwrap_or_else(|failure| {
        eprintln!("{failure}");
        failure.exit_code()
    })
}

fn run(command: Command) -> Result<ExitCode, Failure> {
    let done = match command {
        Command::Audit(command) => audit::run(&command),
        Command::Check(args) => check::run(&args),
        Command::Collateral(command) => collateral::run(&command),
        Command::Env(args) => env::print(&args),
        Command::GuestImage(command) => measured_boot(guest_image(&command)),
        Command::IdBlock(IdBlockCommand::Create(args)) => measured_boot(id_block::create(&args)),
        Command::IdBlock(IdBlockCommand::Verify(args)) => measured_boot(id_block::verify(&args)),
        Command::Image(ImageCommand::Encrypt(args)) => image::encrypt(&args),
        Command::Measure(command) => measured_boot(measure(&command)),
        Command::Policy(PolicyCommand::Check(args)) => policy::check(&args),
        Command::Policy(PolicyCommand::Diff(args)) => return policy::compare(&args),
        Command::Policy(PolicyCommand::Explain(args)) => policy::explain(&args),
        Command::Policy(PolicyCommand::Generate(args)) => policy::generate(&args),
        Command::Policy(PolicyCommand::Lint(args)) => return policy::find_weak_spots(&args),
        Command::Policy(PolicyCommand::Simulate(args)) => return policy::replay(&args),
        // A verdict has exit codes of its own.
        Command::Verify(command) => return verify::run(&command),
    };
    done.map(|()| ExitCode::SUCCESS)
}

fn guest_image(command: &GuestImageCommand) -> Result<(), Failure> {
    match command {
        GuestImageCommand::Build(args) => guest_image::build(args),
        GuestImageCommand::Lock(args) => guest_image::lock(args),
        GuestImageCommand::Sbom(args) => guest_image::sbom(args),
        GuestImageCommand::Verify(args) => guest_image::verify(args),
    }
}

fn measure(command: &MeasureCommand) -> Result<(), Failure> {
    match command {
        MeasureCommand::Initdata(args) => measure::initdata(args),
        MeasureCommand::Snp(args) => measure::snp(args),
        MeasureCommand::Tdx(args) => measure::tdx(args),
    }
}

/// Of these commands, 1 says that something was judged and refused, and 2 that it could not be.
fn measured_boot(done: Result<(), Failure>) -> Result<(), Failure> {
    done.map_err(|failure| failure.exit(UNUSABLE))
}
