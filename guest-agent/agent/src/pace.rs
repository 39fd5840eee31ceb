// SPDX-License-Identifier: Apache-2.0
//! How fast the guest answers what changes nothing: denials, failures and polls.
//!
//! A25: clients that ask in vain as fast as they can would have the guest's processors for themselves,
//! and an honest container's start would wait for its turn on them. So the answer to such a call waits
//! once there are more of them than any honest host sends. What is granted and changes something is
//! never held back, nor what the calls themselves do: a verdict and its record are there before the
//! wait, and nothing depends on the clock but the moment of the answer.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;
use casemate_agent_api::rpc::Call;
use casemate_agent_api::rpc::Outcome;
use casemate_agent_api::rpc::Witness;
use tokio::time::Instant;

use crate::audit::Audit;
use crate::audit::is_poll;

/// Puts each call on record, then says when it may be answered.
pub(crate) struct Answers {
    audit: Arc<Audit>,
    pace: Pace,
}

impl Answers {
    pub(crate) fn new(audit: Arc<Audit>) -> Self {
        Self { audit, pace: Pace::new(Instant::now()) }
    }
}

#[async_trait]
impl Witness for Answers {
    fn witness(&self, call: Call) {
        self.audit.witness(call);
    }

    async fn pace(&self, name: &str, outcome: &Outcome) {
        if *outcome != Outcome::Answered || is_poll(name) {
            self.pace.wait().await;
        }
    }
}

/// One turn every [`EVERY`]; turns that nobody took are kept, up to [`BURST`] of them.
struct Pace {
    /// When the turn comes that was given last.
    last: Mutex<Instant>,
}

impl Pace {
    fn new(now: Instant) -> Self {
        let kept = EVERY.saturating_mul(BURST);
        Self { last: Mutex::new(now.checked_sub(kept).unwrap_or(now)) }
    }

    async fn wait(&self) {
        let now = Instant::now();
        if let Some(turn) = self.turn(now).filter(|turn| *turn > now) {
            tokio::time::sleep_until(turn).await;
        }
    }

    /// The next turn; `None` when too many wait already.
    fn turn(&self, now: Instant) -> Option<Instant> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = now.checked_sub(EVERY.saturating_mul(BURST)).unwrap_or(now);
        let turn = last.checked_add(EVERY)?.max(oldest);
        if turn > now.checked_add(EVERY.saturating_mul(MAX_WAITING))? {
            return None;
        }
        *last = turn;
        Some(turn)
    }
}

/// Between two turns.
const EVERY: Duration = Duration::from_millis(4);
/// Most turns that are kept.
const BURST: u32 = 256;
/// Most answers that wait; the guest's memory is not the host's to fill with them.
const MAX_WAITING: u32 = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_one_at_a_time() {
        // A25.
        let now = Instant::now() + Duration::from_secs(60);
        let pace = Pace::new(now);
        for _ in 0..BURST {
            assert!(pace.turn(now).unwrap() <= now);
        }
        for waiting in 1..=MAX_WAITING {
            assert_eq!(pace.turn(now), Some(now + EVERY * waiting));
        }
        // The queue has an end, and gets shorter with time.
        assert_eq!(pace.turn(now), None);
        assert!(pace.turn(now + EVERY).is_some());
        assert_eq!(pace.turn(now + EVERY), None);
    }

    #[test]
    fn turns_are_not_kept_for_ever() {
        let begun = Instant::now();
        let pace = Pace::new(begun);
        let later = begun + Duration::from_secs(24 * 60 * 60);
        let free = (0..10 * BURST).filter(|_| pace.turn(later).is_some_and(|t| t <= later)).count();
        assert_eq!(free, usize::try_from(BURST).unwrap() + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_granted_does_not_wait() {
        let answers = Answers::new(Arc::new(Audit::unsealed()));
        let refused = Outcome::Refused(casemate_agent_api::ApiError::new(
            casemate_agent_api::Code::PolicyExec,
            "x",
        ));
        let took = async |name, outcome: &Outcome| {
            let begun = Instant::now();
            answers.pace(name, outcome).await;
            begun.elapsed()
        };
        for _ in 0..BURST {
            assert_eq!(took("ExecProcess", &refused).await, Duration::ZERO);
        }
        assert!(took("ExecProcess", &refused).await > Duration::ZERO);
        assert!(took("State", &Outcome::Answered).await > Duration::ZERO);
        for name in ["CreateContainer", "Start", "ExecProcess", "Signal", "Wait", "Delete"] {
            assert_eq!(took(name, &Outcome::Answered).await, Duration::ZERO);
        }
    }
}
