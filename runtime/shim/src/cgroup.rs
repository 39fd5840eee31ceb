// SPDX-License-Identifier: Apache-2.0
//! The cgroup of the sandbox on the host: where the VMM lives.
//!
//! With cgroup v2 that is one folder; with v1, or the mixed hierarchies of older distributions, one
//! for each controller that limits or accounts a VMM. Device and cpuset controllers of v1 are left
//! alone: the former would keep the VMM from `/dev/kvm`, the latter cannot be joined before it is
//! set up.

use std::fs;
use std::io;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;

use crate::error::ShimError;

/// The cgroup hierarchies of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hierarchies {
    /// cgroup v2 alone.
    Unified {
        /// Where it is mounted.
        root: PathBuf,
    },
    /// cgroup v1: the mount points of the controllers that matter here.
    Legacy {
        /// Mount points, each with its controllers.
        roots: Vec<(PathBuf, Vec<Controller>)>,
    },
}

/// A controller of cgroup v1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controller {
    /// CPU time.
    Cpu,
    /// Memory.
    Memory,
    /// Number of tasks.
    Pids,
    /// Block devices.
    Blkio,
}

impl Hierarchies {
    /// The hierarchies of this host.
    ///
    /// # Errors
    ///
    /// [`ShimError::File`] when the mount table cannot be read.
    pub fn of_host() -> Result<Self, ShimError> {
        let path = PathBuf::from("/proc/self/mountinfo");
        fs::read_to_string(&path).map(|text| Self::parse(&text)).map_err(|source| ShimError::File {
            action: "read",
            path,
            source,
        })
    }

    /// Reads a mount table (proc_pid_mountinfo(5)).
    #[must_use]
    pub fn parse(mountinfo: &str) -> Self {
        let mut unified = None;
        let mut roots = Vec::new();
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(mount_point) = left.split(' ').nth(4) else { continue };
            let mut right = right.split(' ');
            match (right.next(), right.nth(1)) {
                (Some("cgroup2"), _) => {
                    unified.get_or_insert_with(|| PathBuf::from(mount_point));
                }
                (Some("cgroup"), Some(options)) => {
                    let controllers: Vec<_> = options.split(',').filter_map(controller).collect();
                    if !controllers.is_empty() {
                        roots.push((PathBuf::from(mount_point), controllers));
                    }
                }
                _ => {}
            }
        }
        match unified {
            Some(root) if roots.is_empty() => Self::Unified { root },
            _ => Self::Legacy { roots },
        }
    }

    /// The folders for an OCI `cgroupsPath`: a path, or systemd's `slice:prefix:name`.
    ///
    /// # Errors
    ///
    /// [`ShimError::Malformed`] when the path would leave the hierarchy.
    pub fn folders(&self, cgroups_path: &str) -> Result<Vec<PathBuf>, ShimError> {
        if cgroups_path.is_empty() {
            return Ok(vec![]);
        }
        let malformed = || ShimError::Malformed {
            field: "cgroupsPath",
            reason: format!("{cgroups_path:?} is no path below the hierarchy"),
        };
        let below = match cgroups_path.split(':').collect::<Vec<_>>()[..] {
            [path] => PathBuf::from(path.trim_start_matches('/')),
            [_, prefix, name] if prefix.contains('/') || name.contains('/') => {
                return Err(malformed());
            }
            [slice, prefix, name] => slice_folder(slice)
                .map(|folder| folder.join(format!("{prefix}-{name}.scope")))
                .ok_or_else(malformed)?,
            _ => return Err(malformed()),
        };
        let plain = below.components().all(|part| matches!(part, Component::Normal(_)));
        if !plain || below.as_os_str().is_empty() {
            return Err(malformed());
        }
        Ok(match self {
            Self::Unified { root } => vec![root.join(&below)],
            Self::Legacy { roots } => roots.iter().map(|(root, _)| root.join(&below)).collect(),
        })
    }
}

