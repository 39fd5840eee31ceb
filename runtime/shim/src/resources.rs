// SPDX-License-Identifier: Apache-2.0
//! Limits of containers as containerd plans and updates them (OCI `LinuxResources`).
//!
//! On the host a pod has one process, the VMM: its cgroup gets the sum of the containers' CPU
//! limits. Inside, the guest applies what concerns one container, within the policy's ranges.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use casemate_agent_api::proto;
use casemate_sandbox::Id;
use serde::Deserialize;

use crate::cgroup::CpuLimits;
use crate::error::ShimError;

/// Limits of one container. containerd sends all of them with every update, changed or not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Resources {
    #[serde(default)]
    cpu: Option<Cpu>,
    #[serde(default)]
    memory: Option<Limit>,
    #[serde(default)]
    pids: Option<Limit>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
struct Cpu {
    shares: Option<u64>,
    quota: Option<i64>,
    period: Option<u64>,
    cpus: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
struct Limit {
    limit: Option<i64>,
}

impl Resources {
    /// Reads the JSON of an update.
    ///
    /// # Errors
    ///
    /// [`ShimError::Malformed`].
    pub fn parse(json: &[u8]) -> Result<Self, ShimError> {
        serde_json::from_slice(json)
            .map_err(|error| ShimError::Malformed { field: "resources", reason: error.to_string() })
    }

    /// What the guest must be told after a change from `before`; none when nothing concerns it.
    ///
    /// # Errors
    ///
    /// [`ShimError::Unsupported`] when a limit is taken away: the policy's ranges have ends.
    pub fn change(
        &self,
        before: &Self,
        container: &Id,
    ) -> Result<Option<proto::UpdateRequest>, ShimError> {
        let request = proto::UpdateRequest {
            container_id: container.to_string(),
            memory_limit: changed(before.memory_limit(), self.memory_limit())?,
            cpu_millis: changed(before.cpu_millis(), self.cpu_millis())?,
            pids: changed(before.pids(), self.pids())?,
            ..Default::default()
        };
        let asks = request.memory_limit.is_some()
            || request.cpu_millis.is_some()
            || request.pids.is_some();
        Ok(asks.then_some(request))
    }

    fn memory_limit(&self) -> Option<u64> {
        self.memory.as_ref().and_then(Limit::get)
    }

    fn pids(&self) -> Option<u64> {
        self.pids.as_ref().and_then(Limit::get)
    }

    /// CPU time in thousandths of a CPU, rounded up; none = no limit.
    fn cpu_millis(&self) -> Option<u64> {
        let (quota, period) = self.cpu.as_ref()?.time()?;
        Some(quota.saturating_mul(1000).div_ceil(period))
    }
}

impl Cpu {
    /// Quota and period in microseconds; none = no limit.
    fn time(&self) -> Option<(u64, u64)> {
        let quota = self.quota.and_then(|quota| u64::try_from(quota).ok()).filter(|q| *q > 0)?;
        Some((quota, self.period.filter(|period| *period > 0).unwrap_or(PERIOD_US)))
    }
}

impl Limit {
    fn get(&self) -> Option<u64> {
        self.limit.and_then(|limit| u64::try_from(limit).ok()).filter(|limit| *limit > 0)
    }
}

fn changed(before: Option<u64>, after: Option<u64>) -> Result<Option<u64>, ShimError> {
    match (before, after) {
        (before, after) if before == after => Ok(None),
        (_, Some(after)) => Ok(Some(after)),
        (_, None) => Err(ShimError::Unsupported {
            what: "the removal of a limit",
            reason: "the policy names the most that an update may set",
        }),
    }
}

/// CPU limits of the whole pod: the sum of its containers', and no limit where one of them has none.
///
/// # Errors
///
/// [`ShimError::Malformed`] when a list of CPUs is none.
pub fn of_pod(containers: &BTreeMap<Id, Resources>) -> Result<CpuLimits, ShimError> {
    let cpus = || containers.values().map(|resources| resources.cpu.clone().unwrap_or_default());
    let shares = cpus().map(|cpu| cpu.shares.unwrap_or(LEAST_SHARES));
    let times: Option<Vec<_>> = cpus().map(|cpu| cpu.time()).collect();
    let quota = match times {
        Some(times) => {
            let sum = times.iter().fold(0, |sum: u64, (quota, period)| {
                sum.saturating_add(quota.saturating_mul(PERIOD_US).div_ceil(*period))
            });
            i64::try_from(sum).unwrap_or(i64::MAX)
        }
        None => -1,
    };
    let mut pinned = BTreeSet::new();
    let mut all_pinned = !containers.is_empty();
    for cpu in cpus() {
        match cpu.cpus.as_deref() {
            None | Some("") => all_pinned = false,
            Some(list) => pinned.extend(cpu_list(list)?),
        }
    }
    let list =
        |set: BTreeSet<u32>| set.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    Ok(CpuLimits {
        shares: Some(shares.fold(0, u64::saturating_add)).filter(|sum| *sum > 0),
        quota: Some(quota),
        period: Some(PERIOD_US),
        cpus: all_pinned.then(|| list(pinned)),
    })
}

/// CPUs of a list such as `0-3,8` (cpuset(7), "List format").
fn cpu_list(text: &str) -> Result<BTreeSet<u32>, ShimError> {
    let malformed =
        || ShimError::Malformed { field: "cpus", reason: format!("{text:?} is no list of CPUs") };
    let mut cpus = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.parse::<u32>().ok().filter(|cpu| *cpu < MAX_CPUS);
        let (first, last) = number(first).zip(number(last)).ok_or_else(malformed)?;
        cpus.extend(first..=last);
    }
    Ok(cpus)
}

