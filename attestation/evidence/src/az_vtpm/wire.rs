// SPDX-License-Identifier: Apache-2.0
//! Evidence JSON for `az-snp-vtpm` and `az-tdx-vtpm`, versions 0 (arrays of integers, without a
//! version) to 2.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::DecodePaddingMode;
use base64::engine::GeneralPurpose;
use base64::engine::GeneralPurposeConfig;
use serde::Deserialize;

use super::HclError;
use super::HclReport;
use super::PCRS;
use super::QuoteError;
use super::TpmQuote;
use super::hcl::HardwareReport;
use crate::snp::Certificate;
use crate::snp::CertificateError;
use crate::snp::Report;
use crate::snp::TableEntry;
use crate::tdx;

/// Evidence of an SNP guest on Azure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AzSnpEvidence {
    /// Version of the form: from 2 on, user data must hold the nonce too.
    pub version: u32,
    /// The paravisor's report.
    pub hcl: HclReport,
    /// The hardware's report inside it.
    pub report: Report,
    /// The TPM's quote.
    pub quote: TpmQuote,
    /// The chip's certificate, and any others beside it.
    pub certificates: Vec<TableEntry>,
}

/// Evidence of a TD on Azure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AzTdxEvidence {
    /// Version of the form: from 2 on, user data must hold the nonce too.
    pub version: u32,
    /// The paravisor's report.
    pub hcl: HclReport,
    /// The TPM's quote.
    pub quote: TpmQuote,
    /// The quote of the hardware, without an event log.
    pub td: tdx::Evidence,
}

impl AzSnpEvidence {
    /// Reads evidence JSON.
    ///
    /// # Errors
    ///
    /// [`AzWireError`] when it is malformed, has an unknown or duplicate member, another version, or
    /// a report of other hardware.
    pub fn from_json(json: &str) -> Result<Self, AzWireError> {
        let (version, hcl, quote, vcek) = match version(json)? {
            None => {
                let wire: SnpV0 = read(json)?;
                (0, wire.report, wire.quote.parse()?, wire.vcek.into_bytes())
            }
            Some(version) => {
                let wire: SnpV1 = read(json)?;
                (version, text(&wire.hcl_report)?, wire.tpm_quote.parse()?, text(&wire.vcek)?)
            }
        };
        let hcl = HclReport::parse(&hcl).map_err(|source| AzWireError::Hcl { source })?;
        let HardwareReport::Snp(report) = hcl.hardware().clone() else {
            return Err(AzWireError::Hardware);
        };
        let certificates =
            Certificate::read_all(&vcek).map_err(|source| AzWireError::Certificate { source })?;
        Ok(Self { version, hcl, report: *report, quote, certificates })
    }
}

impl AzTdxEvidence {
    /// Reads evidence JSON.
    ///
    /// # Errors
    ///
    /// As [`AzSnpEvidence::from_json`].
    pub fn from_json(json: &str) -> Result<Self, AzWireError> {
        let (version, hcl, quote, td_quote) = match version(json)? {
            None => {
                let wire: TdxV0 = read(json)?;
                (0, wire.hcl_report, wire.tpm_quote.parse()?, wire.td_quote)
            }
            Some(version) => {
                let wire: TdxV1 = read(json)?;
                let (hcl, td_quote) = (text(&wire.hcl_report)?, text(&wire.td_quote)?);
                (version, hcl, wire.tpm_quote.parse()?, td_quote)
            }
        };
        let hcl = HclReport::parse(&hcl).map_err(|source| AzWireError::Hcl { source })?;
        if !matches!(hcl.hardware(), HardwareReport::Tdx { .. }) {
            return Err(AzWireError::Hardware);
        }
        let td_quote =
            tdx::Quote::parse(&td_quote).map_err(|source| AzWireError::TdQuote { source })?;
        Ok(Self { version, hcl, quote, td: tdx::Evidence::of_quote(td_quote) })
    }
}