/// Makes the folders, and those above them that are missing. The result is what was made, in the
/// order in which [`remove`] takes it away.
///
/// # Errors
///
/// [`ShimError::File`]; what was made before it is removed.
pub fn create(folders: &[PathBuf]) -> Result<Vec<PathBuf>, ShimError> {
    let mut made = Vec::new();
    for folder in folders {
        let missing: Vec<_> = folder.ancestors().take_while(|above| !above.exists()).collect();
        for path in missing.into_iter().rev() {
            match fs::create_dir(path) {
                Ok(()) => made.push(path.to_owned()),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => {
                    made.reverse();
                    remove(&made);
                    let path = path.to_owned();
                    return Err(ShimError::File { action: "make the cgroup", path, source });
                }
            }
        }
    }
    made.reverse();
    Ok(made)
}

/// Removes the folders. Those that another pod uses by now stay: the kernel sees to that.
pub fn remove(folders: &[PathBuf]) {
    for folder in folders {
        match fs::remove_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::debug!(%error, folder = %folder.display(), "cgroup not removed");
            }
            _ => {}
        }
    }
}

/// What an update may change of a running VMM: its CPU time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CpuLimits {
    /// Weight against other cgroups, 2 to 262144 (v1's scale).
    pub shares: Option<u64>,
    /// CPU time in each period, in microseconds; negative = no limit.
    pub quota: Option<i64>,
    /// Length of a period, in microseconds.
    pub period: Option<u64>,
    /// CPUs that it may use (cpuset(7), "List format").
    pub cpus: Option<String>,
}

impl CpuLimits {
    /// Reads OCI `LinuxResources` in JSON.
    ///
    /// # Errors
    ///
    /// [`ShimError::Unsupported`] for a change of anything else, which a VM cannot follow:
    /// nothing is ever ignored. [`ShimError::Malformed`] for what is no such JSON.
    pub fn parse(json: &[u8]) -> Result<Self, ShimError> {
        let resources: Resources = serde_json::from_slice(json).map_err(|error| {
            ShimError::Malformed { field: "resources", reason: error.to_string() }
        })?;
        let refuse = |what| ShimError::Unsupported {
            what,
            reason: "the VM's size is fixed at its launch: delete the pod and create it again",
        };
        if resources.memory.is_some_and(|memory| memory.limit.is_some_and(|limit| limit > 0)) {
            return Err(refuse("a change of the pod's memory"));
        }
        let cpu = resources.cpu.unwrap_or_default();
        if cpu.mems.is_some_and(|set| !set.is_empty()) {
            return Err(refuse("pinning to memory nodes"));
        }
        let given = |n: &u64| *n > 0;
        Ok(Self {
            shares: cpu.shares.filter(given),
            quota: cpu.quota.filter(|quota| *quota != 0),
            period: cpu.period.filter(given),
            cpus: cpu.cpus.filter(|set| !set.is_empty()),
        })
    }

    /// Applies the limits to the cgroup of `folders`, as [`Hierarchies::folders`] gave them.
    ///
    /// # Errors
    ///
    /// [`ShimError::File`]; [`ShimError::Unsupported`] for pinning under cgroup v1, of which the
    /// VMM has no cpuset.
    pub fn apply(&self, hierarchies: &Hierarchies, folders: &[PathBuf]) -> Result<(), ShimError> {
        if self.cpus.is_some() && matches!(hierarchies, Hierarchies::Legacy { .. }) {
            return Err(ShimError::Unsupported {
                what: "pinning to CPUs",
                reason: "with cgroup v1 the VMM is in no cpuset; use a node with cgroup v2",
            });
        }
        for (path, value) in self.writes(hierarchies, folders) {
            fs::write(&path, value).map_err(|source| ShimError::File {
                action: "write",
                path,
                source,
            })?;
        }
        Ok(())
    }

