// SPDX-License-Identifier: Apache-2.0
//! The requests that an honest host would send for a policy: a list to begin with.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use casemate_policy::Container;
use casemate_policy::IpRange;
use casemate_policy::MountKind;
use casemate_policy::Pattern;
use casemate_policy::Policy;
use casemate_policy::Role;
use casemate_policy::Volume;
use casemate_policy_monitor::CreateRequest;
use casemate_policy_monitor::ExecRequest;
use casemate_policy_monitor::MountRequest;
use casemate_policy_monitor::MountWish;
use casemate_policy_monitor::ProcessRef;
use casemate_policy_rules::File;
use casemate_policy_rules::PutVolume;
use casemate_policy_rules::Request;
use casemate_policy_rules::Route;
use casemate_policy_rules::SetNetwork;
use casemate_policy_rules::Signal;

use super::Event;
use super::Exited;
use super::Step;

/// The requests of an honest host: the network, content of volumes, then each container in its order,
/// its commands, and its stop.
///
/// Values for holes are a few usual ones where they match the patterns, else the patterns' own shortest.
///
/// # Errors
///
/// [`NoExample`] for a pattern of which no text is easily told.
pub fn example(policy: &Policy) -> Result<Vec<Step>, NoExample> {
    let mut steps = vec![request(Request::SetNetwork(network(policy)?))];
    for (name, volume) in &policy.volumes {
        if let Some(files) = content(volume) {
            steps.push(request(Request::PutVolume(PutVolume { volume: name.clone(), files })));
        }
    }
    let mut running = Vec::new();
    for name in ordered(policy) {
        let Some(container) = policy.containers.get(name) else { continue };
        let id = format!("{name}-1");
        let process = ProcessRef::init(&id);
        let create = create(policy, name, &id, container)?;
        let env = create.env.clone();
        steps.push(request(Request::CreateContainer(create)));
        steps.push(request(Request::Start(process.clone())));
        if container.role == Role::Init {
            let event = Event::Exited(Exited { container_id: id, ..Exited::default() });
            steps.push(Step { event, expect: None });
            steps.push(request(Request::Delete(process)));
        } else {
            running.push((container, process, env));
        }
    }
    for (container, process, env) in &running {
        steps.extend(commands(container, process, env));
    }
    for (container, process, _) in &running {
        if let Some(signal) = container.signals.iter().copied().max() {
            let signal = Signal { process: process.clone(), signal, all: false };
            steps.push(request(Request::Signal(signal)));
        }
    }
    Ok(steps)
}

/// There is no example of a host's requests.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: no text that the pattern {pattern:?} matches is easily told")]
pub struct NoExample {
    /// The field of the policy.
    pub field: String,
    /// Its pattern.
    pub pattern: String,
}

fn request(request: Request) -> Step {
    Step { event: Event::Request(Box::new(request)), expect: None }
}

fn network(policy: &Policy) -> Result<SetNetwork, NoExample> {
    let sandbox = &policy.sandbox;
    let rules = &sandbox.network;
    let first = |list: Option<&Vec<IpRange>>, usual: &str| {
        list.map_or_else(|| Some(usual.to_owned()), |l| l.first().map(ToString::to_string))
    };
    let address = |list: Option<&Vec<IpRange>>, usual: &str| {
        let range = list.map_or_else(|| usual.parse().ok(), |l| l.first().map(|r| next_of(*r)));
        range.into_iter().collect()
    };
    let search = rules.dns_searches.as_ref().and_then(|list| list.first());
    let search = search.map(|pattern| value(pattern, || "sandbox.network.dns_searches[0]".into()));
    let hostname = sandbox.hostname.as_ref();
    let hostname = hostname.map(|pattern| value(pattern, || "sandbox.hostname".into()));
    Ok(SetNetwork {
        hostname: hostname.transpose()?.unwrap_or_else(|| "pod-0".to_owned()),
        addresses: first(rules.addresses.as_ref(), "10.0.0.7/24").into_iter().collect(),
        routes: first(rules.routes.as_ref(), "0.0.0.0/0")
            .map(|destination| {
                let gateways: Vec<_> = address(rules.gateways.as_ref(), "10.0.0.1");
                Route { destination, gateway: gateways.first().copied() }
            })
            .into_iter()
            .collect(),
        dns_servers: address(rules.dns_servers.as_ref(), "10.96.0.10"),
        dns_searches: search.transpose()?.into_iter().collect(),
    })
}

/// The first address, or the one behind it in a range that has more.
fn next_of(range: IpRange) -> std::net::IpAddr {
    match range.first() {
        std::net::IpAddr::V4(first) if range.prefix() < 32 => {
            std::net::Ipv4Addr::from_bits(first.to_bits().saturating_add(1)).into()
        }
        first => first,
    }
}

