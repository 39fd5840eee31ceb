// SPDX-License-Identifier: Apache-2.0
//! From a pod's YAML to CRI messages, as kubelet makes them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context;
use k8s_cri::v1::Capability;
use k8s_cri::v1::ContainerConfig;
use k8s_cri::v1::ContainerMetadata;
use k8s_cri::v1::DnsConfig;
use k8s_cri::v1::Int64Value;
use k8s_cri::v1::KeyValue;
use k8s_cri::v1::LinuxContainerConfig;
use k8s_cri::v1::LinuxContainerSecurityContext;
use k8s_cri::v1::LinuxPodSandboxConfig;
use k8s_cri::v1::Mount;
use k8s_cri::v1::PodSandboxConfig;
use k8s_cri::v1::PodSandboxMetadata;
use serde::Deserialize;

use crate::cri;

/// A pod, as far as this client acts on it. Other fields are for others: they are ignored here.
#[derive(Debug, Clone, Deserialize)]
pub struct Pod {
    /// Name, namespace, annotations.
    pub metadata: Metadata,
    /// Containers.
    pub spec: Spec,
}

/// A pod's metadata.
#[derive(Debug, Clone, Deserialize)]
pub struct Metadata {
    /// Name.
    pub name: String,
    /// Namespace.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// Annotations.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// A pod's specification.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// Containers in their order.
    pub containers: Vec<Container>,
    /// The runtime class, which names the runtime handler here.
    pub runtime_class_name: Option<String>,
}

/// A container of the pod.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// Name.
    pub name: String,
    /// Image as the YAML names it.
    pub image: String,
    /// Entry point, if it replaces the image's.
    #[serde(default)]
    pub command: Vec<String>,
    /// Arguments, if they replace the image's.
    #[serde(default)]
    pub args: Vec<String>,
    /// Environment beside the image's.
    #[serde(default)]
    pub env: Vec<EnvVar>,
    /// Working directory.
    #[serde(default)]
    pub working_dir: String,
    /// Terminal.
    #[serde(default)]
    pub tty: bool,
    /// Stdin.
    #[serde(default)]
    pub stdin: bool,
    /// Security context.
    #[serde(default)]
    pub security_context: SecurityContext,
    /// Where the termination message is read.
    pub termination_message_path: Option<String>,
}

/// An environment variable with a plain value.
#[derive(Debug, Clone, Deserialize)]
pub struct EnvVar {
    /// Name.
    pub name: String,
    /// Value.
    #[serde(default)]
    pub value: String,
}

/// A container's security context.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecurityContext {
    run_as_user: Option<i64>,
    run_as_group: Option<i64>,
    #[serde(default)]
    read_only_root_filesystem: bool,
    allow_privilege_escalation: Option<bool>,
    #[serde(default)]
    capabilities: Capabilities,
}

/// Capabilities added and dropped.
#[derive(Debug, Clone, Default, Deserialize)]
struct Capabilities {
    #[serde(default)]
    add: Vec<String>,
    #[serde(default)]
    drop: Vec<String>,
}

impl Pod {
    /// Reads a pod from a YAML file.
    ///
    /// # Errors
    ///
    /// When it cannot be read or is no pod.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    /// Reads a pod from YAML.
    ///
    /// # Errors
    ///
    /// When it is no pod.
    pub fn parse(yaml: &str) -> anyhow::Result<Self> {
        serde_saphyr::from_str(yaml).context("parse the pod's YAML")
    }

    /// The runtime handler that the pod's RuntimeClass stands for.
    #[must_use]
    pub fn handler(&self) -> &str {
        self.spec.runtime_class_name.as_deref().unwrap_or("casemate")
    }

    /// The sandbox's configuration. `uid` is new for each start of the pod.
    #[must_use]
    pub fn sandbox(&self, uid: &str, cgroup_parent: &str, logs: &Path) -> PodSandboxConfig {
        PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: self.metadata.name.clone(),
                uid: uid.to_owned(),
                namespace: self.metadata.namespace.clone(),
                attempt: 0,
            }),
            hostname: self.metadata.name.clone(),
            log_directory: logs.join(uid).display().to_string(),
            dns_config: Some(DnsConfig::default()),
            annotations: self.metadata.annotations.clone().into_iter().collect(),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: format!("{cgroup_parent}/pod{uid}"),
                ..LinuxPodSandboxConfig::default()
            }),
            ..PodSandboxConfig::default()
        }
    }
}

impl Container {
    /// The container's configuration; `files` is where kubelet would keep the pod's files.
    ///
    /// # Errors
    ///
    /// When the files cannot be written.
    pub fn config(&self, files: &Path) -> anyhow::Result<ContainerConfig> {
        fs::create_dir_all(files).with_context(|| format!("create {}", files.display()))?;
        let hosts = files.join("etc-hosts");
        fs::write(&hosts, "127.0.0.1\tlocalhost\n").context("write the hosts file")?;
        let message = files.join(format!("{}-termination-log", self.name));
        fs::write(&message, "").context("write the termination log")?;
        let mounts = vec![
            bind("/etc/hosts", &hosts),
            bind(self.termination_message_path.as_deref().unwrap_or(TERMINATION_LOG), &message),
        ];
        let security = &self.security_context;
        Ok(ContainerConfig {
            metadata: Some(ContainerMetadata { name: self.name.clone(), attempt: 0 }),
            image: Some(cri::image_spec(&self.image)),
            command: self.command.clone(),
            args: self.args.clone(),
            working_dir: self.working_dir.clone(),
            envs: self
                .env
                .iter()
                .map(|v| KeyValue { key: v.name.clone(), value: v.value.clone() })
                .collect(),
            mounts,
            log_path: format!("{}.log", self.name),
            stdin: self.stdin,
            tty: self.tty,
            linux: Some(LinuxContainerConfig {
                security_context: Some(LinuxContainerSecurityContext {
                    run_as_user: security.run_as_user.map(|value| Int64Value { value }),
                    run_as_group: security.run_as_group.map(|value| Int64Value { value }),
                    readonly_rootfs: security.read_only_root_filesystem,
                    no_new_privs: security.allow_privilege_escalation == Some(false),
                    capabilities: Some(Capability {
                        add_capabilities: security.capabilities.add.clone(),
                        drop_capabilities: security.capabilities.drop.clone(),
                        ..Capability::default()
                    }),
                    ..LinuxContainerSecurityContext::default()
                }),
                ..LinuxContainerConfig::default()
            }),
            ..ContainerConfig::default()
        })
    }
}

fn bind(destination: &str, source: &Path) -> Mount {
    Mount {
        container_path: destination.to_owned(),
        host_path: source.display().to_string(),
        ..Mount::default()
    }
}

fn default_namespace() -> String {
    "default".to_owned()
}

/// kubelet's default.
const TERMINATION_LOG: &str = "/dev/termination-log";
