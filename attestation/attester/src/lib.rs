// SPDX-License-Identifier: Apache-2.0
//! Asks the TEE of the guest for attestation reports, through the interfaces of Linux.
//!
//! | [`SourceKind`] | the guest's own report | evidence for others |
//! |---|---|---|
//! | `sev-guest` | `/dev/sev-guest` | the same, with the host's certificates |
//! | `sev-tsm` | configfs-tsm | the same, with the host's certificates |
//! | `tdx` | `/dev/tdx_guest` (TDREPORT) | a quote through configfs-tsm, and the firmware's event log |
//!
//! [`RuntimeRegisters`] extends the measurement registers of a TDX guest at run time.
//!
//! # Trust
//!
//! The interfaces are part of the measured guest kernel. What a security processor answers comes
//! through the host, which may refuse, delay or replace the certificates; a TDX quote is made by a
//! service of the host from a report of the TDX module. Nothing here judges a report: the relying
//! party verifies signature, chain and content. The configuration names one [`Source`]; if it is
//! missing there is an error and never something weaker.
//!
//! # Example
//!
//! ```no_run
//! use casemate_attester::{Evidence, ReportData, Source, SourceKind};
//!
//! # fn main() -> Result<(), casemate_attester::Error> {
//! let source = Source::open(SourceKind::Tdx)?;
//! match source.evidence(&ReportData([7; 64]))? {
//!     Evidence::Snp(snp) => assert_eq!(snp.report.as_bytes().len(), 1184),
//!     Evidence::Tdx(tdx) => println!("a quote of {} bytes", tdx.quote.as_bytes().len()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Invariants
//!
//! - A [`Report`], [`TdReport`] or [`Quote`] carries the report data that was asked for; an
//!   interface that answers with another is an error.
//! - Whatever is read has a cap, a named constant beside its reader.
//! - Another process that writes into a request of configfs-tsm is found by the kernel's count of
//!   writes.
//! - `unsafe` stands in the module `ioctl` alone; [`abi`], [`Quote`] and [`EventLog`] are
//!   pure.

pub mod abi;
mod certificates;
mod event_log;
mod files;
mod ioctl;
mod quote;
mod report;
mod rtmr;
mod sev_guest;
mod source;
mod tdx_guest;
mod tsm;
#[cfg(test)]
mod vectors;

pub use event_log::{EVENT_LOG, EventLog, EventLogError, MAX_EVENT_LOG, MAX_EVENT_LOG_AREA};
pub use quote::{Quote, QuoteError};
pub use report::{Report, ReportData};
pub use rtmr::{RTMR_LEN, Rtmr, RtmrError, RuntimeRegisters, TDX_GUEST_SYSFS};
pub use sev_guest::{SEV_GUEST_DEVICE, SevGuest, SevGuestError, SnpEvidence};
pub use source::{
    Error, Evidence, OwnReport, Paths, Source, SourceKind, TdxEvidence, UnknownSource,
};
pub use tdx_guest::{TDX_GUEST_DEVICE, TdReport, TdReportError, TdxGuest, TdxGuestError};
pub use tsm::{
    MAX_AUXBLOB, MAX_OUTBLOB, PrivilegeLevel, Provider, TSM_REPORTS, TsmError, TsmReport,
    TsmReports,
};
