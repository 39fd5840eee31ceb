// SPDX-License-Identifier: Apache-2.0
//! The `[tdx]` table.

use std::collections::BTreeSet;
use std::str::FromStr as _;

use casemate_evidence::collateral::TcbStatus;
use casemate_evidence::tdx::TdAttributes;
use serde::Deserialize;
use serde::Deserializer;
use serde::de::Error as _;

use super::Policy;
use super::PolicyError;
use super::ReferenceValues;
use super::grace::Moment;
use super::place::AnyGenuineChip;
use super::rule::AtLeast;
use super::rule::Bound;
use super::rule::Bytes;
use super::rule::OneOf;
use super::rule::Table;
use super::rule::Values;
use crate::Measurement;
use crate::tdx::Grace;
use crate::tdx::Requirements;

/// Demands on TDs. What is not demanded is as in the default of [`Requirements`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table", rename_all = "kebab-case")]
pub struct TdxPolicy {
    /// Where TDs may run. It has no default.
    #[serde(rename = "where")]
    pub place: TdxWhere,
    /// Values of MRTD that are accepted.
    pub mrtd: Option<Values<Measurement>>,
    /// MRCONFIGID that is accepted.
    pub mr_config_id: Option<Bound<48>>,
    /// Values of RTMR0 that are accepted.
    pub rtmr0: Option<Values<Measurement>>,
    /// Values of RTMR1 that are accepted.
    pub rtmr1: Option<Values<Measurement>>,
    /// Values of RTMR2 that are accepted.
    pub rtmr2: Option<Values<Measurement>>,
    /// Values of RTMR3 that are accepted.
    pub rtmr3: Option<Values<Measurement>>,
    /// An event log must come with the quote.
    #[serde(default)]
    pub require_event_log: bool,
    /// What may be measured into RTMR3.
    pub runtime_events: Option<BTreeSet<String>>,
    /// The event after which nothing may be measured into RTMR3.
    pub last_event: Option<String>,
    /// Statuses of the TCB that are accepted; `UpToDate` if absent.
    pub tcb_status: Option<OneOf<StatusName>>,
    /// Further statuses for a time after a TCB recovery.
    pub grace: Option<StatusGrace>,
    /// Advisories that must not be open on the platform.
    #[serde(default)]
    pub refuse_advisories: BTreeSet<String>,
    /// Least TCB evaluation data number of the collateral.
    pub tcb_evaluation_number: Option<AtLeast<u32>>,
    /// TDX modules that are accepted, by MRSEAM.
    pub mrseam: Option<OneOf<Measurement>>,
    /// SEPT_VE_DISABLE must be set; it must if absent.
    pub require_sept_ve_disable: Option<bool>,
    /// PERFMON may be set.
    #[serde(default)]
    pub allow_perfmon: bool,
    /// MIGRATABLE may be set.
    #[serde(default)]
    pub allow_migration: bool,
    /// Attributes that may be set beside those with a rule of their own.
    pub allow_attributes: Option<Bits>,
    /// Bits of XFAM that may be set.
    pub allow_xfam: Option<Bits>,
    /// MROWNER; zero if absent.
    pub mr_owner: Option<Bytes<48>>,
    /// MROWNERCONFIG; zero if absent.
    pub mr_owner_config: Option<Bytes<48>>,
    /// MRSERVICETD; zero if absent.
    pub service_td: Option<Bytes<48>>,
}

/// Where TDs may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdxWhere {
    /// Platforms by PPID or platform instance id; `None` for any genuine chip.
    pub platforms: Option<BTreeSet<Bytes<16>>>,
}

/// A status by Intel's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StatusName(pub TcbStatus);

/// Statuses that are accepted until a time.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table", rename_all = "kebab-case")]
pub struct StatusGrace {
    /// The first second at which they are accepted no more.
    pub until: Moment,
    /// The statuses.
    pub tcb_status: OneOf<StatusName>,
}

/// A mask of 64 bits, in text hexadecimal digits after `0x`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bits(pub u64);

impl Policy {
    /// What the policy demands of TDs.
    ///
    /// # Errors
    ///
    /// The policy has no `[tdx]`, or refers to reference values that are not there.
    pub fn tdx(&self, references: &ReferenceValues) -> Result<Requirements, PolicyError> {
        let table = self.tdx.as_ref().ok_or(PolicyError::NoTable { tee: "tdx" })?;
        table.requirements(references)
    }
}

