// SPDX-License-Identifier: Apache-2.0
//! Other suites of the machine's Debian archive, for set-up beyond the guest's own inputs.

use std::path::Path;

use super::FetchError;
use super::absolute;
use super::apt::Apt;
use super::sources;

/// Suites of the machine's Debian archive, with lists of their own: the machine's apt configuration
/// stays as it is.
#[derive(Debug)]
pub struct Archive {
    apt: Apt,
}

impl Archive {
    /// Finds an archive that has the suites (and the release's security updates), and reads their
    /// lists into `folder`.
    ///
    /// # Errors
    ///
    /// [`FetchError::NoSource`] when no apt source of the machine has them all.
    pub fn open(folder: &Path, suites: &[&str]) -> Result<Self, FetchError> {
        let folder = absolute(folder)?;
        let mut refusals = Vec::new();
        for candidate in sources::candidates(suites)? {
            let apt = Apt::prepare(&folder, &candidate)?;
            match apt.update() {
                Ok(()) => return Ok(Self { apt }),
                Err(refusal) => refusals.push(format!("{}: {refusal}", candidate.origin)),
            }
        }
        Err(FetchError::NoSource { wanted: vec![], refusals })
    }

    /// Downloads a package, checks its signature, and unpacks it into `dest` beside what is there.
    /// Gives its version.
    ///
    /// # Errors
    ///
    /// When the package cannot be had or unpacked.
    pub fn unpack(&self, package: &str, dest: &Path) -> Result<String, FetchError> {
        self.apt.unpack_beside(package, &absolute(dest)?)
    }

    /// Downloads a package and all that it depends on, checks the signatures, and unpacks them into
    /// `dest`, which it replaces: a program for another release together with its own C library.
    ///
    /// # Errors
    ///
    /// When a package cannot be had or unpacked.
    pub fn unpack_with_dependencies(&self, package: &str, dest: &Path) -> Result<(), FetchError> {
        self.apt.unpack_with_dependencies(package, &absolute(dest)?)
    }

    /// Installs packages on the machine, the named suite first.
    ///
    /// # Errors
    ///
    /// When apt cannot install them.
    pub fn install(&self, suite: &str, packages: &[&str]) -> Result<(), FetchError> {
        self.apt.install(suite, packages)
    }
}
