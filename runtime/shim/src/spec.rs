// SPDX-License-Identifier: Apache-2.0
//! What the shim reads of a bundle's `config.json`: the fields that the host itself needs and those
//! that the agent API has a place for.
//!
//! Users, capabilities, seccomp, devices, hooks, namespaces other than the network's and rlimits
//! are not parsed at all: they are the policy's business, and no message could carry them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;

use casemate_sandbox::Id;
use serde::Deserialize;

use crate::error::ShimError;
use crate::resources::Resources;

/// A bundle's `config.json`, reduced.
#[derive(Debug, Clone, Deserialize)]
pub struct Spec {
    /// First process.
    #[serde(default)]
    pub process: Process,
    /// Root file system.
    #[serde(default)]
    pub root: Root,
    /// Hostname of the pod.
    #[serde(default)]
    pub hostname: String,
    /// Mounts, containerd's own included.
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// Annotations of containerd and of the pod.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// The Linux part.
    #[serde(default)]
    linux: Linux,
}

/// A process of a container: the first one, or an exec.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Process {
    /// Whether it has a terminal.
    #[serde(default)]
    pub terminal: bool,
    /// First size of the terminal.
    #[serde(default, rename = "consoleSize")]
    pub console_size: ConsoleSize,
    /// Argument list.
    #[serde(default)]
    pub args: Vec<String>,
    /// `NAME=value`
    #[serde(default)]
    pub env: Vec<String>,
    /// Working directory.
    #[serde(default)]
    pub cwd: String,
}

/// Size of a terminal in characters.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct ConsoleSize {
    /// Rows.
    #[serde(default)]
    pub height: u32,
    /// Columns.
    #[serde(default)]
    pub width: u32,
}

/// Root file system.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Root {
    /// Whether it is read-only.
    #[serde(default)]
    pub readonly: bool,
}

/// A mount as containerd planned it on the host.
#[derive(Debug, Clone, Deserialize)]
pub struct Mount {
    /// Path in the container.
    pub destination: String,
    /// `bind`, `proc`, `tmpfs` and so on.
    #[serde(default, rename = "type")]
    pub fs_type: String,
    /// Path on the host. It never leaves the shim.
    #[serde(default)]
    pub source: String,
    /// Mount options.
    #[serde(default)]
    pub options: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Linux {
    #[serde(default, rename = "cgroupsPath")]
    cgroups_path: String,
    #[serde(default)]
    namespaces: Vec<Namespace>,
    #[serde(default)]
    resources: Resources,
}

#[derive(Debug, Clone, Deserialize)]
struct Namespace {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    path: PathBuf,
}

/// What a task is in its pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// The pod itself.
    Sandbox,
    /// A container of a pod.
    Container {
        /// The pod.
        sandbox: Id,
    },
}

/// What kubelet says of the pod's size; 0 stands for "not limited".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizing {
    /// CPU time in each period, in microseconds.
    pub cpu_quota: u64,
    /// Length of a period, in microseconds.
    pub cpu_period: u64,
    /// Memory limit in bytes.
    pub memory: u64,
}

