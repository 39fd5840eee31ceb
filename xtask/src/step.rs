// SPDX-License-Identifier: Apache-2.0
//! Progress: each step says what it does and how long it took.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::Context;
use anyhow::bail;

/// The steps of one command.
#[derive(Debug)]
pub(crate) struct Steps {
    begun: Instant,
}

impl Steps {
    /// Starts the clock.
    pub(crate) fn begin() -> Self {
        Self { begun: Instant::now() }
    }

    /// Runs one step and tells about it on stderr.
    pub(crate) fn step<T>(
        &self,
        what: &str,
        work: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        eprintln!("[{:>6.1} s] {what}", self.begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        let result = work().with_context(|| what.to_owned())?;
        eprintln!(
            "[{:>6.1} s]   done in {:.1} s",
            self.begun.elapsed().as_secs_f64(),
            begun.elapsed().as_secs_f64()
        );
        Ok(result)
    }
}

/// The workspace's root.
pub(crate) fn workspace() -> PathBuf {
    let xtask = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().map(PathBuf::from).unwrap_or(xtask)
}

/// The build folder: everything that is fetched or made, except cargo's own files.
pub(crate) fn build_folder() -> PathBuf {
    target().join("casemate")
}

/// The lock of this machine's guest inputs, where it differs from the release's.
pub(crate) fn own_lock() -> PathBuf {
    build_folder().join("inputs.lock.json")
}

/// Cargo's target directory.
pub(crate) fn target() -> PathBuf {
    workspace().join("target")
}

/// `cargo` in the workspace.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace()).env("CARGO_TARGET_DIR", target());
    // What cargo tells this program about itself: build scripts that look at it would run anew, and
    // all that depends on them, whenever cargo is called by hand in between.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| OF_THIS_PROGRAM.iter().any(|p| name.starts_with(p))) {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command with its output shown.
pub(crate) fn show(mut command: Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("start {:?}", command.get_program()))?;
    if !status.success() {
        bail!("{} failed: {status}", line(&command));
    }
    Ok(())
}

/// Runs a command; its output appears only when it fails.
pub(crate) fn quiet(mut command: Command) -> anyhow::Result<String> {
    let out = command.output().with_context(|| format!("start {:?}", command.get_program()))?;
    if !out.status.success() {
        bail!(
            "{} failed ({}):\n{}{}",
            line(&command),
            out.status,
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Program and arguments, for people.
fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

const OF_THIS_PROGRAM: &[&str] = &["CARGO_PKG_", "CARGO_MANIFEST_"];
