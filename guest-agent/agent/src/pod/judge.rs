// SPDX-License-Identifier: Apache-2.0
//! The API's requests in the monitor's words, and the monitor's denials in the API's.

use casemate_agent_api::ApiError;
use casemate_agent_api::Code;
use casemate_agent_api::request;
use casemate_agent_api::request::Cidr;
use casemate_agent_api::request::CreateContainer;
use casemate_agent_api::request::EnvEntry;
use casemate_agent_api::request::Exec;
use casemate_agent_api::request::Network;
use casemate_agent_api::request::ProcessId;
use casemate_agent_api::request::PutVolume;
use casemate_agent_api::request::Update;
use casemate_policy::IpRange;
use casemate_policy::Sha256Digest;
use casemate_policy_monitor::CreateRequest;
use casemate_policy_monitor::Denial;
use casemate_policy_monitor::ExecRequest;
use casemate_policy_monitor::FileRequest;
use casemate_policy_monitor::MountRequest;
use casemate_policy_monitor::MountWish;
use casemate_policy_monitor::NetworkRequest;
use casemate_policy_monitor::ProcessRef;
use casemate_policy_monitor::PutVolumeRequest;
use casemate_policy_monitor::RouteRequest;
use casemate_policy_monitor::UpdateRequest;

/// A denial as the host sees it.
pub(super) fn denied(denial: Denial) -> ApiError {
    // Every rule's code is one of the API's; a test walks them.
    let code = denial.rule.code().parse().unwrap_or(Code::Internal);
    tracing::info!(verdict = "deny", code = %code, field = denial.field, "request");
    ApiError::new(code, denial)
}

pub(super) fn process_ref(id: &ProcessId) -> ProcessRef {
    ProcessRef {
        container_id: id.container().as_str().to_owned(),
        exec_id: id.exec().map(|exec| exec.as_str().to_owned()),
    }
}

pub(super) fn create_request(create: &CreateContainer) -> CreateRequest {
    CreateRequest {
        id: create.id.as_str().to_owned(),
        name: create.name.as_str().to_owned(),
        image_digest: create.image.as_str().to_owned(),
        argv: create.argv.clone(),
        env: env(&create.env),
        cwd: create.cwd.clone(),
        terminal: create.stdio.terminal.is_some(),
        stdin: create.stdio.stdin,
        stdout: create.stdio.stdout,
        stderr: create.stdio.stderr,
        mounts: create.mounts.iter().map(mount).collect(),
        readonly_rootfs: create.readonly_rootfs,
    }
}

/// `cwd` is the container's own, for a host that leaves it out.
pub(super) fn exec_request(exec: &Exec, cwd: &str) -> ExecRequest {
    ExecRequest {
        container_id: exec.process.container().as_str().to_owned(),
        exec_id: exec.process.exec().map_or_else(String::new, |id| id.as_str().to_owned()),
        argv: exec.argv.clone(),
        env: env(&exec.env),
        cwd: exec.cwd.clone().unwrap_or_else(|| cwd.to_owned()),
        terminal: exec.stdio.terminal.is_some(),
        stdin: exec.stdio.stdin,
        stdout: exec.stdio.stdout,
        stderr: exec.stdio.stderr,
    }
}

fn env(env: &[EnvEntry]) -> Vec<String> {
    env.iter().map(|entry| format!("{}={}", entry.name(), entry.value())).collect()
}

fn mount(mount: &request::Mount) -> MountRequest {
    MountRequest {
        destination: mount.destination.clone(),
        kind: match mount.kind {
            request::MountKind::Hosts => Some(MountWish::Hosts),
            request::MountKind::Hostname => Some(MountWish::Hostname),
            request::MountKind::ResolvConf => Some(MountWish::ResolvConf),
            request::MountKind::TerminationLog => Some(MountWish::TerminationLog),
            request::MountKind::Shm => Some(MountWish::Shm),
            request::MountKind::EmptyDir => Some(MountWish::EmptyDir),
            request::MountKind::Content => Some(MountWish::Content),
            // B11: nothing of the node is ever granted.
            request::MountKind::Other => None,
        },
        readonly: mount.readonly,
    }
}

/// The network of each address, and each route, as ranges.
pub(super) fn network_request(network: &Network) -> Result<NetworkRequest, ApiError> {
    let range = |cidr: Cidr| {
        IpRange::of(cidr.address(), cidr.prefix())
            .map_err(|error| ApiError::new(Code::NetworkRefused, error))
    };
    let addresses = network.interfaces.iter().flat_map(|interface| &interface.addresses);
    let routes = network.routes.iter().map(|route| {
        Ok(RouteRequest { destination: range(route.destination)?, gateway: route.gateway })
    });
    Ok(NetworkRequest {
        hostname: network.hostname.as_str().to_owned(),
        addresses: addresses.map(|address| range(*address)).collect::<Result<_, _>>()?,
        routes: routes.collect::<Result<_, ApiError>>()?,
        dns_servers: network.dns.servers().to_vec(),
        dns_searches: network.dns.searches().to_vec(),
    })
}

/// Digests and sizes are of the bytes that came, which are the bytes that are written.
pub(super) fn put_volume_request(put: &PutVolume) -> PutVolumeRequest {
    let files = put.files.iter().map(|file| FileRequest {
        name: file.name.as_str().to_owned(),
        sha256: Sha256Digest::of(&file.content),
        size: u64::try_from(file.content.len()).unwrap_or(u64::MAX),
    });
    PutVolumeRequest { volume: put.volume.as_str().to_owned(), files: files.collect() }
}

pub(super) fn update_request(update: &Update) -> UpdateRequest {
    UpdateRequest {
        container_id: update.container.as_str().to_owned(),
        memory_limit: update.memory_limit,
        cpu_millis: update.cpu_millis,
        pids: update.pids,
    }
}

#[cfg(test)]
mod tests {
    use casemate_policy_monitor::Rule;

    use super::*;

    #[test]
    fn every_rule_has_a_code_of_the_api() {
        for rule in Rule::ALL {
            let code: Result<Code, _> = rule.code().parse();
            assert!(code.is_ok(), "{rule:?}");
        }
    }
}
