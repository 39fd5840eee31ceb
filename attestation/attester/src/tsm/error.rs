// SPDX-License-Identifier: Apache-2.0
//! Why configfs-tsm gave no report.

use std::io;
use std::path::PathBuf;

use super::{PrivilegeLevel, Provider};

/// Why configfs-tsm gave no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TsmError {
    /// The folder does not exist: configfs is not mounted, or the kernel lacks the interface (it has
    /// it since Linux 6.7).
    #[error("there is no configfs-tsm at {folder}")]
    Absent {
        /// The folder.
        folder: PathBuf,
    },
    /// No driver of a TEE has registered itself: this is no such guest.
    #[error("no driver stands behind configfs-tsm")]
    NoProvider,
    /// Another driver stands behind the interface than the configuration names.
    #[error("the driver {found:?} stands behind configfs-tsm, not {expected}")]
    OtherProvider {
        /// The one that the configuration names.
        expected: Provider,
        /// The name that was read, without what is not printable.
        found: String,
    },
    /// An entry for the request cannot be created.
    #[error("failed to create an entry in configfs-tsm")]
    Create {
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Every name that was tried for the entry is taken.
    #[error("{attempts} names for an entry in configfs-tsm are taken")]
    NamesTaken {
        /// How many were tried.
        attempts: u32,
    },
    /// The driver has no privilege levels, but one was asked for.
    #[error("the driver behind configfs-tsm knows no privilege levels")]
    NoPrivilegeLevels,
    /// The driver does not give reports of this level: it is above the guest's own.
    #[error("the driver behind configfs-tsm refuses privilege level {level}")]
    PrivilegeLevel {
        /// The level.
        level: PrivilegeLevel,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// An attribute cannot be written.
    #[error("failed to write the attribute {attribute} of configfs-tsm")]
    Write {
        /// Its name.
        attribute: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// An attribute cannot be read. Reading `outblob` is what makes the report, so that this is
    /// where a refusal of firmware or host shows.
    #[error("failed to read the attribute {attribute} of configfs-tsm")]
    Read {
        /// Its name.
        attribute: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// An attribute has more bytes than any of its kind.
    #[error("the attribute {attribute} of configfs-tsm has more than {cap} bytes")]
    TooLarge {
        /// Its name.
        attribute: &'static str,
        /// The cap in bytes.
        cap: usize,
    },
    /// The attribute `generation` is no number.
    #[error("the attribute generation of configfs-tsm is no number")]
    Generation,
    /// Another process wrote into the request, every time.
    #[error("another process wrote into each of {attempts} requests to configfs-tsm")]
    Disturbed {
        /// How often the request was made.
        attempts: u32,
    },
    /// The kernel gave a report of no bytes: the quote service of the host refused.
    #[error("configfs-tsm gave an empty report")]
    Empty,
}

impl TsmError {
    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Disturbed { .. } | Self::Empty => true,
            Self::Read { source, .. } | Self::Write { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::WouldBlock
                    | io::ErrorKind::TimedOut
                    | io::ErrorKind::Interrupted
                    | io::ErrorKind::ResourceBusy
            ),
            _ => false,
        }
    }
}
