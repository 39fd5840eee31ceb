// SPDX-License-Identifier: Apache-2.0
//! configfs-tsm: the kernel's common interface to the reports of every TEE.
//!
//! Source: Linux, `Documentation/ABI/testing/configfs-tsm` and `drivers/virt/coco/tsm.c`.

mod entry;
mod error;
#[cfg(test)]
pub(crate) mod model;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::files::{Files, Kernel};
use crate::report::ReportData;

use entry::Entry;
pub use error::TsmError;

/// Where configfs is mounted and the kernel puts the interface.
pub const TSM_REPORTS: &str = "/sys/kernel/config/tsm/report";

/// Largest report or quote that is read, in bytes: the buffer that the kernel shares with the host
/// for a TDX quote. A SEV-SNP report has 1184 bytes.
pub const MAX_OUTBLOB: usize = 128 * 1024;

/// Largest certificate table that is read, in bytes.
pub const MAX_AUXBLOB: usize = crate::abi::CERTIFICATES_MAX;

/// Which driver must stand behind the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// The SEV-SNP guest driver.
    SevGuest,
    /// The TDX guest driver.
    TdxGuest,
}

impl Provider {
    /// Its name in the attribute `provider`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SevGuest => "sev_guest",
            Self::TdxGuest => "tdx_guest",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A virtual machine privilege level of SEV-SNP: 0 is the most privileged, 3 the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrivilegeLevel {
    /// VMPL 0.
    Vmpl0,
    /// VMPL 1.
    Vmpl1,
    /// VMPL 2.
    Vmpl2,
    /// VMPL 3.
    Vmpl3,
}

impl PrivilegeLevel {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Vmpl0 => "0",
            Self::Vmpl1 => "1",
            Self::Vmpl2 => "2",
            Self::Vmpl3 => "3",
        }
    }
}

impl fmt::Display for PrivilegeLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The interface, at a folder of configfs.
///
/// Calls block: a TDX quote comes from a service on the host and takes a second or more. Call from a
/// blocking task.
#[derive(Debug, Clone)]
pub struct TsmReports {
    folder: PathBuf,
    files: Arc<dyn Files>,
}

/// What the kernel gave for one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TsmReport {
    /// The report (SEV-SNP) or quote (TDX), not empty.
    pub outblob: Vec<u8>,
    /// The certificate table of SEV-SNP; empty where there is none.
    pub auxblob: Vec<u8>,
}

impl TsmReports {
    /// The interface at [`TSM_REPORTS`].
    #[must_use]
    pub fn new() -> Self {
        Self::at(Path::new(TSM_REPORTS))
    }

    /// The interface at another folder.
    #[must_use]
    pub fn at(folder: &Path) -> Self {
        Self::with_files(folder, Arc::new(Kernel))
    }

    pub(crate) fn with_files(folder: &Path, files: Arc<dyn Files>) -> Self {
        Self { folder: folder.to_owned(), files }
    }

    /// Whether the interface is there and `provider` stands behind it. No report is made.
    ///
    /// # Errors
    ///
    /// [`TsmError`]: configfs is not mounted, no driver or another one stands behind it.
    pub fn check(&self, provider: Provider) -> Result<(), TsmError> {
        Entry::create(&*self.files, &self.folder)?.expect_provider(provider)
    }

    /// A report over `data`. `level` is asked for only if given; a driver without privilege levels
    /// then is an error, as the report would be of another level than was asked for.
    ///
    /// # Errors
    ///
    /// [`TsmError`]; [`TsmError::is_retryable`] says whether asking again makes sense.
    ///
    /// # Security
    ///
    /// The request is made of several files that any privileged process could write in between. The
    /// kernel counts writes, so the count tells whether report and request belong together; where
    /// they do not, the whole request is repeated, a bounded number of times.
    pub fn report(
        &self,
        provider: Provider,
        data: &ReportData,
        level: Option<PrivilegeLevel>,
    ) -> Result<TsmReport, TsmError> {
        for _ in 0..ATTEMPTS {
            match self.attempt(provider, data, level) {
                Err(TsmError::Disturbed { .. }) => {}
                result => return result,
            }
        }
        Err(TsmError::Disturbed { attempts: ATTEMPTS })
    }

    fn attempt(
        &self,
        provider: Provider,
        data: &ReportData,
        level: Option<PrivilegeLevel>,
    ) -> Result<TsmReport, TsmError> {
        let entry = Entry::create(&*self.files, &self.folder)?;
        entry.expect_provider(provider)?;
        let before = entry.generation()?;
        let mut writes = 1;
        if let Some(level) = level {
            entry.set_level(level)?;
            writes += 1;
        }
        entry.write(entry::INBLOB, &data.0)?;
        let blobs = read_blobs(&entry);
        // Also when reading failed: another process' request may be what failed.
        if entry.generation()? != before.wrapping_add(writes) {
            return Err(TsmError::Disturbed { attempts: 1 });
        }
        let report = blobs?;
        // The TDX driver gives the quote service's refusal as a quote of no bytes.
        if report.outblob.is_empty() { Err(TsmError::Empty) } else { Ok(report) }
    }
}

impl Default for TsmReports {
    fn default() -> Self {
        Self::new()
    }
}

fn read_blobs(entry: &Entry<'_>) -> Result<TsmReport, TsmError> {
    let outblob = entry.read(entry::OUTBLOB, MAX_OUTBLOB)?;
    let auxblob = entry.read_optional(entry::AUXBLOB, MAX_AUXBLOB)?.unwrap_or_default();
    Ok(TsmReport { outblob, auxblob })
}

/// Requests until a process that writes into each of them counts as an attack.
const ATTEMPTS: u32 = 5;
