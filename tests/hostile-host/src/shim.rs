// SPDX-License-Identifier: Apache-2.0
//! The evil shim: a host that speaks the agent API to a guest in this process, over the real
//! multiplexer and ttrpc, and looks at what its requests have changed.

mod double;
pub(crate) mod requests;
pub(crate) mod wire;
mod world;

use std::fmt::Debug;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::bail;
use anyhow::ensure;
use async_trait::async_trait;
use casemate_agent::Audit;
use casemate_agent::Guest;
use casemate_agent::Parts;
use casemate_agent::Transport;
use casemate_agent_api::ApiError;
use casemate_agent_api::Code;
use casemate_agent_api::mux;
use casemate_agent_api::mux::Handle;
use casemate_agent_api::mux::Role;
use casemate_agent_api::mux::StreamKind;
use casemate_agent_api::proto;
use casemate_agent_api::rpc;
use casemate_agent_api::service::AgentClient;
use casemate_audit::OwnerPublicKey;
use casemate_policy::Policy;
use casemate_policy_monitor::Monitor;
use casemate_policy_monitor::ReferenceMonitor;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use ttrpc::asynchronous::Client;
use ttrpc::asynchronous::transport::Socket;

use crate::Context;
use crate::Mode;

use double::AllowAll;
pub(crate) use world::Effects;
pub(crate) use world::World;

/// A guest with its world, and a hostile host connected to it.
pub(crate) struct EvilShim {
    pub(crate) world: Arc<World>,
    pub(crate) host: Handle,
    pub(crate) client: AgentClient,
    guest: Guest,
    audit: Arc<Audit>,
    policy: Policy,
    doors: Doors,
    mode: Mode,
}

/// Where hosts come in.
#[derive(Clone)]
pub(crate) struct Doors(mpsc::Sender<UnixStream>);

/// What stops a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// Code: it is refused in both modes.
    Code,
    /// The policy: under the double it is carried out.
    Policy,
    /// The policy, and under the double whatever then becomes of it.
    Either,
}

/// All that a request could have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    effects: Effects,
    phase: i32,
    state: String,
}

impl EvilShim {
    /// A guest in phase "bound".
    pub(crate) async fn bound(context: &Context, policy: &str) -> anyhow::Result<Self> {
        let world = Arc::new(World::default());
        let parts = world.parts();
        Self::with_parts(context, policy, world, parts, Audit::unsealed()).await
    }

    /// The same, of parts that may be real.
    pub(crate) async fn with_parts(
        context: &Context,
        policy: &str,
        world: Arc<World>,
        parts: Parts,
        audit: Audit,
    ) -> anyhow::Result<Self> {
        let policy = Policy::parse(policy.as_bytes()).context("the test's policy")?;
        let monitor: Box<dyn ReferenceMonitor> = match context.mode() {
            Mode::Policy => Box::new(Monitor::new(policy.clone()).context("the test's policy")?),
            Mode::AllowAll => Box::new(AllowAll::new(policy.clone())),
        };
        let audit = Arc::new(audit);
        let guest = Guest::with_monitor(monitor, parts);
        let guest = guest.with_audit(Arc::clone(&audit));
        let (doors, transport) = transport();
        tokio::spawn(casemate_agent::serve(transport, guest.clone()));
        let (host, client) = doors.connect().await?;
        Ok(Self { world, host, client, guest, audit, policy, doors, mode: context.mode() })
    }

    /// A guest that is attested and takes containers.
    pub(crate) async fn attested(context: &Context, policy: &str) -> anyhow::Result<Self> {
        Self::bound(context, policy).await?.attest().await
    }

    /// Gives the guest its network and waits until it is attested.
    pub(crate) async fn attest(self) -> anyhow::Result<Self> {
        self.client.set_network(deadline(), &requests::network()).await.context("SetNetwork")?;
        let request = proto::AwaitReadyRequest { timeout_ms: 5000, ..Default::default() };
        let reply = self.client.await_ready(deadline(), &request).await.context("AwaitReady")?;
        ensure!(reply.phase.enum_value() == Ok(proto::Phase::ATTESTED), "not attested");
        Ok(self)
    }

    /// A guest of [`requests::POLICY`] in which container `c1`, named "web", runs.
    pub(crate) async fn running(context: &Context) -> anyhow::Result<Self> {
        let shim = Self::attested(context, requests::POLICY).await?;
        shim.run(&requests::web("c1")).await?;
        Ok(shim)
    }

    /// The same with an audit log that `owner` can read.
    pub(crate) async fn running_sealed(
        context: &Context,
        owner: &OwnerPublicKey,
    ) -> anyhow::Result<Self> {
        let world = Arc::new(World::default());
        let (parts, audit) = (world.parts(), Audit::sealed(owner)?);
        let shim = Self::with_parts(context, requests::POLICY, world, parts, audit).await?;
        let shim = shim.attest().await?;
        shim.run(&requests::web("c1")).await?;
        Ok(shim)
    }

    /// Creates and starts a container.
    pub(crate) async fn run(&self, request: &proto::CreateContainerRequest) -> anyhow::Result<()> {
        self.client.create_container(deadline(), request).await.context("CreateContainer")?;
        let process = requests::process(&request.id, "");
        self.client.start(deadline(), &process).await.context("Start").map(drop)
    }

