// SPDX-License-Identifier: Apache-2.0
//! What the host asked for and what it was told: one record for each request, made here and nowhere
//! else.
//!
//! Requests that change nothing and are allowed (polls) come every few seconds for as long as the pod
//! lives. The first of each kind is a record; of equal ones after it, each [`FOLD`] are one. What is
//! refused is a record each time.

mod anchor;

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use casemate_agent_api::ApiError;
use casemate_agent_api::Code;
use casemate_agent_api::proto;
use casemate_agent_api::request::ProcessId;
use casemate_agent_api::rpc::Call;
use casemate_agent_api::rpc::Outcome;
use casemate_agent_api::rpc::Witness;
use casemate_audit::Head;
use casemate_audit::Log;
use casemate_audit::OwnerPublicKey;
use casemate_audit::Record;
use casemate_audit::Text;
use casemate_audit::Verdict;
use tokio::sync::watch;

use crate::timeline::boottime_us;

pub(crate) use anchor::keep_anchored;
pub(crate) use anchor::last_head;

/// The audit log of this boot.
#[derive(Debug)]
pub struct Audit {
    inner: Mutex<Inner>,
    mark: watch::Sender<Mark>,
}

#[derive(Debug)]
struct Inner {
    log: Log,
    /// Polls that were answered since they were last a record.
    polls: HashMap<(String, Vec<(String, String)>), u32>,
}

/// How far the log is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Records.
    next: u64,
    /// Records of requests that were denied.
    denied: u64,
}

impl Audit {
    /// An empty log, sealed to `owner`.
    ///
    /// # Errors
    ///
    /// [`Code::Internal`] when the system gives no randomness.
    pub fn sealed(owner: &OwnerPublicKey) -> Result<Self, ApiError> {
        let log = Log::sealed(owner).map_err(|error| ApiError::new(Code::Internal, error))?;
        Ok(Self::begin(log))
    }

    /// An empty log without an owner: a chain of hashes.
    #[must_use]
    pub fn unsealed() -> Self {
        Self::begin(Log::unsealed())
    }

    fn begin(log: Log) -> Self {
        let inner = Inner { log, polls: HashMap::new() };
        Self { inner: Mutex::new(inner), mark: watch::Sender::new(Mark::default()) }
    }

    /// The head as it is now.
    #[must_use]
    pub fn head(&self) -> Head {
        self.lock().log.head()
    }

    /// Whether an owner can read the log.
    pub(crate) fn is_sealed(&self) -> bool {
        self.lock().log.is_sealed()
    }

    /// Tells of each record.
    pub(crate) fn growth(&self) -> watch::Receiver<Mark> {
        self.mark.subscribe()
    }

    /// Waits for the record `sequence`.
    pub(crate) async fn reached(&self, sequence: u64) {
        // The sender lives in `self`.
        let _ = self.growth().wait_for(|mark| mark.next > sequence).await;
    }

    /// Frames for the host to keep: those from `from` on, as soon as there is one.
    pub(crate) async fn read(
        &self,
        request: &proto::ReadAuditRequest,
        patience: Duration,
    ) -> proto::ReadAuditReply {
        let from = request.from_sequence;
        let _ = tokio::time::timeout(patience, self.reached(from)).await;
        let max = match usize::try_from(request.max) {
            Ok(0) | Err(_) => MAX_REPLY_RECORDS,
            Ok(max) => max.min(MAX_REPLY_RECORDS),
        };
        let inner = self.lock();
        let mut bytes = 0_usize;
        let records = inner.log.frames_from(from).take(max).take_while(|frame| {
            bytes = bytes.saturating_add(frame.len());
            bytes <= MAX_REPLY_BYTES
        });
        proto::ReadAuditReply {
            boot: inner.log.boot_frame().to_vec(),
            first_sequence: from.max(inner.log.first_kept()),
            records: records.map(<[u8]>::to_vec).collect(),
            ..Default::default()
        }
    }

