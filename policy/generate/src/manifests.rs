// SPDX-License-Identifier: Apache-2.0
//! The YAML that the owner gives: workloads, what they refer to, and whatever else is in the files.

use std::collections::BTreeSet;

use casemate_policy::Role as ContainerRole;
use serde_json::Value;

use crate::ImageConfig;
use crate::ImageName;
use crate::config_map::ConfigMap;
use crate::config_map::ConfigMaps;
use crate::context::Context;
use crate::edit::Step;
use crate::error::GenerateError;
use crate::error::Invalid;
use crate::error::Warning;
use crate::identity::Naming;
use crate::options::Options;
use crate::pod::Owner;
use crate::pod::PodSpec;
use crate::reader::Reader;
use crate::volume;
use crate::workload;
use crate::workload::Kind;
use crate::workload::Role;
use crate::yaml;

/// A file of YAML, as it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manifest<'a> {
    /// The file's name, for messages.
    pub name: &'a str,
    /// Its text.
    pub text: &'a str,
}

/// Files of YAML, read: every workload in them and the ConfigMaps beside them.
#[derive(Debug, Clone)]
pub struct Manifests {
    pub(crate) files: Vec<File>,
    pub(crate) workloads: Vec<Workload>,
    pub(crate) options: Options,
    pub(crate) warnings: Vec<Warning>,
}

/// A file: its documents, in the order and with the bytes in which they came.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) documents: Vec<Document>,
}

#[derive(Debug, Clone)]
pub(crate) struct Document {
    /// What stands before it: comments and `---`.
    pub(crate) head: String,
    pub(crate) body: String,
    pub(crate) value: Value,
}

/// A workload: an object that runs pods of one template.
#[derive(Debug, Clone)]
pub(crate) struct Workload {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) namespace: Option<String>,
    /// Kind, name and file, as far as the reader needs them to tell it from the others.
    pub(crate) label: Option<String>,
    /// Which document of which file.
    pub(crate) place: (usize, usize),
    /// The way from the document to the object: through `items` of a list.
    pub(crate) way: Vec<Step>,
    pub(crate) pod: PodSpec,
}

impl Manifests {
    /// Most bytes of YAML that are read, all files together.
    pub const MAX_BYTES: usize = 4 << 20;

    /// Reads one file.
    ///
    /// # Errors
    ///
    /// As [`Manifests::read`].
    pub fn parse(text: &str) -> Result<Self, GenerateError> {
        Self::read(&[Manifest { name: "", text }], &Options::default())
    }

    /// Reads files of YAML or JSON: documents and lists of Pods, Deployments, StatefulSets, DaemonSets,
    /// ReplicaSets, ReplicationControllers, Jobs and CronJobs, and the ConfigMaps that they refer to.
    /// Other objects pass through.
    ///
    /// # Errors
    ///
    /// Not YAML, nothing that runs containers, a value of a wrong type, or a field that a confidential
    /// pod cannot have.
    pub fn read(manifests: &[Manifest<'_>], options: &Options) -> Result<Self, GenerateError> {
        let size = manifests.iter().fold(0_usize, |sum, m| sum.saturating_add(m.text.len()));
        if size > Self::MAX_BYTES {
            return Err(GenerateError::TooLarge { size, max: Self::MAX_BYTES });
        }
        let several_files = manifests.len() > 1;
        let mut files = Vec::new();
        for manifest in manifests {
            let file = read_file(manifest);
            let label = |error: GenerateError| {
                if several_files { error.of_object(manifest.name) } else { error }
            };
            files.push(file.map_err(label)?);
        }
        let mut warnings = Vec::new();
        let mut workloads = Vec::new();
        {
            let objects = find_objects(&files)?;
            let labelled = objects.len() > 1;
            let label = |object: &Object<'_>| labelled.then(|| object.label(several_files));
            let at = |object: &Object<'_>, error: GenerateError| match label(object) {
                Some(label) => error.of_object(label),
                None => error,
            };
            let mut config_maps = ConfigMaps::default();
            for object in objects.iter().filter(|object| object.role == Role::ConfigMap) {
                add_config_map(object, &mut config_maps).map_err(|error| at(object, error))?;
            }
            for object in &objects {
                let mut found = Vec::new();
                match object.role {
                    Role::Runs(kind) => {
                        let workload =
                            read_workload(object, kind, &config_maps, options, &mut found)
                                .map_err(|error| at(object, error))?;
                        workloads.push(Workload { label: label(object), ..workload });
                    }
                    Role::Unreadable => {
                        let found = format!("{} {}", object.api_version, object.kind);
                        return Err(at(object, GenerateError::UnsupportedKind { found }));
                    }
                    Role::Other if runs_pods(object.value) => {
                        let text = format!(
                            "what the {} runs is not read here: its pods get no policy",
                            object.kind
                        );
                        found.push(Warning::new("", text));
                    }
                    Role::ConfigMap | Role::Other => {}
                }
                warnings.extend(found.into_iter().map(|w| Warning { object: label(object), ..w }));
            }
        }
        if workloads.is_empty() {
            return Err(GenerateError::NoWorkload);
        }
        check_options(&workloads, options)?;
        Ok(Self { files, workloads, options: options.clone(), warnings })
    }

