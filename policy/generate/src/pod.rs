// SPDX-License-Identifier: Apache-2.0
//! The pod as its template says it, every field read, refused or named in a warning.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use casemate_policy::HostAlias;
use casemate_policy::NetworkRules;
use casemate_policy::Restart;
use casemate_policy::Role;
use serde_json::Value;

use crate::container::ContainerSpec;
use crate::container::List;
use crate::context::Context;
use crate::error::GenerateError;
use crate::error::Invalid;
use crate::error::Warning;
use crate::exec_list::ExecList;
use crate::identity::Identity;
use crate::identity::Naming;
use crate::json;
use crate::network;
use crate::reader::Reader;
use crate::secrets;
use crate::secrets::Secrets;
use crate::security::PodSecurity;
use crate::token;
use crate::volume;
use crate::volume::Volumes;
use crate::workload::Kind;

/// The runtime class of pods that name none.
pub const DEFAULT_RUNTIME_CLASS: &str = "casemate";
/// The annotation that lists containers that may be added to the running pod (`kubectl debug`).
///
/// JSON: a list as in `ephemeralContainers` of a pod's spec, which Kubernetes takes for running pods
/// only.
pub const EPHEMERAL_ANNOTATION: &str = "io.casemate.ephemeral-containers";

/// A pod, read from a template.
#[derive(Debug, Clone)]
pub(crate) struct PodSpec {
    pub(crate) namespace: Option<String>,
    pub(crate) metadata: Metadata,
    pub(crate) identity: Identity,
    pub(crate) containers: Vec<ContainerSpec>,
    pub(crate) volumes: Volumes,
    pub(crate) security: PodSecurity,
    pub(crate) hosts: Vec<HostAlias>,
    pub(crate) network: NetworkRules,
    pub(crate) runtime_class: Option<String>,
    pub(crate) service_account: String,
    pub(crate) service_links: bool,
    pub(crate) token: Token,
    pub(crate) exec: ExecList,
    pub(crate) secrets: Secrets,
    /// Path of the spec: `spec` or `spec.template.spec`.
    pub(crate) path: String,
}

/// The part of a pod's metadata that containers can see.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metadata {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
}

/// What the pod says of the service account's token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// It is wanted.
    On,
    /// It is not wanted.
    Off,
    /// Nothing: the cluster would mount it.
    Unsaid,
}

/// What is known of the object around the template.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner<'a> {
    pub(crate) kind: Kind,
    pub(crate) naming: Naming<'a>,
}

impl PodSpec {
    /// Reads a pod template, or a pod's own fields.
    pub(crate) fn read(
        mut template: Reader<'_>,
        owner: Owner<'_>,
        context: &Context<'_>,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self, GenerateError> {
        let metadata = read_metadata(&mut template)?;
        let exec = ExecList::read(&metadata.annotations)?;
        exec.warn_of_shells(warnings);
        warn_of_annotations(&metadata.annotations, warnings);
        let secrets = secrets::read(&metadata.annotations)?;
        let mut spec = template.required_object("spec")?;
        if owner.kind == Kind::Pod {
            template.ignore(&["apiVersion", "kind", "status"]);
        }
        template.finish(warnings)?;

        for (field, reason, advice) in REFUSED {
            spec.refuse(field, *reason, *advice)?;
        }
        for (field, text) in UNHEEDED {
            spec.warn(field, text, warnings);
        }
        if spec.flag("hostUsers")? == Some(false) {
            let text = "not carried out: root of a container is root in the guest too, within its \
                        capabilities";
            warnings.push(Warning::new(spec.at("hostUsers"), text));
        }
        check_os(&mut spec)?;
        let token = read_token_setting(&mut spec)?;
        let security = PodSecurity::read(spec.object("securityContext")?, warnings)?;
        let restart = read_restart_policy(&mut spec, owner.kind)?;
        let mut volumes = volume::read(&mut spec, context)?;
        let mut containers = read_containers(&mut spec, restart, context, warnings)?;
        containers.extend(read_ephemeral(&metadata.annotations, context, warnings)?);
        check_names(&containers)?;
        if token == Token::On {
            let path = spec.at("automountServiceAccountToken");
            token::mount(&mut containers, &mut volumes, path);
        }
        let naming = Naming {
            hostname: spec.text("hostname")?,
            hostname_override: spec.text("hostnameOverride")?,
            ..owner.naming
        };
        let account = (spec.text("serviceAccountName")?, spec.text("serviceAccount")?);
        let pod = Self {
            namespace: context.namespace.map(str::to_owned),
            identity: Identity::of(owner.kind, &naming),
            hosts: network::read_hosts(&mut spec)?,
            network: network::read_rules(&mut spec, warnings)?,
            runtime_class: spec.text("runtimeClassName")?.map(str::to_owned),
            service_account: account.0.or(account.1).unwrap_or("default").to_owned(),
            service_links: spec.flag("enableServiceLinks")?.unwrap_or(true),
            path: spec.path().to_owned(),
            metadata,
            containers,
            volumes,
            security,
            token,
            exec,
            secrets,
        };
        spec.ignore(INERT);
        spec.finish(warnings)?;
        let names = || pod.containers.iter().map(|c| c.name.as_str());
        pod.exec.check_names(names())?;
        match pod.secrets.keys().find(|name| !names().any(|known| known == *name)) {
            Some(name) => Err(GenerateError::invalid(
                format!("metadata.annotations[{}]", secrets::SECRETS_ANNOTATION),
                Invalid::Unknown { value: name.clone() },
            )),
            None => Ok(pod),
        }
    }