    /// The host opened a stream that it does not get (A16).
    pub(crate) fn refused_stream(&self, stream: &str, process: &ProcessId, error: ApiError) {
        let mut names = vec![("container_id".to_owned(), process.container().to_string())];
        names.extend(process.exec().map(|exec| ("exec_id".to_owned(), exec.to_string())));
        let name = format!("stream:{stream}");
        self.witness(Call { name, names, outcome: Outcome::Refused(error) });
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // An append is one step.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Witness for Audit {
    fn witness(&self, call: Call) {
        let mut inner = self.lock();
        let times = match inner.fold(&call) {
            Some(times) => times,
            None => return,
        };
        if call.name == SHUTDOWN {
            inner.unfold();
        }
        let mut record = record(call);
        record.times = times;
        inner.append(&record);
        let next = inner.log.head().sequence;
        drop(inner);
        self.mark.send_modify(|mark| {
            // Another call may have been quicker.
            mark.next = mark.next.max(next);
            mark.denied = mark.denied.saturating_add(u64::from(record.verdict == Verdict::Denied));
        });
    }
}

impl Inner {
    /// For how many equal calls a record is due now.
    fn fold(&mut self, call: &Call) -> Option<NonZeroU32> {
        let is_poll = call.outcome == Outcome::Answered && is_poll(&call.name);
        if !is_poll {
            return Some(NonZeroU32::MIN);
        }
        let key = (call.name.clone(), call.names.clone());
        match self.polls.get_mut(&key) {
            Some(count) => {
                *count = count.saturating_add(1);
                if *count < FOLD {
                    return None;
                }
                NonZeroU32::new(std::mem::take(count))
            }
            None => {
                // A25: ids of the host's invention do not fill the guest's memory.
                if self.polls.len() < MAX_POLLS {
                    self.polls.insert(key, 0);
                }
                Some(NonZeroU32::MIN)
            }
        }
    }

    /// Records every poll that is not a record yet. Those that come later are folded as before: to read
    /// the end of the log adds nothing to it.
    fn unfold(&mut self) {
        let mut due = Vec::new();
        for ((name, names), count) in &mut self.polls {
            if let Some(times) = NonZeroU32::new(std::mem::take(count)) {
                due.push((
                    Call { name: name.clone(), names: names.clone(), outcome: Outcome::Answered },
                    times,
                ));
            }
        }
        for (call, times) in due {
            let mut record = record(call);
            record.times = times;
            self.append(&record);
        }
    }

    fn append(&mut self, record: &Record) {
        if let Err(error) = self.log.append(record) {
            tracing::error!(%error, "a request is not in the audit log");
        }
    }
}

fn record(call: Call) -> Record {
    let (verdict, error) = match call.outcome {
        Outcome::Answered => (Verdict::Allowed, None),
        Outcome::Abandoned => (Verdict::Abandoned, None),
        Outcome::Refused(error) if is_denial(error.code()) => (Verdict::Denied, Some(error)),
        Outcome::Refused(error) => (Verdict::Failed, Some(error)),
    };
    let mut record = Record::new(&call.name, verdict, boottime_us());
    for (field, value) in &call.names {
        record = record.with_name(field, value);
    }
    if let Some(error) = error {
        record.field = field_of(&error).map(Text::new);
        record.code = Some(Text::new(error.code().as_str()));
        record.text = Some(Text::new(error.detail()));
    }
    record
}

/// Whether a rule forbade the request; otherwise it was allowed and failed.
fn is_denial(code: Code) -> bool {
    code.as_str().starts_with("policy.")
        || matches!(
            code,
            Code::RequestInvalid
                | Code::RequestPhase
                | Code::RequestId
                | Code::NetworkRefused
                | Code::GuestPoisoned
        )
}

/// The field at which a request was denied: the text of a denial begins with it.
fn field_of(error: &ApiError) -> Option<&str> {
    if !is_denial(error.code()) || error.code() == Code::RequestPhase {
        return None;
    }
    let (field, _) = error.detail().split_once(": ")?;
    let is_path = |b: u8| b.is_ascii_alphanumeric() || b"_.-[]".contains(&b);
    (!field.is_empty() && field.bytes().all(is_path)).then_some(field)
}

/// Whether the call changes nothing and is repeated without end.
pub(crate) fn is_poll(call: &str) -> bool {
    POLLS.contains(&call)
}

/// Allowed calls that change nothing and are repeated without end.
const POLLS: &[&str] = &["Hello", "AwaitReady", "NextEvent", "ReadAudit", "State", "Pids", "Stats"];
const SHUTDOWN: &str = "Shutdown";
/// Equal polls that are one record.
const FOLD: u32 = 256;
/// Kinds of polls that are told apart; further ones are records each time.
const MAX_POLLS: usize = 256;
/// Most records in one answer.
const MAX_REPLY_RECORDS: usize = 1024;
/// Most bytes of records in one answer, far below what a frame of ttrpc carries.
const MAX_REPLY_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests;