/// Kubernetes' own period.
const PERIOD_US: u64 = 100_000;
/// The kernel's least weight, for containers that ask for nothing.
const LEAST_SHARES: u64 = 2;
/// More CPUs than any machine's.
const MAX_CPUS: u32 = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(json: &str) -> Resources {
        Resources::parse(json.as_bytes()).unwrap()
    }

    fn id() -> Id {
        Id::new("c1").unwrap()
    }

    #[test]
    fn the_guest_is_told_what_has_changed_and_nothing_else() {
        let before = resources(
            r#"{"devices": [{"allow": false}], "memory": {"limit": 1048576},
                "cpu": {"shares": 512, "quota": 50000, "period": 100000}}"#,
        );
        assert_eq!(before.change(&before, &id()).unwrap(), None);
        // kubelet's CPU manager: nothing that the guest could see.
        let pinned = r#"{"memory": {"limit": 1048576},
            "cpu": {"shares": 2048, "quota": 50000, "period": 100000, "cpus": "0-1"}}"#;
        assert_eq!(resources(pinned).change(&before, &id()).unwrap(), None);
        // An in-place resize.
        let resized = resources(
            r#"{"memory": {"limit": 2097152}, "cpu": {"quota": 150000, "period": 100000},
                "pids": {"limit": 100}}"#,
        );
        let update = resized.change(&before, &id()).unwrap().unwrap();
        assert_eq!(update.container_id, "c1");
        assert_eq!(update.memory_limit, Some(2 << 20));
        assert_eq!((update.cpu_millis, update.pids), (Some(1500), Some(100)));
        // The same time in another period.
        let same =
            resources(r#"{"memory": {"limit": 1048576}, "cpu": {"quota": 5000, "period": 10000}}"#);
        assert_eq!(same.change(&before, &id()).unwrap(), None);
    }

    #[test]
    fn a_limit_is_not_taken_away() {
        let before = resources(r#"{"memory": {"limit": 1048576}}"#);
        for json in ["{}", r#"{"memory": {"limit": -1}}"#, r#"{"memory": {"limit": 0}}"#] {
            let refused = resources(json).change(&before, &id());
            assert!(matches!(refused, Err(ShimError::Unsupported { .. })), "{json}");
        }
    }

    fn pod(containers: &[&str]) -> CpuLimits {
        let containers = containers.iter().enumerate();
        let containers = containers
            .map(|(n, json)| (Id::new(&format!("c{n}")).unwrap(), resources(json)))
            .collect();
        of_pod(&containers).unwrap()
    }

    #[test]
    fn the_pod_has_the_sum_of_its_containers() {
        let one = r#"{"cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0-1"}}"#;
        let two = r#"{"cpu": {"shares": 1024, "quota": 10000, "period": 10000, "cpus": "1,4"}}"#;
        let limits = pod(&[one, two]);
        assert_eq!((limits.shares, limits.quota), (Some(1536), Some(150_000)));
        assert_eq!((limits.period, limits.cpus.as_deref()), (Some(100_000), Some("0,1,4")));
        // One without a limit has all of the machine.
        let limits = pod(&[one, "{}"]);
        assert_eq!((limits.shares, limits.quota, limits.cpus), (Some(514), Some(-1), None));
    }

    #[test]
    fn lists_of_cpus_are_parsed() {
        let list = |text| cpu_list(text).map(|set| set.into_iter().collect::<Vec<_>>()).ok();
        assert_eq!(list("0-2,7"), Some(vec![0, 1, 2, 7]));
        assert_eq!(list("3"), Some(vec![3]));
        for bad in ["", "a", "1-", "-1", "1,,2", "0-99999", "1 2"] {
            assert_eq!(list(bad), None, "{bad:?}");
        }
    }
}
