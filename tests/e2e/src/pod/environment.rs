// SPDX-License-Identifier: Apache-2.0
//! A container's variables and what `$(NAME)` stands for, as kubelet makes them.

use anyhow::Context;
use anyhow::bail;
use casemate_policy_generate::Quantity;
use k8s_cri::v1::KeyValue;
use serde::Deserialize;

use super::Container;
use super::Place;
use super::resources;
use super::resources::Amount;
use crate::world;

/// An environment variable.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EnvVar {
    name: String,
    #[serde(default)]
    value: String,
    value_from: Option<Source>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Source {
    field_ref: Option<FieldRef>,
    resource_field_ref: Option<ResourceFieldRef>,
    config_map_key_ref: Option<ConfigMapKey>,
}

/// All variables of a ConfigMap.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EnvFrom {
    #[serde(default)]
    prefix: String,
    config_map_ref: Option<ConfigMapRef>,
}

#[derive(Debug, Clone, Deserialize)]
struct ConfigMapRef {
    name: String,
    #[serde(default)]
    optional: bool,
}

#[derive(Debug, Clone, Deserialize)]
struct ConfigMapKey {
    name: String,
    key: String,
    #[serde(default)]
    optional: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FieldRef {
    field_path: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceFieldRef {
    container_name: Option<String>,
    resource: String,
    divisor: Option<Amount>,
}

/// Variables in their order, each name once.
#[derive(Debug, Clone, Default)]
pub(super) struct Environment(Vec<(String, String)>);

impl Environment {
    /// The variables of `container`.
    ///
    /// # Errors
    ///
    /// For a source that this client does not know.
    pub(super) fn of(container: &Container, place: &Place<'_>) -> anyhow::Result<Self> {
        let mut environment = Self::default();
        let config_map = |name: &str| place.pod.config_maps.get(name);
        for from in &container.env_from {
            let source = from.config_map_ref.as_ref().context("envFrom names no ConfigMap")?;
            match config_map(&source.name) {
                Some(map) => {
                    for (key, value) in &map.data {
                        environment.set(&format!("{}{key}", from.prefix), value.clone());
                    }
                }
                None if source.optional => {}
                None => bail!("there is no ConfigMap {}", source.name),
            }
        }
        for variable in &container.env {
            let name = &variable.name;
            let value = match &variable.value_from {
                Some(Source { config_map_key_ref: Some(source), .. }) => {
                    let found = config_map(&source.name).and_then(|map| map.data.get(&source.key));
                    match found {
                        Some(value) => value.clone(),
                        None if source.optional => continue,
                        None => bail!("there is no {} in ConfigMap {}", source.key, source.name),
                    }
                }
                None => environment.expand(&variable.value),
                Some(Source { field_ref: Some(field), .. }) => {
                    field_value(&field.field_path, place)
                        .with_context(|| format!("variable {name}"))?
                }
                Some(Source { resource_field_ref: Some(field), .. }) => {
                    resource_value(field, container, place)
                        .with_context(|| format!("variable {name}"))?
                }
                Some(_) => bail!("variable {name}: valueFrom names no field of the pod"),
            };
            environment.set(name, value);
        }
        Ok(environment)
    }

    /// The variables as they stand in the pod, which are all that probes see: those with `valueFrom`
    /// have no value there.
    pub(super) fn plain(container: &Container) -> Self {
        let mut plain = Self::default();
        for variable in &container.env {
            plain.set(&variable.name, variable.value.clone());
        }
        plain
    }

    /// Replaces `$(NAME)` by a value and `$$` by `$`; what names no variable stays as it is.
    pub(super) fn expand(&self, text: &str) -> String {
        let mut out = String::new();
        let mut chars = text.char_indices();
        while let Some((at, c)) = chars.next() {
            let rest = text.get(at..).unwrap_or_default();
            if c != '$' {
                out.push(c);
            } else if rest.starts_with("$$") {
                out.push('$');
                chars.next();
            } else if let Some((name, _)) = rest.strip_prefix("$(").and_then(|r| r.split_once(')'))
            {
                match self.0.iter().find(|(known, _)| known == name) {
                    Some((_, value)) => out.push_str(value),
                    None => out.push_str(&format!("$({name})")),
                }
                // "(name)"
                for _ in 0..name.chars().count().saturating_add(2) {
                    chars.next();
                }
            } else {
                out.push('$');
            }
        }
        out
    }

    pub(super) fn expand_all(&self, texts: &[String]) -> Vec<String> {
        texts.iter().map(|text| self.expand(text)).collect()
    }

    pub(super) fn into_cri(self) -> Vec<KeyValue> {
        self.0.into_iter().map(|(key, value)| KeyValue { key, value }).collect()
    }

    fn set(&mut self, name: &str, value: String) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }
}

fn field_value(field: &str, place: &Place<'_>) -> anyhow::Result<String> {
    let pod = place.pod;
    let entry = |prefix: &str| field.strip_prefix(prefix)?.strip_prefix("['")?.strip_suffix("']");
    if let Some(key) = entry("metadata.labels") {
        return Ok(pod.metadata.labels.get(key).cloned().unwrap_or_default());
    }
    if let Some(key) = entry("metadata.annotations") {
        return Ok(pod.metadata.annotations.get(key).cloned().unwrap_or_default());
    }
    Ok(match field {
        "metadata.name" => pod.metadata.name.clone(),
        "metadata.namespace" => pod.metadata.namespace.clone(),
        "metadata.uid" => place.uid.to_owned(),
        "spec.nodeName" => pod.node_name().to_owned(),
        "spec.serviceAccountName" => pod.service_account().to_owned(),
        "status.podIP" | "status.podIPs" => place.pod_ip.to_owned(),
        "status.hostIP" | "status.hostIPs" => world::HOST_ADDRESS.to_owned(),
        _ => bail!("unknown field {field}"),
    })
}

fn resource_value(
    field: &ResourceFieldRef,
    own: &Container,
    place: &Place<'_>,
) -> anyhow::Result<String> {
    let container = match field.container_name.as_deref() {
        None | Some("") => own,
        Some(name) => place.pod.container(name).with_context(|| format!("no container {name}"))?,
    };
    let amount = resources::downward(container, &field.resource)?;
    let divisor = match &field.divisor {
        Some(divisor) => divisor.quantity()?,
        None => Quantity::default(),
    };
    // Kubernetes takes an absent or zero divisor for 1.
    let value = amount.divided_by(divisor).unwrap_or_else(|| amount.units());
    Ok(value.to_string())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::ImageUser;
    use super::super::Pod;
    use super::*;

    #[test]
    fn expands_as_kubelet_does() {
        let mut environment = Environment::default();
        environment.set("A", "one".to_owned());
        environment.set("LOOP", "$(A)".to_owned());
        for (text, expected) in [
            ("$(A)", "one"),
            ("x$(A)y$(A)", "xoneyone"),
            ("$(B) $(LOOP)", "$(B) $(A)"),
            ("$$(A) $$$(A)", "$(A) $one"),
            ("$ $x $( $(A", "$ $x $( $(A"),
            ("a$", "a$"),
            ("é$é(A)$(é)", "é$é(A)$(é)"),
            ("$()", "$()"),
            ("", ""),
        ] {
            assert_eq!(environment.expand(text), expected, "{text}");
        }
    }

    #[test]
    fn the_downward_api() {
        let pod = Pod::parse(
            r#"
metadata: {name: p, namespace: ns-1, labels: {app: web}, annotations: {note: hi}}
spec:
  serviceAccountName: runner
  containers:
  - name: other
    image: x
    resources: {limits: {cpu: 1500m, memory: 64Mi}}
  - name: c
    image: x
    env:
    - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: NS, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
    - {name: UID, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}
    - {name: LABEL, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}}
    - {name: NOTE, valueFrom: {fieldRef: {fieldPath: "metadata.annotations['note']"}}}
    - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: HOST, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}
    - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: ACCOUNT, valueFrom: {fieldRef: {fieldPath: spec.serviceAccountName}}}
    - {name: CPUS, valueFrom: {resourceFieldRef: {containerName: other, resource: limits.cpu}}}
    - {name: MILLI, valueFrom: {resourceFieldRef: {containerName: other, resource: requests.cpu, divisor: 1m}}}
    - {name: MIB, valueFrom: {resourceFieldRef: {containerName: other, resource: limits.memory, divisor: 1Mi}}}
    - {name: URL, value: "http://$(IP)/$(NAME)?$$(NAME)"}
    - {name: URL, value: "$(URL)#2"}
"#,
        )
        .unwrap();
        let place = Place {
            pod: &pod,
            uid: "u-1",
            pod_ip: "10.88.0.9",
            files: Path::new("/none"),
            attempt: 0,
            image_user: ImageUser::default(),
        };
        let found = Environment::of(pod.container("c").unwrap(), &place).unwrap();
        let found: Vec<String> = found.0.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(
            found,
            [
                "NAME=p",
                "NS=ns-1",
                "UID=u-1",
                "LABEL=web",
                "NOTE=hi",
                "IP=10.88.0.9",
                "HOST=10.88.0.1",
                "NODE=casemate-node",
                "ACCOUNT=runner",
                "CPUS=2",
                "MILLI=1500",
                "MIB=64",
                "URL=http://10.88.0.9/p?$(NAME)#2",
            ]
        );
    }
}
