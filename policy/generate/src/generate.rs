// SPDX-License-Identifier: Apache-2.0
//! From a pod and its images to policy, initdata and the pod that carries it.

use std::collections::BTreeMap;

use casemate_boot_formats::initdata::Algorithm;
use casemate_boot_formats::initdata::Initdata;
use casemate_policy::CONFIG_ENTRY;
use casemate_policy::Container;
use casemate_policy::Encryption;
use casemate_policy::Exec;
use casemate_policy::Figure;
use casemate_policy::GuestConfig;
use casemate_policy::ImageRef;
use casemate_policy::Mount;
use casemate_policy::MountKind;
use casemate_policy::POLICY_ENTRY;
use casemate_policy::Pattern;
use casemate_policy::Policy;
use casemate_policy::ProcMount;
use casemate_policy::Resources;
use casemate_policy::Restart;
use casemate_policy::Role as PolicyRole;
use casemate_policy::Sandbox;
use casemate_policy::Seccomp;
use casemate_policy::User;
use casemate_policy::Visibility;
use casemate_policy::Volume as PolicyVolume;
use serde_json::Value;

use crate::Image;
use crate::ImageName;
use crate::accounts;
use crate::container::ContainerSpec;
use crate::container::Role;
use crate::container::clean_path;
use crate::edit;
use crate::edit::Edit;
use crate::env::Environment;
use crate::error::GenerateError;
use crate::error::Invalid;
use crate::error::Warning;
use crate::expand::expand;
use crate::pod::Pod;
use crate::pod::Volume;
use crate::signal;

/// The annotation that carries the initdata into the VM.
pub const INITDATA_ANNOTATION: &str = "io.casemate.initdata";
/// The annotation by which containerd finds the snapshotter of a runtime handler at pull time.
pub const HANDLER_ANNOTATION: &str = "io.containerd.cri.runtime-handler";
/// The runtime class of pods that name none.
pub const DEFAULT_RUNTIME_CLASS: &str = "casemate";

/// What comes out for a pod.
#[derive(Debug)]
pub struct Generated {
    /// The policy.
    pub policy: Policy,
    /// The document that carries policy and guest configuration.
    pub initdata: Initdata,
    /// The pod's YAML with the annotations that carry the initdata.
    pub pod_yaml: String,
    /// What the owner should know.
    pub warnings: Vec<Warning>,
}

/// Makes the policy of a pod from the pod, its resolved images and where the guest finds its broker.
///
/// The same arguments give the same bytes.
///
/// # Errors
///
/// The first container that cannot be carried by a policy, and why.
pub fn generate(
    pod: &Pod,
    images: &BTreeMap<ImageName, Image>,
    config: &GuestConfig,
) -> Result<Generated, GenerateError> {
    let mut warnings = pod.warnings.clone();
    if pod.service_links {
        warnings.push(Warning {
            path: "spec.enableServiceLinks".to_owned(),
            text:
                "the host may set the variables of services; set it to false if the pod does not \
                   read them"
                    .to_owned(),
        });
    }
    let mut containers = BTreeMap::new();
    let mut last_init: Option<&str> = None;
    let mut sidecars: Vec<String> = Vec::new();
    for spec in &pod.containers {
        let image = images.get(&spec.image).ok_or_else(|| GenerateError::ImageUnresolved {
            path: format!("{}.image", spec.path),
            name: spec.image.to_string(),
        })?;
        let mut container = Builder { pod, spec, image }.build(&mut warnings)?;
        container.after = last_init.iter().map(|name| (*name).to_owned()).collect();
        container.after_started.clone_from(&sidecars);
        match spec.role {
            Role::Init => last_init = Some(&spec.name),
            Role::Sidecar => sidecars.push(spec.name.clone()),
            Role::App => {}
        }
        containers.insert(spec.name.clone(), container);
    }
    let hostname = pod.hostname.as_deref().map(Pattern::literal).transpose();
    let hostname = hostname.map_err(|_| {
        let value = pod.hostname.clone().unwrap_or_default();
        GenerateError::invalid("spec.hostname", Invalid::Unknown { value })
    })?;
    let sandbox = Sandbox { hostname, ..Sandbox::default() };
    let mounted = containers.values().flat_map(|container| &container.mounts);
    let volumes = mounted
        .filter_map(|mount| mount.volume.clone())
        .map(|name| (name, PolicyVolume::EmptyDir { size_limit: None }))
        .collect();
    let policy = Policy { version: Policy::VERSION, sandbox, volumes, containers };
    policy.validate().map_err(|source| GenerateError::Policy { source })?;
    config.validate().map_err(|source| GenerateError::Policy { source })?;

    let entries = [(POLICY_ENTRY, policy.to_toml()), (CONFIG_ENTRY, config.to_toml())];
    let initdata = Initdata::build(Algorithm::Sha256, entries)
        .map_err(|source| GenerateError::Initdata { source })?;
    let pod_yaml = annotate(pod, &initdata, &mut warnings)?;
    Ok(Generated { policy, initdata, pod_yaml, warnings })
}

