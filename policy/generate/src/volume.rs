// SPDX-License-Identifier: Apache-2.0
//! Volumes of the pod, and whose content is in them.

use std::collections::BTreeMap;

use casemate_policy::Sha256Digest;
use casemate_policy::Volume;
use casemate_policy::is_file_name;
use serde_json::Value;

use crate::config_map::ConfigMap;
use crate::context::Context;
use crate::error::GenerateError;
use crate::error::Invalid;
use crate::error::Warning;
use crate::quantity::Quantity;
use crate::reader::Reader;

/// A volume of the pod. Refusals and warnings count once a container mounts it.
#[derive(Debug, Clone)]
pub(crate) struct PodVolume {
    pub(crate) content: Content,
    pub(crate) warnings: Vec<Warning>,
}

/// What is in a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// What the policy can carry.
    Known(Volume),
    /// What no policy carries.
    Refused { reason: String, advice: String },
    /// A Secret.
    Secret { name: String },
}

pub(crate) type Volumes = BTreeMap<String, PodVolume>;

pub(crate) fn read(spec: &mut Reader<'_>, context: &Context<'_>) -> Result<Volumes, GenerateError> {
    let mut volumes = Volumes::new();
    for mut reader in spec.objects("volumes")? {
        let name = reader.required_text("name")?.to_owned();
        let path = reader.path().to_owned();
        let mut warnings = Vec::new();
        let content = read_content(&mut reader, &name, context, &mut warnings)?;
        // The kind's own object is read or refused as a whole; two kinds are one too many.
        if matches!(content, Content::Known(_)) {
            reader.finish_strictly()?;
        }
        if volumes.insert(name.clone(), PodVolume { content, warnings }).is_some() {
            return Err(GenerateError::invalid(path, Invalid::Duplicate { name }));
        }
    }
    Ok(volumes)
}

