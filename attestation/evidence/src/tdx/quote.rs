// SPDX-License-Identifier: Apache-2.0
//! Quotes of versions 4 and 5, signed with ECDSA P-256.
//!
//! A quote is a header, a body, and signature data in which each length is inside another one. Only
//! the inner lengths count: files and buffers are often longer than the quote, so zeros behind it
//! are allowed and anything else is refused (D7).

use super::body::BodyKind;
use super::body::TdBody;
use super::enclave_report::ENCLAVE_REPORT_BYTES;
use super::enclave_report::EnclaveReport;

/// Largest buffer that is read as a quote, padding included, bytes.
pub const MAX_QUOTE_BYTES: usize = 64 << 10;

/// A well-formed quote. Says nothing about who made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    bytes: Vec<u8>,
    used: usize,
    signed: usize,
    version: QuoteVersion,
    user_data: [u8; 20],
    body: TdBody,
    signature: [u8; 64],
    attestation_key: [u8; 64],
    qe_report: EnclaveReport,
    qe_report_signature: [u8; 64],
    qe_auth_data: Vec<u8>,
    pck_chain: Vec<u8>,
}

/// Version of a quote's layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuoteVersion {
    /// Version 4: the body of TDX 1.0.
    V4,
    /// Version 5: a body of the type that it names.
    V5,
}

impl Quote {
    /// Reads a quote.
    ///
    /// # Errors
    ///
    /// [`QuoteError`] when it is no TDX quote of version 4 or 5 with an ECDSA P-256 key, a PCK
    /// certificate chain and lengths that agree, or when something other than zeros follows it.
    pub fn parse(bytes: &[u8]) -> Result<Self, QuoteError> {
        if bytes.len() > MAX_QUOTE_BYTES {
            return Err(QuoteError::TooLarge);
        }
        let mut input = Input { bytes, at: 0 };
        let header = Header::read(&mut input)?;
        let kind = match header.version {
            QuoteVersion::V4 => BodyKind::Td10,
            QuoteVersion::V5 => {
                let (number, size) = (input.u16()?, input.length()?);
                let kind =
                    BodyKind::from_type(number).ok_or(QuoteError::BodyType { kind: number })?;
                if size != kind.bytes() {
                    return Err(QuoteError::BodySize { kind: number, size });
                }
                kind
            }
        };
        let body = TdBody::read(kind, input.take(kind.bytes())?)
            .ok_or(QuoteError::Truncated { offset: input.at })?;
        let signed = input.at;
        let data = input.prefixed()?;
        let used = input.at;
        if bytes.iter().skip(used).any(|byte| *byte != 0) {
            return Err(QuoteError::Trailing { offset: used });
        }
        let signature_data = SignatureData::read(data, signed.saturating_add(LENGTH_BYTES))?;
        let SignatureData { signature, attestation_key, certification } = signature_data;
        Ok(Self {
            bytes: bytes.to_vec(),
            used,
            signed,
            version: header.version,
            user_data: header.user_data,
            body,
            signature,
            attestation_key,
            qe_report: certification.report,
            qe_report_signature: certification.signature,
            qe_auth_data: certification.auth_data,
            pck_chain: certification.pck_chain,
        })
    }

