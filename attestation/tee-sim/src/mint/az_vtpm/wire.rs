// SPDX-License-Identifier: Apache-2.0
//! The JSON in which guests send this evidence.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use super::Version;
use super::tpm::SignedQuote;
use crate::mint::MintError;
use crate::x509::to_pem;

/// What beside TPM and paravisor is sent.
pub(super) enum Beside {
    /// The certificate of an SNP machine's key, DER.
    Vcek(Vec<u8>),
    /// The quote of a TD.
    TdQuote(Vec<u8>),
}

pub(super) fn to_json(
    version: Version,
    quote: SignedQuote,
    hcl: Vec<u8>,
    beside: Beside,
) -> Result<String, MintError> {
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let number = match version {
        Version::V0 => return Ok(serde_json::to_string(&Evidence0::of(quote, hcl, beside))?),
        Version::V1 => 1,
        Version::V2 => 2,
    };
    let (vcek, td_quote) = match &beside {
        Beside::Vcek(der) => (Some(text(der)), None),
        Beside::TdQuote(quote) => (None, Some(text(quote))),
    };
    let evidence = Evidence {
        version: number,
        tpm_quote: Quote {
            signature: hex::encode(&quote.signature),
            message: hex::encode(&quote.message),
            pcrs: quote.registers.iter().map(hex::encode).collect(),
        },
        hcl_report: text(&hcl),
        vcek,
        td_quote,
    };
    Ok(serde_json::to_string(&evidence)?)
}

#[derive(Serialize)]
struct Evidence {
    version: u32,
    tpm_quote: Quote,
    hcl_report: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    vcek: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    td_quote: Option<String>,
}

#[derive(Serialize)]
struct Quote {
    signature: String,
    message: String,
    pcrs: Vec<String>,
}

/// The form before there were versions; the names differ by hardware.
#[derive(Serialize)]
#[serde(untagged)]
enum Evidence0 {
    Snp { quote: Quote0, report: Vec<u8>, vcek: String },
    Tdx { tpm_quote: Quote0, hcl_report: Vec<u8>, td_quote: Vec<u8> },
}

#[derive(Serialize)]
struct Quote0 {
    signature: Vec<u8>,
    message: Vec<u8>,
    pcrs: Vec<[u8; 32]>,
}

impl Evidence0 {
    fn of(quote: SignedQuote, hcl: Vec<u8>, beside: Beside) -> Self {
        let SignedQuote { message, signature, registers } = quote;
        let quote = Quote0 { signature, message, pcrs: registers };
        match beside {
            Beside::Vcek(der) => Self::Snp { quote, report: hcl, vcek: to_pem(&der) },
            Beside::TdQuote(td_quote) => Self::Tdx { tpm_quote: quote, hcl_report: hcl, td_quote },
        }
    }
}
