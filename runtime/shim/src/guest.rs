// SPDX-License-Identifier: Apache-2.0
//! The shim's side of the agent API: one connection to one guest, with a deadline on every call.

use std::time::Duration;

use casemate_agent_api::ApiError;
use casemate_agent_api::Code;
use casemate_agent_api::mux;
use casemate_agent_api::mux::End;
use casemate_agent_api::mux::Handle;
use casemate_agent_api::mux::Role;
use casemate_agent_api::mux::StreamKind;
use casemate_agent_api::proto;
use casemate_agent_api::request::ContainerId;
use casemate_agent_api::request::ExecId;
use casemate_agent_api::request::ProcessId;
use casemate_agent_api::request::RequestError;
use casemate_agent_api::rpc;
use casemate_agent_api::service::AgentClient;
use casemate_sandbox::Process;
use tokio::net::UnixStream;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::timeout;
use ttrpc::context::Context;

use crate::stdio::Pumps;
use crate::stdio::Streams;

/// A connected guest. Cheap to clone.
#[derive(Clone)]
pub struct Guest {
    client: AgentClient,
    connection: Handle,
    /// For calls that are answered at once.
    deadline: Duration,
}

impl Guest {
    /// Starts the protocol on the port's socket. The guest may still be booting: calls wait for it
    /// within their deadlines.
    ///
    /// # Errors
    ///
    /// [`Code::VmDied`] when the connection ends at once.
    pub fn connect(port: UnixStream, deadline: Duration) -> Result<Self, ApiError> {
        let (connection, _, driver) = mux::connect(port, Role::Host);
        tokio::spawn(async move {
            let end = driver.await;
            tracing::info!(%end, "connection to the agent ended");
        });
        let client =
            rpc::client(&connection).map_err(|error| ApiError::new(Code::VmDied, error))?;
        Ok(Self { client, connection, deadline })
    }

    /// Waits until the connection ends. A guest that refuses to boot says why.
    pub async fn ended(&self) -> ApiError {
        end_error(self.connection.ended().await)
    }

    /// Ends the connection.
    pub fn close(&self) {
        self.connection.close();
    }

    /// Waits for the agent's first answer.
    ///
    /// # Errors
    ///
    /// The guest's reason not to boot, or [`Code::VmBoot`] after `boot_deadline`.
    pub async fn first_hello(
        &self,
        boot_deadline: Duration,
    ) -> Result<proto::HelloReply, ApiError> {
        match self.hello(boot_deadline).await {
            // The connection stands and nobody answers: firmware or kernel stopped.
            Err(error) if error.code() == Code::VmDied && !self.has_ended().await => {
                let limit = boot_deadline.as_secs();
                Err(ApiError::new(
                    Code::VmBoot,
                    format_args!("no word from the agent in {limit} s"),
                ))
            }
            other => other,
        }
    }

    /// Asks for a sign of life and the guest's timeline.
    ///
    /// # Errors
    ///
    /// [`Code::VmDied`] without an answer within `deadline`.
    pub async fn hello(&self, deadline: Duration) -> Result<proto::HelloReply, ApiError> {
        let request = proto::HelloRequest::default();
        self.call(deadline, async |client, context| client.hello(context, &request).await).await
    }

    /// Gives the guest its network.
    ///
    /// # Errors
    ///
    /// The guest's.
    pub async fn set_network(&self, request: &proto::SetNetworkRequest) -> Result<(), ApiError> {
        self.call(self.deadline, async |client, context| client.set_network(context, request).await)
            .await
            .map(drop)
    }

    /// Waits until the guest is attested.
    ///
    /// # Errors
    ///
    /// Why the guest failed, or [`Code::BrokerUnreachable`] after `limit`.
    pub async fn await_ready(&self, limit: Duration) -> Result<Vec<proto::Mark>, ApiError> {
        let end = Instant::now().checked_add(limit);
        loop {
            let timeout_ms = u32::try_from(POLL.as_millis()).unwrap_or(u32::MAX);
            let request = proto::AwaitReadyRequest { timeout_ms, ..Default::default() };
            let reply = self
                .call(POLL.saturating_add(self.deadline), async |client, context| {
                    client.await_ready(context, &request).await
                })
                .await?;
            match reply.phase.enum_value() {
                Ok(proto::Phase::ATTESTED) => return Ok(reply.timeline),
                Ok(proto::Phase::FAILED) => {
                    // E19: a code that is not ours becomes an internal one.
                    let code = reply.failure_code.parse().unwrap_or(Code::Internal);
                    return Err(ApiError::new(code, reply.failure));
                }
                _ => {}
            }
            if end.is_none_or(|end| Instant::now() >= end) {
                let limit = limit.as_secs();
                let detail = format!("the guest did not attest itself within {limit} s");
                return Err(ApiError::new(Code::BrokerUnreachable, detail));
            }
            // A guest that answers early is not asked in a loop.
            sleep(PAUSE).await;
        }
    }

