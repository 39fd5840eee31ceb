// SPDX-License-Identifier: Apache-2.0
//! `/init` of simulated guests: makes `/dev/sev-guest`, then becomes the agent.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use casemate_tee_sim_device::cuse::{self, Operation, Request};
use casemate_tee_sim_device::ioctl;
use casemate_tee_sim_device::port::Port;
use casemate_tee_sim_device::refuse::{CpuidFacts, check_devices};
use casemate_tee_sim_device::wire::PORT_NAME;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// The program that this one becomes.
const AGENT: &str = "/casemate-agent";
/// Tells the second process of this program apart.
const DEVICE_ROLE: &str = "device";
const DEVICE: &str = "/dev/sev-guest";
/// The kernel module that makes devices in user space possible, compressed or not.
const MODULES: [(&str, i32); 2] =
    [("/lib/modules-sim/cuse.ko.xz", MODULE_INIT_COMPRESSED_FILE), ("/lib/modules-sim/cuse.ko", 0)];
const MODULE_INIT_COMPRESSED_FILE: i32 = 4;
/// The device needs milliseconds; under emulation and load some more.
const DEVICE_LIMIT: Duration = Duration::from_secs(30);

fn main() -> anyhow::Result<()> {
    let result = match std::env::args().nth(1).as_deref() {
        Some(DEVICE_ROLE) => serve_device(),
        _ => become_agent(),
    };
    if let Err(error) = &result {
        say(&format!("{error:#}"));
    }
    // The end of process 1 stops the guest.
    result
}

/// Process 1.
fn become_agent() -> anyhow::Result<()> {
    CpuidFacts::of_this_machine().check()?;
    for (kind, target) in MOUNTS {
        // Initial file systems hold these folders or not.
        let _ = std::fs::create_dir(target);
        mount(kind, target, kind, MountFlags::empty(), None)
            .with_context(|| format!("failed to mount {target}"))?;
    }
    check_devices()?;
    load_module()?;
    let mut device = Command::new("/proc/self/exe")
        .arg0("casemate-tee-sim-device")
        .arg(DEVICE_ROLE)
        .spawn()
        .context("failed to start the device process")?;
    let deadline = Instant::now() + DEVICE_LIMIT;
    while !Path::new(DEVICE).exists() {
        if let Some(status) = device.try_wait().context("failed to watch the device process")? {
            bail!("the device process ended: {status}");
        }
        if Instant::now() >= deadline {
            bail!("{DEVICE} did not appear");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    // The agent finds the machine as in production: it mounts for itself.
    for (_, target) in MOUNTS.iter().rev() {
        unmount(*target, UnmountFlags::DETACH)
            .with_context(|| format!("failed to unmount {target}"))?;
    }
    let error = Command::new(AGENT).exec();
    Err(error).with_context(|| format!("failed to become {AGENT}"))
}

const MOUNTS: [(&str, &str); 3] = [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")];

fn load_module() -> anyhow::Result<()> {
    for (path, flags) in MODULES {
        let Ok(file) = File::open(path) else { continue };
        return match rustix::system::finit_module(file, c"", flags) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("failed to load {path}")),
        };
    }
    if Path::new("/dev/cuse").exists() {
        return Ok(());
    }
    bail!("no cuse module in /lib/modules-sim")
}

/// The second process: the device, for as long as the guest lives.
fn serve_device() -> anyhow::Result<()> {
    let mut port = Port::open(PORT_NAME).context("failed to open the port of the software PSP")?;
    let mut cuse = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/cuse")
        .context("failed to open /dev/cuse")?;
    let mut buffer = vec![0; cuse::BUFFER_LEN];
    loop {
        let len = match cuse.read(&mut buffer) {
            Ok(len) => len,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            // The caller was killed before its request was taken.
            Err(error) if error.raw_os_error() == Some(ENOENT) => continue,
            Err(error) => return Err(error).context("failed to read a CUSE request"),
        };
        let request = Request::parse(buffer.get(..len).unwrap_or_default())?;
        let unique = request.unique;
        let reply = match &request.operation {
            Operation::Init => cuse::init_reply(unique, "sev-guest"),
            Operation::Open => cuse::open_reply(unique),
            Operation::Release => cuse::empty_reply(unique),
            Operation::Ioctl(call) => cuse::ioctl_reply(unique, &ioctl::handle(call, &mut port)),
            Operation::Interrupt => continue,
            Operation::Other => cuse::error_reply(unique, ENOSYS),
        };
        match cuse.write(&reply) {
            Ok(_) => {}
            // The caller did not wait for the answer.
            Err(error) if error.raw_os_error() == Some(ENOENT) => {}
            Err(error) => return Err(error).context("failed to write a CUSE reply"),
        }
    }
}

const ENOENT: i32 = 2;
const ENOSYS: i32 = 38;

/// A line in the kernel's log, the only place that exists for certain.
fn say(text: &str) {
    if let Ok(mut log) = OpenOptions::new().write(true).open("/dev/kmsg") {
        let _ = writeln!(log, "casemate-tee-sim-device: {text}");
    }
}
