// SPDX-License-Identifier: Apache-2.0
//! Intel TDX. Sources: Intel TDX DCAP Quoting Library API, appendix 3 (quote formats 4 and 5);
//! Intel TDX Module ABI specification (348551), section 3.9 (TDREPORT_STRUCT); Intel SGX PCK
//! Certificate and CRL Profile Specification, rev. 1.5.

mod body;
mod certificate;
mod crl;
mod enclave_report;
mod pck;
mod quote;
mod signed;
mod td_report;
mod wire;

#[cfg(test)]
pub(crate) mod testing;

pub use body::BodyKind;
pub use body::TdAttributes;
pub use body::TdBody;
pub use certificate::Certificate;
pub use certificate::CertificateError;
pub use certificate::MAX_CERTIFICATE_BYTES;
pub use certificate::MAX_CHAIN;
pub use crl::Crl;
pub use crl::CrlError;
pub use crl::MAX_CRL_BYTES;
pub use crl::Serial;
pub use enclave_report::ENCLAVE_REPORT_BYTES;
pub use enclave_report::EnclaveReport;
pub use pck::PckError;
pub use pck::PckExtension;
pub use pck::PlatformFlags;
pub use quote::MAX_QUOTE_BYTES;
pub use quote::Quote;
pub use quote::QuoteError;
pub use quote::QuoteVersion;
pub use td_report::TD_REPORT_BYTES;
pub use td_report::TdReport;
pub use td_report::TdReportError;
pub use wire::Evidence;
pub use wire::WireError;
