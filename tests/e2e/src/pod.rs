// SPDX-License-Identifier: Apache-2.0
//! From a pod's YAML to CRI messages, as kubelet makes them.

#[cfg(test)]
mod agreement;
mod check;
mod container;
mod document;
mod environment;
mod probe;
mod resources;
mod volume;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context;
use k8s_cri::v1::DnsConfig;
use k8s_cri::v1::LinuxPodSandboxConfig;
use k8s_cri::v1::PodSandboxConfig;
use k8s_cri::v1::PodSandboxMetadata;
use serde::Deserialize;
use serde_json::Value;

use volume::Volume;

pub use check::check;
pub use container::Container;
pub use container::ImageUser;
pub use container::Place;
pub use document::one_pod;
pub use probe::Handler;
pub use probe::Probe;
pub use probe::Target;
pub use volume::Files;
pub use volume::replace_content;

/// A pod, as far as kubelet acts on it. [`check`] tells what else there is.
#[derive(Debug, Clone, Deserialize)]
pub struct Pod {
    /// Name, namespace, labels, annotations.
    pub metadata: Metadata,
    /// Containers.
    pub spec: Spec,
    /// The ConfigMaps in the pod's namespace, by name.
    #[serde(skip)]
    pub config_maps: BTreeMap<String, ConfigMap>,
}

/// A ConfigMap.
#[derive(Debug, Clone, Default)]
pub struct ConfigMap {
    /// Texts by key.
    pub data: BTreeMap<String, String>,
    /// Bytes by key, for volumes alone.
    pub binary_data: BTreeMap<String, Vec<u8>>,
}

/// A pod's metadata.
#[derive(Debug, Clone, Deserialize)]
pub struct Metadata {
    /// Name.
    pub name: String,
    /// Namespace.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// A pod's specification.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// Run one after the other before the others, or kept running (sidecars).
    #[serde(default)]
    pub init_containers: Vec<Container>,
    /// Containers in their order.
    pub containers: Vec<Container>,
    /// The runtime class, which names the runtime handler here.
    pub runtime_class_name: Option<String>,
    /// `Always`, `OnFailure` or `Never`.
    #[serde(default)]
    pub restart_policy: RestartPolicy,
    /// Seconds between SIGTERM and SIGKILL.
    #[serde(default = "default_grace")]
    pub termination_grace_period_seconds: u32,
    #[serde(default)]
    volumes: Vec<Volume>,
    hostname: Option<String>,
    node_name: Option<String>,
    service_account_name: Option<String>,
    service_account: Option<String>,
    #[serde(default)]
    security_context: PodSecurityContext,
    dns_config: Option<PodDnsConfig>,
    dns_policy: Option<String>,
    /// Whether variables name the services of the namespace.
    #[serde(default = "default_links")]
    pub enable_service_links: bool,
}

/// When kubelet starts a container again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum RestartPolicy {
    /// Whatever its exit code.
    #[default]
    Always,
    /// After another exit code than 0.
    OnFailure,
    /// Not at all.
    Never,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodSecurityContext {
    run_as_user: Option<i64>,
    run_as_group: Option<i64>,
    fs_group: Option<i64>,
    #[serde(default)]
    supplemental_groups: Vec<i64>,
    seccomp_profile: Option<container::SeccompProfile>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct PodDnsConfig {
    #[serde(default)]
    nameservers: Vec<String>,
    #[serde(default)]
    searches: Vec<String>,
    #[serde(default)]
    options: Vec<DnsOption>,
}

#[derive(Debug, Clone, Deserialize)]
struct DnsOption {
    name: String,
    value: Option<String>,
}

impl RestartPolicy {
    /// Whether a container that ended with `code` is started again.
    #[must_use]
    pub fn restarts(self, code: i32) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => code != 0,
            Self::Never => false,
        }
    }
}

impl Pod {
    /// Reads a pod from a YAML file.
    ///
    /// # Errors
    ///
    /// When it cannot be read or is no pod.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    /// Reads a pod from YAML.
    ///
    /// # Errors
    ///
    /// When it is no pod.
    pub fn parse(yaml: &str) -> anyhow::Result<Self> {
        let document: Value = serde_saphyr::from_str(yaml).context("parse the pod's YAML")?;
        serde_json::from_value(document::without_nulls(document)).context("read the pod")
    }

    /// The runtime handler that the pod's RuntimeClass stands for.
    #[must_use]
    pub fn handler(&self) -> &str {
        self.spec.runtime_class_name.as_deref().unwrap_or(DEFAULT_HANDLER)
    }

    /// Every container, in the order in which kubelet starts them.
    pub fn all_containers(&self) -> impl Iterator<Item = &Container> {
        self.spec.init_containers.iter().chain(&self.spec.containers)
    }

    /// The container of this name.
    #[must_use]
    pub fn container(&self, name: &str) -> Option<&Container> {
        self.all_containers().find(|container| container.name == name)
    }

    /// When kubelet starts this container again.
    #[must_use]
    pub fn restart_policy(&self, container: &Container) -> RestartPolicy {
        container.restart_policy.unwrap_or(self.spec.restart_policy)
    }

    /// How many vCPUs the pod's VM has: its CPU limit rounded up, or one.
    #[must_use]
    pub fn vcpus(&self) -> u32 {
        let resources = resources::of_pod(self);
        let quota = u64::try_from(resources.cpu_quota).unwrap_or_default();
        let period = u64::try_from(resources.cpu_period).unwrap_or_default().max(1);
        u32::try_from(quota.div_ceil(period)).unwrap_or(u32::MAX).max(1)
    }

