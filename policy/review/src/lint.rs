// SPDX-License-Identifier: Apache-2.0
//! Weak spots of a policy, each with a stable id.
//!
//! A finding is no error: the policy says what its owner wants. It is a question to ask before the
//! policy is trusted.

mod container;
mod pattern;
mod pod;

use std::fmt;

use serde::Serialize;

use crate::Document;
use crate::Place;

/// One kind of weak spot.
#[derive(Debug)]
pub struct Rule {
    /// Stable id, `L001` and so on.
    pub id: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What is found, in a few words.
    pub title: &'static str,
    /// What the owner can do.
    pub next: &'static str,
    find: fn(&Document, &mut Vec<Spot>),
}

/// How much a finding matters; the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Good to know.
    Low,
    /// Should have a reason.
    Medium,
    /// The host gets a hand in the pod, or a container one on the guest.
    High,
}

impl Severity {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// A weak spot that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Id of its kind.
    pub id: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// The field.
    pub field: String,
    /// What is there and why that is weak.
    pub sentence: String,
    /// What the owner can do.
    pub next: &'static str,
    /// Where the field stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

/// A field and what is wrong with it.
struct Spot {
    field: String,
    sentence: String,
}

impl Spot {
    fn new(field: impl Into<String>, sentence: impl Into<String>) -> Self {
        Self { field: field.into(), sentence: sentence.into() }
    }
}

/// Looks for every kind of weak spot; those first that matter most.
///
/// # Security
///
/// Findings end up in the logs of build machines: their places never show a value that looks like a
/// secret.
#[must_use]
pub fn lint(document: &Document) -> Vec<Finding> {
    let mut places = document.places();
    for field in container::secret_values(document) {
        places.hide(&field);
    }
    let mut findings = Vec::new();
    for rule in RULES {
        let mut spots = Vec::new();
        (rule.find)(document, &mut spots);
        findings.extend(spots.into_iter().map(|Spot { field, sentence }| Finding {
            id: rule.id,
            severity: rule.severity,
            place: places.find(&field),
            field,
            sentence,
            next: rule.next,
        }));
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {} {}: {}", self.id, self.severity.name(), self.field, self.sentence)?;
        if let Some(place) = &self.place {
            writeln!(f, "{place}")?;
        }
        writeln!(f, "  next: {}", self.next)
    }
}

/// Every kind of weak spot. Ids are never given to another kind.
pub const RULES: &[Rule] = &[
    Rule {
        id: "L001",
        severity: Severity::High,
        title: "a hole's value takes anything",
        next: "write a pattern that only the expected values match",
        find: container::wide_values,
    },
    Rule {
        id: "L002",
        severity: Severity::High,
        title: "a hole takes a variable that steers the loader, a shell or an interpreter",
        next: "name the variable, or a narrower pattern of names",
        find: container::steering_names,
    },
    Rule {
        id: "L003",
        severity: Severity::High,
        title: "the host may run a shell or an interpreter",
        next: "list the few commands that are needed in its place",
        find: container::exec_shells,
    },
    Rule {
        id: "L004",
        severity: Severity::High,
        title: "a capability reaches beyond the container",
        next: "drop the capability, or move the work that needs it into a container of its own",
        find: container::powerful_capabilities,
    },
    Rule {
        id: "L005",
        severity: Severity::High,
        title: "system calls are not filtered",
        next: "set seccompProfile.type to RuntimeDefault",
        find: container::unfiltered,
    },
    Rule {
        id: "L006",
        severity: Severity::High,
        title: "nothing of /proc is masked",
        next: "set procMount to Default",
        find: container::unmasked,
    },
    Rule {
        id: "L007",
        severity: Severity::High,
        title: "a variable looks like a secret",
        next: "store it in the key broker and list it under secrets: the host reads this policy",
        find: container::secret_variables,
    },
    Rule {
        id: "L008",
        severity: Severity::Medium,
        title: "the host chooses a volume's content",
        next: "pin the files with kind = \"config\", or make sure that the program does not trust them",
        find: pod::untrusted_volumes,
    },
    Rule {
        id: "L009",
        severity: Severity::Medium,
        title: "root with a writable root file system",
        next: "set runAsNonRoot with a user, or readOnlyRootFilesystem",
        find: container::writable_root,
    },
    Rule {
        id: "L010",
        severity: Severity::Medium,
        title: "programs can gain rights",
        next: "set allowPrivilegeEscalation to false",
        find: container::gains_rights,
    },
    Rule {
        id: "L011",
        severity: Severity::Medium,
        title: "output of a container with secrets goes to the host",
        next: "set logs to \"none\", or make sure that no secret is ever written there",
        find: container::visible_secrets,
    },
    Rule {
        id: "L012",
        severity: Severity::Medium,
        title: "the host writes to stdin",
        next: "set stdin to false unless somebody must type into the container",
        find: container::open_stdin,
    },
    Rule {
        id: "L013",
        severity: Severity::Medium,
        title: "a command has more rights than its container",
        next: "let it run as the container's user",
        find: container::exec_as_root,
    },
    Rule {
        id: "L014",
        severity: Severity::Medium,
        title: "an init container that nothing waits for",
        next: "name it in `after` of the containers that need its work",
        find: pod::unawaited_init,
    },
    Rule {
        id: "L015",
        severity: Severity::Low,
        title: "the network has no ranges",
        next: "write the cluster's ranges into sandbox.network",
        find: pod::open_network,
    },
    Rule {
        id: "L016",
        severity: Severity::Low,
        title: "any hostname",
        next: "write a pattern, for example \"web-[0-9]+\"",
        find: pod::any_hostname,
    },
    Rule {
        id: "L017",
        severity: Severity::Low,
        title: "a plain image",
        next: "encrypt the image (`casemate image encrypt`) if its content is not public",
        find: container::plain_images,
    },
    Rule {
        id: "L018",
        severity: Severity::Low,
        title: "memory without a limit",
        next: "set resources.limits.memory, so that one container cannot starve the others",
        find: container::unlimited_memory,
    },
    Rule {
        id: "L019",
        severity: Severity::Low,
        title: "a directory in memory without a limit",
        next: "set sizeLimit of the emptyDir",
        find: pod::unlimited_directories,
    },
    Rule {
        id: "L020",
        severity: Severity::Low,
        title: "usage figures of a container with secrets go to the host",
        next: "set metrics to \"none\" if the use of CPU or memory tells of the secret",
        find: container::visible_figures,
    },
    Rule {
        id: "L021",
        severity: Severity::Medium,
        title: "a container may be added for debugging",
        next: "generate the policy without it for production",
        find: container::debug_containers,
    },
    Rule {
        id: "L022",
        severity: Severity::Medium,
        title: "a volume that nobody mounts",
        next: "remove the volume",
        find: pod::unmounted_volumes,
    },
];
