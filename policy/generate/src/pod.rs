// SPDX-License-Identifier: Apache-2.0
//! The pod as its YAML says it, every field read, refused or named in a warning.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use casemate_policy::Restart;
use serde_json::Value;

use crate::ImageName;
use crate::container::ContainerSpec;
use crate::container::Role;
use crate::error::GenerateError;
use crate::error::Invalid;
use crate::error::Warning;
use crate::exec_list::ExecList;
use crate::reader::Reader;
use crate::security::PodSecurity;

/// A pod, read from YAML.
#[derive(Debug, Clone)]
pub struct Pod {
    pub(crate) text: String,
    pub(crate) document: Value,
    pub(crate) metadata: Metadata,
    pub(crate) containers: Vec<ContainerSpec>,
    pub(crate) volumes: BTreeMap<String, Volume>,
    pub(crate) security: PodSecurity,
    pub(crate) hostname: Option<String>,
    pub(crate) runtime_class: Option<String>,
    pub(crate) service_account: String,
    pub(crate) service_links: bool,
    pub(crate) token_is_off: bool,
    pub(crate) exec: ExecList,
    pub(crate) warnings: Vec<Warning>,
}

/// The part of a pod's metadata that containers can see.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metadata {
    pub(crate) name: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
}

/// A volume of the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Volume {
    EmptyDir,
    /// Content of the host's choice, and why it is that.
    Foreign(&'static str),
}

impl Pod {
    /// Most bytes of YAML that are read.
    pub const MAX_BYTES: usize = 1 << 20;

    /// Reads one Pod of `apiVersion: v1`.
    ///
    /// # Errors
    ///
    /// Not YAML, another kind, a value of a wrong type, or a field that a confidential pod cannot have.
    pub fn parse(text: &str) -> Result<Self, GenerateError> {
        let document = parse_yaml(text)?;
        let mut warnings = Vec::new();
        let mut root = Reader::new("", &document)?;
        check_kind(&mut root)?;
        let metadata = read_metadata(&mut root)?;
        let exec = ExecList::read(&metadata.annotations)?;
        let spec = root.object("spec")?;
        let mut spec = spec.ok_or_else(|| GenerateError::invalid("spec", Invalid::Missing))?;
        root.ignore(&["status"]);
        root.finish(&mut warnings);

        refuse(&mut spec)?;
        warn(&mut spec, &mut warnings);
        let token_is_off = read_token_setting(&mut spec)?;
        let security = PodSecurity::read(spec.object("securityContext")?, &mut warnings)?;
        let restart = read_restart_policy(&mut spec)?;
        let volumes = read_volumes(&mut spec, &mut warnings)?;
        let containers = read_containers(&mut spec, restart, &mut warnings)?;
        let hostname = spec.text("hostname")?.map(str::to_owned);
        let runtime_class = spec.text("runtimeClassName")?.map(str::to_owned);
        let account = (spec.text("serviceAccountName")?, spec.text("serviceAccount")?);
        let service_account = account.0.or(account.1).unwrap_or("default").to_owned();
        let service_links = spec.flag("enableServiceLinks")?.unwrap_or(true);
        spec.ignore(INERT);
        spec.finish(&mut warnings);
        exec.check_names(containers.iter().map(|c| c.name.as_str()))?;

        Ok(Self {
            text: text.to_owned(),
            document,
            metadata,
            containers,
            volumes,
            security,
            hostname,
            runtime_class,
            service_account,
            service_links,
            token_is_off,
            exec,
            warnings,
        })
    }

    /// The images that the containers name, each once; [`crate::generate`] wants them resolved.
    #[must_use]
    pub fn images(&self) -> BTreeSet<ImageName> {
        self.containers.iter().map(|container| container.image.clone()).collect()
    }
}

/// Parses the text of one YAML document; a second document is an error.
pub(crate) fn parse_yaml(text: &str) -> Result<Value, GenerateError> {
    if text.len() > Pod::MAX_BYTES {
        return Err(GenerateError::TooLarge { size: text.len(), max: Pod::MAX_BYTES });
    }
    serde_saphyr::from_str(text).map_err(|error| match error.without_snippet() {
        serde_saphyr::Error::MultipleDocuments { .. } => {
            GenerateError::UnsupportedKind { found: "several documents".to_owned() }
        }
        plain => {
            let message = plain.to_string().replace('\n', " ");
            GenerateError::Yaml { message }
        }
    })
}

fn check_kind(root: &mut Reader<'_>) -> Result<(), GenerateError> {
    let version = root.text("apiVersion")?.unwrap_or("without apiVersion");
    let kind = root.text("kind")?.unwrap_or("without kind");
    if (version, kind) == ("v1", "Pod") {
        return Ok(());
    }
    Err(GenerateError::UnsupportedKind { found: format!("{version} {kind}") })
}

fn read_metadata(root: &mut Reader<'_>) -> Result<Metadata, GenerateError> {
    let Some(mut metadata) = root.object("metadata")? else { return Ok(Metadata::default()) };
    Ok(Metadata {
        name: metadata.text("name")?.map(str::to_owned),
        namespace: metadata.text("namespace")?.map(str::to_owned),
        labels: metadata.text_map("labels")?,
        annotations: metadata.text_map("annotations")?,
    })
}

