// SPDX-License-Identifier: Apache-2.0
//! The status file of a sandbox: what an operator, or a demonstration, can see of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

use casemate_agent_api::ApiError;
use casemate_agent_api::proto;
use serde::Serialize;

use crate::state::write_atomically;

/// The content of `status.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The sandbox's id.
    pub sandbox: String,
    /// How far it has come.
    pub phase: Phase,
    /// This shim's process id.
    pub shim_pid: u32,
    /// The VMM's process id, once it runs.
    pub vmm_pid: Option<u32>,
    /// Resident memory of the agent in KiB after the newest create: the guest's word.
    pub agent_rss_kib: Option<u64>,
    /// Launch digest in hexadecimal, where the host knows it.
    pub launch_digest: Option<String>,
    /// Digest of the initdata that the launch bound, in hexadecimal.
    pub host_data: Option<String>,
    /// Whether the VM's memory is kept from this host: not under the software TEE. `true` is this
    /// host's word; owners ask a verifier.
    pub confidential: Option<bool>,
    /// Whether the guest takes ACPI code from this host (BadAML): with several vCPUs it does,
    /// and on TDX always.
    pub acpi_from_host: Option<bool>,
    /// Why the sandbox failed.
    pub failure: Option<Failure>,
    /// Milliseconds from containerd's create request, by the host's clock: `vm_start`, `kernel`,
    /// `agent_ready`, `attested`, `pulled:<container>`, `first_output:<container>`.
    pub timeline_ms: BTreeMap<String, u64>,
}

/// How far a sandbox has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The VM is being launched.
    #[default]
    Launching,
    /// The guest boots.
    Booting,
    /// The guest is attested.
    Attested,
    /// It failed; see `failure`.
    Failed,
    /// The VM has ended.
    Stopped,
}

/// Why a sandbox failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Stable code.
    pub code: &'static str,
    /// One line.
    pub message: String,
}

/// The status file, written anew at every change.
#[derive(Debug)]
pub struct StatusFile {
    path: PathBuf,
    begin: Instant,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    status: Status,
    /// When the guest's kernel started, in milliseconds of the timeline.
    kernel_ms: Option<u64>,
    closed: bool,
}

impl StatusFile {
    /// Starts the timeline now.
    #[must_use]
    pub fn new(path: PathBuf, sandbox: &str) -> Self {
        let shim_pid = std::process::id();
        let status = Status { sandbox: sandbox.to_owned(), shim_pid, ..Status::default() };
        let inner = Mutex::new(Inner { status, ..Inner::default() });
        Self { path, begin: Instant::now(), inner }
    }

    /// Changes the status and writes the file. A file that cannot be written is logged: nothing
    /// depends on it.
    pub fn update(&self, change: impl FnOnce(&mut Status)) {
        self.change(|inner| change(&mut inner.status));
    }

    /// What the file says now.
    #[must_use]
    pub fn current(&self) -> Status {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).status.clone()
    }

    /// Notes a step of the host at this moment; the first time counts.
    pub fn mark(&self, step: &str) {
        let now = self.elapsed_ms();
        self.change(|inner| {
            inner.status.timeline_ms.entry(step.to_owned()).or_insert(now);
        });
    }

    /// Notes the steps that the guest tells in its answer of this moment. Its clock starts with its
    /// kernel; the newest step of the first answer is taken for the present.
    ///
    /// # Security
    ///
    /// Steps that this version does not know are dropped, so that the guest cannot fill the file
    /// (E19); the times are the guest's word.
    pub fn mark_guest(&self, marks: &[proto::Mark]) {
        let now = self.elapsed_ms();
        self.change(|inner| {
            let newest = marks.iter().map(|mark| mark.boottime_us / 1000).max();
            let Some(newest) = newest else { return };
            let timeline = &mut inner.status.timeline_ms;
            // The guest's clock may run fast; its kernel did not start before the VM.
            let earliest = timeline.get("vm_start").copied().unwrap_or_default();
            let start = now.saturating_sub(newest).max(earliest);
            let kernel = *inner.kernel_ms.get_or_insert(start);
            timeline.entry("kernel".to_owned()).or_insert(kernel);
            for mark in marks.iter().take(MAX_MARKS) {
                let Some(step) = known_step(&mark.step) else { continue };
                let at = kernel.saturating_add(mark.boottime_us / 1000).min(now);
                timeline.entry(step.to_owned()).or_insert(at);
            }
        });
    }

    /// Notes a failure; the first one counts.
    pub fn fail(&self, error: &ApiError) {
        self.update(|status| {
            status.phase = Phase::Failed;
            let failure =
                Failure { code: error.code().as_str(), message: error.detail().to_owned() };
            status.failure.get_or_insert(failure);
        });
    }

    /// Writes no more: the folder is about to be removed.
    pub fn close(&self) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let before = inner.status.clone();
        change(&mut inner);
        if inner.closed || (inner.status == before && self.path.exists()) {
            return;
        }
        let result = serde_json::to_vec_pretty(&inner.status)
            .map_err(std::io::Error::from)
            .and_then(|bytes| write_atomically(&self.path, &bytes));
        if let Err(error) = result {
            tracing::warn!(%error, path = %self.path.display(), "status file not written");
        }
    }
}