fn read_content(
    reader: &mut Reader<'_>,
    name: &str,
    context: &Context<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<Content, GenerateError> {
    if let Some(empty_dir) = reader.object("emptyDir")? {
        return read_empty_dir(empty_dir, warnings);
    }
    let path = reader.path().to_owned();
    let mut sources = Sources { volume: name, path, context, found: Found::default(), warnings };
    if let Some(config_map) = reader.object("configMap")? {
        sources.read_config_map(config_map)?;
        return Ok(sources.finish());
    }
    if let Some(downward) = reader.object("downwardAPI")? {
        sources.read_downward(downward)?;
        return Ok(sources.finish());
    }
    if let Some(mut projected) = reader.object("projected")? {
        let mode = projected.number("defaultMode")?;
        sources.warn_of_mode(mode, &projected.at("defaultMode"));
        for source in projected.objects("sources")? {
            sources.read_source(source)?;
        }
        projected.finish(sources.warnings)?;
        return Ok(sources.finish());
    }
    if let Some(mut secret) = reader.object("secret")? {
        let name = secret.text("secretName")?.unwrap_or("NAME").to_owned();
        return Ok(Content::Secret { name });
    }
    let known = |kind: &str| FOREIGN.iter().find(|(known, _)| *known == kind).map(|(_, why)| *why);
    let reason = reader.remaining().find_map(known);
    Ok(foreign(reason.unwrap_or("the content of the volume comes from the host")))
}

/// A StatefulSet's claims: each takes the place of the pod's own volume of its name.
pub(crate) fn add_claims(stateful_set: &Value, volumes: &mut Volumes) {
    let claims = stateful_set.pointer("/spec/volumeClaimTemplates").and_then(Value::as_array);
    let name = |claim: &Value| claim.pointer("/metadata/name")?.as_str().map(str::to_owned);
    for name in claims.into_iter().flatten().filter_map(name) {
        let content = foreign("the disk of a claim from volumeClaimTemplates is the host's");
        volumes.insert(name, PodVolume { content, warnings: Vec::new() });
    }
}

fn foreign(reason: &str) -> Content {
    let advice = "for what need not outlive the pod use an emptyDir volume, which is memory of the \
                  guest; put files that do not change into the image; keep what must last in a store \
                  that the program reaches over TLS, with its password or key from the key broker";
    Content::Refused { reason: reason.to_owned(), advice: advice.to_owned() }
}

fn read_empty_dir(
    mut reader: Reader<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<Content, GenerateError> {
    let medium = reader.text("medium")?.unwrap_or_default();
    if !matches!(medium, "" | "Memory") {
        return Err(GenerateError::refused(
            reader.at("medium"),
            "the guest has no huge pages to give",
            "use medium: Memory, or none",
        ));
    }
    let size_limit = reader.quantity("sizeLimit")?.map(Quantity::units).filter(|size| *size > 0);
    reader.finish(warnings)?;
    Ok(Content::Known(Volume::EmptyDir { size_limit }))
}

/// The sources of a volume whose content kubelet writes.
struct Sources<'a, 'b> {
    volume: &'a str,
    path: String,
    context: &'a Context<'a>,
    found: Found,
    warnings: &'b mut Vec<Warning>,
}

/// What the sources come to.
#[derive(Default)]
struct Found {
    files: BTreeMap<String, Sha256Digest>,
    bytes: u64,
    /// A ConfigMap that is not given.
    unknown: Option<String>,
    /// What the host alone knows.
    untrusted: Vec<&'static str>,
    secret: Option<String>,
}

impl Sources<'_, '_> {
    fn read_source(&mut self, mut source: Reader<'_>) -> Result<(), GenerateError> {
        if let Some(config_map) = source.object("configMap")? {
            self.read_config_map(config_map)?;
        } else if let Some(downward) = source.object("downwardAPI")? {
            self.read_downward(downward)?;
        } else if let Some(mut secret) = source.object("secret")? {
            self.found.secret = Some(secret.text("name")?.unwrap_or("NAME").to_owned());
        } else if source.object("serviceAccountToken")?.is_some() {
            self.found.untrusted.push(TOKEN);
        } else if source.object("clusterTrustBundle")?.is_some() {
            self.found.untrusted.push("a bundle of certificates");
        } else if source.object("podCertificate")?.is_some() {
            self.found.untrusted.push("a certificate whose key the host knows");
        }
        source.finish_strictly()
    }

    fn read_config_map(&mut self, mut reader: Reader<'_>) -> Result<(), GenerateError> {
        let name = reader.required_text("name")?;
        let optional = reader.flag("optional")?.unwrap_or(false);
        let mode = reader.number("defaultMode")?;
        self.warn_of_mode(mode, &reader.at("defaultMode"));
        let path = reader.path().to_owned();
        let context = self.context;
        match context.config_map(name) {
            Some(map) => self.read_files(&mut reader, map, optional)?,
            None if optional && !context.is_untrusted(self.volume) => {
                reader.ignore(&["items"]);
                let text = format!(
                    "the optional ConfigMap {name} is not given: the policy holds none of its files, and \
                     the guest denies them if the cluster has it"
                );
                self.warnings.push(Warning::new(path, text));
            }
            None => {
                reader.ignore(&["items"]);
                self.found.unknown = Some(name.to_owned());
            }
        }
        reader.finish_strictly()
    }

    fn read_files(
        &mut self,
        reader: &mut Reader<'_>,
        map: &ConfigMap,
        optional: bool,
    ) -> Result<(), GenerateError> {
        if !reader.has("items") {
            reader.ignore(&["items"]);
            for (name, bytes) in map.files() {
                self.add(name, bytes);
            }
            return Ok(());
        }
        for mut item in reader.objects("items")? {
            let key = item.required_text("key")?;
            let file = item.required_text("path")?;
            let mode = item.number("mode")?;
            self.warn_of_mode(mode, &item.at("mode"));
            if file.contains('/') {
                return Err(GenerateError::refused(
                    item.at("path"),
                    "the guest puts the files of a volume side by side, not into folders",
                    "use a path without '/', and mount the file where it is wanted with subPath",
                ));
            }
            if !is_file_name(file) {
                let problem = Invalid::FileName { name: file.to_owned() };
                return Err(GenerateError::invalid(item.at("path"), problem));
            }
            match map.bytes(key) {
                Some(bytes) => self.add(file, bytes),
                None if optional => {}
                None => {
                    let problem = Invalid::Unknown { value: key.to_owned() };
                    return Err(GenerateError::invalid(item.at("key"), problem));
                }
            }
            item.finish_strictly()?;
        }
        Ok(())
    }

    fn read_downward(&mut self, mut reader: Reader<'_>) -> Result<(), GenerateError> {
        let mode = reader.number("defaultMode")?;
        self.warn_of_mode(mode, &reader.at("defaultMode"));
        for mut item in reader.objects("items")? {
            item.ignore(&["fieldRef", "resourceFieldRef", "mode"]);
            let file = item.required_text("path")?;
            if !is_file_name(file) {
                let problem = Invalid::FileName { name: file.to_owned() };
                return Err(GenerateError::invalid(item.at("path"), problem));
            }
            item.finish_strictly()?;
        }
        self.found.untrusted.push("fields of the pod");
        reader.finish_strictly()
    }

    fn add(&mut self, name: &str, bytes: &[u8]) {
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.found.bytes = self.found.bytes.saturating_add(size);
        self.found.files.insert(name.to_owned(), Sha256Digest::of(bytes));
    }

    fn warn_of_mode(&mut self, mode: Option<u64>, path: &str) {
        if mode.is_some_and(|mode| mode & ANY_EXECUTE != 0) {
            let text = "the guest runs no program out of a volume whose files come from the host; give \
                        such a script to its interpreter, or put it into the image";
            self.warnings.push(Warning::new(path, text));
        }
    }

    fn finish(self) -> Content {
        let Self { volume, path, context, found, warnings } = self;
        if let Some(name) = found.secret {
            return Content::Secret { name };
        }
        let mut parts: Vec<String> = found.untrusted.iter().map(|s| (*s).to_owned()).collect();
        let left_open = context.is_untrusted(volume);
        // The cluster writes this one into every namespace, beside the token that it goes with.
        let is_clusters = |name: &str| name == ROOT_CA && found.untrusted.contains(&TOKEN);
        if left_open {
            parts.push("what --untrusted-volume leaves to it".to_owned());
        } else if let Some(name) = &found.unknown {
            if is_clusters(name) {
                parts.push(format!("the ConfigMap {name}, which is not given and not pinned"));
            } else {
                return Content::Refused {
                    reason: format!(
                        "the content of the ConfigMap {name} is not known, and the host would choose it"
                    ),
                    advice: format!(
                        "give the ConfigMap's YAML too, with a further -f, or let the host choose: \
                     --untrusted-volume {volume}"
                    ),
                };
            }
        }
        if found.bytes > Volume::MAX_BYTES || found.files.len() > Volume::MAX_FILES {
            return Content::Refused {
                reason: format!(
                    "the volume has more than {} bytes or too many files",
                    Volume::MAX_BYTES
                ),
                advice: "put the files into the image".to_owned(),
            };
        }
        if !parts.is_empty() {
            let files = if left_open { BTreeMap::new() } else { found.files };
            let names: Vec<&str> = files.keys().map(String::as_str).collect();
            let but = match names.as_slice() {
                [] => String::new(),
                names => format!(
                    " but for the files of ConfigMaps, which are pinned: {}",
                    names.join(", ")
                ),
            };
            let text = format!(
                "the host chooses the content ({}){but}; containers see it read-only",
                parts.join(", ")
            );
            warnings.push(Warning::new(path, text));
            let max_bytes = if files.is_empty() { MAX_UNTRUSTED } else { Volume::MAX_BYTES };
            return Content::Known(Volume::Untrusted { max_bytes, files });
        }
        Content::Known(Volume::Config { files: found.files })
    }
}

/// Volumes whose content nobody vouches for.
const FOREIGN: &[(&str, &str)] = &[
    ("hostPath", "a hostPath volume is a folder of the host"),
    ("persistentVolumeClaim", "the disk of a persistentVolumeClaim is the host's"),
    ("csi", "the disk of a csi volume is the host's"),
    ("ephemeral", "the disk of an ephemeral volume is the host's"),
    ("nfs", "an nfs volume is a server that nobody attested"),
    ("image", "the host would unpack the image of an image volume"),
];

/// The ConfigMap with the API server's CA that the cluster writes into every namespace.
const ROOT_CA: &str = "kube-root-ca.crt";
const TOKEN: &str = "a service account's token";
/// Permission to run, for anybody.
const ANY_EXECUTE: u64 = 0o111;
/// Most bytes of a volume whose content the host chooses.
pub(crate) const MAX_UNTRUSTED: u64 = 1 << 20;
