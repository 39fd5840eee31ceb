// SPDX-License-Identifier: Apache-2.0
//! One container.

mod host;

use casemate_policy::Container;
use casemate_policy::Encryption;
use casemate_policy::Figure;
use casemate_policy::Mount;
use casemate_policy::MountKind;
use casemate_policy::Policy;
use casemate_policy::ProcMount;
use casemate_policy::RlimitValue;
use casemate_policy::Role;
use casemate_policy::Seccomp;
use casemate_policy::User;

use super::pod::volume_kind;
use crate::Fact;
use crate::Topic;
use crate::fact::commas;
use crate::fact::lines;
use crate::words;

pub(crate) fn facts(policy: &Policy, name: &str, container: &Container) -> Vec<Fact> {
    let at = |field: &str| format!("containers.{name}.{field}");
    let mut facts = runs(container, &at);
    facts.extend(as_whom(container, &at));
    facts.extend(touches(policy, container, &at));
    facts.extend(host::facts(policy, name, container, &at));
    facts
}

fn runs(container: &Container, at: &dyn Fn(&str) -> String) -> Vec<Fact> {
    let image = &container.image;
    let mut facts = vec![
        Fact::new(
            Topic::Runs,
            at("image"),
            format!(
                "The image {}/{}, and of it exactly the one with the digest {}.",
                image.registry(),
                image.repository(),
                image.digest()
            ),
        )
        .value(image)
        .high(),
        Fact::new(
            Topic::Runs,
            at("encryption"),
            match container.encryption {
                Encryption::Required => {
                    "The image must be encrypted; the key comes from the key broker, after attestation."
                }
                Encryption::Optional => {
                    "The image may be plain: the registry and the host can read what is in it."
                }
            },
        )
        .value(&container.encryption)
        .reach(u64::from(container.encryption == Encryption::Optional))
        .high(),
        Fact::new(
            Topic::Runs,
            at("signature"),
            match &container.signature {
                Some(key) => format!("The image must carry a signature of the key {}.", words::quoted(key)),
                None => "No signature is asked for: the digest alone says which image it is.".to_owned(),
            },
        )
        .value(&container.signature)
        .reach(u64::from(container.signature.is_none()))
        .high()
        .unless(container.signature.is_none()),
        Fact::new(
            Topic::Runs,
            at("argv"),
            format!("The command: {}", words::command(&container.argv)),
        )
        .value(&container.argv)
        .high(),
        Fact::new(
            Topic::Runs,
            at("cwd"),
            format!("In the directory {}.", words::quoted(&container.cwd)),
        )
        .value(&container.cwd)
        .low(),
        Fact::new(
            Topic::Runs,
            at("terminal"),
            if container.terminal { "It has a terminal." } else { "It has no terminal." },
        )
        .value(&container.terminal)
        .low()
        .unless(!container.terminal),
    ];
    if container.env.is_empty() {
        facts.push(Fact::new(Topic::Runs, at("env"), "No environment variable is fixed.").none());
    }
    for (index, variable) in container.env.iter().enumerate() {
        let text = format!("{}={}", words::quoted(&variable.name), words::quoted(&variable.value));
        facts.push(
            Fact::new(Topic::Runs, at(&format!("env[{index}]")), text).value(&variable.value).item(
                lines("Environment, exactly: the host can neither change nor drop one of these"),
                &at("env"),
                &variable.name,
            ),
        );
    }
    facts
}

fn as_whom(container: &Container, at: &dyn Fn(&str) -> String) -> Vec<Fact> {
    let mut facts = vec![
        Fact::new(Topic::AsWhom, at("user"), format!("As {}.", user(&container.user)))
            .value(&container.user)
            .reach(u64::from(container.user.uid == 0))
            .high(),
    ];
    if container.capabilities.is_empty() {
        let text = "Without any Linux capability.";
        facts.push(Fact::new(Topic::AsWhom, at("capabilities"), text).none());
    }
    for (index, capability) in container.capabilities.iter().enumerate() {
        let name = capability.as_str();
        let text = match words::power(name) {
            Some(power) => format!("{name} ({power})"),
            None => name.to_owned(),
        };
        facts.push(
            Fact::new(Topic::AsWhom, at(&format!("capabilities[{index}]")), text)
                .item(commas("With the Linux capabilities"), &at("capabilities"), name)
                .high()
                .grants(),
        );
    }
    let gains = !container.no_new_privileges;
    facts.push(
        Fact::new(
            Topic::AsWhom,
            at("no_new_privileges"),
            if gains {
                "A setuid program in the image can gain more rights: it can become root of this container."
            } else {
                "No program in it can gain more rights than that (allowPrivilegeEscalation: false)."
            },
        )
        .value(&gains)
        .reach(u64::from(gains))
        .high(),
    );
    let open = container.seccomp == Seccomp::Unconfined;
    facts.push(
        Fact::new(
            Topic::AsWhom,
            at("seccomp"),
            if open {
                "System calls are not filtered (seccomp: Unconfined)."
            } else {
                "System calls are filtered by the usual profile (seccomp: RuntimeDefault)."
            },
        )
        .value(&open)
        .reach(u64::from(open))
        .high(),
    );
    let bare = container.proc_mount == ProcMount::Unmasked;
    facts.push(
        Fact::new(
            Topic::AsWhom,
            at("proc_mount"),
            if bare {
                "Nothing of /proc is masked or read-only: kernel settings of the guest lie open."
            } else {
                "The usual paths of /proc are masked or read-only."
            },
        )
        .value(&bare)
        .reach(u64::from(bare))
        .high()
        .unless(!bare),
    );
    facts
}