    fn writes(&self, hierarchies: &Hierarchies, folders: &[PathBuf]) -> Vec<(PathBuf, String)> {
        let mut writes = Vec::new();
        match hierarchies {
            Hierarchies::Unified { .. } => {
                let Some(folder) = folders.first() else { return writes };
                if let Some(shares) = self.shares {
                    writes.push((folder.join("cpu.weight"), weight(shares).to_string()));
                }
                if self.quota.is_some() || self.period.is_some() {
                    let quota = match self.quota {
                        Some(quota) if quota > 0 => quota.to_string(),
                        _ => "max".to_owned(),
                    };
                    let period = self.period.unwrap_or(DEFAULT_PERIOD_US);
                    writes.push((folder.join("cpu.max"), format!("{quota} {period}")));
                }
                if let Some(cpus) = &self.cpus {
                    writes.push((folder.join("cpuset.cpus"), cpus.clone()));
                }
            }
            Hierarchies::Legacy { roots } => {
                let cpu = roots.iter().zip(folders);
                let mut cpu = cpu.filter(|((_, list), _)| list.contains(&Controller::Cpu));
                let Some((_, folder)) = cpu.next() else { return writes };
                if let Some(shares) = self.shares {
                    writes.push((folder.join("cpu.shares"), shares.to_string()));
                }
                // The kernel checks the quota against the period that is set.
                if let Some(period) = self.period {
                    writes.push((folder.join("cpu.cfs_period_us"), period.to_string()));
                }
                if let Some(quota) = self.quota {
                    writes.push((folder.join("cpu.cfs_quota_us"), quota.max(-1).to_string()));
                }
            }
        }
        writes
    }
}

#[derive(Default, Deserialize)]
struct Resources {
    #[serde(default)]
    cpu: Option<Cpu>,
    #[serde(default)]
    memory: Option<Memory>,
}

#[derive(Default, Deserialize)]
struct Cpu {
    shares: Option<u64>,
    quota: Option<i64>,
    period: Option<u64>,
    cpus: Option<String>,
    mems: Option<String>,
}

#[derive(Default, Deserialize)]
struct Memory {
    limit: Option<i64>,
}

fn controller(name: &str) -> Option<Controller> {
    match name {
        "cpu" => Some(Controller::Cpu),
        "memory" => Some(Controller::Memory),
        "pids" => Some(Controller::Pids),
        "blkio" => Some(Controller::Blkio),
        _ => None,
    }
}

/// The folder of a systemd slice: `a-b.slice` lies in `a.slice`.
fn slice_folder(slice: &str) -> Option<PathBuf> {
    let name = slice.strip_suffix(".slice")?;
    if name == "-" {
        return Some(PathBuf::new());
    }
    let mut folder = PathBuf::new();
    let mut unit = String::new();
    for part in name.split('-') {
        if part.is_empty() || part.contains('/') {
            return None;
        }
        if !unit.is_empty() {
            unit.push('-');
        }
        unit.push_str(part);
        folder.push(Path::new(&format!("{unit}.slice")));
    }
    Some(folder)
}

/// v1's shares on v2's scale of weights, 1 to 10000 (runc's conversion, kept by Kubernetes).
fn weight(shares: u64) -> u64 {
    let above_least = shares.clamp(2, 262_144).saturating_sub(2);
    above_least.saturating_mul(9999).div_euclid(262_142).saturating_add(1)
}

