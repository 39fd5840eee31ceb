// SPDX-License-Identifier: Apache-2.0
//! Requests and limits of a container.

use std::collections::BTreeMap;

use casemate_policy::Figure;
use casemate_policy::Resources;

use crate::error::GenerateError;
use crate::error::Warning;
use crate::quantity::Quantity;
use crate::reader::Reader;

/// Requests and limits of a container, by resource.
#[derive(Debug, Clone, Default)]
pub(crate) struct ContainerResources {
    pub(crate) requests: BTreeMap<String, Quantity>,
    pub(crate) limits: BTreeMap<String, Quantity>,
    /// Whether the pod says how it is resized while it runs (`resizePolicy`).
    pub(crate) resizable: bool,
}

impl ContainerResources {
    pub(crate) fn read(
        container: &mut Reader<'_>,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self, GenerateError> {
        let mut resizable = false;
        for mut policy in container.objects("resizePolicy")? {
            resizable = true;
            policy.ignore(&["resourceName", "restartPolicy"]);
            policy.finish(warnings)?;
        }
        let Some(mut reader) = container.object("resources")? else {
            return Ok(Self { resizable, ..Self::default() });
        };
        let advice = "remove the claims";
        reader.refuse("claims", "devices of the host are not trusted", advice)?;
        let requests = read_amounts(reader.object("requests")?)?;
        let path = reader.at("limits");
        let limits = read_amounts(reader.object("limits")?)?;
        for (name, amount) in &limits {
            let text = match name.as_str() {
                "cpu" | "memory" => continue,
                name if name.contains('/') => {
                    "the device is not given: none of the host's is trusted"
                }
                _ => "not enforced in the guest",
            };
            if *amount > Quantity::default() {
                warnings.push(Warning::new(format!("{path}.{name}"), text));
            }
        }
        reader.finish(warnings)?;
        Ok(Self { requests, limits, resizable })
    }

    /// The limits that the guest enforces, and the range in which the host may change them: none
    /// unless the pod has a `resizePolicy`, then from the request up to the limit.
    pub(crate) fn to_policy(&self) -> Resources {
        let figure = |name: &str, least: u64, count: fn(Quantity) -> u64| {
            let amount = |map: &BTreeMap<String, Quantity>| {
                // Kubernetes takes 0 for "no limit".
                map.get(name).map(|amount| count(*amount)).filter(|amount| *amount > 0)
            };
            let Some(limit) = amount(&self.limits) else { return Figure::default() };
            if !self.resizable {
                return Figure::fixed(limit);
            }
            let min = amount(&self.requests).unwrap_or(limit).clamp(least.min(limit), limit);
            Figure { limit: Some(limit), min: Some(min), max: Some(limit) }
        };
        Resources {
            memory: figure("memory", LEAST_MEMORY, Quantity::units),
            cpu_millis: figure("cpu", 1, Quantity::thousandths),
            pids: None,
        }
    }
}

fn read_amounts(reader: Option<Reader<'_>>) -> Result<BTreeMap<String, Quantity>, GenerateError> {
    let Some(mut reader) = reader else { return Ok(BTreeMap::new()) };
    let names: Vec<&str> = reader.remaining().collect();
    let mut amounts = BTreeMap::new();
    for name in names {
        if let Some(amount) = reader.quantity(name)? {
            amounts.insert(name.to_owned(), amount);
        }
    }
    Ok(amounts)
}

/// Least bytes of memory that a policy may set as a limit.
const LEAST_MEMORY: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(json: serde_json::Value) -> Resources {
        let container = serde_json::json!({"resources": json["r"], "resizePolicy": json["p"]});
        let mut reader = Reader::new("c", &container).unwrap();
        ContainerResources::read(&mut reader, &mut Vec::new()).unwrap().to_policy()
    }

    #[test]
    fn limits_are_fixed_unless_the_pod_is_resized() {
        let r = serde_json::json!({
            "requests": {"cpu": "250m", "memory": "32Mi"}, "limits": {"cpu": "1", "memory": "64Mi"}
        });
        let fixed = resources(serde_json::json!({"r": r}));
        assert_eq!(fixed.memory, Figure::fixed(64 << 20));
        assert_eq!(fixed.cpu_millis, Figure::fixed(1000));
        let p = serde_json::json!([{"resourceName": "cpu", "restartPolicy": "NotRequired"}]);
        let ranges = resources(serde_json::json!({"r": r, "p": p}));
        let range = |min, max| Figure { limit: Some(max), min: Some(min), max: Some(max) };
        assert_eq!(ranges.memory, range(32 << 20, 64 << 20));
        assert_eq!(ranges.cpu_millis, range(250, 1000));
        let open = resources(serde_json::json!({"r": {"limits": {"memory": 0}}, "p": p}));
        assert!(open.is_open());
    }
}