    /// The quote exactly as it came, padding included.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Size of the quote without padding, bytes.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.used
    }

    /// Header and body: what the attestation key signed.
    #[must_use]
    pub fn signed_bytes(&self) -> &[u8] {
        self.bytes.get(..self.signed).unwrap_or_default()
    }

    /// Version of the layout.
    #[must_use]
    pub fn version(&self) -> QuoteVersion {
        self.version
    }

    /// USER_DATA of the header: the platform's id in its first 16 bytes, as the quoting enclave
    /// gives it.
    #[must_use]
    pub fn user_data(&self) -> &[u8; 20] {
        &self.user_data
    }

    /// What the quote says of the TD.
    #[must_use]
    pub fn body(&self) -> &TdBody {
        &self.body
    }

    /// The attestation key's signature: r then s.
    #[must_use]
    pub fn signature(&self) -> &[u8; 64] {
        &self.signature
    }

    /// The attestation key, a point on P-256: x then y.
    #[must_use]
    pub fn attestation_key(&self) -> &[u8; 64] {
        &self.attestation_key
    }

    /// The report of the quoting enclave that made the attestation key.
    #[must_use]
    pub fn qe_report(&self) -> &EnclaveReport {
        &self.qe_report
    }

    /// The PCK key's signature of that report: r then s.
    #[must_use]
    pub fn qe_report_signature(&self) -> &[u8; 64] {
        &self.qe_report_signature
    }

    /// What the quoting enclave authenticates beside the key.
    #[must_use]
    pub fn qe_auth_data(&self) -> &[u8] {
        &self.qe_auth_data
    }

    /// The PCK certificate and its issuers, PEM as it came.
    #[must_use]
    pub fn pck_chain(&self) -> &[u8] {
        &self.pck_chain
    }
}

/// Why bytes are no TDX quote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuoteError {
    /// Over [`MAX_QUOTE_BYTES`].
    #[error("a quote is larger than {MAX_QUOTE_BYTES} bytes")]
    TooLarge,
    /// It ends inside a field, or a length reaches beyond the one around it.
    #[error("a quote is cut short at offset {offset:#x}")]
    Truncated {
        /// Offset of the field, bytes.
        offset: usize,
    },
    /// Not version 4 or 5.
    #[error("a quote has the unknown version {version}")]
    Version {
        /// Its version.
        version: u16,
    },
    /// Of an SGX enclave, not of a TD.
    #[error("the quote is of an SGX enclave, not of a TD")]
    Sgx,
    /// Of an unknown kind of TEE.
    #[error("the quote is of the unknown TEE type {kind:#x}")]
    TeeType {
        /// Its type.
        kind: u32,
    },
    /// Not signed with ECDSA P-256.
    #[error("the quote has the unknown attestation key type {kind}")]
    KeyType {
        /// Its type.
        kind: u16,
    },
    /// Not made by Intel's quoting enclave.
    #[error("the quote is not of Intel's quoting enclave")]
    Vendor,
    /// A body that is not known, or that no TD has.
    #[error("the quote has the unknown body type {kind}")]
    BodyType {
        /// Its type.
        kind: u16,
    },
    /// A body whose size is not that of its type.
    #[error("the quote's body of type {kind} has {size} bytes")]
    BodySize {
        /// Its type.
        kind: u16,
        /// Its size, bytes.
        size: usize,
    },
    /// Certification data other than a QE report that holds a PCK certificate chain.
    #[error("the quote has certification data of type {kind} where type {expected} belongs")]
    Certification {
        /// The type.
        kind: u16,
        /// The one that is read there.
        expected: u16,
    },
    /// A length that leaves bytes over inside the signature data.
    #[error("the quote's signature data has bytes left over at offset {offset:#x}")]
    Leftover {
        /// Offset of the first of them, bytes.
        offset: usize,
    },
    /// Something other than zeros behind the quote.
    #[error("something other than padding follows the quote at offset {offset:#x}")]
    Trailing {
        /// Where the quote ends, bytes.
        offset: usize,
    },
}

struct Header {
    version: QuoteVersion,
    user_data: [u8; 20],
}

impl Header {
    fn read(input: &mut Input<'_>) -> Result<Self, QuoteError> {
        let (version, key_type, tee_type) = (input.u16()?, input.u16()?, input.u32()?);
        // Two versions that the quoting enclave leaves zero; they are signed and mean nothing here.
        let _ = input.take(4)?;
        let vendor: [u8; 16] = input.array()?;
        let user_data = input.array()?;
        match tee_type {
            TEE_TDX => {}
            TEE_SGX => return Err(QuoteError::Sgx),
            kind => return Err(QuoteError::TeeType { kind }),
        }
        let version = match version {
            4 => QuoteVersion::V4,
            5 => QuoteVersion::V5,
            version => return Err(QuoteError::Version { version }),
        };
        if key_type != ECDSA_P256 {
            return Err(QuoteError::KeyType { kind: key_type });
        }
        if vendor != INTEL_QE {
            return Err(QuoteError::Vendor);
        }
        Ok(Self { version, user_data })
    }
}

