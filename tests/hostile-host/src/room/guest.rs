// SPDX-License-Identifier: Apache-2.0
//! The room from inside: the machine's first process, and a case in namespaces of its own.

use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::process::ExitCode;

use anyhow::Context as _;
use anyhow::ensure;
use rustix::mount::MountFlags;
use rustix::system::RebootCommand;
use serde_json::Value;
use serde_json::json;

use super::machine::MODULES;
use super::machine::PORT;
use super::machine::READY;
use super::machine::SWITCH;

/// The life of the machine's first process: carries out what is asked for on the port, one case at a
/// time, and powers off when nobody asks any more.
#[must_use]
pub fn keep() -> ExitCode {
    if !rustix::process::getpid().is_init() {
        eprintln!("the room is kept by the first process of a machine and nobody else");
        return ExitCode::FAILURE;
    }
    if let Err(error) = serve() {
        println!("room: {error:#}");
    }
    // Without ACPI the kernel could not power off; both end the machine.
    let _ = rustix::system::reboot(RebootCommand::PowerOff);
    let _ = rustix::system::reboot(RebootCommand::Restart);
    ExitCode::FAILURE
}

fn serve() -> anyhow::Result<()> {
    casemate_containers::make_root_pivotable()?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    for (kind, target) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("cgroup2", "/sys/fs/cgroup"),
        ("tmpfs", "/run"),
        ("tmpfs", "/tmp"),
    ] {
        mount(kind, target)?;
    }
    for module in MODULES {
        let file = fs::File::open(format!("/lib/modules/{module}"))?;
        rustix::system::finit_module(&file, c"", COMPRESSED).with_context(|| module.to_owned())?;
    }
    let port = fs::read_dir("/sys/class/virtio-ports")?.flatten().find(|entry| {
        fs::read_to_string(entry.path().join("name")).is_ok_and(|name| name.trim() == PORT)
    });
    let port = Path::new("/dev").join(port.context("no port")?.file_name());
    let mut replies = fs::File::options().read(true).write(true).open(port)?;
    let requests = BufReader::new(replies.try_clone()?);
    writeln!(replies, "{READY}")?;
    for request in requests.lines() {
        let reply = match carry_out(&request?) {
            Ok(line) => line,
            Err(error) => json!({"result": "fail", "detail": format!("{error:#}")}),
        };
        writeln!(replies, "{reply}")?;
    }
    Ok(())
}

/// Runs a case as the first process of namespaces of its own.
fn carry_out(request: &str) -> anyhow::Result<Value> {
    let mut words = request.split(' ');
    let (case, mode) = (words.next().context("no case")?, words.next().context("no mode")?);
    let mut program = Command::new("/bin/busybox");
    program.args(["unshare", "-m", "-u", "-i", "-n", "-p", "-f", "/init"]);
    program.args(["--room=enter", "--json", "--case", case, "--mode", mode]);
    if let Some(switch) = words.next().filter(|switch| !switch.is_empty()) {
        program.env(SWITCH, switch);
    }
    let output = program.output().context("start the case")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().with_context(|| {
        format!("{case} ended ({}): {}", output.status, String::from_utf8_lossy(&output.stderr))
    })?;
    serde_json::from_str(line).with_context(|| format!("{case} says {line}"))
}

/// Boots the agent in namespaces that a case made for it. Without a port to the host it goes no further
/// than to prepare its guest.
#[must_use]
pub fn boot_agent() -> ExitCode {
    // Its settings are for a guest: nowhere else may they be made.
    if !is_room() {
        eprintln!("the agent boots in a room and nowhere else");
        return ExitCode::FAILURE;
    }
    casemate_agent::run()
}

/// Makes namespaces that are new a place where containers run: file systems of this kernel's that
/// show them and nothing else, and a network with a loopback device.
///
/// # Errors
///
/// When a mount cannot be made, or outside of a room.
pub fn enter() -> anyhow::Result<()> {
    ensure!(is_room(), "there is no room around this process");
    for (kind, target) in
        [("proc", "/proc"), ("sysfs", "/sys"), ("cgroup2", "/sys/fs/cgroup"), ("tmpfs", "/run")]
    {
        mount(kind, target)?;
    }
    let up = Command::new("/bin/busybox").args(["ip", "link", "set", "lo", "up"]).status()?;
    ensure!(up.success(), "no loopback device");
    Ok(())
}

/// Whether this process is the first of its namespace, on the room's kernel.
fn is_room() -> bool {
    let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    rustix::process::getpid().is_init() && line.ends_with(ROOM)
}

fn mount(kind: &str, target: &str) -> anyhow::Result<()> {
    fs::create_dir_all(target)?;
    rustix::mount::mount(kind, target, kind, MountFlags::empty(), c"")
        .with_context(|| format!("mount {target}"))
}

/// How the kernel command line of a room ends.
const ROOM: &str = "-- --room=keep\n";
/// `MODULE_INIT_COMPRESSED_FILE`.
const COMPRESSED: i32 = 4;
