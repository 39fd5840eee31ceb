// SPDX-License-Identifier: Apache-2.0
//! containerd's Task service: messages in, calls of the [`Pod`], messages out.
//!
//! The messages of `containerd.task.v2` and `v3` are the same; both names are served, so that every
//! containerd from 1.6 on finds the one it asks for.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use casemate_agent_api::proto;
use casemate_sandbox::Id;
use casemate_sandbox::Process;
use casemate_sandbox::Status;
use containerd_shim::protos::api;
use containerd_shim::protos::cgroups_v2::metrics;
use containerd_shim::protos::shim_async::Task;
use containerd_shim::protos::shim_async::create_task;
use containerd_shim::protos::types::task::ProcessInfo;
use ttrpc::asynchronous::Service;
use ttrpc::asynchronous::TtrpcContext;

use crate::error::ShimError;
use crate::events::exit_fields;
use crate::events::to_any;
use crate::pod::CreateTask;
use crate::pod::Pod;
use crate::runtime_options;
use crate::spec;
use crate::stdio::Uris;

/// The Task service of one pod.
pub struct TaskService {
    pod: Arc<Pod>,
}

impl TaskService {
    /// The service of `pod`.
    #[must_use]
    pub fn new(pod: Arc<Pod>) -> Self {
        Self { pod }
    }

    /// The service under the names of both versions, for a ttrpc server.
    #[must_use]
    pub fn into_services(self) -> HashMap<String, Service> {
        let service: Arc<dyn Task + Send + Sync> = Arc::new(self);
        let mut services = HashMap::new();
        for name in [TASK_V2, TASK_V3] {
            // The generated code registers under v3 alone.
            let renamed = create_task(Arc::clone(&service)).into_values();
            services.extend(renamed.map(|service| (name.to_owned(), service)));
        }
        services
    }
}

#[async_trait]
impl Task for TaskService {
    async fn create(
        &self,
        _: &TtrpcContext,
        request: api::CreateTaskRequest,
    ) -> ttrpc::Result<api::CreateTaskResponse> {
        if !request.checkpoint.is_empty() {
            return Err(CHECKPOINT.to_rpc());
        }
        let task = id(&request.id).and_then(|id| {
            Ok(CreateTask {
                id,
                bundle: request.bundle.into(),
                uris: Uris {
                    terminal: request.terminal,
                    stdin: request.stdin,
                    stdout: request.stdout,
                    stderr: request.stderr,
                },
                config: runtime_options::config_path(request.options.as_ref())?,
            })
        });
        let task = task.map_err(|error| error.to_rpc())?;
        let pid = complete(Arc::clone(&self.pod).create(task)).await?;
        Ok(api::CreateTaskResponse { pid, ..Default::default() })
    }

    async fn start(
        &self,
        _: &TtrpcContext,
        request: api::StartRequest,
    ) -> ttrpc::Result<api::StartResponse> {
        let process = process(&request.id, &request.exec_id)?;
        let pid = complete(Arc::clone(&self.pod).start(process)).await?;
        Ok(api::StartResponse { pid, ..Default::default() })
    }

    async fn state(
        &self,
        _: &TtrpcContext,
        request: api::StateRequest,
    ) -> ttrpc::Result<api::StateResponse> {
        let process = process(&request.id, &request.exec_id)?;
        let info = self.pod.state(&process).map_err(|error| error.to_rpc())?;
        let (exit_status, exited_at) = exit_fields(info.view.exit);
        let status = match info.view.status {
            Status::Created => api::Status::CREATED,
            Status::Running => api::Status::RUNNING,
            Status::Stopped => api::Status::STOPPED,
        };
        Ok(api::StateResponse {
            id: request.id,
            bundle: info.bundle,
            pid: info.view.pid,
            status: status.into(),
            stdin: info.uris.stdin,
            stdout: info.uris.stdout,
            stderr: info.uris.stderr,
            terminal: info.uris.terminal,
            exit_status,
            exited_at,
            exec_id: request.exec_id,
            ..Default::default()
        })
    }

