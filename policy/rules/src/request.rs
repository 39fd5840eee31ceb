// SPDX-License-Identifier: Apache-2.0
//! The requests of the agent's API as documents: names and fields are those of its messages.

use std::net::IpAddr;

use casemate_policy::IpRange;
use casemate_policy::Sha256Digest;
use casemate_policy_monitor::ContainerLimits;
use casemate_policy_monitor::CreateRequest;
use casemate_policy_monitor::Denial;
use casemate_policy_monitor::ExecRequest;
use casemate_policy_monitor::FileRequest;
use casemate_policy_monitor::Grant;
use casemate_policy_monitor::MountRequest;
use casemate_policy_monitor::MountWish;
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
    CloseStdin(Process),
    CreateContainer(CreateContainer),
    Delete(Process),
    ExecProcess(ExecProcess),
    Pids(ContainerRef),
    PutVolume(PutVolume),
    ResizePty(ResizePty),
    SetNetwork(SetNetwork),
    Signal(Signal),
    Start(Process),
    State(Process),
    Stats(ContainerRef),
    TerminationMessage(ContainerRef),
    Update(Update),
    Wait(Process),
}

/// A process of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Process {
    /// The container.
    pub container_id: String,
    /// The process of an exec; empty for the container's first process.
    pub exec_id: String,
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

/// A container, as CRI asks for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CreateContainer {
    /// Id that the host gives.
    pub id: String,
    /// Name in the pod.
    pub name: String,
    /// `sha256:…` of the manifest that the host's tag resolved to.
    pub image_digest: String,
    /// The whole argument list.
    pub argv: Vec<String>,
    /// `NAME=value`
    pub env: Vec<String>,
    /// Working directory.
    pub cwd: String,
    /// Whether it wants a terminal.
    pub terminal: bool,
    /// Whether the host will write to stdin.
    pub stdin: bool,
    /// Whether the host will read stdout.
    pub stdout: bool,
    /// Whether the host will read stderr.
    pub stderr: bool,
    /// The mounts beside /proc, /dev, /sys and the like.
    pub mounts: Vec<Mount>,
    /// Whether the root file system is read-only.
    pub readonly_rootfs: bool,
}

/// A mount that the host asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// Path in the container.
    pub destination: String,
    /// What kubelet wants there.
    pub kind: MountKind,
    /// Whether it is read-only.
    #[serde(default)]
    pub readonly: bool,
}

/// What kubelet wants at a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "the kinds are those of the agent's API and documented there")]
pub enum MountKind {
    Hosts,
    Hostname,
    ResolvConf,
    TerminationLog,
    Shm,
    EmptyDir,
    Content,
    Other,
}

/// A process in a running container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExecProcess {
    /// The container.
    pub container_id: String,
    /// Id that the host gives.
    pub exec_id: String,
    /// The whole argument list.
    pub argv: Vec<String>,
    /// `NAME=value`
    pub env: Vec<String>,
    /// Working directory; empty = the container's.
    pub cwd: String,
    /// Whether it wants a terminal.
    pub terminal: bool,
    /// Whether the host will write to stdin.
    pub stdin: bool,
    /// Whether the host will read stdout.
    pub stdout: bool,
    /// Whether the host will read stderr.
    pub stderr: bool,
}

/// A signal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Signal {
    /// Whose.
    pub process: Process,
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
    pub process: Process,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// New limits; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Update {
    /// The container.
    pub container_id: String,
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<u64>,
    /// Thousandths of a CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u64>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<u64>,
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
            Self::CloseStdin(process) => done(monitor.close_stdin(&process.reference())?),
            Self::CreateContainer(create) => granted(monitor.create(&create.request())?),
            Self::Delete(process) => reserved(monitor.delete(&process.reference())?),
            Self::ExecProcess(exec) => {
                let own = monitor.container(&exec.container_id).map(|c| c.cwd.clone());
                granted(monitor.exec(&exec.request(own.as_deref()))?)
            }
            Self::Pids(container) => done(monitor.pids(&container.container_id)?),
            Self::PutVolume(put) => reserved(monitor.put_volume(&put.request()?)?.1),
            Self::ResizePty(resize) => done(monitor.resize(&resize.process.reference())?),
            Self::SetNetwork(network) => reserved(monitor.network(&network.request()?)?),
            Self::Signal(Signal { process, signal, all }) => {
                done(monitor.signal(&process.reference(), *signal, *all)?)
            }
            Self::Start(process) => reserved(monitor.start(&process.reference())?),
            Self::State(process) | Self::Wait(process) => {
                done(monitor.observe(&process.reference())?)
            }
            Self::Stats(container) => done(monitor.stats(&container.container_id)?),
            Self::TerminationMessage(container) => {
                done(monitor.termination_message(&container.container_id)?)
            }
            Self::Update(update) => {
                let (_, pending): (ContainerLimits, _) = monitor.update(&update.request())?;
                reserved(pending)
            }
        })
    }
}

