// SPDX-License-Identifier: Apache-2.0
//! The owner's side: what a file holds, and all that is wrong with it.

mod chain;
mod finding;
mod lines;

use crate::frame::BootId;
use crate::head::Head;
use crate::key::OwnerKey;
use crate::record::Record;

pub use finding::Finding;

/// Largest file that is read, bytes.
pub const MAX_LOG_BYTES: usize = 64 << 20;

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The boot that the file is of.
    pub boot: Option<BootId>,
    /// The records in their order, those between findings too.
    pub entries: Vec<Entry>,
    /// The head after the last record, to compare with what an attestation carried; `None` when the
    /// chain cannot be followed to it.
    pub head: Option<Head>,
    /// Whether a head from outside confirms the log: one of those given to [`check`] lies on its chain.
    ///
    /// # Security
    ///
    /// Without that, anybody who knows the owner's public key could have made the whole file.
    pub is_anchored: bool,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// One record of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number, from 0.
    pub sequence: u64,
    /// The record, if it was sealed to the given key.
    pub record: Option<Record>,
}

/// Checks a file: its lines, the chain, each seal, and the heads that attestations carried.
///
/// Without a key the chain is checked, but no record is opened; that is also all that can be said of
/// a log without an owner.
///
/// # Errors
///
/// [`ReadError`] when nothing can be said of the file. All that can be said is in
/// [`Checked::findings`].
///
/// # Security
///
/// The file comes from the host. What is reported of a record has authenticated under the owner's key
/// and a key of the boot; that the boot was the guest's is shown by a head (see
/// [`Checked::is_anchored`]). Records that the host cut off after the newest head cannot be missed.
pub fn check(file: &[u8], key: Option<&OwnerKey>, heads: &[Head]) -> Result<Checked, ReadError> {
    if file.len() > MAX_LOG_BYTES {
        return Err(ReadError::TooLarge);
    }
    let mut findings = Vec::new();
    let lines = lines::read(file, &mut findings);
    if lines.boot.is_none() && lines.records.is_empty() {
        return Err(ReadError::Empty);
    }
    let chain = chain::follow(&lines, key, heads, &mut findings);
    Ok(Checked {
        boot: lines.id,
        entries: chain.entries,
        head: chain.head,
        is_anchored: chain.is_anchored,
        findings,
    })
}

/// Why nothing can be said of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Over [`MAX_LOG_BYTES`].
    #[error("the log is larger than {MAX_LOG_BYTES} bytes")]
    TooLarge,
    /// No line of the file is a frame.
    #[error("the file is no audit log, or an empty one")]
    Empty,
}
