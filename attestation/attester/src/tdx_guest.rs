// SPDX-License-Identifier: Apache-2.0
//! `/dev/tdx_guest`: the guest's own report, which the TDX module makes without the host.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::ioctl;
use crate::report::ReportData;

/// Where the kernel puts the device.
pub const TDX_GUEST_DEVICE: &str = "/dev/tdx_guest";

/// `TDX_CMD_GET_REPORT0`: `_IOWR('T', 1, struct tdx_report_req)`.
pub(crate) const GET_REPORT0: u32 = 0xc440_5401;

/// `struct tdx_report_req` of `include/uapi/linux/tdx-guest.h`, 1088 bytes.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct TdReportRequest {
    /// Bytes to bind into the report.
    data: [u8; ReportData::LEN],
    /// The answer.
    report: [u8; TdReport::LEN],
}

const _: () = assert!(size_of::<TdReportRequest>() == 1088);

/// The TDX guest device.
#[derive(Debug)]
pub struct TdxGuest {
    device: File,
}

impl TdxGuest {
    /// Opens the device at a path, [`TDX_GUEST_DEVICE`] in a guest.
    ///
    /// # Errors
    ///
    /// [`TdxGuestError::Open`].
    pub fn open_at(path: &Path) -> Result<Self, TdxGuestError> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map(|device| Self { device })
            .map_err(|source| TdxGuestError::Open { path: path.to_owned(), source })
    }

    /// The guest's own report over `data`.
    ///
    /// # Errors
    ///
    /// [`TdxGuestError`]; repeating the request does not help.
    pub fn report(&self, data: &ReportData) -> Result<TdReport, TdxGuestError> {
        let mut request = Box::new(TdReportRequest { data: data.0, report: [0; TdReport::LEN] });
        ioctl::get_td_report(self.device.as_fd(), &mut request)
            .map_err(|source| TdxGuestError::Ioctl { source })?;
        Ok(TdReport::parse(&request.report, data)?)
    }
}

/// Why `/dev/tdx_guest` gave no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TdxGuestError {
    /// The device does not exist or cannot be opened: no TDX guest, or its driver is missing.
    #[error("failed to open the TEE device {path}")]
    Open {
        /// The device.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The kernel or the TDX module refused.
    #[error("the TDX guest device refused a report request")]
    Ioctl {
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The answer is no report, or not the one asked for.
    #[error("the TDX guest device gave no usable report")]
    Report(#[from] TdReportError),
}

/// TDREPORT: what the TDX module says about the guest, authenticated for this machine only.
///
/// Source: Intel TDX Module, ABI specification: TDREPORT_STRUCT, REPORTMACSTRUCT, TDINFO_STRUCT.
///
/// # Security
///
/// The guest cannot check the code that authenticates it and need not: the module writes the report
/// into the guest's private memory. It proves nothing to others; a quote does.
#[derive(Clone, PartialEq, Eq)]
pub struct TdReport([u8; Self::LEN]);

impl TdReport {
    /// Size in bytes.
    pub const LEN: usize = 1024;
    /// REPORTTYPE.TYPE of a TD.
    const TYPE_TD: u8 = 0x81;
    /// Where REPORTMACSTRUCT.REPORTDATA begins.
    const REPORT_DATA: usize = 128;
    /// Where TDINFO_STRUCT.MRCONFIGID begins.
    const MR_CONFIG_ID: usize = 512 + 64;

    /// Takes the bytes of a report that was asked for over `asked`.
    ///
    /// # Errors
    ///
    /// [`TdReportError`]: the bytes are the report of something else, or over other data.
    pub fn parse(bytes: &[u8; Self::LEN], asked: &ReportData) -> Result<Self, TdReportError> {
        let [kind, subtype, ..] = *bytes;
        if (kind, subtype) != (Self::TYPE_TD, 0) {
            return Err(TdReportError::Type { kind, subtype });
        }
        let report = Self(*bytes);
        if report.field::<{ ReportData::LEN }>(Self::REPORT_DATA) != asked.0 {
            return Err(TdReportError::ForeignReportData);
        }
        Ok(report)
    }

    /// The bytes as the TDX module wrote them.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// MRCONFIGID: what the host bound into the launch; for CoCo the digest of the initdata, padded
    /// with zeros or cut.
    #[must_use]
    pub fn mr_config_id(&self) -> [u8; 48] {
        self.field(Self::MR_CONFIG_ID)
    }

    /// The bytes at an offset that lies within the report.
    fn field<const N: usize>(&self, offset: usize) -> [u8; N] {
        let mut field = [0; N];
        field.iter_mut().zip(self.0.iter().skip(offset)).for_each(|(to, from)| *to = *from);
        field
    }
}

impl fmt::Debug for TdReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TdReport").field("bytes", &Self::LEN).finish_non_exhaustive()
    }
}

