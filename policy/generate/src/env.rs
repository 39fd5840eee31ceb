// SPDX-License-Identifier: Apache-2.0
//! The environment that kubelet and containerd make together.

use casemate_policy::EnvHole;
use casemate_policy::EnvVar;
use casemate_policy::Pattern;

use crate::error::GenerateError;
use crate::error::Invalid;
use crate::error::Warning;
use crate::expand::Lookup;
use crate::expand::expand;
use crate::pod::Pod;
use crate::reader::Reader;

/// A variable as the pod declares it.
#[derive(Debug, Clone)]
pub(crate) struct EnvSpec {
    pub(crate) path: String,
    pub(crate) name: String,
    pub(crate) source: EnvSource,
}

/// Where a variable's value comes from.
#[derive(Debug, Clone)]
pub(crate) enum EnvSource {
    /// Text, in which `$(NAME)` stands for another variable.
    Plain(String),
    /// A field of the pod (downward API).
    Field(String),
    /// A number of CPUs or bytes.
    Resource,
}

impl EnvSpec {
    pub(crate) fn read(
        container: &mut Reader<'_>,
        warnings: &mut Vec<Warning>,
    ) -> Result<Vec<Self>, GenerateError> {
        let mut list = Vec::new();
        for mut reader in container.objects("env")? {
            let name = reader.required_text("name")?.to_owned();
            let value = reader.text("value")?;
            let source = match reader.object("valueFrom")? {
                None => EnvSource::Plain(value.unwrap_or_default().to_owned()),
                Some(mut from) => read_source(&mut from)?,
            };
            list.push(Self { path: reader.path().to_owned(), name, source });
            reader.finish(warnings);
        }
        Ok(list)
    }
}

fn read_source(from: &mut Reader<'_>) -> Result<EnvSource, GenerateError> {
    from.refuse(
        "secretKeyRef",
        "a secret that the host knows is none",
        "store the value in the key broker and fetch it in the container",
    )?;
    let advice = "write the value out";
    from.refuse("configMapKeyRef", "its value comes from the host", advice)?;
    from.refuse("fileKeyRef", "its value comes from the host", advice)?;
    if let Some(mut field) = from.object("fieldRef")? {
        return Ok(EnvSource::Field(field.required_text("fieldPath")?.to_owned()));
    }
    if from.object("resourceFieldRef")?.is_some() {
        return Ok(EnvSource::Resource);
    }
    Err(GenerateError::invalid(from.path(), Invalid::Missing))
}

/// The environment of one container: variables in the order of the process' list, each with an exact
/// value or a hole.
#[derive(Debug, Default)]
pub(crate) struct Environment {
    variables: Vec<(String, Value)>,
}

#[derive(Debug, Clone)]
enum Value {
    Exact(String),
    /// A pattern that the host's value must match.
    Hole(String),
}

impl Environment {
    /// Merges what containerd sets itself, the image's variables and the pod's, later ones in the place
    /// of earlier ones of their name (containerd 1.6, `containerSpec` of its CRI plugin).
    pub(crate) fn build(
        pod: &Pod,
        image_env: &[String],
        specs: &[EnvSpec],
        terminal: bool,
    ) -> Result<Self, GenerateError> {
        let mut environment = Self::default();
        environment.set("PATH", Value::Exact(DEFAULT_PATH.to_owned()));
        if terminal {
            environment.set("TERM", Value::Exact("xterm".to_owned()));
        }
        environment.set("HOSTNAME", hostname(pod));
        for entry in image_env {
            match entry.split_once('=') {
                Some((name, value)) => environment.set(name, Value::Exact(value.to_owned())),
                // A name without a value takes the variable away.
                None => environment.variables.retain(|(name, _)| name != entry),
            }
        }
        // `$(NAME)` sees the pod's variables that stand before, not the image's.
        let mut declared = Self::default();
        for spec in specs {
            let value = match &spec.source {
                EnvSource::Plain(text) => Value::Exact(expand(text, &declared.lookup(&spec.path))?),
                EnvSource::Field(field) => field_value(pod, field, &spec.path)?,
                EnvSource::Resource => Value::Hole("[0-9]+".to_owned()),
            };
            declared.set(&spec.name, value.clone());
            environment.set(&spec.name, value);
        }
        Ok(environment)
    }

    /// The variables of the pod alone, for `$(NAME)` in command and arguments.
    pub(crate) fn declared(pod: &Pod, specs: &[EnvSpec]) -> Result<Self, GenerateError> {
        let full = Self::build(pod, &[], specs, false)?;
        let declared = |name: &str| specs.iter().any(|spec| spec.name == name);
        let variables = full.variables.into_iter().filter(|(name, _)| declared(name)).collect();
        Ok(Self { variables })
    }