const fn done((): ()) -> Asked {
    Asked::Done
}

impl Process {
    /// In the monitor's words.
    #[must_use]
    pub fn reference(&self) -> ProcessRef {
        if self.exec_id.is_empty() {
            ProcessRef::init(&self.container_id)
        } else {
            ProcessRef::exec(&self.container_id, &self.exec_id)
        }
    }
}

impl From<&ProcessRef> for Process {
    fn from(process: &ProcessRef) -> Self {
        let ProcessRef { container_id, exec_id } = process.clone();
        Self { container_id, exec_id: exec_id.unwrap_or_default() }
    }
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

impl CreateContainer {
    /// In the monitor's words.
    #[must_use]
    pub fn request(&self) -> CreateRequest {
        let mount = |mount: &Mount| MountRequest {
            destination: mount.destination.clone(),
            kind: mount.kind.wish(),
            readonly: mount.readonly,
        };
        CreateRequest {
            id: self.id.clone(),
            name: self.name.clone(),
            image_digest: self.image_digest.clone(),
            argv: self.argv.clone(),
            env: self.env.clone(),
            cwd: self.cwd.clone(),
            terminal: self.terminal,
            stdin: self.stdin,
            stdout: self.stdout,
            stderr: self.stderr,
            mounts: self.mounts.iter().map(mount).collect(),
            readonly_rootfs: self.readonly_rootfs,
        }
    }
}

impl From<&CreateRequest> for CreateContainer {
    fn from(request: &CreateRequest) -> Self {
        let mount = |mount: &MountRequest| Mount {
            destination: mount.destination.clone(),
            kind: MountKind::of(mount.kind),
            readonly: mount.readonly,
        };
        Self {
            id: request.id.clone(),
            name: request.name.clone(),
            image_digest: request.image_digest.clone(),
            argv: request.argv.clone(),
            env: request.env.clone(),
            cwd: request.cwd.clone(),
            terminal: request.terminal,
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            mounts: request.mounts.iter().map(mount).collect(),
            readonly_rootfs: request.readonly_rootfs,
        }
    }
}

impl MountKind {
    const ALL: [Self; 7] = [
        Self::Hosts,
        Self::Hostname,
        Self::ResolvConf,
        Self::TerminationLog,
        Self::Shm,
        Self::EmptyDir,
        Self::Content,
    ];

    const fn wish(self) -> Option<MountWish> {
        match self {
            Self::Hosts => Some(MountWish::Hosts),
            Self::Hostname => Some(MountWish::Hostname),
            Self::ResolvConf => Some(MountWish::ResolvConf),
            Self::TerminationLog => Some(MountWish::TerminationLog),
            Self::Shm => Some(MountWish::Shm),
            Self::EmptyDir => Some(MountWish::EmptyDir),
            Self::Content => Some(MountWish::Content),
            Self::Other => None,
        }
    }

    fn of(wish: Option<MountWish>) -> Self {
        Self::ALL.into_iter().find(|kind| kind.wish() == wish).unwrap_or(Self::Other)
    }
}

impl ExecProcess {
    fn request(&self, own_cwd: Option<&str>) -> ExecRequest {
        let cwd = if self.cwd.is_empty() { own_cwd.unwrap_or_default() } else { &self.cwd };
        ExecRequest {
            container_id: self.container_id.clone(),
            exec_id: self.exec_id.clone(),
            argv: self.argv.clone(),
            env: self.env.clone(),
            cwd: cwd.to_owned(),
            terminal: self.terminal,
            stdin: self.stdin,
            stdout: self.stdout,
            stderr: self.stderr,
        }
    }
}

impl From<&ExecRequest> for ExecProcess {
    fn from(request: &ExecRequest) -> Self {
        Self {
            container_id: request.container_id.clone(),
            exec_id: request.exec_id.clone(),
            argv: request.argv.clone(),
            env: request.env.clone(),
            cwd: request.cwd.clone(),
            terminal: request.terminal,
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
        }
    }
}

impl Update {
    fn request(&self) -> UpdateRequest {
        UpdateRequest {
            container_id: self.container_id.clone(),
            memory_limit: self.memory_limit,
            cpu_millis: self.cpu_millis,
            pids: self.pids,
        }
    }
}

impl From<&UpdateRequest> for Update {
    fn from(request: &UpdateRequest) -> Self {
        Self {
            container_id: request.container_id.clone(),
            memory_limit: request.memory_limit,
            cpu_millis: request.cpu_millis,
            pids: request.pids,
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
