// SPDX-License-Identifier: Apache-2.0
//! Asks the TEE device of the guest for attestation reports.
//!
//! On SEV-SNP that is `/dev/sev-guest` of the Linux kernel: [`SevGuest`] gives the raw signed
//! report and the certificates that the host put beside it.
//!
//! # Trust
//!
//! The device is part of the measured guest kernel; what it answers comes from the security
//! processor through the host, which may refuse, delay or replace the certificates. Nothing here
//! judges a report: the relying party verifies signature, chain and content. There is no other
//! source of reports in this crate, so that a missing device can only be an error, never something
//! weaker.
//!
//! # Example
//!
//! ```no_run
//! use casemate_attester::{ReportData, SevGuest};
//!
//! # fn main() -> Result<(), casemate_attester::Error> {
//! let device = SevGuest::open()?;
//! let evidence = device.extended_report(&ReportData([7; 64]))?;
//! assert_eq!(evidence.report.as_bytes().len(), 1184);
//! let vcek = evidence.certificates.vcek();
//! # Ok(())
//! # }
//! ```
//!
//! # Invariants
//!
//! - A [`Report`] carries the report data that was asked for; a device that answers with another is
//!   an error.
//! - `unsafe` stands in the module `ioctl` alone; [`abi`] and [`CertificateTable`] are pure.

pub mod abi;
mod certificates;
mod device;
mod ioctl;
mod report;

pub use certificates::{CertificateGuid, CertificateTable, CertificateTableError};
pub use device::{DEFAULT_DEVICE, Error, Evidence, SevGuest};
pub use report::{Report, ReportData};