    /// The variables whose value stands in the pod as it is, for `$(NAME)` in probes.
    pub(crate) fn plain(specs: &[EnvSpec]) -> Self {
        let mut plain = Self::default();
        for spec in specs {
            if let EnvSource::Plain(text) = &spec.source {
                plain.set(&spec.name, Value::Exact(text.clone()));
            }
        }
        plain
    }

    /// Looks names up for a text of the field `path`.
    pub(crate) fn lookup<'a>(&'a self, path: &'a str) -> impl Fn(&str) -> Lookup<'a> + 'a {
        move |name| match self.variables.iter().find(|(known, _)| known == name) {
            Some((_, Value::Exact(value))) => Lookup::Known(value),
            Some((_, Value::Hole(_))) => Lookup::Hole(path),
            None if is_service_name(name) => Lookup::Hole(path),
            None => Lookup::Unknown,
        }
    }

    /// Splits into the policy's exact variables and its holes, and adds holes for what kubelet adds of
    /// its own: variables for the services of the namespace, or for the API server alone.
    pub(crate) fn into_policy(
        self,
        service_links: bool,
    ) -> Result<(Vec<EnvVar>, Vec<EnvHole>), GenerateError> {
        let mut exact = Vec::new();
        let mut holes = Vec::new();
        for (name, value) in self.variables {
            match value {
                Value::Exact(value) => exact.push(EnvVar { name, value }),
                Value::Hole(value) => holes.push(EnvHole {
                    name: Pattern::literal(&name).map_err(pattern_error)?,
                    value: Pattern::new(&value).map_err(pattern_error)?,
                    required: true,
                }),
            }
        }
        let prefix = if service_links { "[A-Z_][A-Z0-9_]*" } else { "KUBERNETES" };
        for (name, value) in SERVICE_VARIABLES {
            holes.push(EnvHole {
                name: Pattern::new(&name.replace("{}", prefix)).map_err(pattern_error)?,
                value: Pattern::new(&value.replace("{IP}", ADDRESS)).map_err(pattern_error)?,
                required: false,
            });
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

/// HOSTNAME, as containerd sets it from the sandbox's hostname.
fn hostname(pod: &Pod) -> Value {
    match &pod.hostname {
        Some(hostname) => Value::Exact(hostname.clone()),
        None => Value::Hole(HOSTNAME.to_owned()),
    }
}

/// The value of a field of the pod (Kubernetes, "Downward API").
fn field_value(pod: &Pod, field: &str, path: &str) -> Result<Value, GenerateError> {
    let exact = |text: &str| Value::Exact(text.to_owned());
    let known = |text: &Option<String>, hole: &str| match text {
        Some(text) => exact(text),
        None => Value::Hole(hole.to_owned()),
    };
    let entry = |prefix: &str| {
        let key = field.strip_prefix(prefix)?.strip_prefix("['")?.strip_suffix("']")?;
        Some(key.to_owned())
    };
    if let Some(key) = entry("metadata.labels") {
        return Ok(exact(pod.metadata.labels.get(&key).map_or("", String::as_str)));
    }
    if let Some(key) = entry("metadata.annotations") {
        return Ok(exact(pod.metadata.annotations.get(&key).map_or("", String::as_str)));
    }
    Ok(match field {
        "metadata.name" => known(&pod.metadata.name, HOSTNAME),
        "metadata.namespace" => known(&pod.metadata.namespace, LABEL),
        "metadata.uid" => Value::Hole("[0-9a-f-]{36}".to_owned()),
        "spec.nodeName" => Value::Hole(HOSTNAME.to_owned()),
        "spec.serviceAccountName" => exact(&pod.service_account),
        "status.hostIP" | "status.podIP" => Value::Hole(ADDRESS.to_owned()),
        "status.hostIPs" | "status.podIPs" => Value::Hole(format!("{ADDRESS}(,{ADDRESS})?")),
        _ => {
            let problem = Invalid::Unknown { value: field.to_owned() };
            return Err(GenerateError::invalid(format!("{path}.valueFrom.fieldRef"), problem));
        }
    })
}

/// Whether kubelet may set a variable of this name for a service.
fn is_service_name(name: &str) -> bool {
    name.contains("_SERVICE_HOST") || name.contains("_SERVICE_PORT") || name.contains("_PORT")
}

fn pattern_error(_: casemate_policy::BadPattern) -> GenerateError {
    GenerateError::invalid("env", Invalid::Type { expected: "short enough for a pattern" })
}

/// PATH of a container whose image sets none (containerd, `oci.WithDefaultPathEnv`).
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Pattern of a DNS label.
const LABEL: &str = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?";
/// Pattern of a hostname.
const HOSTNAME: &str = "[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?";
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
