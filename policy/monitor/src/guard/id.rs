// SPDX-License-Identifier: Apache-2.0
//! Ids of containers and commands.

use crate::Denial;
use crate::Rule;
use crate::denial::Quoted;
use crate::state::PodState;

/// Ids become names of folders and cgroups in the guest: containerd's own grammar, and no more.
pub(crate) fn check_form(field: &str, id: &str) -> Result<(), Denial> {
    let outer = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    let well_formed = id.len() <= MAX_ID
        && outer(id.bytes().next())
        && outer(id.bytes().next_back())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if well_formed {
        return Ok(());
    }
    Err(Denial::new(Rule::Invalid, field, format!("{} is no id", Quoted(id))))
}

/// A21: an id means one container, ever.
pub(crate) fn check_unused(state: &PodState, id: &str) -> Result<(), Denial> {
    if state.containers.contains_key(id) || state.spent.contains(id) {
        return Err(Denial::new(Rule::Id, "id", "was used before"));
    }
    Ok(())
}

/// Longest id in bytes; containerd's are 64 hex digits.
const MAX_ID: usize = 128;