/// Why JSON is no evidence of an Azure guest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AzWireError {
    /// Malformed, or a member is unknown, missing or duplicate.
    #[error("the evidence is malformed JSON")]
    Json {
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// Not 1 or 2.
    #[error("unknown version {version} of the evidence")]
    Version {
        /// The version.
        version: u32,
    },
    /// A member is not in the encoding of its version.
    #[error("a member of the evidence is not encoded as it should be")]
    Encoding,
    /// Not 24 registers of 32 bytes.
    #[error("the evidence has not {PCRS} registers of 32 bytes")]
    Pcrs,
    /// The paravisor's report is malformed.
    #[error("the evidence holds a malformed report of the paravisor")]
    Hcl {
        /// Why.
        #[source]
        source: HclError,
    },
    /// The TPM's quote is malformed.
    #[error("the evidence holds a malformed quote of the TPM")]
    Quote {
        /// Why.
        #[source]
        source: QuoteError,
    },
    /// The certificate is malformed.
    #[error("the evidence holds a malformed certificate")]
    Certificate {
        /// Why.
        #[source]
        source: CertificateError,
    },
    /// The quote of the hardware is malformed.
    #[error("the evidence holds a malformed quote of the hardware")]
    TdQuote {
        /// Why.
        #[source]
        source: tdx::QuoteError,
    },
    /// SNP where TDX belongs, or the other way round.
    #[error("the paravisor's report is of other hardware than the evidence")]
    Hardware,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Version {
    #[serde(default)]
    version: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct SnpV0 {
    quote: QuoteV0,
    report: Vec<u8>,
    vcek: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct TdxV0 {
    tpm_quote: QuoteV0,
    hcl_report: Vec<u8>,
    td_quote: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct SnpV1 {
    #[serde(rename = "version")]
    _version: u32,
    tpm_quote: QuoteV1,
    hcl_report: String,
    vcek: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct TdxV1 {
    #[serde(rename = "version")]
    _version: u32,
    tpm_quote: QuoteV1,
    hcl_report: String,
    td_quote: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct QuoteV0 {
    signature: Vec<u8>,
    message: Vec<u8>,
    pcrs: Vec<Vec<u8>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct QuoteV1 {
    signature: String,
    message: String,
    pcrs: Vec<String>,
}

impl QuoteV0 {
    fn parse(self) -> Result<TpmQuote, AzWireError> {
        let registers: Vec<[u8; 32]> = self
            .pcrs
            .into_iter()
            .map(|value| value.try_into().map_err(|_| AzWireError::Pcrs))
            .collect::<Result<_, _>>()?;
        let registers = registers.try_into().map_err(|_| AzWireError::Pcrs)?;
        TpmQuote::parse(&self.message, &self.signature, registers)
            .map_err(|source| AzWireError::Quote { source })
    }
}

impl QuoteV1 {
    fn parse(self) -> Result<TpmQuote, AzWireError> {
        let bytes = |text: &String| hex::decode(text).map_err(|_| AzWireError::Encoding);
        QuoteV0 {
            signature: bytes(&self.signature)?,
            message: bytes(&self.message)?,
            pcrs: self.pcrs.iter().map(bytes).collect::<Result<_, _>>()?,
        }
        .parse()
    }
}

fn read<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, AzWireError> {
    serde_json::from_str(json).map_err(|source| AzWireError::Json { source })
}

/// The version, `None` for the form before there were versions.
fn version(json: &str) -> Result<Option<u32>, AzWireError> {
    match read::<Version>(json)?.version {
        Some(version @ (1 | 2)) => Ok(Some(version)),
        Some(version) => Err(AzWireError::Version { version }),
        None => Ok(None),
    }
}

/// Bytes in base64 for URLs, padded or not.
fn text(text: &str) -> Result<Vec<u8>, AzWireError> {
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&URL_SAFE, config).decode(text).map_err(|_| AzWireError::Encoding)
}

#[cfg(test)]
mod tests;
