// SPDX-License-Identifier: Apache-2.0
//! What changed between two policies, in the words of [`crate::explain()`].

use std::collections::BTreeMap;
use std::fmt;

use casemate_policy::Container;
use casemate_policy::Policy;
use serde::Serialize;

use crate::Document;
use crate::Fact;
use crate::Topic;
use crate::Weight;
use crate::explain;
use crate::explain::role;
use crate::fact::Effect;
use crate::fact::Shown;
use crate::words;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// How much a reader should mind it.
    pub weight: Weight,
    /// Whether the newer document allows more.
    pub direction: Direction,
    /// The container that it is about; absent = the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// What it is about.
    pub topic: Topic,
    /// The field that says it: of the newer document, or of the older one where the newer has none.
    pub field: String,
    /// What the older document says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// What the newer document says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// Whether a change allows more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// The newer document allows what the older did not.
    AllowsMore,
    /// It says something else.
    Differs,
    /// It no longer allows what the older did.
    AllowsLess,
}

/// The differences between two documents, those first that matter most; none for documents that mean
/// and are the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The differences.
    pub changes: Vec<Change>,
}

/// Compares two documents.
#[must_use]
pub fn diff(older: &Document, newer: &Document) -> Difference {
    let (before, after) = (explain(older), explain(newer));
    let mut changes = compare(None, &before.pod, &after.pod);
    let by_name = |list: Vec<crate::ContainerFacts>| -> BTreeMap<String, Vec<Fact>> {
        list.into_iter().map(|container| (container.name, container.facts)).collect()
    };
    let (before, after) = (by_name(before.containers), by_name(after.containers));
    for (name, facts) in &after {
        match before.get(name) {
            Some(older) => changes.extend(compare(Some(name), older, facts)),
            None => changes.extend(container(name, &newer.policy, Direction::AllowsMore)),
        }
    }
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        changes.extend(container(name, &older.policy, Direction::AllowsLess));
    }
    changes.extend(initdata(older, newer));
    changes.sort_by(|a, b| {
        let key = |c: &Change| (c.weight, c.direction, c.container.clone(), c.topic);
        key(a).cmp(&key(b))
    });
    Difference { changes }
}

/// A whole container that came or went.
fn container(name: &str, policy: &Policy, direction: Direction) -> Option<Change> {
    let found = policy.containers.get(name)?;
    let text = Some(container_words(found));
    let (before, after) =
        if direction == Direction::AllowsMore { (None, text) } else { (text, None) };
    Some(Change {
        weight: Weight::High,
        direction,
        container: Some(name.to_owned()),
        topic: Topic::Runs,
        field: format!("containers.{name}"),
        before,
        after,
    })
}

fn container_words(container: &Container) -> String {
    format!(
        "The {} itself: the image {} with the command {}",
        role(container.role),
        container.image,
        words::command(&container.argv)
    )
}

fn compare(name: Option<&str>, older: &[Fact], newer: &[Fact]) -> Vec<Change> {
    let by_key = |facts: &[Fact]| -> BTreeMap<String, Fact> {
        let counted = facts.iter().filter(|fact| fact.shown != Shown::ExplanationsOnly);
        counted.map(|fact| (fact.key.clone(), fact.clone())).collect()
    };
    let (older, newer) = (by_key(older), by_key(newer));
    let mut changes = Vec::new();
    for (key, after) in &newer {
        match older.get(key) {
            None => changes.push(came(name, after)),
            Some(before) if before.value != after.value => {
                changes.push(changed(name, before, after))
            }
            Some(_) => {}
        }
    }
    let gone = older.iter().filter(|(key, _)| !newer.contains_key(*key));
    changes.extend(gone.map(|(_, before)| went(name, before)));
    changes
}

fn came(name: Option<&str>, fact: &Fact) -> Change {
    let direction = match fact.effect {
        Effect::Grants => Direction::AllowsMore,
        Effect::Restricts => Direction::AllowsLess,
        Effect::States => Direction::Differs,
    };
    change(name, fact, direction, None, Some(sentence(fact)))
}

fn went(name: Option<&str>, fact: &Fact) -> Change {
    let direction = match fact.effect {
        Effect::Grants => Direction::AllowsLess,
        Effect::Restricts => Direction::AllowsMore,
        Effect::States => Direction::Differs,
    };
    change(name, fact, direction, Some(sentence(fact)), None)
}

fn changed(name: Option<&str>, before: &Fact, after: &Fact) -> Change {
    let direction = match after.reach.cmp(&before.reach) {
        std::cmp::Ordering::Greater => Direction::AllowsMore,
        std::cmp::Ordering::Equal => Direction::Differs,
        std::cmp::Ordering::Less => Direction::AllowsLess,
    };
    let (mut old, new) = (sentence(before), sentence(after));
    if old == new {
        old.push_str(" (it differs in what is not shown here)");
    }
    let change = change(name, after, direction, Some(old), Some(new));
    Change { weight: before.weight.min(after.weight), ..change }
}

fn change(
    name: Option<&str>,
    fact: &Fact,
    direction: Direction,
    before: Option<String>,
    after: Option<String>,
) -> Change {
    Change {
        weight: fact.weight,
        direction,
        container: name.map(str::to_owned),
        topic: fact.topic,
        field: fact.field.clone(),
        before,
        after,
    }
}

fn sentence(fact: &Fact) -> String {
    match fact.lead {
        Some(lead) => format!("{}: {}", lead.text, fact.text),
        None => fact.text.clone(),
    }
}

/// Every byte counts: the broker knows a guest by the digest of its initdata.
fn initdata(older: &Document, newer: &Document) -> Option<Change> {
    let text = |document: &Document| {
        let initdata = document.initdata.as_ref()?;
        let digest: String = initdata.digest().iter().map(|byte| format!("{byte:02x}")).collect();
        Some(format!("The initdata with the {} {digest}", initdata.algorithm().name()))
    };
    let (before, after) = (text(older)?, text(newer)?);
    (before != after).then(|| Change {
        weight: Weight::Low,
        direction: Direction::Differs,
        container: None,
        topic: Topic::Guest,
        field: "initdata".to_owned(),
        before: Some(before),
        after: Some(after),
    })
}

impl Difference {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return writeln!(f, "Both say the same.");
        }
        writeln!(
            f,
            "{}, those first that matter most.",
            words::count(self.changes.len(), "difference")
        )?;
        let mut last = None;
        for change in &self.changes {
            if last != Some(change.weight) {
                writeln!(f, "\n{}", change.weight.title())?;
                last = Some(change.weight);
            }
            write!(f, "{change}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = match &self.container {
            Some(name) => format!("Container {name}"),
            None => "The pod".to_owned(),
        };
        let words = match self.direction {
            Direction::AllowsMore => ": allows more",
            Direction::Differs => "",
            Direction::AllowsLess => ": allows less",
        };
        let title = self.topic.title().to_lowercase();
        writeln!(f, "  {whose}, {title}{words}  [{}]", self.field)?;
        for (sign, text) in [('-', &self.before), ('+', &self.after)] {
            if let Some(text) = text {
                writeln!(f, "    {sign} {text}")?;
            }
        }
        Ok(())
    }
}

impl Weight {
    /// The heading over what has this weight.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::High => "High: what runs, as whom, and what the host can do in it",
            Self::Medium => "Medium: what the host sees and sets, and what containers touch",
            Self::Low => "Low: limits and names",
        }
    }
}
