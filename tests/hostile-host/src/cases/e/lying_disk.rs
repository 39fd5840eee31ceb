// SPDX-License-Identifier: Apache-2.0
//! E5: a disk that is a process of the host's, and lies (vhost-user protocol of QEMU's documentation;
//! virtio 1.2, sections 2.7 and 5.2).
//!
//! It answers reads with other data each time, claims lengths that it did not write, changes its
//! configuration while the guest reads it, and completes requests that nobody made.

use std::fs::File;
use std::io;
use std::io::IoSliceMut;
use std::io::Read as _;
use std::io::Write as _;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::ensure;
use rustix::net::RecvAncillaryBuffer;
use rustix::net::RecvAncillaryMessage;
use rustix::net::RecvFlags;

/// The disk, as its owner sees it.
#[derive(Debug, Clone, Default)]
pub(super) struct LyingDisk {
    /// Reads that were answered.
    pub(super) reads: Arc<AtomicUsize>,
    /// Changes of the configuration.
    pub(super) changes: Arc<AtomicUsize>,
    /// Completions of requests that nobody made.
    pub(super) inventions: Arc<AtomicUsize>,
    wild: Arc<AtomicBool>,
}

impl LyingDisk {
    /// Waits on a socket for the VMM, which ends it.
    pub(super) fn listen(socket: &Path) -> anyhow::Result<Self> {
        let listener = UnixListener::bind(socket).context("the disk's socket")?;
        let disk = Self::default();
        let this = disk.clone();
        thread::spawn(move || {
            let (stream, _) = listener.accept()?;
            Device::new(stream, this)?.serve()
        });
        Ok(disk)
    }

    /// From now on it completes requests that nobody made, and changes its configuration all the
    /// time.
    pub(super) fn go_wild(&self) {
        self.wild.store(true, Ordering::SeqCst);
    }
}

/// The disk's end of the protocol: one queue.
struct Device {
    stream: UnixStream,
    disk: LyingDisk,
    memory: Vec<Region>,
    /// Where the VMM hears that the configuration has changed.
    backend: Option<File>,
    /// Whether it has been told, and has not asked yet.
    told: bool,
    size: u64,
    rings: [u64; 3],
    taken: u16,
    given: u16,
    interrupt: Option<File>,
}

/// A message: its number, its content, its descriptors.
type Message = (u32, Vec<u8>, Vec<OwnedFd>);

/// A part of the guest's memory.
struct Region {
    guest: u64,
    size: u64,
    vmm: u64,
    offset: u64,
    file: File,
}

impl Device {
    fn new(stream: UnixStream, disk: LyingDisk) -> io::Result<Self> {
        stream.set_read_timeout(Some(Duration::from_millis(1)))?;
        Ok(Self {
            stream,
            disk,
            memory: Vec::new(),
            backend: None,
            told: false,
            size: 0,
            rings: [0; 3],
            taken: 0,
            given: 0,
            interrupt: None,
        })
    }

