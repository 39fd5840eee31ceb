// SPDX-License-Identifier: Apache-2.0
//! The policy and what it says of the sandbox.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;
use serde::Serialize;

use crate::Container;
use crate::IpRange;
use crate::Pattern;
use crate::SysctlName;
use crate::Volume;

/// A policy: everything that may run in one pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Version of the policy format; this one is 1.
    pub version: u32,
    /// The pod as a whole.
    #[serde(default)]
    pub sandbox: Sandbox,
    /// What containers mount, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, Volume>,
    /// The containers, by their name in the pod.
    pub containers: BTreeMap<String, Container>,
}

/// The pod as a whole: what the host may set for it and what the owner sets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sandbox {
    /// Pattern of the hostname; absent = any valid one, since kubelet derives it from the pod's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<Pattern>,
    /// Kernel settings of the pod, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctls: BTreeMap<SysctlName, String>,
    /// More lines of `/etc/hosts`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostAlias>,
    /// The network that the host may give.
    #[serde(default)]
    pub network: NetworkRules,
}

/// More names of one address, as Kubernetes' `hostAliases`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostAlias {
    /// The address.
    pub ip: IpAddr,
    /// Its names.
    pub names: Vec<String>,
}

/// The network that the host may give. An absent list admits whatever the guest's own rules admit;
/// an empty one admits nothing.
///
/// # Security
///
/// E14: addresses and routes that touch loopback, multicast routes and the like are refused by the
/// guest in any case; no policy can admit them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkRules {
    /// Ranges that hold the networks of the pod's interfaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Vec<IpRange>>,
    /// Ranges that hold the destinations of routes; a default route needs `0.0.0.0/0` or `::/0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<IpRange>>,
    /// Ranges that hold the next hops of routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateways: Option<Vec<IpRange>>,
    /// Ranges that hold the name servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_servers: Option<Vec<IpRange>>,
    /// Patterns of search domains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_searches: Option<Vec<Pattern>>,
}

impl NetworkRules {
    /// Whether nothing is narrowed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }
}
