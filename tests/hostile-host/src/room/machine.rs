// SPDX-License-Identifier: Apache-2.0
//! The virtual machine of the room, from outside.

#[path = "../../../vm-containers/tests/vm/initramfs.rs"]
mod initramfs;

use std::collections::BTreeSet;
use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::ChildStdin;
use std::process::Command;
use std::process::Stdio;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::bail;
use anyhow::ensure;
use serde_json::Value;

use crate::Context;
use crate::Missing;
use crate::Mode;
use initramfs::Initramfs;

/// The machine: it has one port, whose other end are this program's pipes, and it powers off when
/// they close.
pub(super) struct Machine {
    child: Child,
    requests: ChildStdin,
    replies: Receiver<String>,
    /// What the kernel writes. Its name is gone, as this program may end without a word.
    console: fs::File,
}

impl Machine {
    /// Boots this program as the machine's first process.
    ///
    /// # Errors
    ///
    /// [`Missing`] without QEMU, the fetched kernel or busybox; what else the machine says.
    pub(super) fn boot(context: &Context) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let kernel = context.artifact("inputs/kernel")?;
        let initramfs = folder.path().join("initramfs");
        fs::write(&initramfs, archive(context, &kernel, folder.path())?)?;
        let vmlinuz = find(&kernel, &|name| name.starts_with("vmlinuz-"));
        let path = folder.path().join("console");
        let written = fs::File::options().read(true).write(true).create_new(true).open(&path)?;
        let console = format!("file,id=console,path={}", path.display());
        let mut child = Command::new(QEMU)
            .args(["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "EPYC-v4"])
            .args(["-smp", "2", "-m", "1024", "-nodefaults", "-no-user-config", "-no-reboot"])
            .args(["-display", "none", "-chardev", &console, "-serial", "chardev:console"])
            .args(["-chardev", "stdio,id=room,signal=off", "-device", "virtio-serial-pci"])
            .args(["-device", &format!("virtserialport,chardev=room,name={PORT}")])
            .arg("-kernel")
            .arg(vmlinuz.ok_or_else(|| missing("a kernel", "cargo xtask build"))?)
            .arg("-initrd")
            .arg(&initramfs)
            .args(["-append", COMMAND_LINE])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|_| missing(QEMU, "apt install qemu-system-x86"))?;
        let requests = child.stdin.take().context("the machine's port")?;
        let output = child.stdout.take().context("the machine's port")?;
        let (sender, replies) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut machine = Self { child, requests, replies, console: written };
        // It has read its files once it is ready.
        let ready = machine.line();
        drop(folder);
        ensure!(ready? == READY, "the room is not ready: {}", machine.console());
        Ok(machine)
    }

    /// Has a case carried out, and gives what came of it.
    pub(super) fn ask(&mut self, case: &str, mode: Mode) -> anyhow::Result<Value> {
        // A guard that is off here is off there.
        let switch = std::env::var(SWITCH).unwrap_or_default();
        writeln!(self.requests, "{case} {} {switch}", mode.as_str())?;
        let line = self.line()?;
        serde_json::from_str(&line).with_context(|| format!("the room says {line}"))
    }

    fn line(&mut self) -> anyhow::Result<String> {
        match self.replies.recv_timeout(PATIENCE) {
            Ok(line) => Ok(line),
            Err(_) => bail!("the room does not answer: {}", self.console()),
        }
    }

    /// The end of what the kernel wrote.
    fn console(&self) -> String {
        let mut bytes = vec![0; 2000];
        let length = self.console.metadata().map_or(0, |meta| meta.len());
        let end = length.saturating_sub(2000);
        let read = self.console.read_at(&mut bytes, end).unwrap_or_default();
        String::from_utf8_lossy(&bytes[..read]).into_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// This program, the libraries that it names, busybox, and two modules.
fn archive(context: &Context, kernel: &Path, folder: &Path) -> anyhow::Result<Vec<u8>> {
    let program = context.program("casemate-hostile-host")?;
    let busybox = PathBuf::from("/bin/busybox");
    if !busybox.exists() {
        return Err(missing("/bin/busybox", "apt install busybox-static"));
    }
    let mut files = vec![("/init".to_owned(), stripped(&program, folder))];
    files.push((busybox.display().to_string(), busybox));
    files.extend(libraries(&program)?.into_iter().map(|path| (path.display().to_string(), path)));
    for module in MODULES {
        let path = find(kernel, &|name| name == module);
        let path = path.ok_or_else(|| missing(module, "cargo xtask build"))?;
        files.push((format!("/lib/modules/{module}"), path));
    }
    let mut archive = Initramfs::default();
    let folders: BTreeSet<PathBuf> = files
        .iter()
        .flat_map(|(path, _)| Path::new(path).ancestors().skip(1))
        .chain(["/dev", "/mnt", "/proc", "/run", "/sys", "/tmp"].map(Path::new))
        .filter_map(|path| path.strip_prefix("/").ok())
        .filter(|path| !path.as_os_str().is_empty())
        .map(Path::to_owned)
        .collect();
    for folder in folders {
        archive.directory(&folder.display().to_string());
    }
    for (path, file) in &files {
        let content = fs::read(file).with_context(|| format!("read {}", file.display()))?;
        archive.file(path.trim_start_matches('/'), 0o755, &content);
    }
    Ok(archive.finish())
}

/// Without its symbols it boots faster; binutils comes with every compiler, but need not.
fn stripped(program: &Path, folder: &Path) -> PathBuf {
    let small = folder.join("program");
    let done = Command::new("strip").arg("-o").arg(&small).arg(program).status();
    if done.is_ok_and(|status| status.success()) { small } else { program.to_owned() }
}

/// The shared libraries of a program and their loader, as the loader finds them.
fn libraries(program: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("run ldd")?;
    let text = String::from_utf8(output.stdout)?;
    let paths = text.lines().filter_map(|line| {
        let path = line.rsplit("=> ").next()?.trim().split(" (").next()?;
        path.starts_with('/').then(|| PathBuf::from(path))
    });
    Ok(paths.collect())
}

/// The first file below `folder` whose name fits.
fn find(folder: &Path, fits: &dyn Fn(&str) -> bool) -> Option<PathBuf> {
    for entry in fs::read_dir(folder).ok()?.flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if let Some(found) = find(&path, fits) {
                return Some(found);
            }
        } else if entry.file_name().to_str().is_some_and(fits) {
            return Some(path);
        }
    }
    None
}

fn missing(what: &str, command: &str) -> anyhow::Error {
    Missing { what: format!("{what} (run `{command}`)") }.into()
}

/// What the machine says once it takes requests.
pub(super) const READY: &str = "ready";
/// Name of its port.
pub(super) const PORT: &str = "casemate.room";
/// Kernel modules that it loads, in this order.
pub(super) const MODULES: [&str; 2] = ["overlay.ko.xz", "veth.ko.xz"];
/// The environment variable that says which case's guard is off; see `cargo xtask hostile`.
pub(super) const SWITCH: &str = "CASEMATE_SABOTAGE";

const QEMU: &str = "qemu-system-x86_64";
/// What stands behind `--` are arguments of the first process.
const COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1 tsc=reliable no_timer_check \
                            mitigations=off nokaslr cryptomgr.notests rdinit=/init -- --room=keep";
/// Longest wait for a line: less than a case has.
const PATIENCE: Duration = Duration::from_secs(170);
