// SPDX-License-Identifier: Apache-2.0
//! What the program does by its command line (containerd, `runtime/v2/README.md`).

mod delete;
mod serve;
mod start;

use std::io::Write;
use std::process::ExitCode;

use containerd_shim::Flags;

use crate::error::ShimError;

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // containerd shows what a failed `start` wrote.
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), ActionError> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let flags = containerd_shim::parse(&arguments).map_err(ActionError::Shim)?;
    if flags.version {
        let version = concat!("containerd-shim-casemate-v2 ", env!("CARGO_PKG_VERSION"), "\n");
        return print(version.as_bytes());
    }
    if flags.info {
        return print(&start::runtime_info());
    }
    // One thread: the shim waits for others nearly all of its life, and its memory is counted.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(IDLE_THREAD)
        .build()
        .map_err(ActionError::Runtime)?;
    runtime.block_on(async {
        match flags.action.as_str() {
            "start" => print(&start::start(&flags).await?),
            "delete" => print(&delete::delete(&flags).await?),
            "" if !flags.socket.is_empty() => serve::serve(&flags).await,
            action => Err(ActionError::Unknown { action: action.to_owned() }),
        }
    })
}

fn print(bytes: &[u8]) -> Result<(), ActionError> {
    let mut out = std::io::stdout();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(ActionError::Output)
}

/// The sandbox's or container's id on the command line.
fn id(flags: &Flags) -> Result<casemate_sandbox::Id, ActionError> {
    Ok(casemate_sandbox::Id::new(&flags.id).map_err(ShimError::from)?)
}

/// Why the program fails.
#[derive(Debug, thiserror::Error)]
enum ActionError {
    #[error("{0}")]
    Request(#[from] ShimError),
    #[error("{0}")]
    Shim(containerd_shim::Error),
    #[error("failed to start the runtime: {0}")]
    Runtime(std::io::Error),
    #[error("failed to answer: {0}")]
    Output(std::io::Error),
    #[error("unknown action {action:?}: start and delete are run by containerd")]
    Unknown { action: String },
    #[error("the environment variable {name} is not set")]
    Environment { name: &'static str },
    #[error("the shim of pod {sandbox} does not answer: {source}")]
    NoShim { sandbox: casemate_sandbox::Id, source: std::io::Error },
    #[error("failed to serve: {0}")]
    Serve(ttrpc::Error),
    #[error("failed to read what containerd sends: {0}")]
    Input(std::io::Error),
}

/// How long an idle helper thread is kept.
const IDLE_THREAD: std::time::Duration = std::time::Duration::from_secs(1);
