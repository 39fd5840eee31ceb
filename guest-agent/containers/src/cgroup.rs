// SPDX-License-Identifier: Apache-2.0
//! A container's cgroup (version 2): its processes, figures and end.

mod stats;

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use crate::request::Limits;
use crate::request::Stats;
use crate::signal;

/// Where the hierarchy is mounted.
pub(crate) const ROOT: &str = "/sys/fs/cgroup";

/// A container's cgroup.
#[derive(Debug, Clone)]
pub(crate) struct Cgroup {
    directory: PathBuf,
}

impl Cgroup {
    /// The cgroup at `path`, absolute from the root of the hierarchy.
    pub(crate) fn at(path: &Path) -> Self {
        let below = path.strip_prefix("/").unwrap_or(path);
        Self { directory: Path::new(ROOT).join(below) }
    }

    /// Makes the cgroup of all containers.
    ///
    /// # Errors
    ///
    /// When the hierarchy is not there or not writable.
    pub(crate) fn make(&self) -> Result<(), CgroupError> {
        fs::create_dir_all(&self.directory).map_err(|source| self.error("make", "", source))
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The file that counts OOM kills.
    pub(crate) fn memory_events(&self) -> PathBuf {
        self.directory.join(MEMORY_EVENTS)
    }

    /// How many processes the kernel has killed for want of memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        self.read(MEMORY_EVENTS).map_or(0, |text| stats::field(&text, "oom_kill"))
    }

    /// Pids of all processes, in the guest's numbering, also those in cgroups that the container
    /// made below its own.
    ///
    /// # Errors
    ///
    /// When the cgroup is gone.
    pub(crate) fn pids(&self) -> Result<Vec<u32>, CgroupError> {
        let mut pids = Vec::new();
        for directory in self.tree()? {
            let text = match fs::read_to_string(directory.join(PROCS)) {
                Ok(text) => text,
                // Removed by the container meanwhile.
                Err(error) if gone(&error) && directory != self.directory => continue,
                Err(source) => return Err(self.error("read", PROCS, source)),
            };
            pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
        }
        Ok(pids)
    }

    /// Figures; those of a controller that is not there are 0.
    ///
    /// # Errors
    ///
    /// When the cgroup is gone.
    pub(crate) fn stats(&self) -> Result<Stats, CgroupError> {
        let cpu = self.read("cpu.stat").map_err(|source| self.error("read", "cpu.stat", source))?;
        let text = |file: &str| self.read(file).unwrap_or_default();
        Ok(stats::parse(&stats::Files {
            cpu: &cpu,
            memory: &text("memory.stat"),
            memory_current: &text("memory.current"),
            memory_max: &text("memory.max"),
            memory_events: &text(MEMORY_EVENTS),
            pids_current: &text("pids.current"),
            pids_max: &text("pids.max"),
        }))
    }

    /// Sets the limits that are given and leaves the others. Either all of them hold afterwards or
    /// those from before.
    ///
    /// # Errors
    ///
    /// When the kernel refuses one: [`UpdateError::Refused`] if everything is as before,
    /// [`UpdateError::NotUndone`] if not.
    pub(crate) fn update(&self, limits: Limits) -> Result<(), UpdateError> {
        let mut undo = Vec::new();
        for (file, value) in limit_files(limits) {
            let changed = self
                .read(file)
                .map_err(|source| self.error("read", file, source))
                .and_then(|before| self.write(file, &value).map(|()| before));
            match changed {
                Ok(before) => undo.push((file, before)),
                Err(cause) => {
                    for (file, before) in undo.into_iter().rev() {
                        self.write(file, before.trim_end()).map_err(UpdateError::NotUndone)?;
                    }
                    return Err(UpdateError::Refused(cause));
                }
            }
        }
        Ok(())
    }

    /// Signals every process.
    ///
    /// # Errors
    ///
    /// When the cgroup is gone.
    pub(crate) fn signal_all(&self, number: u32) -> Result<(), CgroupError> {
        if number == signal::KILL {
            return self.write("cgroup.kill", "1");
        }
        // Frozen processes neither end nor fork: no pid of the list can become another's.
        self.write(FREEZE, "1")?;
        let sent = self.pids().map(|pids| {
            for pid in pids {
                let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
                if let Some(Err(error)) = pid.map(|pid| signal::send(pid, number)) {
                    tracing::debug!(%error, "process ended before the signal");
                }
            }
        });
        self.write(FREEZE, "0")?;
        sent
    }

    /// Kills what is left and removes the cgroup. A cgroup that is not there is fine.
    ///
    /// # Errors
    ///
    /// When processes do not end within [`EMPTY_TRIES`] times [`EMPTY_PAUSE`].
    pub(crate) async fn remove(&self) -> Result<(), CgroupError> {
        for _ in 0..EMPTY_TRIES {
            if !self.directory.exists() {
                return Ok(());
            }
            if let Err(error) = self.signal_all(signal::KILL) {
                tracing::debug!(%error, "cgroup.kill");
            }
            if self.remove_tree().is_ok() {
                return Ok(());
            }
            tokio::time::sleep(EMPTY_PAUSE).await;
        }
        self.remove_tree().map_err(|source| self.error("remove", "", source))
    }