fn annotate(
    pod: &Pod,
    initdata: &Initdata,
    warnings: &mut Vec<Warning>,
) -> Result<String, GenerateError> {
    let annotation =
        initdata.to_annotation().map_err(|source| GenerateError::Initdata { source })?;
    let class = pod.runtime_class.as_deref().unwrap_or(DEFAULT_RUNTIME_CLASS);
    let text = |text: &str| Value::String(text.to_owned());
    let mut edits = vec![
        Edit { path: &["metadata", "annotations"], key: HANDLER_ANNOTATION, value: text(class) },
        Edit {
            path: &["metadata", "annotations"],
            key: INITDATA_ANNOTATION,
            value: text(&annotation),
        },
    ];
    let mut added = |key: &'static str, value: Value, why: &str| {
        warnings
            .push(Warning { path: format!("spec.{key}"), text: format!("set to {value}: {why}") });
        edits.push(Edit { path: &["spec"], key, value });
    };
    if !pod.token_is_off {
        let why = "a service account token would come from the host";
        added("automountServiceAccountToken", Value::Bool(false), why);
    }
    if pod.runtime_class.is_none() {
        let why = "without it the node's default runtime would run the pod";
        added("runtimeClassName", text(class), why);
    }
    edit::apply(&pod.text, &pod.document, &edits)
}

/// What the container is in the pod, and whether another one may follow it. An init container is never
/// run again once it has ended well.
fn role(spec: &ContainerSpec) -> (PolicyRole, Restart) {
    match (spec.role, spec.restart) {
        (Role::Init, Restart::Always) => (PolicyRole::Init, Restart::OnFailure),
        (Role::Init, restart) => (PolicyRole::Init, restart),
        (Role::Sidecar, _) => (PolicyRole::Sidecar, Restart::Always),
        (Role::App, restart) => (PolicyRole::App, restart),
    }
}

/// Makes one container of the policy.
struct Builder<'a> {
    pod: &'a Pod,
    spec: &'a ContainerSpec,
    image: &'a Image,
}