impl TdxPolicy {
    /// Whether MRCONFIGID is to be compared with the digest of initdata that comes along.
    #[must_use]
    pub fn needs_initdata(&self) -> bool {
        self.mr_config_id == Some(Bound::Initdata)
    }

    fn requirements(&self, references: &ReferenceValues) -> Result<Requirements, PolicyError> {
        let default = Requirements::default();
        let values = |rule: &Option<Values<Measurement>>| {
            rule.as_ref().map(|rule| super::resolve(rule, references)).transpose()
        };
        Ok(Requirements {
            measurements: values(&self.mrtd)?,
            mr_config_ids: match &self.mr_config_id {
                Some(Bound::Listed(set)) => Some(set.iter().map(|bytes| bytes.0).collect()),
                Some(Bound::Initdata) | None => None,
            },
            rtmrs: [
                values(&self.rtmr0)?,
                values(&self.rtmr1)?,
                values(&self.rtmr2)?,
                values(&self.rtmr3)?,
            ],
            require_event_log: self.require_event_log,
            runtime_events: self.runtime_events.clone(),
            last_event: self.last_event.clone(),
            statuses: self.tcb_status.as_ref().map_or(default.statuses, statuses),
            // D18: the last second that is accepted.
            grace: self.grace.as_ref().map(|grace| Grace {
                statuses: statuses(&grace.tcb_status),
                until: grace.until.0.saturating_sub(1),
            }),
            refused_advisories: self.refuse_advisories.clone(),
            min_evaluation_number: self.tcb_evaluation_number.map(|least| least.0),
            platforms: self
                .place
                .platforms
                .as_ref()
                .map(|ids| ids.iter().map(|bytes| bytes.0).collect()),
            modules: self.mrseam.as_ref().map(|set| set.0.clone()),
            require_sept_ve_disable: self
                .require_sept_ve_disable
                .unwrap_or(default.require_sept_ve_disable),
            allow_perfmon: self.allow_perfmon,
            allow_migration: self.allow_migration,
            allowed_attributes: self
                .allow_attributes
                .map_or(default.allowed_attributes, |bits| TdAttributes(bits.0)),
            allowed_xfam: self.allow_xfam.map_or(default.allowed_xfam, |bits| bits.0),
            mr_owner: self.mr_owner.map(|bytes| bytes.0),
            mr_owner_config: self.mr_owner_config.map(|bytes| bytes.0),
            service_td: self.service_td.map(|bytes| bytes.0),
        })
    }
}

impl TdxWhere {
    /// Whether no TD runs in an accepted place.
    pub(super) fn is_nowhere(&self) -> bool {
        self.platforms.as_ref().is_some_and(BTreeSet::is_empty)
    }
}

fn statuses(names: &OneOf<StatusName>) -> BTreeSet<TcbStatus> {
    names.0.iter().map(|name| name.0).collect()
}

impl<'de> Deserialize<'de> for TdxWhere {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "expected \"any-genuine-chip\" or { platforms = [...] } with hexadecimal ids"
        )]
        enum Form {
            Any(AnyGenuineChip),
            Listed(Table<Listed>),
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Listed {
            platforms: BTreeSet<Bytes<16>>,
        }
        Ok(match Form::deserialize(deserializer)? {
            Form::Any(_) => Self { platforms: None },
            Form::Listed(Table(Listed { platforms })) => Self { platforms: Some(platforms) },
        })
    }
}

impl<'de> Deserialize<'de> for StatusName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match TcbStatus::from_str(&text) {
            Ok(TcbStatus::Revoked) => Err(D::Error::custom("Revoked is never accepted")),
            Ok(status) => Ok(Self(status)),
            Err(_) => Err(D::Error::custom(format_args!("{text:?} is no status of a TCB"))),
        }
    }
}

impl<'de> Deserialize<'de> for Bits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.strip_prefix("0x")
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .map(Self)
            .ok_or_else(|| D::Error::custom(format_args!("{text:?} is not of the form \"0x1f\"")))
    }
}
