// SPDX-License-Identifier: Apache-2.0
//! One container of the policy.

use std::collections::BTreeMap;

use casemate_policy::Container;
use casemate_policy::Encryption;
use casemate_policy::Exec;
use casemate_policy::ImageRef;
use casemate_policy::Mount;
use casemate_policy::MountKind;
use casemate_policy::Purpose;
use casemate_policy::Seccomp;
use casemate_policy::SecretFile;
use casemate_policy::User;
use casemate_policy::Visibility;
use casemate_policy::looks_secret;

use crate::Image;
use crate::ImageConfig;
use crate::accounts;
use crate::accounts::Wanted;
use crate::container::ContainerSpec;
use crate::container::SubPath;
use crate::container::VolumeMount;
use crate::container::clean_path;
use crate::env::Environment;
use crate::env_source::EnvSource;
use crate::error::GenerateError;
use crate::error::Invalid;
use crate::error::Warning;
use crate::expand::Lookup;
use crate::expand::expand;
use crate::options::Options;
use crate::pod::PodSpec;
use crate::secrets;
use crate::signal;
use crate::volume::Content;

/// Makes one container of the policy.
pub(crate) struct Builder<'a> {
    pub(crate) pod: &'a PodSpec,
    pub(crate) spec: &'a ContainerSpec,
    pub(crate) image: &'a Image,
    pub(crate) options: &'a Options,
}

impl ContainerSpec {
    /// What pod and image say of the container's user.
    pub(crate) fn wanted<'a>(&self, pod: &'a PodSpec, image: &'a ImageConfig) -> Wanted<'a> {
        let shared = self.security.shared.over(&pod.security.shared);
        Wanted {
            uid: shared.uid,
            gid: shared.gid,
            image_user: &image.user,
            groups: &pod.security.groups,
            merge_image_groups: pod.security.merge_image_groups,
        }
    }
}

