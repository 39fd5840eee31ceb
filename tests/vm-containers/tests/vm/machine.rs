// SPDX-License-Identifier: Apache-2.0
//! A virtual machine without hardware help, which boots as a pod's does: through firmware that
//! compares kernel, initramfs and command line with a table of their hashes.

use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

use casemate_boot_formats::ovmf::Ovmf;
use casemate_boot_formats::sev_hashes::KernelHashes;

pub(crate) const QEMU: &str = "qemu-system-x86_64";

/// The whole run takes about a minute on two idle processors, and ten times that on busy ones.
const DEADLINE: Duration = Duration::from_secs(600);

/// What the machine boots.
pub(crate) struct Files<'a> {
    pub(crate) firmware: &'a Path,
    pub(crate) kernel: &'a Path,
    pub(crate) initramfs: &'a Path,
}

/// Boots, shows the serial console and returns its lines once the machine is off.
pub(crate) fn boot(files: &Files<'_>) -> Vec<String> {
    let log = if std::env::var_os("CASEMATE_TEST_LOG").is_some() { " test.log" } else { "" };
    let command_line = format!(
        "console=ttyS0 quiet panic=-1 tsc=reliable no_timer_check mitigations=off nokaslr \
         cryptomgr.notests{log}"
    );
    let read = |path: &Path| std::fs::read(path).unwrap();
    let hashes =
        KernelHashes::of(&read(files.kernel), &read(files.initramfs), command_line.as_bytes());
    let table = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(table.path(), hashes.unwrap().to_table()).unwrap();
    let address = Ovmf::parse(&read(files.firmware)).unwrap().hash_table_address().unwrap();
    let mut machine = Command::new(QEMU)
        .args(["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "EPYC-v4"])
        .args(["-smp", "2", "-m", "1024", "-nodefaults", "-display", "none", "-no-reboot"])
        .args(["-serial", "stdio"])
        // A port that no container may open.
        .args(["-device", "virtio-serial-pci", "-chardev", "null,id=port"])
        .args(["-device", "virtserialport,chardev=port,name=casemate.agent"])
        .arg("-bios")
        .arg(files.firmware)
        .arg("-kernel")
        .arg(files.kernel)
        .arg("-initrd")
        .arg(files.initramfs)
        .args(["-append", &command_line])
        // Where SNP's launch would put it.
        .arg("-device")
        .arg(format!("loader,file={},addr={address:#x},force-raw=on", table.path().display()))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = machine.stdout.take().unwrap();
    let machine = Arc::new(Mutex::new(machine));
    let begin = Instant::now();
    let watchdog = {
        let machine = Arc::clone(&machine);
        std::thread::spawn(move || kill_at_deadline(&machine, begin))
    };
    let mut lines = Vec::new();
    for line in BufReader::new(output).split(b'\n') {
        let line = String::from_utf8_lossy(&line.unwrap()).trim_end().to_owned();
        println!("[{:6.2}] {line}", begin.elapsed().as_secs_f64());
        lines.push(line);
    }
    machine.lock().unwrap().wait().unwrap();
    watchdog.join().unwrap();
    lines
}

fn kill_at_deadline(machine: &Mutex<Child>, begin: Instant) {
    loop {
        let mut child = machine.lock().unwrap();
        if child.try_wait().unwrap().is_some() {
            return;
        }
        if begin.elapsed() > DEADLINE {
            println!("the machine is stopped after {} s", DEADLINE.as_secs());
            child.kill().unwrap();
            return;
        }
        drop(child);
        std::thread::sleep(Duration::from_millis(200));
    }
}