fn touches(policy: &Policy, container: &Container, at: &dyn Fn(&str) -> String) -> Vec<Fact> {
    let writable = !container.readonly_rootfs;
    let mut facts = vec![
        Fact::new(
            Topic::Touches,
            at("readonly_rootfs"),
            if writable {
                "Its root file system can be written; nothing of that leaves the guest or outlives it."
            } else {
                "Its root file system is read-only."
            },
        )
        .value(&writable)
        .reach(u64::from(writable)),
    ];
    for (index, mount) in container.mounts.iter().enumerate() {
        facts.push(
            Fact::new(Topic::Touches, at(&format!("mounts[{index}]")), mount_words(policy, mount))
                .value(mount)
                .reach(u64::from(!mount.readonly))
                .item(lines("It also finds, made by the guest"), &at("mounts"), &mount.destination)
                .grants(),
        );
    }
    for (index, secret) in container.secrets.iter().enumerate() {
        let text = format!(
            "{} as the file {} (mode {:04o})",
            words::quoted(&secret.resource.to_string()),
            words::quoted(&secret.path),
            secret.mode
        );
        facts.push(
            Fact::new(Topic::Touches, at(&format!("secrets[{index}]")), text)
                .value(secret)
                .item(
                    lines("Secrets of the key broker, given to this container and to no other"),
                    &at("secrets"),
                    &secret.path,
                )
                .high()
                .grants(),
        );
    }
    let resources = &container.resources;
    facts.push(limit(
        at("resources.memory"),
        &resources.memory,
        |bytes| {
            let bytes = words::bytes(bytes);
            format!("At most {bytes} of memory; beyond that the guest ends one of its processes.")
        },
        "Memory without a limit of its own: up to all that the VM has.",
    ));
    facts.push(limit(
        at("resources.cpu_millis"),
        &resources.cpu_millis,
        |millis| format!("At most {}.", words::cpus(millis)),
        "CPU without a limit of its own: up to all that the VM has.",
    ));
    let pids = match resources.pids {
        Some(pids) => {
            format!("At most {} at once.", words::count_large(pids, "process", "processes"))
        }
        None => "As many processes as the guest takes.".to_owned(),
    };
    facts.push(
        Fact::new(Topic::Touches, at("resources.pids"), pids)
            .value(&resources.pids)
            .reach(resources.pids.unwrap_or(u64::MAX))
            .low()
            .unless(resources.pids.is_none()),
    );
    for (index, rlimit) in container.rlimits.iter().enumerate() {
        let kind = format!("{:?}", rlimit.kind).to_lowercase();
        let (soft, hard) = (ceiling(rlimit.soft), ceiling(rlimit.hard));
        let text = if soft == hard {
            format!("{kind} {soft}")
        } else {
            format!("{kind} {soft} (it may raise it to {hard})")
        };
        facts.push(
            Fact::new(Topic::Touches, at(&format!("rlimits[{index}]")), text)
                .value(rlimit)
                .item(commas("Limits of each of its processes (ulimit)"), &at("rlimits"), &kind)
                .low(),
        );
    }
    facts
}

fn limit(field: String, figure: &Figure, limited: impl FnOnce(u64) -> String, open: &str) -> Fact {
    let text = figure.limit.map_or_else(|| open.to_owned(), limited);
    Fact::new(Topic::Touches, field, text)
        .value(&figure.limit)
        .reach(figure.limit.unwrap_or(u64::MAX))
        .low()
}

fn ceiling(value: RlimitValue) -> String {
    match value {
        RlimitValue::Limit(limit) => limit.to_string(),
        RlimitValue::Unlimited => "unlimited".to_owned(),
    }
}

fn mount_words(policy: &Policy, mount: &Mount) -> String {
    let destination = words::quoted(&mount.destination);
    let what = match mount.kind {
        MountKind::Hosts => "the pod's hosts file".to_owned(),
        MountKind::Hostname => "the pod's hostname".to_owned(),
        MountKind::ResolvConf => "the pod's DNS settings".to_owned(),
        MountKind::TerminationLog => "a file for its termination message".to_owned(),
        MountKind::Shm => "memory shared by the pod's containers".to_owned(),
        MountKind::Volume => {
            let name = mount.volume.as_deref().unwrap_or_default();
            let part = match &mount.sub_path {
                Some(path) => format!("{} of ", words::quoted(path)),
                None => String::new(),
            };
            let kind = policy.volumes.get(name).map(volume_kind).unwrap_or_default();
            format!("{part}the volume {name}, {kind}")
        }
    };
    let rights = if mount.readonly { "read-only" } else { "writable" };
    format!("{destination} ({rights}): {what}")
}

pub(crate) fn user(user: &User) -> String {
    let mut text =
        if user.uid == 0 { "root (user 0)".to_owned() } else { format!("user {}", user.uid) };
    text.push_str(&format!(", group {}", user.gid));
    let more: Vec<&u32> = user.groups.iter().filter(|group| **group != user.gid).collect();
    if !more.is_empty() {
        text.push_str(&format!(", also in group {}", words::all(&more)));
    }
    text
}

/// Why a container of this role is there.
pub(crate) const fn role_words(role: Role) -> &'static str {
    match role {
        Role::Init => "It is an init container: it runs to its end before others start.",
        Role::Sidecar => "It is a sidecar: it starts before others and keeps running.",
        Role::App => "It is one of the pod's app containers.",
        Role::Ephemeral => {
            "It may be added to the running pod for debugging (kubectl debug), as it stands here."
        }
    }
}
