// SPDX-License-Identifier: Apache-2.0
//! What TCB levels have in common: a status, a date, advisories; and the text forms of numbers.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use x509_cert::der::DateTime;

use super::CollateralError;
use crate::hex_text;

/// How Intel sees a TCB level.
///
/// The order is that of the list below and means nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub enum TcbStatus {
    /// Nothing is missing.
    UpToDate,
    /// Software must work around something.
    #[serde(rename = "SWHardeningNeeded")]
    SwHardeningNeeded,
    /// The platform must be set up in another way.
    ConfigurationNeeded,
    /// Both of them.
    #[serde(rename = "ConfigurationAndSWHardeningNeeded")]
    ConfigurationAndSwHardeningNeeded,
    /// Updates are missing.
    OutOfDate,
    /// Updates are missing, and the platform must be set up in another way.
    OutOfDateConfigurationNeeded,
    /// The platform was updated under the TD, which should be launched anew. Only a result.
    #[serde(skip_deserializing)]
    TdRelaunchAdvised,
    /// The same, and the platform must be set up in another way. Only a result.
    #[serde(skip_deserializing)]
    TdRelaunchAdvisedConfigurationNeeded,
    /// The platform's keys are worth nothing any more.
    Revoked,
}

impl TcbStatus {
    /// Every status.
    pub const ALL: [Self; 9] = [
        Self::UpToDate,
        Self::SwHardeningNeeded,
        Self::ConfigurationNeeded,
        Self::ConfigurationAndSwHardeningNeeded,
        Self::OutOfDate,
        Self::OutOfDateConfigurationNeeded,
        Self::TdRelaunchAdvised,
        Self::TdRelaunchAdvisedConfigurationNeeded,
        Self::Revoked,
    ];

    /// Intel's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UpToDate => "UpToDate",
            Self::SwHardeningNeeded => "SWHardeningNeeded",
            Self::ConfigurationNeeded => "ConfigurationNeeded",
            Self::ConfigurationAndSwHardeningNeeded => "ConfigurationAndSWHardeningNeeded",
            Self::OutOfDate => "OutOfDate",
            Self::OutOfDateConfigurationNeeded => "OutOfDateConfigurationNeeded",
            Self::TdRelaunchAdvised => "TDRelaunchAdvised",
            Self::TdRelaunchAdvisedConfigurationNeeded => "TDRelaunchAdvisedConfigurationNeeded",
            Self::Revoked => "Revoked",
        }
    }
}

impl fmt::Display for TcbStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for TcbStatus {
    type Err = UnknownStatus;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|status| status.name() == s).ok_or(UnknownStatus)
    }
}

/// The text names no TCB status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no TCB status has this name")]
pub struct UnknownStatus;

/// Advisories that say what is missing at a level, for example `INTEL-SA-01036`.
pub type Advisories = Vec<String>;

/// Bytes of hexadecimal text of an exact length.
pub(super) fn hex_array<const N: usize>(
    text: &str,
    member: &'static str,
) -> Result<[u8; N], CollateralError> {
    hex_text::array(text).ok_or(CollateralError::Member { member })
}

/// Seconds since 1970 of a date in Intel's form, `2025-06-19T10:16:03Z`.
pub(super) fn seconds(text: &str, member: &'static str) -> Result<u64, CollateralError> {
    let date = text.parse::<DateTime>().map_err(|_| CollateralError::Member { member })?;
    Ok(date.unix_duration().as_secs())
}
