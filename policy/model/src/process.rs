// SPDX-License-Identifier: Apache-2.0
//! What a process is given: user, environment; and the commands of a container.

use serde::Deserialize;
use serde::Serialize;

use crate::Pattern;

/// Numeric user of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary group ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<u32>,
}

/// An exact environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvVar {
    /// Name, without `=`.
    pub name: String,
    /// Value.
    pub value: String,
}

/// A variable whose value the host gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvHole {
    /// Exact name, or a name pattern; always covers the whole name.
    pub name: Pattern,
    /// Pattern of the value; always covers the whole value.
    pub value: Pattern,
    /// Whether the variable must be there.
    #[serde(default)]
    pub required: bool,
}

/// A command that may be run inside a container. A container lists each argument list once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exec {
    /// The whole argument list, compared exactly.
    pub argv: Vec<String>,
    /// Whether it may have a terminal.
    #[serde(default)]
    pub terminal: bool,
    /// Whether the host may write to its stdin.
    #[serde(default)]
    pub stdin: bool,
    /// Variables beside the container's; one of the same name takes the container's place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// Its user; absent = the container's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<User>,
    /// What it is for. This is said to people: the guest cannot tell a probe from another command.
    #[serde(default)]
    pub purpose: Purpose,
}

/// What a command is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Kubelet's liveness probe.
    LivenessProbe,
    /// Kubelet's readiness probe.
    ReadinessProbe,
    /// Kubelet's startup probe.
    StartupProbe,
    /// The hook after a start.
    PostStart,
    /// The hook before a stop.
    PreStop,
    /// `kubectl exec`.
    #[default]
    Exec,
}
