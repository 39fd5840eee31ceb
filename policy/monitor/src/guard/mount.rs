// SPDX-License-Identifier: Apache-2.0
//! B1, B11: every mount of the request is one of the policy's, and every volume of the policy is asked
//! for.
//!
//! The small standard files and /dev/shm may be left out: the guest makes them from the policy and
//! whatever the host says about them, also their read-only flag, changes nothing.

use std::collections::BTreeSet;

use casemate_policy::Container;
use casemate_policy::Mount;
use casemate_policy::MountKind;
use casemate_policy::Policy;
use casemate_policy::Volume;

use super::trimmed;
use crate::CreateRequest;
use crate::Denial;
use crate::MountWish;
use crate::Rule;
use crate::denial::Quoted;
use crate::state::PodState;

/// No destination twice.
pub(crate) fn check_unique(request: &CreateRequest) -> Result<(), Denial> {
    let mut asked = BTreeSet::new();
    for (index, mount) in request.mounts.iter().enumerate() {
        let destination = trimmed(&mount.destination);
        if !asked.insert(destination) {
            let text = format!("the destination {} occurs twice", Quoted(destination));
            return Err(denied(index, text));
        }
    }
    Ok(())
}

/// Each mount is the policy's: destination, what is there, and for volumes whether it is read-only.
pub(crate) fn check_granted(
    policy: &Policy,
    container: &Container,
    request: &CreateRequest,
) -> Result<(), Denial> {
    for (index, mount) in request.mounts.iter().enumerate() {
        let destination = trimmed(&mount.destination);
        let Some(granted) = container.mounts.iter().find(|m| m.destination == destination) else {
            let text = format!("the destination {} is not in the policy", Quoted(destination));
            return Err(denied(index, text));
        };
        if mount.kind.is_none() || mount.kind != wish(policy, granted) {
            let text = format!("another kind of mount is granted at {}", Quoted(destination));
            return Err(denied(index, text));
        }
        if granted.kind == MountKind::Volume && mount.readonly != granted.readonly {
            let text = format!("the read-only flag of {} is not the policy's", Quoted(destination));
            return Err(denied(index, text));
        }
    }
    Ok(())
}

/// Every volume of the policy is asked for.
pub(crate) fn check_complete(container: &Container, request: &CreateRequest) -> Result<(), Denial> {
    let asked = |m: &Mount| request.mounts.iter().any(|r| trimmed(&r.destination) == m.destination);
    let missing = |m: &Mount| m.kind == MountKind::Volume && !asked(m);
    match container.mounts.iter().position(missing) {
        Some(index) => {
            let field = format!("containers.{}.mounts[{index}]", request.name);
            Err(Denial::new(Rule::Mount, field, "the policy's mount is missing in the request"))
        }
        None => Ok(()),
    }
}

/// B13: a volume whose content the host gives has some: no container starts on an empty directory in
/// place of its configuration.
pub(crate) fn check_filled(
    policy: &Policy,
    state: &PodState,
    container: &Container,
    request: &CreateRequest,
) -> Result<(), Denial> {
    let empty = |mount: &Mount| {
        let Some(name) = &mount.volume else { return false };
        let takes_content = policy.volumes.get(name).is_some_and(Volume::takes_content);
        takes_content && state.volumes.get(name).is_none_or(|content| content.revision == 0)
    };
    match container.mounts.iter().position(empty) {
        Some(index) => {
            let field = format!("containers.{}.mounts[{index}]", request.name);
            Err(Denial::new(Rule::Volume, field, "the host has not given the volume's content yet"))
        }
        None => Ok(()),
    }
}

/// What an honest host wants where the policy has this mount.
fn wish(policy: &Policy, mount: &Mount) -> Option<MountWish> {
    match mount.kind {
        MountKind::Hosts => Some(MountWish::Hosts),
        MountKind::Hostname => Some(MountWish::Hostname),
        MountKind::ResolvConf => Some(MountWish::ResolvConf),
        MountKind::TerminationLog => Some(MountWish::TerminationLog),
        MountKind::Shm => Some(MountWish::Shm),
        MountKind::Volume => {
            let volume = policy.volumes.get(mount.volume.as_ref()?)?;
            Some(if volume.takes_content() { MountWish::Content } else { MountWish::EmptyDir })
        }
    }
}

fn denied(index: usize, text: String) -> Denial {
    Denial::new(Rule::Mount, format!("mounts[{index}]"), text)
}
