// SPDX-License-Identifier: Apache-2.0
//! A policy of a hundred containers and the requests that an honest host makes of it; what decisions
//! are measured on.

use std::fmt::Write as _;

use casemate_policy_monitor::CreateRequest;
use casemate_policy_monitor::MountRequest;
use casemate_policy_monitor::MountWish;

/// A policy of a hundred containers as the generator writes them: the variables of services as holes,
/// six standard mounts and two volumes.
pub(crate) fn policy_text() -> Result<String, std::fmt::Error> {
    let mut text = String::from(
        "version = 1\n[volumes.cache]\nkind = \"empty-dir\"\n[volumes.data]\nkind = \"empty-dir\"\n",
    );
    for number in 0..CONTAINERS {
        write!(text, "[containers.{}]\n{CONTAINER}", name(number))?;
    }
    Ok(text)
}

fn name(number: usize) -> String {
    format!("container-{number}")
}

pub(crate) fn id(number: usize) -> String {
    format!("{number:064x}")
}

pub(crate) fn env() -> Vec<String> {
    let fixed = (0..10).map(|n| format!("VARIABLE_{n}=value number {n}"));
    fixed.chain(FROM_HOST.map(str::to_owned)).collect()
}

pub(crate) fn create(number: usize) -> CreateRequest {
    let mount = |destination: &str, kind| MountRequest {
        destination: destination.to_owned(),
        kind: Some(kind),
        readonly: false,
    };
    CreateRequest {
        id: id(number),
        name: name(number),
        image_digest: DIGEST.to_owned(),
        argv: ["/bin/server", "--port", "8443", "--log-level", "info"].map(str::to_owned).into(),
        env: env(),
        cwd: "/srv".to_owned(),
        stdout: true,
        stderr: true,
        mounts: vec![
            mount("/etc/hosts", MountWish::Hosts),
            mount("/etc/hostname", MountWish::Hostname),
            mount("/etc/resolv.conf", MountWish::ResolvConf),
            mount("/dev/termination-log", MountWish::TerminationLog),
            mount("/dev/shm", MountWish::Shm),
            mount("/cache", MountWish::EmptyDir),
            mount("/data", MountWish::EmptyDir),
        ],
        ..CreateRequest::default()
    }
}

pub(crate) fn with_another_mount(mut request: CreateRequest) -> CreateRequest {
    request.mounts.push(MountRequest {
        destination: "/host".to_owned(),
        kind: Some(MountWish::EmptyDir),
        readonly: false,
    });
    request
}

pub(crate) const CONTAINERS: usize = 100;
const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// What kubelet and containerd add in every pod.
const FROM_HOST: [&str; 9] = [
    "HOSTNAME=pod-7d4b",
    "KUBERNETES_SERVICE_HOST=10.96.0.1",
    "KUBERNETES_SERVICE_PORT=443",
    "KUBERNETES_SERVICE_PORT_HTTPS=443",
    "KUBERNETES_PORT=tcp://10.96.0.1:443",
    "KUBERNETES_PORT_443_TCP=tcp://10.96.0.1:443",
    "KUBERNETES_PORT_443_TCP_PROTO=tcp",
    "KUBERNETES_PORT_443_TCP_PORT=443",
    "KUBERNETES_PORT_443_TCP_ADDR=10.96.0.1",
];
const CONTAINER: &str = r#"
image = "registry.example/app@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
encryption = "required"
argv = ["/bin/server", "--port", "8443", "--log-level", "info"]
cwd = "/srv"
user = { uid = 1000, gid = 1000 }
env = [
    { name = "VARIABLE_0", value = "value number 0" },
    { name = "VARIABLE_1", value = "value number 1" },
    { name = "VARIABLE_2", value = "value number 2" },
    { name = "VARIABLE_3", value = "value number 3" },
    { name = "VARIABLE_4", value = "value number 4" },
    { name = "VARIABLE_5", value = "value number 5" },
    { name = "VARIABLE_6", value = "value number 6" },
    { name = "VARIABLE_7", value = "value number 7" },
    { name = "VARIABLE_8", value = "value number 8" },
    { name = "VARIABLE_9", value = "value number 9" },
]
env_holes = [
    { name = "HOSTNAME", value = "[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", required = true },
    { name = "KUBERNETES_(SERVICE_HOST|PORT_[0-9]{1,5}_(TCP|UDP|SCTP)_ADDR)", value = "[0-9a-f.:]{2,45}" },
    { name = "KUBERNETES_(SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]{1,5}_(TCP|UDP|SCTP)_PORT)", value = "[0-9]{1,5}" },
    { name = "KUBERNETES_PORT(_[0-9]{1,5}_(TCP|UDP|SCTP))?", value = '(tcp|udp|sctp)://\[?[0-9a-f.:]{2,45}\]?:[0-9]{1,5}' },
    { name = "KUBERNETES_PORT_[0-9]{1,5}_(TCP|UDP|SCTP)_PROTO", value = "tcp|udp|sctp" },
]
logs = "host-visible"
mounts = [
    { destination = "/cache", kind = "volume", volume = "cache" },
    { destination = "/data", kind = "volume", volume = "data" },
    { destination = "/dev/shm", kind = "shm" },
    { destination = "/dev/termination-log", kind = "termination-log" },
    { destination = "/etc/hostname", kind = "hostname" },
    { destination = "/etc/hosts", kind = "hosts" },
    { destination = "/etc/resolv.conf", kind = "resolv-conf" },
]
no_new_privileges = true
seccomp = "default"
exec = [{ argv = ["/bin/probe", "--ready"] }]
signals = [9, 15]
restart = "always"
"#;
