// SPDX-License-Identifier: Apache-2.0
//! How the monitor says no.

use std::fmt;

use crate::ProcessRef;

/// A request is denied; the state is as before it.
///
/// # Security
///
/// A28: field and text go to the host. They hold the host's own words, shortened, and places in the
/// request or the policy; never a value from the policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {text}")]
pub struct Denial {
    /// The rule that the request breaks.
    pub rule: Rule,
    /// The field of the request, or of the policy where the request lacks something.
    pub field: String,
    /// One line for a person.
    pub text: String,
}

impl Denial {
    /// A denial, with the field and what the host sent there; for monitors.
    pub fn new(rule: Rule, field: impl Into<String>, text: impl Into<String>) -> Self {
        Self { rule, field: field.into(), text: text.into() }
    }
}

/// The rule that a denied request breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Rule {
    /// The argument list is the policy's.
    Argv,
    /// The container is in the policy.
    Container,
    /// Starts and live objects are counted.
    Count,
    /// The working directory is the policy's.
    Cwd,
    /// The environment is the policy's but for the holes.
    Env,
    /// The command is on the exec list.
    Exec,
    /// Ids are known, new where they must be, and in a state that fits the request.
    Id,
    /// The image is the policy's.
    Image,
    /// The request is well-formed.
    Invalid,
    /// The termination message is the host's to read.
    Message,
    /// Usage figures and process ids are the host's to read.
    Metrics,
    /// The mounts are the policy's.
    Mount,
    /// The network values fit the policy.
    Network,
    /// Containers come in the policy's order.
    Order,
    /// The request fits the phase of the guest.
    Phase,
    /// Nothing runs after a failure that could not be undone.
    Poisoned,
    /// Limits stay within the policy's ranges.
    Resources,
    /// The root's read-only flag is the policy's.
    Rootfs,
    /// The owner's extra rules allow the request; the monitor itself has none.
    Rules,
    /// The signal is granted.
    Signal,
    /// Terminal and stdin are granted.
    Stdio,
    /// The content of volumes is the policy's.
    Volume,
}

impl Rule {
    /// Every rule.
    pub const ALL: &'static [Self] = &[
        Self::Argv,
        Self::Container,
        Self::Count,
        Self::Cwd,
        Self::Env,
        Self::Exec,
        Self::Id,
        Self::Image,
        Self::Invalid,
        Self::Message,
        Self::Metrics,
        Self::Mount,
        Self::Network,
        Self::Order,
        Self::Phase,
        Self::Poisoned,
        Self::Resources,
        Self::Rootfs,
        Self::Rules,
        Self::Signal,
        Self::Stdio,
        Self::Volume,
    ];

    /// The stable error code that the agent API has for a breach of the rule.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Argv => "policy.argv",
            Self::Container => "policy.container",
            Self::Count => "policy.count",
            Self::Cwd => "policy.cwd",
            Self::Env => "policy.env",
            Self::Exec => "policy.exec",
            Self::Id => "request.id",
            Self::Image => "policy.image",
            Self::Invalid => "request.invalid",
            Self::Message => "policy.termination-message",
            Self::Metrics => "policy.metrics",
            Self::Mount => "policy.mount",
            Self::Network => "policy.network",
            Self::Order => "policy.order",
            Self::Phase => "request.phase",
            Self::Poisoned => "guest.poisoned",
            Self::Resources => "policy.resources",
            Self::Rootfs => "policy.rootfs",
            Self::Rules => "policy.rules",
            Self::Signal => "policy.signal",
            Self::Stdio => "policy.stdio",
            Self::Volume => "policy.volume",
        }
    }
}

/// The field of a request that names a process.
pub(crate) fn process_field(process: &ProcessRef) -> &'static str {
    if process.exec_id.is_some() { "exec_id" } else { "container_id" }
}

/// The host's own text, quoted, escaped and shortened.
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.chars();
        let head: String = rest.by_ref().take(SHOWN).collect();
        let dots = if rest.next().is_some() { "…" } else { "" };
        write!(f, "\"{}{dots}\"", head.escape_debug())
    }
}

/// Characters of the host's text that a denial shows.
const SHOWN: usize = 64;
