// SPDX-License-Identifier: Apache-2.0
//! What can be wrong with a log.

use crate::frame::BootId;
use crate::frame::FrameError;
use crate::key::KeyId;

/// One thing that is wrong with a log.
///
/// An honest host's log has none. One that lost its connection, its disk or its shim may have a torn
/// line, a missing range or a missing end: the owner decides what to make of that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Finding {
    /// The file does not end with a whole line.
    #[error("line {line} is cut off")]
    Torn {
        /// The line, from 1.
        line: usize,
    },
    /// A line is no frame of a log.
    #[error("line {line} is no record of an audit log")]
    Malformed {
        /// The line, from 1.
        line: usize,
        /// Why.
        #[source]
        source: FrameError,
    },
    /// The first frame, which says to whom the records are sealed, is not there.
    #[error("the beginning of the log is missing: no record can be opened")]
    NoBoot,
    /// The first records are not there.
    #[error("the head of the log is cut off: it begins with record {first}")]
    CutHead {
        /// The first record that is there.
        first: u64,
    },
    /// Records are not there, between others that are.
    #[error("records {first} to {last} are missing")]
    Missing {
        /// The first one.
        first: u64,
        /// The last one.
        last: u64,
    },
    /// A record stands behind a later one.
    #[error("line {line}: record {sequence} stands behind record {after}")]
    Reordered {
        /// The line, from 1.
        line: usize,
        /// The record.
        sequence: u64,
        /// The later one.
        after: u64,
    },
    /// A frame is there twice.
    #[error("line {line} repeats an earlier one")]
    Repeated {
        /// The line, from 1.
        line: usize,
    },
    /// Two records have one number.
    #[error("line {line}: there is another record {sequence}")]
    Twice {
        /// The line, from 1.
        line: usize,
        /// The number.
        sequence: u64,
    },
    /// A frame of another boot: of another pod, or of another start of this one.
    #[error("line {line} is of another boot, {boot}")]
    OtherBoot {
        /// The line, from 1.
        line: usize,
        /// The other boot.
        boot: BootId,
    },
    /// A record does not follow the one before it.
    #[error(
        "record {sequence} does not follow the record before it: one of them was altered or replaced"
    )]
    Broken {
        /// The later one.
        sequence: u64,
    },
    /// A record's seal does not open: it was altered, or replayed under another number or boot.
    #[error("record {sequence} was altered")]
    Altered {
        /// The record.
        sequence: u64,
    },
    /// What was sealed is no record of this version.
    #[error("record {sequence} has a form that is not known")]
    Unreadable {
        /// The record.
        sequence: u64,
    },
    /// The records are sealed to another key.
    #[error("the log is sealed to another key, {key}")]
    OtherKey {
        /// That key's id.
        key: KeyId,
    },
    /// The log has no owner: its records are hashes.
    #[error("the log is sealed to nobody: its records are hashes")]
    NotSealed,
    /// An attestation vouches for records that are not there.
    #[error("the tail of the log is cut off: it has {found} records, and {attested} were attested")]
    CutTail {
        /// Records of the attested head.
        attested: u64,
        /// Records up to the last one in the file.
        found: u64,
    },
    /// The log is not the one that was attested.
    #[error("the log is not the one that was attested with {attested} records")]
    OtherLog {
        /// Records of the attested head.
        attested: u64,
    },
    /// The file lacks what it takes to compare a head.
    #[error(
        "the head with {attested} records cannot be compared: the records around it are missing"
    )]
    Uncomparable {
        /// Records of the attested head.
        attested: u64,
    },
}
