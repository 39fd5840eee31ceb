// SPDX-License-Identifier: Apache-2.0
//! The world: mount, network, PID and IPC namespaces of its own, in which everything runs that a
//! demo or a test starts. When its first process ends, the kernel ends all others and drops every
//! mount, interface and network namespace.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use anyhow::bail;
use nix::sys::signal::SigSet;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

/// Address of the bridge: registry and broker listen there, pods reach them.
pub const HOST_ADDRESS: &str = "10.88.0.1";
/// The pods' subnet.
pub const SUBNET: &str = "10.88.0.0/16";

const INSIDE: &str = "CASEMATE_WORLD";

/// Whether this process is the first one inside a world.
#[must_use]
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some() && std::process::id() == 1
}

/// Directory of the world that this process runs in.
#[must_use]
pub fn inside_root() -> Option<PathBuf> {
    std::env::var_os(INSIDE).map(PathBuf::from)
}

/// Runs this program again, with the same arguments, inside a new world whose files are under
/// `root`, and returns its exit code and what it left behind.
///
/// # Errors
///
/// When `unshare` cannot be run, which needs root.
pub fn run_inside(root: &Path) -> anyhow::Result<(i32, Vec<String>)> {
    // An earlier world that failed may have had this name: its files are no part of this one.
    match fs::remove_dir_all(root) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove the old {}", root.display()));
        }
        _ => {}
    }
    let before = Traces::now(root)?;
    let made: Vec<_> = STATE.iter().filter(|path| !Path::new(path).exists()).collect();
    for path in &made {
        fs::create_dir_all(path).with_context(|| format!("create the mount point {path}"))?;
    }
    // The world ends itself on these, and this process cleans up after it. A terminal sends them to
    // both; what only this process gets is handed on.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block().context("block signals")?;
    // Whatever ends this process ends the world.
    let mut world = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "unshare"])
        .args(["--mount", "--net", "--pid", "--ipc", "--fork", "--kill-child", "--mount-proc"])
        .args(["--propagation", "private"])
        .arg(std::env::current_exe().context("find this program")?)
        .args(std::env::args_os().skip(1).collect::<Vec<OsString>>())
        .env(INSIDE, root)
        .spawn()
        .context("run setpriv and unshare (parts of util-linux)")?;
    let unshare = world.id();
    std::thread::spawn(move || {
        while signals.wait().is_ok() {
            for process in children(unshare) {
                // Gone already, or it will go.
                let _ = nix::sys::signal::kill(process, Signal::SIGTERM);
            }
        }
    });
    let status = world.wait().context("wait for unshare")?;
    for path in made {
        fs::remove_dir(path).with_context(|| format!("remove the mount point {path}"))?;
    }
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    remove_cgroups(&cgroup_name(root))?;
    Ok((code, Traces::now(root)?.beyond(&before)))
}

/// The world, from inside.
#[derive(Debug)]
pub struct World {
    root: PathBuf,
}

impl World {
    /// Prepares mounts and the bridge; call once, inside.
    ///
    /// # Errors
    ///
    /// When a mount or the bridge cannot be made.
    pub fn prepare() -> anyhow::Result<Self> {
        let root = inside_root().context("not inside a world")?;
        fs::create_dir_all(root.join("logs"))
            .with_context(|| format!("create {}", root.display()))?;
        // What containerd, CNI and the shim keep outside of configured places.
        run("mount", &["-t", "tmpfs", "-o", "mode=0755", "casemate", "/run"])?;
        for path in STATE {
            run("mount", &["-t", "tmpfs", "-o", "mode=0755", "casemate", path])?;
        }
        for dir in ["/run/netns", "/run/containerd", "/run/casemate", "/run/lock"] {
            fs::create_dir_all(dir).with_context(|| format!("create {dir}"))?;
        }
        run("ip", &["link", "set", "lo", "up"])?;
        run("ip", &["link", "add", "cni0", "type", "bridge"])?;
        run("ip", &["addr", "add", &format!("{HOST_ADDRESS}/16"), "dev", "cni0"])?;
        run("ip", &["link", "set", "cni0", "up"])?;
        Ok(Self { root })
    }

    /// Directory of this world's files.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Directory of the daemons' output.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// Parent cgroup of the world's pods.
    #[must_use]
    pub fn cgroup_parent(&self) -> String {
        format!("/{}", cgroup_name(&self.root))
    }
}