struct SignatureData {
    signature: [u8; 64],
    attestation_key: [u8; 64],
    certification: QeCertification,
}

impl SignatureData {
    fn read(bytes: &[u8], offset: usize) -> Result<Self, QuoteError> {
        let place = |error| shifted(error, offset);
        let mut input = Input { bytes, at: 0 };
        let signature = input.array().map_err(place)?;
        let attestation_key = input.array().map_err(place)?;
        let data = input.certification(QE_REPORT).map_err(place)?;
        let inner = offset.saturating_add(input.at).saturating_sub(data.len());
        input.finish().map_err(place)?;
        let certification = QeCertification::read(data).map_err(|error| shifted(error, inner))?;
        Ok(Self { signature, attestation_key, certification })
    }
}

struct QeCertification {
    report: EnclaveReport,
    signature: [u8; 64],
    auth_data: Vec<u8>,
    pck_chain: Vec<u8>,
}

impl QeCertification {
    fn read(bytes: &[u8]) -> Result<Self, QuoteError> {
        let mut input = Input { bytes, at: 0 };
        let report = EnclaveReport::read(&input.array::<ENCLAVE_REPORT_BYTES>()?);
        let signature = input.array()?;
        let auth_bytes = usize::from(input.u16()?);
        let auth_data = input.take(auth_bytes)?.to_vec();
        let pck_chain = input.certification(PCK_CHAIN)?.to_vec();
        input.finish()?;
        Ok(Self { report, signature, auth_data, pck_chain })
    }
}

/// Reads forward and never beyond its bytes.
struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], QuoteError> {
        let end = self.at.checked_add(count);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or(QuoteError::Truncated { offset: self.at })?;
        self.at = self.at.saturating_add(count);
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], QuoteError> {
        let offset = self.at;
        self.take(N)?.try_into().map_err(|_| QuoteError::Truncated { offset })
    }

    fn u16(&mut self) -> Result<u16, QuoteError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, QuoteError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn length(&mut self) -> Result<usize, QuoteError> {
        let offset = self.at;
        usize::try_from(self.u32()?).map_err(|_| QuoteError::Truncated { offset })
    }

    /// Bytes behind their length, 32 bits.
    fn prefixed(&mut self) -> Result<&'a [u8], QuoteError> {
        let count = self.length()?;
        self.take(count)
    }

    /// Certification data of the one type that is read here.
    fn certification(&mut self, expected: u16) -> Result<&'a [u8], QuoteError> {
        let kind = self.u16()?;
        if kind != expected {
            return Err(QuoteError::Certification { kind, expected });
        }
        self.prefixed()
    }

    fn finish(&self) -> Result<(), QuoteError> {
        if self.at == self.bytes.len() {
            Ok(())
        } else {
            Err(QuoteError::Leftover { offset: self.at })
        }
    }
}

/// The same error with its offset counted from the start of the quote.
fn shifted(error: QuoteError, by: usize) -> QuoteError {
    match error {
        QuoteError::Truncated { offset } => {
            QuoteError::Truncated { offset: offset.saturating_add(by) }
        }
        QuoteError::Leftover { offset } => {
            QuoteError::Leftover { offset: offset.saturating_add(by) }
        }
        other => other,
    }
}

const TEE_SGX: u32 = 0;
const TEE_TDX: u32 = 0x81;
const ECDSA_P256: u16 = 2;
/// Certification data: the quoting enclave's report and its certification.
const QE_REPORT: u16 = 6;
/// Certification data: PCK certificate chain, PEM.
const PCK_CHAIN: u16 = 5;
const LENGTH_BYTES: usize = 4;
const INTEL_QE: [u8; 16] = 0x939a_7233_f79c_4ca9_940a_0db3_957f_0607_u128.to_be_bytes();

#[cfg(test)]
mod tests;
