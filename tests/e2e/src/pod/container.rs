// SPDX-License-Identifier: Apache-2.0
//! One container: its YAML and the CRI message that kubelet makes of it.

use std::fs;
use std::path::Path;

use anyhow::Context;
use k8s_cri::v1::Capability;
use k8s_cri::v1::ContainerConfig;
use k8s_cri::v1::ContainerMetadata;
use k8s_cri::v1::Int64Value;
use k8s_cri::v1::LinuxContainerConfig;
use k8s_cri::v1::LinuxContainerSecurityContext;
use k8s_cri::v1::Mount;
use k8s_cri::v1::SecurityProfile;
use k8s_cri::v1::security_profile::ProfileType;
use serde::Deserialize;

use super::Pod;
use super::RestartPolicy;
use super::environment::EnvFrom;
use super::environment::EnvVar;
use super::environment::Environment;
use super::probe::Handler;
use super::probe::Probe;
use super::resources;
use super::resources::Resources;
use crate::cri;

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
    /// Must succeed before the container counts as started.
    pub startup_probe: Option<Probe>,
    /// Must succeed before the container counts as ready.
    pub readiness_probe: Option<Probe>,
    /// Must go on to succeed.
    pub liveness_probe: Option<Probe>,
    #[serde(default)]
    pub(super) ports: Vec<Port>,
    #[serde(default)]
    pub(super) env_from: Vec<EnvFrom>,
    #[serde(default)]
    pub(super) env: Vec<EnvVar>,
    #[serde(default)]
    pub(super) resources: Resources,
    pub(super) restart_policy: Option<RestartPolicy>,
    #[serde(default)]
    working_dir: String,
    #[serde(default)]
    tty: bool,
    #[serde(default)]
    stdin: bool,
    #[serde(default)]
    stdin_once: bool,
    #[serde(default)]
    security_context: SecurityContext,
    termination_message_path: Option<String>,
    #[serde(default)]
    volume_mounts: Vec<VolumeMount>,
    #[serde(default)]
    lifecycle: Lifecycle,
}