/// Runs a command to its end.
///
/// # Errors
///
/// When it cannot be started or exits with another code than 0; its stderr is in the message.
pub fn run(program: &str, args: &[&str]) -> anyhow::Result<String> {
    let out = Command::new(program)
        .args(args)
        .output()
        .with_context(|| format!("start {program}: is its package installed?"))?;
    if !out.status.success() {
        bail!(
            "{program} {} failed ({}): {}",
            args.join(" "),
            out.status,
            String::from_utf8_lossy(&out.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

fn cgroup_name(root: &Path) -> String {
    let name = root.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    format!("casemate-{name}")
}

/// Removes the empty cgroups that a world leaves when its processes have ended.
fn remove_cgroups(name: &str) -> anyhow::Result<()> {
    for hierarchy in cgroup_hierarchies()? {
        let top = hierarchy.join(name);
        if top.exists() {
            remove_cgroup_tree(&top)?;
        }
    }
    Ok(())
}

fn remove_cgroup_tree(dir: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(dir)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove_cgroup_tree(&entry.path())?;
        }
    }
    fs::remove_dir(dir).with_context(|| format!("remove cgroup {}", dir.display()))
}

pub(crate) fn cgroup_hierarchies() -> anyhow::Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("read the mount table")?;
    Ok(mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let place = fields.nth(1)?;
            fields.next()?.starts_with("cgroup").then(|| PathBuf::from(place))
        })
        .collect())
}

/// What could be left behind outside of the world's own directory.
#[derive(Debug)]
struct Traces(BTreeSet<String>);

impl Traces {
    fn now(root: &Path) -> anyhow::Result<Self> {
        let mut found = BTreeSet::new();
        let root = root.display().to_string();
        for entry in fs::read_dir("/proc").context("read /proc")?.flatten() {
            let Ok(cmdline) = fs::read(entry.path().join("cmdline")) else { continue };
            let text = String::from_utf8_lossy(&cmdline).replace('\0', " ");
            let first = text.split(' ').next().unwrap_or_default();
            let name = first.rsplit('/').next().unwrap_or_default();
            // Another world, or the machine's own containerd, is none of ours.
            let ours = text.contains("/run/casemate") || text.contains(&root);
            if ours && PROGRAMS.contains(&name) {
                found.insert(format!("process {} {name}", entry.file_name().to_string_lossy()));
            }
        }
        let mounts = fs::read_to_string("/proc/self/mounts").context("read the mount table")?;
        found.extend(mounts.lines().map(|line| format!("mount {line}")));
        let ours = ["/run/netns", "/run/casemate", "/run/containerd/s", "/etc/casemate"];
        for dir in ours.into_iter().chain(STATE).chain(["/var/lib"]) {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                found.insert(format!("file {}", entry.path().display()));
            }
        }
        for entry in fs::read_dir("/sys/class/net").context("read /sys/class/net")?.flatten() {
            found.insert(format!("interface {}", entry.file_name().to_string_lossy()));
        }
        for hierarchy in cgroup_hierarchies()? {
            for entry in fs::read_dir(hierarchy).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().starts_with("casemate") {
                    found.insert(format!("cgroup {}", entry.path().display()));
                }
            }
        }
        Ok(Self(found))
    }

    fn beyond(self, before: &Self) -> Vec<String> {
        self.0.into_iter().filter(|trace| !before.0.contains(trace)).collect()
    }
}

/// Takes up the signals that the process outside has blocked for itself: children inherit that.
///
/// # Errors
///
/// None in practice.
pub fn unblock_signals() -> anyhow::Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_unblock().context("unblock signals")
}

/// The processes that a process has started.
fn children(parent: u32) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let stat = entries.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    stat.filter_map(|stat| {
        // `pid (name) state ppid …`; the name may hold anything.
        let pid = stat.split(' ').next()?.parse().ok()?;
        let ppid = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?;
        (ppid == parent.to_string()).then_some(Pid::from_raw(pid))
    })
    .collect()
}

/// Where CNI and skopeo keep their caches, which nothing can configure.
const STATE: [&str; 2] = ["/var/lib/cni", "/var/lib/containers"];

/// Programs that a world starts.
const PROGRAMS: &[&str] = &[
    "casemate-broker",
    "casemate-snapshotter",
    "casemate-tee-sim",
    "containerd",
    "containerd-shim-casemate-v2",
    "containerd-shim-runc-v2",
    "docker-registry",
    "qemu-system-x86_64",
];
