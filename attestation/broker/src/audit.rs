// SPDX-License-Identifier: Apache-2.0
//! The audit log: one JSON object per line and attempt, never a resource's value.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use casemate_kbs_protocol::AuditHead;
use casemate_verifier::Line;
use casemate_verifier::Measurement;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::BrokerError;

/// The log file, opened for appending.
#[derive(Clone)]
pub(crate) struct Audit(Arc<Mutex<File>>);

/// One attempt.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Entry {
    /// RFC 3339, UTC.
    pub(crate) time: String,
    pub(crate) event: Event,
    pub(crate) outcome: Outcome,
    /// Who connected.
    pub(crate) peer: IpAddr,
    /// Why it was refused, with its code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// `amd:…` or `simulated:…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) root: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) measurement: Option<Measurement>,
    /// HOST_DATA or MRCONFIGID, the initdata's digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host_data: Option<String>,
    /// Id of the token, the same in an attestation and what is fetched with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resource: Option<String>,
    /// Head of the guest's own audit log at this attestation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) audit_head: Option<AuditHead>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) verdict: Vec<Line>,
    /// When a grace of the rules is over without which the guest would be refused, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) grace_until: Option<String>,
    /// The report that was judged, hexadecimal, so that anybody can judge it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) report: Option<String>,
    /// The quote that was judged, in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) quote: Option<String>,
    /// The certificate of the key that signed the report, DER in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) vcek: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Event {
    Attest,
    Resource,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    Accepted,
    Refused,
    Released,
    Denied,
}

impl Entry {
    pub(crate) fn new(event: Event, outcome: Outcome, peer: IpAddr, now: u64) -> Self {
        Self {
            time: timestamp(now),
            event,
            outcome,
            peer,
            reason: None,
            root: None,
            measurement: None,
            host_data: None,
            token: None,
            resource: None,
            audit_head: None,
            verdict: Vec::new(),
            grace_until: None,
            report: None,
            quote: None,
            vcek: None,
        }
    }
}

impl Audit {
    pub(crate) fn open(path: &Path) -> Result<Self, BrokerError> {
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .map(|file| Self(Arc::new(Mutex::new(file))))
            .map_err(BrokerError::file("open", path))
    }

    /// Appends an entry. What it records must not happen when this fails.
    pub(crate) async fn record(&self, entry: Entry) -> Result<(), BrokerError> {
        let log = Arc::clone(&self.0);
        let written = tokio::task::spawn_blocking(move || -> io::Result<()> {
            let mut line = serde_json::to_vec(&entry)?;
            line.push(b'\n');
            // A panic while writing can leave half a line, never a wrong one.
            log.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)
        });
        written
            .await
            .map_err(|_| BrokerError::Task)?
            .map_err(BrokerError::file("write", crate::setup::AUDIT_FILE))
    }
}

pub(crate) fn timestamp(now: u64) -> String {
    i64::try_from(now)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| now.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(timestamp(1_795_000_000), "2026-11-18T11:06:40Z");
        assert_eq!(timestamp(u64::MAX), u64::MAX.to_string());
    }

    #[tokio::test]
    async fn entries_are_appended_as_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        for _ in 0..2 {
            let audit = Audit::open(&path).unwrap();
            let peer = IpAddr::from([127, 0, 0, 1]);
            let mut entry = Entry::new(Event::Resource, Outcome::Denied, peer, 0);
            entry.resource = Some("a/b/c\n".into());
            audit.record(entry).await.unwrap();
        }
        let text = std::fs::read_to_string(path).unwrap();
        let line = r#"{"time":"1970-01-01T00:00:00Z","event":"resource","outcome":"denied","peer":"127.0.0.1","resource":"a/b/c\n"}"#;
        assert_eq!(text, format!("{line}\n{line}\n"));
    }
}
