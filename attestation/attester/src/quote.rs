// SPDX-License-Identifier: Apache-2.0
//! The TDX quote as a block of bytes that the host's quote service made.

use std::fmt;

use crate::report::ReportData;

/// A quote with its signature, unverified, over the report data that was asked for.
///
/// Source: Intel TDX DCAP Quoting Library API, appendix 3 (quote versions 4 and 5).
#[derive(Clone, PartialEq, Eq)]
pub struct Quote(Vec<u8>);

impl Quote {
    /// Takes a quote that was asked for over `asked`.
    ///
    /// # Errors
    ///
    /// [`QuoteError`]: the bytes are no quote about a TD, or over other data.
    ///
    /// # Security
    ///
    /// The quote service runs on the host. What is looked at here only says early that it gave
    /// something else; the relying party decides.
    pub fn parse(bytes: Vec<u8>, asked: &ReportData) -> Result<Self, QuoteError> {
        let version = u16::from_le_bytes(field(&bytes, 0)?);
        let body = match version {
            4 => HEADER,
            5 => match u16::from_le_bytes(field(&bytes, HEADER)?) {
                // TD report of TDX 1.0, and of 1.5.
                2 | 3 => HEADER + BODY_HEAD,
                body => return Err(QuoteError::Body { body }),
            },
            version => return Err(QuoteError::Version { version }),
        };
        let tee = u32::from_le_bytes(field(&bytes, TEE_TYPE)?);
        if tee != TEE_TDX {
            return Err(QuoteError::Tee { tee });
        }
        if field::<{ ReportData::LEN }>(&bytes, body + REPORT_DATA)? != asked.0 {
            return Err(QuoteError::ForeignReportData);
        }
        Ok(Self(bytes))
    }

    /// The bytes as they came.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Quote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quote").field("bytes", &self.0.len()).finish_non_exhaustive()
    }
}

/// Why bytes are not the quote that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuoteError {
    /// The bytes end before the report data does.
    #[error("the quote is cut short at {len} bytes")]
    Truncated {
        /// How many there are.
        len: usize,
    },
    /// No version that TDX quotes have.
    #[error("the quote has version {version}, not 4 or 5")]
    Version {
        /// The version.
        version: u16,
    },
    /// The quote of another TEE.
    #[error("the quote is of TEE type {tee:#x}, not of TDX")]
    Tee {
        /// The type.
        tee: u32,
    },
    /// The body is no report of a TD.
    #[error("the quote has a body of type {body}, not a TD report")]
    Body {
        /// The type.
        body: u16,
    },
    /// The quote does not carry the report data that was asked for.
    #[error("the quote carries other report data than was asked for")]
    ForeignReportData,
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], QuoteError> {
    let rest = bytes.get(at..).and_then(|rest| rest.first_chunk());
    rest.copied().ok_or(QuoteError::Truncated { len: bytes.len() })
}

/// Size of the header.
const HEADER: usize = 48;
/// Where the header names the TEE.
const TEE_TYPE: usize = 4;
const TEE_TDX: u32 = 0x81;
/// Version 5: type and size stand before the body.
const BODY_HEAD: usize = 6;
/// Where REPORTDATA begins in the body, for TDX 1.0 and 1.5.
const REPORT_DATA: usize = 520;

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    const ASKED: ReportData = ReportData([0xa5; 64]);

    /// A quote of version 4 over `data`, with some bytes in the place of its signature.
    pub(crate) fn version_4(data: &[u8; 64]) -> Vec<u8> {
        let mut bytes = vec![0x11; 48 + 584];
        bytes[..8].copy_from_slice(&[4, 0, 2, 0, 0x81, 0, 0, 0]);
        bytes[48 + 520..].copy_from_slice(data);
        bytes.extend([0x22; 100]);
        bytes
    }

    fn version_5(body: u8) -> Vec<u8> {
        let mut bytes = vec![0x11; 48 + 6 + 648];
        bytes[..8].copy_from_slice(&[5, 0, 2, 0, 0x81, 0, 0, 0]);
        bytes[48..54].copy_from_slice(&[body, 0, 0x88, 2, 0, 0]);
        bytes[54 + 520..54 + 584].copy_from_slice(&ASKED.0);
        bytes
    }

    #[test]
    fn keeps_the_bytes_of_each_version() {
        for bytes in [version_4(&ASKED.0), version_5(2), version_5(3)] {
            assert_eq!(Quote::parse(bytes.clone(), &ASKED).unwrap().as_bytes(), bytes);
        }
    }

    #[test]
    fn genuine_quotes_carry_their_report_data() {
        // Report data stands 64 bytes before the end of a body of 1.0, 128 before that of 1.5.
        for (name, at) in [
            ("tdx/go-tdx-guest/tdx_prod_quote_SPR_E4.dat", 48 + 584 - 64),
            ("tdx/go-tdx-guest/quote_v5_sample.dat", 54 + 648 - 128),
        ] {
            let Some(bytes) = crate::vectors::read(name) else { return };
            let asked = ReportData(bytes[at..at + 64].try_into().unwrap());
            assert_eq!(Quote::parse(bytes.clone(), &asked).unwrap().as_bytes(), bytes, "{name}");
            assert_eq!(Quote::parse(bytes, &ASKED), Err(QuoteError::ForeignReportData), "{name}");
        }
    }

    #[test]
    fn each_other_quote_has_its_error() {
        let refused = |bytes| Quote::parse(bytes, &ASKED).unwrap_err();
        assert_eq!(refused(version_4(&[0; 64])), QuoteError::ForeignReportData);
        assert_eq!(refused(version_5(1)), QuoteError::Body { body: 1 });
        let mut enclave = version_4(&ASKED.0);
        enclave[4] = 0;
        assert_eq!(refused(enclave), QuoteError::Tee { tee: 0 });
        let mut version = version_4(&ASKED.0);
        version[0] = 3;
        assert_eq!(refused(version), QuoteError::Version { version: 3 });
        assert_eq!(refused(Vec::new()), QuoteError::Truncated { len: 0 });
    }

    #[test]
    fn every_truncation_before_the_signature_is_refused() {
        for (bytes, end) in [(version_4(&ASKED.0), 48 + 584), (version_5(3), 54 + 584)] {
            for len in 0..bytes.len() {
                let parsed = Quote::parse(bytes[..len].to_vec(), &ASKED);
                match parsed {
                    Err(error) => assert_eq!(error, QuoteError::Truncated { len }),
                    Ok(_) => assert!(len >= end, "{len}"),
                }
            }
        }
    }

    #[test]
    fn every_changed_byte_is_refused_or_kept() {
        let original = version_4(&ASKED.0);
        for at in 0..original.len() {
            let mut bytes = original.clone();
            bytes[at] ^= 0x40;
            match (at, Quote::parse(bytes.clone(), &ASKED)) {
                (0 | 1, parsed) => assert!(matches!(parsed, Err(QuoteError::Version { .. }))),
                (4..8, parsed) => assert!(matches!(parsed, Err(QuoteError::Tee { .. }))),
                (568..632, parsed) => assert_eq!(parsed, Err(QuoteError::ForeignReportData)),
                (_, parsed) => assert_eq!(parsed.unwrap().as_bytes(), bytes),
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, version in 4..6_u8) {
            let _ = Quote::parse(bytes.clone(), &ASKED);
            let _ = Quote::parse([vec![version, 0], bytes].concat(), &ASKED);
        }
    }
}
