// SPDX-License-Identifier: Apache-2.0
//! One thing that a policy says, in a sentence.

use std::fmt::Debug;

use serde::Serialize;

/// One thing that a policy says.
#[derive(Debug, Clone, Serialize)]
pub struct Fact {
    /// What it is about.
    pub topic: Topic,
    /// The field of the policy that says it.
    pub field: String,
    /// What the facts of one list have in common, said once before them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lead: Option<Lead>,
    /// The sentence, or the item of its list.
    pub text: String,
    /// The thing that it is about, the same in another policy that says something else of it.
    #[serde(skip)]
    pub(crate) key: String,
    /// The whole value, for comparison; the text may be shortened.
    #[serde(skip)]
    pub(crate) value: String,
    #[serde(skip)]
    pub(crate) weight: Weight,
    #[serde(skip)]
    pub(crate) effect: Effect,
    #[serde(skip)]
    pub(crate) reach: u64,
    #[serde(skip)]
    pub(crate) shown: Shown,
}

/// What a fact is about; in the order in which it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topic {
    /// Image, command, environment.
    Runs,
    /// User, capabilities, filters.
    AsWhom,
    /// Files, secrets, memory.
    Touches,
    /// What leaves the guest.
    HostSees,
    /// What the host decides.
    HostSets,
    /// Commands.
    HostRuns,
    /// Signals.
    HostStops,
    /// Order and restarts.
    Starts,
    /// Where the guest attests and pulls.
    Guest,
}

impl Topic {
    /// The heading over its facts.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Runs => "What runs",
            Self::AsWhom => "As whom, and with which rights",
            Self::Touches => "What it may touch and use",
            Self::HostSees => "What the host may see",
            Self::HostSets => "What the host may set",
            Self::HostRuns => "What the host may run in it",
            Self::HostStops => "How the host may stop it",
            Self::Starts => "When it starts, and whether again",
            Self::Guest => "Whom the guest trusts",
        }
    }
}

/// What stands before the items of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(into = "&'static str")]
pub struct Lead {
    pub(crate) text: &'static str,
    pub(crate) style: Style,
}

impl From<Lead> for &'static str {
    fn from(lead: Lead) -> Self {
        lead.text
    }
}

/// How the items of a list stand below their lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// One below the other.
    Lines,
    /// One behind the other.
    Commas,
}

/// How much a reader should mind a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weight {
    /// What runs, as whom, and what the host can do in it.
    High,
    /// What the host sees or sets, and what the container touches.
    Medium,
    /// Limits and names.
    Low,
}

/// What it means that a fact is there at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It allows something.
    Grants,
    /// It forbids something.
    Restricts,
    /// Neither is clear.
    States,
}

/// Where a fact is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    Everywhere,
    /// The usual case: not worth a line in a text.
    ChangesOnly,
    /// "None of these": the things themselves tell of changes.
    ExplanationsOnly,
}

impl Fact {
    pub(crate) fn new(topic: Topic, field: impl Into<String>, text: impl Into<String>) -> Self {
        let field = field.into();
        Self {
            topic,
            key: field.clone(),
            field,
            lead: None,
            text: text.into(),
            value: String::new(),
            weight: Weight::Medium,
            effect: Effect::States,
            reach: 0,
            shown: Shown::Everywhere,
        }
    }

    pub(crate) fn weight(self, weight: Weight) -> Self {
        Self { weight, ..self }
    }

    pub(crate) fn high(self) -> Self {
        self.weight(Weight::High)
    }

    pub(crate) fn low(self) -> Self {
        self.weight(Weight::Low)
    }

    /// What is compared.
    pub(crate) fn value(self, value: &impl Debug) -> Self {
        Self { value: format!("{value:?}"), ..self }
    }

    /// How far the permission goes; a larger number allows more.
    pub(crate) fn reach(self, reach: u64) -> Self {
        Self { reach, ..self }
    }

    pub(crate) fn grants(self) -> Self {
        Self { effect: Effect::Grants, ..self }
    }

    pub(crate) fn restricts(self) -> Self {
        Self { effect: Effect::Restricts, ..self }
    }

    /// An item of a list: found in another policy by what it is, not by its index.
    pub(crate) fn item(self, lead: Lead, list: &str, identity: &str) -> Self {
        Self { lead: Some(lead), key: format!("{list}/{identity}"), ..self }
    }

    pub(crate) fn unless(self, usual: bool) -> Self {
        if usual { Self { shown: Shown::ChangesOnly, ..self } } else { self }
    }

    pub(crate) fn none(self) -> Self {
        Self { shown: Shown::ExplanationsOnly, ..self }
    }
}

pub(crate) const fn lines(text: &'static str) -> Lead {
    Lead { text, style: Style::Lines }
}

pub(crate) const fn commas(text: &'static str) -> Lead {
    Lead { text, style: Style::Commas }
}
