// SPDX-License-Identifier: Apache-2.0
//! Evidence JSON of the KBS protocol for `"tee": "snp"`.
//!
//! The ecosystem's form spells the report out field by field, so bits that it does not model are
//! lost and the signature no longer verifies. Its readers skip members they do not know; evidence
//! of this project therefore also carries the 1184 bytes themselves, base64, as `raw_report`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;
use zerocopy::FromZeros as _;

use super::certificate_table::CertificateKind;
use super::certificate_table::TableEntry;
use super::report::CPUID_VERSION;
use super::report::Layout;
use super::report::MITIGATION_VERSION;
use super::report::Report;
use super::report::ReportError;
use super::tcb::TcbVersion;

mod array;

use array::Array;

/// Most certificates in one evidence or table.
pub const MAX_CERTIFICATES: usize = 16;

/// A report and the certificates that came with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The report.
    pub report: Report,
    /// Certificates from the host's table, unparsed; empty when the host gave none.
    pub certificates: Vec<TableEntry>,
}

impl Evidence {
    /// Reads evidence JSON.
    ///
    /// # Errors
    ///
    /// [`WireError`] when the JSON is malformed, has an unknown or duplicate member, or its typed
    /// form is not that of the report's raw bytes (those in `raw_report`, or those rebuilt from the
    /// typed form).
    pub fn from_json(json: &str) -> Result<Self, WireError> {
        let wire: WireEvidence =
            serde_json::from_str(json).map_err(|source| WireError::Json { source })?;
        let certificates = wire.cert_chain.unwrap_or_default();
        if certificates.len() > MAX_CERTIFICATES {
            return Err(WireError::TooManyCertificates);
        }
        let report = match wire.raw_report {
            Some(text) => {
                let bytes = STANDARD.decode(text).map_err(|_| WireError::RawReport)?;
                Report::parse(&bytes)
            }
            None => wire.attestation_report.rebuild(),
        }
        .map_err(|source| WireError::Report { source })?;
        if WireReport::from(&report) != wire.attestation_report {
            return Err(WireError::Mismatch);
        }
        let certificates =
            certificates.into_iter().map(TableEntry::try_from).collect::<Result<_, _>>()?;
        Ok(Self { report, certificates })
    }

    /// Writes evidence JSON in the ecosystem's form, with `raw_report` added.
    ///
    /// # Errors
    ///
    /// [`WireError::Json`] when it cannot be written, which no value of this type causes.
    pub fn to_json(&self) -> Result<Value, WireError> {
        let certificates: Vec<WireCertificate> =
            self.certificates.iter().map(WireCertificate::from).collect();
        let wire = WireEvidence {
            attestation_report: WireReport::from(&self.report),
            cert_chain: (!certificates.is_empty()).then_some(certificates),
            raw_report: Some(STANDARD.encode(self.report.as_bytes())),
        };
        serde_json::to_value(wire).map_err(|source| WireError::Json { source })
    }
}

/// Why JSON is no SNP evidence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// Malformed, or a member is unknown, missing or duplicate.
    #[error("the evidence is malformed JSON")]
    Json {
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// `raw_report` is not base64.
    #[error("the raw report is not base64")]
    RawReport,
    /// The report itself is malformed.
    #[error("the evidence holds a malformed report")]
    Report {
        /// Why.
        #[source]
        source: ReportError,
    },
    /// Typed form and raw bytes tell different stories.
    #[error("the typed report does not give back the report's raw bytes")]
    Mismatch,
    /// More than [`MAX_CERTIFICATES`].
    #[error("the evidence has more than {MAX_CERTIFICATES} certificates")]
    TooManyCertificates,
    /// The GUID of an unknown certificate is malformed.
    #[error("a certificate's GUID is malformed")]
    Guid,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct WireEvidence {
    attestation_report: WireReport,
    #[serde(default)]
    cert_chain: Option<Vec<WireCertificate>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    raw_report: Option<String>,
}

/// Field by field as the ecosystem's `sev` crate writes a report.
#[derive(PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct WireReport {
    version: u32,
    guest_svn: u32,
    policy: u64,
    family_id: Array<16>,
    image_id: Array<16>,
    vmpl: u32,
    sig_algo: u32,
    current_tcb: WireTcb,
    plat_info: u64,
    key_info: u32,
    report_data: Array<64>,
    measurement: Array<48>,
    host_data: Array<32>,
    id_key_digest: Array<48>,
    author_key_digest: Array<48>,
    report_id: Array<32>,
    report_id_ma: Array<32>,
    reported_tcb: WireTcb,
    #[serde(default)]
    cpuid_fam_id: Option<u8>,
    #[serde(default)]
    cpuid_mod_id: Option<u8>,
    #[serde(default)]
    cpuid_step: Option<u8>,
    chip_id: Array<64>,
    committed_tcb: WireTcb,
    current: WireVersion,
    committed: WireVersion,
    launch_tcb: WireTcb,
    #[serde(default)]
    launch_mit_vector: Option<u64>,
    #[serde(default)]
    current_mit_vector: Option<u64>,
    signature: WireSignature,
}

