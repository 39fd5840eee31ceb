// SPDX-License-Identifier: Apache-2.0
//! Mints evidence of any product, version, TCB, policy and time, with all its certificates and
//! collateral; good, or with faults that one check each must find.
//!
//! A plan ([`snp::Plan`], [`tdx::Plan`], [`az_vtpm::Plan`]) says everything that will be written. A fault changes the
//! plan before anything is signed, so that signatures stay right and only one thing is wrong.

pub mod az_vtpm;
pub mod fault;
pub mod policy;
pub mod snp;
pub mod tdx;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::keys::KeysError;
use crate::x509::CertificateError;

/// Which technology.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tee {
    /// AMD SEV-SNP.
    Snp,
    /// Intel TDX.
    Tdx,
    /// AMD SEV-SNP behind Azure's paravisor and its TPM.
    AzSnpVtpm,
    /// Intel TDX behind Azure's paravisor and its TPM.
    AzTdxVtpm,
}

impl Tee {
    /// Every technology.
    pub const ALL: [Self; 4] = [Self::Snp, Self::Tdx, Self::AzSnpVtpm, Self::AzTdxVtpm];

    /// Its name on command lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Snp => "snp",
            Self::Tdx => "tdx",
            Self::AzSnpVtpm => "az-snp-vtpm",
            Self::AzTdxVtpm => "az-tdx-vtpm",
        }
    }
}

/// What was minted: files, and what a verifier is told.
#[derive(Debug, Clone)]
pub struct Minted {
    /// Files by their role.
    pub files: Vec<MintedFile>,
    /// What a verifier is told beside the files.
    pub told: Told,
}

/// One file.
#[derive(Debug, Clone)]
pub struct MintedFile {
    /// What it is to a verifier.
    pub role: Role,
    /// Its name.
    pub name: &'static str,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// What a file is to a verifier; each is a placeholder of a suite's command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// SNP report.
    Report,
    /// Certificate of the key that signed the report: VCEK or VLEK, DER.
    Vcek,
    /// Intermediate and root, PEM.
    Chain,
    /// The intermediate alone, PEM.
    Ask,
    /// What the verifier trusts, PEM.
    Root,
    /// Revocation list of the root, DER.
    Crl,
    /// TDX quote.
    Quote,
    /// Evidence as a guest of Confidential Containers sends it, JSON.
    Evidence,
    /// Collateral in the form of `dcap-qvl`, JSON.
    Collateral,
    /// Event log of the firmware.
    EventLog,
    /// Policy for verdicts, TOML.
    Policy,
}

/// What a verifier is told beside the files: the same for good and faulty evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Told {
    /// Which technology.
    pub tee: Tee,
    /// Time of the verification.
    pub at: String,
    /// Expected REPORT_DATA, behind a TPM the nonce that it quotes over; hex.
    pub report_data: String,
    /// Expected launch digest (SNP) or MRTD (TDX), hex.
    pub measurement: String,
    /// Expected HOST_DATA (SNP) or MRCONFIGID (TDX), hex; behind a TPM the digest of the initdata.
    pub host_data: String,
    /// Expected registers of a TPM, hex.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub pcrs: BTreeMap<usize, String>,
}

/// Why nothing was minted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MintError {
    /// A certificate or list could not be made.
    #[error("failed to make a certificate")]
    Certificate(#[from] CertificateError),
    /// A key could not be had.
    #[error("failed to get a key")]
    Keys(#[from] KeysError),
    /// A combination that no hardware ever made, so that verifiers disagree about what it would say.
    #[error("no {product} makes reports of version {version}: {why}")]
    NoSuchReport {
        /// Product line.
        product: &'static str,
        /// Version of the report.
        version: u32,
        /// Why not.
        why: &'static str,
    },
    /// A structure is larger than its length fields can say.
    #[error("{what} is longer than its length field can say")]
    TooLong {
        /// Which.
        what: &'static str,
    },
    /// A fault of one technology was wanted of another one.
    #[error("evidence of {tee} cannot have the fault {fault}")]
    OtherTee {
        /// What was to be minted.
        tee: &'static str,
        /// The fault.
        fault: &'static str,
    },
    /// JSON could not be written.
    #[error("failed to write JSON")]
    Json(#[from] serde_json::Error),
    /// TOML could not be written.
    #[error("failed to write TOML")]
    Toml(#[from] toml::ser::Error),
    /// The time is outside the calendar.
    #[error("the time {seconds} is not in the calendar")]
    Time {
        /// Seconds since 1970.
        seconds: u64,
    },
    /// A file or folder could not be made.
    #[error("failed to write {path:?}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Minted {
    /// The path of a role's file below `folder`.
    #[must_use]
    pub fn path(&self, folder: &Path, role: Role) -> Option<PathBuf> {
        let file = self.files.iter().find(|file| file.role == role)?;
        Some(folder.join(file.name))
    }

    /// The bytes of a role's file.
    #[must_use]
    pub fn bytes(&self, role: Role) -> Option<&[u8]> {
        let file = self.files.iter().find(|file| file.role == role)?;
        Some(&file.bytes)
    }

    /// Writes the files and `expected.json` into `folder`, which is made.
    ///
    /// # Errors
    ///
    /// [`MintError`].
    pub fn write(&self, folder: &Path, faults: &[&fault::Fault]) -> Result<(), MintError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| MintError::File { path, source }
        };
        fs::create_dir_all(folder).map_err(failed(folder))?;
        for file in &self.files {
            let path = folder.join(file.name);
            fs::write(&path, &file.bytes).map_err(failed(&path))?;
        }
        let expected = Expected {
            told: &self.told,
            expected: if faults.is_empty() { "accepted" } else { "refused" },
            faults,
            files: self.files.iter().map(|file| (file.role, file.name)).collect(),
        };
        let path = folder.join("expected.json");
        let text = serde_json::to_string_pretty(&expected)?;
        fs::write(&path, text + "\n").map_err(failed(&path))
    }
}

/// `expected.json`.
#[derive(Serialize)]
struct Expected<'a> {
    #[serde(flatten)]
    told: &'a Told,
    expected: &'static str,
    faults: &'a [&'a fault::Fault],
    files: BTreeMap<Role, &'static str>,
}

/// A time as RFC 3339.
///
/// # Errors
///
/// [`MintError::Time`].
pub fn rfc3339(seconds: u64) -> Result<String, MintError> {
    let time = i64::try_from(seconds).ok().map(OffsetDateTime::from_unix_timestamp);
    let text = time.and_then(Result::ok).map(|time| time.format(&Rfc3339));
    text.and_then(Result::ok).ok_or(MintError::Time { seconds })
}

/// Seconds since 1970 of a time in RFC 3339.
#[must_use]
pub fn from_rfc3339(text: &str) -> Option<u64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(time.unix_timestamp()).ok()
}
