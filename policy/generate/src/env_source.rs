// SPDX-License-Identifier: Apache-2.0
//! Variables as a container declares them, and where their values come from.

use crate::context::Context;
use crate::error::GenerateError;
use crate::error::Invalid;
use crate::error::Warning;
use crate::identity::NUMBER;
use crate::identity::Text;
use crate::pod::PodSpec;
use crate::quantity::Quantity;
use crate::reader::Reader;
use crate::secrets;

/// A variable as the pod declares it.
#[derive(Debug, Clone)]
pub(crate) struct EnvSpec {
    pub(crate) path: String,
    pub(crate) name: String,
    pub(crate) source: EnvSource,
    /// Whether it came with a whole ConfigMap (`envFrom`), which probes do not see.
    pub(crate) from_whole_map: bool,
}

/// Where a variable's value comes from.
#[derive(Debug, Clone)]
pub(crate) enum EnvSource {
    /// Text, in which `$(NAME)` stands for another variable.
    Plain(String),
    /// Text as it is.
    Literal(String),
    /// Text as it is, or no variable: kubelets differ in whether they take the name.
    Maybe(String),
    /// Nothing: the variable will not be there.
    Absent,
    /// A field of the pod (downward API).
    Field(String),
    /// A number of CPUs or bytes.
    Resource(ResourceField),
}

/// `resourceFieldRef`.
#[derive(Debug, Clone)]
pub(crate) struct ResourceField {
    container: Option<String>,
    resource: String,
    divisor: Option<Quantity>,
}

impl EnvSpec {
    /// Reads `envFrom`, then `env`, in the order in which kubelet lets the later ones win.
    pub(crate) fn read(
        container: &mut Reader<'_>,
        name: &str,
        context: &Context<'_>,
        warnings: &mut Vec<Warning>,
    ) -> Result<Vec<Self>, GenerateError> {
        let mut list = Vec::new();
        for reader in container.objects("envFrom")? {
            read_from(reader, name, context, &mut list, warnings)?;
        }
        for mut reader in container.objects("env")? {
            let variable = reader.required_text("name")?.to_owned();
            let value = reader.text("value")?;
            let source = match reader.object("valueFrom")? {
                None => EnvSource::Plain(value.unwrap_or_default().to_owned()),
                Some(from) => read_source(from, name, context, warnings)?,
            };
            let path = reader.path().to_owned();
            list.push(Self { path, name: variable, source, from_whole_map: false });
            reader.finish_strictly()?;
        }
        Ok(list)
    }
}

/// The variables of a whole ConfigMap.
fn read_from(
    mut reader: Reader<'_>,
    container: &str,
    context: &Context<'_>,
    list: &mut Vec<EnvSpec>,
    warnings: &mut Vec<Warning>,
) -> Result<(), GenerateError> {
    let prefix = reader.text("prefix")?.unwrap_or_default();
    if let Some(mut secret) = reader.object("secretRef")? {
        let name = secret.text("name")?.unwrap_or("NAME");
        return Err(secrets::refuse(secret.path(), container, name, None));
    }
    let mut from = reader.required_object("configMapRef")?;
    let name = from.required_text("name")?;
    let optional = from.flag("optional")?.unwrap_or(false);
    let path = from.path().to_owned();
    from.finish_strictly()?;
    match context.config_map(name) {
        Some(map) => {
            for (key, text) in &map.data {
                let name = format!("{prefix}{key}");
                let text = text.clone();
                // Kubernetes 1.34 takes every printable name, earlier ones pass over some.
                let source = if is_plain_name(&name) {
                    EnvSource::Literal(text)
                } else {
                    EnvSource::Maybe(text)
                };
                list.push(EnvSpec { path: path.clone(), name, source, from_whole_map: true });
            }
        }
        None if optional => warnings.push(absent(path, name)),
        None => return Err(unknown_map(&path, name)),
    }
    reader.finish_strictly()
}