    /// The images that the containers name, each once; [`crate::generate`] wants them resolved.
    #[must_use]
    pub fn images(&self) -> BTreeSet<ImageName> {
        let containers = self.workloads.iter().flat_map(|workload| &workload.pod.containers);
        containers.map(|container| container.image.clone()).collect()
    }

    /// Whether the image's own users and groups decide who some container runs as. If not, its layers
    /// need not be read.
    #[must_use]
    pub fn needs_users(&self, image: &ImageName, config: &ImageConfig) -> bool {
        self.workloads.iter().any(|workload| {
            let pod = &workload.pod;
            let mut own = pod.containers.iter().filter(|container| container.image == *image);
            own.any(|container| container.wanted(pod, config).needs_image())
        })
    }
}

/// One object of a document or of a list in it.
struct Object<'a> {
    file: &'a str,
    place: (usize, usize),
    /// The path of the object in its document: empty, or `items[3]`.
    path: String,
    way: Vec<Step>,
    value: &'a Value,
    api_version: String,
    kind: String,
    role: Role,
}

impl Object<'_> {
    fn label(&self, with_file: bool) -> String {
        let text = |way: &str| self.value.pointer(way).and_then(Value::as_str);
        let name = text("/metadata/name").or_else(|| text("/metadata/generateName")).unwrap_or("?");
        let file = if with_file { format!("{}: ", self.file) } else { String::new() };
        format!("{file}{} {name}", self.kind)
    }
}

fn read_file(manifest: &Manifest<'_>) -> Result<File, GenerateError> {
    let mut documents = Vec::new();
    for chunk in yaml::split(manifest.text) {
        documents.push(Document {
            head: chunk.head.to_owned(),
            body: chunk.body.to_owned(),
            value: yaml::parse(chunk.body, chunk.lines_before)?,
        });
    }
    Ok(File { name: manifest.name.to_owned(), documents })
}

/// Every object of the files, those in lists one by one.
fn find_objects(files: &[File]) -> Result<Vec<Object<'_>>, GenerateError> {
    let mut objects = Vec::new();
    for (file_index, file) in files.iter().enumerate() {
        for (index, document) in file.documents.iter().enumerate() {
            let value = &document.value;
            if value.is_null() {
                continue;
            }
            let mut reader = Reader::new("", value)?;
            let api_version = reader.text("apiVersion")?;
            let kind = reader.text("kind")?;
            let (Some(api_version), Some(kind)) = (api_version, kind) else {
                let missing = if kind.is_none() { "kind" } else { "apiVersion" };
                return Err(GenerateError::invalid(missing, Invalid::Missing));
            };
            let plain = Object {
                file: &file.name,
                place: (file_index, index),
                path: String::new(),
                way: Vec::new(),
                value,
                api_version: api_version.to_owned(),
                kind: kind.to_owned(),
                role: workload::role(api_version, kind),
            };
            match (kind.strip_suffix("List"), value.get("items")) {
                (Some(of), Some(Value::Array(items))) => {
                    for (number, item) in items.iter().enumerate() {
                        objects.push(read_item(&plain, of, number, item)?);
                    }
                }
                _ => objects.push(plain),
            }
        }
    }
    Ok(objects)
}

