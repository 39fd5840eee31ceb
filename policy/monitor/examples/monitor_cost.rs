// SPDX-License-Identifier: Apache-2.0
//! What a decision costs on a policy of a hundred containers.
//!
//! `cargo run --release -p casemate-policy-monitor --example monitor_cost` prints one line of JSON:
//! for a request that is granted, one that is denied at its last field, and a command, the median and
//! the 99th percentile in microseconds and the allocations of one decision; then how many bytes more
//! are in use after all decisions than before.

#![allow(unsafe_code, reason = "counts allocations, which only a global allocator sees")]

use std::alloc::GlobalAlloc;
use std::alloc::Layout;
use std::alloc::System;
use std::error::Error;
use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Instant;

use casemate_policy::Policy;
use casemate_policy_monitor::CreateRequest;
use casemate_policy_monitor::ExecRequest;
use casemate_policy_monitor::Monitor;
use casemate_policy_monitor::MountRequest;
use casemate_policy_monitor::MountWish;
use casemate_policy_monitor::ProcessRef;
use casemate_policy_monitor::ReferenceMonitor;

fn main() -> Result<(), Box<dyn Error>> {
    let policy = Policy::parse(policy_text()?.as_bytes())?;
    let mut monitor = Monitor::new(policy)?;
    // Half of the containers run; the others are asked for.
    for number in 0..CONTAINERS / 2 {
        let (_, pending) = monitor.create(&create(number))?;
        monitor.commit(pending);
        let pending = monitor.start(&ProcessRef::init(&id(number)))?;
        monitor.commit(pending);
    }
    let granted: Vec<_> = (CONTAINERS / 2..CONTAINERS).map(create).collect();
    let denied: Vec<_> = granted.iter().cloned().map(with_another_mount).collect();
    let commands: Vec<_> = (0..CONTAINERS / 2).map(command).collect();

    let fingerprint = monitor.fingerprint();
    let grant = |monitor: &mut Monitor, request: &CreateRequest| match monitor.create(request) {
        Ok((grant, pending)) => {
            black_box(grant);
            Some(pending)
        }
        Err(_) => None,
    };
    let refuse = |monitor: &mut Monitor, request: &CreateRequest| {
        black_box(monitor.create(request).err());
        None
    };
    let run = |monitor: &mut Monitor, request: &ExecRequest| match monitor.exec(request) {
        Ok((grant, pending)) => {
            black_box(grant);
            Some(pending)
        }
        Err(_) => None,
    };
    // Once before counting, so that what is made once is made.
    let _ = measure(&mut monitor, &granted, ROUNDS / 10, grant);
    let _ = measure(&mut monitor, &commands, ROUNDS / 10, run);
    let before = LIVE_BYTES.load(Ordering::Relaxed);
    let create_cost = measure(&mut monitor, &granted, ROUNDS, grant);
    let denial_cost = measure(&mut monitor, &denied, ROUNDS, refuse);
    let exec_cost = measure(&mut monitor, &commands, ROUNDS, run);
    let growth = LIVE_BYTES.load(Ordering::Relaxed) - before;
    if monitor.fingerprint() != fingerprint {
        return Err("a decision that was undone or denied has left a trace".into());
    }
    let mut line = format!("{{\"containers\":{CONTAINERS},\"growth_bytes\":{growth}");
    for (name, cost) in [("create", &create_cost), ("denial", &denial_cost), ("exec", &exec_cost)] {
        write!(
            line,
            ",\"{name}_p50_us\":{:.2},\"{name}_p99_us\":{:.2},\"{name}_allocations\":{}",
            cost.p50, cost.p99, cost.allocations
        )?;
    }
    println!("{line}}}");
    Ok(())
}

/// Times in microseconds.
struct Cost {
    p50: f64,
    p99: f64,
    /// Median of the allocations of one decision.
    allocations: u64,
}

/// Times single decisions; what they reserve is undone outside the time.
fn measure<R>(
    monitor: &mut Monitor,
    requests: &[R],
    rounds: usize,
    decide: impl Fn(&mut Monitor, &R) -> Option<casemate_policy_monitor::Pending>,
) -> Cost {
    let mut times = Vec::with_capacity(rounds);
    let mut allocations = Vec::with_capacity(rounds);
    for request in requests.iter().cycle().take(rounds) {
        let counted = ALLOCATIONS.load(Ordering::Relaxed);
        let start = Instant::now();
        let pending = decide(monitor, request);
        let elapsed = start.elapsed();
        allocations.push(ALLOCATIONS.load(Ordering::Relaxed) - counted);
        times.push(elapsed.as_secs_f64() * 1e6);
        if let Some(pending) = pending {
            monitor.rollback(pending);
        }
    }
    times.sort_by(f64::total_cmp);
    allocations.sort_unstable();
    Cost {
        p50: percentile(&times, 50),
        p99: percentile(&times, 99),
        allocations: allocations.get(allocations.len() / 2).copied().unwrap_or_default(),
    }
}

fn percentile(sorted: &[f64], percent: usize) -> f64 {
    sorted.get(sorted.len() * percent / 100).copied().unwrap_or(f64::NAN)
}

/// A policy of a hundred containers as the generator writes them: the variables of services as holes,
/// six standard mounts and two volumes.
fn policy_text() -> Result<String, std::fmt::Error> {
    let mut text = String::from(
        "version = 1\n[volumes.cache]\nkind = \"empty-dir\"\n[volumes.data]\nkind = \"empty-dir\"\n",
    );
    for number in 0..CONTAINERS {
        write!(text, "[containers.{}]\n{CONTAINER}", name(number))?;
    }
    Ok(text)
}

