// SPDX-License-Identifier: Apache-2.0
//! AMD SEV-SNP. Sources: SEV-SNP Firmware ABI (publication 56860), chapter 7.3; VCEK certificate
//! specification (57230); GHCB specification (56421), section 4.1.8.1.

mod certificate;
mod certificate_table;
mod crl;
mod report;
mod signed;
mod tcb;
mod wire;

#[cfg(test)]
mod testing;

pub use certificate::Certificate;
pub use certificate::CertificateError;
pub use certificate::MAX_CERTIFICATE_BYTES;
pub use certificate::PublicKey;
pub use certificate_table::CertificateKind;
pub use certificate_table::MAX_TABLE_BYTES;
pub use certificate_table::TableEntry;
pub use certificate_table::TableError;
pub use certificate_table::parse_table;
pub use certificate_table::table_extent;
pub use certificate_table::write_table;
pub use crl::Crl;
pub use crl::CrlError;
pub use crl::MAX_CRL_BYTES;
pub use report::CpuId;
pub use report::FirmwareVersion;
pub use report::GuestPolicy;
pub use report::PlatformInfo;
pub use report::Product;
pub use report::REPORT_BYTES;
pub use report::Report;
pub use report::ReportError;
pub use report::Reserved;
pub use report::SIGNED_BYTES;
pub use report::SigningKey;
pub use tcb::TcbVersion;
pub use wire::Evidence;
pub use wire::MAX_CERTIFICATES;
pub use wire::WireError;
