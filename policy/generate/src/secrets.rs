// SPDX-License-Identifier: Apache-2.0
//! Secrets: never in a policy, always from the key broker.

use std::collections::BTreeMap;

use casemate_policy::ResourceUri;
use casemate_policy::SecretFile;
use serde_json::Value;

use crate::error::GenerateError;
use crate::error::Invalid;
use crate::reader::Reader;

/// The annotation that says which resources of the key broker a container gets as files.
///
/// JSON: an object from container name to a list of
/// `{"resource": "kbs:///repository/type/tag", "path": "/run/secrets/x", "mode": "0400"}`.
pub const SECRETS_ANNOTATION: &str = "io.casemate.secrets";

/// Resources of the key broker by container.
pub(crate) type Secrets = BTreeMap<String, Vec<SecretFile>>;

/// Reads the annotation.
pub(crate) fn read(annotations: &BTreeMap<String, String>) -> Result<Secrets, GenerateError> {
    let Some(text) = annotations.get(SECRETS_ANNOTATION) else { return Ok(Secrets::new()) };
    let path = format!("metadata.annotations[{SECRETS_ANNOTATION}]");
    let document = crate::json::parse(text, &path)?;
    let Value::Object(map) = &document else {
        let expected = "an object from container names to lists";
        return Err(GenerateError::invalid(path, Invalid::Type { expected }));
    };
    let mut secrets = Secrets::new();
    let mut reader = Reader::new(&path, &document)?;
    for container in map.keys() {
        let list = reader.objects(container)?;
        let files: Result<Vec<_>, _> = list.into_iter().map(read_file).collect();
        secrets.insert(container.clone(), files?);
    }
    Ok(secrets)
}

fn read_file(mut reader: Reader<'_>) -> Result<SecretFile, GenerateError> {
    let text = reader.required_text("resource")?;
    let resource: ResourceUri = text.parse().map_err(|_| {
        GenerateError::invalid(reader.at("resource"), Invalid::Resource { text: text.to_owned() })
    })?;
    let path = reader.required_text("path")?.to_owned();
    let mode = match reader.text("mode")? {
        None => DEFAULT_MODE,
        Some(text) => u32::from_str_radix(text, 8)
            .map_err(|_| GenerateError::invalid(reader.at("mode"), Invalid::Mode))?,
    };
    reader.finish_strictly()?;
    Ok(SecretFile { resource, path, mode })
}

/// Why a reference to a Secret is refused, and where the value belongs.
pub(crate) fn refuse(
    path: &str,
    container: &str,
    secret: &str,
    key: Option<&str>,
) -> GenerateError {
    let key = key.unwrap_or("KEY");
    GenerateError::refused(
        path,
        format!(
            "the cluster holds the Secret {secret}, so the host could read it, and a policy is public"
        ),
        format!(
            "store the value at the key broker as default/{secret}/{key}, remove this field, and have \
             the guest fetch it: --secret {container}:/run/secrets/{key}=kbs:///default/{secret}/{key}, \
             or the annotation {SECRETS_ANNOTATION}"
        ),
    )
}

/// Mode of a secret's file unless another is asked for: readable by the container's user alone.
pub const DEFAULT_MODE: u32 = 0o400;