/// Where one variable's value comes from.
fn read_source(
    mut from: Reader<'_>,
    container: &str,
    context: &Context<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<EnvSource, GenerateError> {
    let source = if let Some(mut secret) = from.object("secretKeyRef")? {
        let name = secret.text("name")?.unwrap_or("NAME");
        let key = secret.text("key")?;
        return Err(secrets::refuse(secret.path(), container, name, key));
    } else if let Some(key) = from.object("configMapKeyRef")? {
        read_config_map_key(key, context, warnings)?
    } else if let Some(mut field) = from.object("fieldRef")? {
        field.ignore(&["apiVersion"]);
        let path = field.required_text("fieldPath")?.to_owned();
        field.finish_strictly()?;
        EnvSource::Field(path)
    } else if let Some(mut field) = from.object("resourceFieldRef")? {
        let resource = ResourceField {
            container: field.text("containerName")?.map(str::to_owned),
            resource: field.required_text("resource")?.to_owned(),
            divisor: field.quantity("divisor")?,
        };
        field.finish_strictly()?;
        EnvSource::Resource(resource)
    } else {
        from.refuse(
            "fileKeyRef",
            "the host would choose the value, which comes from a file that it writes",
            "write the value out, or read the file inside the container",
        )?;
        let path = from.path().to_owned();
        from.finish_strictly()?;
        return Err(GenerateError::invalid(path, Invalid::Missing));
    };
    from.finish_strictly()?;
    Ok(source)
}

fn read_config_map_key(
    mut reader: Reader<'_>,
    context: &Context<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<EnvSource, GenerateError> {
    let name = reader.required_text("name")?;
    let key = reader.required_text("key")?;
    let optional = reader.flag("optional")?.unwrap_or(false);
    let path = reader.path().to_owned();
    reader.finish_strictly()?;
    match context.config_map(name) {
        Some(map) => match map.data.get(key) {
            Some(text) => Ok(EnvSource::Literal(text.clone())),
            None if optional => Ok(EnvSource::Absent),
            None => {
                let problem = Invalid::Unknown { value: key.to_owned() };
                Err(GenerateError::invalid(format!("{path}.key"), problem))
            }
        },
        None if optional => {
            warnings.push(absent(path, name));
            Ok(EnvSource::Absent)
        }
        None => Err(unknown_map(&path, name)),
    }
}

impl ResourceField {
    /// The value, as kubelet counts it; a pattern where the node or a later change decides.
    pub(crate) fn value(&self, pod: &PodSpec, path: &str) -> Result<Text, GenerateError> {
        let place = |field: &str| format!("{path}.valueFrom.resourceFieldRef.{field}");
        let unknown = |field: &str, value: &str| {
            GenerateError::invalid(place(field), Invalid::Unknown { value: value.to_owned() })
        };
        // The variable is of the container whose path begins the variable's.
        let own =
            |path: &str| pod.containers.iter().find(|c| path.starts_with(&format!("{}.", c.path)));
        let container = match self.container.as_deref().filter(|name| !name.is_empty()) {
            None => own(path),
            Some(name) => pod.containers.iter().find(|c| c.name == name),
        };
        let container = container
            .ok_or_else(|| unknown("containerName", self.container.as_deref().unwrap_or("")))?;
        let known = |name: &str| {
            matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-")
        };
        let resources = &container.resources;
        let amount = match self.resource.split_once('.') {
            Some(("limits", name)) if known(name) => resources.limits.get(name),
            // Without a request the API server takes the limit for one.
            Some(("requests", name)) if known(name) => {
                resources.requests.get(name).or_else(|| resources.limits.get(name))
            }
            _ => return Err(unknown("resource", &self.resource)),
        };
        let divisor = self.divisor.unwrap_or_default();
        Ok(match amount {
            // Kubernetes takes an absent or zero divisor for 1.
            Some(amount) if !resources.resizable => {
                let value = amount.divided_by(divisor).unwrap_or_else(|| amount.units());
                Text::exact(value.to_string())
            }
            _ => Text::pattern(NUMBER),
        })
    }
}

/// What to do about a ConfigMap that is not given.
pub(crate) fn unknown_map(path: &str, name: &str) -> GenerateError {
    GenerateError::refused(
        path,
        format!("the content of the ConfigMap {name} is not known, and the host would choose it"),
        "give the ConfigMap's YAML too, with a further -f",
    )
}

fn absent(path: String, name: &str) -> Warning {
    let text = format!(
        "the optional ConfigMap {name} is not given: the policy holds none of its variables, and the \
         guest denies them if the cluster has it"
    );
    Warning::new(path, text)
}

/// Names that every kubelet takes from a ConfigMap.
fn is_plain_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let first = name.bytes().next();
    first.is_some_and(|b| inner(b) && !b.is_ascii_digit())
        && name.bytes().all(inner)
        && name != "."
        && !name.starts_with("..")
}
