// SPDX-License-Identifier: Apache-2.0
//! What is kept on disk about a snapshot.

use std::collections::HashMap;
use std::time::SystemTime;

use containerd_snapshots::Info;
use serde::Deserialize;
use serde::Serialize;

/// Label under which containerd asks for the snapshot of a chain.
pub(crate) const REF_LABEL: &str = "containerd.io/snapshot.ref";

/// A snapshot's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// Directory number, never used twice.
    pub(crate) id: u64,
    /// Key of an active snapshot or view, name of a committed one.
    pub(crate) name: String,
    /// Name of the parent, empty for none.
    pub(crate) parent: String,
    /// What it is.
    pub(crate) kind: Kind,
    /// Whether a stub stands for an encrypted layer.
    pub(crate) stub: bool,
    /// Labels that containerd set.
    pub(crate) labels: HashMap<String, String>,
    /// When it was made.
    pub(crate) created: SystemTime,
    /// When it was changed last.
    pub(crate) updated: SystemTime,
}

/// What a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Written to at present.
    Active,
    /// Read-only use of a committed one.
    View,
    /// Finished.
    Committed,
}

impl Record {
    /// The chain ID that containerd asked for, if it did.
    pub(crate) fn chain(&self) -> Option<&str> {
        self.labels.get(REF_LABEL).map(String::as_str)
    }

    /// The containerd namespace, first part of the keys that containerd's metadata store makes.
    pub(crate) fn namespace(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }
}

impl From<&Record> for Info {
    fn from(record: &Record) -> Self {
        Self {
            kind: match record.kind {
                Kind::Active => containerd_snapshots::Kind::Active,
                Kind::View => containerd_snapshots::Kind::View,
                Kind::Committed => containerd_snapshots::Kind::Committed,
            },
            name: record.name.clone(),
            parent: record.parent.clone(),
            labels: record.labels.clone(),
            created_at: record.created,
            updated_at: record.updated,
        }
    }
}
