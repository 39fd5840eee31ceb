// SPDX-License-Identifier: Apache-2.0
//! What 64 clients that send denied requests without a pause cost an honest container's start.
//!
//! `cargo run --release -p casemate-agent --example hostile_clients` prints one JSON object: the time
//! from the request for a container to the answer that it runs, in microseconds, alone and beside them,
//! in turns; and how many denials the 64 got in a second.
//!
//! The service, the queue, the monitor, the audit log and the multiplexer are the guest's, on as many
//! threads; the container runtime is a double that takes no time. So what is measured is the agent's
//! own share of a start, which is where a queue of others' requests would show; a real start takes a
//! hundred times as long. All share one connection, as the guest has one port.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a measurement that cannot be taken ends"
)]

#[expect(dead_code, reason = "the double serves tests too")]
#[path = "../tests/fake/mod.rs"]
mod fake;
#[expect(dead_code, reason = "the requests serve tests too")]
#[path = "../tests/requests/mod.rs"]
mod requests;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use casemate_agent::Audit;
use casemate_agent::Guest;
use casemate_agent_api::ApiError;
use casemate_agent_api::Code;
use casemate_agent_api::mux;
use casemate_agent_api::mux::Role;
use casemate_agent_api::proto;
use casemate_agent_api::rpc;
use casemate_agent_api::service::AgentClient;
use casemate_audit::OwnerKey;
use fake::World;
use requests::conf;
use requests::exec;
use requests::network;
use requests::policy;
use requests::process;
use requests::signal;
use requests::update;
use requests::web;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use ttrpc::context::Context;

fn main() {
    // Of the guest's size, and apart from those who ask.
    let (guest, hosts) = (runtime(2), runtime(1));
    let (host_io, guest_io) = std::os::unix::net::UnixStream::pair().unwrap();
    host_io.set_nonblocking(true).unwrap();
    guest_io.set_nonblocking(true).unwrap();
    guest.spawn(serve(guest_io));
    hosts.block_on(measure(host_io));
}

fn runtime(threads: usize) -> Runtime {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(threads).enable_all().build().unwrap()
}

async fn serve(io: std::os::unix::net::UnixStream) {
    let mut policy = policy();
    policy.containers.get_mut("web").unwrap().max_starts = None;
    let audit = Audit::sealed(OwnerKey::generate().unwrap().public_key()).unwrap();
    let guest = Guest::new(policy, Arc::new(World::default()).parts()).unwrap();
    let guest = guest.with_audit(Arc::new(audit));
    let (doors, transport) = fake::transport();
    doors.send(UnixStream::from_std(io).unwrap()).await.unwrap();
    casemate_agent::serve(transport, guest).await.unwrap();
}

async fn measure(io: std::os::unix::net::UnixStream) {
    let (host, _, driver) = mux::connect(UnixStream::from_std(io).unwrap(), Role::Host);
    tokio::spawn(driver);
    let honest = rpc::client(&host).unwrap();
    honest.set_network(context(), &network()).await.unwrap();
    let ready = proto::AwaitReadyRequest { timeout_ms: 5000, ..Default::default() };
    honest.await_ready(context(), &ready).await.unwrap();
    honest.put_volume(context(), &conf()).await.unwrap();

    let (switch, is_on) = watch::channel(false);
    let denials = Arc::new(AtomicU64::new(0));
    for number in 0..CLIENTS {
        let client = rpc::client(&host).unwrap();
        tokio::spawn(attack(client, number, is_on.clone(), Arc::clone(&denials)));
    }
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    let (mut attacked, mut denied) = (Duration::ZERO, 0);
    let mut number = 0;
    for round in 0..=ROUNDS {
        for hostile in [false, true] {
            switch.send_replace(hostile);
            // In the first round what is allowed in one go is used up; it counts for nothing.
            tokio::time::sleep(SETTLE).await;
            let (begun, before) = (Instant::now(), denials.load(Ordering::Relaxed));
            let mut times = Vec::new();
            for _ in 0..STARTS {
                number += 1;
                times.push(start(&honest, &format!("h{number}")).await);
                tokio::time::sleep(BETWEEN).await;
            }
            match (round, hostile) {
                (0, _) => {}
                (_, false) => alone.extend(times),
                (_, true) => {
                    beside.extend(times);
                    attacked += begun.elapsed();
                    denied += denials.load(Ordering::Relaxed) - before;
                }
            }
        }
    }
    let (alone, beside) = (Times::of(alone), Times::of(beside));
    let report = serde_json::json!({
        "clients": CLIENTS,
        "denials_per_second": rounded(f64::from(u32::try_from(denied).unwrap()) / attacked.as_secs_f64()),
        "alone_us": alone.json(),
        "beside_us": beside.json(),
        "slower": {
            "p50": rounded(beside.p50 / alone.p50),
            "p90": rounded(beside.p90 / alone.p90),
            "mean": rounded(beside.mean / alone.mean),
        },
    });
    println!("{report}");
}

