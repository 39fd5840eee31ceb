// SPDX-License-Identifier: Apache-2.0
//! Bytes that are no requests, and far too many that are.

use std::time::Duration;
use std::time::Instant;

use anyhow::ensure;
use casemate_agent_api::mux::StreamKind;
use casemate_agent_api::proto;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;

use crate::Case;
use crate::Context;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Outcome;
use crate::Verdict;
use crate::shim::EvilShim;
use crate::shim::deadline;
use crate::shim::requests;
use crate::shim::status;
use crate::shim::wire::Raw;
use crate::shim::wire::frame;

pub(super) const A24: Case = Case {
    id: "A24",
    level: Level::P,
    attack: "frames with lengths of 4 GiB, reused streams, wrong magic, half-open connections",
    defence: Defence::Code(Guard {
        function: "casemate_agent_api::mux::frame::payload_length",
        sabotage: "Ok(usize::try_from(u32::from_le_bytes(field)).unwrap_or(usize::MAX))",
    }),
    run: |context| Box::pin(a24(context)),
};

async fn a24(context: Context) -> Verdict {
    let shim = EvilShim::running(&context).await?;
    let before = shim.world.effects();
    shim.host.close();
    let memory = resident()?;
    let rpc = |stream| frame(1, stream, 1, &[1]);
    let frames: [(&str, Vec<u8>); 9] = [
        ("a length of 4 GiB", frame(2, 1, u32::MAX, b"")),
        ("a length over the cap", frame(2, 1, 32 * 1024 + 1, b"")),
        ("an unknown kind", frame(99, 1, 0, b"")),
        ("stream 0", frame(1, 0, 1, &[1])),
        ("data without a byte", frame(2, 1, 0, b"")),
        ("data on a stream that is not open", frame(2, 7, 1, b"x")),
        ("a stream used twice", [rpc(3), rpc(3)].concat()),
        ("a stream kind that does not exist", frame(1, 1, 1, &[77])),
        ("credit for bytes that were never sent", [rpc(1), frame(3, 1, 4, &[255; 4])].concat()),
    ];
    let count = frames.len();
    for (what, bytes) in frames {
        let mut raw = Raw::connect(shim.raw_connection().await?).await?;
        raw.send(&bytes).await?;
        let ended = tokio::time::timeout(Duration::from_secs(3), raw.until_end()).await;
        ensure!(ended.is_ok(), "{what}: the connection stays open");
    }
    // Neither a wrong magic nor half a preface keeps the next host out.
    for garbage in [vec![0xff; 100_000], b"CASEMUX\n".to_vec(), b"GET / HTTP/1.1\r\n\r\n".to_vec()]
    {
        let mut io = shim.raw_connection().await?;
        io.write_all(&garbage).await?;
        io.shutdown().await?;
        let mut rest = Vec::new();
        io.read_to_end(&mut rest).await?;
    }
    // What ttrpc itself would take for frames, on streams of their own.
    let (host, client) = shim.another().await?;
    for bytes in [
        [&u32::MAX.to_be_bytes()[..], &[0, 0, 0, 1, 1, 0]].concat(),
        [&0_u32.to_be_bytes()[..], &[0, 0, 0, 1, 1, 0]].concat(),
        [&4_u32.to_be_bytes()[..], &[0, 0, 0, 2, 1, 0], b"even"].concat(),
        [&4_u32.to_be_bytes()[..], &[0, 0, 0, 1, 77, 0], b"kind"].concat(),
        vec![0xff; 1000],
    ] {
        let mut stream = host.open(StreamKind::Rpc)?;
        stream.write_all(&bytes).await?;
        let _ = stream.shutdown().await;
    }
    client.hello(deadline(), &proto::HelloRequest::new()).await?;
    let unknown = shim.raw_on(&host, "NoSuchCall", vec![1, 2, 3]).await;
    ensure!(status(&unknown) == Some(ttrpc::Code::UNIMPLEMENTED), "an unknown call: {unknown:?}");
    let grown = resident()?.saturating_sub(memory);
    ensure!(grown < 64 << 10, "memory has grown by {grown} KiB");
    ensure!(shim.world.effects() == before, "a container was touched");
    Ok(Outcome::pass(format!("{count} frames end their connection, the next host is served")))
}

pub(super) const A25: Case = Case {
    id: "A25",
    level: Level::P,
    attack: "10 000 connections and streams, slow ones, and more calls than any host needs",
    defence: Defence::Code(Guard {
        function: "casemate_agent_api::mux::session::Session::has_room",
        sabotage: "true",
    }),
    run: |context| Box::pin(a25(context)),
};

