// SPDX-License-Identifier: Apache-2.0
//! `start`: answers with the address of the pod's shim, and spawns it for a sandbox.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;

use casemate_sandbox::Id;
use containerd_shim::Flags;
use containerd_shim::StartOpts;
use containerd_shim::bootstrap::BootstrapParams;
use containerd_shim::bootstrap::BootstrapResult;
use containerd_shim::protos::types::introspection::RuntimeInfo;
use protobuf::Message;

use super::ActionError;
use crate::error::ShimError;
use crate::spec::Role;
use crate::spec::Spec;

/// The answer to `start`, for containerd's release.
pub(super) async fn start(flags: &Flags) -> Result<Vec<u8>, ActionError> {
    let id = super::id(flags)?;
    let bootstrap = bootstrap_params(flags)?;
    let speaks = if bootstrap.is_some() { Speaks::Bootstrap } else { Speaks::Address };
    let options = start_options(flags, bootstrap)?;
    let address = match Spec::load(Path::new("."))?.role()? {
        Role::Sandbox => spawn(options, &id).await?,
        Role::Container { sandbox } => find(&options, sandbox)?,
    };
    // containerd finds the shim again by this file after a restart.
    let path = Path::new("address");
    crate::state::write_atomically(path, address.as_bytes()).map_err(|source| ShimError::File {
        action: "write",
        path: path.to_owned(),
        source,
    })?;
    Ok(answer(speaks, &address))
}

/// What `-info` prints.
pub(super) fn runtime_info() -> Vec<u8> {
    let info = RuntimeInfo { name: RUNTIME.to_owned(), ..Default::default() };
    info.write_to_bytes().unwrap_or_default()
}

async fn spawn(options: StartOpts, sandbox: &Id) -> Result<String, ActionError> {
    let address = containerd_shim::spawn(options, sandbox.as_str(), vec![])
        .await
        .map_err(ActionError::Shim)?;
    answers(&address, sandbox.clone())?;
    Ok(address)
}

/// The pod's shim runs already: one shim serves the whole pod.
fn find(options: &StartOpts, sandbox: Id) -> Result<String, ActionError> {
    let address = options.socket_address(sandbox.as_str());
    answers(&address, sandbox)?;
    Ok(address)
}

fn answers(address: &str, sandbox: Id) -> Result<(), ActionError> {
    let path = address.strip_prefix("unix://").unwrap_or(address);
    UnixStream::connect(path).map(drop).map_err(|source| ActionError::NoShim { sandbox, source })
}

/// How containerd understands the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaks {
    /// 2.3 and later: a message.
    Bootstrap,
    /// Earlier ones: the address alone, which stands for version 2 of the Task service.
    Address,
}

fn answer(speaks: Speaks, address: &str) -> Vec<u8> {
    match speaks {
        Speaks::Address => address.as_bytes().to_vec(),
        Speaks::Bootstrap => {
            let result = BootstrapResult {
                version: containerd_shim::protos::TASK_API_VERSION,
                address: address.to_owned(),
                protocol: "ttrpc".to_owned(),
                ..Default::default()
            };
            result.write_to_bytes().unwrap_or_default()
        }
    }
}

/// What containerd 2.3 and later send; earlier ones send the runtime options, which come again with
/// the create request, or nothing.
fn bootstrap_params(flags: &Flags) -> Result<Option<BootstrapParams>, ActionError> {
    use std::io::IsTerminal;
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    stdin.lock().take(MAX_INPUT).read_to_end(&mut bytes).map_err(ActionError::Input)?;
    let params = BootstrapParams::parse_from_bytes(&bytes).ok();
    // Runtime options parse as such a message, too, but not with this container's id in it.
    Ok(params
        .filter(|params| params.instance_id == flags.id && params.namespace == flags.namespace))
}

fn start_options(
    flags: &Flags,
    bootstrap: Option<BootstrapParams>,
) -> Result<StartOpts, ActionError> {
    if let Some(params) = bootstrap {
        return Ok(params.into());
    }
    let ttrpc_address = std::env::var(TTRPC_ADDRESS)
        .map_err(|_| ActionError::Environment { name: TTRPC_ADDRESS })?;
    Ok(StartOpts {
        id: flags.id.clone(),
        publish_binary: flags.publish_binary.clone(),
        address: flags.address.clone(),
        ttrpc_address,
        namespace: flags.namespace.clone(),
        debug: flags.debug,
        ..Default::default()
    })
}

/// Where containerd takes events.
pub(super) const TTRPC_ADDRESS: &str = "TTRPC_ADDRESS";
const RUNTIME: &str = "io.containerd.casemate.v2";
/// containerd's own limit.
const MAX_INPUT: u64 = 10 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_releases_get_the_bare_address() {
        let address = "unix:///run/containerd/s/0d";
        assert_eq!(answer(Speaks::Address, address), address.as_bytes());
        let result = BootstrapResult::parse_from_bytes(&answer(Speaks::Bootstrap, address));
        let result = result.unwrap();
        assert_eq!((result.version, result.address.as_str()), (3, address));
    }

    #[test]
    fn the_runtime_tells_its_name() {
        let info = RuntimeInfo::parse_from_bytes(&runtime_info()).unwrap();
        assert_eq!(info.name, "io.containerd.casemate.v2");
    }
}