    /// The sandbox's configuration. `uid` is new for each start of the pod.
    #[must_use]
    pub fn sandbox(&self, uid: &str, cgroup_parent: &str, logs: &Path) -> PodSandboxConfig {
        let strings = |map: &BTreeMap<String, String>| map.clone().into_iter().collect();
        PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: self.metadata.name.clone(),
                uid: uid.to_owned(),
                namespace: self.metadata.namespace.clone(),
                attempt: 0,
            }),
            hostname: self.hostname().to_owned(),
            log_directory: logs.join(uid).display().to_string(),
            dns_config: Some(self.dns()),
            labels: strings(&self.metadata.labels),
            annotations: strings(&self.metadata.annotations),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: format!("{cgroup_parent}/pod{uid}"),
                resources: Some(resources::of_pod(self)),
                ..LinuxPodSandboxConfig::default()
            }),
            ..PodSandboxConfig::default()
        }
    }

    /// `hostname`, or the pod's name, cut to what Linux takes.
    fn hostname(&self) -> &str {
        let name = self.spec.hostname.as_deref().unwrap_or(&self.metadata.name);
        name.get(..MAX_HOSTNAME).map_or(name, |cut| cut.trim_end_matches(['-', '.']))
    }

    fn node_name(&self) -> &str {
        self.spec.node_name.as_deref().unwrap_or(NODE_NAME)
    }

    fn service_account(&self) -> &str {
        let spec = &self.spec;
        let account = spec.service_account_name.as_deref().or(spec.service_account.as_deref());
        account.unwrap_or("default")
    }

    /// The node's settings, with the pod's beside or in the place of them.
    fn dns(&self) -> DnsConfig {
        let Some(own) = &self.spec.dns_config else { return DnsConfig::default() };
        let mut dns = DnsConfig::default();
        if self.spec.dns_policy.as_deref() != Some("None") {
            let node = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
            let words = |key: &str| -> Vec<String> {
                let lines = node.lines().filter_map(|line| line.strip_prefix(key));
                lines.flat_map(str::split_whitespace).map(str::to_owned).collect()
            };
            dns.servers = words("nameserver ");
            dns.searches = words("search ");
            dns.options = words("options ");
        }
        dns.servers.extend(own.nameservers.iter().cloned());
        dns.searches.extend(own.searches.iter().cloned());
        dns.options.extend(own.options.iter().map(|option| match &option.value {
            Some(value) => format!("{}:{value}", option.name),
            None => option.name.clone(),
        }));
        dns
    }

    fn volume(&self, name: &str) -> anyhow::Result<&Volume> {
        let found = self.spec.volumes.iter().find(|volume| volume.name == name);
        found.with_context(|| format!("the pod has no volume {name}"))
    }
}

fn default_namespace() -> String {
    "default".to_owned()
}

fn default_links() -> bool {
    true
}

fn default_grace() -> u32 {
    30
}

/// The handler of pods without a RuntimeClass.
pub const DEFAULT_HANDLER: &str = "casemate";
/// Longest hostname in bytes that kubelet gives.
const MAX_HOSTNAME: usize = 63;
/// The node that this client stands for.
const NODE_NAME: &str = "casemate-node";

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: &str) -> Pod {
        Pod::parse(&format!(
            "{{metadata: {{name: p, labels: {{app: web}}}}, spec: {{{spec} containers: []}}}}"
        ))
        .unwrap()
    }

    #[test]
    fn hostnames_are_kubelets() {
        let hostname = |spec: &str| pod(spec).hostname().to_owned();
        assert_eq!(hostname(""), "p");
        assert_eq!(hostname("hostname: web-0,"), "web-0");
        let long = format!("hostname: {}-x{},", "a".repeat(62), "b".repeat(10));
        assert_eq!(hostname(&long), "a".repeat(62));
    }

    #[test]
    fn the_pods_dns_goes_beside_the_nodes_or_in_its_place() {
        let dns =
            pod("dnsPolicy: None, dnsConfig: {nameservers: [10.0.0.1], searches: [a.example], \
             options: [{name: ndots, value: \"2\"}, {name: edns0}]},")
            .dns();
        assert_eq!(dns.servers, ["10.0.0.1"]);
        assert_eq!(dns.searches, ["a.example"]);
        assert_eq!(dns.options, ["ndots:2", "edns0"]);
        assert_eq!(pod("").dns(), DnsConfig::default());
        let beside = pod("dnsConfig: {nameservers: [10.0.0.1]},").dns();
        assert_eq!(beside.servers.last().map(String::as_str), Some("10.0.0.1"));
    }

    #[test]
    fn nulls_are_absent_and_labels_reach_the_sandbox() {
        let pod = pod("hostname: null, initContainers: null,");
        assert!(pod.spec.init_containers.is_empty());
        let sandbox = pod.sandbox("u", "/parent", Path::new("/logs"));
        assert_eq!(sandbox.labels.get("app").map(String::as_str), Some("web"));
        assert_eq!(sandbox.log_directory, "/logs/u");
        assert_eq!(sandbox.linux.unwrap().cgroup_parent, "/parent/podu");
    }

    #[test]
    fn restarts_follow_the_policy() {
        assert!(RestartPolicy::Always.restarts(0) && RestartPolicy::Always.restarts(1));
        assert!(!RestartPolicy::OnFailure.restarts(0) && RestartPolicy::OnFailure.restarts(1));
        assert!(!RestartPolicy::Never.restarts(1));
    }
}
