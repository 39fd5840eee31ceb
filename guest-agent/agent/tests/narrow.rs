// SPDX-License-Identifier: Apache-2.0
//! The owner's extra rules in the agent: they narrow, and nobody but the request itself waits for them.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[expect(dead_code, reason = "the double serves other tests too")]
mod fake;
#[expect(dead_code, reason = "the requests serve other tests too")]
mod requests;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::Duration;

use casemate_agent::Audit;
use casemate_agent::Guest;
use casemate_agent_api::ApiError;
use casemate_agent_api::Code;
use casemate_agent_api::mux;
use casemate_agent_api::mux::Handle;
use casemate_agent_api::mux::Role;
use casemate_agent_api::proto;
use casemate_agent_api::rpc;
use casemate_agent_api::service::AgentClient;
use casemate_audit::OwnerKey;
use casemate_audit::Record;
use casemate_audit::Verdict;
use casemate_policy_monitor::Monitor;
use casemate_policy_rules::Input;
use casemate_policy_rules::Judge;
use casemate_policy_rules::Refusal;
use fake::Doors;
use fake::World;
use requests::conf;
use requests::container;
use requests::exec;
use requests::network;
use requests::policy;
use requests::process;
use requests::signal;
use requests::update;
use requests::web;
use tokio::net::UnixStream;
use ttrpc::context::Context;

/// Says no to requests of one name; takes its time over those of another.
#[derive(Debug)]
struct Slow {
    denies: &'static str,
    slow_at: &'static str,
    asked: tokio::sync::mpsc::UnboundedSender<()>,
    answers: Mutex<mpsc::Receiver<()>>,
}

impl Judge for Slow {
    fn judge(&self, input: &Input) -> Result<(), Refusal> {
        if input.request == self.slow_at {
            self.asked.send(()).unwrap();
            let answers = self.answers.lock().unwrap();
            answers.recv_timeout(Duration::from_secs(20)).unwrap();
        }
        if input.request == self.denies { Err(Refusal::Denied) } else { Ok(()) }
    }
}

struct Bench {
    owner: OwnerKey,
    world: Arc<World>,
    guest: Guest,
    client: AgentClient,
    _doors: Doors,
    _host: Handle,
}

impl Bench {
    async fn attested(judge: Arc<dyn Judge>) -> Self {
        let world = Arc::new(World::default());
        let owner = OwnerKey::generate().unwrap();
        let audit = Arc::new(Audit::sealed(owner.public_key()).unwrap());
        let guest = Guest::narrowed(Monitor::new(policy()).unwrap(), judge, world.parts());
        let guest = guest.with_audit(audit);
        let (doors, transport) = fake::transport();
        tokio::spawn(casemate_agent::serve(transport, guest.clone()));
        let (host_io, guest_io) = UnixStream::pair().unwrap();
        doors.send(guest_io).await.unwrap();
        let (host, _, driver) = mux::connect(host_io, Role::Host);
        tokio::spawn(driver);
        let client = rpc::client(&host).unwrap();
        client.set_network(context(), &network()).await.unwrap();
        let ready = proto::AwaitReadyRequest { timeout_ms: 5000, ..Default::default() };
        client.await_ready(context(), &ready).await.unwrap();
        client.put_volume(context(), &conf()).await.unwrap();
        Self { owner, world, guest, client, _doors: doors, _host: host }
    }

    async fn running(judge: Arc<dyn Judge>) -> Self {
        let bench = Self::attested(judge).await;
        bench.client.create_container(context(), &web("c1")).await.unwrap();
        bench.client.start(context(), &process("c1", "")).await.unwrap();
        bench
    }

    /// The newest record but for the reading, as the owner reads the log after the host has carried it.
    async fn last_record(&self) -> Record {
        let everything = proto::ReadAuditRequest::default();
        let reply = self.client.read_audit(context(), &everything).await.unwrap();
        let frames = std::iter::once(&reply.boot).chain(&reply.records);
        let file: String = frames.map(|frame| casemate_audit::line(frame)).collect();
        let checked = casemate_audit::check(file.as_bytes(), Some(&self.owner), &[]).unwrap();
        assert_eq!(checked.findings, []);
        let records = checked.entries.into_iter().filter_map(|entry| entry.record);
        records.rev().find(|record| record.call.as_str() != "ReadAudit").unwrap()
    }
}

/// That the record is of a call which the owner's rules denied, and tells nothing of the rules.
#[track_caller]
fn check_denied_by_rules(record: &Record, call: &str) {
    let code = record.code.as_ref().map(|code| code.as_str());
    assert_eq!(
        (record.call.as_str(), record.verdict, code),
        (call, Verdict::Denied, Some("policy.rules"))
    );
    let text = record.text.as_ref().map(|text| text.as_str().to_owned());
    assert_eq!(text, Some(format!("request: the owner's rules do not allow this {call}")));
}

/// A slow judge, what tells that it was asked, and what lets it answer.
fn slow(
    slow_at: &'static str,
    denies: &'static str,
) -> (Arc<Slow>, tokio::sync::mpsc::UnboundedReceiver<()>, mpsc::Sender<()>) {
    let (asked, was_asked) = tokio::sync::mpsc::unbounded_channel();
    let (answer, answers) = mpsc::channel();
    (Arc::new(Slow { denies, slow_at, asked, answers: Mutex::new(answers) }), was_asked, answer)
}

