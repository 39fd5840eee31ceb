// SPDX-License-Identifier: Apache-2.0
//! What a sandbox has on the host, written down so that it can be removed after any crash.

use std::fs;
use std::io;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use casemate_sandbox::Id;
use rustix::process::Pid;
use rustix::process::PidfdFlags;
use rustix::process::Signal;
use serde::Deserialize;
use serde::Serialize;

use crate::cgroup;
use crate::error::ShimError;

/// The state file of one sandbox, `state.json` in its folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Version of the format; this one is 1.
    pub version: u32,
    /// The VMM, once it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vmm: Option<VmmProcess>,
    /// The network namespace in which taps and redirects are this sandbox's; none while it has none
    /// there, also when the namespace already serves another sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_namespace: Option<PathBuf>,
    /// Folders of cgroups that were made for the VMM.
    pub cgroups: Vec<PathBuf>,
}

/// A process that a later one of the same id cannot be taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmmProcess {
    /// Process id.
    pub pid: u32,
    /// Start in clock ticks since the boot of the host (proc_pid_stat(5), field 22).
    pub start_time: u64,
}

/// The folder of a sandbox below the state folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir(PathBuf);

impl StateDir {
    /// The folder of the sandbox `id` below `root`.
    #[must_use]
    pub fn new(root: &Path, id: &Id) -> Self {
        Self(root.join(id.as_str()))
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes the folder, for root alone.
    ///
    /// # Errors
    ///
    /// [`ShimError::File`], also when it exists: ids are not used twice.
    pub fn create(&self) -> Result<(), ShimError> {
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o700);
        let made = match self.0.parent() {
            Some(root) => builder.recursive(true).create(root),
            None => Ok(()),
        };
        made.and_then(|()| builder.recursive(false).create(&self.0)).map_err(|source| {
            ShimError::File { action: "make the folder", path: self.0.clone(), source }
        })
    }

    /// Writes the state file.
    ///
    /// # Errors
    ///
    /// [`ShimError::File`].
    pub fn write(&self, state: &State) -> Result<(), ShimError> {
        let path = self.0.join(STATE_FILE);
        serde_json::to_vec(state)
            .map_err(io::Error::from)
            .and_then(|bytes| write_atomically(&path, &bytes))
            .map_err(|source| ShimError::File { action: "write", path, source })
    }

    /// Reads the state file, if there is one.
    ///
    /// # Errors
    ///
    /// [`ShimError::File`] when it is there and cannot be read.
    pub fn read(&self) -> Result<Option<State>, ShimError> {
        let path = self.0.join(STATE_FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ShimError::File { action: "read", path, source }),
        };
        let state = serde_json::from_slice(&bytes).map_err(io::Error::from);
        state.map(Some).map_err(|source| ShimError::File { action: "understand", path, source })
    }

    /// Removes the folder with everything in it. One that is gone is no error.
    ///
    /// # Errors
    ///
    /// [`ShimError::File`].
    pub fn remove(&self) -> Result<(), ShimError> {
        match fs::remove_dir_all(&self.0) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(ShimError::File { action: "remove", path: self.0.clone(), source }),
        }
    }
}

impl VmmProcess {
    /// The process of this id as it runs now.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let start_time = start_time(&stat)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "malformed process state"))?;
        Ok(Self { pid, start_time })
    }

    /// Kills the process, if it is still the same one, and waits until it is gone.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn kill(self) -> io::Result<()> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else {
            return Ok(());
        };
        // The descriptor stays with the process even if its id is given to another.
        let descriptor = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(descriptor) => descriptor,
            Err(rustix::io::Errno::SRCH) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        if Self::of(self.pid).ok() != Some(self) {
            return Ok(());
        }
        match rustix::process::pidfd_send_signal(&descriptor, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut waited = [rustix::event::PollFd::new(&descriptor, rustix::event::PollFlags::IN)];
        let limit = rustix::event::Timespec { tv_sec: KILL_WAIT_S, tv_nsec: 0 };
        match rustix::event::poll(&mut waited, Some(&limit))? {
            0 => Err(io::ErrorKind::TimedOut.into()),
            _ => Ok(()),
        }
    }
}