impl Spec {
    /// Reads the `config.json` of a bundle.
    ///
    /// # Errors
    ///
    /// [`ShimError::File`] or [`ShimError::Malformed`].
    pub fn load(bundle: &Path) -> Result<Self, ShimError> {
        let path = bundle.join("config.json");
        let mut bytes = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(MAX_SPEC_BYTES.saturating_add(1)).read_to_end(&mut bytes))
            .map_err(|source| ShimError::File { action: "read", path, source })?;
        Self::parse(&bytes)
    }

    /// Parses the bytes of a `config.json`.
    ///
    /// # Errors
    ///
    /// [`ShimError::Malformed`] when it is no OCI configuration or is larger than
    /// [`MAX_SPEC_BYTES`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ShimError> {
        if u64::try_from(bytes.len()).is_ok_and(|length| length <= MAX_SPEC_BYTES) {
            serde_json::from_slice(bytes).map_err(|error| malformed("config.json", error))
        } else {
            Err(malformed("config.json", format_args!("larger than {MAX_SPEC_BYTES} bytes")))
        }
    }

    /// What the task is in its pod.
    ///
    /// # Errors
    ///
    /// [`ShimError::Unsupported`] for a task without a pod, [`ShimError::Malformed`] for
    /// annotations that contradict themselves.
    pub fn role(&self) -> Result<Role, ShimError> {
        match self.annotation(CONTAINER_TYPE) {
            Some("sandbox") => Ok(Role::Sandbox),
            Some("container") => {
                let sandbox =
                    self.annotation(SANDBOX_ID).ok_or_else(|| malformed(SANDBOX_ID, "missing"))?;
                Ok(Role::Container { sandbox: Id::new(sandbox)? })
            }
            Some(other) => Err(malformed(CONTAINER_TYPE, format_args!("{other:?}"))),
            None => Err(ShimError::Unsupported {
                what: "a container without a pod",
                reason: "the policy of a guest is that of a pod: use CRI",
            }),
        }
    }

    /// An annotation.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(String::as_str)
    }

    /// An annotation without which a container cannot be asked for.
    ///
    /// # Errors
    ///
    /// [`ShimError::Malformed`] when it is absent or empty.
    pub fn required(&self, key: &'static str) -> Result<&str, ShimError> {
        self.annotation(key)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| malformed(key, "missing annotation"))
    }

    /// Path of the pod's network namespace; none when the pod would use the host's.
    #[must_use]
    pub fn network_namespace(&self) -> Option<&Path> {
        self.linux
            .namespaces
            .iter()
            .find(|namespace| namespace.kind == "network")
            .map(|namespace| namespace.path.as_path())
            .filter(|path| path.is_absolute())
    }

    /// The cgroup that containerd planned for the task, in the form of the OCI specification.
    #[must_use]
    pub fn cgroups_path(&self) -> &str {
        &self.linux.cgroups_path
    }

    /// Limits that containerd planned for the task.
    #[must_use]
    pub fn resources(&self) -> &Resources {
        &self.linux.resources
    }

    /// The pod's size.
    ///
    /// # Errors
    ///
    /// [`ShimError::Malformed`] when an annotation is no number.
    pub fn sizing(&self) -> Result<Sizing, ShimError> {
        Ok(Sizing {
            cpu_quota: self.number("io.kubernetes.cri.sandbox-cpu-quota")?,
            cpu_period: self.number("io.kubernetes.cri.sandbox-cpu-period")?,
            memory: self.number("io.kubernetes.cri.sandbox-memory")?,
        })
    }

    /// The annotation as a number; absent and negative ones (CRI's "not limited") are 0.
    fn number(&self, key: &'static str) -> Result<u64, ShimError> {
        let Some(text) = self.annotation(key) else { return Ok(0) };
        let number: i64 = text.parse().map_err(|error| malformed(key, error))?;
        Ok(u64::try_from(number).unwrap_or(0))
    }
}

fn malformed(field: &'static str, reason: impl std::fmt::Display) -> ShimError {
    ShimError::Malformed { field, reason: reason.to_string() }
}

/// Annotation with the role of a task in its pod.
pub const CONTAINER_TYPE: &str = "io.kubernetes.cri.container-type";
/// Annotation with the pod's id.
pub const SANDBOX_ID: &str = "io.kubernetes.cri.sandbox-id";
/// Annotation with the container's name in the pod.
pub const CONTAINER_NAME: &str = "io.kubernetes.cri.container-name";
/// Annotation with the name under which containerd stores the image.
pub const IMAGE_NAME: &str = "io.kubernetes.cri.image-name";
/// Annotation with the owner's initdata.
pub const INITDATA: &str = "io.casemate.initdata";

