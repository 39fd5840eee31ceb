// SPDX-License-Identifier: Apache-2.0
//! New limits of a container.

use super::ContainerId;
use super::Problem;
use super::RequestError;
use super::admit;
use crate::proto;

/// New limits of a running container; `None` = as it is. At least one is set, and none is zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// The container.
    pub container: ContainerId,
    /// Most bytes of memory.
    pub memory_limit: Option<u64>,
    /// CPU time, in thousandths of a CPU.
    pub cpu_millis: Option<u64>,
    /// Most processes and threads.
    pub pids: Option<u64>,
}

impl TryFrom<proto::UpdateRequest> for Update {
    type Error = RequestError;

    fn try_from(message: proto::UpdateRequest) -> Result<Self, Self::Error> {
        admit("update", &message)?;
        let update = Self {
            container: ContainerId::parse(&message.container_id)?,
            memory_limit: message.memory_limit,
            cpu_millis: message.cpu_millis,
            pids: message.pids,
        };
        // A18: limits of zero stop a container by other means than a signal.
        let zero = |field| Err(RequestError::new(field, Problem::Form));
        match update {
            Self { memory_limit: Some(0), .. } => zero("memory_limit"),
            Self { cpu_millis: Some(0), .. } => zero("cpu_millis"),
            Self { pids: Some(0), .. } => zero("pids"),
            Self { memory_limit: None, cpu_millis: None, pids: None, .. } => {
                Err(RequestError::new("update", Problem::Missing))
            }
            update => Ok(update),
        }
    }
}