/// Files with the digests of the policy. Their size stands in no policy; any is as good.
fn content(volume: &Volume) -> Option<Vec<File>> {
    let pinned = |(name, sha256): (&String, &casemate_policy::Sha256Digest)| File {
        name: name.clone(),
        content: None,
        sha256: Some(*sha256),
        size: Some(1),
    };
    match volume {
        Volume::EmptyDir { .. } => None,
        Volume::Config { files } => Some(files.iter().map(pinned).collect()),
        Volume::Untrusted { files, .. } => {
            let content = Some("x".to_owned());
            let mut given: Vec<File> = files.iter().map(pinned).collect();
            if !files.contains_key("file") {
                given.push(File { name: "file".to_owned(), content, ..File::default() });
            }
            Some(given)
        }
    }
}

/// Names with those before others that others wait for.
fn ordered(policy: &Policy) -> Vec<&str> {
    let mut open: BTreeMap<&str, &Container> =
        policy.containers.iter().map(|(name, container)| (name.as_str(), container)).collect();
    let rank = |container: &Container| match container.role {
        Role::Init | Role::Sidecar => 0,
        Role::App => 1,
        Role::Ephemeral => 2,
    };
    let mut done: BTreeSet<&str> = BTreeSet::new();
    let mut order = Vec::new();
    loop {
        let ready = |container: &Container| {
            let waits = container.after.iter().chain(&container.after_started);
            waits.into_iter().all(|name| done.contains(name.as_str()))
        };
        let next = open.iter().filter(|(_, c)| ready(c)).min_by_key(|(name, c)| (rank(c), **name));
        // A policy has no rings; what is left over would be one.
        let Some(name) = next.map(|(name, _)| *name) else { return order };
        open.remove(name);
        done.insert(name);
        order.push(name);
    }
}

fn create(
    policy: &Policy,
    name: &str,
    id: &str,
    container: &Container,
) -> Result<CreateRequest, NoExample> {
    let mounts = container.mounts.iter().map(|mount| MountRequest {
        destination: mount.destination.clone(),
        kind: Some(match mount.kind {
            MountKind::Hosts => MountWish::Hosts,
            MountKind::Hostname => MountWish::Hostname,
            MountKind::ResolvConf => MountWish::ResolvConf,
            MountKind::TerminationLog => MountWish::TerminationLog,
            MountKind::Shm => MountWish::Shm,
            MountKind::Volume => {
                let volume = mount.volume.as_ref().and_then(|name| policy.volumes.get(name));
                match volume {
                    Some(volume) if volume.takes_content() => MountWish::Content,
                    _ => MountWish::EmptyDir,
                }
            }
        }),
        readonly: mount.readonly,
    });
    let exact = container.env.iter().map(|v| format!("{}={}", v.name, v.value));
    let mut env: Vec<String> = exact.collect();
    for (index, hole) in container.env_holes.iter().enumerate().filter(|(_, hole)| hole.required) {
        let field = |part: &str| format!("containers.{name}.env_holes[{index}].{part}");
        let variable = value(&hole.name, || field("name"))?;
        env.push(format!("{variable}={}", value(&hole.value, || field("value"))?));
    }
    Ok(CreateRequest {
        id: id.to_owned(),
        name: name.to_owned(),
        image_digest: container.image.digest().to_owned(),
        argv: container.argv.clone(),
        env,
        cwd: container.cwd.clone(),
        terminal: container.terminal,
        stdin: container.stdin,
        stdout: true,
        stderr: !container.terminal,
        mounts: mounts.collect(),
        readonly_rootfs: container.readonly_rootfs,
    })
}

fn commands(container: &Container, process: &ProcessRef, env: &[String]) -> Vec<Step> {
    let command = |(index, listed): (usize, &casemate_policy::Exec)| {
        request(Request::ExecProcess(ExecRequest {
            container_id: process.container_id.clone(),
            exec_id: format!("exec-{index}"),
            argv: listed.argv.clone(),
            env: env.to_vec(),
            cwd: container.cwd.clone(),
            terminal: listed.terminal,
            stdin: listed.stdin,
            stdout: true,
            stderr: !listed.terminal,
        }))
    };
    container.exec.iter().enumerate().map(command).collect()
}

/// A text that the pattern takes: its own if it is one, one of a few usual ones, or the shortest.
fn value(pattern: &Pattern, field: impl FnOnce() -> String) -> Result<String, NoExample> {
    let own = std::iter::once(pattern.as_str());
    let usual = own.chain(USUAL.iter().copied()).find(|text| pattern.matches(text));
    let found = usual.map(str::to_owned).or_else(|| pattern.example());
    found.ok_or_else(|| NoExample { field: field(), pattern: pattern.as_str().to_owned() })
}

const USUAL: &[&str] = &[
    "pod-0",
    "web-0",
    "10.0.0.7",
    "10.96.0.1",
    "tcp://10.96.0.1:443",
    "443",
    "tcp",
    "default",
    "node-1",
    "cluster.local",
    "svc.cluster.local",
    "default.svc.cluster.local",
    "true",
    "a",
    "0123abcd-0123-0123-0123-0123456789ab",
    "KUBERNETES_SERVICE_HOST",
];
