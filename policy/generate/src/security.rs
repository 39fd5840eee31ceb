// SPDX-License-Identifier: Apache-2.0
//! Security contexts of pod and container, and what they come to together.

use std::collections::BTreeSet;

use casemate_policy::Capability;
use casemate_policy::Seccomp;

use crate::error::GenerateError;
use crate::error::Invalid;
use crate::error::Warning;
use crate::reader::Reader;

/// The pod's security context.
#[derive(Debug, Clone, Default)]
pub(crate) struct PodSecurity {
    pub(crate) shared: Shared,
    /// `fsGroup` and `supplementalGroups`.
    pub(crate) groups: Vec<u32>,
    /// Whether the image's `/etc/group` adds groups.
    pub(crate) merge_image_groups: bool,
}

/// The container's security context.
#[derive(Debug, Clone, Default)]
pub(crate) struct ContainerSecurity {
    pub(crate) shared: Shared,
    pub(crate) readonly_rootfs: bool,
    pub(crate) no_new_privileges: bool,
    pub(crate) capabilities: Vec<Capability>,
}

/// What pod and container can both say; the container's word counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shared {
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) non_root: Option<bool>,
    pub(crate) seccomp: Option<Seccomp>,
}

impl PodSecurity {
    pub(crate) fn read(
        reader: Option<Reader<'_>>,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self, GenerateError> {
        let Some(mut reader) = reader else {
            return Ok(Self { merge_image_groups: true, ..Self::default() });
        };
        reader.refuse("sysctls", "kernel settings are the guest's", "remove sysctls")?;
        let mut groups = reader.ids("supplementalGroups")?;
        groups.extend(reader.id("fsGroup")?);
        let merge_image_groups = match reader.text("supplementalGroupsPolicy")? {
            None | Some("Merge") => true,
            Some("Strict") => false,
            Some(other) => return Err(unknown(reader.at("supplementalGroupsPolicy"), other)),
        };
        let shared = Shared::read(&mut reader, warnings)?;
        reader.ignore(&["fsGroupChangePolicy", "seLinuxChangePolicy"]);
        reader.finish(warnings);
        Ok(Self { shared, groups, merge_image_groups })
    }
}

impl ContainerSecurity {
    pub(crate) fn read(
        reader: Option<Reader<'_>>,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self, GenerateError> {
        let Some(mut reader) = reader else {
            let capabilities = Changes::default().apply();
            return Ok(Self { capabilities, ..Self::default() });
        };
        reader.refuse(
            "privileged",
            "a privileged container owns the guest, its keys and its report device",
            "remove privileged and add the capabilities that are needed",
        )?;
        if reader.text("procMount")?.is_some_and(|value| value != "Default") {
            return Err(GenerateError::refused(
                reader.at("procMount"),
                "masked paths stay masked",
                "remove procMount",
            ));
        }
        let changes = match reader.object("capabilities")? {
            Some(mut capabilities) => Changes::read(&mut capabilities, warnings)?,
            None => Changes::default(),
        };
        let security = Self {
            readonly_rootfs: reader.flag("readOnlyRootFilesystem")?.unwrap_or(false),
            no_new_privileges: !reader.flag("allowPrivilegeEscalation")?.unwrap_or(true),
            shared: Shared::read(&mut reader, warnings)?,
            capabilities: changes.apply(),
        };
        reader.finish(warnings);
        Ok(security)
    }
}

impl Shared {
    fn read(reader: &mut Reader<'_>, warnings: &mut Vec<Warning>) -> Result<Self, GenerateError> {
        for field in ["seLinuxOptions", "appArmorProfile"] {
            reader.warn(field, "not enforced; the guest has no such module", warnings);
        }
        reader.ignore(&["windowsOptions"]);
        let seccomp = match reader.object("seccompProfile")? {
            None => None,
            Some(mut profile) => Some(match profile.required_text("type")? {
                "RuntimeDefault" => Seccomp::Default,
                "Unconfined" => Seccomp::Unconfined,
                "Localhost" => {
                    return Err(GenerateError::refused(
                        profile.at("type"),
                        "the profile is a file of the host",
                        "use RuntimeDefault",
                    ));
                }
                other => return Err(unknown(profile.at("type"), other)),
            }),
        };
        Ok(Self {
            uid: reader.id("runAsUser")?,
            gid: reader.id("runAsGroup")?,
            non_root: reader.flag("runAsNonRoot")?,
            seccomp,
        })
    }

