// SPDX-License-Identifier: Apache-2.0
//! The user ABI of `/dev/sev-guest`, as bytes.
//!
//! Source: `include/uapi/linux/sev-guest.h` of Linux, and the SEV-SNP firmware ABI (56860),
//! MSG_REPORT_REQ and MSG_REPORT_RSP. Both ends use this module: the attester, and the simulated
//! device of test guests.

use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;
use zerocopy::Unaligned;
use zerocopy::little_endian::{U32, U64};

use crate::report::{Report, ReportData};

/// `SNP_GET_REPORT`: `_IOWR('S', 0, struct snp_guest_request_ioctl)`.
pub const GET_REPORT: u32 = 0xc020_5300;
/// `SNP_GET_EXT_REPORT`: `_IOWR('S', 2, struct snp_guest_request_ioctl)`.
pub const GET_EXT_REPORT: u32 = 0xc020_5302;
/// The only message version.
pub const MSG_VERSION: u8 = 1;
/// Size of `struct snp_report_resp`.
pub const RESPONSE_LEN: usize = 4000;
/// The most that the kernel takes as certificate buffer (`SEV_FW_BLOB_MAX_SIZE`).
pub const CERTIFICATES_MAX: usize = 0x4000;
/// Certificate buffers are whole pages.
pub const PAGE: usize = 4096;
/// VMM error: the certificate buffer is too small.
pub const VMM_INVALID_LEN: u32 = 1;
/// VMM error: the host has no time for the request.
pub const VMM_BUSY: u32 = 2;

/// `struct snp_guest_request_ioctl`: the argument of every ioctl, 32 bytes.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct GuestRequest {
    /// [`MSG_VERSION`].
    pub msg_version: u8,
    /// Padding.
    pub reserved: [u8; 7],
    /// User address of the request.
    pub req_data: U64,
    /// User address of the response.
    pub resp_data: U64,
    /// Firmware error in the low half, VMM error in the high half.
    pub exitinfo2: U64,
}

/// `struct snp_report_req`, 96 bytes.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ReportRequest {
    /// Bytes to bind into the report.
    pub user_data: [u8; ReportData::LEN],
    /// Privilege level that the report names.
    pub vmpl: U32,
    /// Zero.
    pub reserved: [u8; 28],
}

impl ReportRequest {
    /// A request at the kernel's own level, VMPL 0.
    #[must_use]
    pub const fn new(data: &ReportData) -> Self {
        Self { user_data: data.0, vmpl: U32::ZERO, reserved: [0; 28] }
    }
}

/// `struct snp_ext_report_req`, 112 bytes.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ExtendedReportRequest {
    /// The report request.
    pub data: ReportRequest,
    /// User address of the certificate buffer.
    pub certs_address: U64,
    /// Size of that buffer; the kernel writes the size it needs when it is too small.
    pub certs_len: U32,
    /// Padding.
    pub reserved: U32,
}

/// The two halves of `exitinfo2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitInfo {
    /// What the security processor's firmware answered, 0 for success.
    pub firmware: u32,
    /// What the VMM answered, 0 for success.
    pub vmm: u32,
}

impl ExitInfo {
    /// Splits the field of the ioctl's argument.
    #[must_use]
    pub fn from_raw(raw: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = raw.to_le_bytes();
        Self { firmware: u32::from_le_bytes([a, b, c, d]), vmm: u32::from_le_bytes([e, f, g, h]) }
    }

    /// The field of the ioctl's argument.
    #[must_use]
    pub fn to_raw(self) -> u64 {
        u64::from(self.firmware) | (u64::from(self.vmm) << 32)
    }
}

/// MSG_REPORT_RSP: the head of a response.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct ResponseHead {
    status: U32,
    report_size: U32,
    reserved: [u8; 24],
}

/// Why a response holds no report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// The firmware refused (0x16 invalid parameters, 0x27 invalid key selection).
    #[error("the firmware answered the report request with status {status:#x}")]
    Status {
        /// The status.
        status: u32,
    },
    /// The report has a size that no version of the firmware ABI knows.
    #[error("the report has {size} bytes, expected {expected}", expected = Report::LEN)]
    Size {
        /// The size that the response states.
        size: u32,
    },
    /// The report does not carry the report data that was asked for.
    #[error("the report carries other report data than was asked for")]
    ForeignReportData,
}

