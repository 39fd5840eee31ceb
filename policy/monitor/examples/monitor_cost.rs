// SPDX-License-Identifier: Apache-2.0
//! What a decision costs on a policy of a hundred containers.
//!
//! `cargo run --release -p casemate-policy-monitor --example monitor_cost` prints one line of JSON:
//! for a request that is granted, one that is denied at its last field, and a command, the median and
//! the 99th percentile in microseconds and the allocations of one decision; then how many bytes more
//! are in use after all decisions than before.

#![allow(unsafe_code, reason = "counts allocations, which only a global allocator sees")]

mod hundred;

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
use casemate_policy_monitor::ProcessRef;
use casemate_policy_monitor::ReferenceMonitor;

use hundred::CONTAINERS;
use hundred::create;
use hundred::env;
use hundred::id;
use hundred::policy_text;
use hundred::with_another_mount;

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

const ROUNDS: usize = 50_000;
