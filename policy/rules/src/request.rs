// SPDX-License-Identifier: Apache-2.0
//! The requests of the agent's API as documents: names and fields are those of its messages.
//!
//! Most are the monitor's own types. Two are not: people write a network's addresses with their host's
//! bits and a volume's files by their content, where the monitor takes networks and digests.

use std::net::IpAddr;

use casemate_policy::IpRange;
use casemate_policy::Sha256Digest;
use casemate_policy_monitor::ContainerLimits;
use casemate_policy_monitor::CreateRequest;
use casemate_policy_monitor::Denial;
use casemate_policy_monitor::ExecRequest;
use casemate_policy_monitor::FileRequest;
use casemate_policy_monitor::Grant;
use casemate_policy_monitor::NetworkRequest;
use casemate_policy_monitor::Pending;
use casemate_policy_monitor::ProcessRef;
use casemate_policy_monitor::PutVolumeRequest;
use casemate_policy_monitor::ReferenceMonitor;
use casemate_policy_monitor::RouteRequest;
use casemate_policy_monitor::UpdateRequest;
use serde::Deserialize;
use serde::Serialize;

/// A request of the host that the monitor judges: `{"<name of the call>": {<its fields>}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the calls are those of the agent's API and documented there")]
pub enum Request {
    CloseStdin(ProcessRef),
    CreateContainer(CreateRequest),
    Delete(ProcessRef),
    ExecProcess(ExecRequest),
    Pids(ContainerRef),
    PutVolume(PutVolume),
    ResizePty(ResizePty),
    SetNetwork(SetNetwork),
    Signal(Signal),
    Start(ProcessRef),
    State(ProcessRef),
    Stats(ContainerRef),
    TerminationMessage(ContainerRef),
    Update(UpdateRequest),
    Wait(ProcessRef),
}

/// A container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContainerRef {
    /// The container.
    pub container_id: String,
}

/// The pod's network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SetNetwork {
    /// The pod's hostname.
    pub hostname: String,
    /// The addresses of all interfaces with their prefix lengths, `10.0.0.7/24`.
    pub addresses: Vec<String>,
    /// Routes.
    pub routes: Vec<Route>,
    /// Name servers.
    pub dns_servers: Vec<IpAddr>,
    /// Search domains.
    pub dns_searches: Vec<String>,
}

/// One route.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Route {
    /// Range of addresses, `0.0.0.0/0` for the default route.
    pub destination: String,
    /// Next hop; absent = on the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
}

/// A signal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Signal {
    /// Whose.
    pub process: ProcessRef,
    /// Its number.
    pub signal: u32,
    /// Every process of the container.
    pub all: bool,
}

/// A terminal's new size; nothing of it is judged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResizePty {
    /// Whose.
    pub process: ProcessRef,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// Content of a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PutVolume {
    /// The volume.
    pub volume: String,
    /// All its files.
    pub files: Vec<File>,
}

/// A file, by its content or by digest and size.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct File {
    /// Name in the volume.
    pub name: String,
    /// The content, if it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Digest of the content, in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256Digest>,
    /// Bytes of the content, in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

/// What a monitor answers to a request.
#[derive(Debug)]
pub enum Asked {
    /// It is granted and needs no further step.
    Done,
    /// A change is granted and reserved.
    Reserved {
        /// The change.
        pending: Pending,
        /// What a new process gets.
        grant: Option<Grant>,
    },
}

