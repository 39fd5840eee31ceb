// SPDX-License-Identifier: Apache-2.0
//! The owner's extra rules, asked about what the monitor has granted.
//!
//! An evaluation takes milliseconds and three seconds at worst, so nobody else waits for it: neither the
//! monitor's lock nor a thread of the runtime is held meanwhile. What is judged is one request by
//! itself, and that request alone is carried out on the strength of the answer: a change stays
//! reserved in the monitor until it is there, and everything else is judged by the monitor again.

use std::sync::Arc;

use casemate_agent_api::ApiError;
use casemate_agent_api::Code;
use casemate_agent_api::request::ContainerId;
use casemate_policy_monitor::Grant;
use casemate_policy_monitor::Pending;
use casemate_policy_rules::ContainerRef;
use casemate_policy_rules::Input;
use casemate_policy_rules::Judge;
use casemate_policy_rules::Request;
use tokio::sync::Semaphore;

use super::Pod;
use super::judge::denied;

/// The judge of the owner's rules, if there is one.
pub(super) struct Narrowing {
    judge: Option<Arc<dyn Judge>>,
    /// A25: of requests that change nothing one is judged at a time; a change waits for none of them.
    reads: Semaphore,
}

impl Narrowing {
    pub(super) fn new(judge: Option<Arc<dyn Judge>>) -> Self {
        Self { judge, reads: Semaphore::new(1) }
    }

    /// Asks on a thread where it may block.
    async fn ask(judge: &Arc<dyn Judge>, input: Input) -> Result<(), ApiError> {
        let judge = Arc::clone(judge);
        let asked = move || casemate_policy_rules::consult(&*judge, &input);
        match tokio::task::spawn_blocking(asked).await {
            Ok(verdict) => verdict.map_err(denied),
            // Only a plain yes is one.
            Err(error) => Err(ApiError::new(Code::Internal, error)),
        }
    }
}

impl Pod {
    /// The rules' word on a change that the monitor has reserved. What they do not allow is rolled back.
    pub(super) async fn narrow(
        &self,
        request: impl FnOnce() -> Request,
        container: Option<&str>,
        grant: Option<&Grant>,
        pending: Pending,
    ) -> Result<Pending, ApiError> {
        let Some(judge) = &self.narrowing.judge else { return Ok(pending) };
        match Narrowing::ask(judge, Input::new(&request(), container, grant)).await {
            Ok(()) => Ok(pending),
            Err(error) => {
                self.monitor().rollback(pending);
                Err(error)
            }
        }
    }

    /// The rules' word on a granted request about a container that reserves nothing.
    pub(super) async fn narrow_read(
        &self,
        request: impl FnOnce() -> Request,
        container_id: &str,
    ) -> Result<(), ApiError> {
        let Some(judge) = &self.narrowing.judge else { return Ok(()) };
        let name = self.name_in_policy(container_id);
        // The semaphore is never closed.
        let _one = self.narrowing.reads.acquire().await;
        Narrowing::ask(judge, Input::new(&request(), name.as_deref(), None)).await
    }

    /// Name in the policy of a container that is not deleted.
    pub(super) fn name_in_policy(&self, container_id: &str) -> Option<String> {
        let monitor = self.monitor();
        casemate_policy_rules::container_name(&**monitor, container_id).map(str::to_owned)
    }
}

pub(super) fn reference(id: &ContainerId) -> ContainerRef {
    ContainerRef { container_id: id.as_str().to_owned() }
}
