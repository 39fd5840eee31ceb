// SPDX-License-Identifier: Apache-2.0
//! Arguments of `casemate verify`.

use std::path::PathBuf;
use std::str::FromStr;

use casemate_evidence::az_vtpm::PCRS;
use casemate_evidence::snp::Product;
use casemate_verifier::Measurement;
use casemate_verifier::MeasurementError;
use clap::Args;
use clap::Parser;
use clap::Subcommand;
use clap::ValueEnum;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Exit codes: 0 affirming, 1 refused, 2 unusable input, 3 genuine but unbound
#[derive(Debug, Subcommand)]
pub(crate) enum VerifyCommand {
    /// Judge an SNP report
    Snp(VerifySnpArgs),
    /// Judge a TDX quote
    Tdx(VerifyTdxArgs),
    /// Judge evidence in the JSON form of Confidential Containers
    Evidence(VerifyEvidenceArgs),
}

#[derive(Debug, Parser)]
pub(crate) struct VerifySnpArgs {
    /// The report, binary or in hexadecimal
    #[arg(long, value_name = "FILE")]
    pub(crate) report: PathBuf,
    /// Certificate of the key that signed the report, a VCEK or a VLEK; or the table of
    /// certificates that the host gave with the report
    #[arg(long, value_name = "FILE")]
    pub(crate) vcek: Option<PathBuf>,
    /// What the report data must be; shorter values are padded with zeros, as guests do
    #[arg(long, value_name = "HEX")]
    pub(crate) report_data: Option<Padded<64>>,
    #[command(flatten)]
    pub(crate) snp: SnpOptions,
    #[command(flatten)]
    pub(crate) judge: JudgeArgs,
}

#[derive(Debug, Parser)]
pub(crate) struct VerifyTdxArgs {
    /// The quote, binary or in hexadecimal
    #[arg(long, value_name = "FILE")]
    pub(crate) quote: PathBuf,
    #[command(flatten)]
    pub(crate) tdx: TdxOptions,
    /// What the report data must be; shorter values are padded with zeros, as guests do
    #[arg(long, value_name = "HEX")]
    pub(crate) report_data: Option<Padded<64>>,
    #[command(flatten)]
    pub(crate) judge: JudgeArgs,
}

#[derive(Debug, Parser)]
pub(crate) struct VerifyEvidenceArgs {
    /// The kind of evidence
    #[arg(long, value_name = "NAME")]
    pub(crate) tee: EvidenceKind,
    /// The evidence, JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// What the report data must be, for the kinds with a vTPM what its quote was asked for with;
    /// shorter values are padded with zeros, as guests do
    #[arg(long, value_name = "HEX", value_parser = hexadecimal)]
    pub(crate) report_data: Option<Hexadecimal>,
    /// What a register of the vTPM must be, SHA-256 bank; may be given several times for one of
    /// several. 4, with 9 or 11, say what the customer's system is
    #[arg(long, value_name = "INDEX=HEX")]
    pub(crate) pcr: Vec<Pcr>,
    #[command(flatten)]
    pub(crate) snp: SnpOptions,
    #[command(flatten)]
    pub(crate) tdx: TdxOptions,
    #[command(flatten)]
    pub(crate) judge: JudgeArgs,
}

/// Kinds of evidence that the ecosystem's guests send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EvidenceKind {
    /// An SNP guest
    Snp,
    /// A TD
    Tdx,
    /// An SNP guest on Azure, behind a vTPM
    AzSnpVtpm,
    /// A TD on Azure, behind a vTPM
    AzTdxVtpm,
}

/// What else there is to know of a TD.
#[derive(Debug, Args)]
pub(crate) struct TdxOptions {
    /// Intel's collateral of the platform: JSON of dcap-qvl
    #[arg(long, value_name = "FILE")]
    pub(crate) collateral: Option<PathBuf>,
    /// What was measured: CCEL
    #[arg(long, value_name = "FILE")]
    pub(crate) event_log: Option<PathBuf>,
    /// What MRCONFIGID must be: the digest of the initdata
    #[arg(long, value_name = "HEX")]
    pub(crate) mr_config_id: Option<Padded<48>>,
    /// MRTD; may be given several times for one of several
    #[arg(long, value_name = "HEX", value_parser = measurement)]
    pub(crate) mrtd: Vec<Measurement>,
}

/// What else there is to know of an SNP guest.
#[derive(Debug, Args)]
pub(crate) struct SnpOptions {
    /// Certificates between signer and root; they add no trust
    #[arg(long, value_name = "FILE")]
    pub(crate) chain: Vec<PathBuf>,
    /// AMD's list of revoked certificates
    #[arg(long, value_name = "FILE")]
    pub(crate) crl: Vec<PathBuf>,
    /// What HOST_DATA must be: the digest of the initdata; behind a vTPM, what its register 8 was
    /// extended with
    #[arg(long, value_name = "HEX")]
    pub(crate) host_data: Option<Padded<32>>,
    /// The launch digest; may be given several times for one of several
    #[arg(long, value_name = "HEX", value_parser = measurement)]
    pub(crate) measurement: Vec<Measurement>,
    /// Accept a product line that is refused unless it is named: milan
    #[arg(long, value_name = "NAME", value_parser = product)]
    pub(crate) allow_product: Vec<Product>,
}

