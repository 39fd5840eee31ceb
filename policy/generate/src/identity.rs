// SPDX-License-Identifier: Apache-2.0
//! What the cluster calls a pod: its name, hostname and the labels that its controller adds.
//!
//! Source: Kubernetes 1.31, the controllers in `pkg/controller`, `apiserver/pkg/storage/names` and
//! `kubelet_pods.go`.

use crate::workload::Kind;

/// A text that is known now, or a pattern of what the cluster will make of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Text {
    /// This text.
    Exact(String),
    /// A regular expression that covers the whole text.
    Pattern(String),
}

impl Text {
    pub(crate) fn exact(text: impl Into<String>) -> Self {
        Self::Exact(text.into())
    }

    pub(crate) fn pattern(text: impl Into<String>) -> Self {
        Self::Pattern(text.into())
    }

    /// A regular expression for it in either case.
    pub(crate) fn to_pattern(&self) -> String {
        match self {
            Self::Exact(text) => escape(text),
            Self::Pattern(pattern) => pattern.clone(),
        }
    }
}

/// What the cluster calls a pod.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// `metadata.name` of the pod.
    pub(crate) name: Text,
    /// The hostname that kubelet gives.
    pub(crate) hostname: Text,
    /// Patterns of the labels that the controller adds.
    pub(crate) labels: Vec<(&'static str, String)>,
    /// Patterns of the variables that the controller adds to every container.
    pub(crate) variables: Vec<(&'static str, String)>,
}

/// What a name is made of.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Naming<'a> {
    /// `metadata.name` of the object.
    pub(crate) name: Option<&'a str>,
    /// `metadata.generateName` of the object.
    pub(crate) prefix: Option<&'a str>,
    /// `hostname` of the pod's spec.
    pub(crate) hostname: Option<&'a str>,
    /// `hostnameOverride` of the pod's spec.
    pub(crate) hostname_override: Option<&'a str>,
    /// Whether a Job counts its pods (`completionMode: Indexed`).
    pub(crate) indexed: bool,
}

impl Identity {
    pub(crate) fn of(kind: Kind, naming: &Naming<'_>) -> Self {
        let own = match (naming.name, naming.prefix) {
            (Some(name), _) => Text::exact(name),
            (None, Some(prefix)) => generated(&Text::exact(prefix), prefix, prefix.len()),
            (None, None) => Text::pattern(HOSTNAME),
        };
        let known = naming.name.or(naming.prefix).unwrap_or_default();
        // A name that the API server makes of `prefix`, which is `known` and so many characters more.
        let generated = |prefix: &Text, more: usize| {
            let made =
                if naming.name.is_some() { more } else { more.saturating_add(RANDOM_LENGTH) };
            generated(prefix, known, known.len().saturating_add(made))
        };
        let mut labels = Vec::new();
        let mut variables = Vec::new();
        let hash = || SUFFIX_HASH.to_owned();
        let dashed = |text: &Text, more: &str| joined(text, &format!("-{more}"));
        // The name and, where the controller sets it, the hostname.
        let (name, given) = match kind {
            Kind::Pod => (own, None),
            Kind::Deployment => {
                labels.push(("pod-template-hash", hash()));
                let set = dashed(&own, SUFFIX_HASH);
                (generated(&dashed(&set, ""), HASH_LENGTH + 2), None)
            }
            Kind::ReplicaSet | Kind::ReplicationController => {
                (generated(&dashed(&own, ""), 1), None)
            }
            Kind::DaemonSet => {
                labels.push(("controller-revision-hash", hash()));
                labels.push(("pod-template-generation", NUMBER.to_owned()));
                (generated(&dashed(&own, ""), 1), None)
            }
            Kind::StatefulSet => {
                let name = dashed(&own, NUMBER);
                labels.push(("apps.kubernetes.io/pod-index", NUMBER.to_owned()));
                labels.push(("controller-revision-hash", HOSTNAME.to_owned()));
                labels.push(("statefulset.kubernetes.io/pod-name", name.to_pattern()));
                (name.clone(), Some(name))
            }
            Kind::Job | Kind::CronJob => {
                // A CronJob's Jobs carry the minute of their start.
                let (job, more) = match kind {
                    Kind::CronJob => (dashed(&own, NUMBER), MINUTE_LENGTH + 1),
                    _ => (own, 0),
                };
                for label in ["batch.kubernetes.io/job-name", "job-name"] {
                    labels.push((label, job.to_pattern()));
                }
                for label in ["batch.kubernetes.io/controller-uid", "controller-uid"] {
                    labels.push((label, UID.to_owned()));
                }
                if naming.indexed {
                    let label = "batch.kubernetes.io/job-completion-index";
                    labels.push((label, NUMBER.to_owned()));
                    variables.push(("JOB_COMPLETION_INDEX", NUMBER.to_owned()));
                    let name = dashed(&job, NUMBER);
                    (generated(&dashed(&name, ""), more + INDEX_LENGTH + 2), Some(name))
                } else {
                    (generated(&dashed(&job, ""), more + 1), None)
                }
            }
        };
        let hostname = match (naming.hostname_override, naming.hostname, given) {
            (Some(hostname), ..) | (None, Some(hostname), None) => Text::exact(hostname),
            (None, _, Some(given)) => shortened(given),
            (None, None, None) => shortened(name.clone()),
        };
        Self { name, hostname, labels, variables }
    }
}

