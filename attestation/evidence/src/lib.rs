// SPDX-License-Identifier: Apache-2.0
//! Parsers of TEE evidence: SNP attestation reports, AMD's certificates and revocation lists, the
//! certificate table of an extended report, Azure's paravisor reports and TPM quotes, and the
//! evidence JSON of the KBS protocol. No I/O and no verdicts.
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
//! - JSON evidence whose typed form does not give back its raw bytes is refused.

pub mod az_vtpm;
pub mod snp;