    fn serve(mut self) -> anyhow::Result<()> {
        loop {
            match self.message() {
                Ok(Some((request, payload, files))) => self.answer(request, &payload, files)?,
                Ok(None) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.complete()?;
                    if self.disk.wild.load(Ordering::SeqCst) {
                        self.invent()?;
                        self.change()?;
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The next message; none once the VMM has gone.
    fn message(&mut self) -> io::Result<Option<Message>> {
        let mut header = [0; 12];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let parts = &mut [IoSliceMut::new(&mut header)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let read = rustix::net::recvmsg(&self.stream, parts, &mut ancillary, flags)?.bytes;
        if read == 0 {
            return Ok(None);
        }
        let files = ancillary.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(files) => Some(files),
            _ => None,
        });
        let files = files.flatten().collect();
        let mut rest = &self.stream;
        read_all(&mut rest, &mut header[read..])?;
        let mut payload = vec![0; u32_at(&header, 8) as usize];
        read_all(&mut rest, &mut payload)?;
        Ok(Some((u32_at(&header, 0), payload, files)))
    }

    fn answer(&mut self, request: u32, payload: &[u8], files: Vec<OwnedFd>) -> anyhow::Result<()> {
        let mut files = files.into_iter().map(File::from);
        match request {
            GET_FEATURES => self.reply(request, &FEATURES.to_le_bytes())?,
            GET_PROTOCOL_FEATURES => self.reply(request, &PROTOCOL_FEATURES.to_le_bytes())?,
            SET_MEM_TABLE => {
                // A count, then regions of four numbers.
                let regions = payload[8..].chunks_exact(32).zip(files);
                let region = |(bytes, file): (&[u8], File)| Region {
                    guest: u64_at(bytes, 0),
                    size: u64_at(bytes, 8),
                    vmm: u64_at(bytes, 16),
                    offset: u64_at(bytes, 24),
                    file,
                };
                self.memory = regions.map(region).collect();
            }
            SET_VRING_NUM => self.size = u32_at(payload, 4).into(),
            // Descriptors, used, available, as the VMM's addresses.
            SET_VRING_ADDR => self.rings = [8, 16, 24].map(|at| u64_at(payload, at)),
            GET_VRING_BASE => {
                let base = u32::from(self.taken).to_le_bytes();
                self.reply(request, &[[0; 4], base].concat())?;
            }
            SET_VRING_BASE => {
                self.taken = u16::try_from(u32_at(payload, 4))?;
                self.given = self.taken;
            }
            SET_VRING_CALL => self.interrupt = files.next(),
            // The driver is gone, and with it the queue.
            SET_VRING_ENABLE if u32_at(payload, 4) == 0 => self.rings = [0; 3],
            SET_BACKEND_REQ_FD => self.backend = files.next(),
            GET_CONFIG => {
                self.told = false;
                let mut config = payload.to_vec();
                let change = self.disk.changes.fetch_add(1, Ordering::SeqCst);
                // The first is one that a driver accepts.
                let capacity = CAPACITIES[change % CAPACITIES.len()];
                config[12..20].copy_from_slice(&capacity.to_le_bytes());
                self.reply(request, &config)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn reply(&mut self, request: u32, payload: &[u8]) -> anyhow::Result<()> {
        let size = u32::try_from(payload.len())?;
        let header = [request, VERSION | IS_REPLY, size].map(u32::to_le_bytes).concat();
        Ok((&self.stream).write_all(&[header, payload.to_vec()].concat())?)
    }

    /// Answers what the guest asks: with other data each time, an error now and then, and lengths
    /// that are none.
    fn complete(&mut self) -> anyhow::Result<()> {
        let [descriptors, _, available] = self.rings;
        if descriptors == 0 || self.size == 0 {
            return Ok(());
        }
        let asked = u16::from_le_bytes(self.read(available + 2)?);
        while self.taken != asked {
            let slot = u64::from(self.taken) % self.size;
            let head = u16::from_le_bytes(self.read(available + 4 + 2 * slot)?);
            self.taken = self.taken.wrapping_add(1);
            let number = self.disk.reads.fetch_add(1, Ordering::SeqCst);
            let mut next = Some(head);
            for _ in 0..self.size {
                let Some(index) = next else { break };
                let descriptor: [u8; 16] = self.read(descriptors + 16 * u64::from(index))?;
                let (address, length) = (u64_at(&descriptor, 0), u32_at(&descriptor, 8));
                let flags = u16::from_le_bytes([descriptor[12], descriptor[13]]);
                next = (flags & NEXT != 0)
                    .then(|| u16::from_le_bytes([descriptor[14], descriptor[15]]));
                if flags & WRITABLE != 0 {
                    let status = u8::from(number % 3 == 2);
                    let byte = if next.is_some() { number.to_le_bytes()[0] ^ 0x5a } else { status };
                    self.write_guest(address, &vec![byte; length as usize])?;
                }
            }
            let length = if number.is_multiple_of(2) { u32::MAX } else { 0 };
            self.give(u32::from(head), length)?;
        }
        Ok(())
    }

    /// Completes a request that nobody made: of no descriptor, or of one that is not in use.
    fn invent(&mut self) -> anyhow::Result<()> {
        if self.rings[1] == 0 || self.interrupt.is_none() {
            return Ok(());
        }
        let number = self.disk.inventions.fetch_add(1, Ordering::SeqCst);
        let wild = [u32::MAX, u32::try_from(self.size)?, 0, 1];
        self.give(wild[number % wild.len()], u32::MAX)
    }

    /// Puts an element into the used ring and interrupts.
    fn give(&mut self, id: u32, length: u32) -> anyhow::Result<()> {
        let used = self.rings[1];
        let slot = u64::from(self.given) % self.size;
        let element = [id, length].map(u32::to_le_bytes).concat();
        self.write_vmm(used + 4 + 8 * slot, &element)?;
        self.given = self.given.wrapping_add(1);
        self.write_vmm(used + 2, &self.given.to_le_bytes())?;
        if let Some(interrupt) = &mut self.interrupt {
            interrupt.write_all(&1_u64.to_ne_bytes())?;
        }
        Ok(())
    }

    /// Has the VMM ask for the configuration, which is another one then.
    fn change(&mut self) -> anyhow::Result<()> {
        if let (Some(backend), false) = (&mut self.backend, self.told) {
            self.told = true;
            let message = [CONFIG_CHANGED, VERSION, 0].map(u32::to_le_bytes).concat();
            backend.write_all(&message)?;
        }
        Ok(())
    }

    fn read<const N: usize>(&self, vmm: u64) -> anyhow::Result<[u8; N]> {
        let (file, offset) = self.place(vmm, |region| region.vmm)?;
        let mut bytes = [0; N];
        file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    fn write_vmm(&self, address: u64, bytes: &[u8]) -> anyhow::Result<()> {
        let (file, offset) = self.place(address, |region| region.vmm)?;
        Ok(file.write_all_at(bytes, offset)?)
    }

    fn write_guest(&self, address: u64, bytes: &[u8]) -> anyhow::Result<()> {
        let (file, offset) = self.place(address, |region| region.guest)?;
        Ok(file.write_all_at(bytes, offset)?)
    }

    fn place(&self, address: u64, of: fn(&Region) -> u64) -> anyhow::Result<(&File, u64)> {
        let found = self.memory.iter().find(|r| (of(r)..of(r) + r.size).contains(&address));
        let region = found.with_context(|| format!("{address:#x} is nowhere"))?;
        Ok((&region.file, region.offset + address - of(region)))
    }
}

/// Reads all of it, however slowly it comes.
fn read_all(stream: &mut &UnixStream, mut bytes: &mut [u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.read(bytes) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => bytes = &mut bytes[read..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Fails unless the disk did what it is for, and the guest's driver noticed.
pub(super) fn noticed(disk: &LyingDisk, console: &str) -> anyhow::Result<String> {
    let count = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
    let (reads, changes) = (count(&disk.reads), count(&disk.changes));
    let inventions = count(&disk.inventions);
    ensure!(reads > 0, "the guest read nothing from the lying disk");
    ensure!(inventions > 0, "the disk invented nothing");
    let followed = console.matches("new size").count();
    ensure!(changes > 10 && followed > 0, "{changes} configurations, {followed} were looked at");
    let caught = ["is not a head", "out of range"].iter().any(|words| console.contains(words));
    ensure!(caught, "the guest's driver took a completion of nothing: {console}");
    Ok(format!(
        "a vhost-user disk answered {reads} reads with lies, changed its configuration {changes} times \
         under the driver, and had its queue closed for the first of {inventions} invented completions"
    ))
}

// Numbers of the protocol's messages.
const GET_FEATURES: u32 = 1;
const SET_MEM_TABLE: u32 = 5;
const SET_VRING_NUM: u32 = 8;
const SET_VRING_ADDR: u32 = 9;
const SET_VRING_BASE: u32 = 10;
const GET_VRING_BASE: u32 = 11;
const SET_VRING_CALL: u32 = 13;
const GET_PROTOCOL_FEATURES: u32 = 15;
const SET_VRING_ENABLE: u32 = 18;
const SET_BACKEND_REQ_FD: u32 = 21;
const GET_CONFIG: u32 = 24;
const CONFIG_CHANGED: u32 = 2;
const VERSION: u32 = 1;
const IS_REPLY: u32 = 4;
/// `VIRTIO_F_VERSION_1`, `VHOST_USER_F_PROTOCOL_FEATURES`.
const FEATURES: u64 = 1 << 32 | 1 << 30;
/// Requests of the backend's own, and a configuration.
const PROTOCOL_FEATURES: u64 = 1 << 5 | 1 << 9;
const NEXT: u16 = 1;
const WRITABLE: u16 = 2;
/// In sectors: what a disk may have, none, and more than there is.
const CAPACITIES: [u64; 4] = [64, 0, 1 << 62, u64::MAX];