/// An item of a list; those of a list of one kind may leave out what the list says.
fn read_item<'a>(
    list: &Object<'a>,
    of: &str,
    number: usize,
    value: &'a Value,
) -> Result<Object<'a>, GenerateError> {
    let path = format!("items[{number}]");
    let mut reader = Reader::new(&path, value)?;
    let kind = reader.text("kind")?.or(Some(of).filter(|of| !of.is_empty()));
    let kind = kind.ok_or_else(|| GenerateError::invalid(reader.at("kind"), Invalid::Missing))?;
    let api_version = reader.text("apiVersion")?;
    let api_version = api_version.or(Some(list.api_version.as_str()).filter(|_| !of.is_empty()));
    let api_version = api_version
        .ok_or_else(|| GenerateError::invalid(reader.at("apiVersion"), Invalid::Missing))?;
    Ok(Object {
        file: list.file,
        place: list.place,
        path,
        way: vec![Step::Key("items"), Step::Entry(number)],
        value,
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        role: workload::role(api_version, kind),
    })
}

fn add_config_map(object: &Object<'_>, maps: &mut ConfigMaps) -> Result<(), GenerateError> {
    let mut reader = Reader::new(&object.path, object.value)?;
    let mut metadata = reader.required_object("metadata")?;
    let name = metadata.required_text("name")?;
    let namespace = metadata.text("namespace")?;
    let map = ConfigMap::read(&mut reader)?;
    if maps.add(namespace, name, map) {
        return Ok(());
    }
    let problem = Invalid::Duplicate { name: name.to_owned() };
    Err(GenerateError::invalid(metadata.at("name"), problem))
}

fn read_workload(
    object: &Object<'_>,
    kind: Kind,
    config_maps: &ConfigMaps,
    options: &Options,
    warnings: &mut Vec<Warning>,
) -> Result<Workload, GenerateError> {
    let mut reader = Reader::new(&object.path, object.value)?;
    let mut metadata = reader.object("metadata")?;
    let mut text = |key: &str| match &mut metadata {
        Some(metadata) => metadata.text(key),
        None => Ok(None),
    };
    let (name, prefix, namespace) = (text("name")?, text("generateName")?, text("namespace")?);
    let (template, indexed) = if kind == Kind::Pod {
        (Reader::new(&object.path, object.value)?, false)
    } else {
        reader.ignore(&["apiVersion", "kind", "status"]);
        workload::enter(reader, kind, warnings)?
    };
    let context = Context { config_maps, namespace, options };
    let naming = Naming { name, prefix, indexed, ..Naming::default() };
    let mut pod = PodSpec::read(template, Owner { kind, naming }, &context, warnings)?;
    if kind == Kind::StatefulSet {
        volume::add_claims(object.value, &mut pod.volumes);
    }
    Ok(Workload {
        kind,
        name: name.or(prefix).unwrap_or_default().to_owned(),
        namespace: namespace.map(str::to_owned),
        label: None,
        place: object.place,
        way: object.way.clone(),
        pod,
    })
}

/// Whether an object of a kind that is not Kubernetes' own holds a pod template.
fn runs_pods(value: &Value) -> bool {
    ["/spec/template/spec/containers", "/spec/jobTemplate/spec/template/spec/containers"]
        .iter()
        .any(|way| value.pointer(way).is_some_and(Value::is_array))
}

/// An option that names nothing is a typing error.
fn check_options(workloads: &[Workload], options: &Options) -> Result<(), GenerateError> {
    let pods = || workloads.iter().map(|workload| &workload.pod);
    let unused =
        |option, name: &str| Err(GenerateError::UnusedOption { option, name: name.to_owned() });
    let mut volumes = options.untrusted_volumes.iter();
    if let Some(name) = volumes.find(|name| !pods().any(|pod| pod.volumes.contains_key(*name))) {
        return unused("--untrusted-volume", name);
    }
    let has = |pod: &PodSpec, name: &str| {
        pod.containers.iter().any(|c| c.name == name && c.role != ContainerRole::Ephemeral)
    };
    let mut secrets = options.secrets.iter();
    if let Some(secret) = secrets.find(|s| !pods().any(|pod| has(pod, &s.container))) {
        return unused("--secret", &secret.container);
    }
    Ok(())
}
