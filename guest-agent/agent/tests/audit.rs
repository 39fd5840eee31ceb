// SPDX-License-Identifier: Apache-2.0
//! The audit log as the host makes it grow: the API over the multiplexer and a socket pair.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[expect(dead_code, reason = "the double serves other tests too")]
mod fake;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use casemate_agent::Audit;
use casemate_agent::Guest;
use casemate_agent_api::mux;
use casemate_agent_api::mux::Handle;
use casemate_agent_api::mux::Role;
use casemate_agent_api::mux::StreamKind;
use casemate_agent_api::proto;
use casemate_agent_api::request::ContainerId;
use casemate_agent_api::request::ProcessId;
use casemate_agent_api::rpc;
use casemate_agent_api::service::AgentClient;
use casemate_audit::OwnerKey;
use casemate_audit::Record;
use casemate_audit::Verdict;
use casemate_policy::Policy;
use fake::Doors;
use fake::World;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use ttrpc::context::Context;
use ttrpc::proto::Codec;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// Stands where a secret could stand.
const CANARY: &str = "hunter2-canary";

fn policy() -> Policy {
    Policy::parse(
        br#"
        version = 1
        [containers.web]
        image = "registry.example/web@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        encryption = "required"
        argv = ["/bin/web"]
        cwd = "/"
        user = { uid = 1000, gid = 1000 }
        logs = "none"
        no_new_privileges = true
        seccomp = "default"
        signals = [15]
        max_starts = 1
        "#,
    )
    .unwrap()
}

/// A guest, its host, and the owner who reads the log.
struct Bench {
    owner: OwnerKey,
    audit: Arc<Audit>,
    world: Arc<World>,
    _doors: Doors,
    host: Handle,
    client: AgentClient,
}

impl Bench {
    async fn bound() -> Self {
        let world = Arc::new(World::default());
        let owner = OwnerKey::generate().unwrap();
        let audit = Arc::new(Audit::sealed(owner.public_key()).unwrap());
        let guest = Guest::new(policy(), world.parts()).unwrap().with_audit(Arc::clone(&audit));
        let (doors, transport) = fake::transport();
        tokio::spawn(casemate_agent::serve(transport, guest));
        let (host_io, guest_io) = UnixStream::pair().unwrap();
        doors.send(guest_io).await.unwrap();
        let (host, _, driver) = mux::connect(host_io, Role::Host);
        tokio::spawn(driver);
        let client = rpc::client(&host).unwrap();
        Self { owner, audit, world, _doors: doors, host, client }
    }

    async fn attested() -> Self {
        let bench = Self::bound().await;
        let network = proto::SetNetworkRequest {
            interfaces: vec![proto::Interface {
                name: "eth0".into(),
                mac: vec![2, 0, 0, 0, 0, 1],
                mtu: 1500,
                addresses: vec!["10.1.2.3/24".into()],
                ..Default::default()
            }],
            hostname: "pod".into(),
            ..Default::default()
        };
        bench.client.set_network(context(), &network).await.unwrap();
        let request = proto::AwaitReadyRequest { timeout_ms: 5000, ..Default::default() };
        bench.client.await_ready(context(), &request).await.unwrap();
        bench
    }

    async fn read(&self, from: u64) -> proto::ReadAuditReply {
        let request = proto::ReadAuditRequest { from_sequence: from, ..Default::default() };
        self.client.read_audit(context(), &request).await.unwrap()
    }

    /// The log as the owner reads it, after the host has carried it out.
    async fn records(&self) -> Vec<Record> {
        let reply = self.read(0).await;
        assert_eq!(reply.first_sequence, 0);
        let frames = std::iter::once(&reply.boot).chain(&reply.records);
        let file: String = frames.map(|frame| casemate_audit::line(frame)).collect();
        // The read itself is the newest record, and not in its own answer.
        let checked = casemate_audit::check(file.as_bytes(), Some(&self.owner), &[]).unwrap();
        assert_eq!(checked.findings, []);
        checked.entries.into_iter().map(|entry| entry.record.unwrap()).collect()
    }

