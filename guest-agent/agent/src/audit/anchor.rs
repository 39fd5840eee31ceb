// SPDX-License-Identifier: Apache-2.0
//! Carries the log's head to the broker again and again, so that a tail that the host cuts off shows.
//!
//! Nothing in the guest depends on it: an attestation that fails here is tried again later and changes
//! no phase. The times are those of a clock that the host owns: at worst heads come late, and the
//! owner sees that they do.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::sync::watch::error::RecvError;
use tokio::time::sleep;
use tokio::time::timeout;

use super::Audit;
use super::Mark;
use crate::backend::Attest;

/// Attests again as the log grows, for as long as the log lives. The first attestation has been.
pub(crate) async fn keep_anchored(mut log: watch::Receiver<Mark>, attest: Arc<dyn Attest>) {
    let mut anchored = Mark::default();
    let mut pause = PAUSE;
    // It ends with the log.
    while outgrown(&mut log, anchored).await.is_ok() {
        let now = *log.borrow();
        match attest.refresh().await {
            Ok(()) => (anchored, pause) = (now, PAUSE),
            Err(error) => {
                tracing::warn!(%error, "the head of the audit log is not attested; trying again");
                pause = (pause * 2).min(MAX_PAUSE);
            }
        }
        sleep(pause).await;
    }
}

/// Attests the head that the log ends with, if it comes in time: the record `last` is on its way.
pub(crate) async fn last_head(audit: &Audit, last: u64, attest: &dyn Attest) {
    let attested = async {
        audit.reached(last).await;
        let mut head = audit.head();
        for _ in 1..LAST_ROUNDS {
            attest.refresh().await?;
            // Calls that were on their way, waits for processes above all, are answered by now.
            if audit.head() == head {
                return Ok(());
            }
            head = audit.head();
        }
        attest.refresh().await
    };
    match timeout(LAST_HEAD, attested).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the last head of the audit log is not attested"),
        Err(_) => tracing::warn!("no time to attest the last head of the audit log"),
    }
}

/// Waits until a new head is worth an attestation: at once after a denial or many records, after a
/// while for any record. `anchored` is what the last attested head covers.
async fn outgrown(log: &mut watch::Receiver<Mark>, anchored: Mark) -> Result<(), RecvError> {
    log.wait_for(|mark| mark.next > anchored.next).await?;
    let urgent = log.wait_for(|mark| {
        mark.denied > anchored.denied || mark.next >= anchored.next.saturating_add(DISTANCE)
    });
    match timeout(PERIOD, urgent).await {
        Ok(reached) => reached.map(drop),
        Err(_) => Ok(()),
    }
}

