// SPDX-License-Identifier: Apache-2.0
//! E5: devices that do not keep to their rules.

use std::fs;
use std::num::NonZeroU16;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::ensure;
use casemate_boot_formats::sev_hashes::KernelHashes;
use casemate_guest_image::GuestImage;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

use super::lying_disk::LyingDisk;
use super::lying_disk::noticed;
use super::vm::qemu::Guest;
use super::vm::qemu::MEMORY;
use super::vm::qemu::PATIENCE;
use super::vm::qemu::ProbeImage;
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

pub(super) static E5: Case = Case {
    id: "E5",
    level: Level::V,
    attack: "a port, a disk and rings that lie: lengths, windows, streams, configurations, used elements",
    defence: Defence::Code(Guard {
        function: "casemate_agent_api::mux::session::Session::receive_data",
        sabotage: "{ if let Some(stream) = self.known(id)? { stream.inbox.extend(bytes); } \
                   Ok(Event::Readable { stream: id }) }",
    }),
    run: |context| Box::pin(misbehave(context)),
};

const OPEN: u8 = 1;
const DATA: u8 = 2;
const WINDOW: u8 = 3;
const EPOCH: u64 = 0x1234;

/// What a host says first.
fn preface() -> Vec<u8> {
    [&b"CASEMUX\n"[..], &1_u16.to_le_bytes(), &[1, 0], &EPOCH.to_le_bytes()].concat()
}

fn frame(kind: u8, stream: u32, length: u32, payload: &[u8]) -> Vec<u8> {
    let tag = u16::try_from(EPOCH).unwrap().to_le_bytes();
    [&[kind, 0][..], &tag, &stream.to_le_bytes(), &length.to_le_bytes(), payload].concat()
}

fn whole(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    frame(kind, stream, u32::try_from(payload.len()).unwrap(), payload)
}

async fn misbehave(context: Context) -> Verdict {
    // The port, byte by byte: what a device may put there instead of what the shim wrote.
    let shim = EvilShim::running(&context).await?;
    let open = whole(OPEN, 1, &[1]);
    let data = |bytes: usize| whole(DATA, 1, &vec![0; bytes]);
    let window: Vec<u8> = (0..4).flat_map(|_| data(32 * 1024)).collect();
    let attacks: [(&str, Vec<u8>); 9] = [
        ("a frame of 4 GiB", frame(DATA, 1, u32::MAX, &[])),
        ("a frame of one byte too many", frame(DATA, 1, 32 * 1024 + 1, &[])),
        ("an unknown kind", whole(0x7f, 1, &[])),
        ("another epoch", [&[DATA, 0, 0xff, 0xff][..], &[0; 8]].concat()),
        ("an empty frame", whole(DATA, 1, &[])),
        ("data of a stream that is not open", whole(DATA, 9, &[0])),
        ("twice the window", [open.clone(), window].concat()),
        ("acknowledgement of what was not sent", {
            [open.clone(), whole(WINDOW, 1, &1000_u32.to_le_bytes())].concat()
        }),
        ("one stream twice", [open.clone(), open].concat()),
    ];
    // One host is served at a time.
    shim.host.close();
    for (what, bytes) in &attacks {
        let before = shim.world.effects();
        let mut port = shim.raw_connection().await?;
        let _ = port.write_all(&preface()).await;
        let _ = port.write_all(bytes).await;
        let ended = tokio::time::timeout(Duration::from_secs(20), drained(&mut port)).await;
        ended.with_context(|| format!("{what}: the connection goes on"))?;
        // The guest lives, serves the next host, and has forgotten nothing.
        let (host, client) = shim.another().await?;
        let state = client.state(deadline(), &requests::process("c1", "")).await;
        state.with_context(|| format!("{what}: the guest serves nobody any more"))?;
        ensure!(shim.world.effects() == before, "{what}: a side effect");
        host.close();
    }
    let rings = lie_in_rings(&context)?;
    Ok(Outcome::pass(format!(
        "{} kinds of lies on the port ended their connection and no more; {rings}",
        attacks.len()
    )))
}