    /// Asks for a container until its image is there or `limit` is over.
    ///
    /// # Errors
    ///
    /// The guest's; [`Code::PullInProgress`] when the pull takes longer.
    pub async fn create_container(
        &self,
        request: &proto::CreateContainerRequest,
        limit: Duration,
    ) -> Result<(), ApiError> {
        let attempts = async {
            loop {
                let result = self
                    .call(limit, async |client, context| {
                        client.create_container(context, request).await
                    })
                    .await;
                match result {
                    Err(error) if error.code() == Code::PullInProgress => sleep(PAUSE).await,
                    other => return other.map(drop),
                }
            }
        };
        timeout(limit, attempts).await.unwrap_or_else(|_| {
            let detail = format!("the image is not there after {} s", limit.as_secs());
            Err(ApiError::new(Code::PullInProgress, detail))
        })
    }

    /// Asks for an exec.
    ///
    /// # Errors
    ///
    /// The guest's.
    pub async fn exec(&self, request: &proto::ExecProcessRequest) -> Result<(), ApiError> {
        self.call(self.deadline, async |client, context| {
            client.exec_process(context, request).await
        })
        .await
        .map(drop)
    }

    /// Starts a process.
    ///
    /// # Errors
    ///
    /// The guest's.
    pub async fn start(&self, process: &Process) -> Result<(), ApiError> {
        let request = process_ref(process);
        self.call(self.deadline, async |client, context| client.start(context, &request).await)
            .await
            .map(drop)
    }

    /// Sends a signal.
    ///
    /// # Errors
    ///
    /// The guest's.
    pub async fn signal(&self, process: &Process, signal: u32, all: bool) -> Result<(), ApiError> {
        let request = proto::SignalRequest {
            process: Some(process_ref(process)).into(),
            signal,
            all,
            ..Default::default()
        };
        self.call(self.deadline, async |client, context| client.signal(context, &request).await)
            .await
            .map(drop)
    }

    /// Waits for the end of a process, without a deadline; its exit code.
    ///
    /// # Errors
    ///
    /// The guest's, and [`Code::VmDied`] when the connection ends.
    pub async fn wait(&self, process: &Process) -> Result<u32, ApiError> {
        let request = process_ref(process);
        match self.client.wait(Context::default(), &request).await {
            Ok(exit) => Ok(exit.code),
            Err(error) => Err(self.explain(&error).await),
        }
    }

    /// Has the guest forget a process.
    ///
    /// # Errors
    ///
    /// The guest's.
    pub async fn delete(&self, process: &Process) -> Result<(), ApiError> {
        let request = process_ref(process);
        self.call(self.deadline, async |client, context| client.delete(context, &request).await)
            .await
            .map(drop)
    }

    /// Sets the size of a terminal.
    ///
    /// # Errors
    ///
    /// The guest's.
    pub async fn resize(&self, process: &Process, width: u32, height: u32) -> Result<(), ApiError> {
        let request = proto::ResizePtyRequest {
            process: Some(process_ref(process)).into(),
            width,
            height,
            ..Default::default()
        };
        self.call(self.deadline, async |client, context| client.resize_pty(context, &request).await)
            .await
            .map(drop)
    }

    /// Closes a process's standard input.
    ///
    /// # Errors
    ///
    /// The guest's.
    pub async fn close_stdin(&self, process: &Process) -> Result<(), ApiError> {
        let request = process_ref(process);
        self.call(self.deadline, async |client, context| {
            client.close_stdin(context, &request).await
        })
        .await
        .map(drop)
    }

    /// Resource use of a container.
    ///
    /// # Errors
    ///
    /// The guest's.
    pub async fn stats(&self, process: &Process) -> Result<proto::StatsReply, ApiError> {
        let container_id = process.task.to_string();
        let request = proto::ContainerRef { container_id, ..Default::default() };
        self.call(self.deadline, async |client, context| client.stats(context, &request).await)
            .await
    }

    /// Gives a volume its content.
    ///
    /// # Errors
    ///
    /// The guest's.
    pub async fn put_volume(&self, request: &proto::PutVolumeRequest) -> Result<(), ApiError> {
        self.call(self.deadline, async |client, context| client.put_volume(context, request).await)
            .await
            .map(drop)
    }

    /// Changes limits of a container.
    ///
    /// # Errors
    ///
    /// The guest's.
    pub async fn update(&self, request: &proto::UpdateRequest) -> Result<(), ApiError> {
        self.call(self.deadline, async |client, context| client.update(context, request).await)
            .await
            .map(drop)
    }

    /// The last words of a container that has ended: at most 4096 bytes (E19).
    ///
    /// # Errors
    ///
    /// The guest's.
    pub async fn termination_message(&self, process: &Process) -> Result<Vec<u8>, ApiError> {
        let container_id = process.task.to_string();
        let request = proto::ContainerRef { container_id, ..Default::default() };
        let mut message = self
            .call(self.deadline, async |client, context| {
                client.termination_message(context, &request).await
            })
            .await?
            .message;
        message.truncate(MAX_TERMINATION_MESSAGE);
        Ok(message)
    }

