// SPDX-License-Identifier: Apache-2.0
//! Kernel settings of a pod.

use serde::Deserialize;
use serde::Serialize;

/// Name of a kernel setting that belongs to the pod's own namespaces, with dots:
/// `net.ipv4.ip_unprivileged_port_start`.
///
/// # Security
///
/// A11: names outside the namespaces of IPC and network (`kernel.core_pattern` and the like) reach the
/// guest's kernel itself and are no names here. E14: nor are those that open loopback to the network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SysctlName(String);

impl SysctlName {
    /// The name with dots.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SysctlName {
    type Error = BadSysctl;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if is_well_formed(&text) && is_namespaced(&text) && !opens_loopback(&text) {
            Ok(Self(text))
        } else {
            Err(BadSysctl { text })
        }
    }
}

impl From<SysctlName> for String {
    fn from(name: SysctlName) -> Self {
        name.0
    }
}

/// The text names no kernel setting of a pod.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no kernel setting of a pod")]
pub struct BadSysctl {
    text: String,
}

/// Parts of lower-case letters, digits, `_` and `-`, with one dot between two: no path can come of it.
fn is_well_formed(text: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'))
    };
    text.len() <= MAX_NAME && text.contains('.') && text.split('.').all(part)
}

/// sysctl.d(5) names of ipc_namespaces(7) and network_namespaces(7), as Kubernetes takes them.
fn is_namespaced(text: &str) -> bool {
    let kernel = text.strip_prefix("kernel.").is_some_and(|name| {
        !name.contains('.') && (name.starts_with("shm") || name.starts_with("msg") || name == "sem")
    });
    kernel || text.starts_with("fs.mqueue.") || text.starts_with("net.")
}

fn opens_loopback(text: &str) -> bool {
    text.ends_with(".route_localnet")
}

/// Longest name in bytes, as Kubernetes'.
const MAX_NAME: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    fn is_name(text: &str) -> bool {
        SysctlName::try_from(text.to_owned()).is_ok()
    }

    #[test]
    fn names_belong_to_the_pod() {
        for name in [
            "net.ipv4.ip_unprivileged_port_start",
            "net.core.somaxconn",
            "kernel.shm_rmid_forced",
            "kernel.shmmax",
            "kernel.msgmnb",
            "kernel.sem",
            "fs.mqueue.msg_max",
        ] {
            assert!(is_name(name), "{name}");
        }
    }

    // A11: settings of the guest's kernel itself
    #[test]
    fn others_are_no_names() {
        for name in [
            "",
            "net",
            "net.",
            ".net.x",
            "net..x",
            "net./../kernel",
            "net/ipv4/x",
            "NET.ipv4.x",
            "net.ipv4.x=1",
            "net.ipv4.x\n",
            "kernel.core_pattern",
            "kernel.modprobe",
            "kernel.sem.x",
            "kernel.semx",
            "kernel.shm.x",
            "kernel.sysrq",
            "fs.mqueue",
            "fs.file-max",
            "vm.overcommit_memory",
            "user.max_user_namespaces",
            // E14: routes to loopback
            "net.ipv4.conf.all.route_localnet",
            &format!("net.{}", "x".repeat(250)),
        ] {
            assert!(!is_name(name), "{name}");
        }
    }
}
