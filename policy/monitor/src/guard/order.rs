// SPDX-License-Identifier: Apache-2.0
//! A19, A20: containers come in the policy's order.

use casemate_policy::Container;
use casemate_policy::Policy;

use crate::Denial;
use crate::Rule;
use crate::state::PodState;
use crate::state::State;

/// Its predecessors have run to their end.
pub(crate) fn check_after(state: &PodState, container: &Container) -> Result<(), Denial> {
    if container.after.iter().all(|name| has_completed(state, name)) {
        return Ok(());
    }
    Err(Denial::new(Rule::Order, "name", "a container that must complete before it has not"))
}

/// Its sidecars run.
pub(crate) fn check_after_started(state: &PodState, container: &Container) -> Result<(), Denial> {
    let runs = |name: &String| {
        state.containers.values().any(|i| i.name == *name && i.process.state == State::Running)
    };
    if container.after_started.iter().all(runs) {
        return Ok(());
    }
    Err(Denial::new(Rule::Order, "name", "a sidecar that must run before it does not"))
}

/// A container that others wait for does not run again once it has completed.
pub(crate) fn check_not_completed(
    policy: &Policy,
    state: &PodState,
    name: &str,
) -> Result<(), Denial> {
    let awaited = || policy.containers.values().any(|c| c.after.iter().any(|n| n == name));
    if has_completed(state, name) && awaited() {
        return Err(Denial::new(Rule::Order, "name", "has completed and runs once only"));
    }
    Ok(())
}

fn has_completed(state: &PodState, name: &str) -> bool {
    state.history.get(name).is_some_and(|history| history.completed)
}
