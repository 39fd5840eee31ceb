// SPDX-License-Identifier: Apache-2.0
//! Create, start, exec and delete.

use std::collections::HashMap;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use libcontainer::notify_socket::NOTIFY_FILE;
use libcontainer::oci_spec::runtime::Process as OciProcess;
use rustix::fs::Mode;
use rustix::fs::OFlags;

use super::Inner;
use super::error::CreateError;
use super::error::DeleteError;
use super::error::ExecError;
use super::error::StartError;
use super::table::Container;
use super::table::Running;
use crate::helper::CONFIG;
use crate::helper::protocol::Common;
use crate::helper::protocol::Request;
use crate::helper::protocol::Terminal;
use crate::id::ContainerId;
use crate::launcher::Launched;
use crate::request::CreateSpec;
use crate::request::Created;
use crate::request::ExecSpec;
use crate::request::Exit;
use crate::request::Stdio;
use crate::request::StdioRequest;
use crate::rootfs::Bundle;
use crate::spec;
use crate::spec::Places;
use crate::stdio;
use crate::stdio::Pipes;

impl Inner {
    pub(super) async fn create(
        self: &Arc<Self>,
        create: CreateSpec,
    ) -> Result<Created, CreateError> {
        let id = create.id.clone();
        if !self.table.reserve(&id) {
            return Err(CreateError::Exists);
        }
        let made = self.make(create).await;
        match made {
            Ok((created, container)) => {
                self.oom.add(id.clone(), self.cgroup(&id));
                self.table.insert(id, container);
                Ok(created)
            }
            Err(error) => {
                if let Err(left) = self.clean(&id).await {
                    tracing::error!(container = %id, error = %left, "a failed create left something");
                }
                self.table.remove(&id);
                Err(error)
            }
        }
    }

    async fn make(
        self: &Arc<Self>,
        create: CreateSpec,
    ) -> Result<(Created, Container), CreateError> {
        let this = Arc::clone(self);
        let (id, stdio, uid) = (create.id.clone(), create.stdio, create.container.user.uid);
        let files = tokio::task::spawn_blocking(move || this.make_files(&create));
        let (bundle, process) = files.await.map_err(|_| CreateError::Aborted)??;
        let streams = self.streams(stdio, uid).map_err(CreateError::Streams)?;
        let common = self.common(&id, &bundle, streams.terminal);
        let launched = self.launcher.run(Request::Create(common), streams.process).await?;
        let (created, init) = finish(launched, streams.agent).map_err(CreateError::Streams)?;
        Ok((created, Container { init, process, started: false, execs: HashMap::new() }))
    }

    /// The container's files, `config.json` last.
    fn make_files(&self, create: &CreateSpec) -> Result<(Bundle, OciProcess), CreateError> {
        let (bundle, sources) = self.layout.prepare(create)?;
        let cgroup = self.cgroup_path(&create.id);
        let rootfs = bundle.rootfs();
        let places = Places { rootfs: &rootfs, cgroup: &cgroup, sources: &sources };
        let spec = spec::build(create, &places)?;
        spec.save(bundle.directory().join(CONFIG)).map_err(CreateError::Save)?;
        let process = spec.process().clone().ok_or(CreateError::Aborted)?;
        Ok((bundle, process))
    }

