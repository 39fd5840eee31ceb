// SPDX-License-Identifier: Apache-2.0
//! The ioctls of `/dev/sev-guest` and `/dev/tdx_guest`.
#![allow(unsafe_code, reason = "an ioctl whose argument holds user addresses has no safe wrapper")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::abi::{
    ExitInfo, ExtendedReportRequest, GET_EXT_REPORT, GET_REPORT, GuestRequest, MSG_VERSION,
    RESPONSE_LEN, ReportRequest,
};
use crate::tdx_guest::{GET_REPORT0, TdReportRequest};

/// How an ioctl ended: the system call's result, and what firmware and VMM said.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) result: io::Result<()>,
    pub(crate) exit: ExitInfo,
}

/// Asks for a report.
pub(crate) fn get_report(
    device: BorrowedFd<'_>,
    request: &ReportRequest,
    response: &mut [u8; RESPONSE_LEN],
) -> Outcome {
    let mut argument = argument(address(request), address_mut(response));
    // SAFETY: `argument` is the 32-byte struct of this ioctl. Its addresses are those of `request`
    // (96 bytes, which the kernel only reads) and `response` (4000 bytes, borrowed mutably), and
    // both outlive the call.
    let result = unsafe { call(device, GET_REPORT, &raw mut argument) };
    Outcome { result, exit: ExitInfo::from_raw(argument.exitinfo2.get()) }
}

/// Asks for a report and the certificate table; a too small buffer's right size comes back in
/// `request.certs_len`.
pub(crate) fn get_extended_report(
    device: BorrowedFd<'_>,
    request: &mut ExtendedReportRequest,
    certificates: &mut [u8],
    response: &mut [u8; RESPONSE_LEN],
) -> Outcome {
    // A length that does not fit is stated as 0, which the kernel answers with the size it needs.
    request.certs_len = u32::try_from(certificates.len()).unwrap_or(0).into();
    request.certs_address = address_mut(certificates).into();
    let mut argument = argument(address_mut(request), address_mut(response));
    // SAFETY: as in `get_report`; the kernel reads and writes the 112 bytes of `request`, and
    // writes at most `certs_len` bytes to `certs_address`, which is `certificates`, borrowed mutably
    // and at least as long.
    let result = unsafe { call(device, GET_EXT_REPORT, &raw mut argument) };
    Outcome { result, exit: ExitInfo::from_raw(argument.exitinfo2.get()) }
}

/// Asks for a TDREPORT, which comes back in `request`.
pub(crate) fn get_td_report(
    device: BorrowedFd<'_>,
    request: &mut TdReportRequest,
) -> io::Result<()> {
    // SAFETY: `request` is the 1088-byte struct of this ioctl, without addresses, borrowed mutably
    // for the length of the call.
    unsafe { call(device, GET_REPORT0, &raw mut *request) }
}

fn argument(request: u64, response: u64) -> GuestRequest {
    GuestRequest {
        msg_version: MSG_VERSION,
        reserved: [0; 7],
        req_data: request.into(),
        resp_data: response.into(),
        exitinfo2: 0.into(),
    }
}

/// Repeats the ioctl when a signal interrupts it before the request was sent.
///
/// # Safety
///
/// `argument` must point to the struct of the ioctl `op`, and the addresses inside it must be valid
/// for what that reads and writes there.
unsafe fn call<T>(device: BorrowedFd<'_>, op: u32, argument: *mut T) -> io::Result<()> {
    loop {
        // SAFETY: the descriptor is open, and the caller vouches for the argument.
        let code = unsafe { libc::ioctl(device.as_raw_fd(), libc::Ioctl::from(op), argument) };
        if code >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[expect(
    clippy::as_conversions,
    reason = "the address of a reference as the kernel's ABI wants it"
)]
fn address<T: ?Sized>(value: &T) -> u64 {
    (&raw const *value).cast::<u8>().expose_provenance() as u64
}

#[expect(
    clippy::as_conversions,
    reason = "the address of a reference as the kernel's ABI wants it"
)]
fn address_mut<T: ?Sized>(value: &mut T) -> u64 {
    (&raw mut *value).cast::<u8>().expose_provenance() as u64
}