    /// The runtime class that the pod will have.
    pub(crate) fn class(&self) -> &str {
        self.runtime_class.as_deref().unwrap_or(DEFAULT_RUNTIME_CLASS)
    }
}

fn read_metadata(template: &mut Reader<'_>) -> Result<Metadata, GenerateError> {
    let Some(mut metadata) = template.object("metadata")? else { return Ok(Metadata::default()) };
    Ok(Metadata {
        labels: metadata.text_map("labels")?,
        annotations: metadata.text_map("annotations")?,
    })
}

fn warn_of_annotations(annotations: &BTreeMap<String, String>, warnings: &mut Vec<Warning>) {
    let unknown = annotations
        .keys()
        .filter(|key| key.starts_with(OWN_PREFIX) && !OWN_ANNOTATIONS.contains(&key.as_str()));
    for key in unknown {
        let text =
            format!("nothing reads this annotation; there are {}", OWN_ANNOTATIONS.join(", "));
        warnings.push(Warning::new(format!("metadata.annotations[{key}]"), text));
    }
}

fn check_os(spec: &mut Reader<'_>) -> Result<(), GenerateError> {
    let Some(mut os) = spec.object("os")? else { return Ok(()) };
    match os.text("name")? {
        None | Some("linux") => Ok(()),
        Some(_) => Err(GenerateError::refused(
            os.at("name"),
            "the guest runs Linux",
            "use a node of another kind for this pod",
        )),
    }
}

fn read_token_setting(spec: &mut Reader<'_>) -> Result<Token, GenerateError> {
    Ok(match spec.flag("automountServiceAccountToken")? {
        Some(true) => Token::On,
        Some(false) => Token::Off,
        None => Token::Unsaid,
    })
}

fn read_restart_policy(spec: &mut Reader<'_>, kind: Kind) -> Result<Restart, GenerateError> {
    let policy = spec.choice("restartPolicy", &["Always", "OnFailure", "Never"])?;
    let is_job = matches!(kind, Kind::Job | Kind::CronJob);
    match policy {
        // The API server demands one of these two in a Job.
        None | Some("Always") if is_job => {
            let path = spec.at("restartPolicy");
            let problem = match policy {
                None => Invalid::Missing,
                Some(value) => Invalid::Unknown { value: value.to_owned() },
            };
            Err(GenerateError::invalid(path, problem))
        }
        None | Some("Always") => Ok(Restart::Always),
        Some("OnFailure") => Ok(Restart::OnFailure),
        Some(_) => Ok(Restart::Never),
    }
}

