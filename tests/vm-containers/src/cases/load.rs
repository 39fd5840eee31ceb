// SPDX-License-Identifier: Apache-2.0
//! Many containers in a process with many threads.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use anyhow::ensure;
use casemate_containers::ProcessId;
use serde_json::json;

use super::equal;
use super::lifecycle::zombies;
use crate::harness::Harness;
use crate::harness::spec;
use crate::harness::within;

const CREATES: u32 = 100;
const THREADS: u32 = 40;

/// libcontainer in this process would hang within a few: its raw clone leaves the allocator's locks
/// held. Every exit code must also reach the one who waits for it.
pub(super) async fn a_hundred_creates_beside_forty_allocating_threads(
    h: &Harness,
) -> anyhow::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..THREADS)
        .map(|seed| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let mut blocks: Vec<Vec<u8>> = Vec::new();
                let mut size = seed + 1;
                while !stop.load(Ordering::Relaxed) {
                    for _ in 0..50 {
                        size = size.wrapping_mul(1_103_515_245).wrapping_add(12345);
                        blocks.push(vec![0; usize::try_from(size % 8192).unwrap_or(1)]);
                        if blocks.len() > 100 {
                            blocks.clear();
                        }
                    }
                    // So that forty of them leave some of the two processors to the containers.
                    std::thread::sleep(Duration::from_millis(20));
                }
            })
        })
        .collect();
    for seccomp in ["default", "unconfined"] {
        let begin = Instant::now();
        for _ in 0..5 {
            h.run(&["true"], json!({ "seccomp": seccomp })).await?;
        }
        println!("INFO run with seccomp {seccomp}: {} ms", begin.elapsed().as_millis() / 5);
    }
    let begin = Instant::now();
    let result = creates(h).await;
    let elapsed = begin.elapsed();
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        ensure!(thread.join().is_ok(), "an allocating thread failed");
    }
    println!(
        "INFO {CREATES} creates, starts and deletes: {} ms each",
        elapsed.as_millis() / u128::from(CREATES)
    );
    result
}

async fn creates(h: &Harness) -> anyhow::Result<()> {
    const AT_ONCE: u32 = 4;
    for batch in 0..CREATES / AT_ONCE {
        let mut ids = Vec::new();
        let mut tasks = Vec::new();
        for number in 0..AT_ONCE {
            let code = (batch * AT_ONCE + number) % 128;
            let id = h.id();
            let create = spec(id.clone(), &["sh", "-c", &format!("exit {code}")], json!({}))?;
            let runtime = h.runtime.clone();
            tasks.push(tokio::spawn(async move { runtime.create(create).await }));
            ids.push((id, code));
        }
        for task in tasks {
            within(task).await???;
        }
        for (id, code) in ids {
            h.runtime.start(&id).await?;
            let exit = within(h.runtime.wait(&ProcessId::init(id.clone()))).await??;
            equal!(exit.code, code, "exit code of {id}");
            within(h.runtime.delete(&id)).await??;
        }
    }
    Ok(())
}

pub(super) async fn nothing_is_left(h: &Harness) -> anyhow::Result<()> {
    let cgroups: Vec<_> = std::fs::read_dir("/sys/fs/cgroup/casemate")?
        .flatten()
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
        .map(|e| e.file_name())
        .collect();
    ensure!(cgroups.is_empty(), "cgroups: {cgroups:?}");
    for name in ["bundles", "state", "terminals"] {
        let left = std::fs::read_dir(format!("/run/casemate/containers/{name}"))?.count();
        equal!(left, 0, "entries in {name}");
    }
    let descriptors = std::fs::read_dir("/proc/self/fd")?.count();
    ensure!(descriptors < 40, "{descriptors} descriptors");
    tokio::time::sleep(Duration::from_millis(100)).await;
    equal!(zombies()?, Vec::<String>::new(), "zombies");
    // And it still works.
    equal!(h.run(&["echo", "fine"], json!({})).await?.line(), "fine", "after all");
    Ok(())
}
