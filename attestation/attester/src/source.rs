// SPDX-License-Identifier: Apache-2.0
//! The one source of reports that the configuration names.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use casemate_evidence::snp::TableError;

use crate::certificates;
use crate::event_log::{EVENT_LOG, EventLog, EventLogError};
use crate::files::{Files, Kernel};
use crate::quote::{Quote, QuoteError};
use crate::report::{Report, ReportData};
use crate::sev_guest::{SEV_GUEST_DEVICE, SevGuest, SevGuestError, SnpEvidence};
use crate::tdx_guest::{TDX_GUEST_DEVICE, TdReport, TdxGuest, TdxGuestError};
use crate::tsm::{PrivilegeLevel, Provider, TSM_REPORTS, TsmError, TsmReports};

/// Where a guest's reports come from.
///
/// # Security
///
/// A measured configuration names one; none stands in for another, and none of them is software.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// SEV-SNP: the ioctls of `/dev/sev-guest`.
    SevGuest,
    /// SEV-SNP: configfs-tsm, at VMPL 0.
    SevTsm,
    /// TDX: the guest's own reports from `/dev/tdx_guest`, quotes from configfs-tsm.
    Tdx,
}

impl SourceKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::SevGuest, Self::SevTsm, Self::Tdx];

    /// Its name in configurations.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SevGuest => "sev-guest",
            Self::SevTsm => "sev-tsm",
            Self::Tdx => "tdx",
        }
    }
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for SourceKind {
    type Err = UnknownSource;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name).ok_or(UnknownSource)
    }
}

/// The text names no source of reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown source of reports: sev-guest, sev-tsm and tdx are known")]
pub struct UnknownSource;

/// Where the kernel's interfaces lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// The SEV-SNP guest device.
    pub sev_guest: PathBuf,
    /// The TDX guest device.
    pub tdx_guest: PathBuf,
    /// The folder of configfs-tsm.
    pub tsm_reports: PathBuf,
    /// The firmware's event log.
    pub event_log: PathBuf,
}

impl Default for Paths {
    /// The places of Linux.
    fn default() -> Self {
        Self {
            sev_guest: SEV_GUEST_DEVICE.into(),
            tdx_guest: TDX_GUEST_DEVICE.into(),
            tsm_reports: TSM_REPORTS.into(),
            event_log: EVENT_LOG.into(),
        }
    }
}

/// An open source of reports. Calls block; call from a blocking task.
#[derive(Debug)]
pub struct Source(Open);

#[derive(Debug)]
enum Open {
    SevGuest(SevGuest),
    SevTsm(TsmReports),
    Tdx { device: TdxGuest, quotes: TsmReports, event_log: PathBuf, files: Arc<dyn Files> },
}

/// What the TEE says to the guest itself: for comparison inside, no proof to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnReport {
    /// SEV-SNP has one kind of report for both.
    Snp(Report),
    /// TDX.
    Tdx(TdReport),
}

/// What a relying party judges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// SEV-SNP.
    Snp(Box<SnpEvidence>),
    /// TDX.
    Tdx(TdxEvidence),
}

/// A quote, and the log behind its registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdxEvidence {
    /// The signed quote.
    pub quote: Quote,
    /// The firmware's events, if it keeps a log.
    pub event_log: Option<EventLog>,
}

impl Source {
    /// Opens the source that the configuration names, at the kernel's places.
    ///
    /// # Errors
    ///
    /// [`Error`]: an interface of this source is missing.
    pub fn open(kind: SourceKind) -> Result<Self, Error> {
        Self::open_at(kind, &Paths::default())
    }

    /// Opens it at other places.
    ///
    /// # Errors
    ///
    /// [`Error`]: an interface of this source is missing.
    pub fn open_at(kind: SourceKind, paths: &Paths) -> Result<Self, Error> {
        Self::with_files(kind, paths, Arc::new(Kernel))
    }