/// What a confidential pod cannot have.
fn refuse(spec: &mut Reader<'_>) -> Result<(), GenerateError> {
    for (field, reason, advice) in REFUSED {
        spec.refuse(field, reason, advice)?;
    }
    Ok(())
}

fn warn(spec: &mut Reader<'_>, warnings: &mut Vec<Warning>) {
    for (field, text) in UNHEEDED {
        spec.warn(field, text, warnings);
    }
}

/// Whether the pod itself says that it wants no service account token.
fn read_token_setting(spec: &mut Reader<'_>) -> Result<bool, GenerateError> {
    let setting = spec.flag("automountServiceAccountToken")?;
    if setting == Some(true) {
        return Err(GenerateError::refused(
            spec.at("automountServiceAccountToken"),
            "the token is a file of the host's choice",
            "set automountServiceAccountToken: false",
        ));
    }
    Ok(setting.is_some())
}

fn read_restart_policy(spec: &mut Reader<'_>) -> Result<Restart, GenerateError> {
    match spec.text("restartPolicy")? {
        None | Some("Always") => Ok(Restart::Always),
        Some("OnFailure") => Ok(Restart::OnFailure),
        Some("Never") => Ok(Restart::Never),
        Some(other) => Err(GenerateError::invalid(
            spec.at("restartPolicy"),
            Invalid::Unknown { value: other.to_owned() },
        )),
    }
}

fn read_volumes(
    spec: &mut Reader<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<BTreeMap<String, Volume>, GenerateError> {
    let mut volumes = BTreeMap::new();
    for mut reader in spec.objects("volumes")? {
        let name = reader.required_text("name")?.to_owned();
        let path = reader.path().to_owned();
        let volume = match reader.object("emptyDir")? {
            Some(mut empty_dir) => {
                let text = "not enforced; the pod's memory bounds it";
                empty_dir.warn("sizeLimit", text, warnings);
                empty_dir.ignore(&["medium"]);
                empty_dir.finish(warnings);
                reader.finish(warnings);
                Volume::EmptyDir
            }
            None => Volume::Foreign(foreign(&reader)),
        };
        if volumes.insert(name.clone(), volume).is_some() {
            return Err(GenerateError::invalid(path, Invalid::Duplicate { name }));
        }
    }
    Ok(volumes)
}

/// Why the content of a volume of this kind is not trusted.
fn foreign(volume: &Reader<'_>) -> &'static str {
    let reason = |kind: &str| FOREIGN.iter().find(|(known, _)| *known == kind).map(|(_, why)| *why);
    volume.remaining().find_map(reason).unwrap_or("the content of the volume comes from the host")
}

const FOREIGN: &[(&str, &str)] = &[
    ("configMap", "the host writes the content of a configMap volume"),
    ("secret", "the host writes the content of a secret volume"),
    ("projected", "the host writes the content of a projected volume"),
    ("downwardAPI", "the host writes the content of a downwardAPI volume"),
    ("hostPath", "a hostPath volume is a folder of the host"),
    ("persistentVolumeClaim", "the disk of a persistentVolumeClaim is the host's"),
    ("csi", "the disk of a csi volume is the host's"),
    ("ephemeral", "the disk of an ephemeral volume is the host's"),
    ("nfs", "an nfs volume is a server that nobody attested"),
];

fn read_containers(
    spec: &mut Reader<'_>,
    restart: Restart,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<ContainerSpec>, GenerateError> {
    let mut containers = Vec::new();
    for reader in spec.objects("initContainers")? {
        containers.push(ContainerSpec::read(reader, Role::Init, restart, warnings)?);
    }
    for reader in spec.objects("containers")? {
        containers.push(ContainerSpec::read(reader, Role::App, restart, warnings)?);
    }
    let mut names = BTreeSet::new();
    if let Some(twice) = containers.iter().find(|c| !names.insert(c.name.as_str())) {
        let name = twice.name.clone();
        return Err(GenerateError::invalid(twice.path.clone(), Invalid::Duplicate { name }));
    }
    if !containers.iter().any(|c| c.role == Role::App) {
        return Err(GenerateError::invalid(spec.at("containers"), Invalid::Missing));
    }
    Ok(containers)
}

/// Fields of a pod's spec that are refused: field, reason, advice.
const REFUSED: &[(&str, &str, &str)] = &[
    ("ephemeralContainers", "nothing runs that the policy does not carry", "remove the field"),
    ("hostAliases", "the guest makes /etc/hosts itself", "use DNS names"),
    ("hostIPC", "the host's IPC namespace is not the guest's", "remove hostIPC"),
    ("hostNetwork", "the pod has a network of its own", "remove hostNetwork"),
    ("hostPID", "the host's processes are not the guest's", "remove hostPID"),
    ("hostnameOverride", "the hostname is set in one place only", "use hostname"),
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
];

/// Fields of a pod's spec that change where, when or how large, never what runs in the guest. DNS
/// settings reach the guest as typed values.
const INERT: &[&str] = &[
    "activeDeadlineSeconds",
    "affinity",
    "dnsConfig",
    "dnsPolicy",
    "hostUsers",
    "nodeName",
    "nodeSelector",
    "os",
    "preemptionPolicy",
    "priority",
    "priorityClassName",
    "readinessGates",
    "resources",
    "schedulerName",
    "schedulingGates",
    "subdomain",
    "terminationGracePeriodSeconds",
    "tolerations",
    "topologySpreadConstraints",
];
