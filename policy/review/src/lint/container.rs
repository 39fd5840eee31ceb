// SPDX-License-Identifier: Apache-2.0
//! Weak spots of single containers.

use casemate_policy::Container;
use casemate_policy::Encryption;
use casemate_policy::EnvVar;
use casemate_policy::ProcMount;
use casemate_policy::Role;
use casemate_policy::Seccomp;
use casemate_policy::Visibility;
use casemate_policy::looks_secret;
use casemate_policy::open_shell;

use super::Spot;
use super::pattern;
use crate::Document;
use crate::words;

/// Calls back with each container and the path of a field of it.
fn each(document: &Document, mut look: impl FnMut(&Container, &dyn Fn(&str) -> String)) {
    for (name, container) in &document.policy.containers {
        look(container, &|field| format!("containers.{name}.{field}"));
    }
}

pub(super) fn wide_values(document: &Document, spots: &mut Vec<Spot>) {
    each(document, |container, at| {
        for (index, hole) in container.env_holes.iter().enumerate() {
            if pattern::is_wide(&hole.value) {
                let sentence = format!(
                    "the host may give {} any value, also one that a program takes for a path, an \
                     address or a command",
                    words::quoted(hole.name.as_str())
                );
                spots.push(Spot::new(at(&format!("env_holes[{index}].value")), sentence));
            }
        }
    });
}

pub(super) fn steering_names(document: &Document, spots: &mut Vec<Spot>) {
    each(document, |container, at| {
        for (index, hole) in container.env_holes.iter().enumerate() {
            if let Some(name) = pattern::takes(&hole.name, STEERING) {
                let sentence =
                    format!("the host may set {name}, which decides what code programs run");
                spots.push(Spot::new(at(&format!("env_holes[{index}].name")), sentence));
            }
        }
    });
}

pub(super) fn exec_shells(document: &Document, spots: &mut Vec<Spot>) {
    each(document, |container, at| {
        for (index, exec) in container.exec.iter().enumerate() {
            if let Some(shell) = open_shell(exec) {
                let sentence = format!(
                    "the host may run {shell}: whoever runs the cluster can do in the container \
                     whatever {shell} can"
                );
                spots.push(Spot::new(at(&format!("exec[{index}].argv")), sentence));
            }
        }
    });
}

pub(super) fn powerful_capabilities(document: &Document, spots: &mut Vec<Spot>) {
    each(document, |container, at| {
        for (index, capability) in container.capabilities.iter().enumerate() {
            let name = capability.as_str();
            // Those two are in the usual set of container engines.
            if let Some(power) = words::power(name)
                && !["CAP_MKNOD", "CAP_NET_RAW"].contains(&name)
            {
                let sentence = format!("{name}: the container {power}");
                spots.push(Spot::new(at(&format!("capabilities[{index}]")), sentence));
            }
        }
    });
}

pub(super) fn unfiltered(document: &Document, spots: &mut Vec<Spot>) {
    each(document, |container, at| {
        if container.seccomp == Seccomp::Unconfined {
            let sentence = "the container reaches the whole of the guest's kernel";
            spots.push(Spot::new(at("seccomp"), sentence));
        }
    });
}

pub(super) fn unmasked(document: &Document, spots: &mut Vec<Spot>) {
    each(document, |container, at| {
        if container.proc_mount == ProcMount::Unmasked {
            let sentence = "kernel settings of the guest lie open to the container";
            spots.push(Spot::new(at("proc_mount"), sentence));
        }
    });
}

pub(super) fn secret_variables(document: &Document, spots: &mut Vec<Spot>) {
    each_secret(document, |name, variable| {
        let sentence = format!(
            "{} looks like a secret, and everybody who sees the pod reads its value here",
            words::quoted(name)
        );
        spots.push(Spot::new(format!("{variable}.name"), sentence));
    });
}

/// The fields whose values look like secrets.
pub(super) fn secret_values(document: &Document) -> Vec<String> {
    let mut fields = Vec::new();
    each_secret(document, |_, variable| fields.push(format!("{variable}.value")));
    fields
}