    /// Waits for the end of the VM.
    async fn off(&self) {
        while !self.world.is_off.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The one record that `act` adds.
    async fn adds<T>(&self, act: impl AsyncFnOnce(&Self) -> T) -> Record {
        let before = self.audit.head().sequence;
        act(self).await;
        while self.audit.head().sequence == before {
            tokio::task::yield_now().await;
        }
        assert_eq!(self.audit.head().sequence, before + 1, "one request is one record");
        self.records().await[usize::try_from(before).unwrap()].clone()
    }
}

fn context() -> Context {
    ttrpc::context::with_duration(Duration::from_secs(20))
}

fn web() -> proto::CreateContainerRequest {
    proto::CreateContainerRequest {
        id: "c1".into(),
        name: "web".into(),
        image_digest: DIGEST.into(),
        argv: vec!["/bin/web".into()],
        cwd: "/".into(),
        ..Default::default()
    }
}

fn process(container: &str) -> proto::ProcessRef {
    proto::ProcessRef { container_id: container.into(), ..Default::default() }
}

fn told(record: &Record) -> (&str, Verdict, Option<&str>, Option<&str>) {
    let code = record.code.as_ref().map(|code| code.as_str());
    let field = record.field.as_ref().map(|field| field.as_str());
    (record.call.as_str(), record.verdict, code, field)
}

fn names(record: &Record) -> Vec<(&str, &str)> {
    record.names.iter().map(|(field, value)| (field.as_str(), value.as_str())).collect()
}

/// A request as it stands in a frame of ttrpc.
fn frame(service: &str, method: &str, payload: &[u8]) -> Vec<u8> {
    let request = ttrpc::Request {
        service: service.into(),
        method: method.into(),
        payload: payload.to_vec(),
        ..Default::default()
    };
    let payload = request.encode().unwrap();
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes().to_vec();
    frame.extend([0, 0, 0, 1, ttrpc::proto::MESSAGE_TYPE_REQUEST, 0]);
    frame.extend(payload);
    frame
}

const AGENT: &str = "casemate.agent.v1.Agent";

#[tokio::test]
async fn allowed_requests_are_recorded() {
    let bench = Bench::attested().await;
    let record =
        bench.adds(async |b| b.client.create_container(context(), &web()).await.unwrap()).await;
    assert_eq!(told(&record), ("CreateContainer", Verdict::Allowed, None, None));
    let digest = ("image_digest", DIGEST);
    assert_eq!(names(&record), [("id", "c1"), ("name", "web"), digest]);
    let record =
        bench.adds(async |b| b.client.start(context(), &process("c1")).await.unwrap()).await;
    assert_eq!(told(&record), ("Start", Verdict::Allowed, None, None));
    assert_eq!(names(&record), [("container_id", "c1")]);
    let calls: Vec<_> =
        bench.records().await.iter().map(|record| record.call.as_str().to_owned()).collect();
    assert_eq!(calls[..2], ["SetNetwork", "AwaitReady"]);
}

#[tokio::test]
async fn denied_requests_are_recorded_with_field_and_code() {
    let bench = Bench::attested().await;
    let mut other = web();
    other.argv.push("--debug".into());
    let record =
        bench.adds(async |b| b.client.create_container(context(), &other).await.unwrap_err()).await;
    let (call, verdict, code, field) = told(&record);
    assert_eq!((call, verdict, code), ("CreateContainer", Verdict::Denied, Some("policy.argv")));
    assert!(field.is_some_and(|field| field.starts_with("argv")), "{record:?}");
    let record = bench
        .adds(async |b| b.client.start(context(), &process("nobody")).await.unwrap_err())
        .await;
    assert_eq!(told(&record).2, Some("request.id"));
}

#[tokio::test]
async fn a_request_before_its_phase_is_recorded() {
    // A1.
    let bench = Bench::bound().await;
    let record =
        bench.adds(async |b| b.client.create_container(context(), &web()).await.unwrap_err()).await;
    assert_eq!(told(&record).2, Some("request.phase"));
}

#[tokio::test]
async fn no_value_of_the_environment_is_in_the_log() {
    // A27, A28.
    let bench = Bench::attested().await;
    let mut other = web();
    other.env = vec![format!("DB_PASSWORD={CANARY}")];
    other.cwd = "/".into();
    let record =
        bench.adds(async |b| b.client.create_container(context(), &other).await.unwrap_err()).await;
    assert_eq!(told(&record).2, Some("policy.env"));
    let json = String::from_utf8(record.to_json().unwrap()).unwrap();
    assert!(json.contains("DB_PASSWORD") && !json.contains(CANARY), "{json}");
    // Nor in what the host carries.
    for frame in bench.read(0).await.records {
        let text = String::from_utf8_lossy(&frame).into_owned();
        assert!(!text.contains(CANARY) && !text.contains("DB_PASSWORD"));
    }
}

#[tokio::test]
async fn what_reaches_no_method_is_recorded() {
    // A18, A24: calls that the API does not have, and what is no request.
    let bench = Bench::attested().await;
    for (frame, call) in [
        (frame(AGENT, "CopyFile", b""), "CopyFile"),
        (frame(AGENT, "SetIPTables", b""), "SetIPTables"),
        (frame("grpc.AgentService", "SetPolicy", b""), "grpc.AgentService/SetPolicy"),
        (frame(AGENT, "Start", &[0xff; 5]), "Start"),
    ] {
        let record = bench
            .adds(async |b| {
                let mut stream = b.host.open(StreamKind::Rpc).unwrap();
                stream.write_all(&frame).await.unwrap();
                // The host is told no.
                let mut header = [0; 10];
                stream.read_exact(&mut header).await.unwrap();
            })
            .await;
        let (name, verdict, code, _) = told(&record);
        assert_eq!((name, verdict), (call, Verdict::Denied));
        assert_eq!(code, Some("request.invalid"));
    }
}

#[tokio::test]
async fn a_broken_frame_is_recorded_and_ends_its_stream_alone() {
    // A24.
    let bench = Bench::attested().await;
    for header in [
        [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 1, 0],
        [0, 0, 0, 0, 0, 0, 0, 2, 1, 0],
        [0, 0, 0, 0, 0, 0, 0, 1, 9, 0],
    ] {
        let record = bench
            .adds(async |b| {
                let mut stream = b.host.open(StreamKind::Rpc).unwrap();
                stream.write_all(&header).await.unwrap();
                let mut rest = Vec::new();
                let end =
                    tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest));
                let _ = end.await.expect("the stream ends");
                assert!(rest.is_empty());
            })
            .await;
        assert_eq!(told(&record), ("?", Verdict::Denied, Some("request.invalid"), Some("request")));
    }
    // Another stream goes on.
    bench.client.hello(context(), &proto::HelloRequest::new()).await.unwrap();
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_a_record() {
    // A22.
    let bench = Bench::attested().await;
    bench.client.create_container(context(), &web()).await.unwrap();
    let record = bench
        .adds(async |b| {
            let hurried = ttrpc::context::with_duration(Duration::from_millis(50));
            b.client.wait(hurried, &process("c1")).await.unwrap_err();
        })
        .await;
    assert_eq!(told(&record), ("Wait", Verdict::Abandoned, None, None));
}