fn name(number: usize) -> String {
    format!("container-{number}")
}

fn id(number: usize) -> String {
    format!("{number:064x}")
}

fn env() -> Vec<String> {
    let fixed = (0..10).map(|n| format!("VARIABLE_{n}=value number {n}"));
    fixed.chain(FROM_HOST.map(str::to_owned)).collect()
}

fn create(number: usize) -> CreateRequest {
    let mount = |destination: &str, kind| MountRequest {
        destination: destination.to_owned(),
        kind: Some(kind),
        readonly: false,
    };
    CreateRequest {
        id: id(number),
        name: name(number),
        image_digest: DIGEST.to_owned(),
        argv: ["/bin/server", "--port", "8443", "--log-level", "info"].map(str::to_owned).into(),
        env: env(),
        cwd: "/srv".to_owned(),
        stdout: true,
        stderr: true,
        mounts: vec![
            mount("/etc/hosts", MountWish::Hosts),
            mount("/etc/hostname", MountWish::Hostname),
            mount("/etc/resolv.conf", MountWish::ResolvConf),
            mount("/dev/termination-log", MountWish::TerminationLog),
            mount("/dev/shm", MountWish::Shm),
            mount("/cache", MountWish::EmptyDir),
            mount("/data", MountWish::EmptyDir),
        ],
        ..CreateRequest::default()
    }
}

fn with_another_mount(mut request: CreateRequest) -> CreateRequest {
    request.mounts.push(MountRequest {
        destination: "/host".to_owned(),
        kind: Some(MountWish::EmptyDir),
        readonly: false,
    });
    request
}

fn command(number: usize) -> ExecRequest {
    ExecRequest {
        container_id: id(number),
        exec_id: "probe".to_owned(),
        argv: ["/bin/probe", "--ready"].map(str::to_owned).into(),
        env: env(),
        cwd: "/srv".to_owned(),
        stdout: true,
        ..ExecRequest::default()
    }
}

/// Counts calls and bytes, and passes them on.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static LIVE_BYTES: AtomicI64 = AtomicI64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn signed(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

// SAFETY: every call is passed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        LIVE_BYTES.fetch_add(signed(layout.size()), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`, which is that of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(signed(layout.size()), Ordering::Relaxed);
        // SAFETY: `pointer` came from `System` by `alloc` above, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

const CONTAINERS: usize = 100;
const ROUNDS: usize = 50_000;
const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// What kubelet and containerd add in every pod.
const FROM_HOST: [&str; 9] = [
    "HOSTNAME=pod-7d4b",
    "KUBERNETES_SERVICE_HOST=10.96.0.1",
    "KUBERNETES_SERVICE_PORT=443",
    "KUBERNETES_SERVICE_PORT_HTTPS=443",
    "KUBERNETES_PORT=tcp://10.96.0.1:443",
    "KUBERNETES_PORT_443_TCP=tcp://10.96.0.1:443",
    "KUBERNETES_PORT_443_TCP_PROTO=tcp",
    "KUBERNETES_PORT_443_TCP_PORT=443",
    "KUBERNETES_PORT_443_TCP_ADDR=10.96.0.1",
];
const CONTAINER: &str = r#"
image = "registry.example/app@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
encryption = "required"
argv = ["/bin/server", "--port", "8443", "--log-level", "info"]
cwd = "/srv"
user = { uid = 1000, gid = 1000 }
env = [
    { name = "VARIABLE_0", value = "value number 0" },
    { name = "VARIABLE_1", value = "value number 1" },
    { name = "VARIABLE_2", value = "value number 2" },
    { name = "VARIABLE_3", value = "value number 3" },
    { name = "VARIABLE_4", value = "value number 4" },
    { name = "VARIABLE_5", value = "value number 5" },
    { name = "VARIABLE_6", value = "value number 6" },
    { name = "VARIABLE_7", value = "value number 7" },
    { name = "VARIABLE_8", value = "value number 8" },
    { name = "VARIABLE_9", value = "value number 9" },
]
env_holes = [
    { name = "HOSTNAME", value = "[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", required = true },
    { name = "KUBERNETES_(SERVICE_HOST|PORT_[0-9]{1,5}_(TCP|UDP|SCTP)_ADDR)", value = "[0-9a-f.:]{2,45}" },
    { name = "KUBERNETES_(SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]{1,5}_(TCP|UDP|SCTP)_PORT)", value = "[0-9]{1,5}" },
    { name = "KUBERNETES_PORT(_[0-9]{1,5}_(TCP|UDP|SCTP))?", value = '(tcp|udp|sctp)://\[?[0-9a-f.:]{2,45}\]?:[0-9]{1,5}' },
    { name = "KUBERNETES_PORT_[0-9]{1,5}_(TCP|UDP|SCTP)_PROTO", value = "tcp|udp|sctp" },
]
logs = "host-visible"
mounts = [
    { destination = "/cache", kind = "volume", volume = "cache" },
    { destination = "/data", kind = "volume", volume = "data" },
    { destination = "/dev/shm", kind = "shm" },
    { destination = "/dev/termination-log", kind = "termination-log" },
    { destination = "/etc/hostname", kind = "hostname" },
    { destination = "/etc/hosts", kind = "hosts" },
    { destination = "/etc/resolv.conf", kind = "resolv-conf" },
]
no_new_privileges = true
seccomp = "default"
exec = [{ argv = ["/bin/probe", "--ready"] }]
signals = [9, 15]
restart = "always"
"#;