fn context() -> Context {
    ttrpc::context::with_duration(Duration::from_secs(20))
}

fn code<T>(result: ttrpc::Result<T>) -> Code {
    match result {
        Ok(_) => panic!("granted"),
        Err(error) => ApiError::from_rpc(&error).code(),
    }
}

/// One thread for everything that does not block: a lock that is held meanwhile would stop the test.
#[tokio::test(flavor = "current_thread")]
async fn nobody_else_waits_while_the_rules_judge_a_change() {
    let (judge, mut was_asked, answer) = slow("ExecProcess", "");
    let bench = Bench::running(judge).await;
    let client = bench.client.clone();
    let execs = tokio::spawn(async move { client.exec_process(context(), &exec("e1")).await });
    was_asked.recv().await.unwrap();
    // Waiting, looking and killing pass.
    let state = bench.client.state(context(), &process("c1", "")).await.unwrap();
    assert_eq!(state.state.unwrap(), proto::ProcessState::RUNNING);
    bench.client.stats(context(), &container("c1")).await.unwrap();
    bench.client.signal(context(), &signal("c1", 15)).await.unwrap();
    bench.client.wait(context(), &process("c1", "")).await.unwrap();
    assert!(!execs.is_finished());
    answer.send(()).unwrap();
    execs.await.unwrap().unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn a_signal_is_judged_by_how_things_are_after_the_rules() {
    let (judge, mut was_asked, answer) = slow("Signal", "");
    let bench = Bench::running(judge).await;
    let client = bench.client.clone();
    let kills = tokio::spawn(async move { client.signal(context(), &signal("c1", 15)).await });
    was_asked.recv().await.unwrap();
    // The container ends while the rules judge.
    bench.world.end_all();
    bench.client.wait(context(), &process("c1", "")).await.unwrap();
    let ended = bench.guest.fingerprint();
    answer.send(()).unwrap();
    assert_eq!(code(kills.await.unwrap()), Code::RequestId);
    assert_eq!(bench.guest.fingerprint(), ended);
}

#[tokio::test]
async fn what_the_rules_deny_is_not_carried_out_and_leaves_no_trace() {
    for denies in ["CreateContainer", "ExecProcess", "Signal", "Stats", "Update"] {
        let (judge, ..) = slow("", denies);
        let bench = match denies {
            "CreateContainer" => Bench::attested(judge).await,
            _ => Bench::running(judge).await,
        };
        let before = bench.guest.fingerprint();
        let reference = container("c1");
        let denied = match denies {
            "CreateContainer" => code(bench.client.create_container(context(), &web("c1")).await),
            "ExecProcess" => code(bench.client.exec_process(context(), &exec("e1")).await),
            "Signal" => code(bench.client.signal(context(), &signal("c1", 15)).await),
            "Stats" => code(bench.client.stats(context(), &reference).await),
            _ => code(bench.client.update(context(), &update(Some(2_097_152), None, None)).await),
        };
        assert_eq!(denied, Code::PolicyRules, "{denies}");
        assert_eq!(bench.guest.fingerprint(), before, "{denies}");
        check_denied_by_rules(&bench.last_record().await, denies);
    }
}

/// The rules as the guest evaluates them: by the agent's own program, run again.
#[cfg(feature = "rego")]
#[tokio::test]
async fn rego_narrows_what_the_real_agent_grants() {
    use casemate_policy_rules::Rules;
    use casemate_rego_engine::Cage;
    use casemate_rego_engine::Reaping;

    let text = r#"
        package casemate
        import rego.v1
        default allow := false
        allow if input.request in {"SetNetwork", "PutVolume", "CreateContainer"}
        allow if { input.request == "ExecProcess"; input.granted.uid == 1000 }
        allow if { input.request == "Signal"; input.container == "web"; input.fields.signal == 15 }
    "#;
    let agent = env!("CARGO_BIN_EXE_casemate-agent").into();
    let rules = Rules::new(text, Cage::new(agent, Reaping::Here)).unwrap();
    let bench = Bench::running(Arc::new(rules)).await;
    let client = &bench.client;
    client.exec_process(context(), &exec("e1")).await.unwrap();
    // The policy grants these two, the second as user 7; the rules do not.
    let reference = container("c1");
    assert_eq!(code(client.stats(context(), &reference).await), Code::PolicyRules);
    check_denied_by_rules(&bench.last_record().await, "Stats");
    let mut migrate = exec("e2");
    migrate.argv = vec!["/bin/migrate".into()];
    migrate.env.push("B=c".into());
    assert_eq!(code(client.exec_process(context(), &migrate).await), Code::PolicyRules);
    check_denied_by_rules(&bench.last_record().await, "ExecProcess");
    assert_eq!(bench.world.execs.load(std::sync::atomic::Ordering::SeqCst), 0);
    // What the policy denies they are not asked about.
    let shell = proto::ExecProcessRequest { argv: vec!["/bin/sh".into()], ..exec("e3") };
    assert_eq!(code(client.exec_process(context(), &shell).await), Code::PolicyExec);
    client.signal(context(), &signal("c1", 15)).await.unwrap();
}
