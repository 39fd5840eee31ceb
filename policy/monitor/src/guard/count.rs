// SPDX-License-Identifier: Apache-2.0
//! A21: how many containers of a name there may be.

use casemate_policy::Container;
use casemate_policy::Restart;

use crate::Denial;
use crate::Rule;
use crate::state::PodState;

/// One of a name is alive at a time.
pub(crate) fn check_one_alive(state: &PodState, name: &str) -> Result<(), Denial> {
    if state.containers.values().any(|instance| instance.name == name && instance.is_alive()) {
        return Err(Denial::new(Rule::Count, "name", "is alive already"));
    }
    Ok(())
}

/// Whether one may follow those that have ended.
pub(crate) fn check_restart(
    state: &PodState,
    name: &str,
    container: &Container,
) -> Result<(), Denial> {
    let Some(history) = state.history.get(name) else { return Ok(()) };
    match container.restart {
        Restart::Never if history.starts > 0 => {
            Err(Denial::new(Rule::Count, "name", "ran already and is never restarted"))
        }
        Restart::OnFailure if history.ended_well => {
            Err(Denial::new(Rule::Count, "name", "has ended with code 0 and is not restarted"))
        }
        _ => Ok(()),
    }
}

/// The absolute cap.
pub(crate) fn check_max_starts(
    state: &PodState,
    name: &str,
    container: &Container,
) -> Result<(), Denial> {
    let starts = state.history.get(name).map_or(0, |history| history.starts);
    if container.max_starts.is_some_and(|max| starts >= max) {
        let text = format!("was started {starts} times already");
        return Err(Denial::new(Rule::Count, "name", text));
    }
    Ok(())
}

/// Ids of deleted containers are kept: their number is capped.
pub(crate) fn check_ids_left(state: &PodState) -> Result<(), Denial> {
    if state.containers.len() + state.spent.len() >= MAX_IDS {
        return Err(Denial::new(Rule::Count, "id", format!("{MAX_IDS} ids are used up")));
    }
    Ok(())
}

/// Most container ids in the life of a VM. A crash loop at kubelet's slowest pace (one start in five
/// minutes) takes seven months to use them up.
const MAX_IDS: usize = 1 << 16;