/// Reads until the other end hangs up.
async fn drained(port: &mut UnixStream) {
    let _ = tokio::io::copy(port, &mut tokio::io::sink()).await;
}

/// Gives a production guest a disk that lies, and then writes rubbish into the used rings and
/// descriptors of all its devices, as a host can whatever the TEE: these pages are shared with it.
fn lie_in_rings(context: &Context) -> anyhow::Result<String> {
    let manifest = context.artifact("guest/production/image.json")?;
    let image = GuestImage::read(manifest.parent().unwrap())?;
    let cmdline = std::str::from_utf8(&image.cmdline)?;
    let cmdline = cmdline.replace("console=null", "console=hvc0").replace("quiet ", "");
    let cmdline = cmdline.replace("loglevel=0", "loglevel=7");
    let hashes = KernelHashes::of(&image.kernel, &image.initramfs, cmdline.as_bytes())?;
    let guest = Guest {
        cmdline: &cmdline,
        table: Some(hashes.to_table()),
        ..ProbeImage::of(&image, NonZeroU16::MIN)
    };
    let folder = tempfile::tempdir()?;
    let memory = folder.path().join("memory");
    let backend = format!(
        "memory-backend-file,id=ram,size={}M,share=on,mem-path={}",
        MEMORY >> 20,
        memory.display()
    );
    let socket = folder.path().join("lying-disk");
    let disk = LyingDisk::listen(&socket)?;
    let socket = format!("socket,id=lying,path={}", socket.display());
    let running = guest.run_with_console(&[
        "-object",
        &backend,
        "-machine",
        "memory-backend=ram",
        "-chardev",
        &socket,
        "-device",
        "vhost-user-blk-pci,chardev=lying,num-queues=1",
    ]);
    // Its disk holds no initdata: the agent waits for a host to tell, and every driver is at work.
    running.wait_for("the guest does not start", PATIENCE);
    let mut qmp = running.qmp();
    let rings = qmp.virtio_rings()?;
    ensure!(rings.len() >= 4, "QEMU shows only {} rings", rings.len());
    let memory = fs::OpenOptions::new().write(true).open(&memory)?;
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        // Xorshift: the same lies each time.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    disk.go_wild();
    let deadline = Instant::now() + PATIENCE;
    let disk = loop {
        match noticed(&disk, &running.console()) {
            Ok(words) => break words,
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    let begun = Instant::now();
    let mut lies = 0_usize;
    let mut host = None;
    while begun.elapsed() < Duration::from_secs(4) {
        for ring in &rings {
            // Index, then elements of an id and a length.
            let index = u16::try_from(next() & 0xffff)?;
            memory.write_all_at(&index.to_le_bytes(), ring.used + 2)?;
            let element = next() % ring.size;
            memory.write_all_at(&next().to_le_bytes(), ring.used + 4 + 8 * element)?;
            let descriptor = [next().to_le_bytes(), next().to_le_bytes()].concat();
            memory.write_all_at(&descriptor, ring.descriptors + 16 * (next() % ring.size))?;
            lies += 3;
        }
        // A host that connects makes the drivers look at their rings.
        if host.is_none() && begun.elapsed() > Duration::from_secs(1) {
            let mut stream = running.agent();
            let _ = std::io::Write::write_all(&mut stream, &preface());
            host = Some(stream);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let status = qmp.status().unwrap_or_else(|_| "ended".to_owned());
    ensure!(["running", "shutdown", "ended"].contains(&status.as_str()), "the guest is {status}");
    let log = running.console();
    for bad in ["general protection", "Oops", "BUG:", "KASAN"] {
        ensure!(!log.contains(bad), "the guest's kernel says {bad}");
    }
    Ok(format!(
        "{disk}; {lies} lies in {} rings of this guest, which then is {status}",
        rings.len()
    ))
}