/// By whom and when evidence is judged, and how the verdict is shown.
#[derive(Debug, Args)]
pub(crate) struct JudgeArgs {
    /// A root to trust beside the vendors' own: certificates of a simulated TEE
    #[arg(long, value_name = "FILE")]
    pub(crate) trust_root: Vec<PathBuf>,
    /// What is demanded of guests, TOML
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// A policy in Rego for the attestation service of Confidential Containers, which must affirm the
    /// guest too; SNP reports and TDX quotes. Only in builds with feature `rego`
    #[arg(long, value_name = "FILE")]
    pub(crate) rego: Option<PathBuf>,
    /// What `query_reference_value` of that policy knows: JSON, a set of values for each name
    #[arg(long, value_name = "FILE", requires = "rego")]
    pub(crate) rego_reference: Option<PathBuf>,
    /// The time of the verdict; the system's clock if absent
    #[arg(long, value_name = "RFC3339")]
    pub(crate) at: Option<Moment>,
    /// Print one JSON object
    #[arg(long, conflicts_with = "explain")]
    pub(crate) json: bool,
    /// Print one line per claim
    #[arg(long)]
    pub(crate) explain: bool,
    /// Write a page that an auditor can read
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

fn measurement(text: &str) -> Result<Measurement, MeasurementError> {
    text.strip_prefix("0x").unwrap_or(text).parse()
}

/// Bytes of any number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hexadecimal(pub(crate) Vec<u8>);

fn hexadecimal(text: &str) -> Result<Hexadecimal, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    match hex::decode(digits) {
        Ok(bytes) if (1..=MAX_DATA_BYTES).contains(&bytes.len()) => Ok(Hexadecimal(bytes)),
        Ok(_) => Err(format!("expected 1 to {MAX_DATA_BYTES} bytes")),
        Err(error) => Err(error.to_string()),
    }
}

/// Longest report data, bytes: a TPM quotes over that much at most.
const MAX_DATA_BYTES: usize = 64;

/// Hexadecimal digits of 1 to `N` bytes; what is missing to `N` is zeros at the end.
///
/// Guests put a digest at the beginning of the field and leave the rest zero, so that this is the
/// value they mean by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Padded<const N: usize>(pub(crate) [u8; N]);

impl<const N: usize> FromStr for Padded<N> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let given = hex::decode(digits).map_err(|error| error.to_string())?;
        let mut bytes = [0; N];
        match bytes.get_mut(..given.len()) {
            Some(head) if !head.is_empty() => head.copy_from_slice(&given),
            _ => return Err(format!("expected 1 to {N} bytes, got {}", given.len())),
        }
        Ok(Self(bytes))
    }
}

/// A register of a TPM and one value of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pcr {
    pub(crate) index: usize,
    pub(crate) value: [u8; 32],
}

impl FromStr for Pcr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (index, digits) = text.split_once('=').ok_or("expected INDEX=HEX")?;
        let index = index.parse().ok().filter(|index| *index < PCRS);
        let index = index.ok_or_else(|| format!("expected a register, 0 to {}", PCRS - 1))?;
        let mut value = [0; 32];
        hex::decode_to_slice(digits.strip_prefix("0x").unwrap_or(digits), &mut value)
            .map_err(|_| "expected 64 hexadecimal digits behind the equals sign")?;
        Ok(Self { index, value })
    }
}

/// A time, seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment(pub(crate) u64);

impl FromStr for Moment {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        OffsetDateTime::parse(text, &Rfc3339)
            .ok()
            .and_then(|time| u64::try_from(time.unix_timestamp()).ok())
            .map(Self)
            .ok_or("expected a time such as 2026-01-31T12:00:00Z, not before 1970")
    }
}

fn product(text: &str) -> Result<Product, String> {
    Product::ALL.into_iter().find(|product| product.name().eq_ignore_ascii_case(text)).ok_or_else(
        || {
            let names = Product::ALL.map(|product| product.name().to_ascii_lowercase());
            format!("expected one of {}", names.join(", "))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_values_are_padded_and_long_or_empty_ones_refused() {
        assert_eq!("0x0a".parse(), Ok(Padded([0x0A, 0, 0])));
        assert_eq!("0A0b0C".parse(), Ok(Padded([0x0A, 0x0B, 0x0C])));
        for bad in ["", "0x", "0a0b0c0d", "0", "zz", " 0a"] {
            assert!(bad.parse::<Padded<3>>().is_err(), "{bad}");
        }
    }

    #[test]
    fn measurements_come_with_and_without_a_prefix() {
        let digits = "ab".repeat(48);
        assert_eq!(measurement(&digits), Ok(Measurement([0xAB; 48])));
        assert_eq!(measurement(&format!("0x{digits}")), Ok(Measurement([0xAB; 48])));
        assert!(measurement(&format!("0x0x{digits}")).is_err() && measurement("").is_err());
    }

    #[test]
    fn registers_have_an_index_and_32_bytes() {
        let digits = "ab".repeat(32);
        for text in [format!("11={digits}"), format!("11=0x{digits}")] {
            assert_eq!(text.parse(), Ok(Pcr { index: 11, value: [0xAB; 32] }));
        }
        for bad in ["11", "24={}", "-1={}", "x={}", "={}", "11=ab", "11={}ab", "11= {}"] {
            assert!(bad.replace("{}", &digits).parse::<Pcr>().is_err(), "{bad}");
        }
    }

    #[test]
    fn times_have_a_zone_and_are_not_before_1970() {
        assert_eq!("1970-01-01T00:00:01Z".parse(), Ok(Moment(1)));
        assert_eq!("2026-01-01T01:00:00+01:00".parse(), Ok(Moment(1_767_225_600)));
        for bad in ["", "2026-01-01", "2026-01-01T00:00:00", "1969-12-31T23:59:59Z", "1767225600"] {
            assert!(bad.parse::<Moment>().is_err(), "{bad}");
        }
    }
}
