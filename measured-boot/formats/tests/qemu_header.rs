// SPDX-License-Identifier: Apache-2.0
//! The header that the installed QEMU offers to a guest, against the one that we predict.
//!
//! QEMU starts stopped and never runs the guest; the test reads the setup part of the kernel from
//! its fw_cfg device over the qtest protocol.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod fixtures;

use std::io::BufRead;
use std::io::BufReader;
use std::io::ErrorKind;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use casemate_boot_formats::bzimage::BzImage;
use casemate_boot_formats::bzimage::QemuBoot;

#[test]
fn qemu_patches_what_we_predict() {
    let Some((_, file)) = fixtures::kernel() else { return };
    let kernel = BzImage::parse(&file).unwrap();
    for (memory_mib, initrd_size, command_line, video_mode) in [
        (512, None, "quiet", None),
        (512, Some(763_000), "quiet", None),
        (2815, Some(5_000_001), "vga=791 quiet", Some(791)),
        (2816, Some(4096), "quiet", None),
    ] {
        let mut boot = QemuBoot::q35(u64::from(memory_mib) << 20, initrd_size);
        boot.video_mode = video_mode;
        let predicted = kernel.patched_by_qemu(&boot).unwrap();
        let Some(mut qemu) = Qemu::start(memory_mib, &file, initrd_size, command_line) else {
            return;
        };
        // The whole header; what follows in the setup part is code.
        let read = qemu.fw_cfg(FW_CFG_SETUP_DATA, 0x400);
        assert_eq!(predicted.get(..0x400), Some(read.as_slice()), "{memory_mib} {initrd_size:?}");
    }
}

/// A stopped QEMU; killed when dropped.
struct Qemu {
    child: Child,
    qtest: BufReader<UnixStream>,
    _folder: tempfile::TempDir,
}

impl Qemu {
    fn start(
        memory_mib: u32,
        kernel: &[u8],
        initrd_size: Option<u32>,
        command_line: &str,
    ) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("kernel"), kernel).unwrap();
        let listener = UnixListener::bind(path("qtest")).unwrap();
        listener.set_nonblocking(true).unwrap();

        let mut command = Command::new("qemu-system-x86_64");
        command
            .args(["-machine", "q35", "-accel", "tcg", "-S", "-nodefaults", "-display", "none"])
            .args(["-m", &memory_mib.to_string(), "-append", command_line])
            .args(["-qtest-log", "/dev/null", "-qtest"])
            .arg(format!("unix:{}", path("qtest").display()))
            .arg("-kernel")
            .arg(path("kernel"))
            .stdin(Stdio::null());
        if let Some(size) = initrd_size {
            let initrd = std::fs::File::create(path("initrd")).unwrap();
            initrd.set_len(size.into()).unwrap();
            command.arg("-initrd").arg(path("initrd"));
        }
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => return fixtures::skip(&format!("qemu-system-x86_64: {error}")),
        };
        let stream = accept(&listener, &mut child, folder.path());
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Some(Self { child, qtest: BufReader::new(stream), _folder: folder })
    }

    /// Reads the first bytes of an item of the fw_cfg device.
    fn fw_cfg(&mut self, key: u16, length: usize) -> Vec<u8> {
        self.command(&format!("outw {FW_CFG_SELECTOR:#x} {key:#x}"));
        (0..length)
            .map(|_| {
                let reply = self.command(&format!("inb {FW_CFG_DATA:#x}"));
                let value = u16::from_str_radix(reply.trim_start_matches("0x"), 16).unwrap();
                u8::try_from(value).unwrap()
            })
            .collect()
    }

    fn command(&mut self, line: &str) -> String {
        self.qtest.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
        loop {
            let mut reply = String::new();
            assert!(self.qtest.read_line(&mut reply).unwrap() > 0, "QEMU went away");
            if let Some(value) = reply.strip_prefix("OK") {
                return value.trim().to_owned();
            }
            // Between the replies QEMU reports interrupts.
            assert!(reply.starts_with("IRQ"), "{line}: {reply}");
        }
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn accept(listener: &UnixListener, child: &mut Child, folder: &Path) -> UnixStream {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match listener.accept() {
            Ok((stream, _)) => return stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("{}: {error}", folder.display()),
        }
        if let Some(status) = child.try_wait().unwrap() {
            panic!("QEMU ended: {status}");
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!("QEMU does not connect");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// How long a loaded machine may take to start QEMU or to answer.
const PATIENCE: Duration = Duration::from_secs(60);

const FW_CFG_SELECTOR: u16 = 0x510;
const FW_CFG_DATA: u16 = 0x511;
/// The setup part of the kernel.
const FW_CFG_SETUP_DATA: u16 = 0x18;
