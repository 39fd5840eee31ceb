// SPDX-License-Identifier: Apache-2.0
//! A18: the host changes limits within the policy's ranges.
//!
//! A figure that is as it was is no change: kubelet sends all of them whenever one changes.

use casemate_policy::Figure;
use casemate_policy::Resources;

use crate::ContainerLimits;
use crate::Denial;
use crate::Rule;
use crate::UpdateRequest;
use crate::state::Instance;

/// The limits of a new container.
pub(crate) fn initial(resources: &Resources) -> ContainerLimits {
    ContainerLimits {
        memory: resources.memory.limit,
        cpu_millis: resources.cpu_millis.limit,
        pids: resources.pids,
    }
}

/// The limits that a request leads to.
pub(crate) fn after(instance: &Instance, request: &UpdateRequest) -> ContainerLimits {
    let before = instance.limits;
    ContainerLimits {
        memory: request.memory_limit.or(before.memory),
        cpu_millis: request.cpu_millis.or(before.cpu_millis),
        pids: request.pids.or(before.pids),
    }
}

/// The container was made and has not ended.
pub(crate) fn check_is_there(instance: &Instance) -> Result<(), Denial> {
    if instance.process.is_there() {
        return Ok(());
    }
    Err(Denial::new(Rule::Id, "container_id", "has ended or does not exist yet"))
}

/// One update at a time.
pub(crate) fn check_not_updating(instance: &Instance) -> Result<(), Denial> {
    if instance.updating {
        return Err(Denial::new(Rule::Phase, "container_id", "is being updated"));
    }
    Ok(())
}

/// Memory, in bytes.
pub(crate) fn check_memory(
    resources: &Resources,
    instance: &Instance,
    request: &UpdateRequest,
) -> Result<(), Denial> {
    check(&resources.memory, instance.limits.memory, request.memory_limit, "memory_limit")
}

/// CPU, in thousandths.
pub(crate) fn check_cpu(
    resources: &Resources,
    instance: &Instance,
    request: &UpdateRequest,
) -> Result<(), Denial> {
    check(&resources.cpu_millis, instance.limits.cpu_millis, request.cpu_millis, "cpu_millis")
}

/// The number of processes has no range: no update changes it.
pub(crate) fn check_pids(instance: &Instance, request: &UpdateRequest) -> Result<(), Denial> {
    check(&Figure::default(), instance.limits.pids, request.pids, "pids")
}

fn check(
    figure: &Figure,
    now: Option<u64>,
    wanted: Option<u64>,
    field: &str,
) -> Result<(), Denial> {
    match wanted {
        Some(value) if now != Some(value) && !figure.admits(value) => {
            let text = format!("{value} is not within the policy's range");
            Err(Denial::new(Rule::Resources, field, text))
        }
        _ => Ok(()),
    }
}