    fn remove_tree(&self) -> io::Result<()> {
        let tree = self.tree().map_err(|_| io::Error::from(io::ErrorKind::NotFound));
        for directory in tree?.iter().rev() {
            match fs::remove_dir(directory) {
                Err(error) if !gone(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// The cgroup and those below, parents first.
    fn tree(&self) -> Result<Vec<PathBuf>, CgroupError> {
        let mut found = vec![self.directory.clone()];
        let mut next = 0;
        while let Some(directory) = found.get(next).cloned() {
            next += 1;
            let entries = match fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(error) if gone(&error) && next > 1 => continue,
                Err(source) => return Err(self.error("list", "", source)),
            };
            for entry in entries.flatten() {
                if entry.file_type().is_ok_and(|t| t.is_dir()) && found.len() < MAX_TREE {
                    found.push(entry.path());
                }
            }
        }
        Ok(found)
    }

    fn read(&self, file: &str) -> io::Result<String> {
        fs::read_to_string(self.directory.join(file))
    }

    fn write(&self, file: &'static str, value: &str) -> Result<(), CgroupError> {
        fs::write(self.directory.join(file), value)
            .map_err(|source| self.error("write", file, source))
    }

    fn error(&self, action: &'static str, file: &'static str, source: io::Error) -> CgroupError {
        CgroupError { action, path: self.directory.join(file), source }
    }
}

/// The files of the limits that are given, with their new content.
fn limit_files(limits: Limits) -> Vec<(&'static str, String)> {
    let memory = limits.memory_bytes.map(|bytes| ("memory.max", bytes.to_string()));
    let cpu = limits.cpu_millis.map(|millis| {
        let (quota, period) = cpu_time(millis);
        ("cpu.max", format!("{quota} {period}"))
    });
    let pids = limits.pids.map(|pids| ("pids.max", pids.to_string()));
    [memory, cpu, pids].into_iter().flatten().collect()
}

/// CPU time in each period, and the period, in microseconds; the kernel takes no quota below 1 ms.
pub(crate) fn cpu_time(millis: u64) -> (u64, u64) {
    let quota = millis.saturating_mul(CPU_PERIOD_US / 1000);
    (quota.max(LEAST_QUOTA_US), CPU_PERIOD_US)
}

/// Whether a cgroup has been removed: before it was opened, or between open and read.
fn gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
}

/// An operation on a cgroup failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to {action} cgroup file {path}")]
pub struct CgroupError {
    action: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// New limits were not set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// The limits are as before.
    #[error("the limits are not set")]
    Refused(#[source] CgroupError),
    /// Some of the limits are new and some old.
    #[error("some limits are set and cannot be taken back")]
    NotUndone(#[source] CgroupError),
}

const PROCS: &str = "cgroup.procs";
const FREEZE: &str = "cgroup.freeze";
const MEMORY_EVENTS: &str = "memory.events";

/// More cgroups than this below a container's are not looked at.
const MAX_TREE: usize = 4096;

/// A killed process is gone within milliseconds unless it hangs in the kernel: wait up to 10 s.
const EMPTY_TRIES: u32 = 1000;
const EMPTY_PAUSE: Duration = Duration::from_millis(10);

/// Kubernetes' own period.
const CPU_PERIOD_US: u64 = 100_000;
const LEAST_QUOTA_US: u64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with the files of a cgroup.
    fn cgroup(files: &[&str]) -> (tempfile::TempDir, Cgroup) {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            fs::write(folder.path().join(file), "max\n").unwrap();
        }
        let directory = folder.path().to_owned();
        (folder, Cgroup { directory })
    }

    #[test]
    fn only_given_limits_are_set() {
        let (_folder, cgroup) = cgroup(&["memory.max", "cpu.max", "pids.max"]);
        let limits = Limits { memory_bytes: Some(4096), cpu_millis: Some(1500), pids: None };
        cgroup.update(limits).unwrap();
        let files = ["memory.max", "cpu.max", "pids.max"].map(|file| cgroup.read(file).unwrap());
        assert_eq!(files, ["4096", "150000 100000", "max\n"]);
        cgroup.update(Limits { pids: Some(7), ..Limits::default() }).unwrap();
        assert_eq!(cgroup.read("pids.max").unwrap(), "7");
        assert_eq!(cgroup.read("memory.max").unwrap(), "4096");
    }

    #[test]
    fn a_refused_limit_takes_the_others_back() {
        // The directory in the place of a file is what refuses here.
        let (folder, cgroup) = cgroup(&["memory.max", "cpu.max"]);
        fs::create_dir(folder.path().join("pids.max")).unwrap();
        let limits = Limits { memory_bytes: Some(4096), cpu_millis: Some(1), pids: Some(7) };
        assert!(matches!(cgroup.update(limits), Err(UpdateError::Refused(_))));
        assert_eq!(cgroup.read("memory.max").unwrap(), "max");
        assert_eq!(cgroup.read("cpu.max").unwrap(), "max");
    }

    #[test]
    fn cpu_time_is_what_the_kernel_takes() {
        assert_eq!(cpu_time(1000), (100_000, 100_000));
        assert_eq!(cpu_time(1), (1000, 100_000));
        assert_eq!(cpu_time(u64::MAX), (u64::MAX, 100_000));
    }
}