impl Builder<'_> {
    pub(crate) fn build(&self, warnings: &mut Vec<Warning>) -> Result<Container, GenerateError> {
        let (pod, spec, image) = (self.pod, self.spec, self.image);
        let name = &spec.image;
        let image_ref = ImageRef::new(&name.registry, &name.repository, &image.digest);
        let declared = Environment::declared(pod, &spec.env)?;
        self.warn_of_secrets(warnings);
        let argv = self.argv(&declared)?;
        let mounts = self.mounts(&declared)?;
        let environment = declared.with_image(pod, &image.config.env, spec.terminal);
        let (env, env_holes) = environment.into_policy(pod.service_links, &spec.path)?;
        let shared = spec.security.shared.over(&pod.security.shared);
        Ok(Container {
            role: spec.role,
            image: image_ref.map_err(|_| {
                let name = format!("{name}@{}", image.digest);
                GenerateError::invalid(self.at("image"), Invalid::ImageName { name })
            })?,
            signature: self.options.signature(name).map(str::to_owned),
            encryption: if image.encrypted { Encryption::Required } else { Encryption::Optional },
            argv,
            cwd: self.cwd(),
            user: self.user(warnings)?,
            env,
            env_holes,
            terminal: spec.terminal,
            stdin: spec.stdin,
            // What kubectl shows of every pod: logs, top, describe.
            logs: Visibility::HostVisible,
            metrics: Visibility::HostVisible,
            termination_message: Visibility::HostVisible,
            readonly_rootfs: spec.security.readonly_rootfs,
            mounts,
            secrets: self.secrets(),
            capabilities: spec.security.capabilities.clone(),
            no_new_privileges: spec.security.no_new_privileges,
            seccomp: shared.seccomp.unwrap_or(Seccomp::Default),
            proc_mount: spec.security.proc_mount,
            rlimits: Vec::new(),
            resources: spec.resources.to_policy(),
            exec: self.exec()?,
            signals: self.signals()?,
            restart: spec.restart,
            max_starts: None,
            after: Vec::new(),
            after_started: Vec::new(),
        })
    }

    fn warn_of_secrets(&self, warnings: &mut Vec<Warning>) {
        for variable in &self.spec.env {
            let value = match &variable.source {
                EnvSource::Plain(text) | EnvSource::Literal(text) | EnvSource::Maybe(text) => text,
                EnvSource::Absent | EnvSource::Field(_) | EnvSource::Resource(_) => continue,
            };
            if looks_secret(&variable.name) && !value.is_empty() {
                let text = format!(
                    "{} looks like a secret, and the host reads its value here and in the policy; \
                     store it in the key broker and fetch it with --secret",
                    variable.name
                );
                warnings.push(Warning::new(variable.path.clone(), text));
            }
        }
    }

    /// As containerd's `WithProcessArgs`: a command of the pod replaces entry point *and* arguments of
    /// the image, arguments of the pod replace the image's arguments.
    fn argv(&self, declared: &Environment) -> Result<Vec<String>, GenerateError> {
        let expanded = |field: &str, texts: &[String]| -> Result<Vec<String>, GenerateError> {
            let at = |index: usize| format!("{}[{index}]", self.at(field));
            let expand_one = |(index, text): (usize, &String)| {
                let path = at(index);
                let lookup = declared.lookup(&path, self.pod.service_links);
                expand(text, &lookup)
            };
            texts.iter().enumerate().map(expand_one).collect()
        };
        let config = &self.image.config;
        let mut argv = expanded("command", &self.spec.command)?;
        let mut args = expanded("args", &self.spec.args)?;
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
        let wanted = self.spec.wanted(self.pod, &self.image.config);
        let user = accounts::resolve(&wanted, self.image.users.as_deref())
            .map_err(|source| GenerateError::Account { path: self.at("image"), source })?;
        if shared.non_root == Some(true) && user.uid == 0 {
            return Err(GenerateError::invalid(self.at("securityContext"), Invalid::Root));
        }
        if self.image.users.is_none() && wanted.needs_image() {
            let text = format!(
                "the image's users cannot be read here; the container runs as {}:{} without the \
                 groups that the image may give",
                user.uid, user.gid
            );
            warnings.push(Warning::new(self.at("image"), text));
        }
        Ok(user)
    }

    /// What kubelet and containerd always mount, but where the pod mounts something itself, then the
    /// pod's volumes; sorted by destination.
    fn mounts(&self, declared: &Environment) -> Result<Vec<Mount>, GenerateError> {
        let readonly = self.spec.security.readonly_rootfs;
        let mut mounts = Vec::new();
        for mount in &self.spec.mounts {
            mounts.push(self.volume_mount(mount, declared)?);
        }
        let covered = |mounts: &[Mount], path: &str| {
            let path = clean_path(path);
            mounts.iter().any(|mount| mount.destination == path)
        };
        for (destination, kind, readonly) in [
            ("/dev/shm", MountKind::Shm, false),
            (self.spec.termination_path.as_str(), MountKind::TerminationLog, false),
            ("/etc/hostname", MountKind::Hostname, readonly),
            ("/etc/hosts", MountKind::Hosts, readonly),
            ("/etc/resolv.conf", MountKind::ResolvConf, readonly),
        ] {
            if !covered(&mounts, destination) {
                let destination = destination.to_owned();
                mounts.push(Mount { destination, kind, readonly, volume: None, sub_path: None });
            }
        }
        let mut volumes = self.image.config.volumes.iter();
        if let Some(volume) = volumes.find(|volume| !covered(&mounts, volume)) {
            return Err(GenerateError::refused(
                self.at("image"),
                format!(
                    "the image declares the VOLUME {volume}, for which the host would make a directory"
                ),
                "mount an emptyDir volume at that path",
            ));
        }
        mounts.sort_by(|a, b| a.destination.cmp(&b.destination));
        Ok(mounts)
    }

    fn volume_mount(
        &self,
        mount: &VolumeMount,
        declared: &Environment,
    ) -> Result<Mount, GenerateError> {
        if mount.destination == "/dev/shm" {
            return Err(GenerateError::refused(
                format!("{}.mountPath", mount.path),
                "every container has /dev/shm, shared by the pod and in the guest's memory",
                "remove the mount",
            ));
        }
        let volume = self.pod.volumes.get(&mount.volume).ok_or_else(|| {
            let problem = Invalid::Volume { name: mount.volume.clone() };
            GenerateError::invalid(mount.path.clone(), problem)
        })?;
        let content = match &volume.content {
            Content::Known(content) => content,
            Content::Refused { reason, advice } => {
                return Err(GenerateError::refused(
                    mount.path.clone(),
                    reason.clone(),
                    advice.clone(),
                ));
            }
            Content::Secret { name } => {
                return Err(secrets::refuse(&mount.path, &self.spec.name, name, None));
            }
        };
        let sub_path = match &mount.sub_path {
            None => None,
            Some(SubPath::Plain(text)) => Some(text.clone()),
            Some(SubPath::Expression(text)) => {
                let path = format!("{}.subPathExpr", mount.path);
                let lookup = declared.lookup(&path, self.pod.service_links);
                // kubelet demands a value for each name.
                let lookup = |name: &str| match lookup(name) {
                    Lookup::Known("") | Lookup::Unknown => Lookup::Hole(&path),
                    known => known,
                };
                Some(expand(text, &lookup)?)
            }
        };
        Ok(Mount {
            destination: mount.destination.clone(),
            kind: MountKind::Volume,
            // kubelet mounts what it wrote itself read-only.
            readonly: mount.readonly || content.takes_content(),
            volume: Some(mount.volume.clone()),
            sub_path: sub_path.map(|path| path.trim_end_matches('/').to_owned()),
        })
    }

    /// The annotation's, then the options'.
    fn secrets(&self) -> Vec<SecretFile> {
        let name = &self.spec.name;
        let annotated = self.pod.secrets.get(name).into_iter().flatten();
        let given = self.options.secrets.iter().filter(|s| s.container == *name);
        annotated.chain(given.map(|given| &given.secret)).cloned().collect()
    }

    /// Probes, then hooks, then the pod's own list; each command once.
    fn exec(&self) -> Result<Vec<Exec>, GenerateError> {
        let plain = Environment::of_probes(&self.spec.env);
        let lookup =
            |name: &str| plain.get(name).map_or(Lookup::Unknown, |text| Lookup::Known(text));
        let mut list = Vec::new();
        for handler in &self.spec.handlers {
            let argv = match handler.purpose {
                // kubelet hands the commands of hooks on as they stand.
                Purpose::PostStart | Purpose::PreStop => handler.command.clone(),
                _ => handler
                    .command
                    .iter()
                    .map(|text| expand(text, &lookup))
                    .collect::<Result<_, _>>()?,
            };
            if argv.first().is_none_or(String::is_empty) {
                return Err(GenerateError::invalid(handler.path.clone(), Invalid::NoProgram));
            }
            list.push(Exec { argv, purpose: handler.purpose, ..Exec::default() });
        }
        list.extend(self.pod.exec.of(&self.spec.name));
        let mut unique: BTreeMap<Vec<String>, usize> = BTreeMap::new();
        let mut merged: Vec<Exec> = Vec::new();
        for exec in list {
            match unique.get(&exec.argv).and_then(|index| merged.get_mut(*index)) {
                Some(known) => {
                    known.terminal |= exec.terminal;
                    known.stdin |= exec.stdin;
                }
                None => {
                    unique.insert(exec.argv.clone(), merged.len());
                    merged.push(exec);
                }
            }
        }
        Ok(merged)
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
