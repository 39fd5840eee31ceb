// SPDX-License-Identifier: Apache-2.0
//! The environment that kubelet and containerd make together.

use std::collections::BTreeMap;

use casemate_policy::EnvHole;
use casemate_policy::EnvVar;
use casemate_policy::Pattern;

use crate::env_source::EnvSource;
use crate::env_source::EnvSpec;
use crate::error::GenerateError;
use crate::error::Invalid;
use crate::expand::Lookup;
use crate::expand::expand;
use crate::identity::HOSTNAME;
use crate::identity::LABEL;
use crate::identity::Text;
use crate::identity::UID;
use crate::pod::PodSpec;

/// Variables in the order of the process' list, each with an exact value or a hole.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    variables: Vec<(String, Value)>,
}

#[derive(Debug, Clone)]
enum Value {
    Exact(String),
    /// A pattern that the host's value must match.
    Hole(String),
    /// The text, or no variable at all.
    Maybe(String),
}

impl From<Text> for Value {
    fn from(text: Text) -> Self {
        match text {
            Text::Exact(text) => Self::Exact(text),
            Text::Pattern(pattern) => Self::Hole(pattern),
        }
    }
}

impl Environment {
    /// The variables of the pod, in kubelet's order and with its expansion: `$(NAME)` sees the pod's
    /// variables that stand before, not the image's.
    pub(crate) fn declared(pod: &PodSpec, specs: &[EnvSpec]) -> Result<Self, GenerateError> {
        let mut declared = Self::default();
        for (name, pattern) in &pod.identity.variables {
            declared.set(name, Value::Hole(pattern.clone()));
        }
        for spec in specs {
            let value = match &spec.source {
                EnvSource::Plain(text) => {
                    let lookup = declared.lookup(&spec.path, pod.service_links);
                    Value::Exact(expand(text, &lookup)?)
                }
                EnvSource::Literal(text) => Value::Exact(text.clone()),
                EnvSource::Absent => continue,
                EnvSource::Maybe(text) => Value::Maybe(text.clone()),
                EnvSource::Field(field) => field_value(pod, field, &spec.path)?,
                EnvSource::Resource(field) => field.value(pod, &spec.path)?.into(),
            };
            declared.set(&spec.name, value);
        }
        Ok(declared)
    }

    /// Merges what containerd sets itself, the image's variables and the pod's, later ones in the place
    /// of earlier ones of their name (containerd 1.6, `containerSpec` of its CRI plugin).
    pub(crate) fn with_image(self, pod: &PodSpec, image_env: &[String], terminal: bool) -> Self {
        let mut environment = Self::default();
        environment.set("PATH", Value::Exact(DEFAULT_PATH.to_owned()));
        if terminal {
            environment.set("TERM", Value::Exact("xterm".to_owned()));
        }
        environment.set("HOSTNAME", pod.identity.hostname.clone().into());
        for entry in image_env {
            match entry.split_once('=') {
                Some((name, value)) => environment.set(name, Value::Exact(value.to_owned())),
                // A name without a value takes the variable away.
                None => environment.variables.retain(|(name, _)| name != entry),
            }
        }
        for (name, value) in self.variables {
            environment.set(&name, value);
        }
        environment
    }

    /// What `$(NAME)` stands for in probes: the values as they stand in the pod's `env`, nothing where
    /// `valueFrom` does (kubelet, `ExpandContainerCommandOnlyStatic`).
    pub(crate) fn of_probes(specs: &[EnvSpec]) -> BTreeMap<&str, &str> {
        let mut plain = BTreeMap::new();
        for spec in specs.iter().filter(|spec| !spec.from_whole_map) {
            let text = match &spec.source {
                EnvSource::Plain(text) => text.as_str(),
                _ => "",
            };
            plain.insert(spec.name.as_str(), text);
        }
        plain
    }