/// Longest time that a record waits for an attestation: less than the 300 s of a broker's token.
const PERIOD: Duration = Duration::from_secs(240);
/// Records after which it does not wait.
const DISTANCE: u64 = 64;
/// Between two attestations, so that a host that has many requests denied does not keep guest and
/// broker busy.
const PAUSE: Duration = Duration::from_secs(30);
/// The same after failures: it doubles up to here.
const MAX_PAUSE: Duration = Duration::from_secs(900);
/// For the last attestation, before the guest powers off.
const LAST_HEAD: Duration = Duration::from_secs(3);
/// Attestations in that time, at most: a host that goes on asking gets no further ones.
const LAST_ROUNDS: u32 = 3;

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;

    use async_trait::async_trait;
    use casemate_agent_api::ApiError;
    use casemate_agent_api::Code;
    use casemate_agent_api::rpc::Call;
    use casemate_agent_api::rpc::Outcome;
    use casemate_agent_api::rpc::Witness as _;

    use super::*;

    #[derive(Default)]
    struct Broker {
        asked: AtomicUsize,
        is_away: AtomicBool,
    }

    #[async_trait]
    impl Attest for Broker {
        async fn attest(&self) -> Result<(), ApiError> {
            Ok(())
        }

        async fn refresh(&self) -> Result<(), ApiError> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            if self.is_away.load(Ordering::SeqCst) {
                return Err(ApiError::new(Code::BrokerUnreachable, "away"));
            }
            Ok(())
        }
    }

    struct Bench {
        audit: Arc<Audit>,
        broker: Arc<Broker>,
    }

    impl Bench {
        fn start() -> Self {
            let audit = Arc::new(Audit::unsealed());
            let broker = Arc::new(Broker::default());
            let attest: Arc<dyn Attest> = Arc::<Broker>::clone(&broker);
            let log = audit.growth();
            tokio::spawn(keep_anchored(log, attest));
            Self { audit, broker }
        }

        fn call(&self, outcome: Outcome) {
            self.audit.witness(Call { name: "Start".into(), names: Vec::new(), outcome });
        }

        fn deny(&self) {
            self.call(Outcome::Refused(ApiError::new(Code::PolicyArgv, "argv: no")));
        }

        /// Attestations after `seconds`.
        async fn after(&self, seconds: u64) -> usize {
            sleep(Duration::from_secs(seconds)).await;
            self.broker.asked.load(Ordering::SeqCst)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_log_is_not_attested_again() {
        let bench = Bench::start();
        assert_eq!(bench.after(100_000).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn any_record_is_attested_within_the_period() {
        let bench = Bench::start();
        bench.call(Outcome::Answered);
        assert_eq!(bench.after(239).await, 0);
        assert_eq!(bench.after(2).await, 1);
        assert_eq!(bench.after(100_000).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn many_records_are_attested_at_once() {
        let bench = Bench::start();
        (0..DISTANCE - 1).for_each(|_| bench.call(Outcome::Answered));
        assert_eq!(bench.after(1).await, 0);
        bench.call(Outcome::Answered);
        assert_eq!(bench.after(1).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_denial_is_attested_at_once_and_a_flood_is_not() {
        let bench = Bench::start();
        bench.deny();
        assert_eq!(bench.after(1).await, 1);
        // A25: one attestation in the pause, whatever the host has denied.
        for _ in 0..20 {
            (0..1000).for_each(|_| bench.deny());
            sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(bench.after(1).await, 1);
        assert_eq!(bench.after(10).await, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_is_away_is_asked_less_and_less() {
        let bench = Bench::start();
        bench.broker.is_away.store(true, Ordering::SeqCst);
        bench.deny();
        let failed = bench.after(86_400).await;
        assert!((90..110).contains(&failed), "{failed}");
        // And again when it is back.
        bench.broker.is_away.store(false, Ordering::SeqCst);
        assert_eq!(bench.after(1000).await, failed + 1);
        assert_eq!(bench.after(10_000).await, failed + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_task_ends_with_its_log() {
        let audit = Audit::unsealed();
        let attest: Arc<dyn Attest> = Arc::new(Broker::default());
        let task = tokio::spawn(keep_anchored(audit.growth(), attest));
        sleep(Duration::from_secs(1000)).await;
        assert!(!task.is_finished());
        drop(audit);
        task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_head_waits_for_its_record_and_not_for_ever() {
        let bench = Bench::start();
        last_head(&bench.audit, 0, &*bench.broker).await;
        assert_eq!(bench.after(0).await, 0);
        bench.call(Outcome::Answered);
        last_head(&bench.audit, 0, &*bench.broker).await;
        assert_eq!(bench.after(0).await, 1);
    }

    /// A broker during whose attestations records are made.
    struct Busy {
        audit: Arc<Audit>,
        records: AtomicUsize,
        asked: AtomicUsize,
        attested: std::sync::Mutex<u64>,
    }

    #[async_trait]
    impl Attest for Busy {
        async fn attest(&self) -> Result<(), ApiError> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            *self.attested.lock().unwrap() = self.audit.head().sequence;
            if self.records.load(Ordering::SeqCst) > 0 {
                self.records.fetch_sub(1, Ordering::SeqCst);
                let outcome = Outcome::Answered;
                self.audit.witness(Call { name: "Wait".into(), names: Vec::new(), outcome });
            }
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_head_covers_what_came_meanwhile_and_a_busy_host_gets_no_more_of_them() {
        for (records, asked, attested) in [(0, 1, 1), (1, 2, 2), (1000, 3, 3)] {
            let audit = Arc::new(Audit::unsealed());
            let outcome = Outcome::Answered;
            audit.witness(Call { name: "Shutdown".into(), names: Vec::new(), outcome });
            let busy = Busy {
                audit: Arc::clone(&audit),
                records: AtomicUsize::new(records),
                asked: AtomicUsize::new(0),
                attested: std::sync::Mutex::default(),
            };
            last_head(&audit, 0, &busy).await;
            assert_eq!(busy.asked.load(Ordering::SeqCst), asked);
            assert_eq!(*busy.attested.lock().unwrap(), attested);
        }
    }
}
