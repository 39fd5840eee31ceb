// SPDX-License-Identifier: Apache-2.0
//! What may become of each call and of each field that the host can set.
//!
//! A18: the tables are complete by a test that walks the service's descriptor, so a new call or
//! field without a class does not pass.

/// Who decides about a value of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Nobody: refused in code under any policy.
    Never,
    /// The policy holds the value, or the state says which values there are: another one is denied.
    Policy,
    /// The host fills it in, within what the policy's hole and the code's own rules allow.
    Hole,
    /// It changes nothing that counts, for this reason.
    Inert(&'static str),
}

/// A call of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// Name in the proto file.
    pub name: &'static str,
    /// Who decides whether it is carried out.
    pub class: Class,
    /// Each leaf of its request by its path, for example `mounts.destination`.
    pub leaves: &'static [(&'static str, Class)],
}

/// The class of a call: one that does not exist is never carried out.
#[must_use]
pub fn class_of(name: &str) -> Class {
    call(name).map_or(Class::Never, |call| call.class)
}

/// The call of this name.
#[must_use]
pub fn call(name: &str) -> Option<&'static Call> {
    CALLS.iter().find(|call| call.name == name)
}

impl Call {
    /// The class of a leaf by its path.
    #[must_use]
    pub fn leaf(&self, path: &str) -> Option<Class> {
        self.leaves.iter().find(|(leaf, _)| *leaf == path).map(|(_, class)| *class)
    }
}

/// Every call of the service, in the proto file's order.
pub const CALLS: &[Call] = &[
    Call { name: "Hello", class: Class::Inert("tells versions and times"), leaves: &[] },
    Call {
        name: "SetNetwork",
        class: Class::Policy,
        leaves: &[
            ("interfaces.name", Class::Hole),
            ("interfaces.mac", Class::Hole),
            ("interfaces.mtu", Class::Hole),
            ("interfaces.addresses", Class::Hole),
            ("routes.destination", Class::Hole),
            ("routes.gateway", Class::Hole),
            ("routes.interface", Class::Hole),
            ("routes.source", Class::Hole),
            ("dns_servers", Class::Hole),
            ("dns_searches", Class::Hole),
            ("dns_options", Class::Hole),
            ("hostname", Class::Hole),
        ],
    },
    Call {
        name: "AwaitReady",
        class: Class::Inert("tells the phase, and why the guest failed"),
        leaves: &[("timeout_ms", PATIENCE)],
    },
    Call {
        name: "CreateContainer",
        class: Class::Policy,
        leaves: &[
            ("id", Class::Hole),
            ("name", Class::Policy),
            ("image_digest", Class::Policy),
            ("argv", Class::Policy),
            ("env", Class::Policy),
            ("cwd", Class::Policy),
            ("terminal", Class::Policy),
            ("stdin", Class::Policy),
            ("stdout", OUTPUT),
            ("stderr", OUTPUT),
            ("mounts.destination", Class::Policy),
            ("mounts.kind", Class::Policy),
            ("mounts.readonly", Class::Policy),
            ("readonly_rootfs", Class::Policy),
            ("terminal_width", SIZE),
            ("terminal_height", SIZE),
        ],
    },
    Call {
        name: "ExecProcess",
        class: Class::Policy,
        leaves: &[
            ("container_id", Class::Policy),
            ("exec_id", Class::Hole),
            ("argv", Class::Policy),
            ("env", Class::Policy),
            ("cwd", Class::Policy),
            ("terminal", Class::Policy),
            ("stdin", Class::Policy),
            ("stdout", OUTPUT),
            ("stderr", OUTPUT),
            ("terminal_width", SIZE),
            ("terminal_height", SIZE),
        ],
    },
    Call { name: "Start", class: Class::Policy, leaves: PROCESS },
    Call {
        name: "Signal",
        class: Class::Policy,
        leaves: &[
            ("process.container_id", Class::Policy),
            ("process.exec_id", Class::Policy),
            ("signal", Class::Policy),
            ("all", Class::Policy),
        ],
    },
    Call { name: "Wait", class: Class::Policy, leaves: PROCESS },
    Call { name: "State", class: Class::Policy, leaves: PROCESS },
    Call { name: "Delete", class: Class::Policy, leaves: PROCESS },
    Call { name: "CloseStdin", class: Class::Policy, leaves: PROCESS },
    Call {
        name: "ResizePty",
        class: Class::Policy,
        leaves: &[
            ("process.container_id", Class::Policy),
            ("process.exec_id", Class::Policy),
            ("width", SIZE),
            ("height", SIZE),
        ],
    },
    Call { name: "Pids", class: Class::Policy, leaves: CONTAINER },
    Call { name: "Stats", class: Class::Policy, leaves: CONTAINER },
    Call { name: "TerminationMessage", class: Class::Policy, leaves: CONTAINER },
    Call {
        name: "Update",
        class: Class::Policy,
        leaves: &[
            ("container_id", Class::Policy),
            ("memory_limit", Class::Hole),
            ("cpu_millis", Class::Hole),
            ("pids", Class::Hole),
        ],
    },
    Call {
        name: "PutVolume",
        class: Class::Policy,
        leaves: &[
            ("volume", Class::Policy),
            ("files.name", Class::Policy),
            ("files.content", Class::Hole),
        ],
    },
    Call {
        name: "NextEvent",
        class: Class::Inert("tells which container ran out of memory; each event once"),
        leaves: &[("timeout_ms", PATIENCE)],
    },
    Call {
        name: "Shutdown",
        class: Class::Inert("the host can end the VM at any time"),
        leaves: &[],
    },
    Call {
        name: "ReadAudit",
        class: Class::Inert("tells what the host asked for, sealed to the owner"),
        leaves: &[
            ("from_sequence", Class::Inert("the host may have a record as often as it likes")),
            ("max", Class::Inert("fewer records in one answer; the guest has a cap of its own")),
            ("timeout_ms", PATIENCE),
        ],
    },
];

