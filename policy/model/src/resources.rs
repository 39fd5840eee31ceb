// SPDX-License-Identifier: Apache-2.0
//! Limits of a container as a whole and of each of its processes.

use serde::Deserialize;
use serde::Serialize;

/// Limits of a container as a whole, set in its cgroup in the guest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Bytes of memory of the container's processes together, beyond which the guest's kernel ends
    /// one of them.
    #[serde(default)]
    pub memory: Figure,
    /// Thousandths of a CPU.
    #[serde(default)]
    pub cpu_millis: Figure,
    /// Processes and threads at once; absent = the guest's own bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u64>,
}

impl Resources {
    /// Whether nothing is limited and nothing may be updated.
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }
}

/// A limit and the range in which the host may change it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// The limit from the start; absent = the VM is the only bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Least that an update may set. Present with `max` or not at all; absent = no update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<u64>,
    /// Most that an update may set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u64>,
}

impl Figure {
    /// A limit that no update changes.
    #[must_use]
    pub const fn fixed(limit: u64) -> Self {
        Self { limit: Some(limit), min: None, max: None }
    }

    /// Whether nothing is limited and nothing may be updated.
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }

    /// Whether an update may set this value.
    #[must_use]
    pub fn admits(&self, value: u64) -> bool {
        match (self.min, self.max) {
            (Some(min), Some(max)) => (min..=max).contains(&value),
            _ => false,
        }
    }
}

/// A limit of each process, setrlimit(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rlimit {
    /// What is limited.
    pub kind: RlimitKind,
    /// The limit in force; a process may raise it up to `hard`.
    pub soft: RlimitValue,
    /// The ceiling.
    pub hard: RlimitValue,
}

/// What a process limit limits, getrlimit(2) without `RLIMIT_`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the kinds are those of getrlimit(2), named as there")]
pub enum RlimitKind {
    As,
    Core,
    Cpu,
    Data,
    Fsize,
    Locks,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rss,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
}

/// A number, or `"unlimited"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "RlimitText", into = "RlimitText")]
pub enum RlimitValue {
    /// At most this.
    Limit(u64),
    /// No limit.
    Unlimited,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum RlimitText {
    Number(u64),
    Word(String),
}

impl TryFrom<RlimitText> for RlimitValue {
    type Error = BadRlimit;

    fn try_from(text: RlimitText) -> Result<Self, Self::Error> {
        match text {
            RlimitText::Number(limit) => Ok(Self::Limit(limit)),
            RlimitText::Word(word) if word == UNLIMITED => Ok(Self::Unlimited),
            RlimitText::Word(_) => Err(BadRlimit),
        }
    }
}

impl From<RlimitValue> for RlimitText {
    fn from(value: RlimitValue) -> Self {
        match value {
            RlimitValue::Limit(limit) => Self::Number(limit),
            RlimitValue::Unlimited => Self::Word(UNLIMITED.to_owned()),
        }
    }
}

/// The text is neither a number nor `"unlimited"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a process limit is a number or \"unlimited\"")]
pub struct BadRlimit;

const UNLIMITED: &str = "unlimited";