/// Why bytes are not the TDREPORT that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TdReportError {
    /// The report is not of a TD.
    #[error("the report has type {kind:#04x} and subtype {subtype:#04x}, not those of a TD")]
    Type {
        /// REPORTTYPE.TYPE.
        kind: u8,
        /// REPORTTYPE.SUBTYPE.
        subtype: u8,
    },
    /// The report does not carry the report data that was asked for.
    #[error("the report carries other report data than was asked for")]
    ForeignReportData,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ASKED: ReportData = ReportData([0xa5; 64]);

    fn report() -> [u8; TdReport::LEN] {
        let mut bytes = [0x11; TdReport::LEN];
        bytes[..4].copy_from_slice(&[0x81, 0, 0, 0]);
        bytes[128..192].copy_from_slice(&ASKED.0);
        bytes[576..624].copy_from_slice(&[0x77; 48]);
        bytes
    }

    #[test]
    fn reads_the_fields_of_its_places() {
        let parsed = TdReport::parse(&report(), &ASKED).unwrap();
        assert_eq!(parsed.as_bytes(), &report());
        assert_eq!(parsed.mr_config_id(), [0x77; 48]);
    }

    #[test]
    fn each_changed_byte_is_refused_kept_or_shown() {
        for at in 0..TdReport::LEN {
            let mut bytes = report();
            bytes[at] ^= 1;
            match (at, TdReport::parse(&bytes, &ASKED)) {
                (0 | 1, parsed) => assert!(matches!(parsed, Err(TdReportError::Type { .. }))),
                (128..192, parsed) => assert_eq!(parsed, Err(TdReportError::ForeignReportData)),
                (576..624, parsed) => assert_ne!(parsed.unwrap().mr_config_id(), [0x77; 48]),
                (_, parsed) => {
                    let parsed = parsed.unwrap();
                    assert_eq!(parsed.mr_config_id(), [0x77; 48]);
                    assert_eq!(parsed.as_bytes(), &bytes);
                }
            }
        }
    }

    #[test]
    fn a_genuine_report_is_read() {
        let Some(bytes) = crate::vectors::read("tdx/intel-dcap/tdreport_for_test.dat") else {
            return;
        };
        let bytes = <[u8; TdReport::LEN]>::try_from(bytes).unwrap();
        let asked = ReportData(bytes[128..192].try_into().unwrap());
        assert_eq!(TdReport::parse(&bytes, &asked).unwrap().mr_config_id(), [0; 48]);
        let other = TdReport::parse(&bytes, &ASKED);
        assert_eq!(other, Err(TdReportError::ForeignReportData));
    }

    #[test]
    fn the_report_of_an_enclave_is_refused() {
        let mut bytes = report();
        bytes[0] = 0;
        let refused = TdReport::parse(&bytes, &ASKED);
        assert_eq!(refused, Err(TdReportError::Type { kind: 0, subtype: 0 }));
    }

    #[test]
    fn a_missing_device_is_an_error() {
        let error = TdxGuest::open_at(Path::new("/nonexistent/tdx_guest")).unwrap_err();
        assert!(matches!(error, TdxGuestError::Open { .. }));
    }

    #[test]
    fn a_device_of_another_kind_gives_no_report() {
        let device = TdxGuest::open_at(Path::new("/dev/null")).unwrap();
        let error = device.report(&ASKED).unwrap_err();
        assert!(matches!(error, TdxGuestError::Ioctl { .. }));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), TdReport::LEN)) {
            let bytes = <[u8; TdReport::LEN]>::try_from(bytes).unwrap();
            let _ = TdReport::parse(&bytes, &ASKED);
        }
    }
}
