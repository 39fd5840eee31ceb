// SPDX-License-Identifier: Apache-2.0
//! The paravisor's report: a header, the hardware's report, and data whose hash that report holds.
//!
//! All numbers are little-endian. Offsets: `HCLA` 0x00, version 0x04, size of the used part 0x08,
//! kind of request 0x0C, then zeros to 0x20; the hardware's report, 1184 bytes; then size, version,
//! kind of report, kind of hash and size of the data, 32 bits each; the data, JSON; zeros.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::snp::REPORT_BYTES;
use crate::snp::Report;
use crate::snp::ReportError;

/// Largest paravisor report that is read, bytes. Azure's have 2600.
pub const MAX_HCL_BYTES: usize = 16 << 10;

/// A well-formed report of the paravisor. Says nothing about who made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HclReport {
    bytes: Vec<u8>,
    hardware: HardwareReport,
    data: Range<usize>,
    key: AttestationKey,
    user_data: Option<Vec<u8>>,
}

/// What the paravisor had from the hardware.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HardwareReport {
    /// A signed report of an SNP guest.
    Snp(Box<Report>),
    /// REPORTDATA of a TDREPORT, which only the machine itself can verify; the quote made from it
    /// comes separately.
    Tdx {
        /// Bytes 0x80 to 0xC0 of the TDREPORT.
        report_data: Box<[u8; 64]>,
    },
}

/// The TPM's attestation key, RSA; big-endian numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestationKey {
    /// Modulus.
    pub n: Vec<u8>,
    /// Exponent.
    pub e: Vec<u8>,
}

impl HclReport {
    /// Reads a paravisor report.
    ///
    /// # Errors
    ///
    /// [`HclError`] when a magic number, version, kind or size is another one, the data is no JSON
    /// with one attestation key, or bytes that belong to nothing are not zero (D7).
    pub fn parse(bytes: &[u8]) -> Result<Self, HclError> {
        if bytes.len() > MAX_HCL_BYTES {
            return Err(HclError::TooLarge);
        }
        let number = |offset: usize| {
            let end = offset.saturating_add(4);
            let field = bytes.get(offset..end).and_then(|field| field.try_into().ok());
            field.map(u32::from_le_bytes).ok_or(HclError::Truncated)
        };
        let expect = |offset, known: &[u32]| {
            let value = number(offset)?;
            if known.contains(&value) {
                Ok(value)
            } else {
                Err(HclError::Unknown { offset, value })
            }
        };
        expect(0, &[MAGIC])?;
        expect(0x04, &[1, 2])?;
        expect(0x0C, &[REPORT_REQUEST])?;
        expect(DATA_HEADER + 4, &[1])?;
        let kind = expect(DATA_HEADER + 8, &[KIND_SNP, KIND_TDX])?;
        expect(DATA_HEADER + 12, &[HASH_SHA256])?;

        let len = size(number(DATA_HEADER + 16)?);
        let end = DATA_START.saturating_add(len);
        let data = bytes.get(DATA_START..end).ok_or(HclError::Truncated)?;
        let data_area = len.saturating_add(DATA_START - DATA_HEADER);
        if size(number(DATA_HEADER)?) != data_area || size(number(0x08)?) != end {
            return Err(HclError::Sizes);
        }
        let hardware = bytes.get(HARDWARE..DATA_HEADER).unwrap_or_default();
        let (hardware, padding) = read_hardware(kind, hardware)?;
        let unused = [bytes.get(0x10..HARDWARE), Some(padding), bytes.get(end..)];
        if unused.into_iter().flatten().flatten().any(|byte| *byte != 0) {
            return Err(HclError::Trailing);
        }
        let (key, user_data) = read_data(data)?;
        Ok(Self { bytes: bytes.to_vec(), hardware, data: DATA_START..end, key, user_data })
    }

    /// The report exactly as it came.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What the hardware said.
    #[must_use]
    pub fn hardware(&self) -> &HardwareReport {
        &self.hardware
    }

