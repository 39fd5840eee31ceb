// SPDX-License-Identifier: Apache-2.0
//! From workloads and their images to policies, initdata and the YAML that carries them.

use std::collections::BTreeMap;

use casemate_boot_formats::initdata::Algorithm;
use casemate_boot_formats::initdata::Initdata;
use casemate_policy::CONFIG_ENTRY;
use casemate_policy::GuestConfig;
use casemate_policy::POLICY_ENTRY;
use casemate_policy::Pattern;
use casemate_policy::Policy;
use casemate_policy::Role;
use casemate_policy::Sandbox;
use serde_json::Value;

use crate::Image;
use crate::ImageName;
use crate::builder::Builder;
use crate::edit;
use crate::edit::Edit;
use crate::edit::Step;
use crate::error::GenerateError;
use crate::error::Invalid;
use crate::error::Warning;
use crate::manifests::File;
use crate::manifests::Manifests;
use crate::manifests::Workload;
use crate::options::Options;
use crate::pod::PodSpec;
use crate::pod::Token;
use crate::token;
use crate::volume::Content;
use crate::workload::Kind;

/// The annotation that carries the initdata into the VM.
pub const INITDATA_ANNOTATION: &str = "io.casemate.initdata";
/// The annotation by which containerd finds the snapshotter of a runtime handler at pull time.
pub const HANDLER_ANNOTATION: &str = "io.containerd.cri.runtime-handler";

/// What comes out for the owner's files.
#[derive(Debug)]
pub struct Generated {
    /// One for each workload, in the order of the files.
    pub workloads: Vec<PodPolicy>,
    /// The files that hold a workload, with the annotations that carry the initdata; every other
    /// document in them has its own bytes.
    pub files: Vec<AnnotatedFile>,
    /// What the owner should know.
    pub warnings: Vec<Warning>,
}

/// What comes out for one workload: every pod of its template has this policy.
#[derive(Debug)]
pub struct PodPolicy {
    /// Its kind.
    pub kind: Kind,
    /// Its name, or the prefix that the cluster makes one of.
    pub name: String,
    /// Its namespace, if the YAML says.
    pub namespace: Option<String>,
    /// The policy.
    pub policy: Policy,
    /// The document that carries policy and guest configuration.
    pub initdata: Initdata,
}

/// A file with the annotations that carry the initdata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnotatedFile {
    /// The name that the file was given with.
    pub name: String,
    /// Its text.
    pub text: String,
}

impl Generated {
    /// The text of all files, as one.
    #[must_use]
    pub fn yaml(&self) -> String {
        let mut yaml = String::new();
        for file in &self.files {
            if !yaml.is_empty() {
                if !yaml.ends_with('\n') {
                    yaml.push('\n');
                }
                if !file.text.starts_with("---") {
                    yaml.push_str("---\n");
                }
            }
            yaml.push_str(&file.text);
        }
        yaml
    }
}

/// Makes the policy of every workload from the YAML, the resolved images and where the guest finds its
/// broker.
///
/// The same arguments give the same bytes.
///
/// # Errors
///
/// The first container that cannot be carried by a policy, and why.
pub fn generate(
    manifests: &Manifests,
    images: &BTreeMap<ImageName, Image>,
    config: &GuestConfig,
) -> Result<Generated, GenerateError> {
    config.validate().map_err(|source| GenerateError::Policy { source })?;
    let mut warnings = manifests.warnings.clone();
    let mut workloads = Vec::new();
    let mut edits: BTreeMap<(usize, usize), Vec<Edit>> = BTreeMap::new();
    for workload in &manifests.workloads {
        let mut found = Vec::new();
        let made = make(workload, manifests, images, config, &mut found);
        let (made, annotations) = made.map_err(|error| match &workload.label {
            Some(label) => error.of_object(label.clone()),
            None => error,
        })?;
        let label = |warning| Warning { object: workload.label.clone(), ..warning };
        warnings.extend(found.into_iter().map(label));
        edits.entry(workload.place).or_default().extend(annotations);
        workloads.push(made);
    }
    let files = annotate_files(&manifests.files, &edits)?;
    Ok(Generated { workloads, files, warnings })
}

/// The policy of one workload, and what to change in its YAML.
fn make(
    workload: &Workload,
    manifests: &Manifests,
    images: &BTreeMap<ImageName, Image>,
    config: &GuestConfig,
    warnings: &mut Vec<Warning>,
) -> Result<(PodPolicy, Vec<Edit>), GenerateError> {
    let policy = make_policy(&workload.pod, &manifests.options, images, warnings)?;
    policy.validate().map_err(|source| GenerateError::Policy { source })?;
    config.check_policy(&policy).map_err(|source| GenerateError::Policy { source })?;
    let entries = [(POLICY_ENTRY, policy.to_toml()), (CONFIG_ENTRY, config.to_toml())];
    let initdata = Initdata::build(Algorithm::Sha256, entries)
        .map_err(|source| GenerateError::Initdata { source })?;
    let edits = annotations(workload, &manifests.files, &initdata, warnings)?;
    let made = PodPolicy {
        kind: workload.kind,
        name: workload.name.clone(),
        namespace: workload.namespace.clone(),
        policy,
        initdata,
    };
    Ok((made, edits))
}