impl Builder<'_> {
    fn build(&self, warnings: &mut Vec<Warning>) -> Result<Container, GenerateError> {
        let (spec, image) = (self.spec, self.image);
        let name = &spec.image;
        let image_ref = ImageRef::new(&name.registry, &name.repository, &image.digest);
        let environment =
            Environment::build(self.pod, &image.config.env, &spec.env, spec.terminal)?;
        let (env, env_holes) = environment.into_policy(self.pod.service_links)?;
        let shared = spec.security.shared.over(&self.pod.security.shared);
        let (role, restart) = role(spec);
        Ok(Container {
            role,
            signature: None,
            image: image_ref.map_err(|_| {
                let name = format!("{name}@{}", image.digest);
                GenerateError::invalid(self.at("image"), Invalid::ImageName { name })
            })?,
            encryption: if image.encrypted { Encryption::Required } else { Encryption::Optional },
            argv: self.argv()?,
            cwd: self.cwd(),
            user: self.user(warnings)?,
            env,
            env_holes,
            terminal: spec.terminal,
            stdin: spec.stdin,
            logs: Visibility::HostVisible,
            metrics: Visibility::HostVisible,
            termination_message: Visibility::HostVisible,
            readonly_rootfs: spec.security.readonly_rootfs,
            mounts: self.mounts()?,
            secrets: Vec::new(),
            capabilities: spec.security.capabilities.clone(),
            no_new_privileges: spec.security.no_new_privileges,
            seccomp: shared.seccomp.unwrap_or(Seccomp::Default),
            proc_mount: ProcMount::Default,
            rlimits: Vec::new(),
            resources: Resources {
                memory: spec.memory_limit.map(Figure::fixed).unwrap_or_default(),
                ..Resources::default()
            },
            exec: self.exec()?,
            signals: self.signals()?,
            restart,
            max_starts: None,
            after: Vec::new(),
            after_started: Vec::new(),
        })
    }

    /// As containerd's `WithProcessArgs`: a command of the pod replaces entry point *and* arguments of
    /// the image, arguments of the pod replace the image's arguments.
    fn argv(&self) -> Result<Vec<String>, GenerateError> {
        let declared = Environment::declared(self.pod, &self.spec.env)?;
        let path = self.at("command");
        let lookup = declared.lookup(&path);
        let expanded = |texts: &[String]| -> Result<Vec<String>, GenerateError> {
            texts.iter().map(|text| expand(text, &lookup)).collect()
        };
        let config = &self.image.config;
        let (mut argv, mut args) = (expanded(&self.spec.command)?, expanded(&self.spec.args)?);
        if argv.is_empty() {
            if args.is_empty() {
                args.clone_from(&config.cmd);
            }
            if config.entrypoint.as_slice() != [""] {
                argv.clone_from(&config.entrypoint);
            }
        }
        argv.append(&mut args);
        if argv.is_empty() {
            return Err(GenerateError::invalid(self.at("command"), Invalid::NoCommand));
        }
        Ok(argv)
    }

    fn cwd(&self) -> String {
        let wanted = match self.spec.working_dir.as_str() {
            "" => self.image.config.working_dir.as_str(),
            cwd => cwd,
        };
        if wanted.is_empty() { "/".to_owned() } else { clean_path(wanted) }
    }

    fn user(&self, warnings: &mut Vec<Warning>) -> Result<User, GenerateError> {
        let shared = self.spec.security.shared.over(&self.pod.security.shared);
        let wanted = accounts::Wanted {
            uid: shared.uid,
            gid: shared.gid,
            image_user: &self.image.config.user,
            groups: &self.pod.security.groups,
            merge_image_groups: self.pod.security.merge_image_groups,
        };
        let user = accounts::resolve(&wanted, self.image.users.as_deref())
            .map_err(|source| GenerateError::Account { path: self.at("image"), source })?;
        if shared.non_root == Some(true) && user.uid == 0 {
            return Err(GenerateError::invalid(self.at("securityContext"), Invalid::Root));
        }
        if self.image.users.is_none() {
            warnings.push(Warning {
                path: self.at("image"),
                text: format!(
                    "the image's users cannot be read here; the container runs as {}:{} without the \
                     groups that the image may give",
                    user.uid, user.gid
                ),
            });
        }
        Ok(user)
    }

    /// What kubelet and containerd always mount, then the pod's volumes, sorted by destination.
    fn mounts(&self) -> Result<Vec<Mount>, GenerateError> {
        let readonly = self.spec.security.readonly_rootfs;
        let standard = |destination: &str, kind, readonly| Mount {
            destination: destination.to_owned(),
            kind,
            readonly,
            volume: None,
            sub_path: None,
        };
        let mut mounts = vec![
            standard("/dev/shm", MountKind::Shm, false),
            standard(&self.spec.termination_path, MountKind::TerminationLog, false),
            standard("/etc/hostname", MountKind::Hostname, readonly),
            standard("/etc/hosts", MountKind::Hosts, readonly),
            standard("/etc/resolv.conf", MountKind::ResolvConf, readonly),
        ];
        for mount in &self.spec.mounts {
            match self.pod.volumes.get(&mount.volume) {
                Some(Volume::EmptyDir) => mounts.push(Mount {
                    destination: mount.destination.clone(),
                    kind: MountKind::Volume,
                    readonly: mount.readonly,
                    volume: Some(mount.volume.clone()),
                    sub_path: None,
                }),
                Some(Volume::Foreign(reason)) => {
                    return Err(GenerateError::refused(
                        mount.path.clone(),
                        reason,
                        "use an emptyDir volume, put the files into the image, or fetch secrets \
                         from the key broker",
                    ));
                }
                None => {
                    let value = mount.volume.clone();
                    return Err(GenerateError::invalid(
                        mount.path.clone(),
                        Invalid::Unknown { value },
                    ));
                }
            }
        }
        let covered = |path: &str| mounts.iter().any(|m| m.destination == clean_path(path));
        if !self.image.config.volumes.iter().all(|volume| covered(volume)) {
            return Err(GenerateError::refused(
                self.at("image"),
                "the image declares a VOLUME, for which the host would make a directory",
                "mount an emptyDir volume at that path",
            ));
        }
        mounts.sort_by(|a, b| a.destination.cmp(&b.destination));
        Ok(mounts)
    }

    /// Probes, then hooks, then the pod's own list; each command once.
    fn exec(&self) -> Result<Vec<Exec>, GenerateError> {
        let plain = Environment::plain(&self.spec.env);
        let path = self.at("livenessProbe");
        let lookup = plain.lookup(&path);
        let silent = |argv| Exec { argv, ..Exec::default() };
        let mut list = Vec::new();
        for probe in &self.spec.probes {
            let argv: Result<_, _> = probe.iter().map(|text| expand(text, &lookup)).collect();
            list.push(silent(argv?));
        }
        list.extend(self.spec.hooks.iter().cloned().map(silent));
        list.extend(self.pod.exec.of(&self.spec.name));
        let mut unique: Vec<Exec> = Vec::new();
        for exec in list {
            match unique.iter_mut().find(|known| known.argv == exec.argv) {
                Some(known) => {
                    known.terminal |= exec.terminal;
                    known.stdin |= exec.stdin;
                }
                None => unique.push(exec),
            }
        }
        Ok(unique)
    }

    /// The stop signal of pod or image, and SIGKILL.
    fn signals(&self) -> Result<Vec<u32>, GenerateError> {
        let stop = match (self.spec.stop_signal, self.image.config.stop_signal.as_deref()) {
            (Some(stop), _) => stop,
            (None, None | Some("")) => signal::TERM,
            (None, Some(name)) => signal::number(name).ok_or_else(|| {
                let name = name.to_owned();
                GenerateError::invalid(self.at("image"), Invalid::Signal { name })
            })?,
        };
        let mut signals = vec![signal::KILL, stop];
        signals.sort_unstable();
        signals.dedup();
        Ok(signals)
    }

    fn at(&self, field: &str) -> String {
        format!("{}.{field}", self.spec.path)
    }
}