    async fn kill(&self, _: &TtrpcContext, request: api::KillRequest) -> ttrpc::Result<api::Empty> {
        let process = process(&request.id, &request.exec_id)?;
        let kill = Arc::clone(&self.pod).kill(process, request.signal, request.all);
        complete(kill).await.map(|()| api::Empty::default())
    }

    async fn wait(
        &self,
        _: &TtrpcContext,
        request: api::WaitRequest,
    ) -> ttrpc::Result<api::WaitResponse> {
        let process = process(&request.id, &request.exec_id)?;
        let exit = self.pod.wait(&process).await.map_err(|error| error.to_rpc())?;
        let (exit_status, exited_at) = exit_fields(Some(exit));
        Ok(api::WaitResponse { exit_status, exited_at, ..Default::default() })
    }

    async fn delete(
        &self,
        _: &TtrpcContext,
        request: api::DeleteRequest,
    ) -> ttrpc::Result<api::DeleteResponse> {
        let process = process(&request.id, &request.exec_id)?;
        let last = complete(Arc::clone(&self.pod).delete(process)).await?;
        let (exit_status, exited_at) = exit_fields(last.exit);
        Ok(api::DeleteResponse { pid: last.pid, exit_status, exited_at, ..Default::default() })
    }

    async fn exec(
        &self,
        _: &TtrpcContext,
        request: api::ExecProcessRequest,
    ) -> ttrpc::Result<api::Empty> {
        let parsed = (|| {
            let wanted: spec::Process = serde_json::from_slice(&request.spec.value)
                .map_err(|error| malformed("spec", &error))?;
            Ok((id(&request.id)?, id(&request.exec_id)?, wanted))
        })();
        let (task, exec, wanted) = parsed.map_err(|error: ShimError| error.to_rpc())?;
        let uris = Uris {
            terminal: request.terminal,
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
        };
        let wanted = spec::Process { terminal: request.terminal, ..wanted };
        complete(Arc::clone(&self.pod).exec(task, exec, wanted, uris)).await?;
        Ok(api::Empty::default())
    }

    async fn resize_pty(
        &self,
        _: &TtrpcContext,
        request: api::ResizePtyRequest,
    ) -> ttrpc::Result<api::Empty> {
        let process = process(&request.id, &request.exec_id)?;
        let resized = self.pod.resize(&process, request.width, request.height).await;
        resized.map(|()| api::Empty::default()).map_err(|error| error.to_rpc())
    }

    async fn close_io(
        &self,
        _: &TtrpcContext,
        request: api::CloseIORequest,
    ) -> ttrpc::Result<api::Empty> {
        let process = process(&request.id, &request.exec_id)?;
        if request.stdin {
            self.pod.close_stdin(&process).map_err(|error| error.to_rpc())?;
        }
        Ok(api::Empty::default())
    }

    /// Every process of the pod is the VMM on the host.
    async fn pids(
        &self,
        _: &TtrpcContext,
        request: api::PidsRequest,
    ) -> ttrpc::Result<api::PidsResponse> {
        let process = process(&request.id, "")?;
        let info = self.pod.state(&process).map_err(|error| error.to_rpc())?;
        let vmm = ProcessInfo { pid: info.view.pid, ..Default::default() };
        Ok(api::PidsResponse { processes: vec![vmm], ..Default::default() })
    }

    async fn stats(
        &self,
        _: &TtrpcContext,
        request: api::StatsRequest,
    ) -> ttrpc::Result<api::StatsResponse> {
        let task = id(&request.id).map_err(|error| error.to_rpc())?;
        let stats = self.pod.stats(task).await.map_err(|error| error.to_rpc())?;
        let stats = Some(to_any(&metrics(&stats))).into();
        Ok(api::StatsResponse { stats, ..Default::default() })
    }

    async fn update(
        &self,
        _: &TtrpcContext,
        request: api::UpdateTaskRequest,
    ) -> ttrpc::Result<api::Empty> {
        let task = id(&request.id).map_err(|error| error.to_rpc())?;
        let resources = request.resources.unwrap_or_default().value;
        complete(Arc::clone(&self.pod).update(task, resources)).await?;
        Ok(api::Empty::default())
    }

