// SPDX-License-Identifier: Apache-2.0
//! Kernel settings of a pod.

use serde::Deserialize;
use serde::Serialize;

/// Name of a kernel setting that belongs to the pod's own namespaces, with dots:
/// `net.ipv4.ip_unprivileged_port_start`.
///
/// # Security
///
/// A11: names outside the namespaces of IPC and network (`kernel.core_pattern`, but also
/// `net.core.bpf_jit_enable` and the like) reach the guest's kernel itself and are no names here. E14:
/// nor are those that open loopback to the network; and those that let the network add routes and
/// addresses of its own take the value `0` only ([`SysctlName::takes`]).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SysctlName(String);

impl SysctlName {
    /// The name with dots.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the setting may have this value.
    ///
    /// # Security
    ///
    /// E14: the host is the pod's network. What it may set there stands in the policy; a kernel that
    /// hears router advertisements, redirects or source routes takes the same from any packet.
    #[must_use]
    pub fn takes(&self, value: &str) -> bool {
        let last = self.0.rsplit('.').next().unwrap_or_default();
        let hears =
            HEARS.contains(&last) || HEARS_PREFIXES.iter().any(|prefix| last.starts_with(prefix));
        match last {
            // 0 lets packets in whose sender cannot be behind that interface.
            "rp_filter" => matches!(value, "1" | "2"),
            _ => !hears || value == "0",
        }
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

/// sysctl.d(5) names of ipc_namespaces(7) and network_namespaces(7), Linux 6.12: what
/// `Documentation/networking/ip-sysctl.rst` describes, without what only the first namespace has.
fn is_namespaced(text: &str) -> bool {
    let kernel = text.strip_prefix("kernel.").is_some_and(|name| {
        !name.contains('.') && (name.starts_with("shm") || name.starts_with("msg") || name == "sem")
    });
    let net = text.strip_prefix("net.").is_some_and(|name| {
        let pods = |(family, name): (&str, &str)| {
            matches!(family, "ipv4" | "ipv6" | "netfilter")
                && !GLOBAL.contains(&name)
                && !GLOBAL_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        };
        name.split_once('.').is_some_and(pods) || OTHERS.contains(&name)
    });
    kernel || text.starts_with("fs.mqueue.") || net
}

fn opens_loopback(text: &str) -> bool {
    text.ends_with(".route_localnet")
}

/// Settings of other families that each network namespace has.
const OTHERS: &[&str] =
    &["core.optmem_max", "core.somaxconn", "core.txrehash", "unix.max_dgram_qlen"];
/// Settings below `net.ipv4`, `net.ipv6` and `net.netfilter` that are the whole kernel's.
const GLOBAL: &[&str] = &[
    "ip6frag_secret_interval",
    "ipfrag_secret_interval",
    "mld_max_msf",
    "nf_conntrack_buckets",
    "nf_conntrack_expect_max",
    "nf_conntrack_max",
    "tcp_allowed_congestion_control",
    "tcp_available_congestion_control",
    "tcp_available_ulp",
    "tcp_low_latency",
    "tcp_max_orphans",
    "tcp_mem",
    "udp_mem",
];
/// The same, by how their names begin.
const GLOBAL_PREFIXES: &[&str] = &[
    "calipso_",
    "cipso_",
    "inet_peer_",
    "neigh.default.gc_",
    "nf_hooks_",
    "nf_log",
    "route.",
    "vs.",
];
/// Settings by which the kernel takes addresses or routes out of packets, by the last part of the name.
const HEARS: &[&str] = &[
    "accept_local",
    "accept_redirects",
    "accept_source_route",
    "accept_untracked_na",
    "arp_accept",
    "autoconf",
    "secure_redirects",
];
/// The same, by how their names begin.
const HEARS_PREFIXES: &[&str] = &["accept_ra"];
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
            "net.core.optmem_max",
            "net.unix.max_dgram_qlen",
            "net.ipv4.tcp_rmem",
            "net.ipv4.conf.all.accept_redirects",
            "net.ipv6.conf.eth0.disable_ipv6",
            "net.netfilter.nf_conntrack_tcp_timeout_established",
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
            "net.core.bpf_jit_enable",
            "net.core.bpf_jit_harden",
            "net.core.rmem_max",
            "net.core.netdev_max_backlog",
            "net.ipv4.tcp_mem",
            "net.ipv4.udp_mem",
            "net.ipv4.tcp_allowed_congestion_control",
            "net.ipv4.neigh.default.gc_thresh3",
            "net.ipv4.route.max_size",
            "net.ipv4.vs.conntrack",
            "net.netfilter.nf_conntrack_max",
            "net.nf_conntrack_max",
            "net.bridge.bridge-nf-call-iptables",
            "net.sctp.sctp_mem",
            "net.ipv4",
            // E14: routes to loopback
            "net.ipv4.conf.all.route_localnet",
            &format!("net.{}", "x".repeat(250)),
        ] {
            assert!(!is_name(name), "{name}");
        }
    }

    // E14: what the network must not be heard on
    #[test]
    fn the_network_adds_no_routes_and_addresses() {
        let takes = |name: &str, value| SysctlName::try_from(name.to_owned()).unwrap().takes(value);
        for name in [
            "net.ipv6.conf.all.accept_ra",
            "net.ipv6.conf.eth0.accept_ra_defrtr",
            "net.ipv6.conf.default.autoconf",
            "net.ipv4.conf.all.accept_redirects",
            "net.ipv4.conf.all.secure_redirects",
            "net.ipv4.conf.all.accept_source_route",
            "net.ipv4.conf.all.accept_local",
        ] {
            assert!(takes(name, "0"), "{name}");
            for value in ["1", "2", "", " 0", "0 1", "-1", "0x0"] {
                assert!(!takes(name, value), "{name} = {value:?}");
            }
        }
        let filter = "net.ipv4.conf.all.rp_filter";
        assert!(takes(filter, "1") && takes(filter, "2") && !takes(filter, "0"));
        assert!(takes("net.ipv4.tcp_syncookies", "2") && takes("net.ipv4.ip_forward", "1"));
    }
}