    /// The container's settings, with the pod's where it has none.
    pub(crate) fn over(&self, pod: &Self) -> Self {
        Self {
            uid: self.uid.or(pod.uid),
            gid: self.gid.or(pod.gid),
            non_root: self.non_root.or(pod.non_root),
            seccomp: self.seccomp.or(pod.seccomp),
        }
    }
}

/// What a container adds to the default capabilities and drops from them.
#[derive(Debug, Default)]
struct Changes {
    drop_all: bool,
    add: BTreeSet<Capability>,
    drop: BTreeSet<Capability>,
}

impl Changes {
    fn read(reader: &mut Reader<'_>, warnings: &mut Vec<Warning>) -> Result<Self, GenerateError> {
        let add = reader.texts("add")?.unwrap_or_default();
        if add.iter().any(|name| name.eq_ignore_ascii_case("ALL")) {
            return Err(GenerateError::refused(
                reader.at("add"),
                "all capabilities own the guest, its keys and its report device",
                "name the capabilities that are needed",
            ));
        }
        let drop = reader.texts("drop")?.unwrap_or_default();
        let (all, drop): (Vec<_>, Vec<_>) =
            drop.into_iter().partition(|name| name.eq_ignore_ascii_case("ALL"));
        let changes = Self {
            drop_all: !all.is_empty(),
            add: add.iter().map(|n| capability(reader, "add", n)).collect::<Result<_, _>>()?,
            drop: drop.iter().map(|n| capability(reader, "drop", n)).collect::<Result<_, _>>()?,
        };
        for added in changes.add.iter().filter(|c| POWERFUL.contains(&c.as_str())) {
            warnings.push(Warning {
                path: reader.at("add"),
                text: format!("{} lets the container act on the whole guest", added.as_str()),
            });
        }
        Ok(changes)
    }

    /// In containerd's order: drop ALL, then what is added, then what is dropped by name. The result
    /// is sorted by name.
    fn apply(&self) -> Vec<Capability> {
        let base = DEFAULT_CAPABILITIES.iter().filter(|_| !self.drop_all);
        let base = base.filter_map(|name| Capability::try_from((*name).to_owned()).ok());
        let added: BTreeSet<_> = base.chain(self.add.iter().cloned()).collect();
        added.into_iter().filter(|c| !self.drop.contains(c)).collect()
    }
}

fn capability(reader: &Reader<'_>, field: &str, name: &str) -> Result<Capability, GenerateError> {
    let upper = name.to_ascii_uppercase();
    let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    Capability::try_from(full).map_err(|_| {
        let name = name.to_owned();
        GenerateError::invalid(reader.at(field), Invalid::Capability { name })
    })
}

fn unknown(path: String, value: &str) -> GenerateError {
    GenerateError::invalid(path, Invalid::Unknown { value: value.to_owned() })
}

/// The capabilities that containerd's CRI plugin gives, but for CAP_MKNOD: with it a container could
/// make itself the guest's report device.
const DEFAULT_CAPABILITIES: &[&str] = &[
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// Capabilities that reach beyond the container.
const POWERFUL: &[&str] = &[
    "CAP_BPF",
    "CAP_DAC_READ_SEARCH",
    "CAP_MKNOD",
    "CAP_NET_ADMIN",
    "CAP_PERFMON",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_MODULE",
    "CAP_SYS_PTRACE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_TIME",
    "CAP_SYSLOG",
];