    /// The pod's policy.
    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Digest of the monitor's state.
    pub(crate) fn state(&self) -> String {
        format!("{:?}", self.guest.fingerprint())
    }

    /// The same guest, through another connection.
    pub(crate) fn over(&self, client: AgentClient) -> Self {
        Self {
            world: Arc::clone(&self.world),
            host: self.host.clone(),
            client,
            guest: self.guest.clone(),
            audit: Arc::clone(&self.audit),
            policy: self.policy.clone(),
            doors: self.doors.clone(),
            mode: self.mode,
        }
    }

    /// Another host at the same guest.
    pub(crate) async fn another(&self) -> anyhow::Result<(Handle, AgentClient)> {
        self.doors.connect().await
    }

    /// A connection without anything on it.
    pub(crate) async fn raw_connection(&self) -> anyhow::Result<UnixStream> {
        self.doors.open().await
    }

    /// Tries to connect, as a port does whose host side has room for a few. The guest may not
    /// have taken the connection yet.
    pub(crate) fn knock(&self) -> anyhow::Result<Option<UnixStream>> {
        let (host, guest) = UnixStream::pair()?;
        Ok(self.doors.0.try_send(guest).is_ok().then_some(host))
    }

    /// Sends any bytes to any call.
    pub(crate) async fn raw(&self, call: &str, payload: Vec<u8>) -> ttrpc::Result<Vec<u8>> {
        self.raw_on(&self.host, call, payload).await
    }

    /// As [`Self::raw`], on a connection of its own.
    pub(crate) async fn raw_on(
        &self,
        host: &Handle,
        call: &str,
        payload: Vec<u8>,
    ) -> ttrpc::Result<Vec<u8>> {
        let stream = host.open(StreamKind::Rpc);
        let stream = stream.map_err(|error| ttrpc::Error::Others(error.to_string()))?;
        let request = ttrpc::proto::Request {
            service: "casemate.agent.v1.Agent".to_owned(),
            method: call.to_owned(),
            payload,
            timeout_nano: 30_000_000_000,
            ..Default::default()
        };
        Ok(Client::new(Socket::new(stream)).request(request).await?.payload)
    }

    /// What the host's requests have led to so far.
    pub(crate) async fn fingerprint(&self) -> anyhow::Result<Fingerprint> {
        let hello = self.client.hello(deadline(), &proto::HelloRequest::new()).await?;
        let phase = hello.phase.value();
        Ok(Fingerprint { effects: self.world.effects(), phase, state: self.state() })
    }

    /// How many records the guest's audit log has.
    pub(crate) fn records(&self) -> u64 {
        self.audit.head().sequence
    }

    /// DENY: the request is refused with `code`, nothing has changed, and there is one record of it
    /// in the audit log. If only the policy stands against it, it must go through under the double.
    pub(crate) async fn deny<T: Debug>(
        &self,
        what: &str,
        by: By,
        code: Code,
        request: impl Future<Output = ttrpc::Result<T>>,
    ) -> anyhow::Result<()> {
        let before = self.fingerprint().await?;
        let records = self.records();
        let answer = request.await;
        let records = self.records().saturating_sub(records);
        ensure!(records == 1, "{what}: {records} records in the audit log");
        if self.mode == Mode::AllowAll && by != By::Code {
            if by == By::Policy {
                answer.with_context(|| format!("{what}: not granted, though nothing judges"))?;
            }
            return Ok(());
        }
        let error = match answer {
            Ok(answer) => bail!("{what}: granted: {answer:?}"),
            Err(error) => ApiError::from_rpc(&error),
        };
        ensure!(error.code() == code, "{what}: refused as {error}, and not as {code}");
        let after = self.fingerprint().await?;
        ensure!(before == after, "{what}: refused, with a side effect: {before:?} → {after:?}");
        Ok(())
    }
}

impl Doors {
    async fn open(&self) -> anyhow::Result<UnixStream> {
        let (host, guest) = UnixStream::pair()?;
        self.0.send(guest).await.context("the guest serves no more")?;
        Ok(host)
    }

    async fn connect(&self) -> anyhow::Result<(Handle, AgentClient)> {
        let (host, _, driver) = mux::connect(self.open().await?, Role::Host);
        tokio::spawn(driver);
        let client = rpc::client(&host)?;
        Ok((host, client))
    }
}

/// The status that ttrpc itself answered with.
pub(crate) fn status<T>(answer: &ttrpc::Result<T>) -> Option<ttrpc::Code> {
    match answer {
        Err(ttrpc::Error::RpcStatus(status)) => Some(status.code()),
        _ => None,
    }
}

/// Deadline of one request.
pub(crate) fn deadline() -> ttrpc::context::Context {
    ttrpc::context::with_duration(Duration::from_secs(30))
}

/// A transport whose connections the test makes.
fn transport() -> (Doors, impl Transport) {
    let (doors, connections) = mpsc::channel(4);
    (Doors(doors), Pairs(connections))
}

struct Pairs(mpsc::Receiver<UnixStream>);

#[async_trait]
impl Transport for Pairs {
    type Io = UnixStream;

    async fn accept(&mut self) -> io::Result<UnixStream> {
        self.0.recv().await.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}
