// SPDX-License-Identifier: Apache-2.0
//! A27, E16: what of a container leaves the guest.

use casemate_policy::Container;
use casemate_policy::Visibility;

use crate::Denial;
use crate::Rule;
use crate::state::Instance;
use crate::state::State;

/// Usage figures and process ids.
pub(crate) fn check_metrics(container: &Container) -> Result<(), Denial> {
    if container.metrics == Visibility::HostVisible {
        return Ok(());
    }
    Err(Denial::new(Rule::Metrics, "container_id", "its metrics stay in the guest"))
}

/// A termination message is there after the end.
pub(crate) fn check_ended(instance: &Instance) -> Result<(), Denial> {
    if matches!(instance.process.state, State::Stopped { .. }) {
        return Ok(());
    }
    Err(Denial::new(Rule::Id, "container_id", "has not ended"))
}

/// The termination message.
pub(crate) fn check_termination_message(container: &Container) -> Result<(), Denial> {
    if container.termination_message == Visibility::HostVisible {
        return Ok(());
    }
    Err(Denial::new(Rule::Message, "container_id", "its termination message stays in the guest"))
}
