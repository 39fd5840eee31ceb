// SPDX-License-Identifier: Apache-2.0
//! What a verdict on SNP evidence costs, against the one signature check that cannot be avoided.
//!
//! `cargo run --release -p casemate-verifier --example verify_cost -- REPORT CERTIFICATE`, both as
//! files, prints one line of JSON: least times in microseconds, medians of what each round gives,
//! allocations of one verification, and verifications per second on two threads.

#![allow(unsafe_code, reason = "counts allocations, which only a global allocator sees")]

use std::alloc::GlobalAlloc;
use std::alloc::Layout;
use std::alloc::System;
use std::hint::black_box;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use casemate_evidence::snp::Certificate;
use casemate_evidence::snp::Evidence;
use casemate_evidence::snp::PublicKey;
use casemate_evidence::snp::Report;
use casemate_verifier::Chain;
use casemate_verifier::Expected;
use casemate_verifier::NoChain;
use casemate_verifier::Requirements;
use casemate_verifier::Root;
use casemate_verifier::verify;
use ring::signature;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut files = std::env::args_os().skip(1);
    let report = Report::parse(&std::fs::read(files.next().ok_or("no report given")?)?)?;
    let certificate = std::fs::read(files.next().ok_or("no certificate given")?)?;
    let certificates = Certificate::read_all(&certificate)?;
    let leaf = Certificate::parse(&certificates.first().ok_or("no certificate")?.data)?;
    let PublicKey::P384(key) = leaf.key().clone() else { return Err("no P-384 key".into()) };
    let signature = report.signature().ok_or("no signature")?;
    let evidence = Evidence { report: report.clone(), certificates };

    let roots = Root::all_builtin()?;
    let chain = Chain::find(&evidence.certificates, report.signing_key(), &roots)
        .map_err(|NoChain { .. }| "the certificate ends in no built-in root")?;
    let expected =
        Expected { report_data: Some(*report.report_data()), host_data: Some(*report.host_data()) };
    let rules = Requirements::default();
    let now = leaf.not_before();

    let bare = || {
        signature::UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, &key)
            .verify(report.signed_bytes(), &signature)
            .is_ok()
    };
    let cached = || chain.verify(&report, &expected, &rules, now);
    let full = || verify(&evidence, &roots, &expected, &rules, now);
    if !bare() || cached().reasons().any(|line| line.claim == "report.signature") {
        return Err("the certificate's key did not sign the report".into());
    }

    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        times.push([time(bare), time(cached), time(full)]);
    }
    let [least_bare, least_cached, least_full] = [0, 1, 2].map(|index: usize| {
        times.iter().filter_map(|round| round.get(index)).fold(f64::MAX, |a, b| a.min(*b))
    });
    println!(
        "{{\"bare_p384_us\":{least_bare:.0},\"snp_cached_us\":{least_cached:.0},\
         \"snp_full_us\":{least_full:.0},\"snp_cached_over_bare\":{:.3},\
         \"snp_full_over_bare\":{:.3},\"snp_cached_allocations\":{},\
         \"snp_full_allocations\":{},\"snp_cached_per_second\":{:.0},\
         \"snp_full_per_second\":{:.0}}}",
        median(times.iter().map(|[bare, cached, _]| cached / bare)),
        median(times.iter().map(|[bare, _, full]| full / bare)),
        allocations(cached),
        allocations(full),
        per_second(cached),
        per_second(full),
    );
    Ok(())
}

/// Microseconds of the fastest of a few calls.
fn time<T>(action: impl Fn() -> T) -> f64 {
    let mut least = f64::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        black_box(action());
        least = least.min(start.elapsed().as_secs_f64() * 1e6);
    }
    least
}

fn allocations<T>(action: impl Fn() -> T) -> u64 {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    black_box(action());
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

/// Calls per second of two threads at work for a second.
fn per_second<T>(action: impl Fn() -> T + Sync) -> f64 {
    let done = AtomicU64::new(0);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while start.elapsed() < Duration::from_secs(1) {
                    black_box(action());
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let seconds = start.elapsed().as_secs_f64();
    u32::try_from(done.into_inner()).map_or(f64::NAN, f64::from) / seconds
}

fn median(ratios: impl Iterator<Item = f64>) -> f64 {
    let mut ratios: Vec<_> = ratios.collect();
    ratios.sort_by(f64::total_cmp);
    ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Counts calls and passes them on.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is passed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`, which is that of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System` by `alloc` above, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

const ROUNDS: usize = 61;
