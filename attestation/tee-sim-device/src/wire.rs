// SPDX-License-Identifier: Apache-2.0
//! What simulated device and software PSP say to each other through the port `casemate.psp`.
//!
//! A request has a fixed size; a response has a head, the 4000-byte response of the real interface
//! and, for an extended report, the certificate table. One request at a time. It plays the part of
//! the SNP guest message, without its encryption: on this platform there is nothing to hide from
//! the host.

use casemate_attester::abi::{CERTIFICATES_MAX, RESPONSE_LEN, ReportRequest};
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Name of the virtio-serial port.
pub const PORT_NAME: &str = "casemate.psp";

/// A request for a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    kind: Kind,
    report: [u8; size_of::<ReportRequest>()],
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A report.
    Report,
    /// A report and the certificate table.
    ExtendedReport,
}

/// What the PSP answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Firmware error for the caller's `exitinfo2`, 0 for success.
    pub firmware_error: u32,
    /// The response as the caller gets it.
    pub response: Box<[u8; RESPONSE_LEN]>,
    /// The certificate table, empty unless asked for.
    pub certificates: Vec<u8>,
}

/// Why a message is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// A fixed field has another value.
    #[error("the message is not of this protocol")]
    Magic,
    /// The kind is unknown.
    #[error("unknown kind of request {kind}")]
    Kind {
        /// The kind.
        kind: u32,
    },
    /// The certificate table is over the kernel's cap.
    #[error("a certificate table of {len} bytes, over the cap of {cap}")]
    TooLarge {
        /// Its length.
        len: u32,
        /// The cap.
        cap: usize,
    },
    /// The message has another size than its head says.
    #[error("the message has a wrong size")]
    Size,
}

impl Request {
    /// Size of a request in bytes.
    pub const LEN: usize = size_of::<RequestLayout>();

    /// Makes a request.
    #[must_use]
    pub fn new(kind: Kind, report: ReportRequest) -> Self {
        let mut bytes = [0; size_of::<ReportRequest>()];
        bytes.iter_mut().zip(report.as_bytes()).for_each(|(to, from)| *to = *from);
        Self { kind, report: bytes }
    }

    /// Reads a request.
    ///
    /// # Errors
    ///
    /// [`WireError`].
    pub fn parse(bytes: &[u8; Self::LEN]) -> Result<Self, WireError> {
        let layout = RequestLayout::ref_from_bytes(bytes).map_err(|_| WireError::Size)?;
        if layout.magic != MAGIC {
            return Err(WireError::Magic);
        }
        let kind = match layout.kind.get() {
            1 => Kind::Report,
            2 => Kind::ExtendedReport,
            kind => return Err(WireError::Kind { kind }),
        };
        Ok(Self { kind, report: layout.report })
    }

    /// The request as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let kind = match self.kind {
            Kind::Report => 1,
            Kind::ExtendedReport => 2,
        };
        let layout = RequestLayout { magic: MAGIC, kind: U32::new(kind), report: self.report };
        zerocopy::transmute!(layout)
    }

    /// What is asked for.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The report request as the caller made it.
    #[must_use]
    pub fn report(&self) -> ReportRequest {
        zerocopy::transmute!(self.report)
    }
}

impl Response {
    /// Size of the part before the certificates, in bytes.
    pub const HEAD_LEN: usize = size_of::<ResponseLayout>();

    /// Reads the fixed part; the certificates of the returned length follow.
    ///
    /// # Errors
    ///
    /// [`WireError`].
    pub fn parse_head(bytes: &[u8; Self::HEAD_LEN]) -> Result<(Self, usize), WireError> {
        let layout = ResponseLayout::ref_from_bytes(bytes).map_err(|_| WireError::Size)?;
        if layout.magic != MAGIC {
            return Err(WireError::Magic);
        }
        let len = layout.certificates_len.get();
        let certificates = usize::try_from(len)
            .ok()
            .filter(|len| *len <= CERTIFICATES_MAX)
            .ok_or(WireError::TooLarge { len, cap: CERTIFICATES_MAX })?;
        let response = Self {
            firmware_error: layout.firmware_error.get(),
            response: Box::new(layout.response),
            certificates: Vec::new(),
        };
        Ok((response, certificates))
    }

    /// The whole response as bytes.
    ///
    /// # Errors
    ///
    /// [`WireError::TooLarge`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, WireError> {
        let len = u32::try_from(self.certificates.len()).unwrap_or(u32::MAX);
        if self.certificates.len() > CERTIFICATES_MAX {
            return Err(WireError::TooLarge { len, cap: CERTIFICATES_MAX });
        }
        let layout = ResponseLayout {
            magic: MAGIC,
            firmware_error: self.firmware_error.into(),
            certificates_len: len.into(),
            response: *self.response,
        };
        Ok([layout.as_bytes(), &self.certificates].concat())
    }
}

/// "cpsp" and version 1.
const MAGIC: [u8; 8] = *b"cpsp\x01\0\0\0";

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RequestLayout {
    magic: [u8; 8],
    kind: U32,
    report: [u8; size_of::<ReportRequest>()],
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct ResponseLayout {
    magic: [u8; 8],
    firmware_error: U32,
    certificates_len: U32,
    response: [u8; RESPONSE_LEN],
}

#[cfg(test)]
mod tests {
    use casemate_attester::ReportData;
    use proptest::prelude::*;

    use super::*;

    fn request(kind: Kind) -> Request {
        Request::new(kind, ReportRequest::new(&ReportData([0xa5; 64])))
    }

    #[test]
    fn requests_round_trip() {
        for kind in [Kind::Report, Kind::ExtendedReport] {
            assert_eq!(Request::parse(&request(kind).to_bytes()), Ok(request(kind)));
        }
    }

    #[test]
    fn every_changed_byte_of_a_request_is_seen() {
        let good = request(Kind::Report);
        for at in 0..Request::LEN {
            let mut bytes = good.to_bytes();
            bytes[at] ^= 0x10;
            assert_ne!(Request::parse(&bytes), Ok(good), "byte {at}");
        }
    }

    #[test]
    fn unknown_kinds_are_refused() {
        let mut bytes = request(Kind::Report).to_bytes();
        bytes[8] = 3;
        assert_eq!(Request::parse(&bytes), Err(WireError::Kind { kind: 3 }));
    }

    #[test]
    fn certificates_over_the_cap_are_refused_on_both_ends() {
        let mut response = Response {
            firmware_error: 0,
            response: Box::new([1; RESPONSE_LEN]),
            certificates: vec![0; CERTIFICATES_MAX + 1],
        };
        assert!(matches!(response.to_bytes(), Err(WireError::TooLarge { .. })));
        response.certificates.pop();
        let mut bytes = response.to_bytes().unwrap();
        bytes[12] = 1;
        let head = bytes.first_chunk().unwrap();
        assert!(matches!(Response::parse_head(head), Err(WireError::TooLarge { .. })));
    }

    proptest! {
        #[test]
        fn responses_round_trip(firmware_error: u32, byte: u8, len in 0_usize..300) {
            let certificates = vec![byte; len];
            let response =
                Response { firmware_error, response: Box::new([byte; RESPONSE_LEN]), certificates };
            let bytes = response.to_bytes().unwrap();
            let (head, rest) = bytes.split_first_chunk().unwrap();
            let (mut parsed, len) = Response::parse_head(head).unwrap();
            prop_assert_eq!(len, rest.len());
            parsed.certificates = rest.to_vec();
            prop_assert_eq!(parsed, response);
        }
    }
}