/// A port with a name that probes may use.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Port {
    #[serde(default)]
    pub(super) name: String,
    pub(super) container_port: u16,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Lifecycle {
    post_start: Option<Handler>,
    pre_stop: Option<Handler>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct VolumeMount {
    name: String,
    mount_path: String,
    #[serde(default)]
    read_only: bool,
    #[serde(default)]
    sub_path: String,
    #[serde(default)]
    sub_path_expr: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SecurityContext {
    run_as_user: Option<i64>,
    run_as_group: Option<i64>,
    #[serde(default)]
    read_only_root_filesystem: bool,
    allow_privilege_escalation: Option<bool>,
    #[serde(default)]
    capabilities: Capabilities,
    seccomp_profile: Option<SeccompProfile>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Capabilities {
    #[serde(default)]
    add: Vec<String>,
    #[serde(default)]
    drop: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct SeccompProfile {
    #[serde(rename = "type")]
    kind: String,
}

/// Who an image's process runs as, as CRI tells it.
#[derive(Debug, Clone, Default)]
pub struct ImageUser {
    /// A number in the image's `USER`.
    pub uid: Option<i64>,
    /// A name in the image's `USER`.
    pub name: String,
}

/// What kubelet knows when it creates a container.
#[derive(Debug)]
pub struct Place<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// Its uid.
    pub uid: &'a str,
    /// Its address.
    pub pod_ip: &'a str,
    /// kubelet's directory of the pod, `…/pods/<uid>`.
    pub files: &'a Path,
    /// How often the container was created before.
    pub attempt: u32,
    /// The image's user.
    pub image_user: ImageUser,
}

impl Container {
    /// Whether it is an init container that keeps running beside the others.
    #[must_use]
    pub fn is_sidecar(&self) -> bool {
        self.restart_policy == Some(RestartPolicy::Always)
    }

    /// Runs right after the start.
    #[must_use]
    pub fn post_start(&self) -> Option<&Handler> {
        self.lifecycle.post_start.as_ref()
    }

    /// Runs before the stop.
    #[must_use]
    pub fn pre_stop(&self) -> Option<&Handler> {
        self.lifecycle.pre_stop.as_ref()
    }

    /// Path of the log below the pod's log directory, as kubelet names it.
    #[must_use]
    pub fn log_path(name: &str, attempt: u32) -> String {
        format!("{name}/{attempt}.log")
    }

    /// The container's configuration.
    ///
    /// # Errors
    ///
    /// When the pod's files on the node cannot be written, or the pod asks for what [`super::check`]
    /// refuses.
    pub fn config(&self, place: &Place<'_>) -> anyhow::Result<ContainerConfig> {
        let environment = Environment::of(self, place)?;
        let args = environment.expand_all(&self.args);
        let command = environment.expand_all(&self.command);
        Ok(ContainerConfig {
            metadata: Some(ContainerMetadata { name: self.name.clone(), attempt: place.attempt }),
            image: Some(cri::image_spec(&self.image)),
            command,
            args,
            working_dir: self.working_dir.clone(),
            mounts: self.mounts(place, &environment)?,
            envs: environment.into_cri(),
            log_path: Self::log_path(&self.name, place.attempt),
            stdin: self.stdin,
            stdin_once: self.stdin_once,
            tty: self.tty,
            linux: Some(LinuxContainerConfig {
                resources: Some(resources::of_container(self)),
                security_context: Some(self.security(place)),
            }),
            ..ContainerConfig::default()
        })
    }

    /// The small files that every container gets, and the pod's volumes.
    fn mounts(&self, place: &Place<'_>, environment: &Environment) -> anyhow::Result<Vec<Mount>> {
        let own = place.files.join("containers").join(&self.name);
        fs::create_dir_all(&own).with_context(|| format!("create {}", own.display()))?;
        let hosts = place.files.join("etc-hosts");
        let text = format!("127.0.0.1\tlocalhost\n{}\t{}\n", place.pod_ip, place.pod.hostname());
        fs::write(&hosts, text).context("write the hosts file")?;
        let message = own.join(format!("{:08x}", place.attempt));
        fs::write(&message, "").context("write the termination log")?;
        let message_path = self.termination_message_path.as_deref().unwrap_or(TERMINATION_LOG);
        let mut mounts = vec![bind("/etc/hosts", &hosts), bind(message_path, &message)];
        for (index, mount) in self.volume_mounts.iter().enumerate() {
            let volume = place.pod.volume(&mount.name)?;
            let mut source = volume.folder(place)?;
            let part = match mount.sub_path_expr.as_str() {
                "" => mount.sub_path.clone(),
                expression => environment.expand(expression),
            };
            if !part.is_empty() {
                // kubelet opens the part itself and mounts it here.
                let folder = place.files.join("volume-subpaths").join(&mount.name).join(&self.name);
                source = folder.join(index.to_string());
            }
            let readonly = mount.read_only || !volume.is_empty_dir();
            mounts.push(Mount { readonly, ..bind(&mount.mount_path, &source) });
        }
        Ok(mounts)
    }

    fn security(&self, place: &Place<'_>) -> LinuxContainerSecurityContext {
        let (own, pod) = (&self.security_context, &place.pod.spec.security_context);
        let user = own.run_as_user.or(pod.run_as_user);
        let image = &place.image_user;
        let uid = match (user, image.name.as_str()) {
            (Some(uid), _) => Some(uid),
            (None, "") => Some(image.uid.unwrap_or(0)),
            (None, _) => None,
        };
        let profile = own.seccomp_profile.as_ref().or(pod.seccomp_profile.as_ref());
        let kind = match profile.map(|profile| profile.kind.as_str()) {
            Some("RuntimeDefault") => ProfileType::RuntimeDefault,
            _ => ProfileType::Unconfined,
        };
        let groups = pod.supplemental_groups.iter().copied().chain(pod.fs_group);
        LinuxContainerSecurityContext {
            run_as_user: uid.map(|value| Int64Value { value }),
            run_as_username: if uid.is_some() { String::new() } else { image.name.clone() },
            run_as_group: own.run_as_group.or(pod.run_as_group).map(|value| Int64Value { value }),
            supplemental_groups: groups.collect(),
            readonly_rootfs: own.read_only_root_filesystem,
            no_new_privs: own.allow_privilege_escalation == Some(false),
            capabilities: Some(Capability {
                add_capabilities: own.capabilities.add.clone(),
                drop_capabilities: own.capabilities.drop.clone(),
                ..Capability::default()
            }),
            seccomp: Some(SecurityProfile {
                profile_type: kind.into(),
                ..SecurityProfile::default()
            }),
            ..LinuxContainerSecurityContext::default()
        }
    }
}

fn bind(destination: &str, source: &Path) -> Mount {
    Mount {
        container_path: destination.to_owned(),
        host_path: source.display().to_string(),
        ..Mount::default()
    }
}

/// kubelet's default.
const TERMINATION_LOG: &str = "/dev/termination-log";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_groups_and_files_are_kubelets() {
        let pod = Pod::parse(
            "{metadata: {name: p}, spec: {securityContext: {runAsGroup: 7, fsGroup: 9, supplementalGroups: [8]}, \
             volumes: [{name: v, emptyDir: {}}, {name: w, emptyDir: {}}], containers: [{name: c, image: x, \
             volumeMounts: [{name: v, mountPath: /v}, {name: w, mountPath: /w, readOnly: true}]}]}}",
        )
        .unwrap();
        let files =
            std::env::temp_dir().join(format!("casemate-pod-{}/pods/u", std::process::id()));
        let config = |image_user: ImageUser| {
            let place = Place {
                pod: &pod,
                uid: "u",
                pod_ip: "10.0.0.9",
                files: &files,
                attempt: 2,
                image_user,
            };
            pod.container("c").unwrap().config(&place).unwrap()
        };
        let named = config(ImageUser { uid: None, name: "app".to_owned() });
        let security = named.linux.unwrap().security_context.unwrap();
        assert_eq!((security.run_as_user, security.run_as_username.as_str()), (None, "app"));
        assert_eq!(security.run_as_group, Some(Int64Value { value: 7 }));
        assert_eq!(security.supplemental_groups, [8, 9]);
        assert_eq!(named.log_path, "c/2.log");
        let mounts: Vec<_> =
            named.mounts.iter().map(|m| (m.container_path.as_str(), m.readonly)).collect();
        assert_eq!(
            mounts,
            [("/etc/hosts", false), ("/dev/termination-log", false), ("/v", false), ("/w", true)]
        );
        let volume = &named.mounts.last().unwrap().host_path;
        assert!(volume.ends_with("/pods/u/volumes/kubernetes.io~empty-dir/w"), "{volume}");
        assert!(Path::new(volume).is_dir());
        let root = config(ImageUser::default()).linux.unwrap().security_context.unwrap();
        assert_eq!(root.run_as_user, Some(Int64Value { value: 0 }));
        fs::remove_dir_all(files.ancestors().nth(2).unwrap()).unwrap();
    }
}
