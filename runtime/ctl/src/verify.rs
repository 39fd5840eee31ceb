// SPDX-License-Identifier: Apache-2.0
//! `casemate verify`: judges evidence offline and says why.
//!
//! The network is not used: whatever a verdict needs is a file. Exit codes are for scripts: 0 only
//! for evidence that is affirmed, so that a script which tests for nothing else is safe.

mod evidence;
mod html;
mod input;
mod judgement;
mod page;
mod policy;
mod rego;
mod roots;
mod snp;
mod tdx;
mod text;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use casemate_verifier::Status;

use crate::args::JudgeArgs;
use crate::args::VerifyCommand;
use crate::failure::Failure;
use crate::file;
use input::Input;
use judgement::Judgement;

/// Judges, prints and says how to exit.
pub(crate) fn run(command: &VerifyCommand) -> Result<ExitCode, Failure> {
    let judged = match command {
        VerifyCommand::Snp(args) => snp::report(args).map(|judged| (judged, &args.judge)),
        VerifyCommand::Tdx(args) => tdx::quote(args).map(|judged| (judged, &args.judge)),
        VerifyCommand::Evidence(args) => evidence::run(args).map(|judged| (judged, &args.judge)),
    };
    // Input that cannot be used is no verdict: neither 1 nor 3 may say so.
    let (judgement, args) = judged.map_err(|failure| failure.exit(UNUSABLE))?;
    show(&judgement, args).map_err(|failure| failure.exit(UNUSABLE))?;
    Ok(match judgement.verdict.status() {
        Status::Affirming => ExitCode::SUCCESS,
        Status::Unbound => ExitCode::from(UNBOUND),
        Status::Refused => ExitCode::FAILURE,
    })
}

fn show(judgement: &Judgement, args: &JudgeArgs) -> Result<(), Failure> {
    if let Some(path) = &args.html {
        // Evidence is not to be lost to its own verdict, by whatever name.
        let target = file::id(path);
        let same = |input: &&Input| target.is_some() && input.id == target;
        if let Some(input) = judgement.inputs.iter().find(same) {
            return Err(Failure::new(
                "input",
                format_args!("--html {} is the file of {}", path.display(), input.role),
                "give another file for the page",
            ));
        }
        file::write_regular(path, page::page(judgement).as_bytes())?;
    }
    let text = if args.json {
        text::json(judgement)
    } else if args.explain {
        text::explain(judgement)
    } else {
        text::short(judgement)
    };
    for warning in judgement.warnings() {
        eprintln!("warning: {warning}");
    }
    file::write(None, &text)
}

/// The time of a verdict, seconds since 1970.
fn now(args: &JudgeArgs) -> u64 {
    match args.at {
        Some(moment) => moment.0,
        // A clock before 1970 makes every certificate not yet valid: nothing is accepted.
        None => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
    }
}

/// Reads files of one role.
fn read_all(role: &'static str, paths: &[PathBuf], max: u64) -> Result<Vec<Input>, Failure> {
    if paths.len() > MAX_FILES {
        return Err(Failure::new(
            "input",
            format_args!("{role} is given more than {MAX_FILES} times"),
            input::NEXT,
        ));
    }
    paths.iter().map(|path| Input::read(role, path, max)).collect()
}

/// Exit code of input that cannot be used; clap's too.
const UNUSABLE: u8 = 2;
/// Exit code of evidence that is genuine, and of which nothing said what it should be.
const UNBOUND: u8 = 3;

/// Largest file with certificates, bytes.
const MAX_CERTIFICATES_FILE: u64 = 128 << 10;
/// Most files of one role.
const MAX_FILES: usize = 8;