/// A regular expression for exactly this text.
pub(crate) fn escape(text: &str) -> String {
    let special = |c: char| r"\.+*?()|[]{}^$".contains(c);
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if special(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// The text with a regular expression behind it.
fn joined(text: &Text, pattern: &str) -> Text {
    let tail_is_exact = escape(pattern) == pattern;
    match text {
        Text::Exact(text) if tail_is_exact => Text::Exact(format!("{text}{pattern}")),
        other => Text::Pattern(format!("{}{pattern}", other.to_pattern())),
    }
}

/// What the API server makes of a prefix: at most 58 characters of it, and five random ones. The
/// prefix begins with `known` and has at most `longest` characters.
fn generated(prefix: &Text, known: &str, longest: usize) -> Text {
    let cut = |text: &str| text.chars().take(MAX_PREFIX).collect::<String>();
    match prefix {
        Text::Exact(prefix) => Text::Pattern(format!("{}{RANDOM}", escape(&cut(prefix)))),
        // Cut somewhere in its unknown part.
        Text::Pattern(_) if longest > MAX_PREFIX => {
            Text::Pattern(format!("{}[a-z0-9.-]*{RANDOM}", escape(&cut(known))))
        }
        Text::Pattern(prefix) => Text::Pattern(format!("{prefix}{RANDOM}")),
    }
}

/// kubelet cuts hostnames to 63 characters.
fn shortened(name: Text) -> Text {
    match name {
        Text::Exact(name) => {
            let cut = name.get(..MAX_HOSTNAME).map(|cut| cut.trim_end_matches(['-', '.']));
            Text::Exact(cut.map_or(name.clone(), str::to_owned))
        }
        Text::Pattern(pattern) => Text::Pattern(pattern),
    }
}

/// Pattern of a DNS label.
pub(crate) const LABEL: &str = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?";
/// Pattern of a hostname.
pub(crate) const HOSTNAME: &str = "[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?";
/// Pattern of a uid.
pub(crate) const UID: &str = "[0-9a-f-]{36}";
/// Pattern of a number.
pub(crate) const NUMBER: &str = "[0-9]+";
/// What a Deployment puts behind its name for its ReplicaSets.
const SUFFIX_HASH: &str = "[a-z0-9]{1,10}";
/// What the API server puts behind a prefix.
const RANDOM: &str = "[a-z0-9]{5}";
/// Most characters of a prefix that the API server keeps.
const MAX_PREFIX: usize = 58;
/// Most characters of [`SUFFIX_HASH`].
const HASH_LENGTH: usize = 10;
/// Characters of [`RANDOM`].
const RANDOM_LENGTH: usize = 5;
/// Most characters of the minute in the name of a CronJob's Job, for the next thousand years.
const MINUTE_LENGTH: usize = 9;
/// Most characters of an index of a Job's pod.
const INDEX_LENGTH: usize = 10;
/// Longest hostname in bytes that kubelet gives.
const MAX_HOSTNAME: usize = 63;

#[cfg(test)]
mod tests {
    use casemate_policy::Pattern;

    use super::*;

    fn named(name: &str) -> Naming<'_> {
        Naming { name: Some(name), ..Naming::default() }
    }

    fn check(kind: Kind, name: &str, fits: &[&str], others: &[&str]) {
        let identity = Identity::of(kind, &named(name));
        let pattern = Pattern::new(&identity.name.to_pattern()).unwrap();
        for text in fits {
            assert!(pattern.matches(text), "{pattern} should match {text}");
        }
        for text in others {
            assert!(!pattern.matches(text), "{pattern} should not match {text}");
        }
    }

    #[test]
    fn controllers_name_their_pods() {
        check(Kind::Pod, "web.1", &["web.1"], &["webx1", "web.1-abcde"]);
        check(
            Kind::Deployment,
            "web",
            &["web-5d4f8c7b9d-x2x7q", "web-76bf-zzzzz"],
            &["web", "web-x2x7q", "webb-5d4f8c7b9d-x2x7q", "web-5d4f8c7b9d-x2x7q-"],
        );
        check(Kind::DaemonSet, "log", &["log-abcde"], &["log-abcd", "log-abcdef"]);
        check(Kind::ReplicaSet, "log", &["log-abcde"], &["log"]);
        check(Kind::StatefulSet, "db", &["db-0", "db-12"], &["db-", "db-x", "db"]);
        check(Kind::Job, "pi", &["pi-x8k2p"], &["pi"]);
        check(Kind::CronJob, "tick", &["tick-28112345-x8k2p"], &["tick-x8k2p"]);
    }

    #[test]
    fn long_names_are_cut_as_the_api_server_cuts_them() {
        let long = "a".repeat(60);
        check(Kind::ReplicaSet, &long, &[&format!("{}x8k2p", "a".repeat(58))], &[&long]);
        let deployment = "a".repeat(55);
        let set = format!("{deployment}-5d4f8c7b9d-");
        check(Kind::Deployment, &deployment, &[&format!("{}x8k2p", &set[..58])], &["b"]);
        let cron = "a".repeat(52);
        let job = format!("{cron}-28112345-");
        check(Kind::CronJob, &cron, &[&format!("{}x8k2p", &job[..58])], &["b"]);
    }

    #[test]
    fn hostnames_are_kubelets() {
        let exact = |naming: &Naming<'_>, kind| match Identity::of(kind, naming).hostname {
            Text::Exact(text) => text,
            Text::Pattern(pattern) => panic!("{pattern}"),
        };
        assert_eq!(exact(&named("p"), Kind::Pod), "p");
        let given = Naming { hostname: Some("web-0"), ..named("p") };
        assert_eq!(exact(&given, Kind::Pod), "web-0");
        assert_eq!(exact(&given, Kind::Deployment), "web-0");
        let over = Naming { hostname_override: Some("other"), ..given };
        assert_eq!(exact(&over, Kind::StatefulSet), "other");
        let long = format!("{}-x{}", "a".repeat(62), "b".repeat(10));
        assert_eq!(exact(&named(&long), Kind::Pod), "a".repeat(62));
        let set = Identity::of(Kind::StatefulSet, &named("db"));
        assert_eq!(set.hostname, Text::pattern("db-[0-9]+"));
        let indexed = Naming { indexed: true, ..named("pi") };
        let job = Identity::of(Kind::Job, &indexed);
        assert_eq!(job.hostname, Text::pattern("pi-[0-9]+"));
        assert_eq!(job.variables, [("JOB_COMPLETION_INDEX", "[0-9]+".to_owned())]);
    }
}