const DEFAULT_PERIOD_US: u64 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 24 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
34 30 0:30 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices
35 30 0:31 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory
";
    const UNIFIED: &str = "31 30 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn the_mount_table_tells_the_hierarchies() {
        let Hierarchies::Legacy { roots } = Hierarchies::parse(HYBRID) else { panic!() };
        let points: Vec<_> = roots.iter().map(|(root, _)| root.to_str().unwrap()).collect();
        assert_eq!(points, ["/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/memory"]);
        let root = "/sys/fs/cgroup".into();
        assert_eq!(Hierarchies::parse(UNIFIED), Hierarchies::Unified { root });
        assert_eq!(Hierarchies::parse("nonsense\n"), Hierarchies::Legacy { roots: vec![] });
    }

    fn unified_folder(path: &str) -> Result<String, ShimError> {
        let folders = Hierarchies::parse(UNIFIED).folders(path)?;
        Ok(folders.first().map(|f| f.to_str().unwrap().to_owned()).unwrap_or_default())
    }

    #[test]
    fn paths_and_slices_become_folders() {
        assert_eq!(unified_folder("/kubepods/pod1/c").unwrap(), "/sys/fs/cgroup/kubepods/pod1/c");
        assert_eq!(
            unified_folder("kubepods-besteffort-pod1.slice:cri-containerd:c").unwrap(),
            "/sys/fs/cgroup/kubepods.slice/kubepods-besteffort.slice/\
             kubepods-besteffort-pod1.slice/cri-containerd-c.scope"
        );
        assert_eq!(unified_folder("-.slice:p:n").unwrap(), "/sys/fs/cgroup/p-n.scope");
        assert_eq!(unified_folder("").unwrap(), "");
        let legacy = Hierarchies::parse(HYBRID).folders("/a").unwrap();
        assert_eq!(legacy.len(), 2);
        assert_eq!(legacy[1], Path::new("/sys/fs/cgroup/memory/a"));
    }

    #[test]
    fn no_path_leaves_the_hierarchy() {
        for path in ["/", "..", "/a/../..", "a:b", "x:p:n", "a.slice:p:../n", "a--b.slice:p:n"] {
            assert!(unified_folder(path).is_err(), "{path}");
        }
    }

    #[test]
    fn cpu_limits_are_written_in_either_scheme() {
        let json = br#"{"cpu": {"shares": 1024, "quota": 50000, "period": 100000}, "memory": {}}"#;
        let limits = CpuLimits::parse(json).unwrap();
        let written = |hierarchies: &Hierarchies, limits: &CpuLimits| {
            let folders = hierarchies.folders("/s").unwrap();
            let writes = limits.writes(hierarchies, &folders).into_iter();
            writes.map(|(path, value)| format!("{} {value}", path.display())).collect::<Vec<_>>()
        };
        let unified = Hierarchies::parse(UNIFIED);
        assert_eq!(
            written(&unified, &limits),
            ["/sys/fs/cgroup/s/cpu.weight 39", "/sys/fs/cgroup/s/cpu.max 50000 100000"]
        );
        let cpu = "/sys/fs/cgroup/cpu,cpuacct/s";
        assert_eq!(
            written(&Hierarchies::parse(HYBRID), &limits),
            [
                format!("{cpu}/cpu.shares 1024"),
                format!("{cpu}/cpu.cfs_period_us 100000"),
                format!("{cpu}/cpu.cfs_quota_us 50000"),
            ]
        );
        let unlimited = CpuLimits { quota: Some(-1), ..CpuLimits::default() };
        assert_eq!(written(&unified, &unlimited), ["/sys/fs/cgroup/s/cpu.max max 100000"]);
        let pinned = CpuLimits { cpus: Some("0,4".to_owned()), ..CpuLimits::default() };
        assert_eq!(written(&unified, &pinned), ["/sys/fs/cgroup/s/cpuset.cpus 0,4"]);
        let refused = pinned.apply(&Hierarchies::parse(HYBRID), &[]);
        assert!(matches!(refused, Err(ShimError::Unsupported { .. })));
    }

    #[test]
    fn what_a_vm_cannot_follow_is_refused() {
        for json in [r#"{"memory": {"limit": 1048576}}"#, r#"{"cpu": {"mems": "0"}}"#] {
            let refused = CpuLimits::parse(json.as_bytes());
            assert!(matches!(refused, Err(ShimError::Unsupported { .. })), "{json}");
        }
        assert!(matches!(CpuLimits::parse(b"1"), Err(ShimError::Malformed { .. })));
        assert_eq!(CpuLimits::parse(b"{}").unwrap(), CpuLimits::default());
    }

    #[test]
    fn what_was_made_is_removed_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let [a, b] = ["a/x/one", "a/x/two"].map(|path| root.path().join(path));
        let first = create(std::slice::from_ref(&a)).unwrap();
        let second = create(std::slice::from_ref(&b)).unwrap();
        assert_eq!((first.len(), second.len()), (3, 1));
        // The first pod goes: the second keeps what it needs.
        remove(&first);
        assert!(!a.exists() && b.exists());
        remove(&second);
        assert!(!b.exists() && root.path().join("a/x").exists());
    }

    #[test]
    fn weights_span_the_scale() {
        assert_eq!(
            (weight(0), weight(2), weight(262_144), weight(u64::MAX)),
            (1, 1, 10_000, 10_000)
        );
    }
}
