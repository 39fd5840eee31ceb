// SPDX-License-Identifier: Apache-2.0
//! Where the built and fetched files are.

use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::ensure;

/// Built and fetched files, below the build folder.
#[derive(Debug, Clone)]
pub struct Artifacts {
    /// `target/<profile>`: this workspace's host programs.
    bin: PathBuf,
    /// `target/casemate`: fetched inputs, guest images, worlds.
    build: PathBuf,
}

impl Artifacts {
    /// Finds them beside this very program.
    ///
    /// # Errors
    ///
    /// When this program does not run from a cargo target directory.
    pub fn find() -> anyhow::Result<Self> {
        let exe = std::env::current_exe().context("find this program")?;
        let target = exe
            .ancestors()
            .find(|dir| dir.join("CACHEDIR.TAG").is_file())
            .context("this program runs outside of cargo's target directory")?;
        let profile = exe
            .strip_prefix(target)
            .ok()
            .and_then(|rest| rest.components().next())
            .context("no profile directory")?;
        Ok(Self { bin: target.join(profile), build: target.join("casemate") })
    }

    /// A host program of this workspace.
    ///
    /// # Errors
    ///
    /// When it has not been built.
    pub fn program(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.bin.join(name);
        ensure!(path.is_file(), "{} is missing: run `cargo xtask build`", path.display());
        Ok(path)
    }

    /// Directory of this workspace's host programs.
    #[must_use]
    pub fn programs(&self) -> &Path {
        &self.bin
    }

    /// Directory of the programs built for release.
    #[must_use]
    pub fn release_programs(&self) -> PathBuf {
        self.bin.with_file_name("release")
    }

    /// A fetched program that is unpacked and not installed, or its plain name for `PATH`.
    #[must_use]
    pub fn tool(&self, name: &str) -> PathBuf {
        ["usr/bin", "usr/sbin"]
            .iter()
            .map(|dir| self.build.join("tools").join(dir).join(name))
            .find(|path| path.is_file())
            .unwrap_or_else(|| PathBuf::from(name))
    }

    /// Root of the unpacked tools of the current containerd release line.
    #[must_use]
    pub fn tools(&self) -> PathBuf {
        self.build.join("tools")
    }

    /// Root of the unpacked newer containerd.
    #[must_use]
    pub fn newer_containerd(&self) -> PathBuf {
        self.build.join("tools-containerd-1.7")
    }

    /// A guest image directory: `production` or `sim`.
    #[must_use]
    pub fn guest_image(&self, kind: &str) -> PathBuf {
        self.build.join("guest").join(kind)
    }

    /// The tests' oracle for launch digests.
    #[must_use]
    pub fn oracle(&self) -> PathBuf {
        self.build.join("venv/bin/sev-snp-measure")
    }

    /// Directory of worlds.
    #[must_use]
    pub fn worlds(&self) -> PathBuf {
        self.build.join("worlds")
    }
}
