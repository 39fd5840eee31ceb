// SPDX-License-Identifier: Apache-2.0
//! PID 1 of the boot tests: says what it finds, then resets the machine.
//!
//! A program of its own, built by the tests with `rustc`: static, the standard library alone. It
//! stands where the agent stands, so it also shows that such a program can run there at all.

use std::ffi::CString;
use std::ffi::c_char;
use std::ffi::c_int;
use std::ffi::c_long;
use std::ffi::c_ulong;
use std::ffi::c_void;
use std::fs;
use std::fs::File;
use std::io;
use std::io::Write;
use std::os::fd::AsRawFd;

unsafe extern "C" {
    fn mount(
        source: *const c_char,
        target: *const c_char,
        kind: *const c_char,
        flags: c_ulong,
        data: *const c_void,
    ) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
    fn reboot(command: c_int) -> c_int;
}

fn main() {
    // E13: lies in this guest's memory to the end, and nowhere else: what follows it is computed.
    let canary: &[u8] = Vec::leak((0..64).map(|at| canary(std::hint::black_box(at))).collect());
    std::hint::black_box(canary);
    let mut report = String::from("reached\n");
    for (kind, target) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys")] {
        mount_at(kind, target);
    }
    mount_at("securityfs", "/sys/kernel/security");
    let mut folders = vec!["/lib/modules"];
    if fs::exists("/lib/modules-sim").unwrap_or(false) {
        folders.push("/lib/modules-sim");
    }
    for folder in folders {
        let order = fs::read_to_string(format!("{folder}/load-order")).unwrap_or_default();
        for name in order.lines() {
            let result = match load(&format!("{folder}/{name}")) {
                Ok(()) => "ok".to_owned(),
                Err(error) => format!("errno {}", error.raw_os_error().unwrap_or_default()),
            };
            report.push_str(&format!("module {name} {result}\n"));
        }
    }
    mount_at("configfs", "/sys/kernel/config");
    for (name, path) in [
        ("cmdline", "/proc/cmdline"),
        ("lockdown", "/sys/kernel/security/lockdown"),
        ("consoles", "/proc/consoles"),
        ("disk", "/sys/block/vda/serial"),
        ("sysrq", "/proc/sys/kernel/sysrq"),
    ] {
        let text = fs::read_to_string(path).unwrap_or_else(|error| format!("({error})"));
        report.push_str(&format!("{name} {}\n", text.trim()));
    }
    for (name, path) in [
        ("tables", "/sys/firmware/acpi/tables"),
        ("tsm", "/sys/kernel/config/tsm/report"),
        ("cuse", "/dev/cuse"),
        ("debugfs", "/sys/kernel/debug/bdi"),
    ] {
        report.push_str(&format!("{name} {}\n", fs::exists(path).unwrap_or(false)));
    }
    report.push_str(&format!("nets {}\n", names("/sys/class/net").join(" ")));
    report.push_str(&format!("serial {}\n", names("/sys/class/tty").join(" ")));
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    report.push_str(&format!("cpus {}\n", cpus.matches("processor\t").count()));
    for (bus, driver, count) in bound() {
        report.push_str(&format!("bound {bus} {count} {driver}\n"));
    }
    report.push_str("end\n");

    say(&report);
    // SAFETY: ends everything; nothing is left to lose.
    unsafe { reboot(0x0123_4567) };
    loop {
        std::thread::park();
    }
}

/// A byte that the host is not told, at a position below 64.
fn canary(at: u8) -> u8 {
    at.wrapping_mul(181).wrapping_add(77).rotate_left(3) ^ 0x3c
}

/// Writes the report to the port of the tests, or to the console.
fn say(report: &str) {
    for port in names("/sys/class/virtio-ports") {
        let name = fs::read_to_string(format!("/sys/class/virtio-ports/{port}/name"));
        if name.is_ok_and(|name| name.trim() == "casemate.probe")
            && let Ok(mut file) = File::options().write(true).open(format!("/dev/{port}"))
            && file.write_all(report.as_bytes()).is_ok()
        {
            return;
        }
    }
    let _ = io::stdout().write_all(report.as_bytes());
    let _ = io::stdout().flush();
}

/// On each bus, each driver that has devices, and how many.
fn bound() -> Vec<(String, String, usize)> {
    let mut found: Vec<(String, String, usize)> = Vec::new();
    for bus in names("/sys/bus") {
        for device in names(&format!("/sys/bus/{bus}/devices")) {
            let link = fs::read_link(format!("/sys/bus/{bus}/devices/{device}/driver"));
            let Some(driver) = link.ok().and_then(|link| Some(link.file_name()?.to_owned())) else {
                continue;
            };
            let driver = driver.to_string_lossy().into_owned();
            match found.iter_mut().find(|(b, d, _)| *b == bus && *d == driver) {
                Some((_, _, count)) => *count += 1,
                None => found.push((bus.clone(), driver, 1)),
            }
        }
    }
    found
}

fn mount_at(kind: &str, target: &str) {
    let (Ok(kind), Ok(target)) = (CString::new(kind), CString::new(target)) else { return };
    // SAFETY: three C strings that live until the call returns; these file systems take no data.
    unsafe { mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, std::ptr::null()) };
}

/// Loads a compressed module.
fn load(path: &str) -> io::Result<()> {
    const FINIT_MODULE: c_long = 313;
    const COMPRESSED_FILE: c_int = 4;
    let file = File::open(path)?;
    // SAFETY: an open file, an empty C string and a flag.
    match unsafe { syscall(FINIT_MODULE, file.as_raw_fd(), c"".as_ptr(), COMPRESSED_FILE) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn names(folder: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<_> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
