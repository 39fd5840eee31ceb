// SPDX-License-Identifier: Apache-2.0
//! CPU and memory: what kubelet makes of requests and limits.
//!
//! Source: Kubernetes 1.31, `kuberuntime_container_linux.go` and `resourcehelper.PodLimits`.

use std::collections::BTreeMap;

use anyhow::Context;
use anyhow::bail;
use casemate_policy_generate::Quantity;
use k8s_cri::v1::LinuxContainerResources;
use serde::Deserialize;
use serde_json::Value;

use super::Container;
use super::Pod;

/// A container's requests and limits.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Resources {
    #[serde(default)]
    requests: BTreeMap<String, Amount>,
    #[serde(default)]
    limits: BTreeMap<String, Amount>,
}

/// An amount as it stands in the YAML: text or number.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub(super) struct Amount(Value);

/// What counts of a container or a pod; 0 stands for "not given".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Needs {
    cpu_request: Quantity,
    cpu_limit: Quantity,
    memory_limit: Quantity,
}

/// The sandbox's resources: the most that its containers need at a time.
pub(super) fn of_pod(pod: &Pod) -> LinuxContainerResources {
    let apps = pod.spec.containers.iter().map(needs).fold(Needs::default(), Needs::plus);
    let mut sidecars = Needs::default();
    let mut most = Needs::default();
    for container in &pod.spec.init_containers {
        let own = needs(container);
        if container.is_sidecar() {
            sidecars = sidecars.plus(own);
            most = most.max(sidecars);
        } else {
            most = most.max(own.plus(sidecars));
        }
    }
    most.max(apps.plus(sidecars)).to_cri()
}

/// One container's resources.
pub(super) fn of_container(container: &Container) -> LinuxContainerResources {
    needs(container).to_cri()
}

/// The amount that `resourceFieldRef` names; a limit that is not set is the node's.
pub(super) fn downward(container: &Container, field: &str) -> anyhow::Result<Quantity> {
    let (kind, name) =
        field.split_once('.').with_context(|| format!("unknown resource {field}"))?;
    let limit = container.resources.limits.get(name).map(Amount::quantity).transpose()?;
    let request = container.resources.requests.get(name).map(Amount::quantity).transpose()?;
    match kind {
        "requests" => Ok(request.or(limit).unwrap_or_default()),
        "limits" => match (limit, name) {
            (Some(limit), _) => Ok(limit),
            (None, "cpu") => {
                let cpus = std::thread::available_parallelism().context("count the CPUs")?;
                Ok(Quantity::of_units(u64::try_from(cpus.get())?))
            }
            (None, "memory") => node_memory(),
            (None, _) => Ok(Quantity::default()),
        },
        _ => bail!("unknown resource {field}"),
    }
}

impl Amount {
    pub(super) fn quantity(&self) -> anyhow::Result<Quantity> {
        let text = match &self.0 {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        text.parse().with_context(|| format!("{text:?}"))
    }
}

impl Needs {
    fn plus(self, other: Self) -> Self {
        Self {
            cpu_request: self.cpu_request.plus(other.cpu_request),
            cpu_limit: self.cpu_limit.plus(other.cpu_limit),
            memory_limit: self.memory_limit.plus(other.memory_limit),
        }
    }

    fn max(self, other: Self) -> Self {
        Self {
            cpu_request: self.cpu_request.max(other.cpu_request),
            cpu_limit: self.cpu_limit.max(other.cpu_limit),
            memory_limit: self.memory_limit.max(other.memory_limit),
        }
    }

    fn to_cri(self) -> LinuxContainerResources {
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let limit = self.cpu_limit.thousandths();
        let shares = match self.cpu_request.thousandths() {
            0 => limit,
            request => request,
        };
        let quota = limit.saturating_mul(PERIOD_US.div_euclid(1000));
        LinuxContainerResources {
            cpu_period: signed(PERIOD_US),
            cpu_quota: if quota == 0 { 0 } else { signed(quota.max(MIN_QUOTA_US)) },
            cpu_shares: signed(shares.saturating_mul(1024).div_euclid(1000).clamp(2, 262_144)),
            memory_limit_in_bytes: signed(self.memory_limit.units()),
            ..LinuxContainerResources::default()
        }
    }
}

/// Requests that are not given are the limits (the API server's defaults). [`super::check`] has seen
/// that every amount can be read.
fn needs(container: &Container) -> Needs {
    let resources = &container.resources;
    let read = |amount: Option<&Amount>| amount.and_then(|a| a.quantity().ok());
    let limit = |name: &str| read(resources.limits.get(name));
    Needs {
        cpu_request: read(resources.requests.get("cpu")).or(limit("cpu")).unwrap_or_default(),
        cpu_limit: limit("cpu").unwrap_or_default(),
        memory_limit: limit("memory").unwrap_or_default(),
    }
}

fn node_memory() -> anyhow::Result<Quantity> {
    let text = std::fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no MemTotal")?;
    format!("{number}Ki").parse().context("parse MemTotal")
}

/// kubelet's period of CPU quotas in microseconds.
const PERIOD_US: u64 = 100_000;
/// The kernel's least quota in microseconds.
const MIN_QUOTA_US: u64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn container(name: &str, more: &str) -> String {
        format!("{{name: {name}, image: x, {more}}}")
    }

    #[test]
    fn containers_follow_requests_and_limits() {
        for (resources, expected) in [
            ("{}", (0, 2, 0)),
            ("{requests: {cpu: 250m}}", (0, 256, 0)),
            ("{limits: {cpu: 2, memory: 64Mi}}", (200_000, 2048, 64 << 20)),
            ("{requests: {cpu: 100m}, limits: {cpu: 0.5}}", (50_000, 102, 0)),
            ("{limits: {cpu: 1m}}", (1000, 2, 0)),
        ] {
            let yaml = format!(
                "{{metadata: {{name: p}}, spec: {{containers: [{}]}}}}",
                container("c", &format!("resources: {resources}"))
            );
            let pod = Pod::parse(&yaml).unwrap();
            let found = of_container(pod.container("c").unwrap());
            let found = (found.cpu_quota, found.cpu_shares, found.memory_limit_in_bytes);
            assert_eq!(found, expected, "{resources}");
        }
    }

    #[test]
    fn a_pod_needs_what_runs_at_a_time() {
        let limits = |cpu: &str, memory: &str| {
            format!("resources: {{limits: {{cpu: {cpu}, memory: {memory}}}}}")
        };
        let sidecar = format!("restartPolicy: Always, {}", limits("500m", "10Mi"));
        let yaml = format!(
            "{{metadata: {{name: p}}, spec: {{initContainers: [{}, {}, {}], containers: [{}, {}]}}}}",
            container("small", &limits("100m", "1Mi")),
            container("side", &sidecar),
            container("large", &limits("100m", "100Mi")),
            container("a", &limits("1", "20Mi")),
            container("b", &limits("1", "30Mi")),
        );
        let found = of_pod(&Pod::parse(&yaml).unwrap());
        // CPU: both and the sidecar; memory: the large one beside the sidecar.
        assert_eq!((found.cpu_quota, found.memory_limit_in_bytes), (250_000, 110 << 20));
        assert_eq!(Pod::parse(&yaml).unwrap().vcpus(), 3);
        let none = "{metadata: {name: p}, spec: {containers: [{name: c, image: x}]}}";
        assert_eq!(Pod::parse(none).unwrap().vcpus(), 1);
    }
}