    pub(super) fn start(&self, id: &ContainerId) -> Result<(), StartError> {
        self.table.begin_start(id)?;
        let directory = self.layout.start_directory(id);
        let send = || -> std::io::Result<()> {
            // Through the directory's descriptor: a socket's path may have 107 bytes only.
            let directory = rustix::fs::open(
                &directory,
                OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            let path = format!("/proc/self/fd/{}/{NOTIFY_FILE}", directory.as_raw_fd());
            UnixStream::connect(path)?.write_all(b"start container")
        };
        send().map_err(StartError::Notify)
    }

    pub(super) async fn exec(self: &Arc<Self>, exec: ExecSpec) -> Result<Created, ExecError> {
        let pattern = self.table.begin_exec(&exec.container, &exec.exec)?;
        match self.run_exec(&exec, &pattern).await {
            Ok((created, running)) => {
                self.table.end_exec(&exec.container, &exec.exec, Some(running));
                Ok(created)
            }
            Err(error) => {
                self.table.end_exec(&exec.container, &exec.exec, None);
                Err(error)
            }
        }
    }

    async fn run_exec(
        &self,
        exec: &ExecSpec,
        pattern: &OciProcess,
    ) -> Result<(Created, Running), ExecError> {
        let process = spec::exec_process(pattern, exec)?;
        let bundle = self.layout.bundle(&exec.container);
        let file = bundle.exec_process(&exec.exec);
        let text = serde_json::to_vec(&process).map_err(|e| ExecError::Save(e.into()))?;
        // A few hundred bytes into memory.
        std::fs::write(&file, text).map_err(ExecError::Save)?;
        let streams = self.streams(exec.stdio, process.user().uid()).map_err(ExecError::Streams)?;
        let common = self.common(&exec.container, &bundle, streams.terminal);
        let request = Request::Exec { common, process: file.clone() };
        let launched = self.launcher.run(request, streams.process).await;
        if let Err(error) = std::fs::remove_file(&file) {
            tracing::debug!(%error, "the container went while a command started");
        }
        finish(launched?, streams.agent).map_err(ExecError::Streams)
    }

    pub(super) async fn delete(&self, id: &ContainerId) -> Result<Exit, DeleteError> {
        let mut init = self.table.begin_delete(id)?;
        self.oom.remove(id);
        self.clean(id).await?;
        let exit = init.exit.wait().await.ok_or(DeleteError::Aborted)?;
        self.table.remove(id);
        Ok(exit)
    }

    /// Ends every process of a container and removes what was made for it.
    async fn clean(&self, id: &ContainerId) -> Result<(), DeleteError> {
        self.cgroup(id).remove().await?;
        Ok(self.layout.remove(id)?)
    }

    fn common(&self, id: &ContainerId, bundle: &Bundle, terminal: Option<Terminal>) -> Common {
        Common {
            id: id.as_str().to_owned(),
            state: self.layout.state(),
            bundle: bundle.directory().to_owned(),
            terminal,
        }
    }

    fn streams(&self, request: StdioRequest, uid: u32) -> Result<Streams, rustix::io::Errno> {
        match request {
            StdioRequest::Pipes { stdin, stdout, stderr } => {
                let Pipes { process, agent } = Pipes::make((stdin, stdout, stderr), uid)?;
                Ok(Streams { process, agent: Some(agent), terminal: None })
            }
            StdioRequest::Terminal(size) => {
                let number = self.terminals.fetch_add(1, Ordering::Relaxed);
                let socket = self.layout.terminal(number);
                let terminal = Terminal { socket, columns: size.columns, rows: size.rows, uid };
                Ok(Streams { process: Vec::new(), agent: None, terminal: Some(terminal) })
            }
        }
    }
}

/// Streams of a process that is about to be made.
struct Streams {
    process: Vec<OwnedFd>,
    agent: Option<Stdio>,
    terminal: Option<Terminal>,
}

/// Puts together what the caller gets and what the table keeps.
fn finish(
    launched: Launched,
    pipes: Option<Stdio>,
) -> Result<(Created, Running), rustix::io::Errno> {
    let Launched { pid, exit, terminal } = launched;
    let (stdio, terminal) = match (pipes, terminal) {
        (Some(pipes), _) => (pipes, None),
        (None, Some(master)) => {
            stdio::nonblocking(&master)?;
            let kept = rustix::io::fcntl_dupfd_cloexec(&master, 3)?;
            (Stdio::Terminal(master), Some(Arc::new(kept)))
        }
        (None, None) => return Err(rustix::io::Errno::NOTTY),
    };
    let number = u32::try_from(pid.as_raw_nonzero().get()).map_err(|_| rustix::io::Errno::SRCH)?;
    Ok((Created { pid: number, stdio }, Running { pid, exit, terminal }))
}