    /// The data whose SHA-256 the hardware's report must begin with, JSON.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        self.bytes.get(self.data.clone()).unwrap_or_default()
    }

    /// The key that quotes must be signed with.
    #[must_use]
    pub fn key(&self) -> &AttestationKey {
        &self.key
    }

    /// What the guest asked to have bound, up to 64 bytes, zero-padded; `None` when the data has no
    /// such member.
    #[must_use]
    pub fn user_data(&self) -> Option<&[u8]> {
        self.user_data.as_deref()
    }
}

/// Why bytes are no paravisor report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HclError {
    /// Over [`MAX_HCL_BYTES`].
    #[error("the paravisor's report has more than {MAX_HCL_BYTES} bytes")]
    TooLarge,
    /// It ends before its parts do.
    #[error("the paravisor's report is cut short")]
    Truncated,
    /// A number that must be one of a few is another.
    #[error("unknown value {value:#x} at offset {offset:#x} of the paravisor's report")]
    Unknown {
        /// Where it stands.
        offset: usize,
        /// The value.
        value: u32,
    },
    /// Its sizes contradict each other.
    #[error("the sizes in the paravisor's report contradict each other")]
    Sizes,
    /// Bytes that belong to nothing are not zero.
    #[error("unused bytes of the paravisor's report are not zero")]
    Trailing,
    /// The hardware's report is malformed.
    #[error("the paravisor's report holds a malformed report of the hardware")]
    Report {
        /// Why.
        #[source]
        source: ReportError,
    },
    /// The data is no JSON of the known form.
    #[error("the paravisor's data is malformed JSON")]
    Data {
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// The data has no attestation key, or several, or one that is not RSA.
    #[error("the paravisor's data has not exactly one RSA attestation key")]
    Key,
    /// `user-data` is not at most 64 bytes in hexadecimal digits.
    #[error("the user data in the paravisor's data is malformed")]
    UserData,
}

/// The hardware's report, and the bytes behind it.
fn read_hardware(kind: u32, area: &[u8]) -> Result<(HardwareReport, &[u8]), HclError> {
    if kind == KIND_SNP {
        let report = Report::parse(area).map_err(|source| HclError::Report { source })?;
        return Ok((HardwareReport::Snp(Box::new(report)), &[]));
    }
    let report_data = area.get(0x80..0xC0).and_then(|field| field.try_into().ok());
    let report_data = Box::new(report_data.ok_or(HclError::Truncated)?);
    Ok((HardwareReport::Tdx { report_data }, area.get(TDREPORT_BYTES..).unwrap_or_default()))
}

#[derive(Deserialize)]
struct Data {
    keys: Vec<Key>,
    #[serde(default, rename = "user-data")]
    user_data: Option<String>,
}

#[derive(Deserialize)]
struct Key {
    kid: String,
    kty: String,
    #[serde(default)]
    n: String,
    #[serde(default)]
    e: String,
}

fn read_data(data: &[u8]) -> Result<(AttestationKey, Option<Vec<u8>>), HclError> {
    let data: Data = serde_json::from_slice(data).map_err(|source| HclError::Data { source })?;
    let mut keys = data.keys.iter().filter(|key| key.kid == "HCLAkPub");
    let (Some(key), None) = (keys.next(), keys.next()) else { return Err(HclError::Key) };
    let number = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| HclError::Key);
    if key.kty != "RSA" {
        return Err(HclError::Key);
    }
    let user_data = data.user_data.map(|text| user_data(&text)).transpose()?;
    Ok((AttestationKey { n: number(&key.n)?, e: number(&key.e)? }, user_data))
}

fn user_data(text: &str) -> Result<Vec<u8>, HclError> {
    let bytes = hex::decode(text).map_err(|_| HclError::UserData)?;
    if bytes.len() > USER_DATA_BYTES { Err(HclError::UserData) } else { Ok(bytes) }
}

fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// `HCLA`.
const MAGIC: u32 = u32::from_le_bytes(*b"HCLA");
const REPORT_REQUEST: u32 = 2;
const KIND_SNP: u32 = 2;
const KIND_TDX: u32 = 4;
const HASH_SHA256: u32 = 1;
const HARDWARE: usize = 0x20;
const DATA_HEADER: usize = HARDWARE + REPORT_BYTES;
const DATA_START: usize = DATA_HEADER + 20;
const TDREPORT_BYTES: usize = 1024;
const USER_DATA_BYTES: usize = 64;
