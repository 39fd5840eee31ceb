// SPDX-License-Identifier: Apache-2.0
//! What a policy means, for somebody who knows Kubernetes and not this project.

mod container;
mod guest;
mod pod;

use std::fmt;

use casemate_policy::Policy;
use casemate_policy::Role;
use serde::Serialize;

use crate::Document;
use crate::Fact;
use crate::Topic;
use crate::fact::Shown;
use crate::fact::Style;
use crate::words;

/// What a policy means.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// The pod in a few sentences.
    pub summary: Vec<String>,
    /// What holds for every container.
    pub pod: Vec<Fact>,
    /// The containers, those first that start first.
    pub containers: Vec<ContainerFacts>,
    /// What the host can do and see whatever a policy says.
    pub always: &'static [&'static str],
}

/// What a policy says of one container.
#[derive(Debug, Clone, Serialize)]
pub struct ContainerFacts {
    /// Its name in the pod.
    pub name: String,
    /// What it is there: init container, sidecar and so on.
    pub role: &'static str,
    /// What the policy says, in the order of [`Topic`].
    pub facts: Vec<Fact>,
}

/// Explains a policy and, of an initdata document, what came with it.
#[must_use]
pub fn explain(document: &Document) -> Explanation {
    let policy = &document.policy;
    let mut pod = pod::facts(policy);
    if let Some(config) = &document.config {
        pod.extend(guest::facts(config));
    }
    pod.extend(guest::rules(document.rules.as_deref()));
    let mut names: Vec<&String> = policy.containers.keys().collect();
    names.sort_by_key(|name| policy.containers.get(*name).map(|c| order(c.role)));
    let containers = names
        .into_iter()
        .filter_map(|name| {
            let container = policy.containers.get(name)?;
            let mut facts = container::facts(policy, name, container);
            facts.sort_by_key(|fact| fact.topic);
            Some(ContainerFacts { name: name.clone(), role: role(container.role), facts })
        })
        .collect();
    Explanation { summary: summary(policy), pod, containers, always: ALWAYS }
}

fn summary(policy: &Policy) -> Vec<String> {
    let of = |wanted: Role| {
        let found = policy.containers.iter().filter(|(_, c)| c.role == wanted);
        found.map(|(name, _)| name.as_str()).collect::<Vec<_>>()
    };
    let mut parts = Vec::new();
    for (wanted, thing) in [
        (Role::Init, "init container"),
        (Role::Sidecar, "sidecar"),
        (Role::App, "app container"),
        (Role::Ephemeral, "container for debugging"),
    ] {
        let names = of(wanted);
        if !names.is_empty() {
            parts.push(format!("{} ({})", words::count(names.len(), thing), names.join(", ")));
        }
    }
    if parts.is_empty() {
        return vec!["Nothing may run in this pod.".to_owned()];
    }
    vec![
        format!("In this pod may run: {}.", words::all(&parts)),
        "The guest VM builds each of them from this policy. Whoever runs the cluster (\"the host\") can \
         start them, and beyond that do only what is listed here; anything else is refused."
            .to_owned(),
    ]
}

pub(crate) use container::user;

const fn order(role: Role) -> u8 {
    match role {
        Role::Init => 0,
        Role::Sidecar => 1,
        Role::App => 2,
        Role::Ephemeral => 3,
    }
}

pub(crate) const fn role(role: Role) -> &'static str {
    match role {
        Role::Init => "init container",
        Role::Sidecar => "sidecar",
        Role::App => "app container",
        Role::Ephemeral => "container for debugging",
    }
}

const ALWAYS: &[&str] = &[
    "The host can end the whole VM, slow it down, or never start it.",
    "The host sees when containers start and end and their exit codes, how much memory and CPU the VM \
     uses, and sizes, times and peers of network traffic.",
    "The host reads this policy: it is public.",
];

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for sentence in &self.summary {
            writeln!(f, "{sentence}")?;
        }
        writeln!(f, "\nThe pod")?;
        topics(f, &self.pod)?;
        for container in &self.containers {
            writeln!(f, "\nContainer {}, {}", container.name, container.role)?;
            topics(f, &container.facts)?;
        }
        writeln!(f, "\nWhatever a policy says")?;
        for sentence in self.always {
            writeln!(f, "  - {sentence}")?;
        }
        Ok(())
    }
}

fn topics(f: &mut fmt::Formatter<'_>, facts: &[Fact]) -> fmt::Result {
    let mut last: Option<Topic> = None;
    let mut shown = facts.iter().filter(|fact| fact.shown != Shown::ChangesOnly).peekable();
    while let Some(fact) = shown.next() {
        if last != Some(fact.topic) {
            writeln!(f, "  {}", fact.topic.title())?;
            last = Some(fact.topic);
        }
        let Some(lead) = fact.lead else {
            writeln!(f, "    - {}", fact.text)?;
            continue;
        };
        let mut items = vec![fact.text.as_str()];
        while let Some(next) = shown.next_if(|next| next.lead == Some(lead)) {
            items.push(&next.text);
        }
        match lead.style {
            Style::Commas => writeln!(f, "    - {}: {}.", lead.text, items.join(", "))?,
            Style::Lines => {
                writeln!(f, "    - {}:", lead.text)?;
                for item in items {
                    writeln!(f, "        {item}")?;
                }
            }
        }
    }
    Ok(())
}