async fn a25(context: Context) -> Verdict {
    let shim = EvilShim::running(&context).await?;
    let before = shim.world.effects();
    // Calls that wait: one more than the guest takes is refused, and none disturbs another.
    let waiting: Vec<_> = (0..2000)
        .map(|_| {
            let client = shim.client.clone();
            let init = requests::process("c1", "");
            tokio::spawn(async move { client.wait(deadline(), &init).await })
        })
        .collect();
    let mut state = None;
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        if waiting.iter().filter(|call| call.is_finished()).count() >= 2000 - 512 {
            state = Some(());
            break;
        }
    }
    ensure!(state.is_some(), "2000 calls wait at once");
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    shim.host.close();

    let mut raw = Raw::connect(shim.raw_connection().await?).await?;
    let asked = 700;
    let mut refused = 0;
    for stream in 1..=asked {
        raw.send(&frame(1, stream, 1, &[1])).await?;
        // As fast as the guest takes them, so that only the cap is hit.
        refused += raw.resets(Duration::from_millis(1)).await?;
    }
    refused += raw.resets(Duration::from_millis(300)).await?;
    ensure!(asked - refused <= 512, "{} streams at once", asked - refused);
    ensure!(asked - refused > 400, "{} streams only", asked - refused);
    drop(raw);

    let flood = flood(&context).await?;

    // Ten hosts that connect and say nothing, one after the other; then an honest one.
    for _ in 0..10 {
        drop(shim.raw_connection().await?);
    }
    let (_host, client) = shim.another().await?;
    let running = client.state(deadline(), &requests::process("c1", "")).await?;
    ensure!(running.state.enum_value() == Ok(proto::ProcessState::RUNNING), "{running:?}");
    ensure!(shim.world.effects() == before, "the container was touched");
    Ok(Outcome::pass(format!("512 streams and 512 calls at most; {flood}; the container runs on")))
}

/// 10 000 connections beside the one that is served, 10 000 streams one after the other, and 400
/// streams at once that send a request of 1 MiB byte by byte.
async fn flood(context: &Context) -> anyhow::Result<String> {
    let shim = EvilShim::running(context).await?;
    let running = requests::process("c1", "");
    shim.client.state(deadline(), &running).await?;
    let (files, memory) = (open_files()?, resident()?);
    let mut slow = Vec::new();
    for _ in 0..400 {
        let mut stream = shim.host.open(StreamKind::Rpc)?;
        // Its header is whole, its body never.
        stream.write_all(&[0, 0x10, 0, 0, 0, 0, 0, 1, 1, 0]).await?;
        slow.push(stream);
        // As fast as the guest takes them: it resets what comes faster.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut waiting = Vec::new();
    let mut slowest = Duration::ZERO;
    for n in 0..10_000 {
        waiting.extend(shim.knock()?);
        let mut stream = shim.host.open(StreamKind::Rpc)?;
        let _ = stream.write_all(&[0]).await;
        drop(stream);
        if n % 100 == 0 {
            for mut stream in std::mem::take(&mut slow) {
                if stream.write_all(&[0x0a]).await.is_ok() {
                    slow.push(stream);
                }
            }
            let begun = Instant::now();
            let state = shim.client.state(deadline(), &running).await?.state;
            ensure!(state.enum_value() == Ok(proto::ProcessState::RUNNING), "{state:?}");
            slowest = slowest.max(begun.elapsed());
        }
    }
    let more_files = open_files()?.saturating_sub(files);
    let more_memory = resident()?.saturating_sub(memory);
    ensure!(slow.len() > 300, "only {} slow streams are served", slow.len());
    // Those that wait are two files each in this process, which is both ends.
    ensure!(waiting.len() <= 8, "{} connections at once", waiting.len());
    ensure!(more_files <= 2 * waiting.len() + 8, "{more_files} more files are open");
    // Of both ends, and of 512 streams with their buffers at the most.
    ensure!(more_memory < 64 << 10, "memory has grown by {more_memory} KiB");
    ensure!(slowest < Duration::from_secs(5), "an answer takes {slowest:?}");
    Ok(format!(
        "under 10 000 connections, 10 000 streams and {} slow ones at most {} connections wait, \
         {more_files} more files are open, memory grows by {more_memory} KiB, and each of 100 \
         requests is answered within {} ms",
        slow.len(),
        waiting.len(),
        slowest.as_millis()
    ))
}

/// Open files of this process.
fn open_files() -> anyhow::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/fd")?.count())
}

/// Resident memory of this process in KiB.
fn resident() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
}
