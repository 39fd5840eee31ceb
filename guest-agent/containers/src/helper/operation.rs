// SPDX-License-Identifier: Apache-2.0
//! Create and exec, in the helper process.

use std::fs::File;
use std::io::BufReader;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use libcontainer::container::ContainerStatus;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::error::LibcontainerError;
use libcontainer::oci_spec::OciSpecError;
use libcontainer::oci_spec::runtime::Process;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::syscall::syscall::SyscallType;
use rustix::io::Errno;
use rustix::pty::OpenptFlags;

use super::executor::Executor;
use super::executor::Guards;
use super::protocol::Common;
use super::protocol::Request;
use super::protocol::Terminal;
use crate::spec::SpecError;
use crate::spec::capability_sets;

/// What an operation leaves.
#[derive(Debug)]
pub(super) struct Done {
    /// Pid of the new process.
    pub(super) pid: i32,
    /// Master side of its terminal.
    pub(super) terminal: Option<OwnedFd>,
}

pub(super) fn run(request: Request, streams: Vec<OwnedFd>) -> Result<Done, OperationError> {
    match request {
        Request::Create(common) => create(&common, streams),
        Request::Exec { common, process } => exec(&common, process, streams),
    }
}

fn create(common: &Common, streams: Vec<OwnedFd>) -> Result<Done, OperationError> {
    let spec = Spec::load(common.bundle.join(CONFIG))?;
    let process = spec.process().as_ref().ok_or(OperationError::NoProcess)?;
    let guards = Guards::of_init(&spec, process);
    let executor = Executor::new(guards, common.terminal.as_ref().map(Terminal::size));
    let console = Console::listen(common.terminal.as_ref())?;
    let mut container = builder(common, executor, streams)?
        .as_init(&common.bundle)
        .with_systemd(false)
        .with_detach(true)
        .build()?;
    let pid = container.pid().ok_or(OperationError::NoProcess)?.as_raw();
    // The agent knows the container's state and starts it over the socket; the file exists for
    // later execs, which libcontainer refuses to a container that is not running.
    container.set_status(ContainerStatus::Running).save()?;
    Ok(Done { pid, terminal: console.map(Console::receive).transpose()? })
}

fn exec(
    common: &Common,
    process_file: PathBuf,
    streams: Vec<OwnedFd>,
) -> Result<Done, OperationError> {
    let spec = Spec::load(common.bundle.join(CONFIG))?;
    let open = |path: &PathBuf| {
        File::open(path).map_err(|source| OperationError::File { path: path.clone(), source })
    };
    let mut process: Process = serde_json::from_reader(BufReader::new(open(&process_file)?))?;
    let guards = Guards::of_exec(&spec, &process);
    if guards.filter_needs_privilege() {
        // Taken back by the executor right after the filter is in place.
        let granted = process.capabilities().as_ref().and_then(|c| c.permitted().clone());
        let names: Vec<String> = granted
            .unwrap_or_default()
            .iter()
            .map(|c| format!("CAP_{c}"))
            .chain(["CAP_SYS_ADMIN", "CAP_SETPCAP"].map(str::to_owned))
            .collect();
        process.set_capabilities(Some(capability_sets(names.iter().map(String::as_str))?));
        let text = serde_json::to_vec(&process)?;
        std::fs::write(&process_file, text)
            .map_err(|source| OperationError::File { path: process_file.clone(), source })?;
    }
    let executor = Executor::new(guards, common.terminal.as_ref().map(Terminal::size));
    let console = Console::listen(common.terminal.as_ref())?;
    let pid = builder(common, executor, streams)?
        .as_tenant()
        .with_process(Some(process_file))
        .with_detach(true)
        .build()?
        .as_raw();
    Ok(Done { pid, terminal: console.map(Console::receive).transpose()? })
}

fn builder(
    common: &Common,
    executor: Executor,
    streams: Vec<OwnedFd>,
) -> Result<ContainerBuilder, OperationError> {
    let builder = ContainerBuilder::new(common.id.clone(), SyscallType::default())
        .with_executor(executor)
        .with_root_path(&common.state)?
        .validate_id()?;
    let mut streams = streams.into_iter();
    match (&common.terminal, streams.next(), streams.next(), streams.next()) {
        (Some(terminal), None, None, None) => {
            Ok(builder.with_console_socket(Some(&terminal.socket)))
        }
        (None, Some(stdin), Some(stdout), Some(stderr)) => {
            Ok(builder.with_stdin(stdin).with_stdout(stdout).with_stderr(stderr))
        }
        _ => Err(OperationError::Streams),
    }
}

/// The socket on which libcontainer delivers a terminal.
#[derive(Debug)]
struct Console {
    listener: UnixListener,
    uid: u32,
    path: PathBuf,
}

impl Console {
    fn listen(terminal: Option<&Terminal>) -> Result<Option<Self>, OperationError> {
        let Some(terminal) = terminal else { return Ok(None) };
        let path = terminal.socket.clone();
        let listener = UnixListener::bind(&path)
            .map_err(|source| OperationError::File { path: path.clone(), source })?;
        Ok(Some(Self { listener, uid: terminal.uid, path }))
    }

    fn receive(self) -> Result<OwnedFd, OperationError> {
        let io = |source| OperationError::File { path: self.path.clone(), source };
        let (stream, _) = self.listener.accept().map_err(io)?;
        let master = receive_descriptor(&OwnedFd::from(stream))?;
        // The process may open its own terminal again by name, whatever its user.
        let peer = rustix::pty::ioctl_tiocgptpeer(
            &master,
            OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
        )?;
        rustix::fs::fchown(&peer, Some(rustix::fs::Uid::from_raw(self.uid)), None)?;
        Ok(master)
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // Nothing depends on it: the agent never uses a path twice.
        drop(std::fs::remove_file(&self.path));
    }
}

fn receive_descriptor(socket: &OwnedFd) -> Result<OwnedFd, OperationError> {
    use rustix::net::RecvAncillaryBuffer;
    use rustix::net::RecvAncillaryMessage;
    use rustix::net::RecvFlags;

    let mut name = [0; 256];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut buffers = [std::io::IoSliceMut::new(&mut name)];
    rustix::net::recvmsg(socket, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    control
        .drain()
        .find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        })
        .ok_or(OperationError::NoTerminal)
}

/// An operation failed; nothing of it runs.
#[derive(Debug, thiserror::Error)]
pub(super) enum OperationError {
    #[error("{0}")]
    Libcontainer(#[from] LibcontainerError),
    #[error("failed to load the container's spec")]
    Spec(#[from] OciSpecError),
    #[error(transparent)]
    Capabilities(#[from] SpecError),
    #[error("failed to use {path}")]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the process is no JSON")]
    Process(#[from] serde_json::Error),
    #[error("failed to set up the terminal")]
    Terminal(#[from] Errno),
    #[error("no process")]
    NoProcess,
    #[error("no terminal came")]
    NoTerminal,
    #[error("wrong number of standard streams")]
    Streams,
}

/// The spec's name in a bundle.
pub(crate) const CONFIG: &str = "config.json";