/// Calls back with the name and the field of each variable that looks like a secret.
fn each_secret(document: &Document, mut found: impl FnMut(&str, &str)) {
    each(document, |container, at| {
        let mut look = |variables: &[EnvVar], list: &str| {
            for (index, EnvVar { name, value }) in variables.iter().enumerate() {
                if looks_secret(name) && !value.is_empty() {
                    found(name, &at(&format!("{list}[{index}]")));
                }
            }
        };
        look(&container.env, "env");
        for (index, exec) in container.exec.iter().enumerate() {
            look(&exec.env, &format!("exec[{index}].env"));
        }
    });
}

pub(super) fn writable_root(document: &Document, spots: &mut Vec<Spot>) {
    each(document, |container, at| {
        if container.user.uid == 0 && !container.readonly_rootfs {
            let sentence = "a flaw in the program lets an attacker change the program itself";
            spots.push(Spot::new(at("readonly_rootfs"), sentence));
        }
    });
}

pub(super) fn gains_rights(document: &Document, spots: &mut Vec<Spot>) {
    each(document, |container, at| {
        if !container.no_new_privileges {
            let sentence =
                "a setuid program in the image makes whoever runs it root of the container";
            spots.push(Spot::new(at("no_new_privileges"), sentence));
        }
    });
}

pub(super) fn visible_secrets(document: &Document, spots: &mut Vec<Spot>) {
    each(document, |container, at| {
        if container.secrets.is_empty() {
            return;
        }
        let ways = [
            ("logs", container.logs, "all that the container prints"),
            ("termination_message", container.termination_message, "its termination message"),
        ];
        for (field, value, what) in ways {
            if value == Visibility::HostVisible {
                let sentence = format!("the container reads secrets, and the host reads {what}");
                spots.push(Spot::new(at(field), sentence));
            }
        }
    });
}

pub(super) fn visible_figures(document: &Document, spots: &mut Vec<Spot>) {
    each(document, |container, at| {
        if !container.secrets.is_empty() && container.metrics == Visibility::HostVisible {
            let sentence = "the container reads secrets, and the host sees how it works with them";
            spots.push(Spot::new(at("metrics"), sentence));
        }
    });
}

pub(super) fn open_stdin(document: &Document, spots: &mut Vec<Spot>) {
    each(document, |container, at| {
        if container.stdin {
            let sentence = "whatever the host writes there is the container's input";
            spots.push(Spot::new(at("stdin"), sentence));
        }
    });
}

pub(super) fn exec_as_root(document: &Document, spots: &mut Vec<Spot>) {
    each(document, |container, at| {
        for (index, exec) in container.exec.iter().enumerate() {
            if container.user.uid != 0 && exec.user.as_ref().is_some_and(|user| user.uid == 0) {
                let sentence = format!(
                    "{} runs as root in a container that does not",
                    words::command(exec.argv.get(..1).unwrap_or_default())
                );
                spots.push(Spot::new(at(&format!("exec[{index}].user")), sentence));
            }
        }
    });
}

pub(super) fn plain_images(document: &Document, spots: &mut Vec<Spot>) {
    each(document, |container, at| {
        if container.encryption == Encryption::Optional {
            let sentence = "registry and host can read what is in the image";
            spots.push(Spot::new(at("encryption"), sentence));
        }
    });
}

pub(super) fn unlimited_memory(document: &Document, spots: &mut Vec<Spot>) {
    each(document, |container, at| {
        if container.resources.memory.limit.is_none() {
            let sentence = "the container can take all of the VM's memory";
            spots.push(Spot::new(at("resources.memory"), sentence));
        }
    });
}

pub(super) fn debug_containers(document: &Document, spots: &mut Vec<Spot>) {
    each(document, |container, at| {
        if container.role == Role::Ephemeral {
            let sentence = "whoever runs the cluster may add it to the running pod";
            spots.push(Spot::new(at("role"), sentence));
        }
    });
}

/// Variables by which code gets into other programs (A7).
const STEERING: &[&str] = &[
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "LD_AUDIT",
    "PATH",
    "BASH_ENV",
    "ENV",
    "IFS",
    "PS4",
    "SHELLOPTS",
    "PROMPT_COMMAND",
    "NODE_OPTIONS",
    "NODE_PATH",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PYTHONHOME",
    "PERL5OPT",
    "PERL5LIB",
    "RUBYOPT",
    "RUBYLIB",
    "JAVA_TOOL_OPTIONS",
    "_JAVA_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "CLASSPATH",
    "DOTNET_STARTUP_HOOKS",
    "PHPRC",
    "GIT_SSH_COMMAND",
    "GCONV_PATH",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "http_proxy",
    "https_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];