#[tokio::test]
async fn a_stream_that_is_not_granted_is_recorded() {
    // A16.
    let bench = Bench::attested().await;
    bench.client.create_container(context(), &web()).await.unwrap();
    let stdout =
        |id: &str| StreamKind::Stdout(ProcessId::new(ContainerId::parse(id).unwrap(), None));
    let record = bench.adds(async |b| b.host.open(stdout("c1")).unwrap()).await;
    assert_eq!(
        told(&record),
        ("stream:stdout", Verdict::Denied, Some("policy.stdio"), Some("stdout"))
    );
    let record = bench.adds(async |b| b.host.open(stdout("c2")).unwrap()).await;
    assert_eq!(told(&record).2, Some("request.id"));
}

#[tokio::test]
async fn reading_the_log_does_not_feed_it() {
    let bench = Bench::bound().await;
    let mut from = bench.read(0).await.first_sequence;
    for _ in 0..10 {
        let reply = bench.read(from).await;
        from = reply.first_sequence + u64::try_from(reply.records.len()).unwrap();
    }
    assert_eq!(bench.audit.head().sequence, 1);
    // A reader that waits is answered by the next request.
    let request =
        proto::ReadAuditRequest { from_sequence: 1, timeout_ms: 20_000, ..Default::default() };
    let hello = proto::HelloRequest::new();
    let (read, hello) = tokio::join!(
        bench.client.read_audit(context(), &request),
        bench.client.hello(context(), &hello),
    );
    hello.unwrap();
    assert_eq!(read.unwrap().records.len(), 1);
}

#[tokio::test]
async fn the_log_goes_on_over_connections_and_ends_with_the_guest() {
    let bench = Bench::attested().await;
    let record = bench
        .adds(async |b| b.client.shutdown(context(), &proto::Empty::new()).await.unwrap())
        .await;
    assert_eq!(told(&record).0, "Shutdown");
    bench.off().await;
}

#[tokio::test]
async fn the_end_of_the_log_is_attested_and_carried_out_before_the_vm_ends() {
    let bench = Bench::attested().await;
    bench.client.create_container(context(), &web()).await.unwrap();
    bench.client.start(context(), &process("c1")).await.unwrap();
    // As the shim does: it waits for the process and for records.
    let waiting = bench.client.clone();
    tokio::spawn(async move { waiting.wait(context(), &process("c1")).await });
    bench.read(0).await;
    let before = bench.world.attestations.load(Ordering::SeqCst);
    let reply = bench.client.shutdown(context(), &proto::Empty::new()).await.unwrap();
    assert!(reply.stays);
    let mut calls = Vec::new();
    while !calls.iter().any(|call| call == "Shutdown") {
        calls = bench.records().await.iter().map(|record| record.call.to_string()).collect();
    }
    assert!(calls.iter().any(|call| call == "Wait"), "{calls:?}");
    bench.off().await;
    assert!(bench.world.attestations.load(Ordering::SeqCst) > before);
    // To read the end adds nothing to it: what was attested last is all that there is.
    let end = bench.audit.head();
    bench.read(0).await;
    assert_eq!(bench.audit.head(), end);
}

#[tokio::test]
async fn a_guest_that_never_was_attested_does_not_try_at_its_end() {
    let bench = Bench::bound().await;
    let reply = bench.client.shutdown(context(), &proto::Empty::new()).await.unwrap();
    assert!(reply.stays, "its records are for the owner all the same");
    bench.off().await;
    assert_eq!(bench.world.attestations.load(Ordering::SeqCst), 0);
}
