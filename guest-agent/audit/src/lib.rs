// SPDX-License-Identifier: Apache-2.0
//! The guest's audit log: what the host asked for and what it was told, as a chain of records that
//! only the workload's owner can read. The guest writes it ([`Log`]), the host carries it out, the
//! owner checks it ([`check`]). No I/O: bytes and randomness come in, bytes go out.
//!
//! # Who trusts whom
//!
//! The owner trusts the guest that an attestation vouches for, and nobody else: the host stores the
//! log and may drop, reorder, alter or replay what it stores. Each record is sealed to the owner's
//! key by HPKE (RFC 9180, mode base; DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM) under a
//! key pair that the guest makes anew at every boot. Anybody can seal to a public key, so that a log
//! is worth nothing before it is anchored: the guest binds the log's [`Head`] into its attestations,
//! and a head commits to the boot's key and to all records before it.
//!
//! # Example
//!
//! ```
//! use casemate_audit::{Log, OwnerKey, Record, Verdict, check};
//!
//! let owner = OwnerKey::generate()?;
//! let mut log = Log::sealed(owner.public_key())?;
//! log.append(&Record::new("Start", Verdict::Allowed, 1_000_000))?;
//! let head = log.head(); // goes into the next attestation
//!
//! let file: String = log.frames_from(0).map(casemate_audit::line).collect();
//! let file = casemate_audit::line(log.boot_frame()) + &file;
//! let checked = check(file.as_bytes(), Some(&owner), &[head])?;
//! assert!(checked.findings.is_empty());
//! assert_eq!(checked.entries[0].record.as_ref().unwrap().call.as_str(), "Start");
//!
//! // A cut tail shows against the head.
//! let cut = casemate_audit::line(log.boot_frame());
//! assert_eq!(check(cut.as_bytes(), Some(&owner), &[head])?.findings.len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Invariants
//!
//! - A record names calls, fields and the host's own ids, shortened and escaped; there is no field
//!   for an argument, a variable's value or file content.
//! - One key and one nonce seal at most one record: the key is of one boot, the nonce of one
//!   sequence number. (E10: only a copy of a running VM could use them again; SEV-SNP and TDX forbid
//!   the copy.)
//! - What a record is sealed with commits to boot, sequence number and all records before it.
//! - Memory is bounded; what the host does not fetch in time is forgotten, and its place stays in the
//!   chain.

mod frame;
mod head;
mod hpke;
mod key;
mod log;
mod reader;
mod record;
mod text;

pub use frame::BootId;
pub use frame::Frame;
pub use frame::FrameError;
pub use frame::MAX_FRAME_BYTES;
pub use frame::line;
pub use head::Head;
pub use head::HeadError;
pub use key::KeyError;
pub use key::KeyId;
pub use key::OwnerKey;
pub use key::OwnerPublicKey;
pub use log::Log;
pub use log::LogError;
pub use reader::Checked;
pub use reader::Entry;
pub use reader::Finding;
pub use reader::MAX_LOG_BYTES;
pub use reader::ReadError;
pub use reader::check;
pub use record::MAX_NAMES;
pub use record::Record;
pub use record::RecordError;
pub use record::Verdict;
pub use text::Text;