/// From the request for a container to the answer that it runs; then it is removed.
async fn start(client: &AgentClient, id: &str) -> f64 {
    let begun = Instant::now();
    client.create_container(context(), &web(id)).await.unwrap();
    client.start(context(), &process(id, "")).await.unwrap();
    let time = begun.elapsed().as_secs_f64() * 1e6;
    client.signal(context(), &signal(id, 15)).await.unwrap();
    client.wait(context(), &process(id, "")).await.unwrap();
    client.delete(context(), &process(id, "")).await.unwrap();
    time
}

/// Sends what is denied, one request after the other, as long as the switch is on.
async fn attack(
    client: AgentClient,
    number: usize,
    mut is_on: watch::Receiver<bool>,
    denials: Arc<AtomicU64>,
) {
    let mut another = web(&format!("x{number}"));
    another.argv.push("--more".to_owned());
    let mut shell = exec("e1");
    shell.argv = vec!["/bin/sh".to_owned()];
    let unknown = process("nobody", "");
    for turn in 0.. {
        is_on.wait_for(|is_on| *is_on).await.unwrap();
        let code = match turn % 7 {
            0 => code(client.create_container(context(), &another).await),
            1 => code(client.exec_process(context(), &shell).await),
            2 => code(client.start(context(), &unknown).await),
            3 => code(client.delete(context(), &unknown).await),
            4 => code(client.signal(context(), &signal("nobody", 9)).await),
            5 => code(client.update(context(), &update(Some(1), None, None)).await),
            _ => code(client.create_container(context(), &web("../x")).await),
        };
        let expected = [Code::PolicyArgv, Code::RequestId, Code::RequestInvalid];
        assert!(expected.contains(&code), "{code}");
        denials.fetch_add(1, Ordering::Relaxed);
    }
}

fn code<T>(result: ttrpc::Result<T>) -> Code {
    match result {
        Ok(_) => panic!("granted"),
        Err(error) => ApiError::from_rpc(&error).code(),
    }
}

fn context() -> Context {
    ttrpc::context::with_duration(Duration::from_secs(60))
}

/// Microseconds.
struct Times {
    p50: f64,
    p90: f64,
    mean: f64,
}

impl Times {
    fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let mean = times.iter().sum::<f64>() / f64::from(u32::try_from(times.len()).unwrap());
        Self { p50: times[times.len() / 2], p90: times[times.len() * 9 / 10], mean }
    }

    fn json(&self) -> serde_json::Value {
        let Self { p50, p90, mean } = *self;
        serde_json::json!({"p50": rounded(p50), "p90": rounded(p90), "mean": rounded(mean)})
    }
}

fn rounded(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}

const CLIENTS: usize = 64;
/// Each round alone, then beside the others.
const ROUNDS: usize = 20;
/// Starts in half a round.
const STARTS: usize = 25;
/// Longer than an answer waits for its turn.
const SETTLE: Duration = Duration::from_millis(500);
/// Between two starts.
const BETWEEN: Duration = Duration::from_millis(5);
