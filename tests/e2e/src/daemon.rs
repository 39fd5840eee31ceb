// SPDX-License-Identifier: Apache-2.0
//! A daemon of the world: started with its output in a file, ended by pid.

use std::fs::File;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::bail;
use nix::sys::signal::Signal;
use nix::sys::signal::kill;
use nix::unistd::Pid;

/// How long a daemon may take to listen: the slowest, containerd, takes a second.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long a daemon may take to end after SIGTERM.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// A running daemon; dropping it ends it.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts `command` with stdout and stderr in `<logs>/<name>.log` and waits until `ready` says yes.
    ///
    /// # Errors
    ///
    /// When it cannot be started, ends early, or is not ready in time; the log's end is in the message.
    pub fn start(
        name: &str,
        mut command: Command,
        logs: &Path,
        ready: impl Fn() -> bool,
    ) -> anyhow::Result<Self> {
        let log = logs.join(format!("{name}.log"));
        let out = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("create {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone().context("duplicate the log file")?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        let mut daemon = Self { name: name.to_owned(), child, log };
        let begun = Instant::now();
        while !ready() {
            if let Some(status) = daemon.child.try_wait().context("wait for a daemon")? {
                bail!("{name} ended at once ({status}): {}", daemon.log_end());
            }
            if begun.elapsed() > START_LIMIT {
                bail!("{name} is not ready after {START_LIMIT:?}: {}", daemon.log_end());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(daemon)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The last lines of its output.
    #[must_use]
    pub fn log_end(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().rev().take(12).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Ends it: SIGTERM, then SIGKILL.
    ///
    /// # Errors
    ///
    /// When it cannot be waited for.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        if self.child.try_wait().context("wait for a daemon")?.is_some() {
            return Ok(());
        }
        let pid = Pid::from_raw(i32::try_from(self.child.id()).context("pid")?);
        kill(pid, Signal::SIGTERM).with_context(|| format!("end {}", self.name))?;
        let begun = Instant::now();
        while self.child.try_wait().context("wait for a daemon")?.is_none() {
            if begun.elapsed() > STOP_LIMIT {
                self.child.kill().with_context(|| format!("kill {}", self.name))?;
                self.child.wait().context("wait for a daemon")?;
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("could not end {}: {error:#}", self.name);
        }
    }
}
