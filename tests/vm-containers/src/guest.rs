// SPDX-License-Identifier: Apache-2.0
//! What PID 1 does before containers can run, and at the end.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::Context;
use rustix::mount::MountFlags;
use rustix::mount::mount;
use rustix::system::RebootCommand;

/// The unpacked image of every container.
pub(crate) const IMAGE: &str = "/image";

pub(crate) fn set_up() -> anyhow::Result<()> {
    casemate_containers::make_root_pivotable().context("root")?;
    let none = MountFlags::empty();
    for (source, target, typ, options) in [
        ("proc", "/proc", "proc", c""),
        ("sysfs", "/sys", "sysfs", c""),
        ("devtmpfs", "/dev", "devtmpfs", c""),
        ("cgroup2", "/sys/fs/cgroup", "cgroup2", c""),
        ("tmpfs", "/run", "tmpfs", c"mode=0755"),
    ] {
        fs::create_dir_all(target)?;
        mount(source, target, typ, none, options).with_context(|| format!("mount {target}"))?;
    }
    for module in fs::read_to_string("/lib/modules/load-order")?.lines() {
        let file = fs::File::open(format!("/lib/modules/{module}"))?;
        rustix::system::finit_module(&file, c"", COMPRESSED).with_context(|| module.to_owned())?;
    }
    make_image()
}

/// Busybox with its names, the probe, and a device node as a hostile image may have one.
fn make_image() -> anyhow::Result<()> {
    for directory in ["bin", "etc", "tmp", "root"] {
        fs::create_dir_all(format!("{IMAGE}/{directory}"))?;
    }
    fs::set_permissions(format!("{IMAGE}/tmp"), fs::Permissions::from_mode(0o1777))?;
    fs::hard_link("/bin/busybox", format!("{IMAGE}/bin/busybox"))?;
    for name in [
        "sh", "cat", "echo", "sleep", "stty", "grep", "head", "hostname", "id", "ln", "ls", "pwd",
        "env", "rm", "test", "touch", "tr", "true", "wc",
    ] {
        std::os::unix::fs::symlink("busybox", format!("{IMAGE}/bin/{name}"))?;
    }
    fs::hard_link("/init", format!("{IMAGE}/probe"))?;
    fs::write(format!("{IMAGE}/etc/passwd"), "root:x:0:0::/root:/bin/sh\nme:x:1000:1000::/tmp:\n")?;
    fs::write(format!("{IMAGE}/bin/not-executable"), "")?;
    let null = rustix::fs::makedev(1, 3);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        format!("{IMAGE}/null-of-the-image"),
        rustix::fs::FileType::CharacterDevice,
        rustix::fs::Mode::from_raw_mode(0o666),
        null,
    )?;
    Ok(())
}

pub(crate) fn power_off() -> ! {
    // Let the last line leave the serial port.
    std::thread::sleep(std::time::Duration::from_millis(200));
    if let Err(error) = rustix::system::reboot(RebootCommand::PowerOff) {
        println!("ABORT power off: {error}");
    }
    loop {
        std::thread::park();
    }
}

/// `MODULE_INIT_COMPRESSED_FILE`.
const COMPRESSED: i32 = 4;
