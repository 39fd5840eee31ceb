// SPDX-License-Identifier: Apache-2.0
//! The one queue through which every change of the pod goes.

use std::pin::Pin;

use casemate_agent_api::ApiError;
use casemate_agent_api::Code;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs jobs one after the other, each to its end.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    jobs: mpsc::Sender<Job>,
}

impl Queue {
    /// Starts the queue on the current tokio runtime; it ends with its last clone.
    pub(crate) fn start() -> Self {
        let (jobs, mut incoming) = mpsc::channel::<Job>(MAX_WAITING);
        tokio::spawn(async move {
            while let Some(job) = incoming.recv().await {
                // A task of its own, so that a job that panics ends alone.
                if tokio::spawn(job).await.is_err() {
                    tracing::error!("a request was aborted");
                }
            }
        });
        Self { jobs }
    }

    /// Runs `job` after those before it. A caller that goes away does not stop it (A22: no change
    /// is left half done).
    ///
    /// # Errors
    ///
    /// When the queue is full or the job is aborted.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl Future<Output = Result<T, ApiError>> + Send + 'static,
    ) -> Result<T, ApiError> {
        let (sender, receiver) = oneshot::channel();
        let job = Box::pin(async move {
            // The caller may have gone.
            drop(sender.send(job.await));
        });
        // A25: a host that asks faster than the guest works is told so.
        self.jobs
            .try_send(job)
            .map_err(|_| ApiError::new(Code::Internal, "too many requests wait"))?;
        receiver.await.map_err(|_| ApiError::new(Code::Internal, "the request was aborted"))?
    }
}

/// Jobs that wait.
const MAX_WAITING: usize = 256;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;

    use super::*;

    #[tokio::test]
    async fn jobs_never_overlap() {
        // A23.
        let queue = Queue::start();
        let inside = Arc::new(AtomicUsize::new(0));
        let callers: Vec<_> = (0..64)
            .map(|_| {
                let (queue, inside) = (queue.clone(), inside.clone());
                tokio::spawn(async move {
                    queue
                        .run(async move {
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                            tokio::task::yield_now().await;
                            inside.fetch_sub(1, Ordering::SeqCst);
                            Ok(())
                        })
                        .await
                })
            })
            .collect();
        for caller in callers {
            caller.await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn a_job_goes_on_when_its_caller_leaves() {
        // A22.
        let queue = Queue::start();
        let done = Arc::new(AtomicUsize::new(0));
        let counter = done.clone();
        let job = queue.run(async move {
            tokio::task::yield_now().await;
            counter.fetch_add(1, Ordering::SeqCst);
            Ok(())
        });
        // Polled once, so that the job waits in the queue; then dropped.
        assert!(futures_util::FutureExt::now_or_never(job).is_none());
        queue.run(async { Ok(()) }).await.unwrap();
        assert_eq!(done.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn an_aborted_job_does_not_end_the_queue() {
        let queue = Queue::start();
        let aborted: Result<(), _> = queue.run(async { panic!("on purpose") }).await;
        assert_eq!(aborted.unwrap_err().code(), Code::Internal);
        queue.run(async { Ok(()) }).await.unwrap();
    }

    #[tokio::test]
    async fn a_full_queue_says_so() {
        let queue = Queue::start();
        let never = || queue.run(std::future::pending::<Result<(), ApiError>>());
        let mut waiting: Vec<_> = (0..MAX_WAITING + 2).map(|_| Box::pin(never())).collect();
        let mut refused = 0;
        for job in &mut waiting {
            if let Some(Err(_)) = futures_util::FutureExt::now_or_never(job) {
                refused += 1;
            }
        }
        assert!(refused > 0);
    }
}
