// SPDX-License-Identifier: Apache-2.0
//! What a case is and what comes of it.

use std::fmt;
use std::pin::Pin;

use crate::Context;

/// One attack of the catalogue.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Its number in the catalogue: `A1` to `E22`.
    pub id: &'static str,
    /// Where it is staged.
    pub level: Level,
    /// What the host does, in a few words.
    pub attack: &'static str,
    /// What stops it, and in which mode.
    pub defence: Defence,
    /// Carries the attack out. An error is a failed case; [`Missing`] is one that could not be run.
    pub run: fn(Context) -> Running,
}

/// A case under way. It has a tokio runtime of its own, which ends with it.
pub type Running = Pin<Box<dyn Future<Output = Verdict>>>;

/// What a case says; `anyhow::ensure!` and `?` make it fail.
pub type Verdict = anyhow::Result<Outcome>;

/// Where an attack is staged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Functions and tables.
    U,
    /// The agent in process, or another program's real code on loopback.
    P,
    /// A kernel: mounts, namespaces and containers in a [room](crate::room), or this machine's own.
    N,
    /// A real guest, or the files that it is booted from.
    V,
    /// Hardware only.
    H,
}

/// With or without the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The reference monitor judges by the pod's policy.
    Policy,
    /// A double grants whatever the host asks. No policy can say so: it exists here alone.
    AllowAll,
}

/// What stops an attack.
#[derive(Debug, Clone, Copy)]
pub enum Defence {
    /// Code that holds under any policy, and so in both modes.
    Code(Guard),
    /// The policy. Under the double the same attack goes through, which the case checks too.
    Policy(Guard),
    /// Nothing has to: what is attacked does not exist, or cannot be staged without hardware. The
    /// case shows that, and there is no guard to sabotage.
    Nothing,
}

/// The function that stops an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// Its path: `casemate_agent::class::admit`; a method has its type before its name.
    pub function: &'static str,
    /// A Rust expression that the guard returns when it is sabotaged: success, whatever was asked.
    pub sabotage: &'static str,
}

/// What came of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The attack failed as it should.
    Pass(String),
    /// The attack went through, or failed in another way than it should.
    Fail(String),
    /// What is attacked does not exist, which was shown; the text says what would bring it.
    Absent(String),
    /// Only hardware could show it; what software can was checked.
    HardwareOnly(String),
}

/// Something that a case needs and this machine does not have.
#[derive(Debug, Clone, thiserror::Error)]
#[error("needs {what}")]
pub struct Missing {
    /// Root, or a file with the command that makes it.
    pub what: String,
}

impl Case {
    /// The guard's path, or `-`.
    #[must_use]
    pub fn guard(&self) -> &'static str {
        self.defence.guard().map_or("-", |guard| guard.function)
    }
}

impl Defence {
    /// The guard, if there is one.
    #[must_use]
    pub const fn guard(&self) -> Option<Guard> {
        match self {
            Self::Code(guard) | Self::Policy(guard) => Some(*guard),
            Self::Nothing => None,
        }
    }

    /// One word for tables.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Code(_) => "code",
            Self::Policy(_) => "policy",
            Self::Nothing => "-",
        }
    }
}

impl Mode {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Policy, Self::AllowAll];

    /// As on the command line and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::AllowAll => "allow-all",
        }
    }
}

impl Outcome {
    /// The attack failed as it should.
    pub fn pass(detail: impl Into<String>) -> Self {
        Self::Pass(detail.into())
    }

    /// What is attacked does not exist; `detail` says what would bring it.
    pub fn absent(detail: impl Into<String>) -> Self {
        Self::Absent(detail.into())
    }

    /// Only hardware could show it.
    pub fn hardware_only(detail: impl Into<String>) -> Self {
        Self::HardwareOnly(detail.into())
    }

    /// As in JSON.
    #[must_use]
    pub const fn result(&self) -> &'static str {
        match self {
            Self::Pass(_) => "pass",
            Self::Fail(_) => "fail",
            Self::Absent(_) => "absent",
            Self::HardwareOnly(_) => "hardware-only",
        }
    }

    /// What was seen.
    #[must_use]
    pub fn detail(&self) -> &str {
        match self {
            Self::Pass(detail)
            | Self::Fail(detail)
            | Self::Absent(detail)
            | Self::HardwareOnly(detail) => detail,
        }
    }

    /// Whether the case failed.
    #[must_use]
    pub const fn is_failure(&self) -> bool {
        matches!(self, Self::Fail(_))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.result(), self.detail())
    }
}
