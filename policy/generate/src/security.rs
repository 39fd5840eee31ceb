// SPDX-License-Identifier: Apache-2.0
//! Security contexts of pod and container, and what they come to together.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use casemate_policy::Capability;
use casemate_policy::ProcMount;
use casemate_policy::Seccomp;
use casemate_policy::SysctlName;

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
    pub(crate) sysctls: BTreeMap<SysctlName, String>,
}

/// The container's security context.
#[derive(Debug, Clone, Default)]
pub(crate) struct ContainerSecurity {
    pub(crate) shared: Shared,
    pub(crate) readonly_rootfs: bool,
    pub(crate) no_new_privileges: bool,
    pub(crate) capabilities: Vec<Capability>,
    pub(crate) proc_mount: ProcMount,
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
        let sysctls = read_sysctls(&mut reader)?;
        let mut groups = reader.ids("supplementalGroups")?;
        groups.extend(reader.id("fsGroup")?);
        let merge_image_groups = match reader.text("supplementalGroupsPolicy")? {
            None | Some("Merge") => true,
            Some("Strict") => false,
            Some(other) => return Err(unknown(reader.at("supplementalGroupsPolicy"), other)),
        };
        let shared = Shared::read(&mut reader, warnings)?;
        reader.ignore(&["fsGroupChangePolicy", "seLinuxChangePolicy"]);
        reader.finish_strictly()?;
        Ok(Self { shared, groups, merge_image_groups, sysctls })
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
        let proc_mount = match reader.choice("procMount", &["Default", "Unmasked"])? {
            Some("Unmasked") => {
                let text =
                    "the container sees and changes paths of /proc that are hidden elsewhere";
                warnings.push(Warning::new(reader.at("procMount"), text));
                ProcMount::Unmasked
            }
            _ => ProcMount::Default,
        };
        let changes = match reader.object("capabilities")? {
            Some(capabilities) => Changes::read(capabilities, warnings)?,
            None => Changes::default(),
        };
        let security = Self {
            readonly_rootfs: reader.flag("readOnlyRootFilesystem")?.unwrap_or(false),
            no_new_privileges: !reader.flag("allowPrivilegeEscalation")?.unwrap_or(true),
            shared: Shared::read(&mut reader, warnings)?,
            capabilities: changes.apply(),
            proc_mount,
        };
        reader.finish_strictly()?;
        Ok(security)
    }
}

impl Shared {
    fn read(reader: &mut Reader<'_>, warnings: &mut Vec<Warning>) -> Result<Self, GenerateError> {
        for field in ["seLinuxOptions", "appArmorProfile"] {
            reader.warn(field, "not enforced; the guest has no such module", warnings);
        }
        reader.warn("windowsOptions", "not used; the guest runs Linux", warnings);
        let seccomp = match reader.object("seccompProfile")? {
            None => None,
            Some(mut profile) => {
                let kind = match profile.required_text("type")? {
                    "RuntimeDefault" => Seccomp::Default,
                    "Unconfined" => {
                        let text = "system calls are not filtered: the container reaches the whole \
                                    of the guest's kernel";
                        warnings.push(Warning::new(profile.at("type"), text));
                        Seccomp::Unconfined
                    }
                    "Localhost" => {
                        return Err(GenerateError::refused(
                            profile.at("type"),
                            "the profile is a file of the host",
                            "use RuntimeDefault",
                        ));
                    }
                    other => return Err(unknown(profile.at("type"), other)),
                };
                profile.finish_strictly()?;
                Some(kind)
            }
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
    fn read(mut reader: Reader<'_>, warnings: &mut Vec<Warning>) -> Result<Self, GenerateError> {
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
            add: add.iter().map(|n| capability(&reader, "add", n)).collect::<Result<_, _>>()?,
            drop: drop.iter().map(|n| capability(&reader, "drop", n)).collect::<Result<_, _>>()?,
        };
        for added in changes.add.iter().filter(|c| POWERFUL.contains(&c.as_str())) {
            let text = format!("{} lets the container act on the whole guest", added.as_str());
            warnings.push(Warning::new(reader.at("add"), text));
        }
        reader.finish_strictly()?;
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

fn read_sysctls(reader: &mut Reader<'_>) -> Result<BTreeMap<SysctlName, String>, GenerateError> {
    let mut sysctls = BTreeMap::new();
    for mut sysctl in reader.objects("sysctls")? {
        let text = sysctl.required_text("name")?;
        let invalid = |problem| GenerateError::invalid(format!("{}.name", sysctl.path()), problem);
        let name = SysctlName::try_from(with_dots(text))
            .map_err(|_| invalid(Invalid::Sysctl { name: text.to_owned() }))?;
        let problem = Invalid::Duplicate { name: text.to_owned() };
        let value = sysctl.text("value")?.unwrap_or_default().to_owned();
        if !name.takes(&value) {
            let problem = Invalid::SysctlValue { name: text.to_owned(), value };
            return Err(GenerateError::invalid(sysctl.at("value"), problem));
        }
        if sysctls.insert(name, value).is_some() {
            return Err(GenerateError::invalid(sysctl.at("name"), problem));
        }
        sysctl.finish_strictly()?;
    }
    Ok(sysctls)
}

/// A name that is written with slashes in the form with dots, as kubelet does it: a name whose first
/// separator is a slash has its slashes and dots exchanged.
fn with_dots(name: &str) -> String {
    match name.chars().find(|c| matches!(c, '.' | '/')) {
        Some('/') => name
            .chars()
            .map(|c| match c {
                '/' => '.',
                '.' => '/',
                other => other,
            })
            .collect(),
        _ => name.to_owned(),
    }
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
