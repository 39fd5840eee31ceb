// SPDX-License-Identifier: Apache-2.0
//! The life of a process: in which state what may be asked of it.

use casemate_policy::Container;

use crate::Denial;
use crate::ProcessRef;
use crate::Rule;
use crate::denial::process_field;
use crate::state::PodState;
use crate::state::Process;
use crate::state::State;

/// Nothing changes after a failure that could not be undone.
pub(crate) fn check_not_poisoned(state: &PodState) -> Result<(), Denial> {
    if state.poisoned {
        let text = "an earlier failure in the guest could not be undone";
        return Err(Denial::new(Rule::Poisoned, "request", text));
    }
    Ok(())
}

/// Only what was made and did not run yet is started.
pub(crate) fn check_created(found: &Process, process: &ProcessRef) -> Result<(), Denial> {
    if found.state == State::Created {
        return Ok(());
    }
    Err(Denial::new(Rule::Id, process_field(process), "is not in the state created"))
}

/// A signal needs somebody who gets it.
pub(crate) fn check_is_there(found: &Process, process: &ProcessRef) -> Result<(), Denial> {
    if found.is_there() {
        return Ok(());
    }
    Err(Denial::new(Rule::Id, process_field(process), "has ended or does not exist yet"))
}

/// "All" means the container's processes.
pub(crate) fn check_signal_scope(process: &ProcessRef, all: bool) -> Result<(), Denial> {
    if all && process.exec_id.is_some() {
        return Err(Denial::new(Rule::Invalid, "all", "is for containers only"));
    }
    Ok(())
}

/// A17: the signal is on the container's list.
pub(crate) fn check_signal(container: &Container, signal: u32) -> Result<(), Denial> {
    if container.signals.contains(&signal) {
        return Ok(());
    }
    Err(Denial::new(Rule::Signal, "signal", format!("signal {signal} is not granted")))
}

/// A16: only whoever holds stdin closes it.
pub(crate) fn check_has_stdin(found: &Process, process: &ProcessRef) -> Result<(), Denial> {
    if found.stdin {
        return Ok(());
    }
    Err(Denial::new(Rule::Stdio, process_field(process), "has no stdin that the host holds"))
}

/// Only terminals have a size.
pub(crate) fn check_has_terminal(found: &Process, process: &ProcessRef) -> Result<(), Denial> {
    if found.terminal {
        return Ok(());
    }
    Err(Denial::new(Rule::Stdio, process_field(process), "has no terminal"))
}

/// A22: what runs is not deleted.
pub(crate) fn check_deletable(found: &Process, process: &ProcessRef) -> Result<(), Denial> {
    if matches!(found.state, State::Created | State::Stopped { .. }) {
        return Ok(());
    }
    Err(Denial::new(Rule::Id, process_field(process), "has not ended"))
}