/// Takes the report out of a response.
///
/// # Errors
///
/// [`ResponseError`], when the firmware refused or the report is not the one asked for.
pub fn parse_response(
    response: &[u8; RESPONSE_LEN],
    asked: &ReportData,
) -> Result<Report, ResponseError> {
    // The array is longer than head and report together; an impossible failure reads as size 0.
    let Ok((head, rest)) = ResponseHead::ref_from_prefix(response) else {
        return Err(ResponseError::Size { size: 0 });
    };
    if head.status.get() != 0 {
        return Err(ResponseError::Status { status: head.status.get() });
    }
    let size = head.report_size.get();
    if usize::try_from(size) != Ok(Report::LEN) {
        return Err(ResponseError::Size { size });
    }
    let Some(bytes) = rest.first_chunk::<{ Report::LEN }>() else {
        return Err(ResponseError::Size { size });
    };
    let report = Report::from_bytes(*bytes);
    if !report.carries(asked) {
        return Err(ResponseError::ForeignReportData);
    }
    Ok(report)
}

/// Writes a response that carries `report`, as the firmware does.
#[must_use]
pub fn build_response(report: &Report) -> [u8; RESPONSE_LEN] {
    let size = u32::try_from(Report::LEN).unwrap_or(u32::MAX);
    fill_response(0, size, report.as_bytes())
}

/// Writes a response with a status other than success.
#[must_use]
pub fn build_refusal(status: u32) -> [u8; RESPONSE_LEN] {
    fill_response(status, 0, &[])
}

fn fill_response(status: u32, size: u32, report: &[u8]) -> [u8; RESPONSE_LEN] {
    let head = ResponseHead { status: status.into(), report_size: size.into(), reserved: [0; 24] };
    let mut response = [0; RESPONSE_LEN];
    let bytes = head.as_bytes().iter().chain(report);
    response.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    response
}

const _: () = assert!(size_of::<GuestRequest>() == 32);
const _: () = assert!(size_of::<ReportRequest>() == 96);
const _: () = assert!(size_of::<ExtendedReportRequest>() == 112);
const _: () = assert!(size_of::<ResponseHead>() + Report::LEN <= RESPONSE_LEN);

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: ReportData = ReportData([0xa5; 64]);

    fn report() -> Report {
        let mut bytes = [0x11; Report::LEN];
        bytes[0x50..0x90].copy_from_slice(&ASKED.0);
        Report::from_bytes(bytes)
    }

    #[test]
    fn gives_the_report_back() {
        assert_eq!(parse_response(&build_response(&report()), &ASKED), Ok(report()));
    }

    #[test]
    fn refuses_a_firmware_status() {
        let refused = parse_response(&build_refusal(0x16), &ASKED);
        assert_eq!(refused, Err(ResponseError::Status { status: 0x16 }));
    }

    #[test]
    fn refuses_another_size() {
        let mut response = build_response(&report());
        response[4] = 0;
        let size = u32::from_le_bytes(response[4..8].try_into().unwrap());
        assert_eq!(parse_response(&response, &ASKED), Err(ResponseError::Size { size }));
    }

    #[test]
    fn refuses_the_report_of_somebody_else() {
        let response = build_response(&report());
        assert_eq!(
            parse_response(&response, &ReportData([0xa6; 64])),
            Err(ResponseError::ForeignReportData)
        );
    }

    #[test]
    fn every_changed_byte_is_seen_or_harmless() {
        let good = build_response(&report());
        for at in 0..good.len() {
            let mut bad = good;
            bad[at] ^= 0x80;
            match parse_response(&bad, &ASKED) {
                Ok(parsed) if (8..32).contains(&at) || at >= 32 + Report::LEN => {
                    assert_eq!(parsed, report(), "byte {at} is reserved");
                }
                Ok(parsed) => assert_ne!(parsed, report(), "byte {at} must show"),
                Err(_) => {}
            }
        }
    }

    #[test]
    fn splits_exit_info() {
        let info = ExitInfo::from_raw(0x0000_0001_0000_00ff);
        assert_eq!(info, ExitInfo { firmware: 0xff, vmm: VMM_INVALID_LEN });
        assert_eq!(info.to_raw(), 0x0000_0001_0000_00ff);
    }
}