fn make_policy(
    pod: &PodSpec,
    options: &Options,
    images: &BTreeMap<ImageName, Image>,
    warnings: &mut Vec<Warning>,
) -> Result<Policy, GenerateError> {
    if pod.service_links {
        let text = "the host may set the variables of services; set it to false if the pod does not \
                    read them";
        warnings.push(Warning::new(format!("{}.enableServiceLinks", pod.path), text));
    }
    let mut containers = BTreeMap::new();
    let mut last_init: Option<&str> = None;
    let mut sidecars: Vec<String> = Vec::new();
    for spec in &pod.containers {
        let image = images.get(&spec.image).ok_or_else(|| GenerateError::ImageUnresolved {
            path: format!("{}.image", spec.path),
            name: spec.image.to_string(),
        })?;
        let mut container = Builder { pod, spec, image, options }.build(warnings)?;
        // Init containers run one after the other, apps after them all; `kubectl debug` comes when it
        // wants.
        if spec.role != Role::Ephemeral {
            container.after = last_init.iter().map(|name| (*name).to_owned()).collect();
            container.after_started.clone_from(&sidecars);
        }
        match spec.role {
            Role::Init => last_init = Some(&spec.name),
            Role::Sidecar => sidecars.push(spec.name.clone()),
            Role::App | Role::Ephemeral => {}
        }
        containers.insert(spec.name.clone(), container);
    }
    let hostname = Pattern::new(&pod.identity.hostname.to_pattern()).map_err(|_| {
        GenerateError::invalid(format!("{}.hostname", pod.path), Invalid::LongPattern)
    })?;
    let sandbox = Sandbox {
        hostname: Some(hostname),
        sysctls: pod.security.sysctls.clone(),
        hosts: pod.hosts.clone(),
        network: pod.network.clone(),
    };
    let mut volumes = BTreeMap::new();
    for (name, volume) in &pod.volumes {
        let mounted = pod.containers.iter().flat_map(|c| &c.mounts).any(|m| m.volume == *name);
        match (mounted, &volume.content) {
            (true, Content::Known(content)) => {
                warnings.extend(volume.warnings.iter().cloned());
                volumes.insert(name.clone(), content.clone());
            }
            (false, Content::Refused { reason, .. }) => {
                let text = format!(
                    "the volume {name} is left out of the policy, since no container mounts it; to \
                     mount it would be refused: {reason}"
                );
                warnings.push(Warning::new(format!("{}.volumes", pod.path), text));
            }
            _ => {}
        }
    }
    Ok(Policy { version: Policy::VERSION, sandbox, volumes, containers })
}

/// What to set in the template: the annotations, and what keeps the pod from running otherwise.
fn annotations(
    workload: &Workload,
    files: &[File],
    initdata: &Initdata,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Edit>, GenerateError> {
    let annotation =
        initdata.to_annotation().map_err(|source| GenerateError::Initdata { source })?;
    let pod = &workload.pod;
    let path = |keys: &[&'static str]| -> Vec<Step> {
        let template = workload.way.iter().copied().chain(workload.kind.steps());
        template.chain(keys.iter().map(|key| Step::Key(key))).collect()
    };
    let text = |text: &str| Value::String(text.to_owned());
    let mut edits: Vec<Edit> =
        [(HANDLER_ANNOTATION, text(pod.class())), (INITDATA_ANNOTATION, text(&annotation))]
            .into_iter()
            .map(|(key, value)| Edit {
                path: path(&["metadata", "annotations"]),
                key: key.to_owned(),
                value,
            })
            .collect();
    let mut added = |key: &str, value: Value, why: &str| {
        let text = format!("set to {value}: {why}");
        warnings.push(Warning::new(format!("{}.{key}", pod.path), text));
        edits.push(Edit { path: path(&["spec"]), key: key.to_owned(), value });
    };
    if pod.token == Token::Unsaid {
        let why = "the service account's token would come from the host; set it to true if the pod calls \
                   the API server";
        added("automountServiceAccountToken", Value::Bool(false), why);
    }
    if pod.runtime_class.is_none() {
        let why = "without it the node's default runtime would run the pod";
        added("runtimeClassName", text(pod.class()), why);
    }
    if pod.token == Token::On {
        let (file, document) = workload.place;
        let document = files.get(file).and_then(|file| file.documents.get(document));
        let way = path(&["spec"]);
        let mut spec = document.map(|document| &document.value);
        for step in &way {
            spec = match step {
                Step::Key(key) => spec.and_then(|at| at.get(key)),
                Step::Entry(index) => spec.and_then(|at| at.get(index)),
            };
        }
        edits.extend(token::edits(spec.unwrap_or(&Value::Null), &way));
    }
    Ok(edits)
}

/// The files that hold a workload, each document that is not edited byte for byte.
fn annotate_files(
    files: &[File],
    edits: &BTreeMap<(usize, usize), Vec<Edit>>,
) -> Result<Vec<AnnotatedFile>, GenerateError> {
    let mut annotated = Vec::new();
    for (file_index, file) in files.iter().enumerate() {
        let mut text = String::new();
        let mut holds_workload = false;
        for (index, document) in file.documents.iter().enumerate() {
            text.push_str(&document.head);
            match edits.get(&(file_index, index)) {
                None => text.push_str(&document.body),
                Some(edits) => {
                    holds_workload = true;
                    let edited = edit::apply(&document.body, &document.value, edits)?;
                    // A document that began on its own mark and is written anew.
                    let begins = document.body.starts_with("---") && !edited.starts_with("---");
                    if begins {
                        text.push_str("---\n");
                    }
                    text.push_str(&edited);
                }
            }
        }
        if holds_workload {
            annotated.push(AnnotatedFile { name: file.name.clone(), text });
        }
    }
    Ok(annotated)
}