/// Calls of other guest agents that no honest host of this one needs (A18). They do not exist here,
/// and the server refuses them whatever the policy says; the names are for tests and readers.
pub const NEVER: &[&str] = &[
    "AddARPNeighbors",
    "AddSwap",
    "AddSwapPath",
    "CopyFile",
    "CreateSandbox",
    "DestroySandbox",
    "GetDiagnosticData",
    "GetGuestDetails",
    "GetIPTables",
    "GetMetrics",
    "GetOOMEvent",
    "GetVolumeStats",
    "ListInterfaces",
    "ListRoutes",
    "MemAgentCompactSet",
    "MemAgentMemcgSet",
    "MemHotplugByProbe",
    "OnlineCPUMem",
    "PauseContainer",
    "ReadStderr",
    "ReadStdout",
    "RemoveStaleVirtiofsShareMounts",
    "ReseedRandomDev",
    "ResizeVolume",
    "ResumeContainer",
    "SetGuestDateTime",
    "SetIPTables",
    "SetPolicy",
    "UpdateEphemeralMounts",
    "UpdateInterface",
    "UpdateRoutes",
    "WriteStdin",
];

const PROCESS: &[(&str, Class)] = &[("container_id", Class::Policy), ("exec_id", Class::Policy)];
const CONTAINER: &[(&str, Class)] = &[("container_id", Class::Policy)];
const PATIENCE: Class = Class::Inert("how long the host waits for the answer");
const SIZE: Class = Class::Inert("characters in a line and lines; programs must cope with any");
const OUTPUT: Class =
    Class::Inert("the policy's logs decide what the host reads; it can only decline");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use protobuf::reflect::MessageDescriptor;
    use protobuf::reflect::RuntimeFieldType;
    use protobuf::reflect::RuntimeType;

    use super::*;
    use crate::proto;

    /// Calls of the descriptor with their request messages.
    fn described() -> Vec<(String, MessageDescriptor)> {
        let file = proto::file_descriptor();
        let service = file.proto().service.first().unwrap().clone();
        let message = |full: &str| {
            let name = full.rsplit('.').next().unwrap();
            file.messages().find(|m| m.name() == name).unwrap()
        };
        service.method.iter().map(|m| (m.name().to_owned(), message(m.input_type()))).collect()
    }

    fn leaves(message: &MessageDescriptor, prefix: &str, found: &mut BTreeSet<String>) {
        for field in message.fields() {
            let path = format!("{prefix}{}", field.name());
            let typ = match field.runtime_field_type() {
                RuntimeFieldType::Singular(typ) | RuntimeFieldType::Repeated(typ) => typ,
                // Keys and values would be leaves of their own.
                RuntimeFieldType::Map(..) => panic!("{path}: maps have no class"),
            };
            match typ {
                RuntimeType::Message(inner) => leaves(&inner, &format!("{path}."), found),
                _ => assert!(found.insert(path)),
            }
        }
    }

    #[test]
    fn every_call_and_every_leaf_has_a_class_and_no_class_is_left_over() {
        // A18: walks the whole service descriptor.
        let described = described();
        let names: Vec<_> = described.iter().map(|(name, _)| name.as_str()).collect();
        let classed: Vec<_> = CALLS.iter().map(|call| call.name).collect();
        assert_eq!(names, classed);
        for (name, message) in &described {
            let mut fields = BTreeSet::new();
            leaves(message, "", &mut fields);
            let table = call(name).unwrap().leaves;
            let classed: BTreeSet<_> = table.iter().map(|(path, _)| (*path).to_owned()).collect();
            assert_eq!(fields, classed, "{name}");
            assert_eq!(classed.len(), table.len(), "{name}: a leaf stands twice");
        }
    }

    #[test]
    fn what_is_never_carried_out_does_not_exist() {
        let described = described();
        for name in NEVER {
            assert!(described.iter().all(|(known, _)| known != name), "{name} exists");
            assert_eq!(class_of(name), Class::Never);
        }
        assert!(NEVER.is_sorted());
        // A call that exists to be refused would be worse than none.
        let never = |class: Class| class == Class::Never;
        assert!(!CALLS.iter().any(|c| never(c.class) || c.leaves.iter().any(|l| never(l.1))));
    }

    #[test]
    fn no_message_has_a_place_for_what_no_honest_host_needs() {
        // A10, A11: hooks, devices, sources of mounts, options, users, paths of the host.
        let mut fields = BTreeSet::new();
        for (name, message) in described() {
            leaves(&message, &format!("{name}."), &mut fields);
        }
        for word in [
            "annotation",
            "cap",
            "cgroup",
            "device",
            "driver",
            "fs_type",
            "gid",
            "hook",
            "label",
            "namespace",
            "oci",
            "option",
            "propagation",
            "rlimit",
            "seccomp",
            "source",
            "spec",
            "sysctl",
            "uid",
            "umask",
            "user",
        ] {
            let found: Vec<_> = fields.iter().filter(|path| path.contains(word)).collect();
            // Options of the resolver and the source address of a route are typed values.
            let allowed = ["SetNetwork.dns_options", "SetNetwork.routes.source"];
            assert!(found.iter().all(|path| allowed.contains(&path.as_str())), "{found:?}");
        }
    }

    #[test]
    fn inert_fields_have_a_reason() {
        let inert =
            CALLS.iter().flat_map(|call| call.leaves).filter_map(|(path, class)| match class {
                Class::Inert(reason) => Some((path, reason)),
                _ => None,
            });
        for (path, reason) in inert {
            assert!(reason.len() > 20, "{path}");
        }
    }
}