impl Request {
    /// Name of the call.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::CloseStdin(_) => "CloseStdin",
            Self::CreateContainer(_) => "CreateContainer",
            Self::Delete(_) => "Delete",
            Self::ExecProcess(_) => "ExecProcess",
            Self::Pids(_) => "Pids",
            Self::PutVolume(_) => "PutVolume",
            Self::ResizePty(_) => "ResizePty",
            Self::SetNetwork(_) => "SetNetwork",
            Self::Signal(_) => "Signal",
            Self::Start(_) => "Start",
            Self::State(_) => "State",
            Self::Stats(_) => "Stats",
            Self::TerminationMessage(_) => "TerminationMessage",
            Self::Update(_) => "Update",
            Self::Wait(_) => "Wait",
        }
    }

    /// Asks a monitor.
    ///
    /// # Errors
    ///
    /// The request is malformed, or the monitor denies it.
    pub fn ask(&self, monitor: &mut dyn ReferenceMonitor) -> Result<Asked, AskError> {
        let reserved = |pending| Asked::Reserved { pending, grant: None };
        let granted = |(grant, pending)| Asked::Reserved { pending, grant: Some(grant) };
        Ok(match self {
            Self::CloseStdin(process) => done(monitor.close_stdin(process)?),
            Self::CreateContainer(create) => granted(monitor.create(create)?),
            Self::Delete(process) => reserved(monitor.delete(process)?),
            Self::ExecProcess(exec) if exec.cwd.is_empty() => {
                // The container's own.
                let cwd = monitor.container(&exec.container_id).map(|c| c.cwd.clone());
                let exec = ExecRequest { cwd: cwd.unwrap_or_default(), ..exec.clone() };
                granted(monitor.exec(&exec)?)
            }
            Self::ExecProcess(exec) => granted(monitor.exec(exec)?),
            Self::Pids(container) => done(monitor.pids(&container.container_id)?),
            Self::PutVolume(put) => reserved(monitor.put_volume(&put.request()?)?.1),
            Self::ResizePty(resize) => done(monitor.resize(&resize.process)?),
            Self::SetNetwork(network) => reserved(monitor.network(&network.request()?)?),
            Self::Signal(Signal { process, signal, all }) => {
                done(monitor.signal(process, *signal, *all)?)
            }
            Self::Start(process) => reserved(monitor.start(process)?),
            Self::State(process) | Self::Wait(process) => done(monitor.observe(process)?),
            Self::Stats(container) => done(monitor.stats(&container.container_id)?),
            Self::TerminationMessage(container) => {
                done(monitor.termination_message(&container.container_id)?)
            }
            Self::Update(update) => {
                let (_, pending): (ContainerLimits, _) = monitor.update(update)?;
                reserved(pending)
            }
        })
    }
}

const fn done((): ()) -> Asked {
    Asked::Done
}

impl SetNetwork {
    fn request(&self) -> Result<NetworkRequest, BadRequest> {
        let network = |text: &String| {
            let (address, prefix) = text.split_once('/')?;
            IpRange::of(address.parse().ok()?, prefix.parse().ok()?).ok()
        };
        let range = |field: String, text: &String| {
            network(text).ok_or(BadRequest { field, problem: "is no address with a prefix length" })
        };
        let mut request = NetworkRequest {
            hostname: self.hostname.clone(),
            dns_servers: self.dns_servers.clone(),
            dns_searches: self.dns_searches.clone(),
            ..NetworkRequest::default()
        };
        for (index, address) in self.addresses.iter().enumerate() {
            request.addresses.push(range(format!("addresses[{index}]"), address)?);
        }
        for (index, Route { destination, gateway }) in self.routes.iter().enumerate() {
            let destination = range(format!("routes[{index}].destination"), destination)?;
            request.routes.push(RouteRequest { destination, gateway: *gateway });
        }
        Ok(request)
    }
}

impl From<&NetworkRequest> for SetNetwork {
    fn from(request: &NetworkRequest) -> Self {
        let route = |route: &RouteRequest| Route {
            destination: route.destination.to_string(),
            gateway: route.gateway,
        };
        Self {
            hostname: request.hostname.clone(),
            addresses: request.addresses.iter().map(ToString::to_string).collect(),
            routes: request.routes.iter().map(route).collect(),
            dns_servers: request.dns_servers.clone(),
            dns_searches: request.dns_searches.clone(),
        }
    }
}

impl PutVolume {
    fn request(&self) -> Result<PutVolumeRequest, BadRequest> {
        let file = |(index, file): (usize, &File)| {
            let (sha256, size) = match (&file.content, file.sha256, file.size) {
                (Some(content), None, None) => {
                    let size = u64::try_from(content.len()).unwrap_or(u64::MAX);
                    (Sha256Digest::of(content.as_bytes()), size)
                }
                (None, Some(sha256), Some(size)) => (sha256, size),
                _ => {
                    let problem = "has neither content alone nor sha256 with size";
                    return Err(BadRequest { field: format!("files[{index}]"), problem });
                }
            };
            Ok(FileRequest { name: file.name.clone(), sha256, size })
        };
        let files: Result<_, _> = self.files.iter().enumerate().map(file).collect();
        Ok(PutVolumeRequest { volume: self.volume.clone(), files: files? })
    }
}

impl From<&PutVolumeRequest> for PutVolume {
    fn from(request: &PutVolumeRequest) -> Self {
        let file = |file: &FileRequest| File {
            name: file.name.clone(),
            content: None,
            sha256: Some(file.sha256),
            size: Some(file.size),
        };
        Self { volume: request.volume.clone(), files: request.files.iter().map(file).collect() }
    }
}

/// A request gets no grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The request is malformed.
    #[error(transparent)]
    Malformed(#[from] BadRequest),
    /// The monitor denies it.
    #[error(transparent)]
    Denied(#[from] Denial),
}

/// A request holds what no request can hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct BadRequest {
    /// The field.
    pub field: String,
    /// What is wrong with it.
    pub problem: &'static str,
}