#[derive(PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct WireTcb {
    #[serde(default)]
    fmc: Option<u8>,
    bootloader: u8,
    tee: u8,
    snp: u8,
    microcode: u8,
}

#[derive(PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct WireVersion {
    major: u8,
    minor: u8,
    build: u8,
}

#[derive(PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct WireSignature {
    r: Array<72>,
    s: Array<72>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct WireCertificate {
    cert_type: WireCertificateKind,
    data: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
enum WireCertificateKind {
    #[serde(rename = "ARK")]
    Ark,
    #[serde(rename = "ASK")]
    Ask,
    #[serde(rename = "VCEK")]
    Vcek,
    #[serde(rename = "VLEK")]
    Vlek,
    #[serde(rename = "CRL")]
    Crl,
    Empty,
    #[serde(rename = "OTHER")]
    Other(String),
}

impl WireReport {
    /// The raw bytes that the typed form stands for, every unmodelled bit zero.
    fn rebuild(&self) -> Result<Report, ReportError> {
        let mut raw = Layout::new_zeroed();
        raw.version = self.version.into();
        raw.guest_svn = self.guest_svn.into();
        raw.policy = self.policy.into();
        raw.family_id = self.family_id.0;
        raw.image_id = self.image_id.0;
        raw.vmpl = self.vmpl.into();
        raw.signature_algorithm = self.sig_algo.into();
        raw.platform_info = self.plat_info.into();
        raw.key_info = self.key_info.into();
        raw.report_data = self.report_data.0;
        raw.measurement = self.measurement.0;
        raw.host_data = self.host_data.0;
        raw.id_key_digest = self.id_key_digest.0;
        raw.author_key_digest = self.author_key_digest.0;
        raw.report_id = self.report_id.0;
        raw.report_id_ma = self.report_id_ma.0;
        if self.version >= CPUID_VERSION {
            raw.cpuid_family = self.cpuid_fam_id.unwrap_or_default();
            raw.cpuid_model = self.cpuid_mod_id.unwrap_or_default();
            raw.cpuid_stepping = self.cpuid_step.unwrap_or_default();
        }
        raw.chip_id = self.chip_id.0;
        raw.current_major = self.current.major;
        raw.current_minor = self.current.minor;
        raw.current_build = self.current.build;
        raw.committed_major = self.committed.major;
        raw.committed_minor = self.committed.minor;
        raw.committed_build = self.committed.build;
        if self.version >= MITIGATION_VERSION {
            raw.launch_mit_vector = self.launch_mit_vector.unwrap_or_default().into();
            raw.current_mit_vector = self.current_mit_vector.unwrap_or_default().into();
        }
        raw.signature_r = self.signature.r.0;
        raw.signature_s = self.signature.s.0;
        let order = raw.tcb_layout();
        raw.current_tcb = TcbVersion::from(&self.current_tcb).encode(order);
        raw.reported_tcb = TcbVersion::from(&self.reported_tcb).encode(order);
        raw.committed_tcb = TcbVersion::from(&self.committed_tcb).encode(order);
        raw.launch_tcb = TcbVersion::from(&self.launch_tcb).encode(order);
        Report::from_layout(raw)
    }
}

impl From<&Report> for WireReport {
    fn from(report: &Report) -> Self {
        let raw = report.layout();
        let cpuid = report.cpuid();
        let (current, committed) = (report.current_firmware(), report.committed_firmware());
        Self {
            version: report.version(),
            guest_svn: report.guest_svn(),
            policy: report.policy().0,
            family_id: Array(raw.family_id),
            image_id: Array(raw.image_id),
            vmpl: report.vmpl(),
            sig_algo: report.signature_algorithm(),
            current_tcb: report.current_tcb().into(),
            plat_info: report.platform_info().0,
            key_info: raw.key_info.get(),
            report_data: Array(raw.report_data),
            measurement: Array(raw.measurement),
            host_data: Array(raw.host_data),
            id_key_digest: Array(raw.id_key_digest),
            author_key_digest: Array(raw.author_key_digest),
            report_id: Array(raw.report_id),
            report_id_ma: Array(raw.report_id_ma),
            reported_tcb: report.reported_tcb().into(),
            cpuid_fam_id: cpuid.map(|id| id.family),
            cpuid_mod_id: cpuid.map(|id| id.model),
            cpuid_step: cpuid.map(|id| id.stepping),
            chip_id: Array(raw.chip_id),
            committed_tcb: report.committed_tcb().into(),
            current: WireVersion {
                major: current.major,
                minor: current.minor,
                build: current.build,
            },
            committed: WireVersion {
                major: committed.major,
                minor: committed.minor,
                build: committed.build,
            },
            launch_tcb: report.launch_tcb().into(),
            launch_mit_vector: report.launch_mitigations(),
            current_mit_vector: report.current_mitigations(),
            signature: WireSignature { r: Array(raw.signature_r), s: Array(raw.signature_s) },
        }
    }
}

impl From<TcbVersion> for WireTcb {
    fn from(tcb: TcbVersion) -> Self {
        let TcbVersion { fmc, bootloader, tee, snp, microcode } = tcb;
        Self { fmc, bootloader, tee, snp, microcode }
    }
}

impl From<&WireTcb> for TcbVersion {
    fn from(tcb: &WireTcb) -> Self {
        let WireTcb { fmc, bootloader, tee, snp, microcode } = *tcb;
        Self { fmc, bootloader, tee, snp, microcode }
    }
}

impl From<&TableEntry> for WireCertificate {
    fn from(entry: &TableEntry) -> Self {
        let cert_type = match entry.kind {
            CertificateKind::Ark => WireCertificateKind::Ark,
            CertificateKind::Ask => WireCertificateKind::Ask,
            CertificateKind::Vcek => WireCertificateKind::Vcek,
            CertificateKind::Vlek => WireCertificateKind::Vlek,
            CertificateKind::Crl => WireCertificateKind::Crl,
            CertificateKind::Other([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]) => {
                WireCertificateKind::Empty
            }
            CertificateKind::Other(guid) => {
                let hex = format!("{:032x}", u128::from_be_bytes(guid));
                let mut text = String::with_capacity(36);
                for (at, digit) in hex.chars().enumerate() {
                    if [8, 12, 16, 20].contains(&at) {
                        text.push('-');
                    }
                    text.push(digit);
                }
                WireCertificateKind::Other(text)
            }
        };
        Self { cert_type, data: entry.data.clone() }
    }
}

impl TryFrom<WireCertificate> for TableEntry {
    type Error = WireError;

    fn try_from(wire: WireCertificate) -> Result<Self, WireError> {
        let kind = match wire.cert_type {
            WireCertificateKind::Ark => CertificateKind::Ark,
            WireCertificateKind::Ask => CertificateKind::Ask,
            WireCertificateKind::Vcek => CertificateKind::Vcek,
            WireCertificateKind::Vlek => CertificateKind::Vlek,
            WireCertificateKind::Crl => CertificateKind::Crl,
            WireCertificateKind::Empty => CertificateKind::Other([0; 16]),
            WireCertificateKind::Other(text) => {
                let digits: String = text.chars().filter(|c| *c != '-').collect();
                let plain = digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit());
                let guid = u128::from_str_radix(&digits, 16)
                    .ok()
                    .filter(|_| plain)
                    .ok_or(WireError::Guid)?;
                CertificateKind::Other(guid.to_be_bytes())
            }
        };
        Ok(Self { kind, data: wire.data })
    }
}

#[cfg(test)]
mod tests;