    fn with_files(kind: SourceKind, paths: &Paths, files: Arc<dyn Files>) -> Result<Self, Error> {
        let tsm = |provider| -> Result<TsmReports, Error> {
            let reports = TsmReports::with_files(&paths.tsm_reports, Arc::clone(&files));
            reports.check(provider)?;
            Ok(reports)
        };
        Ok(Self(match kind {
            SourceKind::SevGuest => Open::SevGuest(SevGuest::open_at(&paths.sev_guest)?),
            SourceKind::SevTsm => Open::SevTsm(tsm(Provider::SevGuest)?),
            SourceKind::Tdx => Open::Tdx {
                device: TdxGuest::open_at(&paths.tdx_guest)?,
                quotes: tsm(Provider::TdxGuest)?,
                event_log: paths.event_log.clone(),
                files,
            },
        }))
    }

    /// A report over `data` for the guest itself.
    ///
    /// # Errors
    ///
    /// [`Error`]; [`Error::is_retryable`] says whether asking again makes sense.
    pub fn own_report(&self, data: &ReportData) -> Result<OwnReport, Error> {
        Ok(match &self.0 {
            Open::SevGuest(device) => OwnReport::Snp(device.report(data)?),
            Open::SevTsm(reports) => OwnReport::Snp(snp_evidence(reports, data)?.report),
            Open::Tdx { device, .. } => OwnReport::Tdx(device.report(data)?),
        })
    }

    /// Evidence over `data` for a relying party.
    ///
    /// # Errors
    ///
    /// [`Error`]; [`Error::is_retryable`] says whether asking again makes sense.
    pub fn evidence(&self, data: &ReportData) -> Result<Evidence, Error> {
        Ok(match &self.0 {
            Open::SevGuest(device) => Evidence::Snp(Box::new(device.extended_report(data)?)),
            Open::SevTsm(reports) => Evidence::Snp(Box::new(snp_evidence(reports, data)?)),
            Open::Tdx { quotes, event_log, files, .. } => {
                let report = quotes.report(Provider::TdxGuest, data, None)?;
                // Behind the quote: the firmware's log does not grow any more.
                let event_log = EventLog::read(&**files, event_log)?;
                Evidence::Tdx(TdxEvidence { quote: Quote::parse(report.outblob, data)?, event_log })
            }
        })
    }
}

/// # Security
///
/// Asks for VMPL 0, the kernel's own level on hosts without a service module below it: a report of
/// another level is another program's, and verifiers refuse it.
fn snp_evidence(reports: &TsmReports, data: &ReportData) -> Result<SnpEvidence, Error> {
    let raw = reports.report(Provider::SevGuest, data, Some(PrivilegeLevel::Vmpl0))?;
    let size = raw.outblob.len();
    let bytes = raw.outblob.try_into().map_err(|_| Error::ReportSize { size })?;
    let report = Report::from_bytes(bytes);
    if !report.carries(data) {
        return Err(Error::ForeignReportData);
    }
    let certificates = certificates::read(&raw.auxblob)?;
    Ok(SnpEvidence { report, certificates })
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `/dev/sev-guest` gave none.
    #[error(transparent)]
    SevGuest(#[from] SevGuestError),
    /// `/dev/tdx_guest` gave none.
    #[error(transparent)]
    TdxGuest(#[from] TdxGuestError),
    /// configfs-tsm gave none.
    #[error(transparent)]
    Tsm(#[from] TsmError),
    /// configfs-tsm gave a report of a size that no version of the SEV-SNP firmware ABI knows.
    #[error("configfs-tsm gave a report of {size} bytes, expected {expected}", expected = Report::LEN)]
    ReportSize {
        /// Its size in bytes.
        size: usize,
    },
    /// configfs-tsm gave a report over other data.
    #[error("the report carries other report data than was asked for")]
    ForeignReportData,
    /// The certificate table of configfs-tsm is malformed.
    #[error("the host's certificate table is malformed")]
    Certificates(#[from] TableError),
    /// The host's quote service gave no usable quote.
    #[error("the host's quote service gave no usable quote")]
    Quote(#[from] QuoteError),
    /// The firmware's event log cannot be shown.
    #[error(transparent)]
    EventLog(#[from] EventLogError),
}

impl Error {
    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::SevGuest(error) => error.is_retryable(),
            Self::Tsm(error) => error.is_retryable(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
