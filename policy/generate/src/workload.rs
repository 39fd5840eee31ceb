// SPDX-License-Identifier: Apache-2.0
//! The kinds of Kubernetes objects that run pods, and where each keeps its pod template.

use crate::edit::Step;
use crate::error::GenerateError;
use crate::error::Warning;
use crate::reader::Reader;

/// A kind of object that runs pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// `batch/v1`.
    CronJob,
    /// `apps/v1`.
    DaemonSet,
    /// `apps/v1`.
    Deployment,
    /// `batch/v1`.
    Job,
    /// `v1`.
    Pod,
    /// `apps/v1`.
    ReplicaSet,
    /// `v1`.
    ReplicationController,
    /// `apps/v1`.
    StatefulSet,
}

/// What a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It runs pods.
    Runs(Kind),
    /// It holds configuration for pods.
    ConfigMap,
    /// It runs nothing and passes through.
    Other,
    /// It runs pods in a way that is not read here.
    Unreadable,
}

impl Kind {
    /// The kind as it stands in the YAML.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CronJob => "CronJob",
            Self::DaemonSet => "DaemonSet",
            Self::Deployment => "Deployment",
            Self::Job => "Job",
            Self::Pod => "Pod",
            Self::ReplicaSet => "ReplicaSet",
            Self::ReplicationController => "ReplicationController",
            Self::StatefulSet => "StatefulSet",
        }
    }

    /// The way from the object to its pod template; none for a pod, which is its own.
    pub(crate) fn template(self) -> &'static [&'static str] {
        match self {
            Self::Pod => &[],
            Self::CronJob => &["spec", "jobTemplate", "spec", "template"],
            _ => &["spec", "template"],
        }
    }

    /// The same way as steps of an edit.
    pub(crate) fn steps(self) -> impl Iterator<Item = Step> {
        self.template().iter().map(|key| Step::Key(key))
    }

    fn api_version(self) -> &'static str {
        match self {
            Self::CronJob | Self::Job => "batch/v1",
            Self::DaemonSet | Self::Deployment | Self::ReplicaSet | Self::StatefulSet => "apps/v1",
            Self::Pod | Self::ReplicationController => "v1",
        }
    }

    /// The fields beside the template at the level `depth` of the way, which change when and how many
    /// pods run, never what runs in one.
    fn inert(self, depth: usize) -> &'static [&'static str] {
        match (self, depth) {
            (Self::CronJob, 1) => &[
                "concurrencyPolicy",
                "failedJobsHistoryLimit",
                "schedule",
                "startingDeadlineSeconds",
                "successfulJobsHistoryLimit",
                "suspend",
                "timeZone",
            ],
            (Self::CronJob, 2) => &["metadata"],
            (Self::Job, 1) | (Self::CronJob, 3) => &[
                "activeDeadlineSeconds",
                "backoffLimit",
                "backoffLimitPerIndex",
                "completions",
                "managedBy",
                "manualSelector",
                "maxFailedIndexes",
                "parallelism",
                "podFailurePolicy",
                "podReplacementPolicy",
                "selector",
                "successPolicy",
                "suspend",
                "ttlSecondsAfterFinished",
            ],
            (Self::DaemonSet | Self::Deployment | Self::ReplicaSet, 1)
            | (Self::ReplicationController | Self::StatefulSet, 1) => &[
                "minReadySeconds",
                "ordinals",
                "paused",
                "persistentVolumeClaimRetentionPolicy",
                "podManagementPolicy",
                "progressDeadlineSeconds",
                "replicas",
                "revisionHistoryLimit",
                "selector",
                "serviceName",
                "strategy",
                "updateStrategy",
                // Its volumes are refused where a container mounts one.
                "volumeClaimTemplates",
            ],
            _ => &[],
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Says what a document is by its `apiVersion` and `kind`.
pub(crate) fn role(api_version: &str, kind: &str) -> Role {
    if (api_version, kind) == ("v1", "ConfigMap") {
        return Role::ConfigMap;
    }
    if kind == "PodTemplate" {
        return Role::Unreadable;
    }
    match KINDS.iter().find(|known| known.as_str() == kind) {
        Some(known) if known.api_version() == api_version => Role::Runs(*known),
        // An old version of the API, which no cluster serves any more.
        Some(_) if GROUPS.iter().any(|group| api_version.starts_with(group)) => Role::Unreadable,
        _ => Role::Other,
    }
}

/// Reads the fields around the template and gives the template itself, and whether a Job counts its
/// pods (`completionMode: Indexed`). Kind and metadata of the object are read before.
pub(crate) fn enter<'a>(
    mut reader: Reader<'a>,
    kind: Kind,
    warnings: &mut Vec<Warning>,
) -> Result<(Reader<'a>, bool), GenerateError> {
    let mut indexed = false;
    for (depth, key) in kind.template().iter().enumerate() {
        let inner = reader.required_object(key)?;
        leave(reader, kind, depth, &mut indexed, warnings)?;
        reader = inner;
    }
    Ok((reader, indexed))
}

fn leave(
    mut reader: Reader<'_>,
    kind: Kind,
    depth: usize,
    indexed: &mut bool,
    warnings: &mut Vec<Warning>,
) -> Result<(), GenerateError> {
    if matches!((kind, depth), (Kind::Job, 1) | (Kind::CronJob, 3)) {
        *indexed = reader.choice("completionMode", &["NonIndexed", "Indexed"])? == Some("Indexed");
    }
    reader.ignore(kind.inert(depth));
    reader.finish(warnings)
}

const KINDS: &[Kind] = &[
    Kind::CronJob,
    Kind::DaemonSet,
    Kind::Deployment,
    Kind::Job,
    Kind::Pod,
    Kind::ReplicaSet,
    Kind::ReplicationController,
    Kind::StatefulSet,
];

/// Groups whose kinds of these names are Kubernetes' own.
const GROUPS: &[&str] = &["apps/", "batch/", "extensions/", "v1", "v2"];