/// The name of a guest's step in the timeline, for those that belong there.
fn known_step(step: &str) -> Option<&str> {
    match step {
        // The agent answers from here on.
        "bound" => Some("agent_ready"),
        "attested" => Some(step),
        _ => {
            let name = step.strip_prefix("pulled:")?;
            casemate_sandbox::Id::new(name).is_ok().then_some(step)
        }
    }
}

/// Most steps of a guest that are looked at: a few for the boot, one for each container.
const MAX_MARKS: usize = 64;

#[cfg(test)]
mod tests {
    use casemate_agent_api::Code;

    use super::*;

    fn mark(step: &str, boottime_us: u64) -> proto::Mark {
        proto::Mark { step: step.to_owned(), boottime_us, ..Default::default() }
    }

    fn file() -> (tempfile::TempDir, StatusFile) {
        let folder = tempfile::tempdir().unwrap();
        let file = StatusFile::new(folder.path().join("status.json"), "pod-1");
        (folder, file)
    }

    fn read(file: &StatusFile) -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(&file.path).unwrap()).unwrap()
    }

    #[test]
    fn the_file_follows_every_change() {
        let (_folder, file) = file();
        file.update(|status| status.vmm_pid = Some(42));
        file.mark("vm_start");
        assert_eq!(read(&file)["vmm_pid"], 42);
        assert_eq!(read(&file)["phase"], "launching");
        let first = read(&file)["timeline_ms"]["vm_start"].clone();
        file.mark("vm_start");
        assert_eq!(read(&file)["timeline_ms"]["vm_start"], first);
        file.fail(&ApiError::new(Code::AttestRefused, "the broker says no"));
        file.fail(&ApiError::new(Code::VmDied, "later"));
        assert_eq!(read(&file)["failure"]["code"], "attest.refused");
        assert_eq!(read(&file)["phase"], "failed");
        file.close();
        file.update(|status| status.vmm_pid = None);
        assert_eq!(read(&file)["vmm_pid"], 42);
    }

    #[test]
    fn steps_of_the_guest_are_placed_and_bounded() {
        let (_folder, file) = file();
        let evil = "x".repeat(10_000);
        let mut marks = vec![
            mark("agent_start", 0),
            mark("bound", 0),
            mark("pulled:web", u64::MAX),
            mark("pulled:../etc", 0),
            mark(&evil, 0),
            mark("vm_start", 0),
        ];
        marks.extend((0..1000).map(|n| mark(&format!("pulled:c{n}"), 0)));
        file.mark_guest(&marks);
        let json = read(&file);
        let timeline = json["timeline_ms"].as_object().unwrap();
        assert!(timeline.contains_key("kernel") && timeline.contains_key("agent_ready"));
        // E19: neither unknown steps nor the host's own, nor a future.
        assert!(!timeline.contains_key("vm_start") && !timeline.contains_key("pulled:../etc"));
        assert!(timeline["pulled:web"].as_u64().unwrap() < 60_000);
        assert!(timeline.len() <= MAX_MARKS + 1);
    }

    #[test]
    fn the_kernel_does_not_start_before_the_vm() {
        let (_folder, file) = file();
        std::thread::sleep(std::time::Duration::from_millis(2));
        file.mark("vm_start");
        file.mark_guest(&[mark("agent_start", 3_600_000_000)]);
        let timeline = &read(&file)["timeline_ms"];
        assert!(timeline["vm_start"].as_u64() >= Some(1));
        assert!(timeline["kernel"].as_u64() >= timeline["vm_start"].as_u64());
    }
}