    async fn connect(
        &self,
        _: &TtrpcContext,
        request: api::ConnectRequest,
    ) -> ttrpc::Result<api::ConnectResponse> {
        let process = process(&request.id, "")?;
        let info = self.pod.state(&process).map_err(|error| error.to_rpc())?;
        Ok(api::ConnectResponse {
            shim_pid: std::process::id(),
            task_pid: info.view.pid,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Default::default()
        })
    }

    async fn shutdown(
        &self,
        _: &TtrpcContext,
        request: api::ShutdownRequest,
    ) -> ttrpc::Result<api::Empty> {
        let done = self.pod.shutdown(request.now);
        done.map(|()| api::Empty::default()).map_err(|error| error.to_rpc())
    }

    async fn pause(&self, _: &TtrpcContext, _: api::PauseRequest) -> ttrpc::Result<api::Empty> {
        Err(PAUSE.to_rpc())
    }

    async fn resume(&self, _: &TtrpcContext, _: api::ResumeRequest) -> ttrpc::Result<api::Empty> {
        Err(PAUSE.to_rpc())
    }

    async fn checkpoint(
        &self,
        _: &TtrpcContext,
        _: api::CheckpointTaskRequest,
    ) -> ttrpc::Result<api::Empty> {
        Err(CHECKPOINT.to_rpc())
    }
}

/// Runs a request to its end, even when containerd goes away meanwhile and the service's own future
/// is dropped.
async fn complete<T: Send + 'static>(
    request: impl Future<Output = Result<T, ShimError>> + Send + 'static,
) -> ttrpc::Result<T> {
    match tokio::spawn(request).await {
        Ok(result) => result.map_err(|error| error.to_rpc()),
        Err(error) => Err(ttrpc::Error::RpcStatus(ttrpc::get_status(
            ttrpc::Code::INTERNAL,
            format_args!("the request was given up: {error}"),
        ))),
    }
}

/// A container's statistics as containerd reads them on any host: those of cgroup v2.
fn metrics(stats: &proto::StatsReply) -> metrics::Metrics {
    let cpu = metrics::CPUStat {
        usage_usec: stats.cpu_usage_usec,
        user_usec: stats.cpu_user_usec,
        system_usec: stats.cpu_system_usec,
        nr_periods: stats.cpu_nr_periods,
        nr_throttled: stats.cpu_nr_throttled,
        throttled_usec: stats.cpu_throttled_usec,
        ..Default::default()
    };
    let memory = metrics::MemoryStat {
        usage: stats.memory_usage,
        usage_limit: stats.memory_limit,
        anon: stats.memory_anon,
        file: stats.memory_file,
        inactive_file: stats.memory_inactive_file,
        pgfault: stats.memory_pgfault,
        pgmajfault: stats.memory_pgmajfault,
        ..Default::default()
    };
    let pids = metrics::PidsStat {
        current: stats.pids_current,
        limit: stats.pids_limit,
        ..Default::default()
    };
    let events = metrics::MemoryEvents { oom_kill: stats.memory_oom_kill, ..Default::default() };
    metrics::Metrics {
        pids: Some(pids).into(),
        cpu: Some(cpu).into(),
        memory: Some(memory).into(),
        memory_events: Some(events).into(),
        ..Default::default()
    }
}

fn id(text: &str) -> Result<Id, ShimError> {
    Ok(Id::new(text)?)
}

fn process(task: &str, exec: &str) -> ttrpc::Result<Process> {
    let parse = || -> Result<Process, ShimError> {
        let exec = if exec.is_empty() { None } else { Some(id(exec)?) };
        Ok(Process { task: id(task)?, exec })
    };
    parse().map_err(|error| error.to_rpc())
}

fn malformed(field: &'static str, reason: &dyn std::fmt::Display) -> ShimError {
    ShimError::Malformed { field, reason: reason.to_string() }
}

const TASK_V2: &str = "containerd.task.v2.Task";
const TASK_V3: &str = "containerd.task.v3.Task";

const PAUSE: ShimError = ShimError::Unsupported {
    what: "pause and resume",
    reason: "a host that stops a confidential guest at will can attack it by timing",
};

const CHECKPOINT: ShimError = ShimError::Unsupported {
    what: "checkpoint and restore",
    reason: "the memory of a confidential guest does not leave it",
};
