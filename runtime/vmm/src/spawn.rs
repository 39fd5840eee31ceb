// SPDX-License-Identifier: Apache-2.0
//! Starts a VMM process that cannot outlive its parent.
#![allow(unsafe_code, reason = "what a child does between fork and exec has no safe wrapper")]

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Command, ExitStatus, Stdio};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::sync::oneshot;

use crate::qmp::one_line;

/// What the child process gets.
pub(crate) struct Plan<'a> {
    pub(crate) program: &'a Path,
    pub(crate) arguments: &'a [String],
    /// Becomes the child's standard input.
    pub(crate) control: OwnedFd,
    pub(crate) network_namespace: Option<&'a Path>,
    pub(crate) cgroups: &'a [PathBuf],
}

/// A child process; dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Child {
    handle: Handle,
    exit: Option<oneshot::Receiver<String>>,
}

/// Kills the child; clones stay valid after its end.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    pid: u32,
    /// Refers to this process for ever, unlike the number.
    pidfd: Arc<OwnedFd>,
}

/// Why no process was started.
#[derive(Debug)]
pub(crate) struct SpawnError {
    pub(crate) action: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
}

impl Child {
    /// Starts the process from a thread of its own, which lives as long as the process: the kernel
    /// kills the child when the *thread* that started it ends.
    pub(crate) async fn spawn(plan: Plan<'_>) -> Result<Self, SpawnError> {
        let failed = |action, path: &Path, source| SpawnError { action, path: path.into(), source };
        let namespace = plan.network_namespace.map(|path| {
            File::open(path).map_err(|source| failed("open network namespace", path, source))
        });
        let namespace = namespace.transpose()?;
        let mut cgroups = Vec::with_capacity(plan.cgroups.len());
        for folder in plan.cgroups {
            let file = folder.join("cgroup.procs");
            let opened = OpenOptions::new().write(true).open(&file);
            cgroups.push(opened.map_err(|source| failed("open cgroup", &file, source))?);
        }
        let program = plan.program.to_owned();
        let mut command = Command::new(plan.program);
        command
            .args(plan.arguments.iter().map(OsStr::new))
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(plan.control))
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let parent = rustix::process::getpid();
        // SAFETY: `prepare` only makes system calls on memory and descriptors that exist already:
        // no allocation, no lock, nothing that another thread of the parent could have left in a
        // half-changed state.
        unsafe {
            command.pre_exec(move || prepare(parent, &cgroups, namespace.as_ref()));
        }
        let (started, starting) = oneshot::channel();
        let (ended, exit) = oneshot::channel();
        std::thread::Builder::new()
            .name("vmm-parent".to_owned())
            .stack_size(THREAD_STACK)
            .spawn(move || parent_thread(command, started, ended))
            .map_err(|source| failed("start a thread for", &program, source))?;
        let handle = match starting.await {
            Ok(result) => result.map_err(|source| failed("start", &program, source))?,
            Err(_) => {
                return Err(failed("start", &program, io::ErrorKind::BrokenPipe.into()));
            }
        };
        Ok(Self { handle, exit: Some(exit) })
    }

    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Waits for the end and tells how it came, one line. For the second caller nothing is left.
    pub(crate) async fn wait(&mut self) -> String {
        match &mut self.exit {
            Some(exit) => {
                let detail = exit.await.unwrap_or_else(|_| "unknown".to_owned());
                self.exit = None;
                detail
            }
            None => "ended before".to_owned(),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.handle.kill();
    }
}

impl Handle {
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn kill(&self) {
        // The only possible failure is that the process is gone.
        let _ = pidfd_send_signal(self.pidfd.as_fd(), Signal::KILL);
    }
}

/// Enough for waiting and reading, small because every pod has one.
const THREAD_STACK: usize = 64 * 1024;
/// How much of the end of the child's messages is kept.
const MESSAGES_MAX: usize = 4096;

fn parent_thread(
    mut command: Command,
    started: oneshot::Sender<io::Result<Handle>>,
    ended: oneshot::Sender<String>,
) {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    // The parent's copies of what only the child needs.
    drop(command);
    let handle = match open_handle(child.id()) {
        Ok(handle) => handle,
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            let _ = started.send(Err(error));
            return;
        }
    };
    let pidfd = Arc::clone(&handle.pidfd);
    if let Err(Ok(handle)) = started.send(Ok(handle)) {
        // The caller gave up meanwhile.
        handle.kill();
    }
    let messages = child.stderr.take().map(|stderr| last_messages(stderr, &pidfd));
    let messages = messages.unwrap_or_default();
    // In a process with a general reaper the status may be taken by that.
    let status = child.wait().map_or_else(|_| "status unknown".to_owned(), describe);
    let detail = if messages.is_empty() { status } else { format!("{status}: {messages}") };
    let _ = ended.send(detail);
}

fn open_handle(id: u32) -> io::Result<Handle> {
    let raw = i32::try_from(id).ok().and_then(Pid::from_raw);
    let pid = raw.ok_or(io::ErrorKind::InvalidData)?;
    let pidfd = Arc::new(pidfd_open(pid, PidfdFlags::empty())?);
    Ok(Handle { pid: id, pidfd })
}

