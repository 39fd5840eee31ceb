// SPDX-License-Identifier: Apache-2.0
//! `/dev/sev-guest`.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use casemate_evidence::snp::{TableEntry, TableError};

use crate::abi::{
    CERTIFICATES_MAX, ExitInfo, ExtendedReportRequest, PAGE, RESPONSE_LEN, ReportRequest,
    ResponseError, VMM_BUSY, VMM_INVALID_LEN, parse_response,
};
use crate::certificates;
use crate::ioctl::{self, Outcome};
use crate::report::{Report, ReportData};

/// Where the kernel puts the device.
pub const SEV_GUEST_DEVICE: &str = "/dev/sev-guest";

/// The SEV-SNP guest device.
///
/// Calls block: the kernel waits up to a minute for a busy host. Call from a blocking task.
#[derive(Debug)]
pub struct SevGuest {
    device: File,
}

/// A report and the certificates that the host put beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnpEvidence {
    /// The signed report.
    pub report: Report,
    /// What the host says about the chain, possibly nothing.
    pub certificates: Vec<TableEntry>,
}

/// Why the device gave no evidence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SevGuestError {
    /// The device does not exist or cannot be opened: no SEV-SNP guest, or its driver is missing.
    #[error("failed to open the TEE device {path}")]
    Open {
        /// The device.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The kernel refused the request, neither firmware nor VMM said why.
    #[error("the TEE device refused a report request")]
    Ioctl {
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The security processor's firmware refused. The kernel may have disabled its message key.
    #[error("the security processor refused a report request with code {code:#x}")]
    Firmware {
        /// Firmware status (56860, table of status codes).
        code: u32,
    },
    /// The VMM refused.
    #[error("the VMM refused a report request with code {code:#x}")]
    Vmm {
        /// Code of the GHCB specification.
        code: u32,
    },
    /// The host has no time; the request may be repeated.
    #[error("the host is too busy for a report request")]
    Busy,
    /// The host's certificates do not fit the largest buffer that the kernel takes.
    #[error("the host's certificates need {needed} bytes, over the cap of {cap}")]
    CertificatesTooLarge {
        /// Bytes that the host asks for.
        needed: u32,
        /// The cap.
        cap: usize,
    },
    /// The response holds no report, or not the one asked for.
    #[error("the TEE device gave no usable report")]
    Response(#[from] ResponseError),
    /// The certificate table is malformed.
    #[error("the host's certificate table is malformed")]
    Certificates(#[from] TableError),
}

impl SevGuest {
    /// Opens [`SEV_GUEST_DEVICE`].
    ///
    /// # Errors
    ///
    /// [`SevGuestError::Open`].
    pub fn open() -> Result<Self, SevGuestError> {
        Self::open_at(Path::new(SEV_GUEST_DEVICE))
    }

    /// Opens the device at another path.
    ///
    /// # Errors
    ///
    /// [`SevGuestError::Open`].
    pub fn open_at(path: &Path) -> Result<Self, SevGuestError> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map(|device| Self { device })
            .map_err(|source| SevGuestError::Open { path: path.to_owned(), source })
    }

    /// A report at VMPL 0 that carries `data`, without certificates.
    ///
    /// # Errors
    ///
    /// [`SevGuestError`]; [`SevGuestError::is_retryable`] says whether asking again makes sense.
    pub fn report(&self, data: &ReportData) -> Result<Report, SevGuestError> {
        let mut response = Box::new([0; RESPONSE_LEN]);
        let request = ReportRequest::new(data);
        let outcome = ioctl::get_report(self.device.as_fd(), &request, &mut response);
        check(outcome)?;
        Ok(parse_response(&response, data)?)
    }

    /// A report at VMPL 0 that carries `data`, and the host's certificates.
    ///
    /// # Errors
    ///
    /// [`SevGuestError`]; [`SevGuestError::is_retryable`] says whether asking again makes sense.
    pub fn extended_report(&self, data: &ReportData) -> Result<SnpEvidence, SevGuestError> {
        // One page first: most hosts have no certificates at all.
        let mut certificates = vec![0; PAGE];
        let mut response = Box::new([0; RESPONSE_LEN]);
        let mut request = ExtendedReportRequest {
            data: ReportRequest::new(data),
            certs_address: 0.into(),
            certs_len: 0.into(),
            reserved: 0.into(),
        };
        let device = self.device.as_fd();
        let mut outcome =
            ioctl::get_extended_report(device, &mut request, &mut certificates, &mut response);
        if outcome.exit.vmm == VMM_INVALID_LEN {
            let needed = buffer_len(request.certs_len.get())?;
            certificates.resize(needed, 0);
            response.fill(0);
            outcome =
                ioctl::get_extended_report(device, &mut request, &mut certificates, &mut response);
        }
        check(outcome)?;
        let report = parse_response(&response, data)?;
        let certificates = certificates::read(&certificates)?;
        Ok(SnpEvidence { report, certificates })
    }
}

impl SevGuestError {
    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Busy => true,
            Self::Ioctl { source } => {
                matches!(source.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
            }
            _ => false,
        }
    }
}

/// The buffer for `needed` bytes of certificates; hostile or senseless sizes are refused.
fn buffer_len(needed: u32) -> Result<usize, SevGuestError> {
    let too_large = SevGuestError::CertificatesTooLarge { needed, cap: CERTIFICATES_MAX };
    match usize::try_from(needed).map(|len| len.next_multiple_of(PAGE)) {
        Ok(len) if len > PAGE && len <= CERTIFICATES_MAX => Ok(len),
        _ => Err(too_large),
    }
}

/// The kernel reports firmware and VMM errors beside an errno: the former say more.
fn check(outcome: Outcome) -> Result<(), SevGuestError> {
    match (outcome.exit, outcome.result) {
        (ExitInfo { vmm: VMM_BUSY, .. }, _) => Err(SevGuestError::Busy),
        (ExitInfo { vmm, .. }, _) if vmm != 0 => Err(SevGuestError::Vmm { code: vmm }),
        (ExitInfo { firmware, .. }, _) if firmware != 0 => {
            Err(SevGuestError::Firmware { code: firmware })
        }
        (_, Err(source)) => Err(SevGuestError::Ioctl { source }),
        (_, Ok(())) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(errno: Option<i32>, firmware: u32, vmm: u32) -> Outcome {
        let result = errno.map_or(Ok(()), |code| Err(io::Error::from_raw_os_error(code)));
        Outcome { result, exit: ExitInfo { firmware, vmm } }
    }

    #[test]
    fn success_needs_all_three_to_agree() {
        assert!(check(outcome(None, 0, 0)).is_ok());
    }

    #[test]
    fn each_refusal_has_its_error() {
        let firmware = check(outcome(Some(libc::EIO), 0x16, 0));
        assert!(matches!(firmware, Err(SevGuestError::Firmware { code: 0x16 })));
        let firmware = check(outcome(None, 0xff, 0));
        assert!(matches!(firmware, Err(SevGuestError::Firmware { code: 0xff })));
        let vmm = check(outcome(Some(libc::EIO), 0, 7));
        assert!(matches!(vmm, Err(SevGuestError::Vmm { code: 7 })));
        let busy = check(outcome(Some(libc::EAGAIN), 0, VMM_BUSY));
        assert!(matches!(busy, Err(SevGuestError::Busy)));
        let errno = check(outcome(Some(libc::ENOTTY), 0, 0));
        assert!(matches!(errno, Err(SevGuestError::Ioctl { .. })));
    }

    #[test]
    fn only_a_busy_host_is_asked_again() {
        assert!(SevGuestError::Busy.is_retryable());
        assert!(check(outcome(Some(libc::EAGAIN), 0, 0)).unwrap_err().is_retryable());
        assert!(!check(outcome(Some(libc::EIO), 0, 1)).unwrap_err().is_retryable());
    }

    #[test]
    fn buffer_sizes_are_pages_within_the_cap() {
        assert_eq!(buffer_len(4097).unwrap(), 8192);
        assert_eq!(buffer_len(0x4000).unwrap(), 0x4000);
        for senseless in [0, 1, 4096, 0x4001, u32::MAX] {
            assert!(matches!(
                buffer_len(senseless),
                Err(SevGuestError::CertificatesTooLarge { .. })
            ));
        }
    }

    #[test]
    fn a_missing_device_is_an_error() {
        let error = SevGuest::open_at(Path::new("/nonexistent/sev-guest")).unwrap_err();
        assert!(matches!(error, SevGuestError::Open { .. }));
    }

    #[test]
    fn a_device_of_another_kind_gives_no_report() {
        let device = SevGuest::open_at(Path::new("/dev/null")).unwrap();
        assert!(matches!(device.report(&ReportData([1; 64])), Err(SevGuestError::Ioctl { .. })));
        assert!(matches!(
            device.extended_report(&ReportData([1; 64])),
            Err(SevGuestError::Ioctl { .. })
        ));
    }
}
