// SPDX-License-Identifier: Apache-2.0
//! What is there: the mounts of a process, the files below its root, and all that a pod leaves.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::Context as _;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::ResolveFlags;
use rustix::thread::LinkNameSpaceType;
use rustix::thread::move_into_link_name_space;

/// A process of a container, looked at from the room: what it sees is the kernel's word, not its
/// own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process {
    pub(crate) pid: u32,
}

/// A mount of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mounted {
    /// File system.
    pub(crate) kind: String,
    /// Flags of the mount: `ro`, `nosuid`, `nodev`, `noexec`.
    pub(crate) flags: BTreeSet<String>,
    /// Options of the file system, but for the folders of a container's own changes.
    pub(crate) options: Vec<String>,
}

impl Mounted {
    /// Whether it has all of these flags.
    pub(crate) fn has(&self, flags: &[&str]) -> bool {
        flags.iter().all(|flag| self.flags.contains(*flag))
    }
}

impl Process {
    /// Its mounts by their place, the topmost of each (`proc_pid_mountinfo(5)`).
    pub(crate) fn mounts(self) -> anyhow::Result<BTreeMap<String, Mounted>> {
        let text = fs::read_to_string(format!("/proc/{}/mountinfo", self.pid))?;
        let lines = text.lines().map(|line| {
            let (mount, file_system) = line.split_once(" - ").context("a line of mountinfo")?;
            let mount: Vec<_> = mount.split(' ').collect();
            let mut file_system = file_system.split(' ');
            let kind = file_system.next().unwrap_or_default().to_owned();
            let options = file_system.nth(1).unwrap_or_default();
            let own = |option: &&str| !OWN.iter().any(|name| option.starts_with(name));
            let options = options.split(',').filter(own).map(str::to_owned).collect();
            let flags = mount[5].split(',').map(str::to_owned).collect();
            let mounted = Mounted { kind, flags, options };
            Ok((mount[4].to_owned(), mounted))
        });
        lines.collect()
    }

    /// Opens a path as the process would: links lead below its root (openat2(2)).
    pub(crate) fn open(self, path: &str) -> rustix::io::Result<OwnedFd> {
        let root = format!("/proc/{}/root", self.pid);
        let root = rustix::fs::open(root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let path = format!(".{path}");
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        rustix::fs::openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)
    }

    /// The content of a file.
    pub(crate) fn read(self, path: &str) -> anyhow::Result<Vec<u8>> {
        let file = self.open(path).with_context(|| format!("open {path} in the container"))?;
        let mut content = Vec::new();
        fs::File::from(file).read_to_end(&mut content)?;
        Ok(content)
    }

    /// The names in a directory.
    pub(crate) fn names(self, path: &str) -> anyhow::Result<BTreeSet<String>> {
        let entries = rustix::fs::Dir::new(self.open(path)?)?;
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let names: Result<BTreeSet<String>, rustix::io::Errno> = names.collect();
        Ok(names?.into_iter().filter(|name| name != "." && name != "..").collect())
    }

    /// The host name in its namespace.
    pub(crate) fn hostname(self) -> anyhow::Result<String> {
        let namespace = fs::File::open(format!("/proc/{}/ns/uts", self.pid))?;
        // A thread of its own: it does not come back from there.
        let thread = std::thread::spawn(move || {
            let kind = LinkNameSpaceType::HostNameAndNISDomainName;
            move_into_link_name_space(namespace.as_fd(), Some(kind))?;
            let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
            rustix::io::Result::Ok(name)
        });
        let name = thread.join().map_err(|_| anyhow::anyhow!("nobody looked"))?;
        name.context("enter the container's namespace")
    }

    /// The numbers behind a word of `/proc/<pid>/status`: real, effective, saved, file system.
    pub(crate) fn numbers(self, word: &str) -> anyhow::Result<Vec<u32>> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(':'));
        let numbers = line.with_context(|| format!("no {word}"))?.split_ascii_whitespace();
        numbers.map(|number| Ok(number.parse()?)).collect()
    }
}

/// All that requests could have left in this room: mounts, and each file of the runtime with its
/// size or target.
pub(crate) fn leftovers() -> Vec<String> {
    let mut found = vec![fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()];
    walk(Path::new(super::pod::PLACE), &mut found);
    walk(Path::new(super::pod::CGROUPS), &mut found);
    found
}

/// The processes of this namespace.
pub(crate) fn processes() -> anyhow::Result<BTreeSet<u32>> {
    let entries = fs::read_dir("/proc")?.flatten();
    Ok(entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

fn walk(folder: &Path, found: &mut Vec<String>) {
    let mut entries: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for path in entries.into_iter().map(|entry| entry.path()) {
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        let target = fs::read_link(&path).unwrap_or_default();
        let size = if meta.is_file() { meta.len() } else { 0 };
        found.push(format!("{} {size} {}", path.display(), target.display()));
        // The files of a cgroup change by themselves.
        if meta.is_dir() {
            walk(&path, found);
        }
    }
}

/// Options of an overlay that name a container's own folders.
const OWN: [&str; 2] = ["upperdir=", "workdir="];
