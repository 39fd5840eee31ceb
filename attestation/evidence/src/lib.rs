// SPDX-License-Identifier: Apache-2.0
//! Parsers of TEE evidence: SNP attestation reports, AMD's certificates and revocation lists, TDX
//! quotes, Intel's certificates and collateral, event logs, Azure's paravisor reports and TPM quotes,
//! and the evidence JSON of the KBS protocol. No I/O and no verdicts.
//!
//! # Who trusts whom
//!
//! Nothing here is trusted: reports and certificates come from a guest through its host. A value of
//! these types is well-formed, which says nothing about who made it. `casemate-verifier` decides
//! that.
//!
//! # Example
//!
//! ```
//! use casemate_evidence::snp::{Report, ReportError};
//!
//! let error = Report::parse(&[0; 100]).unwrap_err();
//! assert_eq!(error, ReportError::Size { actual: 100 });
//! ```
//!
//! # Invariants
//!
//! - A [`snp::Report`] keeps its bytes exactly as they came, names every reserved field that is not
//!   zero, and is of a version whose layout is known.
//! - A [`snp::Certificate`] keeps its signed bytes exactly as they came.
//! - A [`tdx::Quote`], an [`event_log::EventLog`] and each signed document of
//!   [`collateral::Collateral`] keep their bytes exactly as they came; lengths inside them agree,
//!   and nothing but padding follows them.
//! - JSON that has a member twice is refused, at any depth ([`json`]).
//! - JSON evidence whose typed form does not give back its raw bytes is refused.

pub mod az_vtpm;
pub mod collateral;
pub mod event_log;
mod hex_text;
pub mod json;
pub mod snp;
pub mod tdx;
mod x509;
