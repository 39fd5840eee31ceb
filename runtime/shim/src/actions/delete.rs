// SPDX-License-Identifier: Apache-2.0
//! `delete`: removes what a shim that died has left.

use std::path::Path;

use casemate_sandbox::Exit;
use casemate_sandbox::VM_DIED_STATUS;
use containerd_shim::DeleteResponse;
use containerd_shim::Flags;
use protobuf::Message;

use super::ActionError;
use crate::config::DEFAULT_STATE_DIR;
use crate::events;
use crate::spec::Role;
use crate::spec::Spec;
use crate::state::StateDir;
use crate::state::noted_root;
use crate::state::remove_everything;

/// The answer to `delete`.
///
/// containerd runs it for a sandbox whose shim is gone, and for each of its containers. The VMM dies
/// with the shim; what else the pod had is in its state file.
pub(super) async fn delete(flags: &Flags) -> Result<Vec<u8>, ActionError> {
    let id = super::id(flags)?;
    let bundle = Path::new(if flags.bundle.is_empty() { "." } else { &flags.bundle });
    // A container has nothing of its own on the host. A bundle that cannot be read is treated as a
    // sandbox's: a container's id names no state.
    let role = Spec::load(bundle).and_then(|spec| spec.role());
    let mut pid = 0;
    if !matches!(role, Ok(Role::Container { .. })) {
        let root = noted_root(bundle).unwrap_or_else(|| DEFAULT_STATE_DIR.into());
        let dir = StateDir::new(&root, &id);
        if let Ok(Some(state)) = dir.read() {
            pid = state.vmm.map_or(0, |vmm| vmm.pid);
        }
        remove_everything(&dir)?;
        remove_socket(bundle);
    }
    let exit = Exit { status: VM_DIED_STATUS, at: events::now() };
    let (exit_status, exited_at) = events::exit_fields(Some(exit));
    let response = DeleteResponse { pid, exit_status, exited_at, ..Default::default() };
    Ok(response.write_to_bytes().unwrap_or_default())
}

/// The shim's socket, by the address that `start` wrote into the bundle.
fn remove_socket(bundle: &Path) {
    let address = std::fs::read_to_string(bundle.join("address")).unwrap_or_default();
    if let Some(path) = address.strip_prefix("unix:///run/containerd/s/") {
        let _ = std::fs::remove_file(Path::new("/run/containerd/s").join(path));
    }
}
