// SPDX-License-Identifier: Apache-2.0
//! Why inputs of the guest image cannot be had.

use std::io;
use std::path::Path;
use std::path::PathBuf;

use super::KERNEL_SUITE;
use super::Lock;
use crate::ReadError;
use crate::Sha256;

/// Why the packages cannot be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The record of an earlier fetch cannot be read.
    #[error("failed to read the record of the fetched packages")]
    Record {
        /// What is wrong with it.
        #[source]
        source: ReadError,
    },
    /// A file of an earlier fetch is gone.
    #[error("{} is missing from the fetched packages; remove the folder to fetch them again", path.display())]
    Incomplete {
        /// Path of the missing file.
        path: PathBuf,
    },
    /// None of the machine's apt sources has the packages.
    #[error("no apt source of this machine has the packages{}: {}", wanted.iter().map(|name| format!(" {name}")).collect::<String>(), if refusals.is_empty() { "no Debian archive is configured".to_owned() } else { refusals.join("; ") })]
    NoSource {
        /// What a lock names, and what lies in the folder in its place; empty without a lock.
        wanted: Vec<String>,
        /// What each source said.
        refusals: Vec<String>,
    },
    /// The lock file is not one.
    #[error("failed to read the lock of the guest image's inputs")]
    Lock {
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
    /// The lock file is of another version.
    #[error("the lock of the guest image's inputs is not of format {}", Lock::FORMAT)]
    LockFormat,
    /// A package's bytes are not those of the lock.
    #[error("{} is not what the lock names: its SHA-256 is {found}, locked is {locked}", path.display())]
    Altered {
        /// Path of the package.
        path: PathBuf,
        /// The locked digest.
        locked: Sha256,
        /// The file's digest.
        found: Sha256,
    },
    /// A folder that would be replaced was not made by this module.
    #[error("{} exists and is not an unpacked package of this tool; remove it", path.display())]
    Taken {
        /// Its path.
        path: PathBuf,
    },
    /// The package manager has moved on.
    #[error("locked is {locked}, the package manager offers {offered}")]
    NotOffered {
        /// Name and version in the lock.
        locked: String,
        /// Name and version on offer.
        offered: String,
    },
    /// The source has no kernel of the wanted series.
    #[error("neither {KERNEL_SUITE} nor the security suite has a signed 6.12 cloud kernel")]
    NoKernel,
    /// A command failed.
    #[error("{command} failed: {output}")]
    Command {
        /// The command and its first argument.
        command: String,
        /// Last line that it printed on its error stream.
        output: String,
    },
    /// A command cannot be started, as it is not installed for instance.
    #[error("failed to run {command}")]
    NotRun {
        /// The command.
        command: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file or folder cannot be read or written.
    #[error("failed to access {}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl FetchError {
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}