/// Most bytes of a `config.json`: annotations alone may have 256 KiB.
pub const MAX_SPEC_BYTES: u64 = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SANDBOX: &str = r#"{
        "ociVersion": "1.0.2-dev",
        "process": {"user": {"uid": 65535, "gid": 65535}, "args": ["/pause"], "cwd": "/",
                    "capabilities": {"bounding": ["CAP_FUTURE"]}, "noNewPrivileges": true},
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "web-0",
        "mounts": [{"destination": "/etc/resolv.conf", "type": "bind", "source": "/r",
                    "options": ["rbind", "ro"]}],
        "annotations": {"io.kubernetes.cri.container-type": "sandbox",
                        "io.kubernetes.cri.sandbox-cpu-quota": "150000",
                        "io.kubernetes.cri.sandbox-cpu-period": "100000",
                        "io.kubernetes.cri.sandbox-memory": "-1"},
        "linux": {"cgroupsPath": "/kubepods/pod1/c1",
                  "namespaces": [{"type": "pid"}, {"type": "network", "path": "/run/netns/n"}]}
    }"#;

    #[test]
    fn reads_what_containerd_writes() {
        let spec = Spec::parse(SANDBOX.as_bytes()).unwrap();
        assert_eq!(spec.role().unwrap(), Role::Sandbox);
        assert_eq!(spec.hostname, "web-0");
        assert_eq!(spec.network_namespace(), Some(Path::new("/run/netns/n")));
        assert_eq!(spec.cgroups_path(), "/kubepods/pod1/c1");
        let sizing = Sizing { cpu_quota: 150_000, cpu_period: 100_000, memory: 0 };
        assert_eq!(spec.sizing().unwrap(), sizing);
    }

    fn with_annotations(annotations: &str) -> Spec {
        Spec::parse(format!(r#"{{"annotations": {{{annotations}}}}}"#).as_bytes()).unwrap()
    }

    #[test]
    fn roles() {
        let container = with_annotations(
            r#""io.kubernetes.cri.container-type": "container",
               "io.kubernetes.cri.sandbox-id": "abc""#,
        );
        assert_eq!(container.role().unwrap(), Role::Container { sandbox: Id::new("abc").unwrap() });
        let lost = with_annotations(r#""io.kubernetes.cri.container-type": "container""#);
        assert!(matches!(lost.role(), Err(ShimError::Malformed { .. })));
        let odd = with_annotations(r#""io.kubernetes.cri.container-type": "podsandbox""#);
        assert!(matches!(odd.role(), Err(ShimError::Malformed { .. })));
        assert!(matches!(with_annotations("").role(), Err(ShimError::Unsupported { .. })));
        let path = with_annotations(
            r#""io.kubernetes.cri.container-type": "container",
               "io.kubernetes.cri.sandbox-id": "../../etc""#,
        );
        assert!(matches!(path.role(), Err(ShimError::Id(_))));
    }

    #[test]
    fn a_pod_on_the_hosts_network_has_no_namespace() {
        for text in [
            "{}",
            r#"{"linux": {"namespaces": [{"type": "network"}]}}"#,
            r#"{"linux": {"namespaces": [{"type": "network", "path": "relative"}]}}"#,
        ] {
            assert_eq!(Spec::parse(text.as_bytes()).unwrap().network_namespace(), None, "{text}");
        }
    }

    #[test]
    fn malformed_sizes_are_errors() {
        let spec = with_annotations(r#""io.kubernetes.cri.sandbox-memory": "much""#);
        assert!(matches!(spec.sizing(), Err(ShimError::Malformed { .. })));
    }

    #[test]
    fn size_is_capped_and_truncation_is_an_error() {
        let large = vec![b' '; usize::try_from(MAX_SPEC_BYTES).unwrap() + 1];
        assert!(matches!(Spec::parse(&large), Err(ShimError::Malformed { .. })));
        for length in 0..SANDBOX.len() {
            assert!(Spec::parse(&SANDBOX.as_bytes()[..length]).is_err(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(position in 0..SANDBOX.len(), byte in any::<u8>()) {
            let mut bytes = SANDBOX.as_bytes().to_vec();
            bytes[position] = byte;
            if let Ok(spec) = Spec::parse(&bytes) {
                let _ = (spec.role(), spec.sizing(), spec.network_namespace());
            }
        }
    }
}