    /// Looks names up for a text of the field `path`.
    pub(crate) fn lookup<'a>(
        &'a self,
        path: &'a str,
        service_links: bool,
    ) -> impl Fn(&str) -> Lookup<'a> + 'a {
        move |name| match self.variables.iter().find(|(known, _)| known == name) {
            Some((_, Value::Exact(value))) => Lookup::Known(value),
            Some((_, Value::Hole(_) | Value::Maybe(_))) => Lookup::Hole(path),
            None if is_service_name(name, service_links) => Lookup::Hole(path),
            None => Lookup::Unknown,
        }
    }

    /// Splits into the policy's exact variables and its holes, and adds holes for what kubelet adds of
    /// its own: variables for the services of the namespace, or for the API server alone.
    pub(crate) fn into_policy(
        self,
        service_links: bool,
        path: &str,
    ) -> Result<(Vec<EnvVar>, Vec<EnvHole>), GenerateError> {
        let too_long = |_| GenerateError::invalid(format!("{path}.env"), Invalid::LongPattern);
        let mut exact = Vec::new();
        let mut holes = Vec::new();
        let mut hole = |name: Pattern, value: Pattern, required| {
            holes.push(EnvHole { name, value, required });
        };
        for (name, value) in self.variables {
            match value {
                Value::Exact(value) => exact.push(EnvVar { name, value }),
                Value::Hole(value) => hole(
                    Pattern::literal(&name).map_err(too_long)?,
                    Pattern::new(&value).map_err(too_long)?,
                    true,
                ),
                Value::Maybe(value) => hole(
                    Pattern::literal(&name).map_err(too_long)?,
                    Pattern::literal(&value).map_err(too_long)?,
                    false,
                ),
            }
        }
        let prefix = if service_links { "[A-Z_][A-Z0-9_]*" } else { "KUBERNETES" };
        for (name, value) in SERVICE_VARIABLES {
            hole(
                Pattern::new(&name.replace("{}", prefix)).map_err(too_long)?,
                Pattern::new(&value.replace("{IP}", ADDRESS)).map_err(too_long)?,
                false,
            );
        }
        Ok((exact, holes))
    }

    fn set(&mut self, name: &str, value: Value) {
        match self.variables.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.variables.push((name.to_owned(), value)),
        }
    }
}

/// The value of a field of the pod (Kubernetes, "Downward API").
fn field_value(pod: &PodSpec, field: &str, path: &str) -> Result<Value, GenerateError> {
    let exact = |text: &str| Value::Exact(text.to_owned());
    let hole = |pattern: &str| Value::Hole(pattern.to_owned());
    let entry = |prefix: &str| {
        let key = field.strip_prefix(prefix)?.strip_prefix("['")?.strip_suffix("']")?;
        Some(key.to_owned())
    };
    let place = || format!("{path}.valueFrom.fieldRef.fieldPath");
    if let Some(key) = entry("metadata.labels") {
        let added = pod.identity.labels.iter().find(|(label, _)| *label == key);
        return Ok(match added {
            Some((_, pattern)) => hole(pattern),
            None => exact(pod.metadata.labels.get(&key).map_or("", String::as_str)),
        });
    }
    if let Some(key) = entry("metadata.annotations") {
        if key == crate::INITDATA_ANNOTATION {
            return Err(GenerateError::refused(
                place(),
                "the annotation holds the policy itself",
                "remove the variable",
            ));
        }
        if key == crate::HANDLER_ANNOTATION {
            return Ok(exact(pod.class()));
        }
        return Ok(exact(pod.metadata.annotations.get(&key).map_or("", String::as_str)));
    }
    Ok(match field {
        "metadata.name" => pod.identity.name.clone().into(),
        "metadata.namespace" => match &pod.namespace {
            Some(namespace) => exact(namespace),
            None => hole(LABEL),
        },
        "metadata.uid" => hole(UID),
        "spec.nodeName" => hole(HOSTNAME),
        "spec.serviceAccountName" => exact(&pod.service_account),
        "status.hostIP" | "status.podIP" => hole(ADDRESS),
        "status.hostIPs" | "status.podIPs" => Value::Hole(format!("{ADDRESS}(,{ADDRESS})?")),
        _ => {
            let problem = Invalid::Unknown { value: field.to_owned() };
            return Err(GenerateError::invalid(place(), problem));
        }
    })
}

/// Whether kubelet may set a variable of this name for a service; without service links, for the API
/// server alone.
fn is_service_name(name: &str, service_links: bool) -> bool {
    let of_service =
        name.contains("_SERVICE_HOST") || name.contains("_SERVICE_PORT") || name.contains("_PORT");
    of_service && (service_links || name.starts_with("KUBERNETES_"))
}

/// PATH of a container whose image sets none (containerd, `oci.WithDefaultPathEnv`).
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Pattern of an IPv4 or IPv6 address.
const ADDRESS: &str = "[0-9a-f.:]{2,45}";

/// What kubelet sets for each service and each of its ports, after the names of the long-gone
/// container links: name with `{}` for the service, value with `{IP}` for an address.
const SERVICE_VARIABLES: &[(&str, &str)] = &[
    ("{}_(SERVICE_HOST|PORT_[0-9]{1,5}_(TCP|UDP|SCTP)_ADDR)", "{IP}"),
    ("{}_(SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]{1,5}_(TCP|UDP|SCTP)_PORT)", "[0-9]{1,5}"),
    ("{}_PORT(_[0-9]{1,5}_(TCP|UDP|SCTP))?", r"(tcp|udp|sctp)://\[?{IP}\]?:[0-9]{1,5}"),
    ("{}_PORT_[0-9]{1,5}_(TCP|UDP|SCTP)_PROTO", "tcp|udp|sctp"),
];