/// Reads until the child is gone, keeps the end of it.
///
/// The end of the child counts, not the end of the pipe: a process that the child left behind may
/// hold that open.
fn last_messages(mut stderr: ChildStderr, pidfd: &OwnedFd) -> String {
    let mut kept: VecDeque<u8> = VecDeque::with_capacity(MESSAGES_MAX);
    let mut buffer = [0; 1024];
    loop {
        let mut ready = [PollFd::new(&stderr, PollFlags::IN), PollFd::new(pidfd, PollFlags::IN)];
        match poll(&mut ready, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => break,
        }
        let [messages, _] = ready.map(|fd| fd.revents());
        if !messages.contains(PollFlags::IN) {
            // Nothing more to read: the pipe or the child has ended.
            break;
        }
        let Ok(read @ 1..) = stderr.read(&mut buffer) else { break };
        kept.extend(buffer.iter().take(read));
        let surplus = kept.len().saturating_sub(MESSAGES_MAX);
        kept.drain(..surplus);
    }
    let bytes: Vec<u8> = kept.into();
    let text = String::from_utf8_lossy(&bytes);
    // TCG names every CPU feature that it lacks; that is no reason for an end.
    let telling: Vec<&str> = text.lines().filter(|line| !line.contains(": warning: ")).collect();
    let start = telling.len().saturating_sub(3);
    one_line(&telling.get(start..).unwrap_or_default().join("; "), 512)
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (_, Some(signal)) => format!("signal {signal}"),
        _ => "status unknown".to_owned(),
    }
}

/// Runs in the child between fork and exec.
fn prepare(parent: Pid, cgroups: &[File], namespace: Option<&File>) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have died before the line above.
    if rustix::process::getppid() != Some(parent) {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    rustix::process::setsid()?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    for mut cgroup in cgroups {
        cgroup.write_all(b"0")?;
    }
    if let Some(namespace) = namespace {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;

    async fn shell(script: &str) -> Child {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(ours);
        shell_with(script, theirs).await
    }

    async fn shell_with(script: &str, theirs: UnixStream) -> Child {
        let arguments = ["-c".to_owned(), script.to_owned()];
        let plan = Plan {
            program: Path::new("/bin/sh"),
            arguments: &arguments,
            control: theirs.into(),
            network_namespace: None,
            cgroups: &[],
        };
        Child::spawn(plan).await.unwrap()
    }

    #[tokio::test]
    async fn tells_status_and_last_messages() {
        let script = "echo 'x: warning: feature' >&2; printf 'bad \\033[31mthing\\n' >&2; exit 3";
        assert_eq!(shell(script).await.wait().await, "exit status 3: bad  [31mthing");
    }

    #[tokio::test]
    async fn messages_are_bounded() {
        let detail = shell("yes abcdefghijk | head -c 300000 >&2").await.wait().await;
        assert!(detail.len() < 600, "{} bytes", detail.len());
    }

    #[tokio::test]
    async fn a_process_left_behind_does_not_delay_the_end() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        // `cat` holds the pipe until `ours` is closed.
        let mut child = shell_with("cat <&0 & exit 5", theirs).await;
        let detail = tokio::time::timeout(Duration::from_secs(20), child.wait()).await;
        assert_eq!(detail.unwrap(), "exit status 5");
        drop(ours);
    }

    #[tokio::test]
    async fn kill_ends_it() {
        let mut child = shell("exec sleep 60").await;
        child.handle().kill();
        let detail = tokio::time::timeout(Duration::from_secs(20), child.wait()).await;
        assert_eq!(detail.unwrap(), "signal 9");
        child.handle().kill();
        assert_eq!(child.wait().await, "ended before");
    }

    #[tokio::test]
    async fn dropping_it_kills() {
        let child = shell("exec sleep 60").await;
        let pid = Pid::from_raw(i32::try_from(child.handle().pid()).unwrap()).unwrap();
        let mut child = child;
        let exit = child.exit.take().unwrap();
        drop(child);
        assert_eq!(exit.await.unwrap(), "signal 9");
        assert!(rustix::process::test_kill_process(pid).is_err());
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let (_ours, theirs) = UnixStream::pair().unwrap();
        let plan = Plan {
            program: Path::new("/nonexistent/qemu"),
            arguments: &[],
            control: theirs.into(),
            network_namespace: None,
            cgroups: &[],
        };
        let error = Child::spawn(plan).await.unwrap_err();
        assert_eq!(error.path, Path::new("/nonexistent/qemu"));
        assert_eq!(error.source.kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn a_missing_cgroup_or_namespace_stops_the_launch() {
        let missing = PathBuf::from("/nonexistent");
        for (namespace, cgroups) in
            [(Some(missing.as_path()), Vec::new()), (None, vec![missing.clone()])]
        {
            let (_ours, theirs) = UnixStream::pair().unwrap();
            let plan = Plan {
                program: Path::new("/bin/true"),
                arguments: &[],
                control: theirs.into(),
                network_namespace: namespace,
                cgroups: &cgroups,
            };
            assert!(Child::spawn(plan).await.is_err());
        }
    }
}