    /// Waits for the guest's next event, a while.
    ///
    /// # Errors
    ///
    /// The guest's.
    pub async fn next_event(&self) -> Result<proto::NextEventReply, ApiError> {
        let timeout_ms = u32::try_from(EVENT_POLL.as_millis()).unwrap_or(u32::MAX);
        let request = proto::NextEventRequest { timeout_ms, ..Default::default() };
        self.call(EVENT_POLL.saturating_add(self.deadline), async |client, context| {
            client.next_event(context, &request).await
        })
        .await
    }

    /// Waits for records of the guest's audit log from the number `from` on, a while.
    ///
    /// # Errors
    ///
    /// The guest's.
    pub async fn read_audit(&self, from: u64) -> Result<proto::ReadAuditReply, ApiError> {
        let timeout_ms = u32::try_from(EVENT_POLL.as_millis()).unwrap_or(u32::MAX);
        let request =
            proto::ReadAuditRequest { from_sequence: from, timeout_ms, ..Default::default() };
        self.call(EVENT_POLL.saturating_add(self.deadline), async |client, context| {
            client.read_audit(context, &request).await
        })
        .await
    }

    /// Asks the guest to power off. Whether it stays on for a moment, to end its audit log.
    ///
    /// # Errors
    ///
    /// The guest's.
    pub async fn shutdown(&self, deadline: Duration) -> Result<bool, ApiError> {
        let request = proto::Empty::default();
        self.call(deadline, async |client, context| client.shutdown(context, &request).await)
            .await
            .map(|reply| reply.stays)
    }

    /// Opens the guest's ends of a process's streams.
    ///
    /// # Errors
    ///
    /// [`Code::VmDied`] when the connection takes no further stream.
    pub fn open_streams(&self, process: &Process, streams: Streams) -> Result<Pumps, ApiError> {
        let id = process_id(process)?;
        let open = |wanted: bool, kind: fn(ProcessId) -> StreamKind| {
            if !wanted {
                return Ok(None);
            }
            let stream = self.connection.open(kind(id.clone()));
            stream.map(Some).map_err(|error| ApiError::new(Code::VmDied, error))
        };
        Ok(Pumps {
            stdin: open(streams.stdin, StreamKind::Stdin)?,
            stdout: open(streams.stdout, StreamKind::Stdout)?,
            stderr: open(streams.stderr, StreamKind::Stderr)?,
        })
    }

    /// One call with a deadline. What the guest answers is bounded by the transport's frames and
    /// one line of text (E19).
    async fn call<T>(
        &self,
        deadline: Duration,
        call: impl AsyncFnOnce(&AgentClient, Context) -> ttrpc::Result<T>,
    ) -> Result<T, ApiError> {
        match timeout(deadline, call(&self.client, Context::default())).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => Err(self.explain(&error).await),
            Err(_) => {
                let detail = format!("no answer from the agent in {} s", deadline.as_secs());
                Err(ApiError::new(Code::VmDied, detail))
            }
        }
    }

    /// The guest's answer, or why the connection ended.
    async fn explain(&self, error: &ttrpc::Error) -> ApiError {
        if matches!(error, ttrpc::Error::RpcStatus(_)) {
            return ApiError::from_rpc(error);
        }
        timeout(PAUSE, self.ended()).await.unwrap_or_else(|_| ApiError::from_rpc(error))
    }

    async fn has_ended(&self) -> bool {
        timeout(Duration::ZERO, self.connection.ended()).await.is_ok()
    }
}

fn end_error(end: End) -> ApiError {
    match end {
        End::Fatal { code, message } => ApiError::new(code, message),
        other => ApiError::new(Code::VmDied, other),
    }
}

fn process_ref(process: &Process) -> proto::ProcessRef {
    proto::ProcessRef {
        container_id: process.task.to_string(),
        exec_id: process.exec.as_ref().map(ToString::to_string).unwrap_or_default(),
        ..Default::default()
    }
}

fn process_id(process: &Process) -> Result<ProcessId, RequestError> {
    let container = ContainerId::parse(process.task.as_str())?;
    let exec = process.exec.as_ref().map(|exec| ExecId::parse(exec.as_str())).transpose()?;
    Ok(ProcessId::new(container, exec))
}

/// What kubelet reads of a termination message, in bytes.
const MAX_TERMINATION_MESSAGE: usize = 4096;
/// How long one question whether the guest is ready may wait.
const POLL: Duration = Duration::from_secs(10);
/// How long one question for an event may wait.
const EVENT_POLL: Duration = Duration::from_secs(30);
/// Between two questions of the same kind.
const PAUSE: Duration = Duration::from_millis(200);