/// Ends and removes whatever the sandbox still has on the host. It goes on after an error and
/// returns the first.
///
/// # Errors
///
/// The first thing that could not be removed.
pub fn remove_everything(dir: &StateDir) -> Result<(), ShimError> {
    let mut first = Ok(());
    let mut note = |result: Result<(), ShimError>| {
        if let Err(error) = result {
            tracing::warn!(%error, "clean-up");
            if first.is_ok() {
                first = Err(error);
            }
        }
    };
    match dir.read() {
        Ok(Some(state)) => {
            if let Some(vmm) = state.vmm {
                let path = format!("/proc/{}", vmm.pid).into();
                note(vmm.kill().map_err(|source| ShimError::File { action: "end", path, source }));
            }
            if let Some(namespace) = &state.network_namespace {
                note(casemate_pod_network::detach(namespace).map_err(|error| {
                    ShimError::coded(casemate_agent_api::Code::NetworkRefused, error)
                }));
            }
            cgroup::remove(&state.cgroups);
        }
        Ok(None) => {}
        Err(error) => note(Err(error)),
    }
    note(dir.remove());
    first
}

/// Leaves the path of the state folder in a sandbox's bundle: `delete` has no other way to know it,
/// since the configuration that names it comes with a request.
///
/// # Errors
///
/// [`ShimError::File`].
pub fn note_root(bundle: &Path, root: &Path) -> Result<(), ShimError> {
    let path = bundle.join(ROOT_FILE);
    write_atomically(&path, root.as_os_str().as_bytes()).map_err(|source| ShimError::File {
        action: "write",
        path,
        source,
    })
}

/// The state folder that [`note_root`] left in a bundle.
#[must_use]
pub fn noted_root(bundle: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string(bundle.join(ROOT_FILE)).ok()?;
    text.starts_with('/').then(|| text.into())
}

/// Writes a file in one step: a reader sees the old content or the new.
///
/// # Errors
///
/// What the system says.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let mut options = fs::File::options();
    let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    drop(file);
    fs::rename(&temporary, path)
}

/// Field 22 of a process's `stat`; the name in field 2 may hold anything, its end is the last `)`.
fn start_time(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// File in a sandbox's bundle with the path of the state folder.
const ROOT_FILE: &str = "casemate-state";
const STATE_FILE: &str = "state.json";
const KILL_WAIT_S: i64 = 10;

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn dir() -> (tempfile::TempDir, StateDir) {
        let root = tempfile::tempdir().unwrap();
        let dir = StateDir::new(root.path(), &Id::new("pod-1").unwrap());
        (root, dir)
    }

    fn state(vmm: Option<VmmProcess>, cgroups: Vec<PathBuf>) -> State {
        State {
            version: 1,
            vmm,
            network_namespace: Some("/run/netns/never-existed".into()),
            cgroups,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let (_root, dir) = dir();
        dir.create().unwrap();
        assert_eq!(dir.read().unwrap(), None);
        let state = state(Some(VmmProcess { pid: 1, start_time: 2 }), vec!["/c".into()]);
        dir.write(&state).unwrap();
        assert_eq!(dir.read().unwrap(), Some(state));
        assert!(dir.create().is_err(), "an id is used once");
        dir.remove().unwrap();
        dir.remove().unwrap();
        assert!(!dir.path().exists());
    }

    #[test]
    fn the_state_folder_is_found_by_the_bundle() {
        let bundle = tempfile::tempdir().unwrap();
        assert_eq!(noted_root(bundle.path()), None);
        note_root(bundle.path(), Path::new("/run/elsewhere")).unwrap();
        assert_eq!(noted_root(bundle.path()), Some("/run/elsewhere".into()));
    }

    #[test]
    fn everything_is_removed_after_a_crash() {
        let (root, dir) = dir();
        dir.create().unwrap();
        let cgroup = root.path().join("cgroup/sandbox");
        fs::create_dir_all(&cgroup).unwrap();
        let mut child = Command::new("/bin/sleep").arg("1000").spawn().unwrap();
        let vmm = VmmProcess::of(child.id()).unwrap();
        dir.write(&state(Some(vmm), vec![cgroup.clone()])).unwrap();
        remove_everything(&dir).unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()), Some(9));
        assert!(!dir.path().exists());
        assert!(!cgroup.exists());
        // Again, with nothing left.
        remove_everything(&dir).unwrap();
    }

    #[test]
    fn another_process_of_the_same_id_is_spared() {
        let mut child = Command::new("/bin/sleep").arg("1000").spawn().unwrap();
        let mut vmm = VmmProcess::of(child.id()).unwrap();
        vmm.start_time += 1;
        vmm.kill().unwrap();
        assert_eq!(child.try_wait().unwrap(), None, "the wrong process was killed");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn the_name_of_a_process_confuses_nobody() {
        let fields = "S 1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 777 1 1";
        assert_eq!(start_time(&format!("42 (qemu) {fields}")), Some(777));
        assert_eq!(start_time(&format!("42 (a) S 1 (b) {fields}")), Some(777));
        assert_eq!(start_time("42 (qemu"), None);
        assert_eq!(start_time("42 (qemu) S 1"), None);
    }
}