fn read_containers(
    spec: &mut Reader<'_>,
    restart: Restart,
    context: &Context<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<ContainerSpec>, GenerateError> {
    let mut containers = Vec::new();
    for (field, list) in [("initContainers", List::Init), ("containers", List::App)] {
        for reader in spec.objects(field)? {
            containers.push(ContainerSpec::read(reader, list, restart, context, warnings)?);
        }
    }
    let text = format!(
        "left out of the policy, so that none of them can be added: Kubernetes takes this field for \
         running pods only; to allow one, name it in the annotation {EPHEMERAL_ANNOTATION}"
    );
    spec.warn("ephemeralContainers", &text, warnings);
    if !containers.iter().any(|c| c.role == Role::App) {
        return Err(GenerateError::invalid(spec.at("containers"), Invalid::Missing));
    }
    Ok(containers)
}

fn read_ephemeral(
    annotations: &BTreeMap<String, String>,
    context: &Context<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<ContainerSpec>, GenerateError> {
    let Some(text) = annotations.get(EPHEMERAL_ANNOTATION) else { return Ok(Vec::new()) };
    let path = format!("metadata.annotations[{EPHEMERAL_ANNOTATION}]");
    let document = json::parse(text, &path)?;
    let Value::Array(list) = &document else {
        let expected = "a list of containers";
        return Err(GenerateError::invalid(path, Invalid::Type { expected }));
    };
    let read = |(index, value): (usize, &Value)| {
        let reader = Reader::new(&format!("{path}[{index}]"), value)?;
        ContainerSpec::read(reader, List::Ephemeral, Restart::Never, context, warnings)
    };
    list.iter().enumerate().map(read).collect()
}

fn check_names(containers: &[ContainerSpec]) -> Result<(), GenerateError> {
    let mut names = BTreeSet::new();
    match containers.iter().find(|c| !names.insert(c.name.as_str())) {
        Some(twice) => {
            let name = twice.name.clone();
            Err(GenerateError::invalid(twice.path.clone(), Invalid::Duplicate { name }))
        }
        None => Ok(()),
    }
}

/// What this project's annotations begin with.
const OWN_PREFIX: &str = "io.casemate.";
/// The annotations that somebody reads.
const OWN_ANNOTATIONS: &[&str] = &[
    EPHEMERAL_ANNOTATION,
    crate::EXEC_ANNOTATION,
    crate::INITDATA_ANNOTATION,
    secrets::SECRETS_ANNOTATION,
];

/// Fields of a pod's spec that are refused: field, reason, advice.
const REFUSED: &[(&str, &str, &str)] = &[
    ("hostIPC", "the host's IPC namespace is not the guest's", "remove hostIPC"),
    ("hostNetwork", "the pod has a network of its own", "remove hostNetwork"),
    ("hostPID", "the host's processes are not the guest's", "remove hostPID"),
    (
        "setHostnameAsFQDN",
        "the name would come from the cluster's domain, which the host chooses",
        "set hostname",
    ),
    ("resourceClaims", "devices of the host are not trusted", "remove resourceClaims"),
    (
        "shareProcessNamespace",
        "each container has processes of its own",
        "run the processes in one container",
    ),
];

/// Fields of a pod's spec that are set in vain: field, warning.
const UNHEEDED: &[(&str, &str)] = &[
    ("imagePullSecrets", "not used; the guest pulls without credentials"),
    ("overhead", "set by the RuntimeClass"),
    (
        "resources",
        "limits of the whole pod are not enforced in the guest; set them on the containers",
    ),
];

/// Fields of a pod's spec that change where, when or how large, never what runs in the guest.
const INERT: &[&str] = &[
    "activeDeadlineSeconds",
    "affinity",
    "nodeName",
    "nodeSelector",
    "preemptionPolicy",
    "priority",
    "priorityClassName",
    "readinessGates",
    "schedulerName",
    "schedulingGates",
    "subdomain",
    "terminationGracePeriodSeconds",
    "tolerations",
    "topologySpreadConstraints",
    "workloadRef",
];
