// SPDX-License-Identifier: Apache-2.0
//! A13, A15, B13: content that the host gives for a volume.

use std::collections::BTreeSet;

use casemate_policy::Volume;
use casemate_policy::is_file_name;

use crate::Denial;
use crate::PutVolumeRequest;
use crate::Rule;
use crate::denial::Quoted;
use crate::state::PodState;

/// The policy has the volume, and the host gives its content.
pub(crate) fn check_takes_content(
    volume: Option<&Volume>,
    request: &PutVolumeRequest,
) -> Result<(), Denial> {
    let text = match volume {
        Some(volume) if volume.takes_content() => return Ok(()),
        Some(_) => "takes no content from the host",
        None => "is not in the policy",
    };
    let text = format!("{} {text}", Quoted(&request.volume));
    Err(Denial::new(Rule::Volume, "volume", text))
}

/// One revision at a time.
pub(crate) fn check_not_putting(
    state: &PodState,
    request: &PutVolumeRequest,
) -> Result<(), Denial> {
    if state.volumes.get(&request.volume).is_some_and(|content| content.putting) {
        return Err(Denial::new(Rule::Phase, "volume", "is being filled"));
    }
    Ok(())
}

/// A15: a revision has so many files at most.
pub(crate) fn check_file_count(request: &PutVolumeRequest) -> Result<(), Denial> {
    if request.files.len() <= Volume::MAX_FILES {
        return Ok(());
    }
    let text = format!("more than {} files", Volume::MAX_FILES);
    Err(Denial::new(Rule::Invalid, "files", text))
}

/// A13: a name is one component and none of the guest's own entries.
pub(crate) fn check_file_names(request: &PutVolumeRequest) -> Result<(), Denial> {
    for (index, file) in request.files.iter().enumerate() {
        if !is_file_name(&file.name) {
            let text = format!("{} is no name of a file", Quoted(&file.name));
            return Err(Denial::new(Rule::Invalid, format!("files[{index}].name"), text));
        }
    }
    Ok(())
}

/// No name twice.
pub(crate) fn check_names_unique(request: &PutVolumeRequest) -> Result<(), Denial> {
    let mut names = BTreeSet::new();
    for (index, file) in request.files.iter().enumerate() {
        if !names.insert(&file.name) {
            let text = format!("{} occurs twice", Quoted(&file.name));
            return Err(Denial::new(Rule::Invalid, format!("files[{index}].name"), text));
        }
    }
    Ok(())
}

/// A15: all files together fit the policy's bound.
pub(crate) fn check_size(
    volume: Option<&Volume>,
    request: &PutVolumeRequest,
) -> Result<(), Denial> {
    let max = match volume {
        Some(Volume::Untrusted { max_bytes, .. }) => *max_bytes,
        _ => Volume::MAX_BYTES,
    };
    let size = request.files.iter().fold(0_u64, |sum, file| sum.saturating_add(file.size));
    if size <= max {
        return Ok(());
    }
    Err(Denial::new(Rule::Volume, "files", format!("{size} bytes are more than the policy allows")))
}

/// B13: where the policy pins a file, its content is the policy's, byte by byte; a volume that is all
/// the policy's has no other files.
pub(crate) fn check_pinned_content(
    volume: Option<&Volume>,
    request: &PutVolumeRequest,
) -> Result<(), Denial> {
    let Some(files) = volume.and_then(Volume::pinned) else { return Ok(()) };
    let takes_others = matches!(volume, Some(Volume::Untrusted { .. }));
    for (index, file) in request.files.iter().enumerate() {
        let (part, text) = match files.get(&file.name) {
            Some(pinned) if *pinned == file.sha256 => continue,
            Some(_) => ("content", "is not the policy's"),
            None if takes_others => continue,
            None => ("name", "is not in the policy"),
        };
        let text = format!("the {part} of {} {text}", Quoted(&file.name));
        return Err(Denial::new(Rule::Volume, format!("files[{index}].{part}"), text));
    }
    Ok(())
}

/// B13: none of the files that the policy pins is missing.
pub(crate) fn check_pinned_complete(
    volume: Option<&Volume>,
    request: &PutVolumeRequest,
) -> Result<(), Denial> {
    let Some(files) = volume.and_then(Volume::pinned) else { return Ok(()) };
    if files.keys().all(|name| request.files.iter().any(|file| file.name == *name)) {
        return Ok(());
    }
    Err(Denial::new(Rule::Volume, "files", "a file of the policy is missing in the request"))
}

/// The number of the next revision.
pub(crate) fn next_revision(state: &PodState, request: &PutVolumeRequest) -> Result<u64, Denial> {
    let now = state.volumes.get(&request.volume).map_or(0, |content| content.revision);
    now.checked_add(1)
        .ok_or_else(|| Denial::new(Rule::Count, "volume", "its revisions are used up"))
}
