// SPDX-License-Identifier: Apache-2.0
//! What a case is given.

use std::path::PathBuf;

use anyhow::Context as _;

use crate::Missing;
use crate::Mode;

/// The mode of a run, and where this machine's files are.
#[derive(Debug, Clone)]
pub struct Context {
    mode: Mode,
    in_room: bool,
}

impl Context {
    pub(crate) fn new(mode: Mode) -> Self {
        Self { mode, in_room: false }
    }

    /// The same in a room.
    pub(crate) fn in_room(self) -> Self {
        Self { in_room: true, ..self }
    }

    /// Whether this process has a kernel and namespaces to itself.
    #[must_use]
    pub(crate) fn is_in_room(&self) -> bool {
        self.in_room
    }

    /// With or without the policy.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether the policy judges; if not, what it alone forbids goes through.
    #[must_use]
    pub fn has_policy(&self) -> bool {
        self.mode == Mode::Policy
    }

    /// For cases that mount or make namespaces.
    ///
    /// # Errors
    ///
    /// [`Missing`] when this process is not root.
    pub fn need_root(&self) -> anyhow::Result<()> {
        if rustix::process::geteuid().is_root() {
            return Ok(());
        }
        Err(Missing { what: "root".to_owned() }.into())
    }

    /// A file or folder below `target/casemate`, for example `guest/production/initramfs`.
    ///
    /// # Errors
    ///
    /// [`Missing`] when it is not there.
    pub fn artifact(&self, path: &str) -> anyhow::Result<PathBuf> {
        let path = target()?.join("casemate").join(path);
        present(path, "cargo xtask build")
    }

    /// A program of this workspace in the same profile, for example `containerd-shim-casemate-v2`.
    ///
    /// # Errors
    ///
    /// [`Missing`] when it has not been built.
    pub fn program(&self, name: &str) -> anyhow::Result<PathBuf> {
        let exe = std::env::current_exe().context("find this program")?;
        let folder = exe.parent().context("no folder")?;
        // Test programs lie one folder further down.
        let folder = if folder.ends_with("deps") { folder.parent() } else { Some(folder) };
        let folder = folder.context("no folder")?;
        present(folder.join(name), "cargo xtask build")
    }
}

fn present(path: PathBuf, command: &str) -> anyhow::Result<PathBuf> {
    if path.exists() {
        return Ok(path);
    }
    Err(Missing { what: format!("{} (run `{command}`)", path.display()) }.into())
}

/// Cargo's target directory, from which this program runs.
fn target() -> anyhow::Result<PathBuf> {
    let exe = std::env::current_exe().context("find this program")?;
    let target = exe.ancestors().find(|dir| dir.join("CACHEDIR.TAG").is_file());
    Ok(target.context("this program runs outside of cargo's target directory")?.to_owned())
}
