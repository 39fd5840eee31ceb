// SPDX-License-Identifier: Apache-2.0
//! The signed report as an opaque block of bytes.

use std::fmt;

/// The 64 bytes that the caller binds into a report.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ReportData(pub [u8; ReportData::LEN]);

impl ReportData {
    /// Size in bytes (SEV-SNP firmware ABI 56860, MSG_REPORT_REQ, field REPORT_DATA).
    pub const LEN: usize = 64;
}

impl fmt::Debug for ReportData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReportData(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// A raw attestation report with its signature, unverified.
///
/// Source: SEV-SNP firmware ABI 56860, ATTESTATION_REPORT.
#[derive(Clone, PartialEq, Eq)]
pub struct Report([u8; Report::LEN]);

impl Report {
    /// Size in bytes, the same in all versions of the report.
    pub const LEN: usize = 1184;
    /// Where REPORT_DATA begins.
    const REPORT_DATA: usize = 0x50;

    /// Takes the bytes of a report.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes as the security processor signed them, signature included.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// Whether the report carries `data` as its REPORT_DATA.
    #[must_use]
    pub fn carries(&self, data: &ReportData) -> bool {
        self.0.iter().skip(Self::REPORT_DATA).take(ReportData::LEN).eq(data.0.iter())
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report").field("bytes", &Self::LEN).finish_non_exhaustive()
    }
}
